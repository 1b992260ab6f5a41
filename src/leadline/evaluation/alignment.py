"""Alignment: turn a prediction into metres by the scale, or scale and shift, that fits the measured depth best."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from leadline.core.depth_kind import DepthKind
from leadline.core.robust import least_absolute_weights
from leadline.core.sample import Depth, Mask
from leadline.evaluation.alignment_kinds import ALIGNMENT_KINDS, check_alignment
from leadline.evaluation.metrics import flat_images

DEPTH_AT_INFINITY = 1e3
"""Metres: what an inverse depth of zero or less, infinitely far, becomes."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Predictions aligned to measured depth, and the scale and the shift that each image (*batch) was aligned by."""

    metres: Depth
    scale: Tensor
    """Never negative. 0 where no positive factor fits, and where the prediction is constant."""
    shift: Tensor
    is_reversed: Tensor
    """Whether the image fits its ground truth by a negative factor only: predicted far where it is near."""


def unaligned(predicted: Depth, target: Depth, valid: Mask) -> Depth:
    """Return the prediction as it is.

    Args:
        predicted: (*batch, 1, H, W) in metres.
        target: metres, of the same shape.
        valid: the pixels that were measured.
    """
    return _as_it_is(predicted, target, valid).metres


def median_scale(predicted: Depth, target: Depth, valid: Mask) -> Depth:
    """Scale each image so that the medians over valid pixels agree (Zhou et al. 2017, section 4.1).

    An image without valid pixels, or with a median prediction that is not positive, stays as it is.

    Args:
        predicted: depth (*batch, 1, H, W), up to a factor.
        target: metres, of the same shape.
        valid: the pixels that are fitted.

    Returns:
        Metres, of the same shape.
    """
    return _by_medians(predicted, target, valid).metres


def least_squares_scale(predicted: Depth, target: Depth, valid: Mask, *, robust: bool = False) -> Depth:
    """Scale each image by the s ≥ 0 that minimises Σ (s d − t)², or Σ |s d − t| when `robust`.

    Args:
        predicted: depth d (*batch, 1, H, W), up to a factor.
        target: metres t, of the same shape.
        valid: the pixels that are fitted.
        robust: fit the absolute differences.

    Returns:
        Metres, of the same shape.
    """
    return _by_scale(predicted, target, valid, robust=robust).metres


def least_squares_scale_shift(predicted: Depth, target: Depth, valid: Mask, *, robust: bool = False) -> Depth:
    """Return s d + h with the s ≥ 0 and h of each image that minimise Σ (s d + h − t)².

    Where no positive s fits, because what is farther is predicted as nearer, s is 0: the image becomes the mean
    measured depth (robust: its median), as a constant prediction does. An image without valid pixels stays as it is.

    Args:
        predicted: depth d (*batch, 1, H, W), up to a factor and a shift.
        target: metres t, of the same shape.
        valid: the pixels that are fitted.
        robust: fit the absolute differences.

    Returns:
        Metres, of the same shape.
    """
    return _by_scale_shift(predicted, target, valid, robust=robust).metres


def inverse_scale_shift(predicted: Depth, target: Depth, valid: Mask, *, robust: bool = False) -> Depth:
    """Return metres from inverse depth p: 1 / (s p + h) with s ≥ 0, fitted to 1 / t (Ranftl et al. 2020, eq. 4).

    What comes out at or beyond infinity is `DEPTH_AT_INFINITY`. Where no positive s fits, s is 0: the image becomes
    one over the mean inverse depth.

    Args:
        predicted: inverse depth p (*batch, 1, H, W), up to a factor and a shift.
        target: metres t, of the same shape.
        valid: the pixels that are fitted.
        robust: fit the absolute differences.

    Returns:
        Metres, of the same shape.
    """
    return _inverted(predicted, target, valid, robust=robust).metres


