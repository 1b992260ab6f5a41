"""Pinhole cameras: focal lengths and intrinsics in pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from leadline.core.arrays import Depth, ImageTensor, Intrinsics, Tensor, as_tensor
from leadline.core.errors import BadInput, as_sentence

_Camera = TypeVar("_Camera")
"""fx, fy, cx, cy in pixels, the centre of the top left pixel being (0, 0): a tensor or an array (…, 4), or a tuple of
four numbers."""
_Numbers = TypeVar("_Numbers")
"""An array or a tensor."""


def centered_camera(focal: float, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the intrinsics of a camera whose optical axis passes through the centre of its image.

    Args:
        focal: the focal length in pixels.
        size: height and width of the image in pixels.

    Returns:
        fx, fy, cx, cy in pixels.
    """
    height, width = size
    return focal, focal, (width - 1) / 2, (height - 1) / 2


def pinhole(focal: float, image: ImageTensor | Depth) -> Intrinsics:
    """Return `centered_camera` of an image or a depth map as a tensor (4,), in its pixels."""
    return as_tensor(np.array(centered_camera(focal, (image.shape[-2], image.shape[-1])), np.float32))


def focal_length(field_of_view: float, side: int) -> float:
    """Return the focal length in pixels of a camera that sees `field_of_view` degrees along `side` pixels."""
    return side / 2 / math.tan(math.radians(field_of_view) / 2)


def field_of_view(focal: float, side: int) -> float:
    """Return the degrees that a camera of this focal length in pixels sees along `side` pixels around its axis."""
    return math.degrees(2 * math.atan2(side / 2, focal))


CANONICAL_FOCAL = 0.9
"""Focal length of the canonical camera, as a fraction of the root of its number of pixels: 65 degrees across a picture
of 4 : 3. Telephones' main cameras have some 0.87, the Kinect of NYU Depth v2 has 0.93."""


