"""ReDWeb: a few photographs in the published layout."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit
from leadline.data.datasets import Dataset, open_data
from leadline.data.datasets.redweb import redweb
from leadline.io.images import write_image


@pytest.fixture
def path(tmp_path: Path) -> Path:
    root = tmp_path / "ReDWeb_V1"
    (root / "RDs").mkdir(parents=True)
    for name in ("a", "b", "c"):
        write_image(root / "Imgs" / f"{name}.jpg", torch.full((3, 2, 3), 0.5))
        cv2.imwrite(str(root / "RDs" / f"{name}.png"), np.array([[0, 51, 254], [255, 102, 0]], np.uint8))
    return root


def test_larger_is_nearer_and_255_is_not_measured(path: Path) -> None:
    data = open_data(f"redweb:{path},holdout=0", "train")
    assert isinstance(data, Dataset)
    assert (data.name, data.kind, len(data)) == ("redweb train (3 of 3)", DepthKind.RELATIVE, 3)
    sample = data[0]
    assert sample.valid.tolist() == [[[True, True, True], [False, True, True]]]
    assert sample.depth.flatten().tolist() == pytest.approx([1, 0.8, 1 / 255, 0, 0.6, 1])
    assert (sample.name, sample.intrinsics) == ("a", None)


def test_every_so_many_photographs_are_kept_for_val(path: Path) -> None:
    train, val = (redweb(split, path=path, holdout=2) for split in ("train", "val"))
    assert [pair.name for pair in train.pairs] == ["b"]
    assert [pair.name for pair in val.pairs] == ["a", "c"]
    for split, holdout in (("test", 10), ("val", 0)):
        with pytest.raises(NoSplit, match=f"ReDWeb has no {split} split"):
            redweb(split, path=path, holdout=holdout)


def test_folders_in_small_letters_do_as_well(path: Path) -> None:
    (path / "Imgs").rename(path / "imgs")
    assert redweb("train", path=path)[0].size == (2, 3)


def test_what_is_missing_is_named(path: Path) -> None:
    (path / "RDs" / "b.png").rename(path / "RDs" / "d.png")
    with pytest.raises(BadInput, match=r"2 files in .* have no partner in Imgs or RDs, first b"):
        redweb("train", path=path)
    (path / "RDs").rename(path / "depths")
    with pytest.raises(BadInput, match=r"ReDWeb needs Imgs/NAME\.jpg and RDs/NAME\.png in .*\(found Imgs, depths\)"):
        redweb("train", path=path)


def test_a_map_of_another_size_is_named(path: Path) -> None:
    write_image(path / "Imgs" / "a.jpg", torch.full((3, 4, 3), 0.5))
    with pytest.raises(BadInput, match=r"a\.jpg and .*a\.png are not of one size"):
        redweb("train", path=path, holdout=0)[0]
