"""Pairs of depth maps: predictions in files and the ground truth of the same names, on the same pixels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from leadline.core.arrays import Depth, Mask, as_array, as_tensor
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.io.depth_maps import DEPTH_SUFFIXES, DepthMap
from leadline.io.discovery import find_files
from leadline.io.outputs import COLOUR_SUFFIX, read_leadline_metadata


@dataclass(frozen=True, eq=False)
class Pair:
    """A prediction, in the unit of its kind, and the ground truth of one image, in metres: tensors or arrays."""

    name: str
    predicted: Depth
    """NaN where nothing was predicted."""
    target: Depth
    valid: Mask
    change: str = ""
    """How the prediction came to the size of its ground truth, where it was of another, in words."""
    is_part: bool = False
    """Whether the prediction is of a part of the image, and `valid` lacks what was measured elsewhere."""


def match_maps(predictions: Path, ground_truth: Path) -> tuple[dict[str, tuple[Path, Path]], Counter[str]]:
    """Name → the files of that name in both folders, subfolders included; and why files were left out → how many.

    Raises:
        BadInput: an empty folder, names that differ, or two files of one name.
    """
    (predicted, ignored), (targets, ignored_too) = _named_maps(predictions), _named_maps(ground_truth)
    if predicted.keys() != targets.keys():
        lacking = [
            f"{len(names)} in {folder} only ({', '.join(sorted(names)[:3])}{', …' if len(names) > 3 else ''})"
            for folder, names in (
                (predictions, predicted.keys() - targets.keys()),
                (ground_truth, targets.keys() - predicted.keys()),
            )
            if names
        ]
        raise BadInput(f"Predictions and ground truth must have the same names, and differ: {'; '.join(lacking)}.")
    return {name: (predicted[name], targets[name]) for name in sorted(targets)}, ignored + ignored_too


def pair_maps(name: str, prediction: DepthMap, target: DepthMap, kind: DepthKind, *, resize: bool) -> Pair:
    """Bring a prediction onto the pixels of its measured map.

    A prediction for a published crop of the image (`published_crops`) is placed back where it was cut out, and what
    lies outside it is not valid. With `resize` any other prediction of the same aspect is brought to the map's size.

    Args:
        name: what errors and tables call the pair.
        prediction: the prediction.
        target: the measured map, in metres.
        kind: the kind that all predictions have.
        resize: whether a prediction of another size may be resized.

    Raises:
        BadInput: another kind than `kind`, a measured map that is not metric, or a size that does not fit.
    """
    if prediction.kind is not kind or target.kind is not DepthKind.METRIC:
        raise BadInput(
            f"{name}: the prediction is {prediction.kind.value} and the ground truth {target.kind.value} depth; "
            f"all predictions must be of one kind ({kind.value}, as the first), and all ground truth metric."
        )
    # A zero in a prediction is a prediction of nothing, and no hole; relative depth may be zero, and marks none by it.
    predicted = prediction.values
    if kind is DepthKind.RELATIVE:
        predicted = np.where(prediction.mask, predicted, np.float32(np.nan))
    height, width = size = target.shape
    own = prediction.shape
    if own == size:
        return _pair(name, predicted, target)
    for crop in published_crops():
        if own == crop.size and (place := crop.place(height, width)):
            return _placed_back(name, predicted, target, crop.name, place)
    _must_have_the_aspect(name, own, size)
    if not resize:
        raise BadInput(
            f"{name}: the prediction is {_by(own)} and the ground truth {_by(size)} pixels: "
            "predict at the ground truth's size, or let --resize bring the predictions to it."
        )
    return _pair(name, _resized(predicted, size), target, f"resized from {_by(own)} to {_by(size)} pixels")


@dataclass(frozen=True)
class PublishedCrop:
    """A crop that predictions of a benchmark are made for, and the sizes of the images that it is cut out of."""

    name: str
    size: tuple[int, int]
    """Height and width of the crop."""
    heights: range
    widths: range
    """Of the whole images."""
    top_left: tuple[int, int] | None
    """Its first row and column; None: at the bottom, in the middle of the width."""

    def place(self, height: int, width: int) -> tuple[slice, slice] | None:
        """Return the crop's rows and columns in an image of this size; None if it is not cut out of such images."""
        if height not in self.heights or width not in self.widths:
            return None
        top, left = self.top_left or (height - self.size[0], (width - self.size[1]) // 2)
        return slice(top, top + self.size[0]), slice(left, left + self.size[1])


@cache
def published_crops() -> tuple[PublishedCrop, ...]:
    """Return what other tools save predictions for: KITTI's benchmark, BTS and its successors cut to 352 × 1216."""
    # The readers of datasets need PyTorch, which takes seconds to import: only maps of other sizes wait for it.
    from leadline.data.datasets.kitti import KB_CROP

    return (
        PublishedCrop("KITTI's benchmark crop", KB_CROP, range(365, 381), range(1220, 1251), None),
        PublishedCrop("NYU's crop nyu_eigen", (426, 560), range(480, 481), range(640, 641), (45, 41)),
        PublishedCrop("NYU's crop nyu_older", (439, 591), range(480, 481), range(640, 641), (21, 25)),
    )


_ASPECT_TOLERANCE = 0.01
"""Networks take sides that are multiples of 14 or 32, which changes the aspect by less than this; the crop of 426 × 560
changes it by 0.014."""


def _named_maps(folder: Path) -> tuple[dict[str, Path], Counter[str]]:
    """Name → depth map, and why files were left out → how many."""
    if not folder.is_dir():
        raise BadInput(f"No folder {folder}.")
    found = find_files([str(folder)], DEPTH_SUFFIXES, "depth map")
    if not found.files:
        raise BadInput(f"No depth maps in {folder}: the known formats are {', '.join(sorted(DEPTH_SUFFIXES))}.")
    if found.faults:
        raise BadInput(" ".join(found.faults))
    named: dict[str, Path] = {}
    for path, place in found.files:
        name = place.with_suffix("").as_posix()
        if name in named:
            raise BadInput(f"{named[name]} and {path} have the same name: leave one out.")
        named[name] = path
    pictures = [name for name, path in named.items() if _is_colour_picture(name, path, named)]
    for name in pictures:
        del named[name]
    return named, Counter({"colour pictures of Leadline's": len(pictures)} if pictures else {}) + Counter(
        found.left_out
    )


def _is_colour_picture(name: str, path: Path, named: Mapping[str, Path]) -> bool:
    """Whether this is a picture that says it is one, or NAME.colour.png beside the depth map NAME of whatever format.

    Leadline 0.1 wrote pictures that say nothing.
    """
    if not path.name.endswith(COLOUR_SUFFIX):
        return False
    return "picture" in read_leadline_metadata(path) or name.removesuffix(Path(COLOUR_SUFFIX).stem) in named


def _pair(
    name: str,
    predicted: Float[np.ndarray, "1 H W"],
    target: DepthMap,
    change: str = "",
    valid: Bool[np.ndarray, "1 H W"] | None = None,
) -> Pair:
    maps: tuple[Any, Any, Any] = (predicted, target.values, target.mask if valid is None else valid)
    return Pair(name, *maps, change, is_part=valid is not None)


def _resized(predicted: Float[np.ndarray, "1 h w"], size: tuple[int, int]) -> Float[np.ndarray, "1 H W"]:
    from torch.nn.functional import interpolate

    return as_array(interpolate(as_tensor(predicted)[None], size, mode="bilinear", antialias=True)[0])


def _placed_back(
    name: str, predicted: Float[np.ndarray, "1 h w"], target: DepthMap, crop: str, place: tuple[slice, slice]
) -> Pair:
    rows, columns = place
    whole = np.full_like(target.values, np.nan)
    whole[..., rows, columns] = predicted
    inside = np.zeros_like(target.mask)
    inside[..., rows, columns] = True
    place_words = f"rows {rows.start}:{rows.stop} and columns {columns.start}:{columns.stop}"
    change = f"{crop}, and placed back at {place_words} of {_by(target.shape)} pixels"
    return _pair(name, whole, target, change, target.mask & inside)


def _must_have_the_aspect(name: str, own: Sequence[int], size: Sequence[int]) -> None:
    expected = size[1] * own[0] / size[0]
    if abs(own[1] - expected) > max(1.0, _ASPECT_TOLERANCE * expected):
        crops = ", ".join(f"{crop.name} of {_by(crop.size)}" for crop in published_crops())
        raise BadInput(
            f"{name}: the prediction is {_by(own)} and the ground truth {_by(size)} pixels, of another "
            "aspect: where it shows a part of the image, save it within an image of the ground truth's size; where it "
            "shows the whole image stretched, resize it to that size first "
            f"(only {crops} are placed back by themselves)."
        )


def _by(size: Sequence[int]) -> str:
    return " × ".join(map(str, size))
