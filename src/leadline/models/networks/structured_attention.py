"""structured_attention: Xu et al. 2018, features of three levels fused by a CRF that infers its attention as well."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.models.base import DepthModel, Preprocessing, Provenance, SideOutputs
from leadline.models.encoders import REDUCTIONS, channels
from leadline.models.heads import output_activation
from leadline.models.layers.structured_attention import StructuredAttentionCrf
from leadline.models.networks.presets import EncoderConfig, defaults_of, encoder_of, fill_defaults

SIZES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"encoder": "resnet50", "width": 512, "input_size": (224, 288)},
    "tiny": {"encoder": "mobilenetv3_small_100", "width": 48, "input_size": (128, 160)},
}
SENDING = (8, 16, 32)
"""How much smaller than the image the maps are that send messages; the last one receives."""


@dataclass(frozen=True)
class StructuredAttentionConfig(EncoderConfig):
    """What the front end and the CRF are made of."""

    width: int | None = None
    """Channels of the features of each level; even, and at least 4."""
    iterations: int = 5
    """Of the mean-field inference."""
    structured: bool = True
    """Let gates depend on the gates around, as in the paper; no: as in the authors' code."""
    head: str = "log"
    """"log" or "softplus"."""
    min_depth: float = 0.1
    """Metres that the output never falls below."""
    max_depth: float = 100.0
    """Metres that the output never exceeds."""
    kind: str = DepthKind.METRIC
    """"metric", or "relative" for inverse depth."""


def structured_attention(config: StructuredAttentionConfig) -> "StructuredAttentionModel":
    """Build the encoder, the features of its three coarser levels at 1/8, the CRF that fuses them, and the head.

    Raises:
        BadInput: an unknown size, or numbers that no such network has.
    """
    full = fill_defaults(config, SIZES)
    assert full.width is not None
    if full.width < 4 or full.width % 4:
        raise BadInput(f"width {full.width} must divide by 4, because the head halves it twice.")
    if not 2 <= full.iterations <= 100:
        raise BadInput(
            f"iterations {full.iterations} must be from 2 to 100: gates follow those of the iteration before."
        )
    encoder, preprocessing, provenance = encoder_of(full, REDUCTIONS)
    return StructuredAttentionModel(
        DepthKind(full.kind),
        preprocessing,
        provenance,
        encoder=encoder,
        levels=nn.ModuleList(
            _to_an_eighth(deep, full.width, part)
            for deep, part in zip(channels(encoder), REDUCTIONS, strict=True)
            if part in SENDING
        ),
        sides=nn.ModuleList(_score(full.width) for _ in SENDING),
        crf=StructuredAttentionCrf(len(SENDING), full.width, full.iterations, is_structured=full.structured),
        decoder=nn.Sequential(
            nn.ConvTranspose2d(full.width, full.width // 2, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(full.width // 2, full.width // 4, 4, stride=2, padding=1),
            nn.ReLU(),
            _score(full.width // 4),
        ),
        answer=output_activation(full.head, full.kind, full.min_depth, full.max_depth),
        defaults=defaults_of(full, SIZES),
    )


class StructuredAttentionModel(DepthModel):
    """Encoder → three levels at 1/8, `width` channels each → CRF with attention → depth at 1/2, enlarged."""

    side_outputs = frozenset({"depths"})
    """The depth of each level alone, finest first: the authors' code weighs its losses by 0.8."""

    def __init__(
        self,
        kind: DepthKind,
        preprocessing: Preprocessing,
        provenance: Provenance,
        *,
        encoder: nn.Module,
        levels: nn.ModuleList,
        sides: nn.ModuleList,
        crf: StructuredAttentionCrf,
        decoder: nn.Sequential,
        answer: nn.Module,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(kind, preprocessing, provenance, defaults=defaults)
        self.encoder = encoder
        self.levels = levels
        self.sides = sides
        self.crf = crf
        self.decoder = decoder
        self.answer = answer

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        return self._fused(self._sent(image), image)

    def forward_with_sides(
        self, image: Float[Tensor, "B 3 H W"], intrinsics: Float[Tensor, "B 4"] | None = None
    ) -> tuple[Float[Tensor, "B 1 H W"], SideOutputs]:
        sent = self._sent(image)
        depth = self._fused(sent, image)
        levels = torch.cat([self._depth(side(each), image) for side, each in zip(self.sides, sent, strict=True)], 1)
        if (zoom := self.zoom(intrinsics)) is not None:
            depth, levels = depth * zoom, levels * zoom
        return depth, {"depths": levels}

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        return tuple(self.encoder(self.normalize(image)))

    def _sent(self, image: Tensor) -> list[Tensor]:
        coarser = self.features(image)[-len(SENDING) :]
        return [level(each) for level, each in zip(self.levels, coarser, strict=True)]

    def _fused(self, sent: list[Tensor], image: Tensor) -> Tensor:
        fused, _ = self.crf(sent, sent[-1])
        return self._depth(self.decoder(fused), image)

    def _depth(self, score: Tensor, image: Tensor) -> Tensor:
        return self.answer(F.interpolate(score, image.shape[-2:], mode="bilinear", align_corners=True))


def _to_an_eighth(deep: int, width: int, part: int) -> nn.Module:
    """From a map of `deep` channels at 1/`part` to `width` channels at 1/8; nothing to do where it is so already."""
    if part == SENDING[0]:
        return nn.Identity() if deep == width else nn.Conv2d(deep, width, 1)
    stride = part // SENDING[0]
    return nn.Sequential(nn.ConvTranspose2d(deep, width, 2 * stride, stride=stride, padding=stride // 2), nn.ReLU())


def _score(width: int) -> nn.Conv2d:
    score = nn.Conv2d(width, 1, 3, padding=1)
    # An untrained network then answers the typical depth whatever the photograph.
    nn.init.normal_(score.weight, std=0.01)
    nn.init.zeros_(score.get_parameter("bias"))
    return score
