"""hybrid: encoder, transformer over its last map, and the fusion decoder over both; the paper's network."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.models.decoders import FusionModel
from leadline.models.networks.presets import own_network, resolve_defaults


def hybrid(
    *,
    size: str = "paper",
    encoder: str | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    weights: StrPath | None = None,
    pretrained: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dim: int | None = None,
    blocks: int | None = None,
    heads: int | None = None,
    patch: int = 1,
    decoder: str | None = None,
    width: int | None = None,
    head: str = "log",
    min_depth: float = 0.1,
    max_depth: float = 100.0,
    kind: str = DepthKind.METRIC,
    input_size: Sequence[int] | None = None,
    camera: str = "canonical",
) -> FusionModel:
    """The encoder's last map becomes tokens, passes a transformer, and is fused with the encoder's finer maps.

    Args:
        size: "paper" or "tiny"; says what is not given of `encoder`, `dim`, `blocks`, `heads`, `decoder`, `width`
            and `input_size`.
        encoder: any timm network with maps at 1/4 … 1/32; plain ViTs, which need no second transformer, go under `cnn`.
        encoder_options: timm's own keyword arguments.
        weights: safetensors file of the encoder in timm's layout.
        pretrained: let timm download weights for the encoder.
        mean, std: of RGB in [0, 1], where `weights` want others than timm's.
        dim: length of a token.
        blocks: of the transformer.
        heads: of its attention.
        patch: p; each p × p patch of the last map (at 1/32) is one token, so sides divide by 32 p, the transformer
            sees 1/p² of the tokens, and its map comes back at 1/(32 p).
        decoder: "full" (256 channels, as MiDaS and DPT) or "light".
        width: channels of the decoder's finest level; each coarser one of a light decoder has twice as many.
        head: "log" or "softplus".
        min_depth, max_depth: metres that the answer never leaves.
        kind: "metric", or "relative" for inverse depth.
        input_size: native height and width; also the grid that the position embedding is learnt on.
        camera: "canonical" (metres follow the photograph's focal length, where it is known) or "any".
    """
    chosen = resolve_defaults(
        size,
        encoder=encoder,
        decoder=decoder,
        width=width,
        input_size=input_size,
        dim=dim,
        blocks=blocks,
        heads=heads,
    )
    inside = {name: chosen[name] for name in ("dim", "blocks", "heads")}
    model = own_network(
        encoder_options=encoder_options,
        weights=weights,
        pretrained=pretrained,
        mean=mean,
        std=std,
        head=head,
        min_depth=min_depth,
        max_depth=max_depth,
        kind=kind,
        camera=camera,
        patch=patch,
        transformer=partial(Transformer, **inside, patch=patch),
        dim=inside["dim"],
        input_size=input_size,
        default_size=chosen["input_size"],
        **{name: chosen[name] for name in ("encoder", "decoder", "width")},
    )
    model.settled = {**chosen, "input_size": model.preprocessing.size}
    return model


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

    def _position(self, height: int, width: int) -> Float[Tensor, "1 D i j"]:
        """The position embedding, resampled where the input is not of the native size."""
        if self.position.shape[-2:] == (height, width):
            return self.position
        return F.interpolate(self.position, (height, width), mode="bicubic", align_corners=False)
