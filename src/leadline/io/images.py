"""Photographs: read upright as RGB in [0, 1], with the camera that their EXIF describes."""

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image, features
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from leadline.core.arrays import ImageTensor, Intrinsics, as_array, as_tensor
from leadline.core.camera import resize_intrinsics
from leadline.core.errors import BadInput, UnreadableFile, unknown
from leadline.core.paths import StrPath
from leadline.io.atomic import atomic_write
from leadline.io.exif import CameraInfo, Panorama, camera_from_exif, read_orientation
from leadline.io.outputs import png_text
from leadline.io.png import encode_png

RAW_SUFFIXES = frozenset({".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw"})
"""Suffixes of raw photographs; the extra `raw` develops them."""


PHOTO_SUFFIXES = RAW_SUFFIXES | {
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pgm", ".png"),
    *(".ppm", ".tif", ".tiff", ".webp"),
}
"""What counts as a photograph where a folder is searched; `read_image` itself goes by the content."""


MAX_PIXELS = 25_000_000
"""Pixels beyond which `read_photograph` reduces an image: those of a 24-megapixel camera are kept."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """Hold a photograph as `read_photograph` returns it."""

    pixels: np.ndarray
    """Upright, (H, W) grey or (H, W, 3) RGB of 8 or 16 bits, or (H, W, 3) floats in [0, 1]; a large photograph in fewer
    pixels."""
    size: tuple[int, int]
    """Height and width of the upright photograph in its file."""
    camera: CameraInfo
    """In pixels of `pixels`."""
    pictures: int = 1
    """How many the file holds, frames of an animation or pages; this is the first one."""

    @property
    def note(self) -> str:
        """Sentences where the file holds more pictures, or 8-bit numbers in 16 bits; else empty."""
        told = []
        if self.pictures > 1:
            told.append(f"The file holds {self.pictures} pictures: this is the first one.")
        if self.pixels.dtype == np.uint16 and 0 < self.pixels.max() <= np.iinfo(np.uint8).max:
            told.append("Its 16-bit numbers are 255 at most, nearly black: if they are 8-bit ones, give uint8.")
        return " ".join(told)

    @property
    def image(self) -> ImageTensor:
        """The pixels as a new tensor (3, H, W), RGB in [0, 1]."""
        return as_tensor(as_float_image(self.pixels))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of `pixels`."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def is_reduced(self) -> bool:
        """Whether `pixels` are fewer than those of the photograph in its file."""
        return self.shape != self.size

    @property
    def full_camera(self) -> Float[np.ndarray, "4"] | None:
        """The intrinsics in pixels of the photograph in its file."""
        known = self.camera.numbers
        return None if known is None else resize_intrinsics(known, self.shape, self.size)

    @property
    def full_intrinsics(self) -> Intrinsics | None:
        """`full_camera` as a tensor."""
        known = self.full_camera
        return None if known is None else as_tensor(known)


def read_image(path: StrPath) -> ImageTensor:
    """Read any photograph as RGB in [0, 1], upright as its EXIF says, with all its pixels.

    Grey is repeated, palettes are looked up, CMYK is converted, 16 bits keep all their steps, and what is
    transparent is drawn on white, as a viewer would show it (the colour under full transparency is arbitrary).
    Float images must be in [0, 1]. Of several pictures in a file (animations, pages) the first is read.
    HEIC needs the extra `heic`, raw photographs the extra `raw`.

    Returns:
        (3, H, W), float32.

    Raises:
        UnreadableFile: truncated, empty, no image, an extra is not installed, more than some 178 megapixels, a side
            of more than 65,535 pixels or 50 times the other.
    """
    return read_photograph(path, max_pixels=None, panorama="flat").image


def read_photograph(path: StrPath, *, max_pixels: int | None = MAX_PIXELS, panorama: Panorama = "refuse") -> Photograph:
    """Read a photograph with its camera, a large one at a half, a quarter, … of its sides.

    Args:
        path: the file.
        max_pixels: what the image may have; pixels of a larger photograph are averaged in blocks of 2 × 2, 4 × 4, …,
            with 8 bits a channel where it is in colour. The memory it takes is bounded (see `_MOST_BYTES`). None: all.
        panorama: "refuse" what its metadata calls a panorama, or take it for "flat", with a doubt that says so.

    Raises:
        UnreadableFile: as `read_image`; decoding would take more memory than any photograph may; or a panorama.
    """
    path = Path(path)
    _must_exist(path)
    with _decoding(path), path.open("rb") as file:
        photo = _photograph(_decoded(file, path.suffix.lower(), max_pixels))
    _check_panorama(photo.camera, panorama, path)
    return photo


def decode_image(source: bytes | Image.Image, name: str) -> ImageTensor:
    """Read a photograph that is in memory, as `read_image` reads a file.

    Args:
        source: the bytes of a photograph's file, or a Pillow image.
        name: what an error calls it.

    Raises:
        UnreadableFile: as `read_image`.
    """
    return decode_photograph(source, name, max_pixels=None, panorama="flat").image


def decode_photograph(
    source: bytes | Image.Image,
    name: str,
    *,
    max_pixels: int | None = MAX_PIXELS,
    panorama: Panorama = "refuse",
) -> Photograph:
    """Read a photograph that is in memory with its camera, as `read_photograph` reads a file.

    Args:
        source: the bytes of a photograph's file, or a Pillow image.
        name: what an error calls it.
        max_pixels: as for `read_photograph`.
        panorama: as for `read_photograph`.

    Raises:
        UnreadableFile: as `read_photograph`.
    """
    with _decoding(name):
        if isinstance(source, Image.Image):
            photo = _photograph(_from_picture(source, None, max_pixels))
        else:
            photo = _photograph(_decoded(io.BytesIO(source), "", max_pixels))
    _check_panorama(photo.camera, panorama, name)
    return photo


def read_camera(path: StrPath, image: ImageTensor) -> Intrinsics | None:
    """Return the intrinsics that a photograph's EXIF states, in pixels of `image`, or None where none are plausible."""
    return read_camera_info(path, image).intrinsics


