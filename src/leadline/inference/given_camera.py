"""The camera that a user states for photographs of any size: degrees across, numbers in pixels, or a file of them."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from leadline.core.camera import (
    centered_camera,
    explain_impossible_camera,
    explain_unlikely_camera,
    explain_unlikely_view,
    focal_length,
    resize_intrinsics,
)
from leadline.core.errors import BadInput, as_sentence
from leadline.io.exif import CameraInfo
from leadline.io.images import Photograph
from leadline.io.intrinsics import read_intrinsics


@dataclass(frozen=True)
class GivenCamera:
    """State the camera of all photographs in one of three ways, or leave it to their EXIF."""

    field_of_view: float | None = None
    """Degrees from the left edge of the photographs to the right one."""
    fx: float | None = None
    """Focal length in pixels of the photographs."""
    fy: float | None = None
    """The same along the columns; None: as `fx`."""
    cx: float | None = None
    """Column of the principal point in pixels, 0 in the middle of the first; None: the middle of the photograph."""
    cy: float | None = None
    """Row of the principal point."""
    intrinsics: Path | None = None
    """File of fx, fy, cx and cy, or of a 3 × 3 matrix, in pixels of the photographs."""

    @cached_property
    def numbers(self) -> tuple[float | None, ...] | None:
        """fx, fy, cx and cy as far as they are given; None: none of them.

        Raises:
            BadInput: cameras that cannot be, or given in two ways.
        """
        if self.field_of_view is not None and not 0 < self.field_of_view < 180:
            raise BadInput(f"--field-of-view {self.field_of_view:g}: give the degrees between the edges, 0 to 180.")
        numbers = (self.fx, self.fy, self.cx, self.cy)
        is_numbers = any(number is not None for number in numbers)
        if is_numbers + (self.field_of_view is not None) + (self.intrinsics is not None) > 1:
            raise BadInput("Give the camera by one of --field-of-view, --fx … and --intrinsics.")
        if self.intrinsics is not None:
            return read_intrinsics(self.intrinsics)
        if not is_numbers:
            return None
        if self.fx is None:
            raise BadInput("--fy, --cx and --cy need --fx, the focal length in pixels.")
        for name, number in zip(("fx", "fy"), numbers, strict=False):
            if number is not None and not 0 < number < math.inf:
                raise BadInput(f"--{name} {number:g}: give the focal length in pixels, a positive number.")
        return numbers

    def of_photograph(self, photo: Photograph) -> CameraInfo:
        """Return the camera in pixels of the image as it was read, and where it comes from.

        Raises:
            BadInput: a given one that cannot have taken this photograph.
        """
        numbers = self.numbers
        if self.field_of_view is not None:
            focal = focal_length(self.field_of_view, photo.shape[1])
            doubt = as_sentence(explain_unlikely_view(self.field_of_view))
            told = (doubt,) if doubt else ()
            return photo.camera.given(np.array(centered_camera(focal, photo.shape), np.float32), told)  # pyright: ignore[reportArgumentType]
        if numbers is None:
            return photo.camera
        fx, fy, cx, cy = numbers
        assert fx is not None
        whole = (
            *(fx, fx if fy is None else fy),
            *((photo.size[1] - 1) / 2 if cx is None else cx, (photo.size[0] - 1) / 2 if cy is None else cy),
        )
        return given_camera(np.array(whole, np.float32), photo)


def given_camera(whole: Float[np.ndarray, "4"], photo: Photograph) -> CameraInfo:
    """Return a camera that a user states, in pixels of the image as it was read, with a doubt where it is unlikely.

    Args:
        whole: fx, fy, cx and cy in pixels of the photograph in its file.
        photo: the photograph.

    Raises:
        BadInput: a camera that cannot have taken this photograph.
    """
    if fault := explain_impossible_camera(whole.tolist(), photo.size):
        raise BadInput(as_sentence(fault))
    doubt = as_sentence(explain_unlikely_camera(whole.tolist(), photo.size))
    inside = resize_intrinsics(whole, photo.size, photo.shape)
    return photo.camera.given(inside, (doubt,) if doubt else ())  # pyright: ignore[reportArgumentType]
