"""Discovery: every file that names, folders and patterns mean is found once, and what is left out is counted."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leadline.core.errors import BadInput
from leadline.data.datasets import open_data
from leadline.io.discovery import find_by_stem, find_files, find_images


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), 90, np.uint8)).save(path)
    return path


def places(*words: object) -> list[str]:
    return [place.as_posix() for _, place in find_images([str(word) for word in words]).files]


def test_a_folder_is_searched_to_its_end_in_the_order_of_the_names(tmp_path):
    for name in ("b.jpg", "a/z.PNG", "a/b/c.Jpeg"):
        photo(tmp_path / name)
    assert places(tmp_path) == ["a/b/c.Jpeg", "a/z.PNG", "b.jpg"]


def test_hidden_files_and_other_sorts_are_counted_and_not_measured(tmp_path):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / ".thumbnails" / "a.jpg")
    for name in ("._a.jpg", ".a.123.half.png", "notes.txt", "b.xyz"):
        (tmp_path / name).write_bytes(b"no photograph")
    found = find_images([str(tmp_path)])
    assert [place.name for _, place in found.files] == ["a.jpg"]
    assert found.left_out == {"hidden": 3, "of other sorts": 2}
    assert found.describe_left_out() == "3 hidden, 2 of other sorts"
    assert not found.faults


def test_images_that_cannot_be_read_and_broken_links_are_named(tmp_path):
    photo(tmp_path / "a.jpg")
    (tmp_path / "b.PSD").write_bytes(b"8BPS")
    (tmp_path / "c.jpg").symlink_to(tmp_path / "nowhere.jpg")
    faults = find_images([str(tmp_path)]).faults
    assert len(faults) == 2
    assert "b.PSD is an image of a format that Leadline does not read" in faults[1]
    assert "c.jpg is a broken link" in faults[0]


def test_links_are_followed_but_no_folder_is_searched_twice(tmp_path):
    photo(tmp_path / "in" / "real" / "a.jpg")
    photo(tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "in" / "aaa").symlink_to(tmp_path / "in" / "real")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "outside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "c.jpg").symlink_to(tmp_path / "elsewhere" / "b.jpg")
    found = find_images([str(tmp_path / "in")])
    assert [place.as_posix() for _, place in found.files] == ["c.jpg", "outside/b.jpg", "real/a.jpg"]
    assert found.left_out == {"linked folders that were searched already": 2}


def test_a_folder_that_is_called_as_a_photograph_is_a_folder(tmp_path):
    photo(tmp_path / "x.jpg" / "a.jpg")
    photo(tmp_path / "b.jpg")
    assert places(tmp_path) == ["b.jpg", "x.jpg/a.jpg"]
    assert places(tmp_path / "*.jpg") == ["b.jpg", "x.jpg/a.jpg"]
    assert len(open_data(f"photos:{tmp_path}", "train")) == 2


def test_patterns_keep_folders_below_their_fixed_part(tmp_path):
    for name in ("a/x.jpg", "b/x.jpg", "b/c/d/x.jpg", "b/c/y.png"):
        photo(tmp_path / name)
    assert places(tmp_path / "*" / "x.jpg") == ["a/x.jpg", "b/x.jpg"]
    assert places(tmp_path / "**" / "*.jpg") == ["a/x.jpg", "b/c/d/x.jpg", "b/x.jpg"]
    assert places(tmp_path / "b" / "**") == ["c/d/x.jpg", "c/y.png", "x.jpg"]


def test_a_pattern_does_not_run_through_a_circle_of_links(tmp_path):
    photo(tmp_path / "a" / "x.jpg")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert places(tmp_path / "**" / "*.jpg") == ["a/x.jpg"]


def test_a_name_with_the_signs_of_a_pattern_is_a_name_where_it_exists(tmp_path):
    photo(tmp_path / "a[1].jpg")
    photo(tmp_path / "a1.jpg")
    photo(tmp_path / "set [2]*" / "b.jpg")
    assert places(tmp_path / "a[1].jpg") == ["a[1].jpg"]
    assert places(tmp_path / "set [2]*") == ["b.jpg"]


def test_what_is_named_twice_is_found_once(tmp_path, monkeypatch):
    photo(tmp_path / "in" / "a.jpg")
    monkeypatch.chdir(tmp_path)
    assert places("in", "in/a.jpg", "./in/../in/a.jpg", tmp_path / "in") == ["a.jpg"]


def test_a_file_that_is_named_is_taken_whatever_its_suffix(tmp_path):
    strange = photo(tmp_path / "a.jpg").rename(tmp_path / "a.upload")
    assert places(strange) == ["a.upload"]


def test_of_a_raw_file_and_its_jpeg_the_jpeg_is_taken(tmp_path):
    photo(tmp_path / "a.jpg")
    (tmp_path / "a.DNG").write_bytes(b"raw")
    (tmp_path / "b.dng").write_bytes(b"raw")
    found = find_images([str(tmp_path)])
    assert [place.name for _, place in found.files] == ["a.jpg", "b.dng"]
    assert found.left_out == {"raw ones beside the same photograph": 1}


@pytest.mark.parametrize("word", ["", "nowhere", "no*where", "\0", "x" * 5000, "/dev/null"])
def test_a_word_that_names_nothing_is_said(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "a.jpg")
    found = find_images(["a.jpg", word])
    assert len(found.files) == 1
    assert len(found.faults) == 1
    with pytest.raises(BadInput):
        find_images([word])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "locked" / "b.jpg").parent.chmod(0)
    try:
        found = find_images([str(tmp_path)])
    finally:
        (tmp_path / "locked").chmod(0o700)
    assert "Cannot look into" in found.faults[0]


def test_a_file_is_found_by_its_place_whatever_the_case_of_its_suffix(tmp_path):
    for name in ("r.PNG", "r.npz", "r.txt", "s.png", "sub/r.Tiff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    suffixes = frozenset({".png", ".npz", ".tiff"})
    assert [path.name for path in find_by_stem(tmp_path, Path("r.jpg"), suffixes)] == ["r.PNG", "r.npz"]
    assert [path.name for path in find_by_stem(tmp_path, Path("sub/r.jpg"), suffixes)] == ["r.Tiff"]
    assert not find_by_stem(tmp_path, Path("absent/r.jpg"), suffixes)


_NAME = st.text("ab.*[]?é ", min_size=1, max_size=5).filter(lambda name: name not in (".", ".."))


@settings(max_examples=40, deadline=None)
@given(st.sets(st.tuples(_NAME, _NAME, st.sampled_from([".png", ".PNG", ".txt"])), max_size=8))
def test_of_any_tree_each_file_is_found_or_counted(tmp_path_factory, tree):
    root = tmp_path_factory.mktemp("tree")
    made = set()
    for folder, name, suffix in tree:
        (root / folder).mkdir(exist_ok=True)
        (root / folder / f"{name}{suffix}").write_bytes(b"")
        made.add((folder, f"{name}{suffix}"))
    found = find_files([str(root)], frozenset({".png"}))
    open_ones = {pair for pair in made if not any(part.startswith(".") for part in pair)}
    wanted = {pair for pair in open_ones if Path(pair[1]).suffix.lower() == ".png"}
    assert {place.parts for _, place in found.files} == wanted
    assert found.left_out.get("of other sorts", 0) == len(open_ones - wanted)
