"""Metric scale: depth without a unit → metres, by measured points, a sparse depth map, or the camera's height."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from leadline.core.camera import centered_camera, focal_length, resize_intrinsics, unproject
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.robust import least_absolute_weights
from leadline.core.sample import Mask
from leadline.core.specs import parse_options, parse_spec
from leadline.io.depth_maps import DEPTH_SUFFIXES, DepthMap, read_depth
from leadline.io.discovery import find_by_stem
from leadline.io.outputs import printable

SCALE_SOURCES = (
    "a few measured points (--scale-from X,Y,METRES X,Y,METRES …), a sparse depth map (--scale-from FILE or FOLDER), "
    "or the camera's height above the floor (--scale-from floor:1.45,field_of_view=60,pitch=10)"
)
"""The ways in which a user turns depth without a unit into metres, for an error message."""
_MUCH_BEYOND, _LARGEST_CORRECTION = 0.005, 10.0
HORIZON = 250.0
"""Metres beyond which inverse depth cannot be told from 0, and 16 bits at 256 steps a metre end."""


@dataclass(frozen=True, eq=False)
class ScaledDepth:
    """Hold depth in metres, and how well the anchors that it was scaled by agree with it."""

    depth: DepthMap
    """Not valid where the fit puts a pixel beyond `HORIZON`, or behind the camera."""
    source: str
    """What it was scaled by, for a sentence: `measured pixels`."""
    scale: float
    shift: float
    """Metres are scale × prediction, or 1 / (scale × prediction + shift) of relative depth."""
    used: int
    rejected: int
    """Numbers of anchors that the fit uses, and of outliers left out of it."""
    residual: float | None
    """Metres: the median |error| of the anchors used; None where there are no more of them than fitted parameters."""
    relative_residual: float | None
    """The median |error| / metres."""
    beyond: float = 0.0
    """Fraction of the predicted pixels that the fit puts beyond `HORIZON`, or behind the camera."""
    corrects: float | None = None
    """Factor on a prediction that was in metres already; None: it was not."""

    def __str__(self) -> str:
        anchors = f"{self.used} of {self.used + self.rejected} {self.source}"
        if self.residual is None or self.relative_residual is None:
            told = f"{anchors}; too few to leave a residual"
        else:
            told = f"{anchors}; median residual {self.residual:.3f} m ({self.relative_residual:.1%})"
        if self.beyond >= _MUCH_BEYOND:
            told += f"; {self.beyond:.0%} of the pixels beyond {HORIZON:g} m left out"
        if self.corrects is not None and not 1 / _LARGEST_CORRECTION < self.corrects < _LARGEST_CORRECTION:
            told += f"; {self.corrects:.3g} times the network's own metres: are the measurements in metres?"
        return told


@dataclass(frozen=True)
class FloorScale:
    """State a camera's height above a floor that the image shows."""

    height: float
    """Metres from the floor up to the camera."""
    field_of_view: float | None = None
    """Degrees from the left edge of the photograph to the right one; this or `focal_px` is needed."""
    focal_px: float | None = None
    """Focal length in pixels of the photograph."""
    pitch: float | None = None
    """Degrees that the camera looks down (up: negative); needed for relative depth only."""
    box: Sequence[float] | None = None
    """Left, top, right and bottom pixel (the last two exclusive) of a part that is mostly floor; the lowest third."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.height) and self.height > 0):
            raise BadInput(f"A camera {self.height:g} m above the floor: give a positive height in metres.")
        if (self.field_of_view is None) == (self.focal_px is None):
            raise BadInput("A floor needs either field_of_view=DEGREES (horizontal) or focal_px=PIXELS of the camera.")
        is_view = self.field_of_view is None or 0 < self.field_of_view < 180
        if not (is_view and (self.focal_px is None or 0 < self.focal_px < math.inf)):
            raise BadInput("A camera's field_of_view is between 0 and 180 degrees, and its focal_px positive.")
        if self.pitch is not None and not -90 < self.pitch < 90:
            raise BadInput(f"pitch={self.pitch:g}: give the degrees that the camera looks down, between -90 and 90.")

    def focal_in(self, width: int) -> float:
        """Return the focal length in pixels of a photograph of this width in pixels."""
        if self.field_of_view is not None:
            return focal_length(self.field_of_view, width)
        assert self.focal_px is not None
        return self.focal_px


Scaler = Callable[[DepthMap, Path, tuple[int, int]], ScaledDepth]
"""Function of a prediction, its photograph's path, and the photograph's height and width in pixels, of which the
prediction may have fewer. It returns the depth in metres at the prediction's size."""


