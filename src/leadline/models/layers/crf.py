"""Continuous CRFs: quadratic energies over depth maps, minimised by mean-field iterations that can be trained through.

All energies here are E(d) = Σ_i p (d_i − s_i)² + Σ_{i<j} w_ij (d_i − d_j)² with w_ij = w_ji ≥ 0: observations s of
precision p, and pairs that should agree. P(d) ∝ exp(−E(d)) is Gaussian, and its mean is the minimum of E, where
(p + Σ_j w_ij) d_i = p s_i + Σ_j w_ij d_j. A mean-field iteration sets every d_i so, given the others (Ristovski et al.
2013; Xu et al. 2017, eq. 7–9), which converges, because the matrix of that linear system is diagonally dominant.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Pairs:
    """Hold the weights w_ij of the pairs of each pixel with the pixels in a window around it."""

    weights: Float[Tensor, "B N H W"]
    """Of the N pixels of each window, row by row; 0 for the pixel itself, and where there is no pixel."""
    radius: int
    """Neighbours in each direction: N = (2 · radius + 1)²."""
    dilation: int
    """Pixels from one neighbour to the next."""

    def messages(self, field: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return Σ_j w_ij d_j of each pixel i and channel."""
        return (self.weights[:, None] * windows(field, self.radius, self.dilation)).sum(2)

    def totals(self) -> Float[Tensor, "B 1 H W"]:
        """Return Σ_j w_ij of each pixel i."""
        return self.weights.sum(1, keepdim=True)


def windows(maps: Float[Tensor, "B C H W"], radius: int, dilation: int = 1) -> Float[Tensor, "B C N H W"]:
    """Return the values in the window around each pixel, row by row; 0 outside the map.

    Args:
        maps: any maps.
        radius: neighbours in each direction.
        dilation: pixels from one neighbour to the next.
    """
    columns = F.unfold(maps, 2 * radius + 1, dilation=dilation, padding=radius * dilation)
    return columns.view(*maps.shape[:2], -1, *maps.shape[-2:])


def sum_of_windows(parts: Float[Tensor, "B C N H W"], radius: int, dilation: int = 1) -> Float[Tensor, "B C H W"]:
    """Add to each pixel what the windows that it is in hold for it: the transpose of `windows`.

    Args:
        parts: for each pixel, a number for each pixel of its window.
        radius: neighbours in each direction.
        dilation: pixels from one neighbour to the next.
    """
    columns, size = parts.flatten(3).flatten(1, 2), (parts.shape[-2], parts.shape[-1])
    return F.fold(columns, size, 2 * radius + 1, dilation=dilation, padding=radius * dilation)


