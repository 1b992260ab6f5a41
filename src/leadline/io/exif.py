"""The camera of a photograph as its EXIF describes it, and what contradicts that description."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from leadline.core.arrays import Intrinsics, as_array, held, tensor_field
from leadline.core.camera import centered_camera, field_of_view

Panorama = Literal["refuse", "flat"]
"""What to do with a panorama: refuse it, or take it for the picture of a pinhole camera all the same."""


@dataclass(frozen=True, eq=False)
class CameraInfo:
    """State a photograph's camera, where it was found, and why it may be wrong."""

    intrinsics: Intrinsics | None = tensor_field()
    """fx, fy, cx, cy in pixels of the image that was asked for; None: unknown."""
    source: str = "unknown"
    """`given`, `from EXIF` (its 35 mm equivalent), `from EXIF (focal plane)` (focal length and sensor) or `unknown`."""
    doubts: tuple[str, ...] = ()
    """Sentences on what was ignored as implausible, or what contradicts the camera."""
    is_panorama: bool = False
    """Whether the photograph is a panorama, which no pinhole camera takes."""

    def given(self, intrinsics: Intrinsics, doubts: tuple[str, ...] = ()) -> "CameraInfo":
        """Return a camera that the user states in place of this one; a panorama stays one, and says so."""
        panorama = self.doubts if self.is_panorama else ()
        return CameraInfo(intrinsics, "given", (*panorama, *doubts), self.is_panorama)

    @property
    def numbers(self) -> np.ndarray | None:
        """The intrinsics as an array (4,)."""
        known = held(self, "intrinsics")
        return None if known is None else as_array(known)


def camera_from_exif(exif: Image.Exif, xmp: bytes, shown: tuple[int, int], size: tuple[int, int]) -> CameraInfo:
    """Return the camera that EXIF describes.

    The "focal length in 35 mm film" (EXIF 2.3, tag 41989) is that of the film's frame of 36 × 24 mm with the same
    diagonal. Without it, the focal length in millimetres and the resolution of the focal plane (tags 37386, 41486)
    say as much. A camera that sees less than 5 or more than 150 degrees along the longer side is ignored.

    Args:
        exif: the photograph's EXIF.
        xmp: its XMP packet, which marks panoramas; empty: none.
        shown: height and width in pixels of what the intrinsics are for: the photograph, or the same view in another
            size.
        size: height and width in pixels of the photograph in its file, upright or not.

    Returns:
        The camera in pixels of what is `shown`, its optical axis through the centre, and what is doubtful about it.
    """
    settings = _settings(exif)
    if _is_panorama(settings, xmp):
        doubt = "It is a panorama, no picture of a pinhole camera: depth measured in it is wrong."
        return CameraInfo(None, doubts=(doubt,), is_panorama=True)
    recorded = _recorded_sides(settings)
    film = _number(settings.get(_FOCAL_LENGTH_IN_FILM))
    millimetres = _number(settings.get(_FOCAL_LENGTH))
    focals = {
        "from EXIF": film / math.hypot(36, 24) * math.hypot(*shown),
        "from EXIF (focal plane)": millimetres * _focal_plane_resolution(settings, shown, recorded),
    }
    stated = dict(zip(focals, (f"{film:g} mm in 35 mm film", f"{millimetres:g} mm by its focal plane"), strict=True))
    doubts = []
    for source, focal in focals.items():
        if focal <= 0:
            continue
        degrees = field_of_view(focal, max(shown))
        if _NARROWEST <= degrees <= _WIDEST:
            doubts += _contradictions(recorded, size, *focals.values())
            return CameraInfo(np.array(centered_camera(focal, shown), np.float32), source, tuple(doubts))  # pyright: ignore[reportArgumentType]
        doubts.append(f"EXIF says {stated[source]}, a field of view of {degrees:.2g} degrees: ignored.")
    return CameraInfo(None, doubts=tuple(doubts))


def read_orientation(exif: Image.Exif) -> int:
    """Return how the camera was held: EXIF 2.3, tag 274, values 1 (upright, also where it is absent) to 8."""
    value = exif.get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