def read_camera_info(path: StrPath, image: ImageTensor) -> CameraInfo:
    """Return the camera that a photograph's EXIF states, and what is doubtful about it.

    Args:
        path: the photograph.
        image: the photograph as `read_image` returned it, or the same view in another size.

    Returns:
        The camera in pixels of `image`; see `leadline.io.exif.camera_from_exif`.

    Raises:
        UnreadableFile: no photograph.
    """
    path = Path(path)
    _must_exist(path)
    with _decoding(path), path.open("rb") as file:
        exif, xmp, size = _metadata(file, path.suffix.lower())
    shown = (image.shape[-2], image.shape[-1])
    return camera_from_exif(exif, xmp, shown, size or shown)


def check_picture_name(path: StrPath) -> None:
    """Refuse a name that `write_image` does not write.

    Raises:
        BadInput: another suffix than `.png`, `.jpg` and `.jpeg`.
    """
    if Path(path).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise BadInput(f"Cannot write a picture as {Path(path).name}: choose .png or .jpg.")


def write_image(path: StrPath, image: ImageTensor | Image.Image, metadata: Mapping[str, str] | None = None) -> None:
    """Write RGB in [0, 1], or a Pillow image, with 8 bits a channel: `.png` exactly, `.jpg` at quality 95.

    Args:
        path: the file.
        image: (3, H, W) in [0, 1], or a Pillow image.
        metadata: key → text, written into the text of a PNG under `leadline:KEY`.

    Raises:
        BadInput: another suffix, or the file cannot be written.
    """
    path = Path(path)
    check_picture_name(path)
    if not isinstance(image, Image.Image):
        pixels = np.rint(np.clip(as_array(image), 0, 1) * 255).astype(np.uint8)
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    with atomic_write(path) as half:
        text = png_text(metadata) if metadata else None
        if path.suffix.lower() == ".png" and image.mode == "RGB":
            half.write_bytes(encode_png(np.asarray(image), text))
        else:
            image.save(half, quality=95, pnginfo=text)


def as_float_image(pixels: np.ndarray) -> Float[np.ndarray, "3 H W"]:
    """Convert (H, W) or (H, W, 3 or 4) numbers to RGB in [0, 1], with what is transparent on white.

    Raises:
        ValueError: floats that are not in [0, 1].
    """
    image = np.empty((3, *pixels.shape[:2]), np.float32)
    # In strips: the memory is that of the result.
    for top in range(0, len(pixels), _STRIP):
        channels = np.atleast_3d(pixels[top : top + _STRIP]).transpose(2, 0, 1)
        strip = channels.astype(np.float32)
        if channels.dtype.kind == "f":
            _must_be_in_unit_range(strip)
        else:
            strip /= np.float32(np.iinfo(channels.dtype).max)
        if len(strip) == 4:
            strip = strip[:3] * strip[3:] + (1 - strip[3:])
        image[:, top : top + _STRIP] = strip
    return image


