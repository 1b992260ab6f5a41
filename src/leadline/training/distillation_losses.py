"""Distillation losses: how far a student is from a teacher's depth and features, and how reliable that depth is.

As in `losses`, a loss is a mean over the pixels of each image that count, then over the images that have any. The
teacher's confidence, from 0 to 1, is the weight of a pixel; a pixel that is not valid, or of weight 0, is never read.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import MappingProxyType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.training.losses import (
    Depths,
    Loss,
    Valid,
    Weight,
    log_l1_of_errors,
    log_ratio,
    mean,
    mean_over_images,
    pixel_weight,
    scale_and_shift_invariant_loss,
    silog_of_errors,
    standardized_gradient_loss,
    trimmed,
)

Map = Float[Tensor, "B _ _ _"]
"""Features of a batch: channels, height and width are whatever the network gives."""


class DivergedError(BadInput):
    """Report that a discriminator diverged: its scores are not finite, or far too large."""


def soft_bins_loss(
    predicted: Depths,
    target: Depths,
    valid: Valid,
    weight: Weight | None = None,
    *,
    bins: int = 32,
    near: float = 0.1,
    far: float = 100.0,
    temperature: float = 1.0,
) -> Loss:
    """Compute T² KL(teacher ‖ student) of soft bins of log depth.

    Hinton et al. 2015, section 2, where the logits of depth d are −|log d − c_k| / Δ for bins Δ apart. Squared logits
    would make the divergence the squared log error and nothing new; these make it quadratic within T bins and linear
    beyond, so that a teacher's gross errors pull less. T² keeps the quadratic part the same for every T.

    Args:
        predicted: the student's depth, B × 1 × H × W, in metres.
        target: the teacher's, in metres.
        valid: which pixels count.
        weight: how much each counts, from 0 to 1.
        bins: number of bins.
        near: centre of the nearest bin, in metres; all nearer depths are alike.
        far: centre of the farthest bin, in metres; all farther depths are alike.
        temperature: T, in bins.
    """
    weight = pixel_weight(valid, weight)
    centres = torch.linspace(math.log(near), math.log(far), bins, device=predicted.device)[:, None, None]
    softness = temperature * math.log(far / near) / (bins - 1)
    student, teacher = (
        F.log_softmax(-(torch.where(weight > 0, depth, 1.0).log() - centres).abs() / softness, dim=1)
        for depth in (predicted, target)
    )
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=1, keepdim=True)
    return mean_over_images(temperature**2 * mean(divergence, weight), weight)


def pairwise_similarity_loss(
    student_map: Map, teacher_map: Map, weight: Weight | None = None, *, pool: int = 2
) -> Loss:
    """Compute the mean (a_ij − b_ij)² of the cosines between the features at nodes i, j of student and of teacher.

    Liu et al. 2019 (Structured knowledge distillation), "pair-wise distillation"; Liu et al. 2020 pool the maps to
    nodes as here. Memory grows with the square of the number of nodes.

    Args:
        student_map: features, B × C × h × w.
        teacher_map: features, of any channels and size.
        weight: of each pixel, B × 1 × H × W, from 0 to 1; a pair counts as the product of its nodes' weights.
        pool: a node is `pool` × `pool` places of the smaller map.
    """
    height, width = _smaller(student_map, teacher_map)
    grid = math.ceil(height / pool), math.ceil(width / pool)
    ours, theirs = (F.normalize(_pooled(each, grid).flatten(2), dim=1) for each in (student_map, teacher_map.detach()))
    difference = (ours.mT @ ours - theirs.mT @ theirs).square()
    nodes = torch.ones_like(ours[:, :1]) if weight is None else _pooled(weight, grid).flatten(2)
    pairs = (nodes.mT @ nodes)[:, None]
    return mean_over_images(mean(difference[:, None], pairs), pairs)


class Projections(nn.Module):
    """Map the student's channels to the teacher's by a learned 1 × 1 convolution per level."""

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int]) -> None:
        super().__init__()
        if len(student_channels) != len(teacher_channels):
            raise BadInput(
                f"The student gives {len(student_channels)} feature maps and the teacher {len(teacher_channels)}: "
                "features are compared level by level. Choose as many of each."
            )
        pairs = zip(student_channels, teacher_channels, strict=True)
        self.levels = nn.ModuleList(nn.Conv2d(ours, theirs, 1) for ours, theirs in pairs)

    def forward(self, maps: Sequence[Map]) -> tuple[Map, ...]:
        return tuple(level(each) for level, each in zip(self.levels, maps, strict=True))


def feature_loss(
    student_maps: Sequence[Map],
    teacher_maps: Sequence[Map],
    projections: Projections,
    weight: Weight | None = None,
) -> Loss:
    """Compute the mean, over levels and places, of 1 − cosine between projected student features and the teacher's.

    Romero et al. 2015 (FitNets), eq. 3, ½‖r(s) − t‖², with both vectors of length 1: levels and networks differ by
    orders of magnitude in scale, which this takes out.

    Args:
        student_maps: features of each level, B × C × h × w.
        teacher_maps: as many; maps of two sizes are pooled to the smaller one.
        projections: from the student's channels to the teacher's.
        weight: of each pixel, B × 1 × H × W, from 0 to 1.
    """
    losses = []
    for ours, theirs in zip(projections(student_maps), teacher_maps, strict=True):
        grid = _smaller(ours, theirs)
        distance = 1 - F.cosine_similarity(_pooled(ours, grid), _pooled(theirs.detach(), grid), dim=1)[:, None]
        places = torch.ones_like(distance) if weight is None else _pooled(weight, grid)
        losses.append(mean_over_images(mean(distance, places), places))
    return torch.stack(losses).mean()


class Discriminator(nn.Module):
    """Score how much a depth map looks like the teacher's of that image, at an eighth of the resolution.

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
    target: Depths,
    valid: Valid,
    weight: Weight | None = None,
    *,
    limit: float = 1e3,
) -> Loss:
    """Compute the mean score of the student's depth less that of the teacher's.

    Liu et al. 2019, "holistic distillation": a Wasserstein distance, which the discriminator widens by minimising this
    while the student narrows it, its gradient being reversed (Ganin & Lempitsky 2015), so that one optimiser serves
    both. The value is minus the gap between them, and 0 where they cannot be told apart. Log depths fade to 0 on both
    sides with the weight and in holes.

    Args:
        discriminator: what scores.
        image: B × 3 × H × W, from 0 to 1.
        predicted: the student's depth, B × 1 × H × W, in metres.
        target: the teacher's, in metres.
        valid: which pixels count.
        weight: how much each counts, from 0 to 1.
        limit: the largest gap that counts as sound.

    Raises:
        DivergedError: the gap is not finite, or beyond `limit`: far more than spectral norms allow of logarithms of
            metres.
    """
    weight = pixel_weight(valid, weight)
    student, teacher = (weight * torch.where(weight > 0, depth, 1.0).log() for depth in (predicted, target))
    seen = torch.cat([_reversed(student), teacher])
    # One pass for both: each pass in training moves the estimates of the spectral norms.
    scores = discriminator(torch.cat([image, image]), seen).mean((1, 2, 3), keepdim=True)
    of_student, of_teacher = scores.chunk(2)
    loss = mean_over_images(of_student - of_teacher, weight)
    # Depth that is not finite itself is not the discriminator's fault: the training reports that.
    if not loss.abs() <= limit and seen.isfinite().all():
        raise DivergedError(
            f"The discriminator of the holistic loss diverged: its scores of student and teacher are {-loss:.3g} "
            f"apart, and a sound one keeps within {limit:g}. Lower the learning rate, or leave the term 'holistic' out."
        )
    return loss


