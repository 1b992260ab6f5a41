"""Files: photographs and depth maps, read with their unit and written whole or not at all."""

import json
import math
import os
import re
import shutil
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image as Pictures
from PIL.PngImagePlugin import PngInfo

from leadline.errors import BadInput, UnreadableFile, unknown
from leadline.sample import Depth, Image, Intrinsics, Kind, Mask, pinhole

PHOTO_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""What counts as a photograph where a folder is searched; `read_image` itself goes by the content."""


@dataclass(frozen=True, eq=False)
class DepthMap:
    """One depth map as it lies in a file."""

    depth: Depth
    """(1, H, W) in the unit that `kind` says; 0 where not `valid` once it was read back."""
    valid: Mask
    kind: Kind = Kind.METRIC
    intrinsics: Intrinsics | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where it comes from, in words that travel with the file: {"model": "hybrid", "aligned": "median"}."""


def read_image(path: Path) -> Image:
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


def read_camera(path: Path, image: Image) -> Intrinsics | None:
    """What a photograph's EXIF tells of the camera, in pixels of `image` as `read_image` gave it; None: nothing.

    The "focal length in 35 mm film" (EXIF 2.3, tag 41989) is that of the film's frame of 36 × 24 mm with the same
    diagonal. A picture that was cropped since, and kept the tag, is taken for what it was.
    """
    with _decoding(path), Pictures.open(path) as picture:
        film = picture.getexif().get_ifd(_EXIF).get(_FOCAL_LENGTH_IN_FILM, 0)
    if not isinstance(film, int) or film <= 0:
        return None
    focal = film / math.hypot(36, 24) * math.hypot(*image.shape[-2:])
    return pinhole(focal, image)


def write_image(path: Path, image: Image) -> None:
    """Write RGB in [0, 1] with 8 bits a channel: `.png` exactly, `.jpg` at quality 95."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise BadInput(f"Cannot write a picture as {path.name}: choose .png or .jpg.")
    pixels = image.detach().cpu().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    with swapped(path) as half:
        Pictures.fromarray(pixels).save(half, quality=95)


def read_depth(path: Path, *, depth_scale: float | None = None, kind: Kind | str | None = None) -> DepthMap:
    """Read a depth map from 16-bit PNG, NPZ, PFM or TIFF; not finite or not positive means not measured.

    A file of ours says itself what its numbers are. Of any other file `depth_scale` says how many steps make a
    metre (1000 for millimetres; KITTI 256; TUM 5000), or for a float file `kind` says what it promises.
    Relative maps in float files may hold 0 and less; integers mean "not measured" by 0 whatever their kind.

    Raises:
        BadInput: the unit is unknown or contradicts the file's own words, 8 bits where metres are asked, colour.
        UnreadableFile: truncated, empty or no depth map.
    """
    values, words = read_numbers(path)
    with _decoding(path):
        kind, scale, offset = _meaning(path, values.dtype, words, depth_scale, kind)
    depth = values.astype(np.float32) if (scale, offset) == (1, 0) else (values / scale + offset).astype(np.float32)
    valid = np.isfinite(depth) if values.dtype.kind == "f" else values > 0
    if kind != Kind.RELATIVE:
        valid &= depth > 0
    known = words.pop("intrinsics", None)
    return DepthMap(
        depth=torch.from_numpy(np.where(valid, depth, 0))[None],
        valid=torch.from_numpy(valid)[None],
        kind=kind,
        intrinsics=None if known is None else torch.tensor([float(number) for number in known.split()]),
        provenance={key: text for key, text in words.items() if key not in _MEANING},
    )


def read_numbers(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """The (H, W) numbers of a depth file and the words in it, before anyone says what they mean.

    Raises:
        BadInput: no depth format, or a picture in colour.
        UnreadableFile: truncated, empty or no depth map.
    """
    read, _ = _format(path)
    _must_exist(path)
    with _decoding(path):
        return read(path)


def write_depth(path: Path, depth: DepthMap, *, depth_scale: float = 1000.0) -> None:
    """Write a depth map so that reading it back gives the same numbers, mask, kind and intrinsics.

    `.png`: 16 bits, metres × `depth_scale`, 0 for not measured; unit, kind and intrinsics lie in its text chunks
    under `leadline:…`. Metres come back to half a step (what is nearer than half a step becomes one step). Depth
    without a unit gets the scale (and relative depth the offset) that fills the 16 bits, and the file says which.
    `.npz` (arrays depth, valid, kind, unit, intrinsics) and `.tiff` (NaN for not measured, the words as JSON in
    ImageDescription) are exact. `.pfm` (bottom row first, inf for not measured) is exact too, but has no place
    for the kind and the intrinsics: its reader must state the kind.

    Raises:
        BadInput: NaN, infinite or non-positive depth that claims to be valid; metres that 16 bits cannot hold.
    """
    _, write = _format(path)
    values, valid = depth.depth[0].detach().float().cpu().numpy(), depth.valid[0].cpu().numpy()
    _must_be_sound(path, values, valid, depth.kind)
    words = {"kind": str(depth.kind), "unit": _UNITS[depth.kind]}
    if depth.intrinsics is not None:
        words["intrinsics"] = " ".join(str(number) for number in depth.intrinsics.float().cpu().numpy())
    words |= depth.provenance
    if path.suffix.lower() == ".png":
        values, scaling = _steps(path, values, valid, depth.kind, depth_scale)
        words |= scaling
    with swapped(path) as half:
        write(half, values, valid, words)


@contextmanager
def swapped(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write to, which takes its name once all is on disk.

    A failure removes it and leaves what was under the name before; only a kill leaves the hidden `.half` file. What can
    be made again need not be `durable`: it is then not waited for, and a power failure may leave it cut short.

    Raises:
        BadInput: the folder cannot be made or written to, or the disk is full.
    """
    half = path.with_name(f".{path.stem}.{os.getpid()}.half{path.suffix}")
    with _writing(path):
        try:
            yield half
            if durable:
                _flush(half)
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)