_IMAGE_WIDTH, _IMAGE_LENGTH, _BITS_PER_SAMPLE, _DNG_VERSION = 256, 257, 258, 50706
"""The TIFF tags that say how large a picture is, how deep each channel, and that it is raw, in Adobe's format."""


_TIFF = (b"II*\0", b"MM\0*")
"""How TIFF files begin, and most raw photographs."""


_DECODER_ERRORS = (
    *(
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        ArithmeticError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
    ),
    *(struct.error, zlib.error, zipfile.BadZipFile, cv2.error),
)
"""What Pillow, NumPy, OpenCV and their like raise for damaged files."""


_LAST_STEP = 65535
"""The largest number that 16 bits hold."""


_MOST_PIXELS, _LONGEST_SIDE, _MOST_OBLONG = 2 * 89_478_485, 65_535, 50
"""Photographs beyond these are refused: Pillow's own bound on pixels, a side, and the longer side over the shorter."""


_MOST_BYTES = 620_000_000
"""Bytes that decoding one photograph may take where its pixels are bounded."""


_BYTES_OF_A_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes in which Pillow keeps a pixel, by the picture's mode; 4 in all others."""


_BYTES_WHILE_DECODING = {"AVIF": 6, "HEIF": 6, "JPEG2000": 16, "WEBP": 12}
"""Bytes that decoders take besides for a pixel of the file, measured; the others decode row by row."""


_TOO_MANY = "has more than 178 megapixels: make it smaller first."


_STRIP = 128
"""Rows that are converted at a time, so that no second copy of a large photograph is made."""


class _UnfitError(Exception):
    """A photograph is not read by a rule of Leadline; the text follows its name in the message."""


def _must_exist(path: Path) -> None:
    if path == Path():
        raise BadInput("An empty path, or '.', is a folder, not a file: give the path of one.")
    if not path.is_file():
        raise BadInput(f"{path} is a folder, not a file." if path.is_dir() else f"No file {path}.")


def _check_panorama(camera: CameraInfo, panorama: Panorama, name: Path | str) -> None:
    if panorama not in get_args(Panorama):
        raise unknown("panorama option", panorama, get_args(Panorama))
    if camera.is_panorama and panorama == "refuse":
        raise UnreadableFile(
            f"{name} is a panorama, no picture of a pinhole camera: cut a view out of it, or measure it as if it were "
            "flat by panorama=flat (`leadline predict --panorama flat`)."
        )


@contextmanager
def _decoding(path: Path | str) -> Iterator[None]:
    """Turn whatever a decoder raises into an `UnreadableFile` that names the file (or what is in memory)."""
    try:
        # Pillow warns of large images and broken metadata, which are no trouble here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BadInput:
        raise
    except _UnfitError as error:
        raise UnreadableFile(f"{path} {error}") from error
    except Image.DecompressionBombError as error:
        raise UnreadableFile(f"{path} {_TOO_MANY}") from error
    except Image.UnidentifiedImageError as error:
        is_empty = isinstance(path, Path) and path.stat().st_size == 0
        reason = "is empty" if is_empty else "is no image of a known format"
        raise UnreadableFile(f"{path} {reason}. Copy or make it again, or leave it out.") from error
    except MemoryError as error:
        raise UnreadableFile(f"{path} does not fit into the memory: make it smaller first.") from error
    except _DECODER_ERRORS as error:
        reason = str(error).rstrip(".")
        raise UnreadableFile(f"Cannot read {path}: {reason}. Copy or make it again, or leave it out.") from error


_File = io.BufferedReader | io.BytesIO


@dataclass(frozen=True, eq=False)
class _Decoded:
    """Hold what a file contains."""

    pixels: np.ndarray
    """Upright; (H, W) or (H, W, 3 or 4): grey, RGB or RGBA; at the file's own depth where it is not reduced."""
    size: tuple[int, int]
    """Height and width of the upright photograph in its file."""
    exif: Image.Exif
    xmp: bytes = b""
    pictures: int = 1


def _photograph(decoded: _Decoded) -> Photograph:
    pixels = _as_colour(decoded.pixels)
    shown = (pixels.shape[0], pixels.shape[1])
    camera = camera_from_exif(decoded.exif, decoded.xmp, shown, decoded.size)
    return Photograph(pixels, decoded.size, camera, decoded.pictures)


