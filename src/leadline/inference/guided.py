"""Guided restoring: bring depth back to its photograph's size with edges where the photograph has them."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

STEPS = 3
"""Of the mean shift."""
REACH = 2
"""Pixels of the halved map from one to its eight neighbours."""
COLOUR_SPREAD = 0.1
"""Standard deviation of colours that count as alike, in units of the image's [0, 1]."""
LOG_SPREAD = 0.1
"""The same of the logarithm of depth."""
REGULARISER = 1e-3
"""Variance of brightness, in units of [0, 1] squared, below which depth does not follow it."""


def restore_guided(
    depth: Float[Tensor, "B 1 h w"], seen: Float[Tensor, "B 3 h w"], photograph: Float[Tensor, "B 3 H W"]
) -> Float[Tensor, "B 1 H W"]:
    """Bring depth to a photograph's size, with its soft edges made sharp where brightness or colour changes.

    On halved maps the logarithm of depth first moves to the mean of those neighbours that are alike in depth and in
    colour, three times: the mean shift of Comaniciu and Meer (2002), with the photograph beside the map as in joint
    bilateral filters (Petschnigg et al. 2004). Then it is written as a line of brightness in windows of 3 × 3, whose
    two numbers are enlarged and meet the photograph's own brightness: the fast guided filter (He and Sun 2015). The
    range of each map stays.

    Args:
        depth: (B, 1, h, w), positive; both sides even.
        seen: (B, 3, h, w), the photographs as the network saw them.
        photograph: (B, 3, H, W), the photographs.

    Returns:
        (B, 1, H, W), in the unit of `depth`.
    """
    logs, colours = F.avg_pool2d(depth, 2).log(), F.avg_pool2d(seen, 2)
    nearest, farthest = logs.amin((2, 3), keepdim=True), logs.amax((2, 3), keepdim=True)
    of_channels = _to_neighbours(colours.flatten(0, 1)[:, None]).unflatten(0, (-1, 3))
    alike = of_channels.square().sum(1) / (-2 * COLOUR_SPREAD**2)
    for _ in range(STEPS):
        away = _to_neighbours(logs)
        weights = (alike - away.square() / (2 * LOG_SPREAD**2)).exp()
        logs = logs + (weights * away).sum(1, keepdim=True) / (1 + weights.sum(1, keepdim=True))
    grey = colours.mean(1, keepdim=True)
    mean_grey, mean_logs = _window_mean(grey), _window_mean(logs)
    covariance = _window_mean(grey * logs) - mean_grey * mean_logs
    variance = _window_mean(grey.square()) - mean_grey.square()
    slope = covariance / (variance + REGULARISER)
    slope, level = _window_mean(slope), _window_mean(mean_logs - slope * mean_grey)
    # In place: of a photograph of 25 megapixels each map takes 100 MB.
    restored = F.interpolate(slope, photograph.shape[-2:], mode="bilinear")
    restored *= photograph.mean(1, keepdim=True)
    restored += F.interpolate(level, photograph.shape[-2:], mode="bilinear")
    return restored.clamp_(nearest, farthest).exp_()


def neighbour_kernel() -> Float[Tensor, "8 1 3 3"]:
    """Return the weights that take the difference from a number to each of its eight neighbours."""
    kernel = torch.eye(9).view(9, 1, 3, 3)
    return kernel[[0, 1, 2, 3, 5, 6, 7, 8]] - kernel[4]


def _to_neighbours(maps: Float[Tensor, "N 1 h w"]) -> Float[Tensor, "N 8 h w"]:
    padded = F.pad(maps, (REACH, REACH, REACH, REACH), mode="replicate")
    return F.conv2d(padded, neighbour_kernel().to(maps), dilation=REACH)


def _window_mean(maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    return F.avg_pool2d(F.pad(maps, (1, 1, 1, 1), mode="replicate"), 3, 1)