def confidence_from_views(
    views: Float[Tensor, "V B 1 H W"], kind: DepthKind, *, tolerance: float = 0.1
) -> Float[Tensor, "B 1 H W"]:
    """Compute how well a teacher's predictions for several views of an image agree: 1 / (1 + (σ / tolerance)²).

    σ is the standard deviation of a pixel over the views that cover it: of log depth, where `kind` is scale-free less
    each view's median log ratio to the first; and of inverse depth where it is relative, in mean deviations of the
    first view, to whose median and mean deviation the others are moved.

    Args:
        views: V × B × 1 × H × W: predictions for the image, its mirror image, a crop …, mapped back to the image's
            frame; NaN where one does not cover a pixel. All overlap the first.
        kind: of depth.
        tolerance: the σ at which confidence is a half.

    Returns:
        B × 1 × H × W, from 0 to 1. A pixel that one view covers gets the image's mean, one that none covers gets 0; a
        single view has confidence 1.
    """
    comparable = _comparable(views, kind)
    covering = comparable.isfinite().sum(dim=0)
    variance = (comparable - comparable.nanmean(dim=0)).square().nanmean(dim=0)
    compared = covering > 1
    agreement = torch.where(compared, 1 / (1 + variance / tolerance**2), 0.0)
    usual = torch.where(compared.flatten(1).any(1)[:, None, None, None], mean(agreement, compared), 1.0)
    return torch.where(compared, agreement, usual).where(covering > 0, 0.0)