def scaler_from_options(options: Sequence[str], photographs: int, *, depth_scale: float | None = None) -> Scaler:
    """Parse `--scale-from`: points, a sparse depth map or a folder of them, or a floor.

    Args:
        options: `X,Y,METRES` each, or one path, or one `floor:HEIGHT,option=value…` (see `FloorScale`).
        photographs: how many photographs are scaled; points and one map are of one photograph only.
        depth_scale: numbers in a sparse map that make a metre, where it does not state its unit.

    Returns:
        A function that scales the prediction of a photograph.

    Raises:
        BadInput: options that are none of these or a mixture, or points or one map for several photographs.
    """
    points = [point for text in options if (point := _point(text))]
    is_file = len(options) == 1 and Path(options[0]).is_file()
    if photographs > 1 and (points or is_file):
        advice = "name one photograph, or scale from a folder of sparse maps or a floor"
        raise BadInput(f"{options[0]} is measured in one photograph, and there are {photographs}: {advice}.")
    if len(points) == len(options):
        return lambda prediction, _, size: scale_from_points(prediction, points, size)
    if len(options) == 1 and (Path(options[0]).is_dir() or is_file):
        return partial(_from_file, Path(options[0]), depth_scale)
    if len(options) == 1 and options[0].startswith("floor"):
        _, height, settings = parse_spec(options[0])
        floor = FloorScale(**parse_options(FloorScale, {"height": height, **settings}, "floor"))
        return lambda prediction, _, size: scale_from_floor(prediction, floor, size)
    raise BadInput(f"Nothing to scale from in {' '.join(options)!r}: give {SCALE_SOURCES}.")


def scale_from_points(
    prediction: DepthMap, points: Sequence[tuple[float, float, float]], size: tuple[int, int] | None = None
) -> ScaledDepth:
    """Scale a prediction to metres by points whose depth was measured.

    Args:
        prediction: depth of any kind.
        points: x, y, metres along the optical axis; the centre of the top left pixel is x = y = 0.
        size: height and width of the photograph that x and y count the pixels of; None: those of the prediction.

    Raises:
        BadInput: a point outside the image or not in front of the camera, or as `scale_from_sparse`.
    """
    height, width = size or prediction.depth.shape[-2:]
    x, y, metres = torch.tensor(points, dtype=torch.float64).T
    columns, rows = x.round().long(), y.round().long()
    outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
    for wrong, fault in (
        (outside, f"is outside the photograph: x is 0 … {width - 1} to the right, y is 0 … {height - 1} down"),
        (~(metres.isfinite() & (metres > 0)), "is not in front of the camera: give X,Y,METRES with positive metres"),
    ):
        if wrong.any():
            place = ",".join(f"{number:g}" for number in points[int(wrong.nonzero()[0, 0])])
            raise BadInput(f"Point {place} {fault}.")
    values, known = _sampled(prediction, rows, columns, (height, width))
    return _scaled_to(prediction, values[known], metres[known], "points")


def scale_from_sparse(
    prediction: DepthMap,
    sparse: DepthMap,
    source: str = "measured pixels",
    size: tuple[int, int] | None = None,
) -> ScaledDepth:
    """Scale a prediction to metres by the measured pixels of a depth map.

    For relative depth, scale and shift are fitted, in inverse depth (Ranftl et al. 2020, sec. 5); for other kinds, the
    scale. The fit is robust: anchors away from it by more than three standard deviations are left out.

    Args:
        prediction: depth of any kind.
        sparse: a metric map of the photograph's size, valid where there is an anchor.
        source: what messages and the provenance call the anchors.
        size: height and width of the photograph; None: those of the prediction.

    Raises:
        BadInput: another size or kind, or anchors that are too few, all alike, or farther where the prediction is near.
    """
    if sparse.kind is not DepthKind.METRIC:
        raise BadInput(f"Depth of kind {sparse.kind.value!r} cannot scale anything to metres: give metric depth.")
    height, width = size or prediction.depth.shape[-2:]
    if tuple(sparse.depth.shape[-2:]) != (height, width):
        own = f"{sparse.depth.shape[-1]} × {sparse.depth.shape[-2]}"
        raise BadInput(f"The sparse map is {own} pixels and the photograph {width} × {height}: give one of its size.")
    places = (sparse.valid & (sparse.depth > 0)).flatten().nonzero()[:, 0]
    places = places[:: math.ceil(len(places) / _MOST_ANCHORS) or 1].clone()
    rows, columns = places // width, places % width
    metres = sparse.depth[0, rows, columns].double()
    del sparse, places  # a large photograph's take more than a hundred megabytes
    values, known = _sampled(prediction, rows, columns, (height, width))
    return _scaled_to(prediction, values[known], metres[known], source)


