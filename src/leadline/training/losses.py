"""Losses: how far a predicted depth is from a target; pure functions of (predicted, target, valid, weight=None).

The target is measured depth or a teacher's. Every loss is a weighted mean over the valid pixels of each image, then a
mean over the images that have any: an image without a valid pixel adds nothing to the value and nothing to the
gradient, and a value under an invalid pixel, or under one of weight 0, is never read. Without `weight` all valid pixels
count alike. `trim` is the fraction of an image's pixels, those with the largest residuals, that count nothing. Losses
of log errors also come as functions of (errors, weight), for terms that share them.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from leadline.core.arrays import as_array

Depths = Float[Tensor, "B 1 H W"]
Valid = Bool[Tensor, "B 1 H W"]
Weight = Float[Tensor, "B 1 H W"]
Loss = Float[Tensor, ""]
PerImage = Float[Tensor, "B 1 1 1"]


def silog_loss(
    predicted: Depths,
    target: Depths,
    valid: Valid,
    weight: Weight | None = None,
    *,
    lam: float = 0.85,
    alpha: float = 10.0,
) -> Loss:
    """Compute the scale-invariant log loss α·√(mean g² − λ·(mean g)²) with g = log d̂ − log d.

    Eigen et al. 2014, eq. 4, with the square root and the constants of Lee et al. 2019 (BTS), eq. 2–3, which the
    source paper uses.

    Args:
        predicted: depth d̂, B × 1 × H × W, in metres (or in any one unit), positive where valid.
        target: depth d in the same unit.
        valid: which pixels count.
        weight: how much each counts, from 0 to 1.
        lam: λ; 1 ignores the global scale, 0 makes the loss α × the root mean square log error.
        alpha: factor α.
    """
    weight = pixel_weight(valid, weight)
    return silog_of_errors(log_ratio(predicted, target, weight > 0), weight, lam=lam, alpha=alpha)


def silog_of_errors(errors: Depths, weight: Weight, *, lam: float = 0.85, alpha: float = 10.0) -> Loss:
    """Compute `silog_loss` of log errors that are already at hand.

    Args:
        errors: g = log d̂ − log d, B × 1 × H × W, finite everywhere.
        weight: how much each pixel counts, from 0 to 1.
        lam: λ.
        alpha: factor α.
    """
    return mean_over_images(alpha * root(mean(errors.square(), weight) - lam * mean(errors, weight).square()), weight)


def scale_invariant_loss(
    predicted: Depths, target: Depths, valid: Valid, weight: Weight | None = None, *, lam: float = 0.5
) -> Loss:
    """Compute mean g² − λ·(mean g)² with g = log d̂ − log d: Eigen et al. 2014, eq. 4, with their λ.

    Args:
        predicted: depth d̂, B × 1 × H × W, in metres (or in any one unit), positive where valid.
        target: depth d in the same unit.
        valid: which pixels count.
        weight: how much each counts, from 0 to 1.
        lam: λ; 1 ignores the global scale.
    """
    weight = pixel_weight(valid, weight)
    g = log_ratio(predicted, target, weight > 0)
    return mean_over_images(mean(g.square(), weight) - lam * mean(g, weight).square(), weight)


def ordinal_loss(
    exceeded: Float[Tensor, "B K H W"], thresholds: Float[Tensor, "#B K 1 1"], target: Depths, valid: Valid
) -> Loss:
    """Compute the ordinal cross-entropy −Σₖ [d > tₖ] log pₖ + [d ≤ tₖ] log (1 − pₖ), averaged over pixels.

    Fu et al. 2018 (DORN), eq. 2, as Chen et al. 2019 (ACAN) use it.

    Args:
        exceeded: pₖ, the probability that depth exceeds each threshold.
        thresholds: tₖ in the unit of the target, for each image or for all.
        target: depth d, B × 1 × H × W.
        valid: which pixels count.
    """
    probability = exceeded.float().clamp(_SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    is_beyond = torch.where(valid, target, 1.0) > thresholds
    entropy = -torch.where(is_beyond, probability.log(), (1 - probability).log()).sum(1, keepdim=True)
    return mean_over_images(mean(torch.where(valid, entropy, 0.0), valid), valid)


def attention_loss(attention: Float[Tensor, "B N N"], target: Depths, valid: Valid) -> Loss:
    """Compute the KL divergence from attention to similarity of depth, averaged over pixels.

    Chen et al. 2019 (ACAN), §3.3: pixel i should attend to pixel j by softmaxⱼ −|log dᵢ − log dⱼ|. Depth is taken from
    the middle of each cell of the attention's grid; cells whose middle is not valid are left out.

    Args:
        attention: how much each of N cells attends to each other, rows summing to 1; cells row by row.
        target: depth d, B × 1 × H × W, H and W multiples of a cell's side.
        valid: which pixels count.
    """
    side = round((target.shape[-2] * target.shape[-1] / attention.shape[-1]) ** 0.5)
    middle = side // 2
    depth, known = (each[..., middle::side, middle::side].flatten(1) for each in (target, valid))
    logs = torch.where(known, depth, 1.0).log()
    distance = (logs[:, :, None] - logs[:, None, :]).abs()
    both = known[:, :, None] & known[:, None, :]
    # Rows of unknown depth have nothing to compare with; 0 keeps their softmax finite.
    similarity = torch.where(both, -distance, -torch.inf).where(known[:, :, None], 0.0).softmax(-1)
    ratio = similarity.clamp_min(_SMALLEST_ATTENTION).log() - attention.float().clamp_min(_SMALLEST_ATTENTION).log()
    divergence = (similarity * ratio).where(both, 0.0).sum(-1)[:, None, :, None]
    of_cells = known[:, None, :, None]
    return mean_over_images(mean(divergence, of_cells), of_cells)


def side_silog_loss(depths: Float[Tensor, "B L H W"], target: Depths, valid: Valid) -> Loss:
    """Compute `silog_loss` of each of the depth maps that the levels of a network predict, averaged over the levels.

    Such deep supervision pretrains the front end of Xu et al. 2017 and accompanies the training of Xu et al. 2018; Li
    et al. 2015 train their regression by nothing else. They use squares of differences.

    Args:
        depths: a depth map of each level, positive where valid.
        target: depth d, B × 1 × H × W, in the same unit.
        valid: which pixels count.
    """
    levels = [silog_loss(each.float(), target, valid) for each in depths.split(1, 1)]
    return torch.stack(levels).mean()


def l1_loss(predicted: Depths, target: Depths, valid: Valid, weight: Weight | None = None) -> Loss:
    """Compute the mean |d̂ − d|, in the unit of the depth.

    Args:
        predicted: depth d̂, B × 1 × H × W.
        target: depth d in the same unit.
        valid: which pixels count.
        weight: how much each counts, from 0 to 1.
    """
    weight = pixel_weight(valid, weight)
    return mean_over_images(mean(_difference(predicted, target, weight > 0).abs(), weight), weight)


def log_l1_of_errors(errors: Depths, weight: Weight) -> Loss:
    """Compute the mean |log d̂ − log d|.

    Args:
        errors: log d̂ − log d, B × 1 × H × W, finite everywhere.
        weight: how much each pixel counts, from 0 to 1.
    """
    return mean_over_images(mean(errors.abs(), weight), weight)


def berhu_loss(predicted: Depths, target: Depths, valid: Valid, weight: Weight | None = None) -> Loss:
    """Compute the reverse Huber loss: |r| up to c, (r² + c²) / 2c beyond it. Laina et al. 2016, eq. 1–2.

    c is a fifth of the largest |r| of the batch, taken as a constant.

    Args:
        predicted: depth, B × 1 × H × W.
        target: depth in the same unit; r is the difference.
        valid: which pixels count.
        weight: how much each counts, from 0 to 1.
    """
    weight = pixel_weight(valid, weight)
    residual = _difference(predicted, target, weight > 0).abs()
    threshold = (residual.detach().amax() / 5).clamp_min(torch.finfo(residual.dtype).tiny)
    beyond = residual > threshold
    quadratic = (torch.where(beyond, residual, threshold).square() + threshold.square()) / (2 * threshold)
    return mean_over_images(mean(torch.where(beyond, quadratic, residual), weight), weight)


def scale_and_shift_invariant_loss(
    predicted: Depths,
    target: Depths,
    valid: Valid,
    weight: Weight | None = None,
    *,
    trim: float = 0.2,
    averages_kept: bool = False,
) -> Loss:
    """Compute the mean |p* − t*| over the pixels that fit best, each side standardized: see `standardize`.

    Ranftl et al. 2020 (MiDaS), eq. 5–8 (`ssitrim`). Yang et al. 2024 (Depth Anything V2) trim a tenth for a teacher.

    Args:
        predicted: inverse depth, B × 1 × H × W: the space where scale and shift are free.
        target: inverse depth, of any scale and shift.
        valid: which pixels count.
        weight: how much each counts, from 0 to 1.
        trim: fraction of an image's pixels, those with the largest residuals, that are left out.
        averages_kept: average over the pixels that are kept, so that weights change which pixels count and not how much
            the image does; else divide by twice the number of all, as Ranftl et al. do.
    """
    weight = pixel_weight(valid, weight)
    residual = (standardize(predicted, weight > 0) - standardize(target, weight > 0)).abs()
    kept = trim_mask(residual, weight > 0, trim)
    if averages_kept:
        return mean_over_images(mean(residual, weight * kept), weight * kept)
    # Ranftl et al. divide by twice the number of all valid pixels, so that trimming does not reward itself.
    return mean_over_images(mean(torch.where(kept, residual, 0.0), weight) / 2, weight)


def gradient_matching_loss(
    predicted: Depths, target: Depths, valid: Valid, weight: Weight | None = None, *, scales: int = 4
) -> Loss:
    """Compute the mean |∂x R| + |∂y R| of the residual R = p − t, summed over resolutions.

    Li & Snavely 2018 (MegaDepth), eq. 3. A difference counts where both its pixels are valid, and as much as the one of
    less weight.

    Args:
        predicted: p, B × 1 × H × W, in any space.
        target: t in the same space.
        valid: which pixels count.
        weight: how much each counts, from 0 to 1.
        scales: number of resolutions, each half of the one before.
    """
    weight = pixel_weight(valid, weight)
    residual = _difference(predicted, target, weight > 0)
    total = residual.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        r, w = residual[..., ::step, ::step], weight[..., ::step, ::step]
        across, down = torch.minimum(w[..., :, 1:], w[..., :, :-1]), torch.minimum(w[..., 1:, :], w[..., :-1, :])
        dx = (across * (r[..., :, 1:] - r[..., :, :-1]).abs()).sum(dim=(1, 2, 3), keepdim=True)
        dy = (down * (r[..., 1:, :] - r[..., :-1, :]).abs()).sum(dim=(1, 2, 3), keepdim=True)
        total = total + mean_over_images((dx + dy) / _total(w), w)
    return total


def log_gradient_loss(
    predicted: Depths, target: Depths, valid: Valid, weight: Weight | None = None, *, scales: int = 4
) -> Loss:
    """Compute `gradient_matching_loss` in log depth, as in Li & Snavely 2018, eq. 3.

    Args:
        predicted: depth, B × 1 × H × W, positive where valid.
        target: depth in any unit.
        valid: which pixels count.
        weight: how much each counts, from 0 to 1.
        scales: number of resolutions.
    """
    counted = pixel_weight(valid, weight) > 0
    logs = [torch.where(counted, depth, 1.0).log() for depth in (predicted, target)]
    return gradient_matching_loss(logs[0], logs[1], counted, weight, scales=scales)


def standardized_gradient_loss(
    predicted: Depths, target: Depths, valid: Valid, weight: Weight | None = None, *, scales: int = 4
) -> Loss:
    """Compute `gradient_matching_loss` of standardized inverse depths, as in Ranftl et al. 2020, eq. 11.

    Args:
        predicted: inverse depth, B × 1 × H × W.
        target: inverse depth, of any scale and shift.
        valid: which pixels count.
        weight: how much each counts, from 0 to 1.
        scales: number of resolutions.
    """
    counted = pixel_weight(valid, weight) > 0
    sides = [standardize(depth, counted) for depth in (predicted, target)]
    return gradient_matching_loss(sides[0], sides[1], counted, weight, scales=scales)


def pixel_weight(valid: Valid, weight: Weight | None) -> Weight:
    """Return how much each pixel counts: `weight` where valid, or 1 without one; 0 elsewhere."""
    return valid.float() if weight is None else torch.where(valid, weight, 0.0)


def standardize(depth: Depths, valid: Valid) -> Depths:
    """Subtract each image's median, divide by its mean deviation; 0 where not valid. Ranftl et al. 2020, eq. 5–6."""
    filled = torch.where(valid, depth, torch.nan).flatten(1)
    median = filled.nanmedian(dim=1).values.nan_to_num(0.0)[:, None, None, None]
    centred = torch.where(valid, depth - median, 0.0)
    deviation = mean(centred.abs(), valid)
    # An image of one depth has no deviation to divide by; it stays at 0.
    return centred / torch.where(deviation > 0, deviation, 1.0)