def _decoded(file: _File, suffix: str, max_pixels: int | None) -> _Decoded:
    with _opened(file, suffix) as picture:
        if isinstance(picture, Image.Image):
            return _from_picture(picture, file, max_pixels)
    return picture(file, max_pixels)


_Reader = Callable[[_File, int | None], _Decoded]


@contextmanager
def _opened(file: _File, suffix: str) -> Iterator[Image.Image | _Reader]:
    """Yield the picture before its pixels are decoded; or what reads it, where Pillow does not."""
    start = file.read(32)
    file.seek(0)
    if _is_raw(start, suffix):
        yield _from_raw
        return
    if start[4:8] == b"ftyp":
        _must_have_decoder(start[8:])
    try:
        picture = Image.open(file)
    except Image.UnidentifiedImageError:
        if start[:4] not in _TIFF:
            raise
        # What Pillow does not know may be raw under another name, or colour in floats.
        yield _from_raw if _DNG_VERSION in _tiff_tags(file) else _from_float_tiff
        return
    with picture:
        yield _from_raw if _DNG_VERSION in getattr(picture, "tag_v2", ()) else picture


def _is_raw(start: bytes, suffix: str) -> bool:
    is_ordinary = start.startswith((b"\xff\xd8\xff", b"\x89PNG"))
    is_canon = (start[:4] in _TIFF and start[8:10] == b"CR") or start[4:12] == b"ftypcrx "
    return is_canon or (suffix in RAW_SUFFIXES and not is_ordinary)


def _must_have_decoder(brands: bytes) -> None:
    """Register HEIC with Pillow, if this is one; raise with what to install, if it cannot be read here."""
    if b"avif" in brands or b"avis" in brands:
        if not features.check("avif"):
            raise _UnfitError("is an AVIF photograph, which this Pillow does not read: pip install -U pillow")
    elif brands[:3] in (b"hei", b"hev", b"mif", b"msf"):
        _extra("pillow_heif", "heic", "a HEIC photograph").register_heif_opener()


