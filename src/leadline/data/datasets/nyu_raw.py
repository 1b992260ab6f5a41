"""NYU Depth v2, raw: 407,024 frames of 464 scenes as the Kinect v1 recorded them, registered as the labelled set is.

Silberman et al. 2012, https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html ("Raw dataset", 428 GB, in parts).

Expected tree (a part's folder may stand between):

    data/nyu_raw/kitchen_0004/r-1294886360.778760-3118787619.ppm     photographs, 480 × 640
    data/nyu_raw/kitchen_0004/d-1294886360.793877-3136372612.pgm     depth dumps: seconds, then the Kinect's own clock
    data/nyu_raw/kitchen_0004/a-….dump                               accelerometer, not read
    data/nyu/                                                        the labelled set, which says what is for the test

Unit: 11-bit numbers of the sensor; metres = 351.3 / (1092.5 − number), 2047 where nothing was measured.
Traps: the PGM files are little-endian against their format, so that readers see swapped bytes (corrected files are
recognised); photographs and depth were taken at different times, by two cameras, each with its own lens; the
test rooms of the labelled set are among these scenes.

The numbers are those of the dataset's toolbox (`camera_params.m`, `depth_rel2depth_abs.m`, `project_depth_map.m`,
`get_synched_frames.m`): nearer than 0.71 m (number 600) counts as not measured, and the depth is that before the depth
camera, as in the labelled set (in front of the colour camera it differs by some thousandths). Unlike there, each
measured pixel is projected on its own, instead of numbers mixed across edges by undistorting the map first, and what
the toolbox cuts to 10 m is not measured.
"""

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from leadline.core.camera import camera_matrix, project
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, UnreadableFile
from leadline.core.paths import StrPath
from leadline.core.sample import ImageTensor, Sample
from leadline.data.datasets.folder import Pair
from leadline.data.datasets.nyu import CAMERA, nyu, room
from leadline.data.datasets.nyu import LICENCE as NYU_LICENCE
from leadline.data.datasets.pairs import FilePairs, check_split, missing_files
from leadline.data.datasets.projection import nearest_wins, pixel_rays
from leadline.io.images import read_image

LICENCE = NYU_LICENCE
SIZE = (480, 640)
COLOUR_LENS = (
    2.0796615318809061e-01,
    -5.8613825163911781e-01,
    7.2231363135888329e-04,
    1.0479627195765181e-03,
    4.9856986684705107e-01,
)
"""k1, k2, p1, p2, k3."""
DEPTH_CAMERA = (5.8262448167737955e02, 5.8269103270988637e02, 3.1304475870804731e02 - 1, 2.3844389626620386e02 - 1)
"""fx, fy, cx, cy; the toolbox's first pixel is (1, 1)."""
DEPTH_LENS = (
    -9.9897236553084481e-02,
    3.9065324602765344e-01,
    1.9290592870229277e-03,
    -1.9422022475975055e-03,
    -5.1031725053400578e-01,
)
ROTATION = np.array(
    [
        [9.9997798940829263e-01, 5.0518419386157446e-03, 4.3011152014118693e-03],
        [-5.0359919480810989e-03, 9.9998051861143999e-01, -3.6879781309514218e-03],
        [-4.3196624923060242e-03, 3.6662365748484798e-03, 9.9998394948385538e-01],
    ]
)
TRANSLATION = np.array([2.5031875059141302e-02, -2.9342312935846411e-04, 6.6238747008330102e-04])
"""A point before the colour camera is `inv(ROTATION)` times that before the depth camera, less this, in metres. The
toolbox takes the last two the other way round than it names them; so do all data made with it."""
MIN_NUMBER = 600
"""The toolbox takes lower numbers for errors of the distortion."""
NOT_MEASURED = 2047
"""The sensor's highest number: nothing was measured."""
MAX_DEPTH = 10.0
"""Metres that the toolbox cuts depth to."""


def nyu_raw(
    split: str,
    *,
    path: StrPath = Path("data/nyu_raw"),
    labelled: StrPath | None = Path("data/nyu"),
    holdout: int = 10,
    every: int = 1,
    max_difference: float = 0.1,
) -> FilePairs:
    """Open the depth maps, each with the photograph nearest in time, undistorted and projected to the colour camera.

    Args:
        split: "train", "val" or "test", as the rooms of the labelled set.
        path: the folder of the scenes, or of the parts that hold them.
        labelled: the folder of the labelled set: a scene is in the split that its room is in there, and scenes of the
            test's rooms are never for training. None takes all scenes for "train".
        holdout: every n-th room is kept for "val", as in `nyu`.
        every: takes every n-th frame of a scene: 20 or 30 a second hardly differ.
        max_difference: seconds that may lie between a photograph and its depth; the toolbox sets no limit.

    Raises:
        NoSplit: "val" or "test" without the labelled set.
        BadInput: no scene, or none of this split.
    """
    labelled = None if labelled is None else Path(labelled)
    path = Path(path)
    check_split(split)
    if labelled is None and split != "train":
        raise NoSplit(f"Which scenes are for {split} is in the labelled set: state labelled=data/nyu.")
    if every < 1:
        raise BadInput(f"every={every} takes no frame: state every=1 for all of them.")
    rooms = None if labelled is None else {room(scene) for scene in nyu(split, path=labelled, holdout=holdout).scenes}
    pairs: list[Pair] = []
    scenes = list(_scenes(path))
    for folder, names in scenes:
        if rooms is None or room(folder.name) in rooms:
            pairs += _synchronised(folder, names, max_difference)[::every]
    if not scenes:
        raise missing_files("NYUv2 raw", path, "SCENE/d-*.pgm", "SCENE/r-*.ppm")
    if not pairs:
        raise BadInput(f"None of the {len(scenes)} scenes in {path} is for {split}.")
    remarks = ["all scenes" if rooms is None else "", f"every={every}" if every > 1 else ""]
    return FilePairs(", ".join([f"nyu_raw {split}", *filter(None, remarks)]), DepthKind.METRIC, tuple(pairs), _read)


