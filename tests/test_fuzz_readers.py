"""Damaged files: whatever is wrong with one, the reader says that it cannot read it and which it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadline.core.errors import BadInput
from leadline.io.depth_maps import DepthMap, read_depth, write_depth
from leadline.io.images import read_camera, read_image

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
