"""Depth maps: read with their unit, and written so that they state it."""

import io
import json
import math
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from numbers import Real
from pathlib import Path
from tokenize import TokenError
from typing import Any, cast

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline.core.arrays import Depth, Intrinsics, Mask, as_array, held, tensor_field
from leadline.core.camera import centered_camera, explain_unlikely_view, focal_length, parse_camera, ray_lengths
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile, as_sentence, check_known, check_type, unknown
from leadline.core.paths import StrPath
from leadline.io.atomic import atomic_write
from leadline.io.colormaps import ColorScale, default_color_scale, render
from leadline.io.depth_units import explain_implausible_median
from leadline.io.exif import camera_from_exif, read_orientation
from leadline.io.images import (
    _LAST_STEP,
    _decoding,
    _must_exist,
    _opened,
    _upright,
    _upright_size,
    _xmp,
    as_float_image,
    decode_photograph,
    read_exif,
    read_photograph,
)
from leadline.io.json_text import parse_json
from leadline.io.png import decode_whole_png, encode_png
from leadline.io.point_clouds import Mesh, PointCloud, mesh, normals_picture, point_cloud, surface_normals

CARRIER_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""The formats of photographs that may carry depth, which `read_depth` reads too."""
_SAME_ASPECT = 0.02
"""By which the aspects of a photograph and its depth may differ: a row or a column of a small map."""


def same_aspect(size: Sequence[int], other: Sequence[int]) -> bool:
    """Tell whether two heights and widths have one aspect, up to a row or a column of a small map."""
    return abs(size[1] / size[0] * other[0] / other[1] - 1) <= _SAME_ASPECT


@dataclass(frozen=True, eq=False, repr=False)
class DepthMap:
    """Hold one depth map: predicted by a model, or read from a file.

    `depth`, `valid` and `intrinsics` are tensors, whether tensors or arrays were given; what is held as arrays becomes
    tensors, of the same memory, when they are first read. `values`, `mask` and `camera` are the same as arrays.

    Raises:
        BadInput: a field of another shape or type.
    """

    depth: Depth = tensor_field()
    """(1, H, W) in the unit that `kind` says; 0 where not `valid` once it was read back."""
    valid: Mask = tensor_field()
    kind: DepthKind = DepthKind.METRIC
    intrinsics: Intrinsics | None = tensor_field(default=None)
    """fx, fy, cx, cy in pixels of the map; None: unknown."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where it comes from, key → text, which is stored in the file: {"model": "hybrid", "aligned": "median"}."""

    def __post_init__(self) -> None:
        shapes = [tuple(getattr(held(self, name), "shape", ())) for name in ("depth", "valid")]
        if len(shapes[0]) != 3 or shapes[0][0] != 1 or shapes[1] != shapes[0]:
            raise BadInput(
                f"A depth map is a tensor or an array (1, H, W), and where it is valid another: not {shapes[0]} and "
                f"{shapes[1]}."
            )
        if str(held(self, "valid").dtype).removeprefix("torch.") != "bool":
            raise BadInput(f"`valid` holds {held(self, 'valid').dtype}: give booleans, such as depth > 0.")
        if (known := held(self, "intrinsics")) is not None and tuple(getattr(known, "shape", ())) != (4,):
            raise BadInput("The intrinsics of a depth map are a tensor or an array (4,) of fx, fy, cx and cy.")
        check_known("depth kind", self.kind, list(DepthKind))
        object.__setattr__(self, "kind", DepthKind(self.kind))
        for key, text in self.provenance.items():
            check_type(key, str, "key of a provenance", "give texts")
            check_type(text, str, "text of a provenance", f"convert {key!r} by str()")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        shape = held(self, "depth").shape
        return shape[-2], shape[-1]

    @property
    def values(self) -> Float[np.ndarray, "1 H W"]:
        """The depth as an array, of the same memory where it can be."""
        return as_array(held(self, "depth"))

    @property
    def mask(self) -> Bool[np.ndarray, "1 H W"]:
        """Where the depth is valid, as an array, of the same memory where it can be."""
        return as_array(held(self, "valid"))

    @property
    def camera(self) -> Float[np.ndarray, "4"] | None:
        """The intrinsics as an array."""
        known = held(self, "intrinsics")
        return None if known is None else as_array(known)

    def replace(self, **changes: Any) -> "DepthMap":
        """Return a copy with other values in the named fields."""
        return DepthMap(**{**vars(self), **changes})

    def numpy(self) -> Float[np.ndarray, "H W"]:
        """Return the depth as a new (H, W) array of float32, NaN where it is not valid."""
        return np.where(self.mask, self.values, np.float32(np.nan))[0].astype(np.float32, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return `numpy()` to NumPy's functions.

        Raises:
            ValueError: `copy` is False; the depth and where it is valid are held apart.
        """
        if copy is False:
            raise ValueError("A DepthMap becomes an array by copying: leave copy=False out.")
        return self.numpy().astype(dtype or np.float32, copy=False)

    def colorize(self, scale: ColorScale | None = None, *, legend: bool = False) -> Image.Image:
        """Draw the depth in colours, striped grey where it is not valid.

        Args:
            scale: which colour a number gets; unset: for metres the same from 0.5 to 10 m in every picture
                (`depth_color_scale(near, far)` for others), for other kinds the range of this picture.
            legend: whether a bar with the scale's numbers and unit stands below.

        Returns:
            An RGB picture of the map's size, or higher and maybe wider with a legend.
        """
        if scale is not None:
            check_type(
                scale, ColorScale, "scale of colours", "make one by leadline.io.colormaps.depth_color_scale(near, far)"
            )
        scale = scale or default_color_scale(self.values, self.mask, self.kind)  # pyright: ignore[reportArgumentType]
        return render(self.values, scale, self.mask, legend=legend)  # pyright: ignore[reportArgumentType]

    def point_cloud(
        self,
        image: StrPath | Image.Image | np.ndarray | None = None,
        *,
        field_of_view: float | None = None,
        max_points: int | None = None,
    ) -> PointCloud:
        """Return the depth as coloured points, in metres; `.save("cloud.ply")` writes them.

        Args:
            image: the photograph that gives the colours: a path, a Pillow image or an array (h, w, 3) of 8 bits, of any
                size. Unset: the colours of the depth.
            field_of_view: degrees from the left edge to the right one; unset: as `intrinsics` says.
            max_points: keep each n-th row and column, so that there are no more; unset: all.

        Raises:
            BadInput: relative depth, which has no shape; the camera is not known; or an image of another aspect.
        """
        camera = self._camera_for_shape(field_of_view)
        return point_cloud(self.numpy(), camera, self._picture(image), max_points=max_points)

    def mesh(
        self,
        image: StrPath | Image.Image | np.ndarray | None = None,
        *,
        field_of_view: float | None = None,
        max_points: int | None = None,
    ) -> Mesh:
        """Return the depth as a surface cut at depth jumps; `.save("room.glb")` writes it.

        Args:
            image: the photograph on it, as for `point_cloud`.
            field_of_view: as for `point_cloud`.
            max_points: as for `point_cloud`.

        Raises:
            BadInput: as `point_cloud`.
        """
        camera = self._camera_for_shape(field_of_view)
        return mesh(self.numpy(), camera, self._picture(image), max_points=max_points)

    def normals(self, *, field_of_view: float | None = None) -> Image.Image:
        """Draw the surface's normals: red to the right, green up, blue towards the camera; grey where none is known.

        Args:
            field_of_view: as for `point_cloud`.

        Raises:
            BadInput: as `point_cloud`.
        """
        camera = self._camera_for_shape(field_of_view)
        return Image.fromarray(normals_picture(surface_normals(self.numpy(), camera)))

    def _camera_for_shape(self, field_of_view: float | None) -> list[float]:
        """Return fx, fy, cx, cy of the map, or raise for depth of which no shape follows."""
        if self.kind is DepthKind.RELATIVE:
            advice = "scale it to metres first (--scale-from, or leadline.inference.metric_scale)"
            raise BadInput(f"Points need depth, and {self.kind.guarantee}: {advice}.")
        if field_of_view is not None:
            if not isinstance(field_of_view, Real) or not 0 < field_of_view < 180:
                raise BadInput(f"field_of_view={field_of_view!r:.80}: give the degrees between the edges, 0 to 180.")
            camera = centered_camera(focal_length(field_of_view, self.shape[1]), self.shape)
            if doubt := explain_unlikely_view(float(field_of_view)):
                warnings.warn(as_sentence(doubt), stacklevel=3)
            return list(camera)
        if self.camera is None or not np.isfinite(self.camera).all():
            raise BadInput(
                "Points need the camera, and it is not known: give field_of_view=…, the degrees between the picture's "
                "left and right edges (most telephones: 62 to 72)."
            )
        return self.camera.tolist()

    def _check_aspect(self, size: tuple[int, ...]) -> None:
        """Refuse a picture whose height and width have another proportion: it is not the photograph of this depth."""
        height, width = size
        if not same_aspect((height, width), self.shape):
            raise BadInput(
                f"The image has {width} × {height} pixels, and the depth {self.shape[1]} × {self.shape[0]}, of another "
                "aspect: give the photograph that the depth is of."
            )

    def _picture(self, image: StrPath | Image.Image | np.ndarray | None) -> UInt8[np.ndarray, "h w 3"]:
        if image is None:
            return np.asarray(self.colorize())
        check_type(image, str | os.PathLike | Image.Image | np.ndarray, "photograph", "give its path, picture or array")
        if isinstance(image, np.ndarray):
            if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
                raise BadInput(
                    f"An array of {image.dtype} of shape {image.shape} gives no colours: give (h, w, 3) uint8."
                )
            self._check_aspect(image.shape[:2])
            return image
        photo = decode_photograph(image, "The image") if isinstance(image, Image.Image) else read_photograph(image)
        self._check_aspect(photo.size)
        return np.rint(as_float_image(photo.pixels) * 255).astype(np.uint8).transpose(1, 2, 0)

    def save(self, path: StrPath, *, depth_scale: float | None = None) -> None:
        """Write the depth as 16-bit PNG, NPZ, PFM or TIFF, by the suffix of `path`; see `write_depth`.

        Args:
            path: the file; `read_depth` reads it back.
            depth_scale: steps that make a metre in a PNG of metres; unset: 1000, or the largest of 256, 100, 10 and 1
                at which the farthest depth fits into 16 bits.

        Raises:
            BadInput: as `write_depth`.
        """
        write_depth(path, self, depth_scale=depth_scale)

    def __repr__(self) -> str:
        height, width = self.shape
        values = self.values[self.mask]
        unit = " m" if self.kind is DepthKind.METRIC else ""
        extent = f"{values.min():.4g} to {values.max():.4g}{unit}" if len(values) else "nothing valid"
        return f"DepthMap({height} × {width}, {self.kind.value}, {extent})"

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows: the colours above their legend, at most 1024 pixels wide and high."""
        picture = self.colorize(legend=True)
        picture.thumbnail((1024, 1024))
        content = io.BytesIO()
        picture.save(content, "PNG")
        return content.getvalue()


def read_depth(
    path: StrPath,
    *,
    depth_scale: float | None = None,
    kind: DepthKind | str | None = None,
    invalid: Sequence[float] = (),
    max_depth: float | None = None,
    along_ray: bool = False,
    intrinsics: Intrinsics | None = None,
) -> DepthMap:
    """Read a depth map from PNG, TIFF, NPZ, NPY, PFM, EXR or HDF5, upright as its EXIF says; or out of a HEIC.

    The depth that a telephone stores in a HEIC photograph is disparity without a reliable unit: it is relative, has
    fewer pixels than the photograph, and the camera of the photograph's EXIF.

    A file that states its unit (each that `write_depth` wrote, and others with a `unit` of metres, centimetres or
    millimetres) is read by it, whatever `depth_scale` says. Any other file needs `depth_scale` for integers, and
    `kind` for floats. A number that is not finite, 3e38 or more, or not positive is not measured; but in relative maps
    any finite number counts, 0 and below included, unless `write_depth` wrote an integer map, where 0 means not
    measured.

    Args:
        path: the file.
        depth_scale: numbers in the file that make a metre: 1000 for millimetres, 256 for KITTI, 5000 for TUM RGB-D.
        kind: the kind of depth, where the file does not state it.
        invalid: numbers in the file that mean "not measured", as 65535 or a renderer's 1e10.
        max_depth: depths beyond this, in the unit of `kind`, count as not measured too.
        along_ray: the file holds distances along each pixel's ray; they become depth along the optical axis.
        intrinsics: (4,) fx, fy, cx, cy in pixels of the map, for `along_ray` where the file does not state them.

    Returns:
        Depth (1, H, W) in metres (metric) or without a unit, 0 where not valid; the file's other metadata is its
        provenance.

    Raises:
        BadInput: the unit is not known, the numbers cannot be metres, 8 bits where metres are asked for, colour, or no
            camera for `along_ray`.
        UnreadableFile: truncated, empty, not a depth map, intrinsics of no camera, or the extra for its format is not
            installed.
    """
    path = Path(path)
    for name, number in (("depth_scale", depth_scale), ("max_depth", max_depth)):
        if number is not None:
            _must_be_positive(name, number)
    stored = _stored(path)
    values, metadata = stored.values, dict(stored.metadata)
    with _decoding(path):
        encoding = _encoding(path, values, metadata, depth_scale, kind)
        known = _camera(path, metadata.pop("intrinsics", None), values.shape)
    camera = known if intrinsics is None else np.array(parse_camera(intrinsics, f"{path}, as given"), np.float32)
    if values.dtype == np.uint16 and not len(invalid) and _is_plain_division(encoding):
        depth = np.divide(values, np.float32(encoding.scale))
        valid = depth > 0
    elif values.dtype == np.uint16 and values.size > _STEPS:
        # To look a number up is several times as fast as to compute with it.
        depths, measured = _interpreted_steps(encoding, tuple(invalid))
        depth = depths.take(values)
        valid = measured.take(values) if encoding.kind is DepthKind.RELATIVE else depth > 0
    else:
        depth, valid = _interpreted(values, encoding, invalid)
    if stored.valid is not None:
        valid &= stored.valid
        depth = np.where(valid, depth, np.float32(0))
    if max_depth is not None:
        valid &= depth <= max_depth
    if along_ray:
        if camera is None:
            raise BadInput(f"{path}: distances along the ray need the camera that measured them: state its intrinsics.")
        depth = depth / ray_lengths(camera.tolist(), depth.shape).astype(np.float32)
    if not encoding.is_stated and encoding.kind is DepthKind.METRIC and depth_scale is None:
        _check_metres(path, depth[valid])
    return DepthMap(
        depth=(depth if max_depth is None else np.where(valid, depth, np.float32(0)))[None],  # pyright: ignore[reportArgumentType]
        valid=valid[None],  # pyright: ignore[reportArgumentType]
        kind=encoding.kind,
        intrinsics=camera,  # pyright: ignore[reportArgumentType]
        provenance={key: text for key, text in metadata.items() if key not in _ENCODING_KEYS},
    )


def read_numbers(path: StrPath) -> tuple[np.ndarray, dict[str, str]]:
    """Read the numbers of a depth file and its metadata, without interpreting them.

    Returns:
        The (H, W) numbers, integers or floats as the file stores them; and its metadata: unit, kind, intrinsics …

    Raises:
        BadInput: not a depth format, or a picture in colour.
        UnreadableFile: truncated, empty or no depth map.
    """
    stored = _stored(Path(path))
    values = stored.values
    if stored.valid is not None:
        nothing = np.nan if values.dtype.kind == "f" else 0
        values = np.where(stored.valid, values, np.array(nothing, values.dtype))
    return values, dict(stored.metadata)


def stated_scale(path: StrPath, metadata: Mapping[str, str], kind: DepthKind | str = DepthKind.METRIC) -> float | None:
    """Return how many steps make a metre as a depth file itself states it, or None where it does not.

    Args:
        path: the file, for messages.
        metadata: that in it, as `read_numbers` returns it.
        kind: the kind of depth where the file does not state it; a unit of length counts for metres only.

    Returns:
        The steps; of depth without a unit, those that make 1.

    Raises:
        BadInput: it states a unit that is not known.
        UnreadableFile: what it states is no scale.
    """
    own, unit = metadata.get("kind"), metadata.get("unit")
    if not own and kind != DepthKind.METRIC:
        return None
    with _decoding(Path(path)):
        scale = float(metadata.get("depth_scale", 1)) if own else 1.0
        if not 0 < scale < math.inf:
            raise ValueError(f"it states depth_scale={scale:g}")
    if own and own != DepthKind.METRIC:
        return scale
    if unit is None:
        return scale if own and "depth_scale" in metadata else None
    if unit.strip().lower() not in _NUMBERS_PER_METRE:
        raise BadInput(f"{path} states the unit {unit!r}, which is none of metres, centimetres and millimetres.")
    return scale * _NUMBERS_PER_METRE[unit.strip().lower()]


def write_depth(
    path: StrPath,
    depth: DepthMap,
    *,
    depth_scale: float | None = None,
    size: tuple[int, int] | None = None,
) -> None:
    """Write a depth map so that reading it back gives the same numbers, mask, kind and intrinsics.

    `.png`: 16 bits, metres × `depth_scale`, 0 for not measured; unit, kind and intrinsics are in its text chunks
    under `leadline:…`. Metres come back to half a step (what is nearer than half a step becomes one step). Depth
    without a unit gets the scale (and relative depth the offset) that fills the 16 bits, and the file says which.
    `.npz` (arrays depth, valid, kind, unit, intrinsics) and `.tiff` (NaN for not measured, the metadata as JSON in
    ImageDescription) are exact. `.pfm` (bottom row first, inf for not measured) is exact too, but has no place
    for the kind and the intrinsics: its reader must state the kind.

    Args:
        path: the file; its suffix says the format.
        depth: the map, with intrinsics in pixels of what is written.
        depth_scale: steps that make a metre, in a PNG of metres; unset: 1000, or where that is too many for 16 bits the
            next of 256, 100, 10 and 1.
        size: height and width to write, where the depth is that of a photograph read in fewer pixels; unset: its own.
            Enlarging is linear, or nearest where some pixels are not valid; a PNG is enlarged as 16-bit numbers.

    Raises:
        BadInput: NaN, infinite or non-positive depth that is marked as valid; metres that 16 bits cannot hold; finite
            intrinsics that are no camera's.
    """
    path = Path(path)
    if depth_scale is not None:
        _must_be_positive("depth_scale", depth_scale)
    write = _format(path, is_written=True).write
    if write is None:
        raise BadInput(f"{path}: {path.suffix} is read, not written: choose .png, .npz, .tiff or .pfm.")
    values, valid = depth.values[0].astype(np.float32, copy=False), depth.mask[0]
    _check_values(path, values, valid, depth.kind)
    metadata = {key: text for key, text in depth.provenance.items() if key not in _ENCODING_KEYS | {"intrinsics"}}
    metadata |= {"kind": str(depth.kind), "unit": depth.kind.unit}
    if depth.camera is not None and np.isfinite(depth.camera).all():
        parse_camera(depth.camera, str(path))  # what no camera has is refused
        metadata["intrinsics"] = " ".join(str(number) for number in depth.camera.astype(np.float32))
    is_whole = bool(valid.all())
    if path.suffix.lower() == ".png":
        values, scaling = _steps(path, values, valid, depth.kind, depth_scale)
        metadata |= scaling
    elif size:
        valid = _enlarged(valid.astype(np.uint8), size, is_whole=is_whole) > 0
    if size:
        values = _enlarged(values, size, is_whole=is_whole)
    with atomic_write(path) as half:
        write(half, values, valid, metadata)


_NUMBERS_PER_METRE: Mapping[str, float] = {
    **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0),
    **dict.fromkeys(("cm", "centimetre", "centimetres", "centimeter", "centimeters"), 100.0),
    **dict.fromkeys(("mm", "millimetre", "millimetres", "millimeter", "millimeters"), 1000.0),
}
"""Units as files state them → how many of one make a metre."""


