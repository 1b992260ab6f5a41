"""ScanNet, exported: 1513 scans of rooms with a Structure sensor on a tablet, depth 480 × 640, photographs 968 × 1296.

Dai et al. 2017, http://www.scan-net.org. Many other scans are exported alike.

Expected tree (what ScanNet's `SensReader` writes with all its exports):

    data/scannet/scene0000_00/color/0.jpg
    data/scannet/scene0000_00/depth/0.png
    data/scannet/scene0000_00/intrinsic/intrinsic_color.txt      4 × 4, of the photograph's size
    data/scannet/scannetv2_{train,val,test}.txt                  a scene a line

The lists are those of https://github.com/ScanNet/ScanNet, `Tasks/Benchmark/`: their SHA-256 are below; with others the
dataset's name says `own list`. The MIT licence there is for code, so they are not shipped.

Unit: millimetres along the optical axis, 16-bit PNG, 0 not measured. The files do not say so: it is this reader's
rule, and scans of another unit need `depth_scale`.
Traps: the photograph is twice the size of the depth map; it is made as small as the map here, and its intrinsics with
it, so that what was measured stays as it is. Both have one view, up to their calibration. The frames are numbered
without zeros before them: sorted as texts, 10 comes before 2. `scene0000_00` and `scene0000_01` are one room.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from leadline.core.camera import intrinsics_of_matrix, resize_intrinsics
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit
from leadline.core.paths import StrPath
from leadline.core.sample import Sample
from leadline.data.datasets.depth_reading import DepthReading
from leadline.data.datasets.folder import Pair, check_camera
from leadline.data.datasets.pairs import FilePairs, check_every, check_split, is_published, missing_files, scenes_for
from leadline.data.datasets.projection import shrink_photo
from leadline.io.images import read_image

LICENCE = "Terms to be signed, for research only: http://www.scan-net.org"
LISTS = {
    "train": "96acca299b7855f02824c496b19077904d80996e7ced1bb9f0dac98f7dd4d0c8",
    "val": "d75d4971c3fa7128c643695840e279042c212ef904fe933bd00cf9918c61b083",
    "test": "0214c6a3b1ee516ad653393b0321e7c0394c7662a4b3702eac1ddd7fbc00f7e0",
}
"""Split → SHA-256 of its list: 1201, 312 and 100 scenes."""
STEPS = 1000.0
"""Steps per metre, as published."""


def scannet(
    split: str,
    *,
    path: StrPath = Path("data/scannet"),
    depth_scale: float = STEPS,
    every: int = 1,
    val: str = "",
    test: str = "",
) -> FilePairs:
    """Open scenes exported as ScanNet's, in its official splits where their lists are found, else in stated ones.

    Args:
        split: "train", "val" or "test".
        path: the folder of the scenes.
        depth_scale: steps of the depth files that make a metre, where another camera's scans were exported alike.
        every: takes every n-th frame of a scene: neighbours hardly differ.
        val: without lists, patterns of scenes to keep for "val", separated by `|`: `scene07*`.
        test: likewise.

    Raises:
        NoSplit: a split that neither a list nor a pattern makes.
        BadInput: no scene, or a photograph without its depth.
    """
    path = Path(path)
    check_split(split)
    check_every(every)
    scenes = sorted(folder.parent for folder in path.glob("*/color") if (folder.parent / "depth").is_dir())
    if not scenes:
        raise missing_files("ScanNet", path, "SCENE/color/0.jpg", "SCENE/depth/0.png")
    source = ""
    lists = sorted(file.stem.removeprefix("scannetv2_") for file in path.glob("scannetv2_*.txt"))
    if lists:
        if split not in lists:
            raise NoSplit(f"{path} has lists of {', '.join(lists)}: put scannetv2_{split}.txt beside them.")
        content = (path / f"scannetv2_{split}.txt").read_bytes()
        source = "official split" if is_published(content, LISTS[split]) else "own list"
        listed = set(content.decode(errors="replace").split())
        scenes = [scene for scene in scenes if scene.name in listed]
        if not scenes:
            raise BadInput(f"None of the {len(listed)} scenes of scannetv2_{split}.txt is in {path}.")
    pairs = [pair for scene in scenes for pair in _pairs(scene)[::every]]
    taken = tuple(pairs) if lists else scenes_for(split, pairs, path, val=val, test=test)
    unit = "" if depth_scale == STEPS else f"depth_scale={depth_scale:g}"
    name = ", ".join([f"scannet {split}", *filter(None, [source, f"every={every}" if every > 1 else "", unit])])
    return FilePairs(name, DepthKind.METRIC, taken, partial(_read, reading=DepthReading(depth_scale)))


def _pairs(scene: Path) -> list[Pair]:
    """Return the frames of a scene, in the order in which they were taken."""
    camera = _camera(scene / "intrinsic" / "intrinsic_color.txt")
    depths = sorted((scene / "depth").glob("*.png"), key=_number)
    photos = {file.stem: file for file in (scene / "color").iterdir() if file.suffix in (".jpg", ".png")}
    if alone := [file for file in depths if file.stem not in photos]:
        raise BadInput(f"{len(alone)} depth maps of {scene} have no photograph in color/, first {alone[0].name}.")
    return [Pair(f"{scene.name}/{file.stem}", photos[file.stem], file, camera) for file in depths]


def _number(file: Path) -> tuple[int, str]:
    return (int(file.stem) if file.stem.isdecimal() else 0, file.stem)


def _camera(file: Path) -> tuple[float, ...] | None:
    """Read fx, fy, cx, cy of the photograph at its own size; None where they were not exported."""
    if not file.is_file():
        return None
    try:
        matrix = np.array([float(word) for word in file.read_text(encoding="utf-8").split()])
        return intrinsics_of_matrix(matrix.reshape(3 if matrix.size == 9 else 4, -1))
    except (ValueError, IndexError) as error:
        raise BadInput(f"{file} must hold a matrix of 4 × 4 numbers ({error}).") from error


def _read(pair: Pair, *, reading: DepthReading) -> Sample:
    photo, measured = read_image(pair.image), reading.read(pair.depth, DepthKind.METRIC, None)
    intrinsics = None if pair.intrinsics is None else torch.tensor(pair.intrinsics)
    check_camera(pair, intrinsics, photo)
    before, after = (photo.shape[1], photo.shape[2]), (measured.depth.shape[1], measured.depth.shape[2])
    if pair.intrinsics is not None:
        intrinsics = torch.tensor(resize_intrinsics(pair.intrinsics, before, after))
    return Sample(shrink_photo(photo, after), measured.depth, measured.valid, DepthKind.METRIC, intrinsics, pair.name)
