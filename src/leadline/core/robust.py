"""Robust fits: least absolute differences by iteratively reweighted least squares."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

ITERATIONS = 30
"""How often the weights are recomputed; the last ones are returned."""


def least_absolute_weights(
    residuals: Callable[..., Any], once: Float[Tensor, "*fits points"]
) -> Float[Tensor, "*fits points"]:
    """Return weights with which a least-squares fit minimizes the absolute differences: 1 / |difference|.

    Iteratively reweighted least squares (Holland and Welsch 1977, with the weights of L1), for several fits at once.

    Args:
        residuals: function of weights (*fits, points) that returns the residuals, of the same shape, of each weighted
            least-squares fit.
        once: the weights of the first iteration: 1 for a point that counts and 0 for one that does not.

    Returns:
        The weights of the last of `ITERATIONS` iterations; 0 for a point that does not count.
    """
    weight = once
    for _ in range(ITERATIONS):
        away = residuals(weight).abs() * once
        # The floor keeps a point that is met exactly from outweighing all others.
        floor = 1e-3 * away.mean(dim=-1, keepdim=True) + torch.finfo(torch.float32).tiny
        weight = once / away.maximum(floor)
    return weight
