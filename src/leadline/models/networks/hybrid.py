"""hybrid: encoder, transformer over its last map, and the fusion decoder over both; the paper's network."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from leadline.core.arrays import Side
from leadline.core.errors import BadInput
from leadline.models.decoders import FusionModel
from leadline.models.networks.presets import NetworkConfig, build_network, resolve_defaults


@dataclass(frozen=True)
class HybridConfig(NetworkConfig):
    """What the paper's network is made of."""

    dim: int | None = None
    """Length of a token."""
    blocks: int | None = None
    """Of the transformer."""
    heads: int | None = None
    """Of its attention."""
    patch: int = 1
    """p; each p × p patch of the last map (at 1/32) is one token, so sides divide by 32 p, the transformer sees 1/p² of
    the tokens, and its map comes back at 1/(32 p). `input_size` is also the grid that the position embedding is
    learnt on."""


def hybrid(config: HybridConfig) -> FusionModel:
    """Build the paper's network: the encoder's last map passes a transformer and is fused with the finer maps."""
    full = resolve_defaults(config)
    assert full.dim is not None
    assert full.blocks is not None
    assert full.heads is not None
    transformer = partial(Transformer, dim=full.dim, blocks=full.blocks, heads=full.heads, patch=full.patch)
    return build_network(config, patch=full.patch, transformer=transformer, dim=full.dim)


class Transformer(nn.Module):
    """ViT blocks (Dosovitskiy et al. 2021) over the patches of a feature map; no class token: the answer is a map."""

    def __init__(self, channels: int, grid: tuple[int, int], *, dim: int, blocks: int, heads: int, patch: int) -> None:
        super().__init__()
        if dim % heads:
            raise BadInput(f"dim {dim} must divide by heads {heads}.")
        self.embed = nn.Conv2d(channels, dim, patch, stride=patch)
        self.position = nn.Parameter(torch.empty(1, dim, *grid))
        self.blocks = nn.Sequential(*(Block(dim, heads, qkv_bias=True) for _ in range(blocks)))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, last: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D i j"]:
        tokens = self.embed(last)
        height, width = tokens.shape[-2:]
        tokens = tokens + self._position(height, width)
        sequence = self.norm(self.blocks(tokens.flatten(2).transpose(1, 2)))
        return sequence.transpose(1, 2).unflatten(2, (height, width))

    def _position(self, height: Side, width: Side) -> Float[Tensor, "1 D i j"]:
        """The position embedding, resampled where the input is not of the native size."""
        if self.position.shape[-2:] == (height, width):
            return self.position
        return F.interpolate(self.position, (height, width), mode="bicubic", align_corners=False)
