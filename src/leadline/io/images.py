"""Photographs: read upright as RGB in [0, 1], with the camera that their EXIF describes."""

import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from leadline.core.camera import pinhole
from leadline.core.errors import BadInput, UnreadableFile
from leadline.core.sample import ImageTensor, Intrinsics
from leadline.io.atomic import atomic_write

PHOTO_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""What counts as a photograph where a folder is searched; `read_image` itself goes by the content."""


def read_image(path: Path) -> ImageTensor:
    """Any photograph as RGB in [0, 1], upright as its EXIF says.

    Grey is repeated, palettes are looked up, CMYK is converted, 16 bits keep all their steps, and what is
    transparent lies on white, as a viewer would show it (the colour under full transparency is arbitrary).
    Float images must be in [0, 1].

    Raises:
        UnreadableFile: truncated, empty, no image, or larger than some 178 megapixels.
    """
    _must_exist(path)
    with _decoding(path):
        pixels, orientation = _photo(path)
        pixels = np.ascontiguousarray(np.atleast_3d(_upright(pixels, orientation)).transpose(2, 0, 1))
        image = torch.from_numpy(pixels).float()
        if pixels.dtype.kind == "f":
            _must_be_in_unit_range(image)
        else:
            image /= np.iinfo(pixels.dtype).max
    if len(image) == 4:
        image = image[:3] * image[3:] + (1 - image[3:])
    return image.expand(3, -1, -1).contiguous()


def read_camera(path: Path, image: ImageTensor) -> Intrinsics | None:
    """What a photograph's EXIF tells of the camera, in pixels of `image` as `read_image` gave it; None: nothing.

    The "focal length in 35 mm film" (EXIF 2.3, tag 41989) is that of the film's frame of 36 × 24 mm with the same
    diagonal. A picture that was cropped since, and kept the tag, is taken for what it was.
    """
    with _decoding(path), Image.open(path) as picture:
        film = picture.getexif().get_ifd(_EXIF).get(_FOCAL_LENGTH_IN_FILM, 0)
    if not isinstance(film, int) or film <= 0:
        return None
    focal = film / math.hypot(36, 24) * math.hypot(*image.shape[-2:])
    return pinhole(focal, image)


def write_image(path: Path, image: ImageTensor) -> None:
    """Write RGB in [0, 1] with 8 bits a channel: `.png` exactly, `.jpg` at quality 95."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise BadInput(f"Cannot write a picture as {path.name}: choose .png or .jpg.")
    pixels = image.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    with atomic_write(path) as half:
        Image.fromarray(pixels).save(half, quality=95)


_ORIENTATION = 274
"""The EXIF tag that says how the camera was held."""


_EXIF, _FOCAL_LENGTH_IN_FILM = 0x8769, 41989
"""The EXIF block of a camera's settings, and the tag in it that says how far it was zoomed."""


_BITS_PER_SAMPLE = 258
"""The TIFF tag that says how deep each channel is."""


_STUMBLES = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, zipfile.BadZipFile, cv2.error)
"""What Pillow, NumPy and OpenCV raise for damaged files."""


_LAST_STEP = 65535
"""The largest number that 16 bits hold."""


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise BadInput(f"{path} is a folder, not a file." if path.is_dir() else f"No file {path}.")


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Whatever a decoder trips over becomes an `UnreadableFile` that names the file."""
    try:
        # Pillow warns of large images and broken metadata, which are no trouble here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableFile(f"{path} has more than 178 megapixels: make it smaller first.") from error
    except Image.UnidentifiedImageError as error:
        reason = "is empty" if path.stat().st_size == 0 else "is no image of a known format"
        raise UnreadableFile(f"{path} {reason}. Copy or make it again, or leave it out.") from error
    except _STUMBLES as error:
        reason = str(error).rstrip(".")
        raise UnreadableFile(f"Cannot read {path}: {reason}. Copy or make it again, or leave it out.") from error


def _photo(path: Path) -> tuple[np.ndarray, int]:
    """Pixels (H, W) or (H, W, 3 or 4) at the file's own depth: grey, RGB or RGBA; and the EXIF orientation."""
    with path.open("rb") as file:
        start = file.read(25)
    is_tiff = start[:4] in (b"II*\0", b"MM\0*")
    try:
        with Image.open(path) as picture:
            # Pillow reads 16-bit colour as 8-bit, but unlike OpenCV it notices that the end is missing.
            picture.load()
    except Image.UnidentifiedImageError:
        if not is_tiff:
            raise
        return _deep_pixels(path), 1  # colour in floats, which Pillow does not know
    orientation = picture.getexif().get(_ORIENTATION, 1)
    is_deep_png = start[:4] == b"\x89PNG" and start[24] == 16
    is_deep_tiff = is_tiff and np.max(picture.getexif().get(_BITS_PER_SAMPLE, 8)) > 8
    if picture.mode == "F":
        return np.array(picture), orientation
    if picture.mode.startswith("I"):
        pixels = np.array(picture)
        if pixels.max() > _LAST_STEP:
            raise ValueError(f"it holds {pixels.max()}, more than the {_LAST_STEP} of 16 bits")
        return pixels.astype(np.uint16), orientation
    if is_deep_png or is_deep_tiff:
        return _deep_pixels(path), orientation
    return np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB")), orientation


def _deep_pixels(path: Path) -> np.ndarray:
    """More than 8 bits a channel, RGB or RGBA."""
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("it is damaged, or of an unknown variant")
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo how the camera was held: EXIF 2.3, tag 274, values 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _must_be_in_unit_range(image: torch.Tensor) -> None:
    low, high = image.min().item(), image.max().item()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"its floats go from {low:g} to {high:g}, and photographs must be in [0, 1]")