def log_ratio(predicted: Depths, target: Depths, valid: Valid) -> Depths:
    """Compute log d̂ − log d; 0 where not valid.

    Args:
        predicted: depth d̂, B × 1 × H × W, positive where valid.
        target: depth d in the same unit.
        valid: which pixels to compare.
    """
    return torch.where(valid, predicted, 1.0).log() - torch.where(valid, target, 1.0).log()


def root(squared: PerImage) -> PerImage:
    """Take the square root, with a gradient of 0 at 0, where its derivative is infinite: a perfect prediction stays.

    NaN stays NaN.
    """
    perfect = squared <= 0
    return torch.where(perfect, 0.0, torch.where(perfect, 1.0, squared).sqrt())


def trim_mask(residual: Depths, valid: Valid, trim: float) -> Valid:
    """Return the valid pixels of each image without those whose residuals are largest.

    Args:
        residual: B × 1 × H × W, at least 0.
        valid: which pixels to choose from.
        trim: the fraction of them to leave out.
    """
    flat = torch.where(valid, residual.detach(), torch.inf).flatten(1)
    kept = (valid.flatten(1).sum(1) * (1 - trim)).ceil().long().clamp_min(1)
    return valid & (residual.detach() <= _smallest(flat, kept)[:, None, None, None])


