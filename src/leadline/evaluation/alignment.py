"""Alignment: turn a prediction into metres by the scale, or scale and shift, that fits the measured depth best."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, unknown
from leadline.core.sample import Depth, Mask

FARTHEST = 1e3
"""Metres: what an inverse depth of zero or less, infinitely far, becomes."""


def unaligned(predicted: Depth, measured: Depth, valid: Mask) -> Depth:
    """The prediction as it is."""
    return predicted


def median_scale(predicted: Depth, measured: Depth, valid: Mask) -> Depth:
    """Scaled so that the medians over valid pixels agree (Zhou et al. 2017).

    An image without valid pixels, or with a median prediction that is not positive, stays as it is.
    """
    usable = _usable(predicted, measured, valid)
    images = zip(_images(predicted), _images(measured), _images(usable), strict=True)
    scales = [_ratio_of_medians(d[u], t[u]) for d, t, u in images]
    return predicted * torch.stack(scales).view(*predicted.shape[:-3], 1, 1, 1)


def least_squares_scale(predicted: Depth, measured: Depth, valid: Mask, *, robust: bool = False) -> Depth:
    """Scaled by the s that minimises Σ (s d − t)², or Σ |s d − t| when `robust`."""
    return _fitted(predicted, measured, _usable(predicted, measured, valid), _scale, robust=robust)[0]


def least_squares_scale_shift(predicted: Depth, measured: Depth, valid: Mask, *, robust: bool = False) -> Depth:
    """s d + h with the s and h that minimise Σ (s d + h − t)², or the absolute differences when `robust`.

    A constant prediction becomes the mean measured depth; an image without valid pixels stays as it is.
    """
    return _fitted(predicted, measured, _usable(predicted, measured, valid), _scale_shift, robust=robust)[0]


def inverse_scale_shift(predicted: Depth, measured: Depth, valid: Mask, *, robust: bool = False) -> Depth:
    """Metres from inverse depth `predicted`: 1 / (s p + h), fitted to 1 / t (Ranftl et al. 2020).

    What comes out at or beyond infinity is `FARTHEST`. `robust` minimises absolute differences.
    """
    return _inverted(predicted, measured, valid, robust=robust)[0]


def in_metres(predicted: Depth, measured: Depth, valid: Mask, *, kind: DepthKind) -> tuple[Depth, Tensor, Tensor]:
    """Metres from a prediction of `kind` by what was measured, with the scale and the shift of each image (*batch).

    Relative depth by `inverse_scale_shift`, others by `least_squares_scale` (whose shift is 0), both robust.
    """
    if kind is DepthKind.RELATIVE:
        metres, scale, shift = _inverted(predicted, measured, valid, robust=True)
    else:
        usable = _usable(predicted, measured, valid)
        metres, scale, shift = _fitted(predicted, measured, usable, _scale, robust=True)
    return metres, scale.reshape(predicted.shape[:-3]), shift.reshape(predicted.shape[:-3])


@dataclass(frozen=True)
class Alignment:
    """A way to align, and the kinds of depth that become comparable to metres by it."""

    function: Callable[..., Any]
    kinds: frozenset[DepthKind]


ALIGNMENTS: Mapping[str, Alignment] = {
    "none": Alignment(unaligned, frozenset({DepthKind.METRIC})),
    "median": Alignment(median_scale, frozenset({DepthKind.METRIC, DepthKind.SCALE_FREE})),
    "scale": Alignment(least_squares_scale, frozenset({DepthKind.METRIC, DepthKind.SCALE_FREE})),
    "scale_shift": Alignment(least_squares_scale_shift, frozenset({DepthKind.METRIC, DepthKind.SCALE_FREE})),
    "inverse_scale_shift": Alignment(inverse_scale_shift, frozenset(DepthKind)),
}
"""Name → alignment, from the strictest comparison to the most forgiving one."""


def check_alignment(name: str, kind: DepthKind) -> None:
    """Refuse an alignment that is unknown, or that cannot make metres of depth of this kind."""
    if name not in ALIGNMENTS:
        raise unknown("alignment", name, ALIGNMENTS)
    if kind not in ALIGNMENTS[name].kinds:
        choices = [each for each, alignment in ALIGNMENTS.items() if kind in alignment.kinds]
        raise BadInput(
            f"Depth of kind {kind.value!r} cannot be compared with metres under alignment {name!r}: "
            f"{_PROMISES[kind]}. Choose --alignment {' or '.join(choices)}."
        )


def align(
    predicted: Depth, measured: Depth, valid: Mask, *, alignment: str, kind: DepthKind, robust: bool = False
) -> Depth:
    """Metres from a prediction of any kind; refused where the alignment cannot give them."""
    check_alignment(alignment, kind)
    function = ALIGNMENTS[alignment].function
    if function is inverse_scale_shift and kind is not DepthKind.RELATIVE:
        predicted = predicted.clamp(min=1 / FARTHEST).reciprocal()
    if function in (unaligned, median_scale):  # robust as they are
        return function(predicted, measured, valid)
    return function(predicted, measured, valid, robust=robust)


_PROMISES = {
    DepthKind.METRIC: "it is metres",
    DepthKind.SCALE_FREE: "it is known up to a factor",
    DepthKind.RELATIVE: "it is inverse depth, known up to a factor and a shift",
}


_Images = Float[Tensor, "images pixels"]
_Factors = Float[Tensor, " images"]


def _images(maps: Tensor) -> Tensor:
    """(*batch, 1, H, W) → (images, H × W)."""
    return maps.reshape(-1, maps.shape[-2] * maps.shape[-1])


def _usable(predicted: Depth, measured: Depth, valid: Mask) -> Mask:
    """Valid, and not a NaN or an infinity that would spoil the fit of the whole image."""
    return valid & predicted.isfinite() & (measured > 0)


def _ratio_of_medians(predicted: Tensor, measured: Tensor) -> Tensor:
    if len(predicted) == 0 or (middle := _median(predicted)) <= 0:
        return predicted.new_ones(())
    return _median(measured) / middle


def _median(values: Tensor) -> Tensor:
    """The middle value, or the mean of the two middle ones (torch's own median takes the lower)."""
    ordered = values.sort().values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _inverted(predicted: Depth, measured: Depth, valid: Mask, *, robust: bool) -> tuple[Depth, _Factors, _Factors]:
    usable = _usable(predicted, measured, valid)
    target = torch.where(usable, measured, 1).reciprocal()
    inverse, scale, shift = _fitted(predicted, target, usable, _scale_shift, robust=robust)
    return inverse.clamp(min=1 / FARTHEST).reciprocal(), scale, shift


def _fitted(
    predicted: Depth, target: Depth, usable: Mask, solve: Callable[..., Any], *, robust: bool
) -> tuple[Depth, _Factors, _Factors]:
    """s d + h with the s and h per image that `solve` finds for `target`, in float64; and these s and h.

    Robust: least absolute differences, by 30 rounds of least squares reweighted with 1 / |difference|.
    """
    x, y, once = (_images(each).double() for each in (torch.where(usable, predicted, 0), target, usable))
    y = torch.where(once > 0, y, 0)
    scale, shift = solve(x, y, once)
    for _ in range(30 if robust else 0):
        away = (scale[:, None] * x + shift[:, None] - y).abs() * once
        # The floor keeps a pixel that is met exactly from outweighing all others.
        floor = 1e-3 * away.mean(dim=1, keepdim=True) + torch.finfo(torch.float32).tiny
        scale, shift = solve(x, y, once / away.maximum(floor))
    shape = (*predicted.shape[:-3], 1, 1, 1)
    return (predicted * scale.view(shape) + shift.view(shape)).to(predicted.dtype), scale, shift


def _scale(x: _Images, y: _Images, weight: _Images) -> tuple[_Factors, _Factors]:
    """Weighted least squares for y ≈ s x; s = 1 where x is zero everywhere."""
    square = (weight * x.square()).sum(dim=1)
    scale = torch.where(square > 0, (weight * x * y).sum(dim=1) / square.where(square > 0, 1), 1.0)
    return scale, torch.zeros_like(scale)


def _scale_shift(x: _Images, y: _Images, weight: _Images) -> tuple[_Factors, _Factors]:
    """Weighted least squares for y ≈ s x + h; s = 0 where x is constant, s = 1 and h = 0 where nothing weighs."""
    total = weight.sum(dim=1)
    some = total > 0
    share = weight / total.where(some, 1)[:, None]
    mean_x, mean_y = (share * x).sum(dim=1), (share * y).sum(dim=1)
    centred = x - mean_x[:, None]
    variance = (share * centred.square()).sum(dim=1)
    varies = variance > torch.finfo(torch.float32).eps ** 2 * mean_x.square()
    scale = (share * centred * y).sum(dim=1) / variance.where(varies, 1) * varies
    return torch.where(some, scale, 1.0), torch.where(some, mean_y - scale * mean_x, 0.0)