def scale_from_floor(prediction: DepthMap, floor: FloorScale, size: tuple[int, int] | None = None) -> ScaledDepth:
    """Scale a prediction to metres by the camera's height h above a floor.

    With r = ((x - cx) / f, (y - cy) / f, 1), a plane n · X = h of unit normal n has 1/z = n · r / h: inverse depth is
    linear in r. Of depth known up to a factor, 1/d = a · r is fitted, and |a| h is the factor. Of relative depth,
    p = a · r with 1/z = s p + t, so the plane's three numbers meet four unknowns: s, t and the tilt. The shift t and
    the normal's part along the optical axis cannot be told apart, so the camera's pitch must be given:
    n_z = sin pitch, s = cos pitch / (h |(a_x, a_y)|), t = sin pitch / h - s a_z. The roll needs no assumption. An
    error of one degree in the pitch moves inverse depth by 0.017 / h.

    Args:
        prediction: depth of any kind.
        floor: what is known of the camera.
        size: height and width of the photograph that `floor` counts the pixels of; None: those of the prediction.

    Raises:
        BadInput: relative depth without a pitch, a box outside the photograph, or nothing in it like a floor.
    """
    height, width = prediction.depth.shape[-2:]
    is_relative = prediction.kind is DepthKind.RELATIVE
    if is_relative and floor.pitch is None:
        raise BadInput(
            "Relative depth leaves a shift open, and a floor does not tell it from the camera's tilt: add "
            "pitch=DEGREES that the camera looks down (0 if it is level), or give points or a sparse depth map."
        )
    lowest_third = (0, height * 2 // 3, width, height)
    whole = size or (height, width)
    if floor.box is None:
        left, top, right, bottom = lowest_third
    else:
        across, down = width / whole[1], height / whole[0]
        sides = _box(floor.box, *whole)
        left, top, right, bottom = (round(side * by) for side, by in zip(sides, (across, down) * 2, strict=True))
    camera = resize_intrinsics(centered_camera(floor.focal_in(whole[1]), whole), whole, (height, width))
    part = (0, slice(top, bottom), slice(left, right))
    known = _usable(prediction)[part]
    places = known.flatten().nonzero()[:, 0]
    # As many pixels of a plane say no less than tens of millions do, and take a tenth of the memory.
    places = places[:: math.ceil(len(places) / _MOST_RAYS) or 1].clone()
    rows, columns = places // known.shape[1], places % known.shape[1]
    values = prediction.depth[part][rows, columns].double()
    rows, columns = rows.double(), columns.double()
    across, down = unproject(columns + left, rows + top, camera)
    rays = torch.stack([across, down, torch.ones_like(down)], dim=1)
    if len(rays) < 3:
        raise BadInput(f"The floor's box has {len(rays)} pixels of known depth: give a larger one, box=X0:Y0:X1:Y1.")
    plane, used = _robust_fit(rays, values if is_relative else values.reciprocal())
    a_x, a_y, a_z = plane.tolist()
    if is_relative:
        slope, pitch = math.hypot(a_x, a_y), math.radians(0.0 if floor.pitch is None else floor.pitch)
        if not a_y > 1e-6 * plane.norm():
            raise BadInput("What the floor's box shows does not come nearer towards its lower edge: give another box.")
        scale = math.cos(pitch) / (floor.height * slope)
        shift = math.sin(pitch) / floor.height - scale * a_z
        inverse = scale * (rays @ plane) + shift
    else:
        scale, shift = floor.height * math.hypot(a_x, a_y, a_z), 0.0
        pitch = math.asin(a_z * floor.height / scale) if scale else 0.0
        inverse = rays @ plane / scale
    if not (inverse[used] > 0).all():
        raise BadInput("By this fit, the floor's box reaches above the horizon: check the pitch, or give a lower box.")
    source = f"pixels of the floor {floor.height:g} m below a camera that looks down {math.degrees(pitch):.1f} degrees"
    return _scaled(
        replace(prediction, intrinsics=torch.tensor(camera)),
        scale,
        shift,
        values,
        inverse.clamp(min=1 / HORIZON).reciprocal(),
        used,
        source,
    )


_Values = Float[Tensor, " anchors"]
_Used = Bool[Tensor, " anchors"]
_MOST_RAYS = 250_000
"""The most pixels of a floor that are fitted; of more, an even selection."""
_MOST_ANCHORS = 500_000
"""The most measured pixels of a map that are fitted; of more, an even selection."""
_ENOUGH = 50_000
"""The most anchors that the robust fit reads; of more, an even selection."""


def _point(text: str) -> tuple[float, float, float] | None:
    """Parse `120,80,2.35` as x, y, metres; return None for another text."""
    try:
        x, y, metres = map(float, text.split(","))
    except ValueError:
        return None
    return x, y, metres


def _from_file(
    place: Path, depth_scale: float | None, prediction: DepthMap, photograph: Path, size: tuple[int, int]
) -> ScaledDepth:
    """Scale by one sparse map, or by the one in a folder that is named as the photograph."""
    if place.is_dir():
        found = find_by_stem(place, photograph, DEPTH_SUFFIXES)
        if len(found) != 1:
            named = [photograph.with_suffix(suffix) for suffix in sorted(DEPTH_SUFFIXES)]
            choices = ", ".join(path.name for path in found or named)
            raise BadInput(f"{place} needs one depth map for {photograph}, and has {len(found)} of {choices}.")
        place = found[0]
    return scale_from_sparse(
        prediction,
        read_depth(place, depth_scale=depth_scale, kind=DepthKind.METRIC),
        f"measured pixels of {printable(place.name)}",
        size,
    )


def _sampled(prediction: DepthMap, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> tuple[_Values, _Used]:
    """Return the prediction at pixels of the photograph, which has `size`, and where it is known there.

    Where the prediction has fewer pixels it is interpolated between them, as it is when it is written.
    """
    usable = _usable(prediction)[0]
    if tuple(usable.shape) == tuple(size):
        return prediction.depth[0, rows, columns].double(), usable[rows, columns]
    height, width = usable.shape
    y = ((rows.double() + 0.5) * height / size[0] - 0.5).clamp(0, height - 1)
    x = ((columns.double() + 0.5) * width / size[1] - 0.5).clamp(0, width - 1)
    above, left = y.long(), x.long()
    below, right = (above + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    depth = prediction.depth[0]
    upper = torch.lerp(depth[above, left].double(), depth[above, right].double(), x - left)
    lower = torch.lerp(depth[below, left].double(), depth[below, right].double(), x - left)
    known = usable[above, left] & usable[above, right] & usable[below, left] & usable[below, right]
    return torch.lerp(upper, lower, y - above), known


def _usable(prediction: DepthMap) -> Mask:
    # `isfinite` makes a copy of the depth, a hundred megabytes of a large photograph.
    known = prediction.valid & (prediction.depth < torch.inf) & (prediction.depth > -torch.inf)
    return known if prediction.kind is DepthKind.RELATIVE else known & (prediction.depth > 0)


def _box(box: Sequence[float], height: int, width: int) -> tuple[int, int, int, int]:
    sides = tuple(round(side) for side in box)
    if len(sides) != 4 or not (0 <= sides[0] < sides[2] <= width and 0 <= sides[1] < sides[3] <= height):
        said = ":".join(f"{side:g}" for side in box)
        raise BadInput(f"box={said} is no part of {width} × {height} pixels: give box=LEFT:TOP:RIGHT:BOTTOM.")
    return sides


def _scaled_to(prediction: DepthMap, values: _Values, metres: _Values, source: str) -> ScaledDepth:
    """Scale so that the predicted `values` become `metres`, but for outliers."""
    is_relative = prediction.kind is DepthKind.RELATIVE
    columns = [values, torch.ones_like(values)] if is_relative else [values]
    if len(values) < len(columns):
        raise BadInput(
            f"Scaling {prediction.kind.value} depth needs at least {len(columns)} {source} where depth was predicted, "
            f"and there are {len(values)}."
        )
    solution, used = _robust_fit(torch.stack(columns, dim=1), metres.reciprocal() if is_relative else metres)
    if is_relative and values[used].max() - values[used].min() <= 1e-6 * values[used].abs().max():
        raise BadInput(f"All {used.sum()} {source} have one relative depth: measure something nearer or farther too.")
    scale, shift = (*solution.tolist(), 0.0)[:2]
    if scale <= 0:
        raise BadInput(
            f"The {source} are farther where the prediction is nearer: check that points are X,Y,METRES and that "
            "metres grow with the distance; if they do, the prediction is wrong there."
        )
    return _scaled(prediction, scale, shift, values, metres, used, source)


def _robust_fit(design: Float[Tensor, "anchors unknowns"], target: _Values) -> tuple[Float[Tensor, " unknowns"], _Used]:
    """Fit design · c ≈ target by least squares without outliers; return c and which anchors were used.

    Least absolute differences find the outliers: away by more than three standard deviations, estimated from the
    median, and by more than 2 %. With fewer than two anchors to spare nobody can tell which is the outlier, and all
    are used.
    """
    count, unknowns = design.shape
    everything = torch.ones_like(target, dtype=torch.bool)
    if count < unknowns + 2:
        return _least_squares(design, target), everything
    step = math.ceil(count / _ENOUGH)
    some, sought = design[::step], target[::step]

    def weighted(weight: _Values) -> Float[Tensor, " unknowns"]:
        return _least_squares(some * weight.sqrt()[:, None], sought * weight.sqrt())

    weight = least_absolute_weights(lambda weight: some @ weighted(weight) - sought, torch.ones_like(sought))
    solution = weighted(weight)
    # So many are met exactly whatever the noise, and would make it look smaller.
    spread = 1.4826 * (some @ solution - sought).abs().sort().values[unknowns:].median()
    used = (design @ solution - target).abs() <= torch.maximum(3 * spread, 0.02 * target.abs())
    return _least_squares(design[used], target[used]), used


def _least_squares(design: Tensor, target: Tensor) -> Tensor:
    return torch.linalg.lstsq(design, target[:, None]).solution[:, 0]


def _scaled(
    prediction: DepthMap, scale: float, shift: float, values: _Values, metres: _Values, used: _Used, source: str
) -> ScaledDepth:
    """Return the whole prediction in metres, and how far the anchors' `values` then are from their `metres`."""
    everywhere = _metres(prediction.depth, prediction.kind, scale, shift)
    valid = _usable(prediction) & (everywhere > 0) & (everywhere < HORIZON)
    if not valid.any():
        raise BadInput(f"Scaled by the {source}, nothing lies between the camera and {HORIZON:g} m: check them.")
    error = (_metres(values, prediction.kind, scale, shift).clamp(max=HORIZON) - metres).abs()[used]
    fitted = 2 if prediction.kind is DepthKind.RELATIVE else 1
    leaves_residual = len(error) > fitted
    scaled = ScaledDepth(
        depth=replace(prediction, depth=everywhere.masked_fill_(~valid, 0), valid=valid, kind=DepthKind.METRIC),
        source=source,
        scale=scale,
        shift=shift,
        used=len(error),
        rejected=len(used) - len(error),
        residual=float(np.median(error)) if leaves_residual else None,
        relative_residual=float(np.median(error / metres[used])) if leaves_residual else None,
        beyond=1 - float(valid.sum() / _usable(prediction).sum()),
        corrects=scale if prediction.kind is DepthKind.METRIC else None,
    )
    provenance = {**prediction.provenance, "predicted_kind": prediction.kind.value, "scaled_from": str(scaled)}
    return replace(scaled, depth=replace(scaled.depth, provenance=provenance))


def _metres(values: Tensor, kind: DepthKind, scale: float, shift: float) -> Tensor:
    """Apply scale and shift; inverse depth beyond `HORIZON`, or behind the camera, becomes infinity."""
    fitted = values * scale
    fitted += shift  # in place, as all that follows: a large photograph's depth takes 100 MB
    if kind is not DepthKind.RELATIVE:
        return fitted
    is_near = fitted > 1 / HORIZON
    return fitted.reciprocal_().masked_fill_(is_near.logical_not_(), torch.inf)
