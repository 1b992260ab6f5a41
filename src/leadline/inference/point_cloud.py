"""Depth with colours and a camera, of a photograph or of a depth map, as point clouds and meshes need it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from leadline.core.camera import (
    UNKNOWN_CAMERA,
    CameraOption,
    canonical_camera,
    fields_of_view,
    resize_intrinsics,
)
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.inference.backends import Predictor, as_rgb8
from leadline.inference.predict import predict
from leadline.io.depth_maps import CARRIER_SUFFIXES, DEPTH_SUFFIXES, DepthMap, read_depth, read_numbers, same_aspect
from leadline.io.images import PHOTO_SUFFIXES, read_photograph
from leadline.io.outputs import read_leadline_metadata

if TYPE_CHECKING:
    from leadline.inference.metric_scale import Scaler
    from leadline.models.base import DepthModel
else:
    # They import PyTorch, which takes seconds, and exported files need none.
    Scaler = DepthModel = Any


@dataclass(frozen=True, eq=False)
class ColouredDepth:
    """Hold depth whose camera is known or guessed, with the picture that gives its colours."""

    depth: DepthMap
    """With intrinsics."""
    picture: UInt8[np.ndarray, "h w 3"]
    """Of any size."""
    camera: str
    """Where the camera came from, for a sentence: `from EXIF, 65.5 degrees across`."""
    is_guess: bool
    """Whether the camera is only assumed: the shape is then stretched along the line of sight, or flattened."""
    doubts: str = ""
    """Sentences on what was ignored of the photograph, such as an implausible camera, or is not to be trusted."""


def is_depth_file(path: StrPath) -> bool:
    """Tell whether a file holds depth rather than a photograph: by its format, its marks, or its 16-bit numbers."""
    path = Path(path)
    if path.suffix.lower() not in PHOTO_SUFFIXES:
        return path.suffix.lower() in DEPTH_SUFFIXES
    if path.suffix.lower() not in DEPTH_SUFFIXES or not path.is_file():
        return False
    if "unit" in read_leadline_metadata(path):
        return True
    try:
        return read_numbers(path)[0].dtype.itemsize > 1
    except BadInput:
        return False


def coloured_depth_of_photograph(
    model: "Predictor | DepthModel", path: StrPath, camera: CameraOption = UNKNOWN_CAMERA, scale: "Scaler | None" = None
) -> ColouredDepth:
    """Predict the depth of a photograph, and find or guess its camera.

    Args:
        model: whose output is depth, or which `scale` turns into metres.
        path: the photograph.
        camera: as given; otherwise EXIF counts, and then the canonical camera, as a guess.
        scale: turns the prediction into metres (see `leadline.inference.metric_scale.scaler_from_options`).

    Raises:
        BadInput: relative depth without `scale`, or an impossible camera.
        UnreadableFile: no photograph.
    """
    photo = read_photograph(path)
    given = camera.at(photo.size)
    depth, source = predict(model, path, given), "given" if given else photo.camera.source
    doubts = [depth.provenance.get(key, "") for key in ("doubts", "warning")]
    if scale is not None:
        depth, source = _scaled(depth, path, photo.size, scale, source)
    return _with_camera(depth, as_rgb8(photo.pixels), source, doubts)


def coloured_depth_in_photograph(
    path: StrPath, camera: CameraOption = UNKNOWN_CAMERA, scale: "Scaler | None" = None
) -> ColouredDepth:
    """Read the depth that a HEIC photograph carries, as telephones store it, and find or guess its camera.

    Args:
        path: the photograph.
        camera: as for `coloured_depth_of_photograph`.
        scale: turns the depth, which is relative, into metres.

    Raises:
        BadInput: the photograph carries no depth, no `scale`, or an impossible camera.
        UnreadableFile: no photograph.
    """
    photo = read_photograph(path)
    if Path(path).suffix.lower() not in CARRIER_SUFFIXES:
        raise BadInput(f"{path} is no HEIC photograph ({', '.join(sorted(CARRIER_SUFFIXES))}): only those carry depth.")
    depth, source, doubts = read_depth(path), photo.camera.source, photo.camera.doubts
    if given := camera.at(photo.size):
        inside = resize_intrinsics(given, photo.size, depth.shape)
        depth, source = depth.replace(intrinsics=np.array(inside, np.float32)), "given"
        doubts = (camera.doubt(photo.size),)
    if scale is not None:
        depth, source = _scaled(depth, path, photo.size, scale, source)
    return _with_camera(depth, as_rgb8(photo.pixels), source, doubts)


def coloured_depth_of_map(
    path: StrPath,
    image: StrPath | None = None,
    camera: CameraOption = UNKNOWN_CAMERA,
    *,
    depth_scale: float | None = None,
    kind: DepthKind | str | None = None,
) -> ColouredDepth:
    """Read a depth map, and find or guess its camera.

    Args:
        path: the depth map.
        image: the photograph that gives the colours, and by its EXIF the camera, where the map states none; unset: the
            colours of the depth.
        camera: as given; otherwise the map's own counts, then EXIF, and then the canonical camera, as a guess.
        depth_scale: numbers in the file that make a metre, where it does not say so.
        kind: the kind of depth, where the file does not state it.

    Raises:
        BadInput: relative depth, the unit is not known, or an impossible camera.
        UnreadableFile: no depth map, or no photograph.
    """
    depth = read_depth(path, depth_scale=depth_scale, kind=kind)
    source = "stated by the depth map"
    doubts = [depth.provenance.get(key, "") for key in ("doubts", "warning")]
    given = camera.at(depth.shape)
    if given:
        told = camera.doubt(depth.shape)
        depth, source, doubts[0] = depth.replace(intrinsics=np.array(given, np.float32)), "given", told
    if image is None:
        return _with_camera(depth, np.asarray(depth.colorize()), source, doubts)
    photo = read_photograph(image)
    height, width = photo.size
    if not same_aspect(photo.size, depth.shape):
        raise BadInput(
            f"{image} has {width} × {height} pixels, and {path} {depth.shape[1]} × {depth.shape[0]}, of another "
            "aspect: give the photograph that the depth is of."
        )
    if depth.camera is None:
        doubts[0] = " ".join(photo.camera.doubts)
        if photo.camera.numbers is not None:
            inside = resize_intrinsics(photo.camera.numbers, photo.shape, depth.shape)
            depth, source = depth.replace(intrinsics=inside), photo.camera.source
    return _with_camera(depth, as_rgb8(photo.pixels), source, doubts)


def _scaled(
    depth: DepthMap, path: StrPath, size: tuple[int, int], scale: "Scaler", source: str
) -> tuple[DepthMap, str]:
    """Return depth in metres, and where its camera comes from: scaling by a floor states one."""
    scaled = scale(depth, Path(Path(path).name), size).depth
    is_same = scaled.camera is None or (depth.camera is not None and np.allclose(scaled.camera, depth.camera))
    return scaled, source if is_same else "stated with --scale-from"


def _with_camera(
    depth: DepthMap, picture: UInt8[np.ndarray, "h w 3"], source: str, doubts: Iterable[str]
) -> ColouredDepth:
    if depth.kind is DepthKind.RELATIVE:
        from leadline.inference.metric_scale import SCALE_SOURCES

        raise BadInput(f"A cloud needs depth, and {depth.kind.guarantee}. Metres need {SCALE_SOURCES}.")
    is_guess = depth.camera is None or not bool(np.isfinite(depth.camera).all())
    if is_guess:
        depth = depth.replace(intrinsics=np.array(canonical_camera(depth.shape), np.float32))
        source = "not known"
    assert depth.camera is not None
    across, _ = fields_of_view(depth.camera.tolist(), depth.shape)
    told = f"{source}, {across:.1f} degrees across"
    return ColouredDepth(depth, picture, told, is_guess, " ".join(filter(None, doubts)))