@contextmanager
def swapped_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `path` to fill, which takes its name once all is on disk.

    What it replaces is moved aside first and removed last, so a kill in between leaves both whole under hidden
    names. A folder that holds anything the new one does not is never replaced.

    Raises:
        BadInput: as `swapped`, or `path` holds other files.
    """
    path = path.resolve()
    half = path.with_name(f".{path.name}.{os.getpid()}.half")
    before = half.with_suffix(".before")
    with _writing(path):
        try:
            half.mkdir()
            yield half
            for file in half.rglob("*"):
                if file.is_file():
                    _flush(file)
            if path.exists():
                strangers = sorted({file.name for file in path.iterdir()} - {file.name for file in half.iterdir()})
                if strangers:
                    raise BadInput(f"{path} holds other files ({', '.join(strangers[:3])}): choose a new folder.")
                path.replace(before)
            half.replace(path)
        finally:
            shutil.rmtree(half, ignore_errors=True)
            if before.exists():
                shutil.rmtree(before) if path.exists() else before.replace(path)


def sweep(folder: Path) -> None:
    """Remove what kills left half-written in `folder`: the hidden files and folders of `swapped` and `swapped_folder`.

    Only for a folder that no other process is writing to.
    """
    for stale in [*folder.glob(".*.half*"), *folder.glob(".*.before")]:
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()


_UNITS: Mapping[Kind, str] = {
    Kind.METRIC: "metres",
    Kind.SCALE_FREE: "depth, up to one factor",
    Kind.RELATIVE: "inverse depth, up to scale and shift",
}
_MEANING = frozenset({"kind", "unit", "depth_scale", "offset"})
_PREFIX = "leadline:"
_IMAGE_DESCRIPTION = 270
"""The TIFF tag that holds free text."""
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


def _format(path: Path) -> tuple["_Reader", "_Writer"]:
    if path.suffix.lower() not in _FORMATS:
        raise BadInput(f"{path} is no known depth format: choose one of {', '.join(sorted(_FORMATS))}.")
    return _FORMATS[path.suffix.lower()]


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
    except Pictures.DecompressionBombError as error:
        raise UnreadableFile(f"{path} has more than 178 megapixels: make it smaller first.") from error
    except Pictures.UnidentifiedImageError as error:
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
        with Pictures.open(path) as picture:
            # Pillow reads 16-bit colour as 8-bit, but unlike OpenCV it notices that the end is missing.
            picture.load()
    except Pictures.UnidentifiedImageError:
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


def _meaning(
    path: Path, dtype: np.dtype, words: Mapping[str, str], depth_scale: float | None, kind: Kind | str | None
) -> tuple[Kind, float, float]:
    """Kind, scale and offset (depth = number / scale + offset), agreed between the file's words and the caller's."""
    own = words.get("kind")
    for name in (own, kind):
        if name and name not in tuple(Kind):
            raise unknown("kind", name, Kind)
    if own and kind and own != kind:
        raise BadInput(f"{path} says that its depth is {own}, and not {kind}: state kind={own}.")
    promised = Kind(own or kind or Kind.METRIC)
    if dtype.itemsize == 1 and promised == Kind.METRIC:
        raise BadInput(f"{path} has 8 bits, too few for metres: give the 16-bit PNG, NPZ, PFM or TIFF it was made of.")
    if own:
        scale = float(words.get("depth_scale", 1))
        if depth_scale not in (None, scale):
            raise BadInput(f"{path} says depth_scale={scale:g}, and not {depth_scale:g}: leave depth_scale out.")
        return promised, scale, float(words.get("offset", 0))
    if depth_scale is None and dtype.kind != "f" and promised == Kind.METRIC:
        cure = "state depth_scale=1000 for millimetres, 256 for KITTI, 5000 for TUM"
        raise BadInput(f"{path} does not say its unit: {cure}.")
    if depth_scale is None and kind is None:
        raise BadInput(f"{path} does not say its unit: state kind=metric for metres, scale_free or relative.")
    if depth_scale is not None and not depth_scale > 0:
        raise BadInput(f"depth_scale={depth_scale:g} must be positive: it says how many steps make a metre.")
    return promised, 1.0 if depth_scale is None else depth_scale, 0.0


def _must_be_sound(path: Path, values: np.ndarray, valid: np.ndarray, kind: Kind) -> None:
    sound = np.isfinite(values) if kind == Kind.RELATIVE else np.isfinite(values) & (values > 0)
    wrong = valid & ~sound
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise BadInput(
            f"{wrong.sum()} of {valid.sum()} valid depths for {path} are not finite or not positive "
            f"(first: {values[row, column]} in row {row}, column {column}): mark them as not valid."
        )


def _steps(
    path: Path, values: np.ndarray, valid: np.ndarray, kind: Kind, depth_scale: float
) -> tuple[np.ndarray, dict[str, str]]:
    """Depth as 16-bit numbers, and the words that turn them back."""
    measured = values[valid].astype(np.float64)
    high, offset = measured.max(initial=0), 0.0
    if kind == Kind.METRIC and np.rint(high * depth_scale) > _LAST_STEP:
        fitting = [f"depth_scale={scale}" for scale in (1000, 256, 100, 10, 1) if high * scale <= _LAST_STEP]
        cure = ", ".join([*fitting[:1], "or write .npz or .tiff"]).removeprefix("or ")
        raise BadInput(f"{path}: {high:g} m × depth_scale={depth_scale:g} is more than 16 bits hold: {cure}.")
    if kind == Kind.SCALE_FREE:
        depth_scale = _LAST_STEP / (high or 1)
    if kind == Kind.RELATIVE and measured.size:
        depth_scale = (_LAST_STEP - 1) / (measured.max() - measured.min() or 1)
        offset = measured.min() - 1 / depth_scale
    steps = np.zeros(values.shape, np.uint16)
    # At least one step: 0 would say "not measured".
    steps[valid] = np.clip(np.rint((measured - offset) * depth_scale), 1, _LAST_STEP)
    words = {"depth_scale": repr(float(depth_scale))}
    return steps, words | ({"offset": repr(float(offset))} if offset else {})


def _read_picture(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """Numbers and words of a PNG or TIFF of one channel."""
    with Pictures.open(path) as picture:
        picture.load()
    if picture.mode == "P" or len(picture.getbands()) > 1:
        raise BadInput(f"{path} is a picture in colour ({picture.mode}), not a depth map: give the map it shows.")
    info = {str(key): str(text) for key, text in picture.info.items()}
    words = {key.removeprefix(_PREFIX): text for key, text in info.items() if key.startswith(_PREFIX)}
    description = picture.getexif().get(_IMAGE_DESCRIPTION, "")
    if description.startswith('{"leadline"'):
        words = json.loads(description)["leadline"]
    return np.asarray(picture), words


def _write_png(path: Path, values: np.ndarray, valid: np.ndarray, words: Mapping[str, str]) -> None:
    chunks = PngInfo()
    for key, text in words.items():
        chunks.add_text(_PREFIX + key, text)
    # Half the time of Pillow's level 6, for a tenth more bytes.
    Pictures.fromarray(values).save(path, pnginfo=chunks, compress_level=3)


def _write_tiff(path: Path, values: np.ndarray, valid: np.ndarray, words: Mapping[str, str]) -> None:
    text = json.dumps({"leadline": dict(words)})
    Pictures.fromarray(np.where(valid, values, np.float32(np.nan))).save(path, tiffinfo={_IMAGE_DESCRIPTION: text})


def _read_npz(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no NPZ archive, or its end is missing")
    with np.load(path, allow_pickle=False) as arrays:
        if "depth" not in arrays:
            raise BadInput(f"{path} holds no array `depth`, only {', '.join(arrays) or 'nothing'}.")
        depth = arrays["depth"].astype(np.float32)
        depth = depth.reshape(depth.shape[-2:])
        if depth.ndim != 2:
            raise ValueError(f"its array `depth` has the shape {depth.shape}, not (height, width)")
        if "valid" in arrays:
            depth = np.where(arrays["valid"].reshape(depth.shape), depth, np.float32(np.nan))
        words = {key: arrays[key] for key in arrays if key not in ("depth", "valid")}
    return depth, {key: " ".join(str(each) for each in word.ravel().tolist()) for key, word in words.items()}


def _write_npz(path: Path, values: np.ndarray, valid: np.ndarray, words: Mapping[str, str]) -> None:
    arrays: dict[str, Any] = dict(words)
    if "intrinsics" in words:
        arrays["intrinsics"] = np.array(words["intrinsics"].split(), np.float32)
    with path.open("wb") as file:
        np.savez_compressed(file, depth=np.where(valid, values, np.float32(0)), valid=valid, **arrays)


def _read_pfm(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """Debevec's portable float map: the sign of its third line says the byte order, its size nothing."""
    content = path.read_bytes()
    header = re.match(rb"P([fF])\s+(\d+)\s+(\d+)\s+([-+.\deE]+)[ \t\r]*\n", content)
    if not header:
        raise ValueError("it does not begin as a PFM file does")
    if header[1] == b"F":
        raise BadInput(f"{path} is a picture in colour (PF), not a depth map (Pf).")
    width, height, order = int(header[2]), int(header[3]), "<f4" if float(header[4]) < 0 else ">f4"
    numbers = content[header.end() :]
    if len(numbers) != width * height * 4:
        raise ValueError(f"{width} × {height} floats need {width * height * 4} bytes, and it has {len(numbers)}")
    return np.frombuffer(numbers, order).reshape(height, width)[::-1], {}


def _write_pfm(path: Path, values: np.ndarray, valid: np.ndarray, words: Mapping[str, str]) -> None:
    height, width = values.shape
    numbers = np.where(valid, values, np.float32(np.inf))[::-1].astype("<f4")
    path.write_bytes(f"Pf\n{width} {height}\n-1.0\n".encode() + numbers.tobytes())


_Reader = Callable[[Path], tuple[np.ndarray, dict[str, str]]]
_Writer = Callable[[Path, np.ndarray, np.ndarray, Mapping[str, str]], None]
_FORMATS: Mapping[str, tuple[_Reader, _Writer]] = {
    ".npz": (_read_npz, _write_npz),
    ".pfm": (_read_pfm, _write_pfm),
    ".png": (_read_picture, _write_png),
    ".tif": (_read_picture, _write_tiff),
    ".tiff": (_read_picture, _write_tiff),
}
DEPTH_SUFFIXES = frozenset(_FORMATS)
"""The formats that `read_depth` and `write_depth` know."""


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Whatever the disk refuses becomes a `BadInput` that names the file and its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        cure = f"free some space in {path.parent}, make it writable, or choose another folder"
        raise BadInput(f"Cannot write {path}: {error.strerror or error}. Nothing was changed; {cure}.") from error


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