_ENCODING_KEYS = frozenset({"kind", "unit", "depth_scale", "offset"})


_OPTIONS = {
    "depth_scale": "it says how many steps make a metre",
    "max_depth": "it is the farthest that counts as measured",
}


_PREFIX = "leadline:"


_IMAGE_DESCRIPTION = 270
"""The TIFF tag that holds free text."""


_LARGEST = 3e38
"""Numbers from here on are the largest float, which some programs write where nothing was measured."""


_FARTHEST_MIDDLE = 100
"""Sides of a map by which a principal point may lie outside of it, where the map is a small crop."""


_MOST_NUMBERS = 2 * 89_478_485
"""Pixels of a map, as many as Pillow takes: what declares more is refused before memory is allocated."""


def _format(path: Path, *, is_written: bool = False) -> "_Format":
    if path.suffix.lower() not in _FORMATS:
        usable = sorted(suffix for suffix, each in _FORMATS.items() if each.write or not is_written)
        raise BadInput(f"{path} is no known depth format: choose one of {', '.join(usable)}.")
    return _FORMATS[path.suffix.lower()]


@dataclass(frozen=True, eq=False)
class _Stored:
    """Hold what a depth file contains."""

    values: np.ndarray
    """(H, W), integers or floats."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    valid: np.ndarray | None = None
    """(H, W), where the file has a mask of its own."""


def _stored(path: Path) -> _Stored:
    read = _format(path).read
    _must_exist(path)
    with _decoding(path):
        stored = read(path)
        values = stored.values
        if values.dtype.kind not in "fiu" or values.ndim != 2 or values.size == 0:
            raise ValueError(
                f"it holds {values.dtype} numbers of the shape {values.shape}, not (height, width) of depths"
            )
        is_half = values.dtype.kind == "f" and values.dtype.itemsize < 4
        native = values.astype(np.float32 if is_half else values.dtype.newbyteorder("="), copy=False)
        return replace(stored, values=native)


@dataclass(frozen=True)
class _Encoding:
    """How to turn the numbers of a file into depth: number / scale + offset."""

    kind: DepthKind
    scale: float
    offset: float
    is_stated: bool
    """By the file itself."""
    is_ours: bool
    """In an integer map that `write_depth` wrote 0 means not measured, whatever the kind."""


def _encoding(
    path: Path, values: np.ndarray, metadata: Mapping[str, str], depth_scale: float | None, kind: DepthKind | str | None
) -> _Encoding:
    """Return the encoding that the file states, or else the caller.

    Raises:
        BadInput: neither states it, or they contradict each other.
    """
    own = metadata.get("kind")
    if kind and kind not in tuple(DepthKind):
        raise unknown("kind", kind, DepthKind)
    if own and own not in tuple(DepthKind):
        raise ValueError(f"it says that its depth is {own!r}, and not {' or '.join(DepthKind)}")
    if own and kind and own != kind:
        raise BadInput(f"{path} says that its depth is {own}, and not {kind}: state kind={own}.")
    stated_kind = DepthKind(own or kind or DepthKind.METRIC)
    if values.dtype.itemsize == 1 and stated_kind is DepthKind.METRIC:
        raise BadInput(f"{path} has 8 bits, too few for metres: give the 16-bit PNG, NPZ, PFM or TIFF it was made of.")
    if (stated := stated_scale(path, metadata, stated_kind)) is not None:
        offset = float(metadata.get("offset", 0)) if own else 0.0
        if not math.isfinite(offset):
            raise ValueError(f"it states offset={offset:g}")
        is_ours = bool(own) and "depth_scale" in metadata
        return _Encoding(stated_kind, stated, offset, is_stated=True, is_ours=is_ours)
    if depth_scale is None and values.dtype.kind != "f" and stated_kind is DepthKind.METRIC:
        advice = "state depth_scale=1000 for millimetres, 256 for KITTI, 5000 for TUM"
        raise BadInput(f"{path} does not say its unit: {advice}.")
    if depth_scale is None and not (own or kind):
        advice = "state kind=metric for metres, scale_free or relative"
        raise BadInput(f"{path} does not say its unit: {advice}.")
    return _Encoding(stated_kind, 1.0 if depth_scale is None else depth_scale, 0.0, is_stated=False, is_ours=False)


_STEPS = 1 << 16
"""How many numbers 16 bits hold."""


def _is_plain_division(encoding: _Encoding) -> bool:
    """Return whether 16-bit numbers divided in float32 are the depth, to the last bit, and valid where positive."""
    scale = encoding.scale
    is_exact = scale == float(np.float32(scale)) and 1e-9 < scale < 1e9  # so nothing over- or underflows
    return is_exact and encoding.offset == 0 and encoding.kind is not DepthKind.RELATIVE


def _interpreted(values: np.ndarray, encoding: _Encoding, invalid: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the depth that numbers stand for, and which of them are measurements; 0 where they are none."""
    valid = _measured(values, encoding, invalid)
    depth = values.astype(np.float32)
    if (encoding.scale, encoding.offset) != (1, 0):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            depth = (values / encoding.scale + encoding.offset).astype(np.float32)
    # A scale may take numbers out of the range of 32-bit floats.
    valid &= np.isfinite(depth) if encoding.kind is DepthKind.RELATIVE else np.isfinite(depth) & (depth > 0)
    return np.where(valid, depth, np.float32(0)), valid