def canonical_camera(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the intrinsics of the camera that an unknown one is taken for, for an image of `size` (height, width)."""
    return centered_camera(CANONICAL_FOCAL * math.sqrt(size[0] * size[1]), size)


def resize_intrinsics(camera: _Camera, before: Sequence[int], after: Sequence[int]) -> _Camera:
    """Return the intrinsics of an image after it is resized.

    Args:
        camera: fx, fy, cx, cy in pixels: a tensor or an array (…, 4), or a tuple; what is NaN stays NaN.
        before: height and width of the image in pixels.
        after: the new height and width in pixels.

    Returns:
        As `camera`, in pixels of the resized image.
    """
    down, across = (new / old for new, old in zip(after, before, strict=True))
    fx, fy, cx, cy = _parts(camera)
    # The centre of the first pixel is 0, half a pixel from the edge; sizes count from the edge.
    return _like(camera, (fx * across, fy * down, (cx + 0.5) * across - 0.5, (cy + 0.5) * down - 0.5))


def crop_intrinsics(camera: _Camera, top: int, left: int) -> _Camera:
    """Return the intrinsics of a crop of an image.

    Args:
        camera: fx, fy, cx, cy in pixels: a tensor or an array (…, 4), or a tuple.
        top: the first row of the crop in pixels of the image.
        left: the first column.

    Returns:
        As `camera`, in pixels of the crop: the principal point moves, the focal length stays.
    """
    fx, fy, cx, cy = _parts(camera)
    return _like(camera, (fx, fy, cx - left, cy - top))


def flip_intrinsics(camera: _Camera, width: int) -> _Camera:
    """Return the intrinsics of an image of `width` pixels after it is mirrored left and right."""
    fx, fy, cx, cy = _parts(camera)
    return _like(camera, (fx, fy, width - 1 - cx, cy))


def camera_matrix(camera: Sequence[float]) -> Float[np.ndarray, "3 3"]:
    """Return fx, fy, cx, cy as the camera's 3 × 3 matrix (Hartley and Zisserman 2004, eq. 6.3, without skew)."""
    fx, fy, cx, cy = camera
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def intrinsics_of_matrix(matrix: "np.ndarray | Tensor") -> tuple[float, float, float, float]:
    """Return fx, fy, cx, cy of a camera matrix of 3 × 3, 3 × 4 or 4 × 4.

    Raises:
        ValueError: it is not the matrix of a pinhole camera without skew; a transposed one is not.
    """
    has_skew = abs(matrix[0, 1]) > 1e-3 * abs(matrix[0, 0])
    last = [float(matrix[place]) for place in ((1, 0), (2, 0), (2, 1), (2, 2))]
    if has_skew or not np.allclose(last, [0, 0, 0, 1]):
        raise ValueError("it is no pinhole camera's matrix without skew, fx 0 cx, 0 fy cy, 0 0 1 by rows")
    fx, fy, cx, cy = (float(matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return fx, fy, cx, cy


def project(x: _Numbers, y: _Numbers, z: Any, camera: Sequence[float]) -> tuple[_Numbers, _Numbers]:
    """Return the column and the row at which each point is seen.

    Args:
        x: of each point in the camera's frame, to the right, in any unit of length; an array or a tensor.
        y: of each point, down.
        z: of each point, along the optical axis; not 0.
        camera: fx, fy, cx, cy in pixels.
    """
    fx, fy, cx, cy = camera
    return fx * x / z + cx, fy * y / z + cy  # pyright: ignore[reportOperatorIssue]


def unproject(columns: _Numbers, rows: _Numbers, camera: Sequence[float]) -> tuple[_Numbers, _Numbers]:
    """Return x / z and y / z of what is seen at each pixel, the inverse of `project`.

    Args:
        columns: of each pixel, the centre of the first being 0; an array or a tensor.
        rows: of each pixel.
        camera: fx, fy, cx, cy in pixels.
    """
    fx, fy, cx, cy = camera
    return (columns - cx) / fx, (rows - cy) / fy  # pyright: ignore[reportOperatorIssue]


@dataclass(frozen=True)
class CameraOption:
    """State a camera as a user does: degrees across, or fx, fy, cx, cy in pixels; neither: not known."""

    field_of_view: float | None = None
    intrinsics: tuple[float, float, float, float] | None = None

    def at(self, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
        """Return fx, fy, cx, cy in pixels of an image of `size` (height, width), or None.

        Raises:
            BadInput: an impossible field of view, or a camera given in both ways.
        """
        if self.field_of_view is None:
            return self.intrinsics
        if self.intrinsics is not None:
            raise BadInput("Give the camera by one of --field-of-view and --intrinsics.")
        if not isinstance(self.field_of_view, int | float) or not 0 < self.field_of_view < 180:
            raise BadInput(f"--field-of-view {self.field_of_view}: give the degrees between the edges, 0 to 180.")
        return centered_camera(focal_length(self.field_of_view, size[1]), size)

    def doubt(self, size: tuple[int, int]) -> str:
        """Return a sentence where the camera is unlikely for an image of `size` (height, width); else "".

        Raises:
            BadInput: as `at`.
        """
        given = self.at(size)
        if given is None:
            return ""
        told = (
            explain_unlikely_camera(given, size)
            if self.field_of_view is None
            else explain_unlikely_view(self.field_of_view)
        )
        return as_sentence(told)


UNKNOWN_CAMERA = CameraOption()


_NARROWEST = 0.01
"""Degrees; the widest field of view of a picture from a large telescope is ten times that."""
MAX_FIELD_OF_VIEW, MIN_FIELD_OF_VIEW = 150.0, 10.0
"""Degrees along a side: a wider image is a fisheye's, or its intrinsics are in another unit; telescopes see less."""
MAX_OFF_CENTRE = 0.1
"""Fraction of a side by which a principal point may be off the middle: a crop of SUN RGB-D has 0.065, KITTI 0.07."""


def fields_of_view(camera: Sequence[float], size: tuple[int, int]) -> tuple[float, float]:
    """Return the degrees that a camera sees along the rows and along the columns of its image.

    Args:
        camera: fx, fy, cx, cy in pixels; the principal point is taken to be the middle.
        size: height and width of the image in pixels.
    """
    return field_of_view(camera[0], size[1]), field_of_view(camera[1], size[0])


def ray_lengths(camera: Sequence[float], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Return the distance along each pixel's ray at which the depth along the optical axis is 1.

    Args:
        camera: fx, fy, cx, cy in pixels, the centre of the first pixel being (0, 0).
        size: height and width in pixels.
    """
    rows, columns = np.ogrid[: size[0], : size[1]]
    x, y = unproject(columns, rows, camera)
    return np.sqrt(1 + x**2 + y**2)


def explain_impossible_camera(camera: Sequence[float], size: tuple[int, int], *, is_crop: bool = False) -> str:
    """Say why no pinhole camera of these intrinsics takes images of this size; return "" where one may.

    Args:
        camera: fx, fy, cx, cy in pixels, the centre of the first pixel being (0, 0).
        size: height and width of the image in pixels.
        is_crop: whether images may be cut out of larger ones, so that the principal point may lie outside of them.
    """
    fx, fy, cx, cy = camera
    height, width = size
    stated = f"the camera fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g} of a picture of {width} × {height}"
    if not all(map(math.isfinite, camera)) or fx <= 0 or fy <= 0:
        return f"{stated} has no focal length, or no number: state fx, fy, cx and cy in pixels, or leave the camera out"
    widest = max(fields_of_view(camera, size))
    if widest > MAX_FIELD_OF_VIEW:
        seems = "it seems divided by the picture's size, so multiply by it" if max(cx, cy) <= 1 else _IN_PIXELS
        return f"{stated} sees {widest:.0f} degrees: {seems}"
    if widest < _NARROWEST:
        return f"{stated} sees {widest:.1g} degrees, as no telescope does: {_IN_PIXELS}"
    if not is_crop and not (-0.5 <= cx <= width - 0.5 and -0.5 <= cy <= height - 0.5):
        return f"{stated} has its principal point outside of the picture: {_other_size(camera, size)}"
    return ""


def explain_unlikely_camera(camera: Sequence[float], size: tuple[int, int]) -> str:
    """Say why a camera is unlikely to have taken images of this size; return "" where it is likely.

    Args:
        camera: fx, fy, cx, cy in pixels, the centre of the first pixel being (0, 0).
        size: height and width of the image in pixels.
    """
    if fault := explain_impossible_camera(camera, size):
        return fault
    fx, fy, cx, cy = camera
    height, width = size
    stated = f"the camera fx={fx:g} fy={fy:g} cx={cx:g} cy={cy:g} of a picture of {width} × {height}"
    if max(abs((cx + 0.5) / width - 0.5), abs((cy + 0.5) / height - 0.5)) > MAX_OFF_CENTRE:
        return f"{stated} has its principal point far from the middle: {_other_size(camera, size)}"
    narrowest = min(fields_of_view(camera, size))
    return (
        f"{stated} sees {narrowest:.2g} degrees: {_IN_PIXELS}, or the field of view in degrees"
        if narrowest < MIN_FIELD_OF_VIEW
        else ""
    )


def explain_unlikely_view(degrees: float) -> str:
    """Say why a field of view is unlikely to be that of a photograph; return "" where it is likely.

    Args:
        degrees: from the left edge to the right one, between 0 and 180.
    """
    if MIN_FIELD_OF_VIEW <= degrees <= MAX_FIELD_OF_VIEW:
        return ""
    radians = f" ({degrees:g} radians are {math.degrees(degrees):.0f})" if math.degrees(degrees) < 180 else ""
    return f"a field of view of {degrees:g} degrees is unlikely: give the degrees across the picture{radians}"


def _parts(camera: Any) -> Sequence[Any]:
    return camera if isinstance(camera, tuple) else [camera[..., part] for part in range(4)]


def _like(camera: _Camera, parts: Sequence[Any]) -> _Camera:
    """Put the four parts together as `camera` is: stacked, or as a tuple."""
    if isinstance(camera, tuple):
        return tuple(parts)  # pyright: ignore[reportReturnType]
    if isinstance(camera, np.ndarray):
        return np.stack(parts, axis=-1)  # pyright: ignore[reportReturnType]
    import torch

    return torch.stack(tuple(parts), dim=-1)  # pyright: ignore[reportReturnType]


_IN_PIXELS = "state fx, fy, cx and cy in pixels of the picture as it is stored"


def _other_size(camera: Sequence[float], size: tuple[int, int]) -> str:
    """Say what to do about a principal point that is not in the middle."""
    across, down = (2 * middle + 1 for middle in camera[2:])
    if across > 1 and down > 1 and abs(across * size[0] / (down * size[1]) - 1) < MAX_OFF_CENTRE:
        factor = size[1] / across
        return f"it seems to be of a picture of {across:.0f} × {down:.0f}, so multiply it by {factor:.3g}"
    return _IN_PIXELS


def parse_intrinsics(stated: Any, where: str) -> Intrinsics | None:
    """Read a pinhole camera: fx, fy, cx, cy as text or numbers, or a camera matrix of 3 × 3 or 4 × 4.

    Args:
        stated: numbers in any array or list, or text with spaces or commas between them; None: nothing is known.
        where: what an error names.

    Returns:
        (4,) fx, fy, cx, cy in pixels, or None.

    Raises:
        BadInput: another count of numbers, no numbers, a focal length that is not positive, or a matrix with skew.
    """
    return None if stated is None else as_tensor(np.array(parse_camera(stated, where), np.float32))


def parse_camera(stated: Any, where: str) -> tuple[float, float, float, float]:
    """Read a pinhole camera as `parse_intrinsics` does, as four numbers of double precision.

    Args:
        stated: as for `parse_intrinsics`, but never None.
        where: what an error names.

    Returns:
        fx, fy, cx, cy in pixels.

    Raises:
        BadInput: as `parse_intrinsics`.
    """
    advice = "state four numbers, fx fy cx cy in pixels, or a 3 × 3 camera matrix"
    try:
        words = stated.replace(",", " ").split() if isinstance(stated, str) else np.asarray(stated).ravel().tolist()
        numbers = [float(word) for word in words]
    except (TypeError, ValueError, OverflowError) as problem:
        raise BadInput(f"{where}: the intrinsics are not numbers ({problem}): {advice}.") from problem
    if len(numbers) in (9, 16):
        matrix = np.array(numbers).reshape(math.isqrt(len(numbers)), -1)
        try:
            numbers = intrinsics_of_matrix(matrix)
        except ValueError as problem:
            raise BadInput(
                f"{where}: the intrinsics are no pinhole camera's matrix without skew: {advice}."
            ) from problem
    if len(numbers) != 4:
        raise BadInput(f"{where}: the intrinsics are {len(numbers)} numbers: {advice}.")
    # As a tensor holds them, where a double may be infinite or 0.
    with np.errstate(over="ignore", under="ignore"):
        single = np.array(numbers, np.float32)
    fx, fy, cx, cy = numbers
    if not np.isfinite(single).all() or min(single[:2]) <= 0:
        given = " ".join(f"{number:g}" for number in numbers)
        raise BadInput(
            f"{where}: the intrinsics {given} are no camera's (fx and fy are positive, all are finite): {advice}."
        )
    return fx, fy, cx, cy
