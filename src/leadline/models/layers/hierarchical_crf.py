"""Hierarchical CRF: depth of superpixels in closed form, then of pixels by the autoregressive term (Li et al. 2015)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from leadline.models.layers.crf import PositiveWeight, has_neighbour, sum_of_windows, windows
from leadline.models.layers.superpixels import shared_borders, superpixel_means

_COLOUR = 0.1
"""Bandwidth of the colour difference of two superpixels, of RGB in [0, 1]."""
_SOLVING = 20
"""Iterations of conjugate gradients: the matrix has eigenvalues from 1 to 1 + 4 w₂."""


def superpixel_map(
    observed: Float[Tensor, "B S"], weights: Float[Tensor, "B S S"], strength: Float[Tensor, ""]
) -> Float[Tensor, "B S"]:
    """Minimise Σ_p (d_p − z_p)² + w₁ Σ_{p<q} v_pq (d_p − d_q)²: d = (I + w₁ (diag(V1) − V))⁻¹ z.

    Li et al. 2015, eq. 2–4 and 8: the data and the smoothness potential of superpixels, and their MAP in closed form.

    Args:
        observed: z, what the regression says of each superpixel.
        weights: v, symmetric with zeros on the diagonal.
        strength: w₁.
    """
    laplacian = torch.diag_embed(weights.sum(2)) - weights
    system = torch.eye(observed.shape[1], dtype=observed.dtype, device=observed.device) + strength * laplacian
    return torch.linalg.solve(system, observed[..., None])[..., 0]


def autoregressive_map(
    observed: Float[Tensor, "B 1 H W"],
    coefficients: Float[Tensor, "B N H W"],
    strength: Float[Tensor, ""],
    *,
    iterations: int = _SOLVING,
) -> Float[Tensor, "B 1 H W"]:
    """Minimise Σ_i (d_i − s_i)² + w₂ Σ_i (d_i − Σ_j α_ij d_j)²: d = (I + w₂ AᵀA)⁻¹ s with A = I − α.

    Li et al. 2015, eq. 5 and 8: the autoregressive potential. Solved by conjugate gradients, and differentiated through
    the solution instead of through the iterations: the gradient with respect to s is (I + w₂ AᵀA)⁻¹ of the incoming
    one. Coefficients get no gradient.

    Args:
        observed: s.
        coefficients: α of each pixel's window, as `autoregression` gives them.
        strength: w₂.
        iterations: of the conjugate gradients.
    """
    radius = round(coefficients.shape[1] ** 0.5) // 2

    def smooth(field: Tensor) -> Tensor:
        """AᵀA."""
        left = field - (coefficients[:, None] * windows(field, radius)).sum(2)
        return left - sum_of_windows(coefficients[:, None] * left[:, :, None], radius)

    def solve(target: Tensor) -> Tensor:
        with torch.no_grad():
            return _conjugate_gradients(lambda field: field + strength * smooth(field), target, iterations)

    solution = solve(observed)
    residual = observed - solution - strength * smooth(solution)
    if residual.requires_grad:
        residual.register_hook(lambda slope: None if slope is None else solve(slope))
    return solution + (residual - residual.detach())


def autoregression(grey: Float[Tensor, "B 1 H W"], radius: int = 1) -> Float[Tensor, "B N H W"]:
    """Return the coefficients by which the pixels around predict a pixel: α_ij ∝ exp(−(g_i − g_j)² / 2 σ_i²).

    They add up to 1. σ_i² is the variance of the grey values in the window (Li et al. 2015, eq. 6–7).

    Args:
        grey: the image, in [0, 1].
        radius: neighbours in each direction.
    """
    around, inside = windows(grey, radius)[:, 0], has_neighbour(grey, radius)
    count = inside.sum(1, keepdim=True) + 1
    mean = around.sum(1, keepdim=True) / count
    variance = ((grey - mean).square() + (inside * (around - mean).square()).sum(1, keepdim=True)) / count
    alike = inside * torch.exp(-(around - grey).square() / (2 * variance + 1e-4))
    return alike / alike.sum(1, keepdim=True)


class HierarchicalCrf(nn.Module):
    """Bring the depth of superpixels to pixels: superpixels that touch and are of one colour agree, and each pixel is
    what the pixels around predict it to be. Both strengths are learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.smoothness = PositiveWeight(1.0)
        self.autoregression = PositiveWeight(5.0)

    def forward(
        self, observed: Float[Tensor, "B S"], labels: Int[Tensor, "B h w"], small: Float[Tensor, "B 3 h w"]
    ) -> Float[Tensor, "B 1 h w"]:
        """Return the depth of pixels.

        Args:
            observed: what the regression says of each superpixel.
            labels: the number of each pixel's superpixel.
            small: the image, RGB in [0, 1], of the size of the labels.
        """
        of_superpixels = superpixel_map(
            observed, smoothness_weights(small, labels, observed.shape[1]), self.smoothness()
        )
        flat = of_superpixels.gather(1, labels.flatten(1))
        grey = small.mean(1, keepdim=True)
        return autoregressive_map(flat.view_as(grey), autoregression(grey), self.autoregression())


def smoothness_weights(
    small: Float[Tensor, "B 3 h w"], labels: Int[Tensor, "B h w"], count: int
) -> Float[Tensor, "B S S"]:
    """Return v_pq of superpixels that touch: exp(−|c_p − c_q|² / 2 · 0.1²) of their mean colours; 0 for others.

    Args:
        small: the image, RGB in [0, 1].
        labels: the number of each pixel's superpixel.
        count: how many superpixels there are.
    """
    colours, _ = superpixel_means(small, labels, count)
    apart = torch.cdist(colours.transpose(1, 2), colours.transpose(1, 2))
    return torch.exp(-apart.square() / (2 * _COLOUR**2)) * (shared_borders(labels, count) > 0)


def _conjugate_gradients(apply, target: Tensor, iterations: int) -> Tensor:
    """Solve apply(x) = target for a symmetric positive definite operator, each image of the batch by itself."""
    solution, residual = target.clone(), target - apply(target)
    direction, squared = residual, _inner(residual, residual)
    for _ in range(iterations):
        moved = apply(direction)
        # Where an image is solved already, nothing moves.
        length = squared / _inner(direction, moved).clamp_min(torch.finfo(target.dtype).tiny)
        solution, residual = solution + length * direction, residual - length * moved
        before, squared = squared, _inner(residual, residual)
        direction = residual + squared / before.clamp_min(torch.finfo(target.dtype).tiny) * direction
    return solution


def _inner(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dim=(1, 2, 3), keepdim=True)
