"""Pinhole cameras: focal lengths and intrinsics in pixels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from leadline.core.errors import BadInput
from leadline.core.sample import Depth, ImageTensor, Intrinsics


def pinhole(focal: float, image: ImageTensor | Depth) -> Intrinsics:
    """A camera of this focal length, in pixels of the image or the depth map, that looks through its middle."""
    height, width = image.shape[-2:]
    return torch.tensor([focal, focal, (width - 1) / 2, (height - 1) / 2])


def focal_length(field_of_view: float, width: int) -> float:
    """Pixels, of a camera that sees so many degrees from the left edge to the right one."""
    return width / 2 / math.tan(math.radians(field_of_view) / 2)


def resize_intrinsics(camera: Intrinsics, before: Sequence[int], after: Sequence[int]) -> Intrinsics:
    """Return the intrinsics of a picture of `before` height and width in pixels of the same picture at `after`."""
    scale = torch.tensor([after[1] / before[1], after[0] / before[0]] * 2)
    # The centre of the first pixel is 0, and half a pixel from the edge.
    corner = torch.tensor([0, 0, 0.5, 0.5])
    return (camera + corner) * scale - corner


WIDEST, NARROWEST = 150.0, 10.0
"""Degrees that a pinhole camera sees along a side: beyond the first pictures are fisheyes', or the camera is of another
unit; less than the second have telescopes."""
OFF_CENTRE = 0.1
"""Share of a side by which a principal point may lie beside the middle: a crop of SUN RGB-D has 0.065, KITTI's 0.07."""


def fields_of_view(camera: Sequence[float], size: tuple[int, int]) -> tuple[float, float]:
    """Return the degrees that a camera sees along the rows and along the columns of its picture.

    Args:
        camera: fx, fy, cx, cy in pixels; the principal point is taken to be the middle.
        size: height and width of the picture in pixels.
    """
    across, down = (
        math.degrees(2 * math.atan2(side / 2, focal)) for side, focal in zip(size[::-1], camera[:2], strict=True)
    )
    return across, down


def ray_lengths(camera: Sequence[float], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Return the distance along each pixel's ray at which the depth along the optical axis is 1.

    Args:
        camera: fx, fy, cx, cy in pixels, the centre of the first pixel being (0, 0).
        size: height and width in pixels.
    """
    fx, fy, cx, cy = camera
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.sqrt(1 + ((columns - cx) / fx) ** 2 + ((rows - cy) / fy) ** 2)


def camera_fault(camera: Sequence[float], size: tuple[int, int]) -> str:
    """Say why no pinhole camera takes pictures of a size with these intrinsics; empty where one may.

    Args:
        camera: fx, fy, cx, cy in pixels, the centre of the first pixel being (0, 0).
        size: height and width of the picture in pixels.
    """
    fx, fy, cx, cy = camera
    height, width = size
    told = f"the camera fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g} of a picture of {width} × {height}"
    if not all(map(math.isfinite, camera)) or fx <= 0 or fy <= 0:
        return f"{told} has no focal length, or no number: state fx, fy, cx and cy in pixels, or leave the camera out"
    widest = max(fields_of_view(camera, size))
    if widest > WIDEST:
        seems = "it seems divided by the picture's size, so multiply by it" if max(cx, cy) <= 1 else _IN_PIXELS
        return f"{told} sees {widest:.0f} degrees: {seems}"
    if not (-0.5 <= cx <= width - 0.5 and -0.5 <= cy <= height - 0.5):
        return f"{told} has its principal point outside of the picture: {_other_size(camera, size)}"
    return ""


def camera_doubt(camera: Sequence[float], size: tuple[int, int]) -> str:
    """Say why a camera is unlikely to have taken pictures of a size; empty where it is likely.

    Args:
        camera: fx, fy, cx, cy in pixels, the centre of the first pixel being (0, 0).
        size: height and width of the picture in pixels.
    """
    if fault := camera_fault(camera, size):
        return fault
    fx, fy, cx, cy = camera
    height, width = size
    told = f"the camera fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g} of a picture of {width} × {height}"
    if max(abs((cx + 0.5) / width - 0.5), abs((cy + 0.5) / height - 0.5)) > OFF_CENTRE:
        return f"{told} has its principal point far from the middle: {_other_size(camera, size)}"
    narrowest = min(fields_of_view(camera, size))
    return f"{told} sees {narrowest:.1f} degrees: {_IN_PIXELS}" if narrowest < NARROWEST else ""


_IN_PIXELS = "state fx, fy, cx and cy in pixels of the picture as it is stored"


def _other_size(camera: Sequence[float], size: tuple[int, int]) -> str:
    """The cure for a principal point that is not in the middle."""
    across, down = (2 * middle + 1 for middle in camera[2:])
    if across > 1 and down > 1 and abs(across * size[0] / (down * size[1]) - 1) < OFF_CENTRE:
        factor = size[1] / across
        return f"it seems to be of a picture of {across:.0f} × {down:.0f}, so multiply it by {factor:.3g}"
    return _IN_PIXELS


def parse_intrinsics(told: Any, where: str) -> Intrinsics | None:
    """Read a pinhole camera: fx, fy, cx, cy as text or numbers, or a camera matrix of 3 × 3 or 4 × 4.

    Args:
        told: numbers in any array or list, or text with spaces or commas between them; None: nothing is known.
        where: what an error names.

    Returns:
        (4,) fx, fy, cx, cy in pixels, or None.

    Raises:
        BadInput: another count of numbers, no numbers, a focal length that is not positive, or a matrix with skew.
    """
    if told is None:
        return None
    cure = "state four numbers, fx fy cx cy in pixels, or a 3 × 3 camera matrix"
    try:
        parts = told.replace(",", " ").split() if isinstance(told, str) else np.asarray(told).ravel().tolist()
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError, OverflowError) as problem:
        raise BadInput(f"{where}: the intrinsics are no numbers ({problem}): {cure}.") from problem
    if len(numbers) in (9, 16):
        matrix = np.array(numbers).reshape(math.isqrt(len(numbers)), -1)
        if abs(matrix[0, 1]) > 1e-3 * abs(matrix[0, 0]) or matrix[1, 0] or not np.array_equal(matrix[2, :3], [0, 0, 1]):
            raise BadInput(f"{where}: the intrinsics are no pinhole camera's matrix without skew: {cure}.")
        numbers = [float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])]
    if len(numbers) != 4:
        raise BadInput(f"{where}: the intrinsics are {len(numbers)} numbers: {cure}.")
    camera = torch.tensor(numbers, dtype=torch.float32)
    if not camera.isfinite().all() or min(camera[:2].tolist()) <= 0:
        said = " ".join(f"{number:g}" for number in numbers)
        raise BadInput(
            f"{where}: the intrinsics {said} are no camera's (fx and fy are positive, all are finite): {cure}."
        )
    return camera