@lru_cache(maxsize=8)
def _interpreted_steps(encoding: _Encoding, invalid: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_interpreted` does of each 16-bit number."""
    return _interpreted(np.arange(_STEPS, dtype=np.uint16), encoding, invalid)


def _camera(path: Path, stated: Any, size: tuple[int, ...]) -> Float[np.ndarray, "4"] | None:
    """Parse the camera that a file states; an impossible one makes the file unreadable."""
    if stated is None:
        return None
    try:
        camera = np.array(parse_camera(stated, str(path)), np.float32)
    except BadInput as fault:
        raise UnreadableFile(str(fault)) from fault
    # A crop may leave the principal point outside, but not by more than a picture that it was cut out of.
    far = [abs(middle) / side for middle, side in zip(camera[2:].tolist(), size[::-1], strict=True)]
    if max(far) > _FARTHEST_MIDDLE:
        raise UnreadableFile(
            f"{path}: the intrinsics {' '.join(f'{number:g}' for number in camera.tolist())} have their principal "
            f"point far outside of {size[1]} × {size[0]} pixels: state them in pixels of this map."
        )
    return camera


def _measured(values: np.ndarray, encoding: _Encoding, invalid: Sequence[float]) -> np.ndarray:
    """Return where the file holds a number that may be a measurement (H, W)."""
    if values.dtype.kind == "f":
        valid = np.isfinite(values) & (np.abs(values) < _LARGEST)
    elif encoding.kind is DepthKind.RELATIVE and not encoding.is_ours:
        # In other programs' maps of inverse depth 0 is the farthest, as MiDaS writes it.
        valid = np.ones(values.shape, bool)
    else:
        valid = values > 0
    if len(invalid):
        valid &= ~np.isin(values.astype(np.float64), np.array(invalid, np.float64))
        if values.dtype.kind == "f":
            valid &= ~np.isin(values, np.array(invalid, np.float64).astype(values.dtype))
    return valid


def _must_be_positive(name: str, number: object) -> None:
    if not isinstance(number, Real):
        raise BadInput(f"{name}={number!r:.80} must be a number: {_OPTIONS[name]}.")
    if not 0 < float(number) < math.inf:
        raise BadInput(f"{name}={float(number):g} must be positive and finite: {_OPTIONS[name]}.")


def _check_metres(path: Path, depth: np.ndarray) -> None:
    """Refuse floats of no stated unit that no camera measures in metres."""
    if depth.size and (said := explain_implausible_median(float(np.median(depth)))):
        raise BadInput(f"{path} does not say its unit, and {said}.")


def _check_values(path: Path, values: np.ndarray, valid: np.ndarray, kind: DepthKind) -> None:
    sound = np.isfinite(values) if kind == DepthKind.RELATIVE else np.isfinite(values) & (values > 0)
    wrong = valid & ~sound
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise BadInput(
            f"{wrong.sum()} of {valid.sum()} valid depths for {path} are not finite or not positive "
            f"(first: {values[row, column]} in row {row}, column {column}): mark them as not valid."
        )


_PNG_SCALES = (1000.0, 256.0, 100.0, 10.0, 1.0)
"""Steps that make a metre in our 16-bit PNG: the first with which the farthest depth fits."""


def _enlarged(values: np.ndarray, size: tuple[int, int], *, is_whole: bool) -> np.ndarray:
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR if is_whole else cv2.INTER_NEAREST)


def _steps(
    path: Path, values: np.ndarray, valid: np.ndarray, kind: DepthKind, depth_scale: float | None
) -> tuple[np.ndarray, dict[str, str]]:
    """Return depth as 16-bit numbers, and the metadata by which they are turned back."""
    measured = values[valid]
    low, high, offset = float(measured.min(initial=np.inf)), float(measured.max(initial=0)), 0.0
    fitting = [scale for scale in _PNG_SCALES if np.rint(high * scale) <= _LAST_STEP]
    if depth_scale is None:
        depth_scale = fitting[0] if fitting else _PNG_SCALES[-1]
    if kind == DepthKind.METRIC and np.rint(high * depth_scale) > _LAST_STEP:
        advice = ", ".join([*(f"depth_scale={scale:g}" for scale in fitting[:1]), "or write .npz or .tiff"])
        raise BadInput(
            f"{path}: {high:g} m × depth_scale={depth_scale:g} is more than 16 bits hold: {advice.removeprefix('or ')}."
        )
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
    metadata = {"depth_scale": repr(float(depth_scale))}
    return steps, metadata | ({"offset": repr(float(offset))} if offset else {})


def _read_picture(path: Path) -> _Stored:
    """Read the numbers and the metadata of a PNG or TIFF of one channel."""
    content = path.read_bytes()
    decoded = None
    # Not by its path: an uncompressed file that is rotated is then mapped with the wrong width.
    with Image.open(io.BytesIO(content)) as picture:
        if picture.mode == "I;16" and picture.format == "PNG" and not _PNG_EXIF & picture.info.keys():
            decoded = decode_whole_png(content)
        if decoded is None:
            if picture.format == "PNG":
                with Image.open(io.BytesIO(content)) as checked:
                    checked.verify()  # of the checksums, at which loading does not look
            picture.load()
    if picture.mode == "P" or len(picture.getbands()) > 1:
        raise BadInput(f"{path} is a picture in colour ({picture.mode}), not a depth map: give the map it shows.")
    info = {str(key): str(text) for key, text in picture.info.items()}
    metadata = {key.removeprefix(_PREFIX): text for key, text in info.items() if key.startswith(_PREFIX)}
    for key, text in info.items():
        if key.lower() == "unit":
            metadata.setdefault("unit", text)
    exif = picture.getexif() if decoded is None else Image.Exif()
    metadata |= _parse_description(str(exif.get(_IMAGE_DESCRIPTION, "")))
    values = np.asarray(picture) if decoded is None else decoded
    values = values.astype(np.uint8) if values.dtype == bool else values
    return _Stored(np.ascontiguousarray(_upright(values, read_orientation(exif))), metadata)


_PNG_EXIF = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})
"""What Pillow finds EXIF in, of a PNG."""


def _parse_description(description: str) -> dict[str, str]:
    """What a TIFF says in its description: ours as JSON; `unit=mm`, or JSON with a `unit`, as others write it."""
    # Among the lines of other descriptions a unit may be that of the pixels' size, as ImageJ has it.
    if match := re.fullmatch(r"\s*unit\s*[=:]\s*(\w+)\s*", description, re.IGNORECASE):
        return {"unit": match[1]}
    is_ours = description.startswith('{"leadline"')
    try:
        content = parse_json(description)
    except (ValueError, RecursionError) as problem:
        if is_ours:
            raise ValueError(f"its description is damaged: {problem}") from problem
        return {}
    metadata = content.get("leadline" if is_ours else "unit") if isinstance(content, dict) else None
    if is_ours and not isinstance(metadata, dict):
        raise ValueError("its description is not what leadline writes")
    if isinstance(metadata, dict):
        return {str(key): str(text) for key, text in metadata.items()} if is_ours else {}
    return {"unit": metadata} if isinstance(metadata, str) else {}


def _write_png(path: Path, values: np.ndarray, valid: np.ndarray, metadata: Mapping[str, str]) -> None:
    chunks = PngInfo()
    for key, text in metadata.items():
        chunks.add_text(_PREFIX + key, text)
    path.write_bytes(encode_png(values, chunks))


def _write_tiff(path: Path, values: np.ndarray, valid: np.ndarray, metadata: Mapping[str, str]) -> None:
    text = json.dumps({"leadline": dict(metadata)})
    Image.fromarray(np.where(valid, values, np.float32(np.nan))).save(path, tiffinfo={_IMAGE_DESCRIPTION: text})


def _read_npz(path: Path) -> _Stored:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not an NPZ archive, or its end is missing")
    with zipfile.ZipFile(path) as archive:
        members: dict[str, zipfile.ZipInfo] = {}
        for each in archive.infolist():
            key = each.filename.removesuffix(".npy")
            if key in members:
                raise ValueError(f"its array {key[:80]!r} stands in it twice")
            members[key] = each
        if "depth" not in members:
            raise BadInput(f"{path} holds no array `depth`, only {', '.join(members) or 'nothing'}.")
        arrays = {}
        for key, member in members.items():
            if key in _ARRAYS or member.file_size <= _LONGEST_WORD:
                with archive.open(member) as stream:
                    arrays[key] = _array(cast(io.BufferedIOBase, stream), key, member.file_size)
    depth = _flat(_numeric(arrays.pop("depth"), "depth"), "depth")
    valid = arrays.pop("valid", None)
    if valid is not None:
        valid = _flat(_numeric(valid, "valid"), "valid").astype(bool)
        if valid.shape != depth.shape:
            raise ValueError(f"its arrays `depth` and `valid` have the shapes {depth.shape} and {valid.shape}")
    metadata = {key: _as_word(array) for key, array in arrays.items() if array is not None and array.size < 64}
    if arrays.get("intrinsics") is not None and (known := _camera(path, arrays["intrinsics"], depth.shape)) is not None:
        metadata["intrinsics"] = " ".join(str(number) for number in known.tolist())
    return _Stored(depth, metadata, valid)


_ARRAYS = frozenset({"depth", "valid", "intrinsics"})
"""The arrays of an NPZ that are read whatever their size; of others those that are as short as a word."""


_LONGEST_WORD = 1 << 16
"""Bytes of an array that may be a word."""


def _as_word(array: np.ndarray) -> str:
    items = array.ravel().tolist()
    return " ".join(each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in items)


def _read_npy(path: Path) -> _Stored:
    with path.open("rb") as stream:
        return _Stored(_flat(_numeric(_array(stream, "depth", path.stat().st_size), "depth"), "depth"))


def _numeric(array: np.ndarray | None, name: str) -> np.ndarray:
    if array is None or array.dtype.kind not in "fiub":
        raise ValueError(f"its array `{name}` holds no numbers")
    return array.astype(np.uint8) if array.dtype == bool else array


def _array(stream: io.BufferedIOBase, name: str, held: int) -> np.ndarray | None:
    """Read NumPy's format, version 1 to 3, of `held` bytes; what it declares is checked before memory is allocated.

    None: it holds Python's objects, which only what wrote them should read.
    """
    read_header = {1: np.lib.format.read_array_header_1_0}.get(
        np.lib.format.read_magic(stream)[0], np.lib.format.read_array_header_2_0
    )
    try:
        shape, is_fortran, dtype = read_header(stream)
    except (TokenError, RecursionError, TypeError) as problem:
        raise ValueError(f"the header of its array `{name}` is damaged") from problem
    count = math.prod(shape)
    if dtype.hasobject or dtype.names:
        return None
    if any(side < 0 for side in shape) or count > _MOST_NUMBERS or dtype.itemsize == 0:
        raise ValueError(f"its array `{name}` is declared as {shape} of {dtype}")
    size = count * dtype.itemsize
    content = stream.read(size) if size < held else b""
    if len(content) < size:
        raise ValueError(f"its array `{name}` is cut short")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


def _flat(array: np.ndarray, name: str) -> np.ndarray:
    """Return (H, W) of (H, W), (1, H, W), (H, W, 1) and the like."""
    sides = [side for side in array.shape if side != 1] if array.ndim > 2 else array.shape
    if array.ndim > 2 and len(sides) < 2:
        sides = array.shape[:2] if array.shape[-1] == 1 and array.shape[0] != 1 else array.shape[-2:]
    if len(sides) != 2 or math.prod(sides) != array.size:
        raise ValueError(f"its array `{name}` has the shape {array.shape}, not (height, width)")
    return array.reshape(*sides)


_TAKEN_IN_NPZ = frozenset({"depth", "valid", "file", "allow_pickle"})
"""Names of the arrays of depth, and of parameters of what writes them."""


def _write_npz(path: Path, values: np.ndarray, valid: np.ndarray, metadata: Mapping[str, str]) -> None:
    if taken := _TAKEN_IN_NPZ & metadata.keys():
        raise BadInput(f"{path}: the provenance cannot be called {min(taken)!r} in an NPZ: give it another name.")
    arrays: dict[str, Any] = dict(metadata)
    if "intrinsics" in metadata:
        arrays["intrinsics"] = np.array(metadata["intrinsics"].split(), np.float32)
    with path.open("wb") as file:
        np.savez_compressed(file, depth=np.where(valid, values, np.float32(0)), valid=valid, **arrays)


def _read_pfm(path: Path) -> _Stored:
    """Read Debevec's portable float map: the sign of its third line states the byte order, the number means nothing."""
    with path.open("rb") as file:
        header = re.match(rb"P([fF])\s+(\d{1,9})\s+(\d{1,9})\s+([-+.\deE]+)[ \t\r]*\n", file.read(_LONGEST_HEADER))
        if not header:
            raise ValueError("it does not begin as a PFM file does")
        if header[1] == b"F":
            raise BadInput(f"{path} is a picture in colour (PF), not a depth map (Pf).")
        width, height, order = int(header[2]), int(header[3]), "<f4" if float(header[4]) < 0 else ">f4"
        if width * height > _MOST_NUMBERS:
            raise ValueError(f"it is declared as {width} × {height} pixels")
        held = path.stat().st_size - header.end()
        if held != width * height * 4:
            raise ValueError(f"{width} × {height} floats need {width * height * 4} bytes, and it has {held}")
        file.seek(header.end())
        return _Stored(np.frombuffer(file.read(held), order).reshape(height, width)[::-1])


_LONGEST_HEADER = 1024
"""Bytes within which a PFM file says its size."""


def _write_pfm(path: Path, values: np.ndarray, valid: np.ndarray, metadata: Mapping[str, str]) -> None:
    height, width = values.shape
    numbers = np.where(valid, values, np.float32(np.inf))[::-1].astype("<f4")
    path.write_bytes(f"Pf\n{width} {height}\n-1.0\n".encode() + numbers.tobytes())


def _read_hdf5(path: Path) -> _Stored:
    """Read one array of an HDF5 file: `depth`, or the only one of a map's shape; its `units` are its unit."""
    import h5py  # takes a third of a second

    if not h5py.is_hdf5(path):
        raise ValueError("it is not an HDF5 file, or its beginning is missing")
    with h5py.File(path) as file:
        content: Any = file  # h5py's types do not tell an array from a group
        # Links to other files are not followed.
        names = [name for name in content if isinstance(content.get(name, getlink=True), h5py.HardLink)]
        arrays = {name: content[name] for name in names if isinstance(content[name], h5py.Dataset)}
        maps = [name for name, each in arrays.items() if sum(side != 1 for side in each.shape) == 2]
        name = "depth" if "depth" in arrays else maps[0] if len(maps) == 1 else None
        if name is None:
            held = ", ".join(f"{name} {' × '.join(map(str, each.shape))}" for name, each in arrays.items())
            raise BadInput(f"{path} has no array `depth`, and not one map alone, but {held or 'no array'}.")
        array = arrays[name]
        if array.size > _MOST_NUMBERS or array.external or array.is_virtual:
            raise ValueError(f"its array `{name}` of {array.shape} is too large, or lies in other files")
        units = str(array.attrs.get("units", array.attrs.get("unit", "")))
        return _Stored(_flat(_numeric(np.asarray(array[()]), name), name), {"unit": units} if units else {})


def _read_exr(path: Path) -> _Stored:
    """Read one channel of an OpenEXR file, half or float: the depth, the only one, or one of three that are equal."""
    try:
        import OpenEXR
    except ImportError as problem:
        raise UnreadableFile(f"{path} needs the library OpenEXR: pip install 'leadline[exr]'.") from problem
    try:
        window = OpenEXR.File(str(path), header_only=True).header()["dataWindow"]
        sides = [int(high) - int(low) + 1 for low, high in zip(*window, strict=True)]
        if min(sides) < 1 or math.prod(sides) > _MOST_NUMBERS:
            raise ValueError(f"it is declared as {sides[0]} × {sides[1]} pixels")
        _must_be_whole(path, *sides)
        channels = {
            name: each.pixels for name, each in OpenEXR.File(str(path), separate_channels=True).channels().items()
        }
    except (RuntimeError, TypeError, KeyError) as problem:
        raise ValueError(str(problem) or "its header is damaged") from problem
    last = {name.rpartition(".")[2].lower(): name for name in channels}
    for name in ("z", "depth", "d", "v", "y"):
        if name in last:
            return _Stored(np.asarray(channels[last[name]]))
    maps = list(channels.values())
    if (
        maps
        and all(np.array_equal(maps[0], each, equal_nan=True) for each in maps[1:3])
        and (len(maps) == 1 or "r" in last)
    ):
        return _Stored(np.asarray(channels[last.get("r", next(iter(channels)))]))
    raise BadInput(
        f"{path} is a picture in colour ({', '.join(channels)}), not a depth map: give one with a channel Z."
    )


def _must_be_whole(path: Path, width: int, height: int) -> None:
    """Check the sums of deflated chunks, which OpenEXR leaves out in silence where they are damaged."""
    content = path.read_bytes()
    start, attributes = 8, {}
    while content[start]:
        name, kind, _ = content[start : start + 512].split(b"\0", 2)
        begin = start + len(name) + len(kind) + 6
        start = begin + int.from_bytes(content[begin - 4 : begin], "little")
        attributes[name] = content[begin:start]
    rows = _ROWS_OF_A_CHUNK.get(attributes[b"compression"])
    if content[5] or rows is None:  # tiles, several parts, or packed otherwise
        return
    row_bytes = 0
    channels = attributes[b"channels"]
    while channels[:1] not in (b"", b"\0"):
        channels = channels[channels.index(b"\0") + 1 :]
        row_bytes += width * (2 if channels[0] == 1 else 4)  # half; float or uint
        channels = channels[16:]
    for number, place in enumerate(np.frombuffer(content, "<u8", -(-height // rows), start + 1).tolist()):
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        # A member that deflating would not have made shorter is stored as it is.
        if size < row_bytes * min(rows, height - number * rows):
            zlib.decompress(content[place + 8 : place + 8 + size])


_ROWS_OF_A_CHUNK = {b"\2": 1, b"\3": 16}
"""Of OpenEXR's compressions ZIPS and ZIP."""


def _read_heic(path: Path) -> _Stored:
    """Read the depth that a HEIC photograph carries, as iPhones store it: disparity in 8 bits between two numbers.

    ISO/IEC 23008-12, 6.6.2.1.3 (auxiliary images), and H.265, F.14.3.3 (depth representation information).
    """
    with path.open("rb") as file, _opened(file, path.suffix.lower()) as picture:
        found = picture.info.get("depth_images") if isinstance(picture, Image.Image) else None
        if not isinstance(picture, Image.Image) or not found:
            raise BadInput(f"{path} carries no depth, only a photograph: leadline predict estimates it.")
        metadata = found[0].info.get("metadata") or {}
        representation = metadata.get("representation_type", _DISPARITY)
        if representation not in (_INVERSE_DEPTH, _DISPARITY):
            raise BadInput(f"{path} carries depth in the representation {representation} of H.265, which is not read.")
        levels = np.asarray(found[0].to_pillow())
        low, high = float(metadata.get("d_min", 0)), float(metadata.get("d_max", 1))
        if levels.ndim != 2 or not low < high < math.inf:
            raise ValueError(f"it carries depth of {levels.shape} numbers from {low:g} to {high:g}")
        exif = read_exif(picture)
        size = _upright_size(picture, exif)
        if not same_aspect(size, levels.shape):
            raise ValueError(
                f"its depth has {levels.shape[1]} × {levels.shape[0]} pixels, of another aspect than the photograph's "
                f"{size[1]} × {size[0]}"
            )
        camera = camera_from_exif(exif, _xmp(picture), (levels.shape[0], levels.shape[1]), size).numbers
    stated = {"kind": DepthKind.RELATIVE.value, "source": "stored in the photograph by what took it"}
    if camera is not None:
        stated["intrinsics"] = " ".join(str(number) for number in camera.tolist())
    values = np.float32(low) + levels.astype(np.float32) * np.float32((high - low) / np.iinfo(levels.dtype).max)
    return _Stored(values, stated)


_INVERSE_DEPTH, _DISPARITY = 0, 1
"""The representations of depth in H.265 in which a larger number is nearer, and equal steps are equal in 1 / depth."""


@dataclass(frozen=True)
class _Format:
    read: Callable[[Path], _Stored]
    write: Callable[[Path, np.ndarray, np.ndarray, Mapping[str, str]], None] | None


_FORMATS: Mapping[str, _Format] = {
    ".exr": _Format(_read_exr, None),
    **dict.fromkeys(CARRIER_SUFFIXES, _Format(_read_heic, None)),
    ".h5": _Format(_read_hdf5, None),
    ".hdf5": _Format(_read_hdf5, None),
    ".npy": _Format(_read_npy, None),
    ".npz": _Format(_read_npz, _write_npz),
    ".pfm": _Format(_read_pfm, _write_pfm),
    ".png": _Format(_read_picture, _write_png),
    ".tif": _Format(_read_picture, _write_tiff),
    ".tiff": _Format(_read_picture, _write_tiff),
}


DEPTH_SUFFIXES = frozenset(_FORMATS) - CARRIER_SUFFIXES
"""The formats of depth maps, which `read_depth` reads; `write_depth` writes all but .npy, .exr, .h5 and .hdf5."""
