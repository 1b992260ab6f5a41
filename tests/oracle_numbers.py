"""Numbers that a recorded answer of a public program was computed with: made of each tensor's name alone."""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor


def number(key: str, shape: Sequence[int]) -> Tensor:
    """Draw a tensor for its name, such that maps neither grow nor fade from layer to layer."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        return 0.5 + torch.rand(shape, generator=generator)
    drawn = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return drawn * (2 / drawn[0].numel()) ** 0.5
    return 0.5 + 0.1 * drawn if key.endswith("weight") else 0.1 * drawn
