"""Robust fits: least absolute differences by least squares that are reweighted."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

ITERATIONS = 30
"""Rounds of reweighting; the weights of the last one are what is returned."""


def least_absolute_weights(
    residuals: Callable[..., Any], once: Float[Tensor, "*fits points"]
) -> Float[Tensor, "*fits points"]:
    """Weights under which a least-squares fit has least absolute differences: 1 / |difference|, found in `ITERATIONS`.

    Args:
        residuals: function of weights (*fits, points): what the weighted least-squares fit of each row leaves over.
        once: the weights of the first round: 1 for a point that counts and 0 for one that does not.
    """
    weight = once
    for _ in range(ITERATIONS):
        away = residuals(weight).abs() * once
        # The floor keeps a point that is met exactly from outweighing all others.
        floor = 1e-3 * away.mean(dim=-1, keepdim=True) + torch.finfo(torch.float32).tiny
        weight = once / away.maximum(floor)
    return weight