class ComparedSpace(StrEnum):
    """Name what a loss compares of student and teacher."""

    DEPTH = "metric depth"
    INVERSE = "inverse depth up to scale and shift"
    FEATURES = "features"


class LogErrors:
    """Hold the log errors of a batch and how much each pixel counts, which several terms of one step share."""

    def __init__(self, student: Depths, teacher: Depths, valid: Valid, weight: Weight | None = None) -> None:
        """Compare two depths.

        Args:
            student: depth d̂, B × 1 × H × W, positive where valid.
            teacher: depth d in the same unit.
            valid: which pixels count.
            weight: how much each counts, from 0 to 1.
        """
        weight = pixel_weight(valid, weight)
        self.values = log_ratio(student, teacher, weight > 0)
        """log d̂ − log d; 0 where nothing counts."""
        self._weights = {0.0: weight}

    def weight(self, trim: float) -> Weight:
        """Return how much each pixel counts, without the fraction `trim` of each image's of the largest |error|."""
        if trim not in self._weights:
            self._weights[trim] = trimmed(self._weights[0.0], self.values.detach().abs(), trim)
        return self._weights[trim]


@dataclass(frozen=True)
class DistillationTerm:
    """Describe a loss against a teacher: what it compares, and which kinds of teacher have that."""

    function: Callable[..., Tensor]
    """A function of features, or of (student, teacher, valid, weight), or of (log errors, weight): see `trim`."""
    compares: ComparedSpace
    measures: frozenset[DepthKind]
    trim: float | None = None
    """For a function of log errors: the fraction of an image's pixels, those of the largest, that is left out."""

    @property
    def is_of_errors(self) -> bool:
        """Whether the function takes log errors and their weight."""
        return self.trim is not None

    def of_errors(self, errors: LogErrors) -> Loss:
        """Compute the loss of log errors that terms share."""
        return self.function(errors.values, errors.weight(self.trim or 0.0))


_TRIM = 0.1
"""Fraction of the pixels that fit a teacher worst and are left out: Yang et al. 2024 (Depth Anything V2)."""
_METRIC, _ANY = frozenset({DepthKind.METRIC}), frozenset(DepthKind)

DISTILLATION_TERMS: Mapping[str, DistillationTerm] = MappingProxyType(
    {
        "silog": DistillationTerm(silog_of_errors, ComparedSpace.DEPTH, _METRIC, trim=_TRIM),
        "l1": DistillationTerm(log_l1_of_errors, ComparedSpace.DEPTH, _METRIC, trim=_TRIM),
        "silog_all": DistillationTerm(silog_of_errors, ComparedSpace.DEPTH, _METRIC, trim=0.0),
        "l1_all": DistillationTerm(log_l1_of_errors, ComparedSpace.DEPTH, _METRIC, trim=0.0),
        "bins": DistillationTerm(soft_bins_loss, ComparedSpace.DEPTH, _METRIC),
        "holistic": DistillationTerm(holistic_loss, ComparedSpace.DEPTH, _METRIC),
        "ssi": DistillationTerm(
            partial(scale_and_shift_invariant_loss, trim=_TRIM, averages_kept=True), ComparedSpace.INVERSE, _ANY
        ),
        "ssi_gradient": DistillationTerm(standardized_gradient_loss, ComparedSpace.INVERSE, _ANY),
        "pairwise": DistillationTerm(pairwise_similarity_loss, ComparedSpace.FEATURES, _ANY),
        "features": DistillationTerm(feature_loss, ComparedSpace.FEATURES, _ANY),
    }
)
"""Losses against a teacher by name. What compares inverse depth takes a teacher of depth too: its depth is inverted.
`silog_all` and `l1_all` keep the pixels that `silog` and `l1` trim."""


def _smaller(ours: Map, theirs: Map) -> tuple[int, int]:
    return min(ours.shape[-2], theirs.shape[-2]), min(ours.shape[-1], theirs.shape[-1])


def _pooled(features: Map, grid: tuple[int, int]) -> Map:
    return F.adaptive_avg_pool2d(features, grid)


def _reversed(values: Depths) -> Depths:
    """The same values, with a gradient of the opposite sign."""
    return 2 * values.detach() - values


def _comparable(views: Float[Tensor, "V B 1 H W"], kind: DepthKind) -> Float[Tensor, "V B 1 H W"]:
    """The views in a space in which they should be equal; NaN where a view does not cover a pixel."""
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
