"""Losses: how far a prediction is from the measured depth; pure functions of (predicted, measured, valid).

Every loss is a mean over the valid pixels of each image, then over the images that have any: an image without a
valid pixel adds nothing to the value and nothing to the gradient, and a value under an invalid pixel is never read.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Depths = Float[Tensor, "B 1 H W"]
Valid = Bool[Tensor, "B 1 H W"]
Loss = Float[Tensor, ""]
PerImage = Float[Tensor, "B 1 1 1"]
Confidence = Float[Tensor, "B 1 H W"]


def silog_loss(predicted: Depths, measured: Depths, valid: Valid, *, lam: float = 0.85, alpha: float = 10.0) -> Loss:
    """α·√(mean g² − λ·(mean g)²) with g = log d̂ − log d: the scale-invariant log loss.

    Eigen et al. 2014, eq. 4, with the square root and the constants of Lee et al. 2019 (BTS), eq. 2–3, which the
    source paper uses. λ = 1 ignores the global scale, λ = 0 is α × the root mean square log error. Depth in metres (or
    in any one unit), positive where valid.
    """
    g = log_ratio(predicted, measured, valid)
    return mean_over_images(alpha * root(mean(g.square(), valid) - lam * mean(g, valid).square()), valid)


def l1_loss(predicted: Depths, measured: Depths, valid: Valid) -> Loss:
    """Mean |d̂ − d|, in the unit of the depth."""
    return mean_over_images(mean(_difference(predicted, measured, valid).abs(), valid), valid)


def berhu_loss(predicted: Depths, measured: Depths, valid: Valid) -> Loss:
    """The reverse Huber loss: |r| up to c, (r² + c²) / 2c beyond it. Laina et al. 2016, eq. 1–2.

    c is a fifth of the largest |r| of the batch, taken as a constant.
    """
    residual = _difference(predicted, measured, valid).abs()
    threshold = (residual.detach().amax() / 5).clamp_min(torch.finfo(residual.dtype).tiny)
    beyond = residual > threshold
    quadratic = (torch.where(beyond, residual, threshold).square() + threshold.square()) / (2 * threshold)
    return mean_over_images(mean(torch.where(beyond, quadratic, residual), valid), valid)


def scale_and_shift_invariant_loss(predicted: Depths, measured: Depths, valid: Valid, *, trim: float = 0.2) -> Loss:
    """Mean |p* − m*| over the pixels that fit best, each side with its median at 0 and its mean deviation at 1.

    Ranftl et al. 2020 (MiDaS), eq. 5–8 (`ssitrim`): `trim` is the share of pixels with the largest residuals that an
    image leaves out. Both sides are in the space where scale and shift are free, which is inverse depth.
    """
    residual = (standardize(predicted, valid) - standardize(measured, valid)).abs()
    # Ranftl et al. divide by twice the number of all valid pixels, so that trimming does not reward itself.
    return mean_over_images(mean(torch.where(trim_mask(residual, valid, trim), residual, 0.0), valid) / 2, valid)


def gradient_matching_loss(
    predicted: Depths, measured: Depths, valid: Valid, confidence: Confidence | None = None, *, scales: int = 4
) -> Loss:
    """Mean |∂x R| + |∂y R| of the residual R = p − m at `scales` resolutions, each half of the one before.

    Li & Snavely 2018 (MegaDepth), eq. 3, where R is in log depth; Ranftl et al. 2020, eq. 11, where both sides are
    `standardize` inverse depths. A difference counts where both its pixels are valid, and as much as the less
    confident of them.
    """
    residual = _difference(predicted, measured, valid)
    weight = valid.to(residual.dtype) if confidence is None else torch.where(valid, confidence, 0.0)
    total = residual.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        r, w = residual[..., ::step, ::step], weight[..., ::step, ::step]
        across, down = torch.minimum(w[..., :, 1:], w[..., :, :-1]), torch.minimum(w[..., 1:, :], w[..., :-1, :])
        dx = (across * (r[..., :, 1:] - r[..., :, :-1]).abs()).sum(dim=(1, 2, 3), keepdim=True)
        dy = (down * (r[..., 1:, :] - r[..., :-1, :]).abs()).sum(dim=(1, 2, 3), keepdim=True)
        total = total + mean_over_images((dx + dy) / _total(w), w > 0)
    return total


def standardize(depth: Depths, valid: Valid) -> Depths:
    """Each image less its median, over its mean deviation from it; 0 where not valid. Ranftl et al. 2020, eq. 5–6."""
    filled = torch.where(valid, depth, torch.nan).flatten(1)
    median = filled.nanmedian(dim=1).values.nan_to_num(0.0)[:, None, None, None]
    centred = torch.where(valid, depth - median, 0.0)
    deviation = mean(centred.abs(), valid)
    # An image of one depth has no deviation to divide by; it stays at 0.
    return centred / torch.where(deviation > 0, deviation, 1.0)


def log_ratio(predicted: Depths, measured: Depths, valid: Valid) -> Depths:
    """log d̂ − log d; 0 where not valid."""
    return torch.where(valid, predicted, 1.0).log() - torch.where(valid, measured, 1.0).log()


def root(squared: PerImage) -> PerImage:
    """√ with the gradient 0 at 0, where its derivative is infinite: a perfect prediction stays. NaN stays NaN."""
    perfect = squared <= 0
    return torch.where(perfect, 0.0, torch.where(perfect, 1.0, squared).sqrt())


def trim_mask(residual: Depths, valid: Valid, trim: float) -> Valid:
    """The valid pixels less the share `trim` of them, image by image, whose residuals are largest."""
    flat = torch.where(valid, residual.detach(), torch.inf).flatten(1)
    kept = (valid.flatten(1).sum(1) * (1 - trim)).ceil().long().clamp_min(1)
    return valid & (residual.detach() <= _smallest(flat, kept)[:, None, None, None])


def mean(values: Depths, weight: Valid | Confidence) -> PerImage:
    """The weighted mean of each image; 0 for an image without weight. Values are finite everywhere."""
    return (values * weight).sum(dim=(1, 2, 3), keepdim=True) / _total(weight)


def mean_over_images(values: PerImage, valid: Bool[Tensor, "B 1 h w"]) -> Loss:
    """The mean over the images that have a valid pixel; 0 if none has."""
    has_any = valid.flatten(1).any(1)
    return torch.where(has_any[:, None, None, None], values, 0.0).sum() / has_any.sum().clamp_min(1)


def _smallest(rows: Float[Tensor, "B N"], places: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The number in each row that would stand at its place, from 1, were the row sorted."""
    if rows.device.type == "cpu":
        # A fifth of the time of sorting, which took a tenth of a small network's step.
        return torch.stack([row.kthvalue(place).values for row, place in zip(rows, places.tolist(), strict=True)])
    # On a GPU, sorting does not wait for the places to arrive here.
    return rows.sort(dim=1).values.gather(1, places[:, None] - 1)[:, 0]


def _difference(predicted: Depths, measured: Depths, valid: Valid) -> Depths:
    return torch.where(valid, predicted, 0.0) - torch.where(valid, measured, 0.0)


def _total(weight: Bool[Tensor, "B 1 h w"] | Float[Tensor, "B 1 h w"]) -> PerImage:
    """The weight of each image's pixels, which is their number where all weigh alike; 1 where none weighs anything."""
    total = weight.sum(dim=(1, 2, 3), keepdim=True)
    return torch.where(total > 0, total, 1.0)
