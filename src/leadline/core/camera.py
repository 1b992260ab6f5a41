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


def ray_lengths(camera: Sequence[float], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Return the distance along each pixel's ray at which the depth along the optical axis is 1.

    Args:
        camera: fx, fy, cx, cy in pixels, the centre of the first pixel being (0, 0).
        size: height and width in pixels.
    """
    fx, fy, cx, cy = camera
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.sqrt(1 + ((columns - cx) / fx) ** 2 + ((rows - cy) / fy) ** 2)


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
    except (TypeError, ValueError) as problem:
        raise BadInput(f"{where}: the intrinsics are no numbers ({problem}): {cure}.") from problem
    if len(numbers) in (9, 16):
        matrix = np.array(numbers).reshape(math.isqrt(len(numbers)), -1)
        if abs(matrix[0, 1]) > 1e-3 * abs(matrix[0, 0]) or matrix[1, 0] or not np.array_equal(matrix[2, :3], [0, 0, 1]):
            raise BadInput(f"{where}: the intrinsics are no pinhole camera's matrix without skew: {cure}.")
        numbers = [float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])]
    if len(numbers) != 4:
        raise BadInput(f"{where}: the intrinsics are {len(numbers)} numbers: {cure}.")
    if not all(map(math.isfinite, numbers)) or min(numbers[:2]) <= 0:
        said = " ".join(f"{number:g}" for number in numbers)
        raise BadInput(
            f"{where}: the intrinsics {said} are no camera's (fx and fy are positive, all are finite): {cure}."
        )
    return torch.tensor(numbers)
