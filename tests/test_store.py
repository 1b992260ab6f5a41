"""Store: what goes in comes out, at a folder, in memory or over HTTP, whatever kills or damages it on the way."""

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader
from webserver import Site, serving

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, UnreadableFile
from leadline.core.sample import Sample
from leadline.core.specs import parse_spec
from leadline.data.datasets import open_data
from leadline.data.loader import batches
from leadline.data.prepare import prepare
from leadline.data.transforms import resize
from leadline.io.depth_maps import DepthMap, write_depth
from leadline.io.images import write_image
from leadline.io.run_folder import SPREAD_SAMPLES

HEIGHT, WIDTH = SIZE = 12, 16
TWO = 2 * HEIGHT * WIDTH * 5
"""Bytes of a shard that two samples fit in."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Words of a folder of 16-bit millimetres: 7 pairs to train with, 2 of another scene for val, no test."""
    folder = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    for split, count in (("train", 7), ("val", 2)):
        for index in range(count):
            _write(folder / split / "hall", index, 2 * HEIGHT, 2 * WIDTH, rng, farthest=20.0)
    cameras = {"train/hall": {"intrinsics_fx_fy_cx_cy": [30.5, 31.5, 15.5, 11.5]}}
    (folder / "scenes.json").write_text(json.dumps(cameras))
    return f"{folder},depth_scale=1000"


@pytest.fixture(scope="module")
def whole(source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of it, two samples in a shard, of all splits."""
    out = tmp_path_factory.mktemp("store") / "whole"
    prepare(source, str(out), SIZE, split="all", shard_bytes=TWO)
    return out


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.fixture
def site(whole: Path) -> Iterator[Site]:
    with serving() as site:
        for file in whole.rglob("*.*"):
            site.files[f"/{file.relative_to(whole)}"] = file.read_bytes()
        yield site


def _write(scene: Path, index: int, height: int, width: int, rng: np.random.Generator, farthest: float) -> None:
    image = torch.from_numpy(rng.integers(0, 256, (3, height, width)) / np.float32(255))
    depth = torch.from_numpy(rng.uniform(0.3, farthest, (1, height, width)).astype(np.float32))
    valid = torch.from_numpy(rng.random((1, height, width)) < 0.8)
    write_image(scene / "rgb" / f"{index:04d}.png", image)
    write_depth(scene / "depth" / f"{index:04d}.png", DepthMap(depth, valid))


def _same(one: Sample, other: Sample) -> bool:
    return (
        (one.name, one.kind) == (other.name, other.kind)
        and torch.equal(one.image, other.image)
        and torch.equal(one.depth, other.depth)
        and torch.equal(one.valid, other.valid)
    )


def test_millimetres_bytes_names_and_cameras_come_back_as_they_were(source: str, tmp_path: Path) -> None:
    prepare(source, str(tmp_path / "out"), (2 * HEIGHT, 2 * WIDTH), split="all", shard_bytes=4 * TWO)
    for split in ("train", "val"):
        before, after = open_data(source, split), open_data(f"store:{tmp_path / 'out'}", split)
        assert len(after) == len(before)
        assert after.kind is DepthKind.METRIC
        assert all(_same(after[index], before[index]) for index in range(len(before)))
    known = open_data(f"store:{tmp_path / 'out'}", "train")[3].intrinsics
    assert known is not None
    assert torch.equal(known, torch.tensor([30.5, 31.5, 15.5, 11.5]))
    assert open_data(f"store:{tmp_path / 'out'}", "val")[0].intrinsics is None


def test_a_smaller_size_is_what_training_would_make_of_it_and_the_name_tells(source: str, whole: Path) -> None:
    before, after = open_data(source, "train"), open_data(f"store:{whole}", "train")
    assert after.name == f"{before.name} at {HEIGHT} × {WIDTH}"
    for index in range(len(before)):
        wanted, got = resize(before[index], SIZE), after[index]
        assert torch.equal(got.depth, wanted.depth)
        assert torch.equal(got.valid, wanted.valid)
        assert (got.image - wanted.image).abs().max() <= 0.5001 / 255
        assert got.intrinsics is not None
        assert wanted.intrinsics is not None
        assert torch.equal(got.intrinsics, wanted.intrinsics)


@pytest.mark.parametrize(("farthest", "error"), [(65.5, 0.0005001), (80.0, 0.0), (20000.0, 0.0)])
def test_metres_are_kept_to_half_a_millimetre_and_exactly_beyond_65(
    tmp_path: Path, farthest: float, error: float
) -> None:
    rng = np.random.default_rng(1)
    depth = torch.from_numpy(rng.uniform(0.0001, farthest, (1, HEIGHT, WIDTH)).astype(np.float32))
    depth[0, 0, 0] = farthest
    (tmp_path / "rgb").mkdir()
    write_image(tmp_path / "rgb" / "0.png", torch.zeros(3, HEIGHT, WIDTH))
    write_depth(tmp_path / "depth" / "0.npz", DepthMap(depth, depth > 0))
    prepare(str(tmp_path), str(tmp_path / "out"), SIZE)
    kept = open_data(f"store:{tmp_path / 'out'}", "train")[0]
    assert kept.valid.all()
    # What is nearer than half a millimetre becomes one, so that it stays measured.
    assert (kept.depth - depth.clamp_min(0.001 if error else 0)).abs().max() <= error


@pytest.mark.parametrize("kind", [DepthKind.RELATIVE, DepthKind.SCALE_FREE])
def test_depth_without_metres_is_kept_exactly(tmp_path: Path, kind: DepthKind) -> None:
    depth = torch.randn(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    depth[0, 0, :5] = 0
    valid = torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) < 0.7
    valid = valid if kind is DepthKind.RELATIVE else valid & (depth > 0)
    write_image(tmp_path / "rgb" / "0.png", torch.zeros(3, HEIGHT, WIDTH))
    write_depth(tmp_path / "depth" / "0.npz", DepthMap(depth, valid, kind))
    words = f"{tmp_path},kind={kind}"
    prepare(words, str(tmp_path / "out"), SIZE, compression="zstd")
    assert _same(open_data(f"store:{tmp_path / 'out'}", "train")[0], open_data(words, "train")[0])


@pytest.mark.parametrize(
    "address", ["https://host:8080/a/b", "s3://bucket/a", "memory://a", "simplecache::https://host/a", "data/mine"]
)
def test_an_address_is_words(address: str) -> None:
    assert parse_spec(f"store:{address}") == ("store", address, {})


def test_memory_holds_the_same_as_a_folder_and_takes_splits_later(source: str, whole: Path) -> None:
    prepare(source, "memory://here/deep", SIZE, split="train", shard_bytes=TWO, workers=2)
    with pytest.raises(NoSplit, match="has no val split, only train: `leadline data prepare --split val` adds it"):
        open_data("store:memory://here/deep", "val")
    prepare(source, "memory://here/deep", SIZE, split="val", shard_bytes=TWO)
    for split in ("train", "val"):
        ours, theirs = open_data(f"store:{whole}", split), open_data("store:memory://here/deep", split)
        assert len(ours) == len(theirs)
        assert all(_same(ours[index], theirs[index]) for index in range(len(ours)))
    files = fsspec.filesystem("memory").find("/here/deep")
    assert sorted(Path(file).name for file in files if "train" in file) == [f"0000{n}.arrow" for n in range(4)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_web_server_gives_the_same_samples_by_ranges(site: Site, whole: Path, workers: int) -> None:
    ours, theirs = open_data(f"store:{whole}", "train"), open_data(f"store:{site.address}", "train")
    loader = DataLoader(theirs, batch_size=None, num_workers=workers, shuffle=False)  # pyright: ignore[reportArgumentType]
    assert all(_same(ours[index], other) for index, other in enumerate(loader))
    assert all(wanted for path, wanted in site.asked if path.endswith(".arrow") and wanted is not None)


def test_one_sample_is_one_request_once_its_shard_is_known(site: Site) -> None:
    remote = open_data(f"store:{site.address}", "train")
    remote[0]
    site.asked.clear()
    remote[1]
    assert len(site.asked) <= 1


def test_a_store_can_be_kept_near_while_it_is_read(site: Site, whole: Path) -> None:
    near = open_data(f"store:simplecache::{site.address}", "train")
    assert _same(near[5], open_data(f"store:{whole}", "train")[5])


def test_a_server_that_has_no_store_or_is_not_there_is_named(site: Site) -> None:
    with pytest.raises(BadInput, match=r"No store of samples at .*/none"):
        open_data(f"store:{site.address}/none", "train")
    del site.files["/train/00002.arrow"]
    with pytest.raises(UnreadableFile, match=r"/train/00002.arrow is missing, damaged or out of reach"):
        open_data(f"store:{site.address}", "train")[4]


def test_training_reads_it_in_forked_processes_as_in_one(whole: Path) -> None:
    data = open_data(f"store:{whole}", "train")
    data[0]

    def drawn(workers: int) -> list[Sample]:
        made = batches(data, lambda sample, _: sample, seed=0, batch_size=2, first_step=0, last_step=7, workers=workers)
        return list(made)

    assert all(_same(one, other) for one, other in zip(drawn(0), drawn(2), strict=True))


def test_a_killed_preparation_goes_on_and_ends_with_the_same_bytes(source: str, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = out / "train" / "00000.arrow"
    child = multiprocessing.get_context("fork").Process(
        target=prepare, args=(source, str(out), SIZE), kwargs={"shard_bytes": TWO}
    )
    child.start()
    while not first.exists():
        time.sleep(0.001)
    child.kill()
    child.join()
    made = {file: file.stat().st_mtime_ns for file in (out / "train").glob("[0-9]*.arrow")}
    if json.loads((out / "manifest.json").read_text())["splits"]["train"]["shards"] is None:
        with pytest.raises(BadInput, match="is not finished: the same `leadline data prepare` continues it"):
            open_data(f"store:{out}", "train")
    (out / "train" / ".00001.77.half.arrow").write_bytes(b"cut")
    (prepared,) = prepare(source, str(out), SIZE, shard_bytes=TWO, workers=2)
    assert (prepared.samples, prepared.shards, prepared.written) == (7, 4, 4 - len(made))
    assert {file: file.stat().st_mtime_ns for file in made} == made
    files = {file.name: file.read_bytes() for file in (out / "train").iterdir()}
    assert files == {file.name: file.read_bytes() for file in (whole / "train").iterdir()}


def test_another_configuration_is_refused_with_the_difference(source: str, copy: Path) -> None:
    with pytest.raises(BadInput, match=r"size: \[12, 16\] → \[12, 12\]"):
        prepare(source, str(copy), (12, 12), shard_bytes=TWO)
    with pytest.raises(BadInput, match="compression: None → lz4"):
        prepare(source, str(copy), SIZE, shard_bytes=TWO, compression="lz4")
    with pytest.raises(BadInput, match=r"train\.first sample: hall.* → rooms-a/train"):
        prepare("rooms,count=2,height=12,width=16", str(copy), SIZE, shard_bytes=TWO)


def test_samples_that_changed_behind_the_first_are_refused(source: str, copy: Path, tmp_path: Path) -> None:
    original = Path(source.partition(",")[0])
    changed = shutil.copytree(original, tmp_path / original.name)
    _write(changed / "train" / "hall", 3, 2 * HEIGHT, 2 * WIDTH, np.random.default_rng(9), farthest=20.0)
    for verify in (False, True):
        with pytest.raises(BadInput, match=r"other data, or made otherwise:\n  train.samples spread over it: 7 crc32"):
            prepare(f"{changed},depth_scale=1000", str(copy), SIZE, shard_bytes=TWO, verify=verify)


def test_options_of_the_data_that_changed_are_refused(source: str, copy: Path) -> None:
    with pytest.raises(BadInput, match=r"\n  train.options.max_depth: None → 19.9\n"):
        prepare(f"{source},max_depth=19.9", str(copy), SIZE, shard_bytes=TWO)


def test_options_that_mean_the_same_and_another_place_are_the_same_data(
    source: str, copy: Path, tmp_path: Path
) -> None:
    folder = Path(source.partition(",")[0])
    moved = shutil.copytree(folder, tmp_path / folder.name)
    for spec in (
        f"{folder},depth_scale=1000.0",
        f"folder:{folder},depth_scale=1e3,along_ray=no",
        f"{moved},depth_scale=1000",
    ):
        assert prepare(spec, str(copy), SIZE, shard_bytes=TWO)[0].written == 0


def test_a_damaged_file_that_was_made_good_does_not_end_a_store(source: str, tmp_path: Path) -> None:
    """The store is not claimed before its data can be read."""
    folder = Path(source.partition(",")[0])
    spoilt = shutil.copytree(folder, tmp_path / folder.name)
    file = spoilt / "train" / "hall" / "rgb" / "0003.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:90])
    spec = f"{spoilt},depth_scale=1000"
    with pytest.raises(UnreadableFile, match=r"0003\.png"):
        prepare(spec, tmp_path / "out", SIZE, shard_bytes=TWO)
    file.write_bytes(whole)
    assert prepare(spec, tmp_path / "out", SIZE, shard_bytes=TWO)[0].samples == 7


def test_a_store_of_an_earlier_version_is_completed(source: str, copy: Path) -> None:
    """It has a checksum of the first sample alone."""
    manifest = json.loads((copy / "manifest.json").read_text())
    for split in manifest["splits"].values():
        del split["source"][SPREAD_SAMPLES]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / "train" / "00003.arrow").unlink()
    assert prepare(source, str(copy), SIZE, shard_bytes=TWO)[0].written == 1


def test_a_changed_byte_is_named_with_its_shard_and_mended(source: str, whole: Path, copy: Path) -> None:
    file = copy / "train" / "00001.arrow"
    content = bytearray(file.read_bytes())
    content[content.index(open_data(f"store:{whole}", "train")[2].image.mul(255).round().byte().numpy().tobytes())] ^= 1
    file.write_bytes(content)
    data = open_data(f"store:{copy}", "train")
    with pytest.raises(UnreadableFile, match=r"00001.arrow .*not those that were written.*data prepare.*--verify"):
        data[2]
    assert data[3].name == "hall/0003"
    assert prepare(source, str(copy), SIZE, shard_bytes=TWO)[0].written == 0
    assert prepare(source, str(copy), SIZE, shard_bytes=TWO, verify=True)[0].written == 1
    assert _same(data[2], open_data(f"store:{whole}", "train")[2])


def test_a_shard_that_is_cut_or_gone_is_named_and_made_again(source: str, whole: Path, copy: Path) -> None:
    cut, gone = copy / "train" / "00002.arrow", copy / "train" / "00003.arrow"
    os.truncate(cut, cut.stat().st_size - 40)
    gone.unlink()
    data = open_data(f"store:{copy}", "train")
    for index, name in ((4, cut.name), (6, gone.name)):
        with pytest.raises(UnreadableFile, match=f"{name} is missing, damaged or out of reach"):
            data[index]
    assert prepare(source, str(copy), SIZE, shard_bytes=TWO)[0].written == 2
    assert _same(data[6], open_data(f"store:{whole}", "train")[6])


def test_a_store_is_never_written_into_the_folder_of_a_dataset(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Its folder of a split would be taken for a split of the dataset, which could then not be read any more."""
    folder = Path(shutil.copytree(source.partition(",")[0], tmp_path / "mine"))
    before = sorted(folder.rglob("*"))
    for command in (
        f"data prepare {source} --out {folder} --size 12:16 --workers 0",
        f"label --teacher leadline_small --data {source} --out {folder}",
    ):
        assert main(command.split()) == 1
        assert str(folder) in (said := capsys.readouterr().err)
        assert "choose another folder" in said
        assert sorted(path for path in folder.rglob("*") if path.name[0] != ".") == before


@pytest.mark.parametrize("origin", ["another split", "another place", "another store"])
def test_a_shard_swapped_for_a_sibling_is_named_and_made_again(
    origin: str, source: str, whole: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = copy / "val" / "00000.arrow"
    if origin == "another place":
        other = copy / "train" / "00000.arrow"
    elif origin == "another store":
        prepare(f"rooms,count=2,height={HEIGHT},width={WIDTH}", str(tmp_path / "rooms"), SIZE, shard_bytes=TWO)
        other = tmp_path / "rooms" / "train" / "00000.arrow"
    shutil.copyfile(other, copy / "train" / "00001.arrow")
    data = open_data(f"store:{copy}", "train")
    assert data[0].name == "hall/0000"
    for index in (2, 3):
        with pytest.raises(
            UnreadableFile, match=r"train/00001.arrow .*of other samples than manifest.json says.*data pre"
        ):
            data[index]
    command = f"train --data store:{copy} --model cnn,size=tiny,input_size=32:32 --steps 4 --batch-size 4 --workers 0"
    assert main([*command.split(), "--out", str(tmp_path / "run")]) == 1
    assert "train/00001.arrow" in capsys.readouterr().err
    assert prepare(source, str(copy), SIZE, shard_bytes=TWO)[0].written == 1
    assert (copy / "train" / "00001.arrow").read_bytes() == (whole / "train" / "00001.arrow").read_bytes()


def test_a_store_of_an_older_version_is_read_and_its_shards_have_its_size(
    source: str, copy: Path, tmp_path: Path
) -> None:
    """Older manifests state no checksums, and older shards have no metadata."""
    manifest = json.loads((copy / "manifest.json").read_text())
    for part in manifest["splits"].values():
        del part["checksums"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    for file in copy.rglob("*.arrow"):
        table = pa.ipc.open_file(file).read_all().replace_schema_metadata(None)
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=1)
    data = open_data(f"store:{copy}", "train")
    assert [data[index].name for index in range(7)] == [f"hall/{index:04d}" for index in range(7)]
    assert prepare(source, str(copy), SIZE, shard_bytes=TWO)[0].written == 0
    assert open_data(f"store:{copy}", "train")[6].name == "hall/0006"
    prepare(source, str(tmp_path / "small"), (6, 8), shard_bytes=TWO // 4)
    shutil.copyfile(tmp_path / "small" / "train" / "00001.arrow", copy / "train" / "00001.arrow")
    with pytest.raises(UnreadableFile, match=r"00001\.arrow .*of other samples"):
        open_data(f"store:{copy}", "train")[2]


def test_reading_a_hundred_times_as_much_holds_no_more_memory(tmp_path: Path) -> None:
    rng, per_shard, shards = np.random.default_rng(0), 4, 300
    for index in range(per_shard):
        _write(tmp_path / "in", index, 128, 160, rng, 5.0)
    out = tmp_path / "out"
    prepare(f"{tmp_path / 'in'},depth_scale=1000", str(out), (128, 160))
    manifest = json.loads((out / "manifest.json").read_text())
    for each in ("shards", "checksums"):
        manifest["splits"]["train"][each] *= shards
    (out / "manifest.json").write_text(json.dumps(manifest))
    for number in range(1, shards):
        os.link(out / "train" / "00000.arrow", out / "train" / f"{number:05d}.arrow")
    data = open_data(f"store:{out}", "train")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for index in range(3 * per_shard):
        data[index]
    before = resident()
    for index in range(0, len(data), 2):
        data[index]
    shard = (out / "train" / "00000.arrow").stat().st_size
    # Half of each of 300 was read, and at most 32 stay mapped.
    assert resident() - before < 60 * shard


def test_a_folders_val_that_stands_for_its_test_is_kept_once(source: str, whole: Path) -> None:
    assert len(open_data(f"store:{whole}", "test")) == len(open_data(source, "test")) == 2
    assert not (whole / "test").exists()


def test_a_split_that_stands_for_another_is_counted_once(whole: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", "inspect", f"store:{whole}"]) == 0
    assert "9 frames of 2 scenes (train 7, val 2)" in capsys.readouterr().out


def test_the_manifest_says_where_all_comes_from(source: str, whole: Path) -> None:
    manifest = json.loads((whole / "manifest.json").read_text())
    train = manifest["splits"]["train"]
    assert (manifest["kind"], manifest["size"], train["samples"]) == ("metric", [12, 16], 7)
    assert train["words"] == source
    assert train["source"]["first sample"].startswith("hall/0000 crc32")
    assert manifest["unit"].startswith("metres")


def test_the_licence_of_a_folder_goes_with_its_samples_from_store_to_store(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = shutil.copytree(source.partition(",")[0], tmp_path / "in")
    (folder / "LICENSE").write_text("CC BY 4.0\n")
    prepare(f"{folder},depth_scale=1000", str(tmp_path / "one"), SIZE)
    prepare(f"store:{tmp_path / 'one'}", str(tmp_path / "two"), (6, 8))
    for place in ("one", "two"):
        manifest = json.loads((tmp_path / place / "manifest.json").read_text())
        assert manifest["splits"]["train"]["licence"] == "CC BY 4.0 (LICENSE)"
    assert main(["data", "inspect", str(tmp_path / "two")]) == 0
    assert "Licence: CC BY 4.0 (LICENSE)" in capsys.readouterr().out


def test_others_can_read_the_shards(whole: Path) -> None:
    table = pa.ipc.open_file(whole / "train" / "00000.arrow").read_all()
    assert table.column_names == ["name", "image", "depth", "intrinsics", "crc32"]
    assert table["name"].to_pylist() == ["hall/0000", "hall/0001"]
    assert table["depth"].combine_chunks().to_numpy_ndarray().shape == (2, 1, HEIGHT, WIDTH)


def test_a_store_of_a_store_is_one(whole: Path, tmp_path: Path) -> None:
    prepare(f"store:{whole}", str(tmp_path / "half"), (6, 8))
    half = open_data(f"store:{tmp_path / 'half'}", "train")
    assert half[4].size == (6, 8)
    assert half[4].name == "hall/0004"


def test_an_unreadable_file_stops_it_or_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rng = np.random.default_rng(0)
    for index in range(5):
        _write(tmp_path / "in", index, HEIGHT, WIDTH, rng, 5.0)
    bad = tmp_path / "in" / "rgb" / "0002.png"
    bad.write_bytes(bad.read_bytes()[:80])
    command = f"data prepare {tmp_path / 'in'} --out {tmp_path / 'out'} --size {HEIGHT}:{WIDTH}".split()
    assert main([*command, "--workers", "1"]) == 1
    assert f"Cannot read {bad}" in capsys.readouterr().err
    assert main([*command, "--workers", "0", "--skip-unreadable"]) == 1
    assert (
        f"train: 4 samples in 1 shards, 1 of them written now\n  left out: Cannot read {bad}" in capsys.readouterr().out
    )
    data = open_data(f"store:{tmp_path / 'out'}", "train")
    assert [data[index].name for index in range(len(data))] == [f"in/000{number}" for number in (0, 1, 3, 4)]


@pytest.mark.parametrize(
    ("out", "size", "message"),
    [
        ("https://host/a", "12:16", "https://host/a can only be read"),
        ("nowhere://a", "12:16", "nowhere://a: Protocol not known: nowhere"),
        ("out", "12x16", "'12x16' is no size: write HEIGHT:WIDTH"),
        ("out", "0:16", "'0:16' is no size"),
    ],
)
def test_what_cannot_be_is_refused(
    out: str, size: str, message: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    place = out if "://" in out else str(tmp_path / out)
    assert main(["data", "prepare", source, "--out", place, "--size", size]) == 1
    assert message in capsys.readouterr().err


def test_a_newer_or_broken_manifest_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(BadInput, match="is of format 2, newer than this leadline: upgrade it"):
        open_data(f"store:{copy}", "train")
    (copy / "manifest.json").write_text("{")
    with pytest.raises(BadInput, match="if it is damaged, delete the store and prepare it again"):
        open_data(f"store:{copy}", "train")
