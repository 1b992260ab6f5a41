"""Depth with colours and a camera, of a photograph or of a depth map, as point clouds and meshes need it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from leadline.core.camera import canonical_camera, centered_camera, fields_of_view, focal_length, resize_intrinsics
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.inference.metric_scale import SCALE_SOURCES, Scaler
from leadline.inference.predict import predict
from leadline.io.depth_maps import DEPTH_SUFFIXES, DepthMap, read_depth, read_numbers
from leadline.io.images import PHOTO_SUFFIXES, read_photograph
from leadline.io.outputs import read_leadline_metadata
from leadline.models.base import DepthModel


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
        if not 0 < self.field_of_view < 180:
            raise BadInput(f"--field-of-view {self.field_of_view:g}: give the degrees between the edges, 0 to 180.")
        return centered_camera(focal_length(self.field_of_view, size[1]), size)


UNKNOWN_CAMERA = CameraOption()


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
    model: DepthModel, path: StrPath, camera: CameraOption = UNKNOWN_CAMERA, scale: Scaler | None = None
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
    depth = predict(model, path, given)
    if scale is not None:
        depth = scale(depth, Path(Path(path).name)).depth
    picture = photo.image.mul(255).round_().byte().permute(1, 2, 0).numpy()
    return _with_camera(depth, picture, "given" if given else photo.camera.source)


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
    given = camera.at(depth.shape)
    if given:
        depth, source = replace(depth, intrinsics=torch.tensor(given)), "given"
    if image is None:
        return _with_camera(depth, np.asarray(depth.colorize()), source)
    photo = read_photograph(image)
    height, width = photo.size
    if abs(width / height * depth.shape[0] / depth.shape[1] - 1) > _SAME_ASPECT:
        raise BadInput(
            f"{image} has {width} × {height} pixels, and {path} {depth.shape[1]} × {depth.shape[0]}, of another "
            "aspect: give the photograph that the depth is of."
        )
    if depth.intrinsics is None and photo.camera.intrinsics is not None:
        inside = resize_intrinsics(photo.camera.intrinsics, photo.image.shape[-2:], depth.shape)
        depth, source = replace(depth, intrinsics=inside), photo.camera.source
    return _with_camera(depth, photo.image.mul(255).round_().byte().permute(1, 2, 0).numpy(), source)


_SAME_ASPECT = 0.02
"""By which the aspects of a photograph and its depth may differ: a row or a column of a small map."""


def _with_camera(depth: DepthMap, picture: UInt8[np.ndarray, "h w 3"], source: str) -> ColouredDepth:
    if depth.kind is DepthKind.RELATIVE:
        raise BadInput(f"A cloud needs depth, and {depth.kind.guarantee}. Metres need {SCALE_SOURCES}.")
    is_guess = depth.intrinsics is None or not bool(depth.intrinsics.isfinite().all())
    if is_guess:
        depth = replace(depth, intrinsics=torch.tensor(canonical_camera(depth.shape)))
        source = "not known"
    assert depth.intrinsics is not None
    across, _ = fields_of_view(depth.intrinsics.tolist(), depth.shape)
    return ColouredDepth(depth, picture, f"{source}, {across:.1f} degrees across", is_guess)
