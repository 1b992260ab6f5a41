"""NYU Depth v2, labelled: 1449 indoor photographs, 480 × 640, with Kinect depth registered to them.

Silberman et al. 2012, https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html.

Expected tree:

    data/nyu/nyu_depth_v2_labeled.mat    2,972,037,809 bytes, MATLAB v7.3 (an HDF5 file)
    data/nyu/splits.mat                  2,626 bytes, MATLAB v5: 795 training and 654 test numbers, from 1; with another
                                         SHA-256 than below the dataset's name says `own split`

Unit: metres along the optical axis. Traps: MATLAB writes columns first, so all sides are transposed; `depths` has its
holes painted in by an algorithm, only `rawDepths` was measured, and the published numbers are taken on the latter;
the photographs keep a white frame of some 8 pixels, outside the Eigen crop; testing on the 1449 or training on the
654 is the classic leak.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import torch
from scipy.io.matlab import MatReadError

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, check_known
from leadline.core.paths import StrPath
from leadline.core.sample import Sample
from leadline.data.datasets.pairs import check_split

LICENCE = (
    "For research; no licence to redistribute, nor one for weights trained on it, is stated: "
    "https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html"
)
TRUTHS = {"raw": "rawDepths", "filled": "depths"}
"""Name → array of the file: what the Kinect measured, holes left open; or the same with its holes painted in."""
CAMERA = (518.85790117450188, 519.46961112127485, 325.58244941119034 - 1, 253.73616633400465 - 1)
"""fx, fy, cx, cy of the colour camera: the toolbox's `camera_params.m`, whose first pixel is (1, 1)."""
LABELLED_FILE, SPLITS_FILE = "nyu_depth_v2_labeled.mat", "splits.mat"
IMAGES = 1449
SPLITS_DIGEST = "6e081404491a8bfba2f066beaa9713ef6046f9007aa5f799f2a350506a580cee"
"""SHA-256 of the published file of that name."""


@dataclass(frozen=True)
class Nyu:
    """Some of the labelled images; build it with `nyu`. Each opens the file anew, so that processes share nothing."""

    name: str
    kind: DepthKind
    path: Path
    """The folder of the two files."""
    truth: str
    """A key of `TRUTHS`."""
    numbers: tuple[int, ...]
    """Numbers of the images in the file, from 0."""
    scenes: tuple[str, ...]
    """The scene of each of them: `kitchen_0004a`."""

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sample:
        number = self.numbers[index]
        with _labelled(self.path) as file:
            pixels, metres = file["images"][number], file[TRUTHS[self.truth]][number]
        image = torch.from_numpy(pixels.swapaxes(1, 2) / np.float32(255))
        depth = torch.from_numpy(metres.T.astype(np.float32))[None]
        valid = depth.isfinite() & (depth > 0)
        name = f"{self.scenes[index]}/{number + 1:04d}"
        return Sample(image, depth.where(valid, 0), valid, self.kind, torch.tensor(CAMERA), name)


def nyu(split: str, *, path: StrPath = Path("data/nyu"), truth: str = "raw", holdout: int = 10) -> Nyu:
    """Open the official training (795) and test (654) images, or validation images held out of the training.

    "val" is every tenth room of the official training images (`kitchen_0004a` and `b` are one room), in the order
    of their names, so that it shares no room with "train", which is the rest, and no image with "test". Published
    methods train on all 795: `holdout=0` gives them to "train" and leaves no "val". The dataset's name says so.

    Args:
        split: "train", "val" or "test".
        path: the folder of the two files.
        truth: "raw" is what the Kinect measured, holes left open; "filled" has them painted in.
        holdout: every n-th room is kept for "val"; 0 keeps none.

    Raises:
        NoSplit: "val" where none is held out.
        BadInput: a file is missing, truncated or not the official one.
    """
    path = Path(path)
    check_known("truth", truth, TRUTHS)
    check_split(split)
    if split == "val" and holdout < 1:
        raise NoSplit(f"holdout={holdout} leaves nothing for val: state holdout=10, for every tenth training room.")
    scenes = _scenes(path)
    training, test = _official_split(path, len(scenes))
    official = test if split == "test" else training
    held_out = set(sorted({room(scenes[number]) for number in training})[::holdout]) if holdout > 0 else set()
    numbers = [
        number for number in official if split == "test" or (room(scenes[number]) in held_out) == (split == "val")
    ]
    share = "" if len(numbers) == len(official) else f" ({len(numbers)} of {len(official)})"
    is_own = len(scenes) == IMAGES and sha256((path / SPLITS_FILE).read_bytes()).hexdigest() != SPLITS_DIGEST
    remarks = ["own split" if is_own else "", "" if truth == "raw" else truth]
    name = ", ".join([f"nyu {split}{share}", *filter(None, remarks)])
    return Nyu(name, DepthKind.METRIC, path, truth, tuple(numbers), tuple(scenes[number] for number in numbers))


def room(scene: str) -> str:
    """Return the room of a scene: `kitchen_0004a` and `kitchen_0004b` are parts of `kitchen_0004`."""
    return re.sub(r"[a-z]$", "", scene)


def _scenes(path: Path) -> list[str]:
    """Return the scene of each image, after checking that the file is the official one."""
    with _labelled(path) as file:
        arrays = {"images", "scenes", *TRUTHS.values()}
        if missing := sorted(arrays - file.keys()):
            raise BadInput(f"{path / LABELLED_FILE} holds no {' and no '.join(missing)}: it is not the official file.")
        # MATLAB keeps a list of texts as references to arrays of UTF-16 units.
        return ["".join(map(chr, file[reference][()].ravel())) for reference in file["scenes"][()].ravel()]


def _official_split(path: Path, images: int) -> tuple[list[int], list[int]]:
    """Return the numbers of the training and the test images in the file, from 0."""
    file = _existing(path, SPLITS_FILE)
    try:
        content = scipy.io.loadmat(file)
        training, test = (sorted(content[key].ravel() - 1) for key in ("trainNdxs", "testNdxs"))
    except (OSError, ValueError, KeyError, NotImplementedError, MatReadError) as error:
        raise BadInput(f"{file} is damaged or not the official file ({error}). Download it again.") from error
    numbers = set(training) | set(test)
    if len(numbers) < len(training) + len(test) or not numbers <= set(range(images)):
        raise BadInput(f"{file} does not belong to the {images} images of {path / LABELLED_FILE}. Download both again.")
    return [int(number) for number in training], [int(number) for number in test]


@contextmanager
def _labelled(path: Path) -> Iterator[Any]:
    """Open the HDF5 file of the images, read-only (`Any`: h5py's types do not tell an array from a group)."""
    file = _existing(path, LABELLED_FILE)
    try:
        with h5py.File(file) as content:
            yield content
    except OSError as error:
        size = f"it has {file.stat().st_size:,} bytes, the official file 2,972,037,809"
        raise BadInput(f"{file} is truncated or damaged ({size}). Download it again. See docs/datasets.md.") from error


def _existing(path: Path, name: str) -> Path:
    if not (path / name).is_file():
        found = len(list(path.iterdir())) if path.is_dir() else 0
        raise BadInput(f"NYUv2 needs {name} in {path} (found {found} files). See docs/datasets.md.")
    return path / name