def _scenes(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield folders of frames and the names of their files, in the order of their names."""
    for folder, below, names in os.walk(path):
        below.sort()
        if any(name.startswith("d-") for name in names):
            yield Path(folder), names


def _synchronised(folder: Path, names: list[str], max_difference: float) -> list[Pair]:
    """Pair each depth map of a scene with the photograph nearest in time."""
    depths, photos = (
        sorted((_seconds(folder / name), name) for name in names if name.startswith(start) and name.endswith(end))
        for start, end in (("d-", ".pgm"), ("r-", ".ppm"))
    )
    if not photos:
        return []
    times = np.array([seconds for seconds, _ in photos])
    pairs = []
    for seconds, name in depths:
        nearest = int(np.abs(times - seconds).argmin())
        if abs(times[nearest] - seconds) <= max_difference:
            stem = name.removeprefix("d-").removesuffix(".pgm")
            pairs.append(Pair(f"{folder.name}/{stem}", folder / photos[nearest][1], folder / name, CAMERA))
    return pairs


def _seconds(file: Path) -> float:
    try:
        return float(file.name.split("-")[1])
    except (ValueError, IndexError) as error:
        raise BadInput(f"{file} has no time in its name, as in d-1294886360.793877-3136372612.pgm.") from error


def _read(pair: Pair) -> Sample:
    depth = torch.from_numpy(_registered(_numbers(pair.depth)))[None]
    photo = _undistorted(read_image(pair.image), pair.image)
    return Sample(photo, depth, depth > 0, DepthKind.METRIC, torch.tensor(CAMERA), pair.name)


def _numbers(file: Path) -> np.ndarray:
    """Read the sensor's numbers, in whichever byte order gives 11 bits."""
    content = file.read_bytes()
    header = re.match(rb"P5\s+(\d+)\s+(\d+)\s+65535\s", content)
    size = header and (int(header[2]), int(header[1]))
    if not header or size != SIZE or len(content) != header.end() + 2 * SIZE[0] * SIZE[1]:
        what = "it is no depth dump of 640 × 480, or its end is missing"
        raise UnreadableFile(f"Cannot read {file}: {what}. Copy it again, or leave it out.")
    for order in ("<u2", ">u2"):
        numbers = np.frombuffer(content, order, offset=header.end()).reshape(SIZE)
        if numbers.max() <= NOT_MEASURED:
            return numbers
    raise UnreadableFile(f"{file} holds {numbers.max()}, and the Kinect's numbers end at {NOT_MEASURED}. Leave it out.")


def _registered(numbers: np.ndarray) -> np.ndarray:
    """Project the sensor's numbers, as metres, to the pixels of the undistorted photograph; 0 where none falls."""
    metres = 351.3 / (1092.5 - numbers.astype(np.float64))
    measured = (numbers >= MIN_NUMBER) & (metres > 0) & (metres < MAX_DEPTH)
    z = metres[measured]
    x, y = pixel_rays(DEPTH_CAMERA, DEPTH_LENS, SIZE)[:, measured] * z
    seen = np.linalg.inv(ROTATION) @ np.stack([x, y, z]) - TRANSLATION[:, None]
    columns, rows = project(seen[0], seen[1], seen[2], CAMERA)
    return nearest_wins(np.rint(columns), np.rint(rows), z, SIZE)


def _undistorted(photo: ImageTensor, file: Path) -> ImageTensor:
    """Undistort the photograph; pixels outside of it are white, as in the labelled set."""
    if photo.shape[1:] != SIZE:
        raise BadInput(f"{file} is {photo.shape[2]} × {photo.shape[1]} pixels, and raw frames are 640 × 480.")
    pixels = photo.permute(1, 2, 0).numpy()
    straight = cv2.remap(pixels, *_map(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(1, 1, 1))
    return torch.from_numpy(straight).permute(2, 0, 1).contiguous()


@lru_cache(maxsize=1)
def _map() -> tuple[np.ndarray, np.ndarray]:
    """Return for each pixel of the undistorted photograph its place in the original."""
    camera, lens = camera_matrix(CAMERA), np.array(COLOUR_LENS)
    columns, rows = cv2.initUndistortRectifyMap(camera, lens, np.eye(3), camera, SIZE[::-1], cv2.CV_32FC1)
    return columns, rows