def has_neighbour(like: Float[Tensor, "B C H W"], radius: int, dilation: int = 1) -> Float[Tensor, "1 N H W"]:
    """Return 1 where a place in a pixel's window holds another pixel of the map, else 0.

    Args:
        like: maps of the size, dtype and device.
        radius: neighbours in each direction.
        dilation: pixels from one neighbour to the next.
    """
    inside = windows(torch.ones_like(like[:1, :1]), radius, dilation)[:, 0]
    is_other = torch.ones(inside.shape[1], dtype=like.dtype, device=like.device)
    is_other[inside.shape[1] // 2] = 0
    return inside * is_other[:, None, None]


def gaussian_pairs(
    features: Float[Tensor, "B F H W"], radius: int, dilation: int = 1, *, reach: float | None = None
) -> Pairs:
    """Weigh the pairs of a window by exp(−|f_i − f_j|² / 2 − |x_i − x_j|² / 2 reach²) / (N − 1).

    Fully connected CRFs have such kernels between all pixels (Krähenbühl & Koltun 2011); a window keeps the nearest.

    Args:
        features: f, divided by their bandwidths; such as colour.
        radius: neighbours in each direction.
        dilation: pixels from one neighbour to the next.
        reach: bandwidth of the positions x, in pixels; None: position does not matter.
    """
    distance = (windows(features, radius, dilation) - features[:, :, None]).square().sum(1)
    if reach is not None:
        steps = dilation * torch.arange(-radius, radius + 1, device=features.device, dtype=features.dtype)
        squares = (steps[:, None].square() + steps.square()).flatten()
        distance = distance + (squares / reach**2)[:, None, None]
    weights = has_neighbour(features, radius, dilation) * torch.exp(-distance / 2)
    return Pairs(weights / (weights.shape[1] - 1), radius, dilation)


def mean_field(
    observed: Float[Tensor, "B 1 H W"],
    pairs: Sequence[Pairs],
    iterations: int,
    *,
    precision: Tensor | float = 1.0,
    start: Float[Tensor, "B 1 H W"] | None = None,
) -> Float[Tensor, "B 1 H W"]:
    """Iterate the means of one CRF: d ← (p s + Σ_j w_ij d_j) / (p + Σ_j w_ij) (Xu et al. 2017, eq. 8–9).

    Args:
        observed: s.
        pairs: the pairwise weights; several sets add up.
        iterations: how many, each for all pixels at once.
        precision: p.
        start: the first d; None: s.
    """
    total = precision + sum((each.totals() for each in pairs), torch.zeros_like(observed))
    field = observed if start is None else start
    for _ in range(iterations):
        message = sum((each.messages(field) for each in pairs), precision * observed)
        field = message / total
    return field


def multi_scale_mean_field(
    observed: Float[Tensor, "B L H W"],
    pairs: Sequence[Pairs],
    iterations: int,
    *,
    coupling: Float[Tensor, "L L"],
    agreement: Float[Tensor, "L L"],
) -> Float[Tensor, "B L H W"]:
    """Iterate the means of one CRF over all scales: a variable for each scale l and pixel i (Xu et al. 2017, eq. 3–5).

    E(d) = Σ_il (d_i^l − s_i^l)² + Σ_lk Σ_{i<j} c_lk w_ij (d_i^l − d_j^k)² + Σ_{l<k} Σ_i a_lk (d_i^l − d_i^k)².

    Args:
        observed: s, of L scales on one grid.
        pairs: the pairwise weights w, which depend on the image and are those of all scales.
        iterations: how many, each for all variables at once.
        coupling: c, symmetric: how much a pixel of one scale and its neighbours of another should agree.
        agreement: a, symmetric, with zeros on its diagonal: how much the scales of one pixel should.
    """
    zeros = torch.zeros_like(observed[:, :1])
    weights = sum((each.totals() for each in pairs), zeros)
    total = 1 + weights * coupling.sum(1)[:, None, None] + agreement.sum(1)[:, None, None]
    field = observed
    for _ in range(iterations):
        message = sum((each.messages(field) for each in pairs), torch.zeros_like(observed))
        field = (observed + _mixed(coupling, message) + _mixed(agreement, field)) / total
    return field


def _mixed(weights: Float[Tensor, "L L"], field: Float[Tensor, "B L H W"]) -> Float[Tensor, "B L H W"]:
    """Σ_k weights_lk field_k; not by a matrix product, which mixed precision would round."""
    return (weights[:, :, None, None] * field[:, None]).sum(2)


class PositiveWeight(nn.Module):
    """Numbers that training keeps positive: softplus of the parameter."""

    def __init__(self, start: float, *shape: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.full(shape, start).expm1().log())

    def forward(self) -> Tensor:
        return F.softplus(self.raw)


class ImageKernels(nn.Module):
    """The two kernels of Xu et al. 2017 with learnt weights: smoothness (near pixels agree) and appearance (pixels of
    one colour agree, farther away, too); an image → their `Pairs` on a coarser grid.

    Positions are divided by θ_α = 30 pixels and colours by θ_β = 15 of 255 for the one, positions by θ_γ = 3 pixels for
    the other, and the weights start from 5 and 3, as in the authors' code.
    """

    def __init__(self, stride: int, radius: int, dilation: int, *, depth_bandwidth: float | None = None) -> None:
        """`stride` pixels of the image are one of the grid; `dilation` is the appearance kernel's.

        `depth_bandwidth`: of an estimate of depth, as a third feature of the appearance kernel.
        """
        super().__init__()
        self.stride, self.radius, self.dilation = stride, radius, dilation
        self.depth_bandwidth = depth_bandwidth
        self.smoothness = PositiveWeight(3.0)
        self.appearance = PositiveWeight(5.0)

    def forward(
        self, small: Float[Tensor, "B 3 h w"], estimate: Float[Tensor, "B 1 h w"] | None = None
    ) -> tuple[Pairs, Pairs]:
        """Return the pairs of an image (RGB in [0, 1], already on the grid), and of an estimate where one is known."""
        features = small * (255 / 15)
        if estimate is not None and self.depth_bandwidth is not None:
            features = torch.cat([features, estimate / self.depth_bandwidth], 1)
        near = gaussian_pairs(torch.zeros_like(small[:, :1]), self.radius, reach=3 / self.stride)
        alike = gaussian_pairs(features, self.radius, self.dilation, reach=30 / self.stride)
        return (
            Pairs(self.smoothness() * near.weights, near.radius, near.dilation),
            Pairs(self.appearance() * alike.weights, alike.radius, alike.dilation),
        )
