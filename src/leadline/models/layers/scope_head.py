"""Scope head: a score of how far an image is from those that a network learnt from, off its encoder's last map."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ScopeHead(nn.Module):
    """A logistic regression on the mean of each channel of the encoder's last map.

    Its numbers are fitted once the network is trained. They are buffers: no optimiser, adapter or quantiser changes
    them.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(channels))
        self.register_buffer("bias", torch.zeros(()))

    def forward(self, last: Float[Tensor, "B C h w"]) -> Float[Tensor, "B"]:
        """Return the score of each image, between 0 and 1."""
        return torch.sigmoid(last.float().mean((2, 3)) @ self.weight.float() + self.bias.float())
