"""Depth maps: read with their unit, and written so that they state it."""

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, unknown
from leadline.core.paths import StrPath
from leadline.core.sample import Depth, Intrinsics, Mask
from leadline.io.atomic import atomic_write
from leadline.io.colormaps import ColorScale, default_color_scale, render
from leadline.io.images import _LAST_STEP, _decoding, _must_exist


@dataclass(frozen=True, eq=False, repr=False)
class DepthMap:
    """One depth map: what a model measured, or what lies in a file."""

    depth: Depth
    """(1, H, W) in the unit that `kind` says; 0 where not `valid` once it was read back."""
    valid: Mask
    kind: DepthKind = DepthKind.METRIC
    intrinsics: Intrinsics | None = None
    """fx, fy, cx, cy in pixels of the map; None: unknown."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where it comes from, in words that travel with the file: {"model": "hybrid", "aligned": "median"}."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.depth.shape[-2], self.depth.shape[-1]

    def numpy(self) -> Float[np.ndarray, "H W"]:
        """Return the depth as a new (H, W) array of float32, NaN where it is not valid."""
        return torch.where(self.valid, self.depth, torch.nan)[0].detach().float().cpu().numpy()

    def colorize(self, scale: ColorScale | None = None, *, legend: bool = False) -> Image.Image:
        """Draw the depth in colours, striped grey where it is not valid.

        Args:
            scale: which colour a number gets; unset: for metres the same from 0.5 to 10 m in every picture
                (`depth_color_scale(near, far)` for others), for other kinds the range of this picture.
            legend: whether a bar with the scale's numbers and unit stands below.

        Returns:
            An RGB picture of the map's size, or higher and maybe wider with a legend.
        """
        depth = self.depth.detach()
        scale = scale or default_color_scale(depth, self.valid, self.kind)
        return render(depth, scale, self.valid, legend=legend)

    def save(self, path: StrPath, *, depth_scale: float | None = None) -> None:
        """Write the depth as 16-bit PNG, NPZ, PFM or TIFF, by the suffix of `path`; see `write_depth`.

        Args:
            path: the file; `read_depth` reads it back.
            depth_scale: steps that make a metre in a PNG of metres; unset: 1000, or the largest of 256, 100, 10 and 1
                at which the farthest depth fits into 16 bits.

        Raises:
            BadInput: as `write_depth`.
        """
        if depth_scale is None:
            farthest = self.depth.where(self.valid, torch.zeros_like(self.depth)).max().item()
            depth_scale = next((steps for steps in _STEPS if farthest * steps <= _LAST_STEP), _STEPS[0])
        write_depth(path, self, depth_scale=depth_scale)

    def __repr__(self) -> str:
        height, width = self.shape
        values = self.depth[self.valid]
        unit = " m" if self.kind is DepthKind.METRIC else ""
        extent = f"{values.min():.4g} to {values.max():.4g}{unit}" if len(values) else "nothing valid"
        return f"DepthMap({height} × {width}, {self.kind.value}, {extent})"

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows: the colours above their legend, at most 1024 pixels wide and high."""
        picture = self.colorize(legend=True)
        picture.thumbnail((1024, 1024))
        content = BytesIO()
        picture.save(content, "PNG")
        return content.getvalue()


def read_depth(path: StrPath, *, depth_scale: float | None = None, kind: DepthKind | str | None = None) -> DepthMap:
    """Read a depth map from 16-bit PNG, NPZ, PFM or TIFF; not finite or not positive means not measured.

    A file of ours says itself what its numbers are. Of any other file `depth_scale` says how many steps make a
    metre (1000 for millimetres; KITTI 256; TUM 5000), or for a float file `kind` says what it promises.
    Relative maps in float files may hold 0 and less; integers mean "not measured" by 0 whatever their kind.

    Raises:
        BadInput: the unit is unknown or contradicts the file's own words, 8 bits where metres are asked, colour.
        UnreadableFile: truncated, empty or no depth map.
    """
    path = Path(path)
    values, words = read_numbers(path)
    with _decoding(path):
        kind, scale, offset = _meaning(path, values.dtype, words, depth_scale, kind)
    depth = values.astype(np.float32) if (scale, offset) == (1, 0) else (values / scale + offset).astype(np.float32)
    valid = np.isfinite(depth) if values.dtype.kind == "f" else values > 0
    if kind != DepthKind.RELATIVE:
        valid &= depth > 0
    known = words.pop("intrinsics", None)
    return DepthMap(
        depth=torch.from_numpy(np.where(valid, depth, 0))[None],
        valid=torch.from_numpy(valid)[None],
        kind=kind,
        intrinsics=None if known is None else torch.tensor([float(number) for number in known.split()]),
        provenance={key: text for key, text in words.items() if key not in _MEANING},
    )