def in_metres(predicted: Depth, target: Depth, valid: Mask, *, kind: DepthKind) -> tuple[Depth, Tensor, Tensor]:
    """Align a prediction of any kind to what was measured, robustly.

    Relative depth is aligned by `inverse_scale_shift`, other kinds by `least_squares_scale`.

    Args:
        predicted: (*batch, 1, H, W) in the unit of `kind`.
        target: metres, of the same shape.
        valid: the pixels that are fitted.
        kind: what the prediction guarantees.

    Returns:
        Metres of the same shape, and the scale and the shift of each image (*batch). A scale of 0 says that no positive
        one fits; without a shift in the fit it is 0.
    """
    fit = (_inverted if kind is DepthKind.RELATIVE else _by_scale)(predicted, target, valid, robust=True)
    return fit.metres, fit.scale, fit.shift


@dataclass(frozen=True)
class Alignment:
    """A way to align, and the kinds of depth that become comparable to metres by it."""

    fit: Callable[..., Fit]
    """Function of (predicted, target, valid, *, robust)."""
    kinds: frozenset[DepthKind]


def align(
    predicted: Depth, target: Depth, valid: Mask, *, alignment: str, kind: DepthKind, robust: bool = False
) -> Depth:
    """Metres from a prediction of any kind; refused where the alignment cannot give them.

    Args:
        predicted: (*batch, 1, H, W) in the unit of `kind`.
        target: metres, of the same shape.
        valid: the pixels that are fitted.
        alignment: a name in `ALIGNMENTS`.
        kind: what the prediction guarantees; its factor is positive, so no fit turns near into far.
        robust: fit the absolute differences instead of the squared ones.

    Returns:
        Metres, of the same shape.

    Raises:
        BadInput: an unknown alignment, or one that cannot make metres of this kind.
    """
    return fit_alignment(predicted, target, valid, alignment=alignment, kind=kind, robust=robust).metres


def fit_alignment(
    predicted: Depth, target: Depth, valid: Mask, *, alignment: str, kind: DepthKind, robust: bool = False
) -> Fit:
    """Align as `align` does, and return the scale and the shift of each image beside its metres.

    Args:
        predicted: (*batch, 1, H, W) in the unit of `kind`.
        target: metres, of the same shape.
        valid: the pixels that are fitted.
        alignment: a name in `ALIGNMENTS`.
        kind: what the prediction guarantees.
        robust: fit the absolute differences instead of the squared ones.

    Raises:
        BadInput: an unknown alignment, or one that cannot make metres of this kind.
    """
    check_alignment(alignment, kind)
    if alignment == "inverse_scale_shift" and kind is not DepthKind.RELATIVE:
        predicted = predicted.clamp(min=1 / DEPTH_AT_INFINITY).reciprocal()
    return ALIGNMENTS[alignment].fit(predicted, target, valid, robust=robust)


_Images = Float[Tensor, "images pixels"]
_Factors = Float[Tensor, " images"]
_Flags = Bool[Tensor, " images"]


def _usable(predicted: Depth, target: Depth, valid: Mask) -> Mask:
    """Valid, and not a NaN or an infinity that would spoil the fit of the whole image."""
    return valid & predicted.isfinite() & (target > 0)


def _as_it_is(predicted: Depth, target: Depth, valid: Mask, *, robust: bool = False) -> Fit:
    images = predicted.shape[:-3]
    scale = torch.ones(images, dtype=torch.float64)
    return Fit(predicted, scale, torch.zeros_like(scale), torch.zeros(images, dtype=torch.bool))


def _by_medians(predicted: Depth, target: Depth, valid: Mask, *, robust: bool = False) -> Fit:
    usable = _usable(predicted, target, valid)
    images = zip(*(flat_images(each) for each in (predicted, target, usable)), strict=True)
    scale, is_reversed = map(torch.stack, zip(*(_ratio_of_medians(d[u], t[u]) for d, t, u in images), strict=True))
    shape = predicted.shape[:-3]
    metres = predicted * scale.view(*shape, 1, 1, 1)
    return Fit(metres, scale.view(shape), torch.zeros_like(scale).view(shape), is_reversed.view(shape))


def _by_scale(predicted: Depth, target: Depth, valid: Mask, *, robust: bool = False) -> Fit:
    return _fitted(predicted, target, _usable(predicted, target, valid), _scale, robust=robust)


