"""Teaching: what a teacher's depth and features ask of a student, and how far its depth is to be believed.

As in `losses`, a loss is a mean over the pixels of each image that count, then over the images that have any.
Confidence, in [0, 1], is a pixel's weight in that mean; a pixel that is not valid, or of confidence 0, is never read.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.training.losses import (
    Confidence,
    Depths,
    Loss,
    Valid,
    gradient_matching_loss,
    log_ratio,
    mean,
    mean_over_images,
    root,
    standardize,
    trim_mask,
)

Map = Float[Tensor, "B _ _ _"]
"""Features of a batch: channels, height and width are whatever the network gives."""


class DivergedError(BadInput):
    """A discriminator no longer tells anything: its scores are no numbers, or explode."""


def taught_silog_loss(
    predicted: Depths,
    taught: Depths,
    valid: Valid,
    confidence: Confidence | None = None,
    *,
    trim: float = 0.1,
    lam: float = 0.85,
    alpha: float = 10.0,
) -> Loss:
    """`silog_loss` (Eigen et al. 2014, eq. 4) against the taught depth, less the worst pixels; both sides metric.

    `trim` is the share of an image's pixels, those with the largest |log d̂ − log d|, that are left out.
    """
    weight = _weight(valid, confidence)
    g = log_ratio(predicted, taught, weight > 0)
    weight = _trimmed(weight, g.abs(), trim)
    return mean_over_images(alpha * root(mean(g.square(), weight) - lam * mean(g, weight).square()), weight > 0)


def taught_l1_loss(
    predicted: Depths, taught: Depths, valid: Valid, confidence: Confidence | None = None, *, trim: float = 0.1
) -> Loss:
    """Mean |log d̂ − log d| over the pixels that fit best; both sides metric."""
    weight = _weight(valid, confidence)
    return _trimmed_mean(log_ratio(predicted, taught, weight > 0).abs(), weight, trim)


def taught_ssi_loss(
    predicted_inverse: Depths,
    taught_inverse: Depths,
    valid: Valid,
    confidence: Confidence | None = None,
    *,
    trim: float = 0.1,
) -> Loss:
    """Mean |p* − t*| of `standardize` sides over the pixels that fit best; both sides inverse depth.

    Ranftl et al. 2020, eq. 5–8, with the share of pixels that Yang et al. 2024 (Depth Anything V2) leave out. Unlike
    there, a mean over what is kept, so that confidence changes which pixels count and not how much the image does.
    """
    weight = _weight(valid, confidence)
    residual = (standardize(predicted_inverse, weight > 0) - standardize(taught_inverse, weight > 0)).abs()
    return _trimmed_mean(residual, weight, trim)


def taught_gradient_loss(
    predicted_inverse: Depths,
    taught_inverse: Depths,
    valid: Valid,
    confidence: Confidence | None = None,
    *,
    scales: int = 4,
) -> Loss:
    """Gradient matching of `standardize` sides, Ranftl et al. 2020, eq. 11; both sides inverse depth."""
    weight = _weight(valid, confidence)
    student, teacher = standardize(predicted_inverse, weight > 0), standardize(taught_inverse, weight > 0)
    return gradient_matching_loss(student, teacher, weight > 0, weight, scales=scales)


def soft_bins_loss(
    predicted: Depths,
    taught: Depths,
    valid: Valid,
    confidence: Confidence | None = None,
    *,
    bins: int = 32,
    near: float = 0.1,
    far: float = 100.0,
    temperature: float = 1.0,
) -> Loss:
    """T² KL(teacher ‖ student) of soft bins of log depth between `near` and `far`; both sides metres.

    Hinton et al. 2015, section 2, where the logits of depth d are −|log d − c_k| / Δ for bins Δ apart. Logits that are
    squared instead would make the divergence the squared log error and nothing new; these make it quadratic within T
    bins and linear beyond, so that a teacher's gross errors pull less. T² keeps the first part alike for every T.
    All depths beyond `near` or `far` are one to it.
    """
    weight = _weight(valid, confidence)
    centres = torch.linspace(math.log(near), math.log(far), bins, device=predicted.device)[:, None, None]
    softness = temperature * math.log(far / near) / (bins - 1)
    student, teacher = (
        F.log_softmax(-(torch.where(weight > 0, depth, 1.0).log() - centres).abs() / softness, dim=1)
        for depth in (predicted, taught)
    )
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1, keepdim=True)
    return mean_over_images(temperature**2 * mean(divergence, weight), weight > 0)


def pairwise_similarity_loss(
    student_map: Map, teacher_map: Map, confidence: Confidence | None = None, *, pool: int = 2
) -> Loss:
    """Mean (a_ij − b_ij)² of the cosines between the features at any two nodes i, j of student and of teacher.

    Liu et al. 2019 (Structured knowledge distillation), "pair-wise distillation"; Liu et al. 2020 pool the maps to
    nodes as here. A node is `pool` × `pool` places of the smaller map; channels may differ. A pair weighs the product
    of its nodes' confidences. Memory grows with the square of the number of nodes.
    """
    height, width = _smaller(student_map, teacher_map)
    grid = math.ceil(height / pool), math.ceil(width / pool)
    ours, theirs = (F.normalize(_pooled(each, grid).flatten(2), dim=1) for each in (student_map, teacher_map.detach()))
    difference = (ours.mT @ ours - theirs.mT @ theirs).square()
    nodes = torch.ones_like(ours[:, :1]) if confidence is None else _pooled(confidence, grid).flatten(2)
    weight = (nodes.mT @ nodes)[:, None]
    return mean_over_images(mean(difference[:, None], weight), weight > 0)


class Projections(nn.Module):
    """A learned 1 × 1 convolution per level, from the student's channels to the teacher's."""

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int]) -> None:
        super().__init__()
        if len(student_channels) != len(teacher_channels):
            raise BadInput(
                f"The student gives {len(student_channels)} feature maps and the teacher {len(teacher_channels)}: "
                "features can only be taught level by level. Choose as many of each."
            )
        pairs = zip(student_channels, teacher_channels, strict=True)
        self.levels = nn.ModuleList(nn.Conv2d(ours, theirs, 1) for ours, theirs in pairs)

    def forward(self, maps: Sequence[Map]) -> tuple[Map, ...]:
        return tuple(level(each) for level, each in zip(self.levels, maps, strict=True))


def feature_loss(
    student_maps: Sequence[Map],
    teacher_maps: Sequence[Map],
    projections: Projections,
    confidence: Confidence | None = None,
) -> Loss:
    """Mean over levels and places of 1 − cosine between the student's projected features and the teacher's.

    Romero et al. 2015 (FitNets), eq. 3, ½‖r(s) − t‖², with both vectors of length 1: levels and networks differ by
    orders of magnitude in scale, which this takes out. Maps of two sizes meet at the smaller one.
    """
    losses = []
    for ours, theirs in zip(projections(student_maps), teacher_maps, strict=True):
        grid = _smaller(ours, theirs)
        distance = 1 - F.cosine_similarity(_pooled(ours, grid), _pooled(theirs.detach(), grid), dim=1)[:, None]
        weight = torch.ones_like(distance) if confidence is None else _pooled(confidence, grid)
        losses.append(mean_over_images(mean(distance, weight), weight > 0))
    return torch.stack(losses).mean()


class Discriminator(nn.Module):
    """Scores how much a depth map looks like the teacher's of that image, at an eighth of the resolution.

    Spectral norms (Miyato et al. 2018) bound how fast a score may change, which a Wasserstein distance asks for.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 4
        for wider in (width, 2 * width, 4 * width):
            layers += [spectral_norm(nn.Conv2d(channels, wider, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
            channels = wider
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(channels, 1, 3, padding=1)))

    def forward(self, image: Float[Tensor, "B 3 H W"], log_depth: Depths) -> Float[Tensor, "B 1 h w"]:
        return self.layers(torch.cat([2 * image - 1, log_depth], dim=1))


def holistic_loss(
    discriminator: Discriminator,
    image: Float[Tensor, "B 3 H W"],
    predicted: Depths,
    taught: Depths,
    valid: Valid,
    confidence: Confidence | None = None,
    *,
    limit: float = 1e3,
) -> Loss:
    """Mean score of the student's depth less that of the teacher's, as the discriminator sees them; both sides metric.

    Liu et al. 2019, "holistic distillation": a Wasserstein distance, which the discriminator widens by minimising this
    while the student narrows it, its gradient being reversed (Ganin & Lempitsky 2015), so that one optimiser serves
    both. The value is minus the gap between them, and 0 where they cannot be told apart. Log depths fade to 0 on both
    sides with the confidence and in holes.

    Raises:
        Diverged: the gap is no number, or beyond `limit`: far more than spectral norms allow of logarithms of metres.
    """
    weight = _weight(valid, confidence)
    student, teacher = (weight * torch.where(weight > 0, depth, 1.0).log() for depth in (predicted, taught))
    seen = torch.cat([_reversed(student), teacher])
    # One pass for both: each pass in training moves the estimates of the spectral norms.
    scores = discriminator(torch.cat([image, image]), seen).mean((1, 2, 3), keepdim=True)
    of_student, of_teacher = scores.chunk(2)
    loss = mean_over_images(of_student - of_teacher, weight > 0)
    # Depth that itself is no number is not the discriminator's doing: the training says so.
    if not loss.abs() <= limit and seen.isfinite().all():
        raise DivergedError(
            f"The discriminator of the holistic loss diverged: its scores of student and teacher are {-loss:.3g} "
            f"apart, and a sound one keeps within {limit:g}. Lower the learning rate, or leave the term 'holistic' out."
        )
    return loss


def confidence_from_views(
    views: Float[Tensor, "V B 1 H W"], kind: DepthKind, *, tolerance: float = 0.1
) -> Float[Tensor, "B 1 H W"]:
    """How well a teacher's answers for several views of an image agree: 1 / (1 + (σ / tolerance)²), pixel by pixel.

    The views (mirrored, cropped) are mapped back to the image's frame, NaN where one does not cover a pixel, and all
    overlap the first. σ is the standard deviation over the covering views: of log depth, where `kind` is scale-free
    less each view's median log ratio to the first; and of inverse depth where it is relative, in mean deviations of the
    first view, to whose median and mean deviation the others are moved.

    A pixel that one view covers gets the image's mean, one that none covers gets 0; a single view is believed (1).
    """
    answers = _comparable(views, kind)
    covering = answers.isfinite().sum(dim=0)
    variance = (answers - answers.nanmean(dim=0)).square().nanmean(dim=0)
    compared = covering > 1
    agreement = torch.where(compared, 1 / (1 + variance / tolerance**2), 0.0)
    usual = torch.where(compared.flatten(1).any(1)[:, None, None, None], mean(agreement, compared), 1.0)
    return torch.where(compared, agreement, usual).where(covering > 0, 0.0)


class ComparedSpace(StrEnum):
    """What a loss takes from student and teacher."""

    DEPTH = "metric depth"
    INVERSE = "inverse depth up to scale and shift"
    FEATURES = "features"


@dataclass(frozen=True)
class DistillationTerm:
    """A loss against a teacher, what it compares, and the kinds of teacher that can give that."""

    function: Callable[..., Tensor]
    compares: ComparedSpace
    measures: frozenset[DepthKind]


_METRIC, _ANY = frozenset({DepthKind.METRIC}), frozenset(DepthKind)

DISTILLATION_TERMS: Mapping[str, DistillationTerm] = MappingProxyType(
    {
        "silog": DistillationTerm(taught_silog_loss, ComparedSpace.DEPTH, _METRIC),
        "l1": DistillationTerm(taught_l1_loss, ComparedSpace.DEPTH, _METRIC),
        "bins": DistillationTerm(soft_bins_loss, ComparedSpace.DEPTH, _METRIC),
        "holistic": DistillationTerm(holistic_loss, ComparedSpace.DEPTH, _METRIC),
        "ssi": DistillationTerm(taught_ssi_loss, ComparedSpace.INVERSE, _ANY),
        "ssi_gradient": DistillationTerm(taught_gradient_loss, ComparedSpace.INVERSE, _ANY),
        "pairwise": DistillationTerm(pairwise_similarity_loss, ComparedSpace.FEATURES, _ANY),
        "features": DistillationTerm(feature_loss, ComparedSpace.FEATURES, _ANY),
    }
)
"""Teaching losses by name. What compares inverse depth takes a teacher of depth too, once its depth is inverted."""


def _weight(valid: Valid, confidence: Confidence | None) -> Confidence:
    """What each pixel counts."""
    return valid.float() if confidence is None else torch.where(valid, confidence, 0.0)


def _trimmed_mean(residual: Depths, weight: Confidence, trim: float) -> Loss:
    """The mean residual over the pixels that fit best, then over the images."""
    weight = _trimmed(weight, residual, trim)
    return mean_over_images(mean(residual, weight), weight > 0)


def _trimmed(weight: Confidence, residual: Depths, trim: float) -> Confidence:
    """What each pixel counts once the share `trim` of an image's, those with the largest residuals, counts nothing."""
    return weight * trim_mask(residual, weight > 0, trim)


def _smaller(ours: Map, theirs: Map) -> tuple[int, int]:
    return min(ours.shape[-2], theirs.shape[-2]), min(ours.shape[-1], theirs.shape[-1])


def _pooled(features: Map, grid: tuple[int, int]) -> Map:
    return F.adaptive_avg_pool2d(features, grid)


def _reversed(values: Depths) -> Depths:
    """The same values, whose gradient arrives with its sign turned."""
    return 2 * values.detach() - values


def _comparable(views: Float[Tensor, "V B 1 H W"], kind: DepthKind) -> Float[Tensor, "V B 1 H W"]:
    """The views in terms in which they should be equal; NaN where a view says nothing."""
    if kind is not DepthKind.RELATIVE:
        views = torch.where(views > 0, views, torch.nan).log()
    views = torch.where(views.isfinite(), views, torch.nan)
    if kind is DepthKind.METRIC:
        return views
    common = torch.where(views[:1].isfinite(), views, torch.nan)
    first = torch.where(common.isfinite(), views[:1], torch.nan)
    if kind is DepthKind.SCALE_FREE:
        return views - _median(common - first)
    moved = (views - _median(common)) / _deviation(common) * _deviation(first) + _median(first)
    return moved / _deviation(views[:1])


def _median(views: Float[Tensor, "V B 1 H W"]) -> Float[Tensor, "V B 1 1 1"]:
    return views.flatten(2).nanmedian(dim=2).values[:, :, None, None, None]


def _deviation(views: Float[Tensor, "V B 1 H W"]) -> Float[Tensor, "V B 1 1 1"]:
    """The mean distance from the median; 1 for a view of one depth."""
    deviation = (views - _median(views)).abs().nanmean(dim=(2, 3, 4), keepdim=True)
    return torch.where(deviation > 0, deviation, 1.0)