def _extra(module: str, extra: str, what: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise _UnfitError(
            f"is {what}, and what reads those is not installed: pip install 'leadline[{extra}]'"
        ) from error


def _from_picture(picture: Image.Image, file: _File | None, max_pixels: int | None) -> _Decoded:
    """Return the pixels of a picture; `file` is what it was opened from, None: it is the caller's."""
    width, height = picture.size
    _must_be_in_bounds(width, height)
    factor = _factor(width, height, max_pixels)
    pictures = _pictures(picture)
    is_tiff = isinstance(picture, TiffImageFile)
    # Before loading, which turns a TIFF upright and forgets how it lay; after it, of others: to look for EXIF loads a
    # PNG, and what is damaged would count as loaded then.
    exif = read_exif(picture) if is_tiff else Image.Exif()
    if file and max_pixels is not None:
        # libjpeg (to an eighth of the sides at most) and OpenJPEG then take the memory of the result alone.
        if factor > 1 and isinstance(picture, JpegImageFile):
            picture.draft(None, (-(-width // factor), -(-height // factor)))
        if isinstance(picture, Jpeg2KImageFile):
            picture.reduce = int(factor > 1)  # a half only: Pillow rounds the sides of a quarter as OpenJPEG does not
        _must_fit_into_memory(_memory_needed(picture, width * height, factor))
    if is_tiff:
        picture.filename = ""  # Pillow maps a file whose name it knows into memory, and turns the map wrongly
    # Pillow reads 16-bit colour as 8-bit, but unlike OpenCV it notices that the end is missing.
    picture.load()
    if not is_tiff:
        exif = read_exif(picture)
    if factor > 1:
        pixels = _reduced(picture, (-(-width // factor), -(-height // factor)))
    elif file and _is_deep_colour(picture, exif, file):
        pixels = _deep_pixels(file)
    else:
        pixels = _pixels(picture)
    # Pillow and OpenCV turn a TIFF upright themselves.
    orientation = 1 if is_tiff else read_orientation(exif)
    size = (width, height) if orientation >= 5 else (height, width)
    return _Decoded(_upright(pixels, orientation), size, exif, _xmp(picture), pictures)


def _pictures(picture: Image.Image) -> int:
    """Return how many pictures a file holds; of a JPEG the others are previews, and what telephones add."""
    if isinstance(picture, JpegImageFile):
        return 1
    try:
        return int(getattr(picture, "n_frames", 1))
    except _DECODER_ERRORS:  # a later one is damaged
        return 1


def _metadata(file: _File, suffix: str) -> tuple[Image.Exif, bytes, tuple[int, int] | None]:
    """Return EXIF, XMP, and height and width of the upright photograph, if the file states them."""
    with _opened(file, suffix) as picture:
        if isinstance(picture, Image.Image):
            exif = read_exif(picture)
            return exif, _xmp(picture), _upright_size(picture, exif)
    return _tiff_tags(file), b"", None


def _upright_size(picture: Image.Image, exif: Image.Exif) -> tuple[int, int]:
    """Return height and width; Pillow returns those of an upright TIFF."""
    width, height = picture.size
    is_turned = read_orientation(exif) >= 5 and not isinstance(picture, TiffImageFile)
    return (width, height) if is_turned else (height, width)


def read_exif(picture: Image.Image) -> Image.Exif:
    """Return a picture's EXIF; broken EXIF says nothing, and the photograph can still be read."""
    try:
        return picture.getexif()
    except _DECODER_ERRORS:
        return Image.Exif()


def _xmp(picture: Image.Image) -> bytes:
    words = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or b""
    return words if isinstance(words, bytes) else str(words).encode("utf-8", "replace")


def _tiff_tags(file: _File) -> Image.Exif:
    """Return the tags of a file with the structure of TIFF, as most raw photographs have it; none of another."""
    tags = Image.Exif()
    file.seek(0)
    try:
        tags.load_from_fp(file)
    except _DECODER_ERRORS:
        return Image.Exif()
    return tags


def _must_be_in_bounds(width: int, height: int) -> None:
    if width * height > _MOST_PIXELS:
        raise _UnfitError(_TOO_MANY)
    if min(width, height) < 1:
        raise ValueError(f"it has {width} × {height} pixels")
    if max(width, height) > _LONGEST_SIDE or max(width, height) > _MOST_OBLONG * min(width, height):
        raise _UnfitError(
            f"has {width} × {height} pixels, and no side of a photograph may be longer than {_LONGEST_SIDE} pixels "
            f"or {_MOST_OBLONG} times the other: crop it first."
        )


def _factor(width: int, height: int, max_pixels: int | None) -> int:
    """Return the number by which the sides are divided: 1, 2, 4, …"""
    factor = 1
    while max_pixels and -(-width // factor) * -(-height // factor) > max(max_pixels, 1):
        factor *= 2
    return factor


def _memory_needed(picture: Image.Image, pixels: int, factor: int) -> int:
    """Return the bytes that decoding a file of `pixels` takes, whose `picture` may be reduced by `factor`."""
    if isinstance(picture, Jpeg2KImageFile):
        pixels //= min(factor, 2) ** 2
    kept = min(picture.size[0] * picture.size[1], pixels) * _BYTES_OF_A_PIXEL.get(picture.mode, 4)
    needed = kept + pixels * _BYTES_WHILE_DECODING.get(picture.format or "", 0)
    if isinstance(picture, JpegImageFile) and picture.info.get("progressive"):
        # libjpeg holds all coefficients of a progressive photograph, 2 bytes each, whatever it is reduced to.
        samplings = [across * down for _, across, down, _ in picture.layer]
        needed += 2 * pixels * sum(samplings) // max(samplings)
    return needed


def _must_fit_into_memory(needed: int) -> None:
    if needed > _MOST_BYTES:
        raise _UnfitError(
            f"needs {needed / 1e9:.2g} GB to be decoded, more than the {_MOST_BYTES / 1e9:.2g} GB that one photograph "
            "may take: make it smaller first, or a JPEG of it."
        )


def _is_deep_colour(picture: Image.Image, exif: Image.Exif, file: _File) -> bool:
    """Tell whether the file has more than the 8 bits a channel to which Pillow reduces colour."""
    if len(picture.getbands()) < 3:
        return False
    file.seek(0)
    start = file.read(25)
    is_deep_png = start[:4] == b"\x89PNG" and start[24] == 16
    return is_deep_png or (start[:4] in _TIFF and bool(np.max(exif.get(_BITS_PER_SAMPLE, 8)) > 8))


def _deep_pixels(file: _File) -> np.ndarray:
    """Decode RGB or RGBA of more than 8 bits a channel."""
    file.seek(0)
    pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("it is damaged, or of an unknown variant")
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _pixels(picture: Image.Image) -> np.ndarray:
    """Return (H, W) or (H, W, 3 or 4): grey of many bits or floats, RGB or RGBA."""
    if picture.mode == "F":
        return np.array(picture)
    if picture.mode.startswith("I"):
        pixels = np.array(picture)
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high > _LAST_STEP:
            raise ValueError(f"it holds {low if low < 0 else high}, and 16 bits hold 0 to {_LAST_STEP}")
        return pixels.astype(np.uint16)
    return np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def _reduced(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Average `_pixels` to (width, height), a strip at a time, with what is transparent on white."""
    if picture.size == size:
        return _opaque(_pixels(picture))
    (width, height), factor = picture.size, 2
    while (-(-width // factor), -(-height // factor)) != size:
        factor *= 2
    strips = (picture.crop((0, top, width, min(top + _STRIP, height))) for top in range(0, height, _STRIP))
    return np.concatenate([_shrunk(_opaque(_pixels(strip)), size[0], factor) for strip in strips])


def _shrunk(pixels: np.ndarray, width: int, factor: int) -> np.ndarray:
    """Average the pixels that each new pixel covers."""
    return cv2.resize(pixels, (width, -(-len(pixels) // factor)), interpolation=cv2.INTER_AREA)


def _opaque(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim < 3 or pixels.shape[2] < 4:
        return pixels
    colour, alpha = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _from_float_tiff(file: _File, max_pixels: int | None) -> _Decoded:
    tags = _tiff_tags(file)
    width, height = (int(tags.get(tag, 0)) for tag in (_IMAGE_WIDTH, _IMAGE_LENGTH))
    _must_be_in_bounds(width, height)
    if max_pixels and width * height > max_pixels:
        most = f"{max_pixels / 1e6:g} megapixels"
        raise _UnfitError(f"has more than {most} of colour in 32-bit floats: make it smaller first, or a JPEG of it.")
    pixels = _deep_pixels(file)
    return _Decoded(pixels, (pixels.shape[0], pixels.shape[1]), tags)


def _from_raw(file: _File, max_pixels: int | None) -> _Decoded:
    """Develop a raw photograph with the camera's own white balance, upright."""
    rawpy = _extra("rawpy", "raw", "a raw photograph")
    exif = _tiff_tags(file)
    file.seek(0)
    try:
        with rawpy.imread(file) as raw:
            width, height = raw.sizes.width, raw.sizes.height
            _must_be_in_bounds(width, height)
            factor = _factor(width, height, max_pixels)
            if max_pixels is not None:
                _must_fit_into_memory(width * height * (13 if factor == 1 else 5))  # measured
            pixels = raw.postprocess(use_camera_wb=True, half_size=factor > 1)
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ValueError(reason) from error
    is_turned = (pixels.shape[0] > pixels.shape[1]) != (height > width)
    size = (width, height) if is_turned else (height, width)
    if factor > 2:
        pixels = _shrunk(pixels, -(-size[1] // factor), factor // 2)
    return _Decoded(pixels, size, exif)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo how the camera was held: EXIF 2.3, tag 274, values 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _as_colour(pixels: np.ndarray) -> np.ndarray:
    """Return (H, W) or (H, W, 3) whole numbers as they are, and all others as RGB in [0, 1]: (H, W, 3) floats."""
    is_float = pixels.dtype.kind == "f"
    if pixels.ndim == 2 and not is_float:
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] == 3 and not is_float:
        return pixels
    return np.ascontiguousarray(as_float_image(pixels).transpose(1, 2, 0))


def is_of_8_bits(pixels: np.ndarray) -> bool:
    """Return whether numbers of a photograph lose nothing when they are rounded to 8 bits.

    Args:
        pixels: 8- or 16-bit integers, or floats in [0, 1].
    """
    # In strips: the first of a finer photograph tells, and of a large one floats would take several times the memory.
    return all(_strip_is_of_8_bits(pixels[top : top + _STRIP]) for top in range(0, len(pixels), _STRIP))


def _strip_is_of_8_bits(pixels: np.ndarray) -> bool:
    if pixels.dtype == np.uint8:
        return True
    if pixels.dtype == np.uint16:
        return not (pixels % 257).any()  # 16-bit white by 8-bit white
    steps = pixels * np.float32(255)
    return bool(np.abs(steps - np.rint(steps)).max(initial=0) < _SAME_STEP)


_SAME_STEP = 1e-3
"""Of 8 bits, by which floats that were made of them may be off."""


def _must_be_in_unit_range(image: np.ndarray) -> None:
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"its floats go from {low:g} to {high:g}, and photographs must be in [0, 1]")
