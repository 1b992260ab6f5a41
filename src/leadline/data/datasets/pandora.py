"""Pandora: 250,000 frames of 22 people before a Kinect One, sitting as drivers do and turning their heads.

Borghi et al. 2017 (POSEidon), https://aimagelab.ing.unimore.it/pandora.

Expected tree (`NN` is a person, `base_1_ID01` a sequence of theirs):

    data/pandora/NN/base_1_ID01/RGB/000000_RGB.png         1080 × 1920, with an alpha channel
    data/pandora/NN/base_1_ID01/DEPTH/000000_DEPTH.png     424 × 512
    data/pandora/NN/base_1_ID01/data.json                  poses, not read

Unit: millimetres along the optical axis, 16-bit PNG, 0 not measured.
Traps: the photograph and the depth map are of two cameras 52 mm apart, of other sizes and other angles of view
(84° × 54° and 71° × 60°), and no calibration comes with them. Those who use Pandora pair crops about the head, or
stretch one onto the other, which their angles of view forbid. Here every measured pixel is projected into the
photograph, made a third as large (360 × 640), where one covers the other; its sides, which the depth camera does not
see, are not measured.
What is approximate: the numbers are those of other Kinect One devices (libfreenect2 and its users publish them: the
colour camera's are the same for all, the depth camera's and its lens's one example), and that the cameras look the same
way. Expect edges off by a pixel or two, which are 3 to 6 of the original photograph.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from leadline.core.camera import project, resize_intrinsics
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.core.sample import Sample
from leadline.data.datasets.folder import Pair
from leadline.data.datasets.pairs import FilePairs, check_every, check_split, missing_files, scenes_for
from leadline.data.datasets.projection import nearest_wins, pixel_rays, shrink_photo
from leadline.io.depth_maps import read_depth
from leadline.io.images import read_image

LICENCE = "On request, for science, not for commercial use: https://aimagelab.ing.unimore.it/pandora"
PHOTO_SIZE, DEPTH_SIZE, SIZE = (1080, 1920), (424, 512), (360, 640)
COLOUR_CAMERA = (1081.3720703125, 1081.3720703125, 959.5, 539.5)
"""fx, fy, cx, cy of the whole photograph; its lens hardly distorts."""
DEPTH_CAMERA = (365.456, 365.456, 254.878, 205.395)
DEPTH_LENS = (0.0905474, -0.26819, 0.0, 0.0, 0.0950862)
"""k1, k2, p1, p2, k3."""
CAMERA_BASELINE = 0.052
"""Metres between the two cameras."""
TEST = "10|14|16|20"
"""The people whom the paper keeps for its test."""


def pandora(
    split: str,
    *,
    path: StrPath = Path("data/pandora"),
    every: int = 1,
    is_mirrored: bool = True,
    val: str = "",
    test: str = TEST,
) -> FilePairs:
    """Open frames of people, their depth projected into the photograph with published numbers: approximate.

    Args:
        split: "train", "val" or "test".
        path: the folder of the people.
        every: takes every n-th frame of a sequence: 30 a second hardly differ.
        is_mirrored: frames are as the Kinect gives them, as in a mirror; it says on which side the other camera is.
        val: people to keep for "val", separated by `|`: `04|05`.
        test: likewise, other than the paper's.

    Raises:
        NoSplit: "val" without people.
        BadInput: no sequence, or a depth map without its photograph.
    """
    path = Path(path)
    check_split(split)
    check_every(every)
    sequences = sorted(folder.parent for folder in path.glob("*/*/DEPTH") if (folder.parent / "RGB").is_dir())
    if not sequences:
        raise missing_files(
            "Pandora", path, "NN/base_1_ID01/RGB/000000_RGB.png", "NN/base_1_ID01/DEPTH/000000_DEPTH.png"
        )
    pairs = [pair for sequence in sequences for pair in _pairs(sequence)[::every]]
    # A person is named by the folder; a pattern of sequences is of all of theirs.
    val, test = ("|".join(f"{person}/*" for person in people.split("|") if person) for people in (val, test))
    taken = scenes_for(split, pairs, path, val=val, test=test)
    remarks = [f"every={every}"] if every > 1 else []
    read = partial(_read, baseline=CAMERA_BASELINE if is_mirrored else -CAMERA_BASELINE)
    return FilePairs(", ".join([f"pandora {split}", *remarks]), DepthKind.METRIC, taken, read)


def _pairs(sequence: Path) -> list[Pair]:
    person = sequence.parent.name
    pairs = []
    for depth in sorted((sequence / "DEPTH").glob("*_DEPTH.png")):
        stem = depth.stem.removesuffix("_DEPTH")
        pairs.append(Pair(f"{person}/{sequence.name}/{stem}", sequence / "RGB" / f"{stem}_RGB.png", depth))
    if alone := [pair for pair in pairs if not pair.image.is_file()]:
        raise BadInput(f"{len(alone)} depth maps of {sequence} have no photograph, first {alone[0].image}.")
    return pairs


def _read(pair: Pair, *, baseline: float) -> Sample:
    photo, measured = read_image(pair.image), read_depth(pair.depth, depth_scale=1000.0, kind=DepthKind.METRIC)
    for file, found, (height, width) in ((pair.image, photo, PHOTO_SIZE), (pair.depth, measured.depth, DEPTH_SIZE)):
        if found.shape[1:] != (height, width):
            size = f"{found.shape[2]} × {found.shape[1]}"
            raise BadInput(f"{file} is {size} pixels, and Pandora's are {width} × {height}.")
    camera = resize_intrinsics(COLOUR_CAMERA, PHOTO_SIZE, SIZE)
    depth = torch.from_numpy(_registered(measured.depth[0].numpy(), camera, baseline))[None]
    return Sample(shrink_photo(photo, SIZE), depth, depth > 0, DepthKind.METRIC, torch.tensor(camera), pair.name)


def _registered(metres: np.ndarray, camera: tuple[float, ...], baseline: float) -> np.ndarray:
    """Project a depth map of the Kinect One into the pixels of a photograph, 0 where none falls."""
    measured = metres > 0
    z = metres[measured].astype(np.float64)
    x, y = pixel_rays(DEPTH_CAMERA, DEPTH_LENS, DEPTH_SIZE)[:, measured]
    columns, rows = project(x + baseline / z, y, 1.0, camera)
    return nearest_wins(np.rint(columns), np.rint(rows), z, SIZE)