def read_numbers(path: StrPath) -> tuple[np.ndarray, dict[str, str]]:
    """The (H, W) numbers of a depth file and the words in it, before anyone says what they mean.

    Raises:
        BadInput: no depth format, or a picture in colour.
        UnreadableFile: truncated, empty or no depth map.
    """
    path = Path(path)
    read, _ = _format(path)
    _must_exist(path)
    with _decoding(path):
        return read(path)


def write_depth(
    path: StrPath, depth: DepthMap, *, depth_scale: float = 1000.0, size: tuple[int, int] | None = None
) -> None:
    """Write a depth map so that reading it back gives the same numbers, mask, kind and intrinsics.

    `.png`: 16 bits, metres × `depth_scale`, 0 for not measured; unit, kind and intrinsics lie in its text chunks
    under `leadline:…`. Metres come back to half a step (what is nearer than half a step becomes one step). Depth
    without a unit gets the scale (and relative depth the offset) that fills the 16 bits, and the file says which.
    `.npz` (arrays depth, valid, kind, unit, intrinsics) and `.tiff` (NaN for not measured, the words as JSON in
    ImageDescription) are exact. `.pfm` (bottom row first, inf for not measured) is exact too, but has no place
    for the kind and the intrinsics: its reader must state the kind.

    Args:
        path: the file; its suffix says the format.
        depth: the map, with intrinsics in pixels of what is written.
        depth_scale: steps that make a metre, in a PNG of metres.
        size: height and width to write, where the depth is that of a photograph read in fewer pixels; unset: its own.
            Enlarging is linear, or nearest where some pixels are not valid; a PNG is enlarged as 16-bit numbers.

    Raises:
        BadInput: NaN, infinite or non-positive depth that claims to be valid; metres that 16 bits cannot hold.
    """
    path = Path(path)
    _, write = _format(path)
    values, valid = depth.depth[0].detach().float().cpu().numpy(), depth.valid[0].cpu().numpy()
    _must_be_sound(path, values, valid, depth.kind)
    words = {"kind": str(depth.kind), "unit": _UNITS[depth.kind]}
    if depth.intrinsics is not None:
        words["intrinsics"] = " ".join(str(number) for number in depth.intrinsics.float().cpu().numpy())
    words |= depth.provenance
    is_whole = bool(valid.all())
    if path.suffix.lower() == ".png":
        values, scaling = _steps(path, values, valid, depth.kind, depth_scale)
        words |= scaling
    elif size:
        valid = _enlarged(valid.astype(np.uint8), size, is_whole=is_whole) > 0
    if size:
        values = _enlarged(values, size, is_whole=is_whole)
    with atomic_write(path) as half:
        write(half, values, valid, words)


_UNITS: Mapping[DepthKind, str] = {
    DepthKind.METRIC: "metres",
    DepthKind.SCALE_FREE: "depth, up to one factor",
    DepthKind.RELATIVE: "inverse depth, up to scale and shift",
}


_STEPS = (1000.0, 256.0, 100.0, 10.0, 1.0)
"""Steps that make a metre in 16 bits, from the finest: millimetres up to 65 m, KITTI's up to 255 m."""


_MEANING = frozenset({"kind", "unit", "depth_scale", "offset"})


_PREFIX = "leadline:"


_IMAGE_DESCRIPTION = 270
"""The TIFF tag that holds free text."""


def _format(path: Path) -> tuple["_Reader", "_Writer"]:
    if path.suffix.lower() not in _FORMATS:
        raise BadInput(f"{path} is no known depth format: choose one of {', '.join(sorted(_FORMATS))}.")
    return _FORMATS[path.suffix.lower()]