_ORIENTATION, _EXIF = 274, 0x8769
"""The tag that says how the camera was held, and the block of the camera's settings."""


_FOCAL_LENGTH_IN_FILM, _FOCAL_LENGTH, _PLANE_RESOLUTION, _PLANE_UNIT = 41989, 37386, 41486, 41488


_RECORDED_WIDTH, _RECORDED_HEIGHT, _CUSTOM_RENDERED = 40962, 40963, 41985


_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
"""Of the units that a resolution may be counted by: inch, cm, mm, µm."""


_GPANO = b"http://ns.google.com/photos/1.0/panorama/"
"""The name space of Google's photo sphere schema in XMP, under whatever prefix."""


_NARROWEST, _WIDEST = 5.0, 150.0
"""Degrees along the longer side; in film, 412 mm and 5 mm."""


_ASPECTS = (1.0, 5 / 4, 4 / 3, 3 / 2, 16 / 10, 16 / 9, 1.85, 1.9, 2.0, 2.06, 2.11, 2.17, 2.22)
"""Longer to shorter side of what cameras and telephones take."""


def _settings(exif: Image.Exif) -> Mapping[int, Any]:
    try:
        return exif.get_ifd(_EXIF)
    except Exception:  # whatever broken EXIF makes Pillow raise: it then says nothing
        return {}


def _number(value: Any) -> float:
    """Return a tag as a positive finite number; 0 where it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return 0.0
    return number if 0 < number < math.inf else 0.0


def _is_panorama(settings: Mapping[int, Any], xmp: bytes) -> bool:
    # Google's photo sphere schema; and what Apple writes into its panoramas.
    return (_GPANO in xmp and b"ProjectionType" in xmp) or settings.get(_CUSTOM_RENDERED) == 6


def _recorded_sides(settings: Mapping[int, Any]) -> tuple[float, float] | None:
    """Return the longer and the shorter side in pixels that EXIF records, or None."""
    sides = [_number(settings.get(tag)) for tag in (_RECORDED_WIDTH, _RECORDED_HEIGHT)]
    return (max(sides), min(sides)) if min(sides) > 0 else None


def _focal_plane_resolution(
    settings: Mapping[int, Any], shown: tuple[int, int], recorded: tuple[float, float] | None
) -> float:
    """Return how many pixels of what is `shown` make a millimetre of the sensor; 0: EXIF does not say."""
    resolution = _number(settings.get(_PLANE_RESOLUTION)) / _MILLIMETRES.get(settings.get(_PLANE_UNIT, 2), 25.4)
    # It counts the pixels that EXIF records, of which what is shown may have fewer, turned or not.
    return resolution * max(shown) / recorded[0] if recorded else 0.0


def _contradictions(
    recorded: tuple[float, float] | None, size: tuple[int, int], film: float, plane: float
) -> tuple[str, ...]:
    """Name signs of a crop, after which the focal length in EXIF is too short for the picture."""
    height, width = size
    long, short = max(size), min(size)
    wrong = "if it was cropped since, the metres are wrong, and need its field of view."
    if recorded and abs(recorded[0] / recorded[1] * short / long - 1) > 0.02:
        pixels = f"{recorded[0]:g} × {recorded[1]:g}"
        return (f"EXIF states {pixels} pixels, and the picture has {width} × {height}, of another aspect: {wrong}",)
    if not any(abs(long / short / aspect - 1) < 0.03 for aspect in _ASPECTS):
        return (f"EXIF states a camera, and hardly one takes {width} × {height} pixels: {wrong}",)
    if min(film, plane) > 0 and max(film, plane) > 1.2 * min(film, plane):
        ratio = max(film, plane) / min(film, plane)
        return (f"EXIF's focal lengths in film and by the sensor differ {ratio:.2g}-fold: {wrong}",)
    if recorded and recorded[0] > 1.02 * long:
        pixels = f"{recorded[0]:g} × {recorded[1]:g}"
        return (f"EXIF states {pixels} pixels, and the picture has {width} × {height}: {wrong}",)
    return ()