def trimmed(weight: Weight, residual: Depths, trim: float) -> Weight:
    """Return the weights, with 0 for the pixels of each image whose residuals are largest.

    Args:
        weight: how much each pixel counts.
        residual: B × 1 × H × W, at least 0.
        trim: the fraction of the pixels that count, to leave out.
    """
    return weight * trim_mask(residual, weight > 0, trim) if trim else weight


def mean(values: Depths, weight: Valid | Weight) -> PerImage:
    """Compute the weighted mean of each image; 0 for an image without weight. Values must be finite everywhere."""
    return (values * weight).sum(dim=(1, 2, 3), keepdim=True) / _total(weight)


def mean_over_images(values: PerImage, weight: Bool[Tensor, "B 1 h w"] | Float[Tensor, "B 1 h w"]) -> Loss:
    """Average over the images that have a pixel which counts; 0 if none has."""
    has_any = weight.sum(dim=(1, 2, 3), keepdim=True) > 0
    return torch.where(has_any, values, 0.0).sum() / has_any.sum().clamp_min(1)


_SMALLEST_PROBABILITY = 1e-7
"""Whose logarithm is still finite, also of what is left to 1 in single precision."""
_SMALLEST_ATTENTION = 1e-10


def _smallest(rows: Float[Tensor, "B N"], places: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The number in each row that would stand at its place, from 1, were the row sorted."""
    if rows.device.type == "cpu":
        # Sorting took a tenth of a small network's step; NumPy selects by vector instructions, PyTorch's kthvalue not.
        pairs = zip(as_array(rows), places.tolist(), strict=True)
        found = np.array([np.partition(row, place - 1)[place - 1] for row, place in pairs])
        return torch.from_numpy(found).to(rows.dtype)
    # On a GPU, sorting does not wait for the places to arrive here.
    return rows.sort(dim=1).values.gather(1, places[:, None] - 1)[:, 0]


def _difference(predicted: Depths, target: Depths, valid: Valid) -> Depths:
    return torch.where(valid, predicted, 0.0) - torch.where(valid, target, 0.0)


def _total(weight: Bool[Tensor, "B 1 h w"] | Float[Tensor, "B 1 h w"]) -> PerImage:
    """The sum of each image's weights; 1 where it is 0."""
    total = weight.sum(dim=(1, 2, 3), keepdim=True)
    return torch.where(total > 0, total, 1.0)