def _meaning(
    path: Path, dtype: np.dtype, words: Mapping[str, str], depth_scale: float | None, kind: DepthKind | str | None
) -> tuple[DepthKind, float, float]:
    """Kind, scale and offset (depth = number / scale + offset), agreed between the file's words and the caller's."""
    own = words.get("kind")
    for name in (own, kind):
        if name and name not in tuple(DepthKind):
            raise unknown("kind", name, DepthKind)
    if own and kind and own != kind:
        raise BadInput(f"{path} says that its depth is {own}, and not {kind}: state kind={own}.")
    promised = DepthKind(own or kind or DepthKind.METRIC)
    if dtype.itemsize == 1 and promised == DepthKind.METRIC:
        raise BadInput(f"{path} has 8 bits, too few for metres: give the 16-bit PNG, NPZ, PFM or TIFF it was made of.")
    if own:
        scale = float(words.get("depth_scale", 1))
        if depth_scale not in (None, scale):
            raise BadInput(f"{path} says depth_scale={scale:g}, and not {depth_scale:g}: leave depth_scale out.")
        return promised, scale, float(words.get("offset", 0))
    if depth_scale is None and dtype.kind != "f" and promised == DepthKind.METRIC:
        cure = "state depth_scale=1000 for millimetres, 256 for KITTI, 5000 for TUM"
        raise BadInput(f"{path} does not say its unit: {cure}.")
    if depth_scale is None and kind is None:
        raise BadInput(f"{path} does not say its unit: state kind=metric for metres, scale_free or relative.")
    if depth_scale is not None and not depth_scale > 0:
        raise BadInput(f"depth_scale={depth_scale:g} must be positive: it says how many steps make a metre.")
    return promised, 1.0 if depth_scale is None else depth_scale, 0.0


def _must_be_sound(path: Path, values: np.ndarray, valid: np.ndarray, kind: DepthKind) -> None:
    sound = np.isfinite(values) if kind == DepthKind.RELATIVE else np.isfinite(values) & (values > 0)
    wrong = valid & ~sound
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise BadInput(
            f"{wrong.sum()} of {valid.sum()} valid depths for {path} are not finite or not positive "
            f"(first: {values[row, column]} in row {row}, column {column}): mark them as not valid."
        )


def _enlarged(values: np.ndarray, size: tuple[int, int], *, is_whole: bool) -> np.ndarray:
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR if is_whole else cv2.INTER_NEAREST)


def _steps(
    path: Path, values: np.ndarray, valid: np.ndarray, kind: DepthKind, depth_scale: float
) -> tuple[np.ndarray, dict[str, str]]:
    """Depth as 16-bit numbers, and the words that turn them back."""
    measured = values[valid]
    low, high, offset = float(measured.min(initial=np.inf)), float(measured.max(initial=0)), 0.0
    if kind == DepthKind.METRIC and np.rint(high * depth_scale) > _LAST_STEP:
        fitting = [f"depth_scale={scale}" for scale in (1000, 256, 100, 10, 1) if high * scale <= _LAST_STEP]
        cure = ", ".join([*fitting[:1], "or write .npz or .tiff"]).removeprefix("or ")
        raise BadInput(f"{path}: {high:g} m × depth_scale={depth_scale:g} is more than 16 bits hold: {cure}.")
    if kind == DepthKind.SCALE_FREE:
        depth_scale = _LAST_STEP / (high or 1)
    if kind == DepthKind.RELATIVE and measured.size:
        depth_scale = (_LAST_STEP - 1) / (float(measured.max()) - low or 1)
        offset = low - 1 / depth_scale
    del measured
    steps = np.zeros(values.shape, np.uint16)
    for top in range(0, len(values), 512):  # a float64 copy of a whole photograph would be four times the result
        rows = slice(top, top + 512)
        numbers = np.rint((values[rows].astype(np.float64) - offset) * depth_scale)
        # At least one step: 0 would say "not measured".
        steps[rows] = np.where(valid[rows], np.clip(numbers, 1, _LAST_STEP), 0)
    words = {"depth_scale": repr(float(depth_scale))}
    return steps, words | ({"offset": repr(float(offset))} if offset else {})


def _read_picture(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """Numbers and words of a PNG or TIFF of one channel."""
    with Image.open(path) as picture:
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
    Image.fromarray(values).save(path, pnginfo=chunks, compress_level=3)


def _write_tiff(path: Path, values: np.ndarray, valid: np.ndarray, words: Mapping[str, str]) -> None:
    text = json.dumps({"leadline": dict(words)})
    Image.fromarray(np.where(valid, values, np.float32(np.nan))).save(path, tiffinfo={_IMAGE_DESCRIPTION: text})


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
