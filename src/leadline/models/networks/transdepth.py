"""transdepth: Yang et al. 2021, a transformer over a ResNet's last map, attention gates, and the decoder of BTS."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.models.base import DepthModel, Preprocessing, Provenance
from leadline.models.encoders import channels
from leadline.models.layers.attention_gate import MultiScaleGate
from leadline.models.layers.planar_decoder import PlanarDecoder
from leadline.models.networks.hybrid import Transformer
from leadline.models.networks.presets import EncoderConfig, defaults_of, encoder_of, fill_defaults

SIZES: Mapping[str, Mapping[str, Any]] = {
    "paper": {
        "encoder": "resnet50",
        "dim": 768,
        "blocks": 12,
        "heads": 12,
        "gate": 512,
        "width": 512,
        "input_size": (480, 640),
    },
    "tiny": {
        "encoder": "mobilenetv3_small_100",
        "dim": 96,
        "blocks": 3,
        "heads": 3,
        "gate": 24,
        "width": 64,
        "input_size": (128, 160),
    },
}
_R50: Mapping[str, Any] = {"layers": (3, 4, 9, 3)}
"""The ResNet-50 under ViT-B/16 has the last stage's blocks in the one before (Dosovitskiy et al. 2021, appendix B)."""
REDUCTIONS = (2, 4, 8, 16)
"""How much smaller than the image each map of the encoder is."""


@dataclass(frozen=True)
class TransDepthConfig(EncoderConfig):
    """What TransDepth is made of."""

    dim: int | None = None
    """Length of a token."""
    blocks: int | None = None
    """Of the transformer."""
    heads: int | None = None
    """Of its attention."""
    gate: int | None = None
    """Channels of the maps that send messages; the transformer's maps get 2 and 4 times as many."""
    rank: int = 3
    """Terms of the structured attention."""
    width: int | None = None
    """Channels of the decoder's coarsest level, halved at each finer one."""
    max_depth: float = 10.0
    """Metres that the output never exceeds."""


def transdepth(config: TransDepthConfig) -> "TransDepthModel":
    """Build TransDepth: ResNet, transformer over its map at 1/16, attention gates, and the decoder of BTS."""
    if config.encoder is None and config.encoder_options is None and config.size == "paper":
        config = replace(config, encoder_options=_R50)
    full = fill_defaults(config, SIZES)
    assert full.dim is not None
    assert full.blocks is not None
    assert full.heads is not None
    assert full.gate is not None
    assert full.width is not None
    encoder, preprocessing, provenance = encoder_of(full, REDUCTIONS)
    of_2, of_4, of_8, of_16 = channels(encoder)
    rows, columns = (side // REDUCTIONS[-1] for side in preprocessing.size)
    middle, deep = 2 * full.gate, 4 * full.gate
    return TransDepthModel(
        preprocessing,
        provenance,
        encoder=encoder,
        transformer=Transformer(of_16, (rows, columns), dim=full.dim, blocks=full.blocks, heads=full.heads, patch=1),
        widen=nn.ModuleList([_convolution(full.dim, middle, 1), _convolution(middle, deep, 2)]),
        gate=MultiScaleGate((of_8, middle, deep), full.gate, rank=full.rank),
        decoder=PlanarDecoder([of_2, of_4, of_8, middle, deep], full.width, full.max_depth),
        defaults={**defaults_of(full, SIZES), "encoder_options": full.encoder_options},
    )


class TransDepthModel(DepthModel):
    """Encoder → transformer → maps at 1/16 and 1/32 → attention gate over 1/8, 1/16, 1/32 → planar decoder; metres."""

    def __init__(
        self,
        preprocessing: Preprocessing,
        provenance: Provenance,
        *,
        encoder: nn.Module,
        transformer: Transformer,
        widen: nn.ModuleList,
        gate: MultiScaleGate,
        decoder: PlanarDecoder,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(DepthKind.METRIC, preprocessing, provenance, defaults=defaults)
        self.encoder = encoder
        self.transformer = transformer
        self.widen = widen
        self.gate = gate
        self.decoder = decoder

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        return self.decoder(self._maps(image))

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        # The decoder reads a map at 1/2, too, which other networks do not have.
        return tuple(self._maps(image)[1:])

    def _maps(self, image: Tensor) -> list[Tensor]:
        of_2, of_4, of_8, of_16 = self.encoder(self.normalize(image))
        middle = self.widen[0](self.transformer(of_16))
        deep = self.widen[1](middle)
        return [of_2, of_4, of_8, middle, self.gate(of_8, middle, deep)]


def _convolution(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )
