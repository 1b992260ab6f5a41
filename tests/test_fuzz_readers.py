"""Damaged files: whatever is wrong with one, the reader says that it cannot read it and which it is."""

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline.cli.main import main
from leadline.core.errors import BadInput, UnreadableFile
from leadline.data.datasets import open_data
from leadline.data.prepare import prepare
from leadline.io.depth_maps import DepthMap, read_depth, write_depth
from leadline.io.images import read_camera, read_image, write_image
from leadline.io.intrinsics import read_intrinsics
from leadline.io.run_folder import create_or_read, read_configuration
from leadline.models.loading import load
from leadline.models.pretrained.hub import read_figures
from leadline.models.registry import build
from leadline.models.saving import save

TRIES = 120
"""Mutations of each file."""


def depth_file(path: Path) -> None:
    depth = torch.rand(1, 9, 7, generator=torch.Generator().manual_seed(1)) + 0.5
    camera = torch.tensor([9.0, 9.0, 3.0, 4.0])
    write_depth(path, DepthMap(depth, depth > 0.6, intrinsics=camera, provenance={"model": "any"}))


def array_file(path: Path) -> None:
    np.save(path, np.random.default_rng(1).random((9, 7), np.float32) + 0.5)


def exr_file(path: Path) -> None:
    openexr = pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install 'leadline[exr]'")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    with openexr.File(header, {"Z": np.random.default_rng(1).random((9, 7), np.float32)}) as file:
        file.write(str(path))


def photograph(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    exif.get_ifd(0x8769)[41989] = 26
    pixels = np.random.default_rng(1).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


DEPTHS = {".png": depth_file, ".tiff": depth_file, ".npz": depth_file, ".pfm": depth_file, ".npy": array_file}
PHOTOGRAPHS = {".jpg": photograph, ".png": photograph, ".tiff": photograph, ".webp": photograph}


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed, a piece cut out or doubled, or the end missing."""
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(damaged) or 1))
        match int(rng.integers(4)):
            case 0:
                damaged[place : place + 1] = bytes([int(rng.integers(256))])
            case 1:
                damaged[place : place + int(rng.integers(1, 9))] = rng.bytes(int(rng.integers(1, 9)))
            case 2:
                del damaged[place : place + int(rng.integers(1, 30))]
            case _:
                damaged[place:place] = damaged[place : place + int(rng.integers(1, 30))]
    return bytes(damaged[: int(rng.integers(len(damaged) + 1))]) if rng.random() < 0.15 else bytes(damaged)


def is_refused(path: Path, read: Callable[[Path], object]) -> bool:
    """Whether the reader says that this file is unusable; any other error ends the test."""
    try:
        read(path)
    except BadInput as fault:
        return path.name in str(fault) or pytest.fail(f"The message does not name {path.name}: {fault}")
    return False


def check(path: Path, make: Callable[[Path], None], read: Callable[[Path], object], tries: int = TRIES) -> None:
    make(path)
    content = path.read_bytes()
    read(path)
    rng = np.random.default_rng((7, len(content)))
    refused = 0
    for _ in range(tries):
        path.write_bytes(mutated(content, rng))
        refused += is_refused(path, read)
    # Damage that matters is found; some bytes matter to nobody.
    assert refused > tries // 20


@pytest.mark.parametrize("suffix", DEPTHS)
def test_a_damaged_depth_map_is_named_and_nothing_else_happens(tmp_path: Path, suffix: str) -> None:
    check(tmp_path / f"map{suffix}", DEPTHS[suffix], lambda path: read_depth(path, kind="metric"))


def test_a_damaged_exr_is_named_and_nothing_else_happens(tmp_path: Path) -> None:
    check(tmp_path / "map.exr", exr_file, lambda path: read_depth(path, kind="metric"), tries=60)


@pytest.mark.parametrize("suffix", PHOTOGRAPHS)
def test_a_damaged_photograph_is_named_and_nothing_else_happens(tmp_path: Path, suffix: str) -> None:
    check(
        tmp_path / f"photo{suffix}", PHOTOGRAPHS[suffix], lambda path: read_camera(path, read_image(path)), tries=TRIES
    )


def test_files_that_once_crashed_a_reader_are_refused_or_read(shared: Path) -> None:
    files = sorted((shared / "cases" / "fuzz").iterdir())
    assert files
    for file in files:
        for read in (lambda path: read_depth(path, depth_scale=1000), read_image):
            is_refused(file, read)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one sample."""
    folder = tmp_path_factory.mktemp("fuzz")
    for place in ("rgb", "depth"):
        (folder / "data" / "train" / place).mkdir(parents=True)
    Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save(folder / "data" / "train" / "rgb" / "a.png")
    metres = DepthMap(torch.ones(1, 9, 12), torch.ones(1, 9, 12, dtype=torch.bool))
    write_depth(folder / "data" / "train" / "depth" / "a.png", metres)
    words = ["data", "prepare", str(folder / "data"), "--split", "train", "--size", "9:12"]
    assert main([*words, "--out", str(folder / "store")]) == 0
    return folder / "store"


def without(manifest: dict, *keys: str) -> dict:
    """The manifest without what lies under these keys."""
    changed = json.loads(json.dumps(manifest))
    inner = changed
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return changed


def test_a_manifest_that_lacks_anything_is_named(prepared: Path, tmp_path: Path) -> None:
    manifest = json.loads((prepared / "manifest.json").read_text())
    paths = [[key] for key in ("format", "kind", "size", "splits")]
    paths += [["splits", "train", key] for key in ("shards", "folder", "licence", "source")]
    paths += [["splits", "train", "source", "name"]]
    damaged = [without(manifest, *keys) for keys in paths]
    damaged += [
        manifest | {key: wrong} for key in ("kind", "size", "splits") for wrong in (None, 3, "x", [], [1], {"a": 1})
    ]
    part = manifest["splits"]["train"]
    damaged += [manifest | {"splits": {"train": part | {"shards": wrong}}} for wrong in ("x", 3, [-1], [0.5], [None])]
    for content in [*map(json.dumps, damaged), "[]", "null", "3", "{", ""]:
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(BadInput, match=r"manifest\.json .*: (delete|if it is damaged, delete)"):
            open_data(f"store:{tmp_path}", "train")


def test_a_damaged_manifest_is_named_and_nothing_else_happens(prepared: Path, tmp_path: Path) -> None:
    content = (prepared / "manifest.json").read_bytes()
    rng = np.random.default_rng(7)
    for _ in range(TRIES):
        (tmp_path / "manifest.json").write_bytes(mutated(content, rng))
        is_refused(tmp_path, lambda path: len(open_data(f"store:{path}", "train")))


def test_scales_in_the_words_of_a_file_are_checked(tmp_path: Path) -> None:
    for told in ("x", "0", "-1", "nan", "inf", ""):
        text = PngInfo()
        text.add_text("leadline:kind", "metric")
        text.add_text("leadline:depth_scale", told)
        Image.fromarray(np.ones((3, 4), np.uint16)).save(tmp_path / "map.png", pnginfo=text)
        with pytest.raises(UnreadableFile, match=r"Cannot read .*map\.png: "):
            read_depth(tmp_path / "map.png")


def test_a_key_that_stands_twice_in_a_json_file_is_refused_with_both_named(tmp_path: Path) -> None:
    """Somebody pastes a corrected line and leaves the old one: the last would count in silence."""

    def twice(file: Path, key: str, value: object) -> Path:
        text = file.read_text()
        head = f'"{key}": {json.dumps(value)},'
        assert f'"{key}"' in text
        file.write_text(text.replace(f'"{key}"', f'{head} "{key}"', 1))
        return file

    save(build("cnn", size="tiny", encoder="test_efficientnet", input_size=(32, 32)), tmp_path / "model")
    twice(tmp_path / "model" / "model.json", "kind", "relative")
    prepare("rooms,count=1,height=32,width=32", tmp_path / "store", (32, 32))
    twice(tmp_path / "store" / "manifest.json", "kind", "relative")
    for folder in ("frames", "scene/rgb", "scene/depth"):
        (tmp_path / folder).mkdir(parents=True)
    write_image(tmp_path / "scene" / "rgb" / "0.png", torch.zeros(3, 9, 7))
    depth_file(tmp_path / "scene" / "depth" / "0.png")
    cameras = tmp_path / "scene" / "scenes.json"
    cameras.write_text('{"scene": {"intrinsics_fx_fy_cx_cy": [9, 9, 3, 4]}}')
    twice(cameras, "scene", {"intrinsics_fx_fy_cx_cy": [90, 90, 3, 4]})
    camera = tmp_path / "camera.json"
    camera.write_text('{"fx": 9, "fy": 9, "cx": 3, "cy": 4}')
    twice(camera, "fx", 90)
    create_or_read(tmp_path / "run.json", {"steps": 3})
    twice(tmp_path / "run.json", "steps", 4)
    scores = tmp_path / "scores.json"
    scores.write_text('{"title": "one", "protocol": {"words": "any"}, "metrics": {"rmse": 1.0}}')
    twice(scores, "rmse", 0.1)
    for read, file, key in (
        (lambda: load(tmp_path / "model"), "model.json", "kind"),
        (lambda: open_data(f"store:{tmp_path / 'store'}", "train"), "manifest.json", "kind"),
        (lambda: open_data(f"{tmp_path / 'scene'}", "train")[0], "scenes.json", "scene"),
        (lambda: read_intrinsics(camera), "camera.json", "fx"),
        (lambda: read_configuration(tmp_path / "run.json"), "run.json", "steps"),
        (lambda: read_figures(scores), "scores.json", "rmse"),
    ):
        with pytest.raises(BadInput, match=rf"{file}.*the key '{key}' stands in it twice"):
            read()


def test_an_array_that_stands_twice_in_an_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "depth.npz"
    depth_file(file)
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(file, "a") as archive,
        archive.open("unit.npy", "w") as member,
    ):
        np.lib.format.write_array(member, np.array("millimetres"))
    with pytest.raises(UnreadableFile, match=r"depth\.npz.*'unit' stands in it twice"):
        read_depth(file)