def _by_scale_shift(predicted: Depth, target: Depth, valid: Mask, *, robust: bool = False) -> Fit:
    return _fitted(predicted, target, _usable(predicted, target, valid), _scale_shift, robust=robust)


def _inverted(predicted: Depth, target: Depth, valid: Mask, *, robust: bool = False) -> Fit:
    usable = _usable(predicted, target, valid)
    inverse_target = torch.where(usable, target, 1).reciprocal()
    inverse = _fitted(predicted, inverse_target, usable, _scale_shift, robust=robust)
    return replace(inverse, metres=inverse.metres.clamp(min=1 / DEPTH_AT_INFINITY).reciprocal())


def _ratio_of_medians(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The factor of one image's pixels, 1 where none is positive, and whether it would have been negative."""
    middle = _median(predicted) if len(predicted) else predicted.new_zeros(())
    return (_median(target) / middle if middle > 0 else predicted.new_ones(())), middle < 0


def _median(values: Tensor) -> Tensor:
    """The middle value, or the mean of the two middle ones (torch's own median takes the lower)."""
    ordered = values.sort().values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _fitted(predicted: Depth, target: Depth, usable: Mask, solve: Callable[..., Any], *, robust: bool) -> Fit:
    """s d + h with the s ≥ 0 and h per image that `solve` finds for `target`, in float64.

    Robust: least absolute differences.
    """
    x, y, once = (flat_images(each).double() for each in (torch.where(usable, predicted, 0), target, usable))
    y = torch.where(once > 0, y, 0)

    def residuals(weight: _Images) -> _Images:
        scale, shift, _ = solve(x, y, weight)
        return scale[:, None] * x + shift[:, None] - y

    scale, shift, is_reversed = solve(x, y, least_absolute_weights(residuals, once) if robust else once)
    images, shape = predicted.shape[:-3], (*predicted.shape[:-3], 1, 1, 1)
    metres = (predicted * scale.view(shape) + shift.view(shape)).to(predicted.dtype)
    return Fit(metres, scale.view(images), shift.view(images), is_reversed.view(images))


def _scale(x: _Images, y: _Images, weight: _Images) -> tuple[_Factors, _Factors, _Flags]:
    """Weighted least squares for y ≈ s x with s ≥ 0, and where s had to be held; s = 1 where x is 0 everywhere."""
    square = (weight * x.square()).sum(dim=1)
    scale = torch.where(square > 0, (weight * x * y).sum(dim=1) / square.where(square > 0, 1), 1.0)
    return scale.clamp(min=0), torch.zeros_like(scale), scale < 0


def _scale_shift(x: _Images, y: _Images, weight: _Images) -> tuple[_Factors, _Factors, _Flags]:
    """Weighted least squares for y ≈ s x + h with s ≥ 0, and where s had to be held.

    The sum of squares is convex: where its minimum has s < 0, the least of what is allowed has s = 0, and h is the
    mean. s = 0 where x is constant too; s = 1 and h = 0 where nothing weighs.
    """
    total = weight.sum(dim=1)
    some = total > 0
    share = weight / total.where(some, 1)[:, None]
    mean_x, mean_y = (share * x).sum(dim=1), (share * y).sum(dim=1)
    centred = x - mean_x[:, None]
    variance = (share * centred.square()).sum(dim=1)
    varies = variance > torch.finfo(torch.float32).eps ** 2 * mean_x.square()
    slope = (share * centred * y).sum(dim=1) / variance.where(varies, 1) * varies
    scale = slope.clamp(min=0)
    return torch.where(some, scale, 1.0), torch.where(some, mean_y - scale * mean_x, 0.0), some & (slope < 0)


ALIGNMENTS: Mapping[str, Alignment] = {
    name: Alignment(fit, ALIGNMENT_KINDS[name])
    for name, fit in (
        ("none", _as_it_is),
        ("median", _by_medians),
        ("scale", _by_scale),
        ("scale_shift", _by_scale_shift),
        ("inverse_scale_shift", _inverted),
    )
}
"""Name → alignment, from the strictest comparison to the most forgiving one."""
