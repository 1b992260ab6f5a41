"""TUM RGB-D: hand-held Kinect v1 and Xtion sequences of 480 × 640, the common format of SLAM benchmarks.

Sturm et al. 2012, https://cvg.cit.tum.de/data/datasets/rgbd-dataset.

Expected tree, one sequence or a folder of them:

    data/tum/rgbd_dataset_freiburg1_desk/rgb.txt      lines `1305031452.791720 rgb/1305031452.791720.png`, # comments
    data/tum/rgbd_dataset_freiburg1_desk/depth.txt    lines `1305031452.800260 depth/1305031452.800260.png`
    data/tum/rgbd_dataset_freiburg1_desk/{rgb,depth}/…

Unit: 16-bit PNG, metres × 5000 (also where tools say 5208: the files are corrected already), 0 not measured; depth is
registered to the photograph. The files do not say so: it is this reader's rule, and what another camera wrote in the
same layout needs its own, `depth_scale=1000` for millimetres.
Traps: photographs and depth are taken at different times and have different names; pairing them by order shifts them.
The intrinsics are those of https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats; the lenses of
freiburg1 and 2 distort, which neither the pictures nor these four numbers correct.
"""

import re
from pathlib import Path

import numpy as np

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.data.datasets.depth_reading import DepthReading
from leadline.data.datasets.folder import FolderDataset, Pair
from leadline.data.datasets.pairs import missing_files, scenes_for

LICENCE = "CC BY 4.0 unless a sequence states otherwise: https://cvg.cit.tum.de/data/datasets/rgbd-dataset"
CAMERAS = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
"""Part of a sequence's name → fx, fy, cx, cy of its colour camera in pixels."""
CAMERA_SIZE = (480, 640)
"""Height and width of the photographs that they are for."""
STEPS = 5000.0
"""Steps per metre, as published."""


def tum(
    split: str,
    *,
    path: StrPath = Path("data/tum"),
    depth_scale: float = STEPS,
    max_difference: float = 0.02,
    val: str = "",
    test: str = "",
) -> FolderDataset:
    """Open sequences in TUM's format; which of them are for "val" and "test" has to be stated.

    Args:
        split: "train", "val" or "test".
        path: a sequence, or the folder of several.
        depth_scale: steps of the depth files that make a metre, where another camera wrote the same layout.
        max_difference: seconds that may lie between a photograph and its depth.
        val: patterns of sequences to keep for "val", separated by `|`: `*freiburg3*`.
        test: likewise.

    Raises:
        NoSplit: a split without a pattern.
        BadInput: no sequence, a damaged list, or no photograph that has depth at its time.
    """
    path = Path(path)
    sequences = [path] if (path / "rgb.txt").is_file() else sorted(file.parent for file in path.glob("*/rgb.txt"))
    if not sequences:
        raise missing_files("TUM RGB-D", path, "SEQUENCE/rgb.txt", "SEQUENCE/depth.txt")
    pairs = [pair for sequence in sequences for pair in _pairs(sequence, max_difference)]
    return FolderDataset(
        f"tum {split}{'' if depth_scale == STEPS else f', depth_scale={depth_scale:g}'}",
        DepthKind.METRIC,
        scenes_for(split, pairs, path, val=val, test=test),
        DepthReading(depth_scale),
        CAMERA_SIZE,
    )


def _pairs(sequence: Path, max_difference: float) -> list[Pair]:
    """Pair the photographs of a sequence, in the order of their times, with the depth nearest in time."""
    photos, maps = _listed(sequence / "rgb.txt"), _listed(sequence / "depth.txt")
    matches = associate([time for time, _ in photos], [time for time, _ in maps], max_difference)
    if not matches:
        raise BadInput(f"No photograph of {sequence} has depth within {max_difference:g} s: state max_difference=….")
    name = sequence.resolve().name
    found = re.search(r"freiburg[123]", name)
    camera = CAMERAS[found[0]] if found else None
    return [
        Pair(f"{name}/{Path(photos[i][1]).stem}", sequence / photos[i][1], sequence / maps[j][1], camera)
        for i, j in matches
    ]


def associate(ones: list[float], others: list[float], max_difference: float) -> list[tuple[int, int]]:
    """Match times, the nearest first, each once, by the rule of TUM's `associate.py`.

    Args:
        ones: seconds.
        others: seconds.
        max_difference: seconds that may lie between two that match.

    Returns:
        Pairs of indices into `ones` and `others`, in the order of `ones`.
    """
    times = np.array(others)
    order = np.argsort(times, kind="stable")
    near: list[tuple[float, int, int]] = []
    for place, time in enumerate(ones):
        first, last = np.searchsorted(times[order], (time - max_difference, time + max_difference))
        near += [(abs(float(times[other]) - time), place, int(other)) for other in order[first:last]]
    taken_ones, taken_others, matches = set(), set(), []
    for _, place, other in sorted(near):
        if place not in taken_ones and other not in taken_others:
            taken_ones.add(place)
            taken_others.add(other)
            matches.append((place, other))
    return sorted(matches)


def _listed(file: Path) -> list[tuple[float, str]]:
    """Read the seconds and the file of each line."""
    if not file.is_file():
        raise missing_files("TUM RGB-D", file.parent, file.name)
    rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    try:
        return [(float(seconds), name) for seconds, name, *_ in rows]
    except ValueError as error:
        raise BadInput(f"{file} must hold lines `SECONDS FILE` ({error}). Download it again.") from error
