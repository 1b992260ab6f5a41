"""acan: Chen et al. 2019, attention-based context aggregation over a dilated ResNet, with ordinal depth."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.models.base import DepthModel, Preprocessing, Provenance, SideOutputs
from leadline.models.encoders import channels
from leadline.models.networks.presets import EncoderConfig, defaults_of, encoder_of, fill_defaults

SIZES: Mapping[str, Mapping[str, Any]] = {
    "paper": {
        "encoder": "resnet101",
        "width": 2048,
        "keys": 512,
        "pooled": 512,
        "levels": 80,
        "dropout": 0.5,
        "input_size": (224, 304),
    },
    "tiny": {
        "encoder": "mobilenetv3_small_100",
        "width": 96,
        "keys": 32,
        "pooled": 32,
        "levels": 80,
        "dropout": 0.1,
        "input_size": (128, 160),
    },
}
REDUCTIONS = (4, 8, 8, 8)
"""Dilation keeps the last stages at 1/8 of the image (Chen et al. 2019, §3.1)."""
STRIDE = 8


@dataclass(frozen=True)
class AcanConfig(EncoderConfig):
    """What ACAN is made of."""

    width: int | None = None
    """Channels of the attended map and of the merged one."""
    keys: int | None = None
    """Channels of keys and queries."""
    pooled: int | None = None
    """Channels of the image's context."""
    levels: int | None = None
    """Levels of depth, evenly spread in its logarithm."""
    dropout: float | None = None
    """Probability of dropping a channel, in both contexts."""
    min_depth: float = 0.72
    """Metres at which the first level begins."""
    max_depth: float = 10.0
    """Metres at which the last one begins."""


def acan(config: AcanConfig) -> "AcanModel":
    """Build ACAN: a dilated encoder, self-attention between all pixels, a pooled context, and ordinal depth.

    Raises:
        BadInput: an unknown size, an encoder that cannot be dilated, or bounds that are none.
    """
    full = fill_defaults(config, SIZES)
    assert full.width is not None
    assert full.keys is not None
    assert full.pooled is not None
    assert full.levels is not None
    assert full.dropout is not None
    if not 0 <= full.dropout < 1:
        raise BadInput(f"dropout {full.dropout} must be from 0 to less than 1.")
    encoder, preprocessing, provenance = encoder_of(full, REDUCTIONS, multiple=STRIDE, output_stride=STRIDE)
    _dilate_first_blocks(encoder)
    return AcanModel(
        preprocessing,
        provenance,
        encoder=encoder,
        context=ContextAggregation(channels(encoder)[-1], full.keys, full.width, full.pooled, dropout=full.dropout),
        head=nn.Conv2d(full.width, 2 * full.levels, 1),
        ordinal=OrdinalDepth(full.levels, full.min_depth, full.max_depth),
        defaults=defaults_of(full, SIZES),
    )


def _dilate_first_blocks(encoder: nn.Module) -> None:
    """Dilate a ResNet's stages at 1/8 by 2 and by 4 from their first block on, where timm begins with the second."""
    for stage, dilation in (("layer3", 2), ("layer4", 4)):
        if hasattr(encoder, stage):
            convolution = encoder.get_submodule(f"{stage}.0.conv2")
            if isinstance(convolution, nn.Conv2d):
                convolution.dilation = (dilation, dilation)
                convolution.padding = (dilation, dilation)


class AcanModel(DepthModel):
    """Dilated encoder → context aggregation → a probability per threshold → depth in metres."""

    side_outputs = frozenset({"exceeded", "thresholds", "attention"})

    def __init__(
        self,
        preprocessing: Preprocessing,
        provenance: Provenance,
        *,
        encoder: nn.Module,
        context: "ContextAggregation",
        head: nn.Conv2d,
        ordinal: "OrdinalDepth",
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(DepthKind.METRIC, preprocessing, provenance, defaults=defaults)
        self.encoder = encoder
        self.context = context
        self.head = head
        self.ordinal = ordinal

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        return self.ordinal(self._exceeded(image)[0])

    def forward_with_sides(
        self, image: Float[Tensor, "B 3 H W"], intrinsics: Float[Tensor, "B 4"] | None = None
    ) -> tuple[Float[Tensor, "B 1 H W"], SideOutputs]:
        exceeded, attention = self._exceeded(image)
        depth, thresholds = self.ordinal(exceeded), self.ordinal.thresholds.view(1, -1, 1, 1)
        if (zoom := self.zoom(intrinsics)) is not None:
            depth, thresholds = depth * zoom, thresholds * zoom
        return depth, {"exceeded": exceeded, "thresholds": thresholds, "attention": attention}

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        return tuple(self.encoder(self.normalize(image)))

    def _exceeded(self, image: Tensor) -> tuple[Float[Tensor, "B K H W"], Float[Tensor, "B N N"]]:
        """The probability that depth exceeds each threshold, and the attention between pixels of the last map."""
        context, attention = self.context(self.features(image)[-1])
        pairs = F.interpolate(self.head(context), image.shape[-2:], mode="bilinear", align_corners=True)
        # A softmax over two numbers is a sigmoid of their difference.
        below, above = pairs.unflatten(1, (-1, 2)).unbind(2)
        return (above - below).sigmoid(), attention


class ContextAggregation(nn.Module):
    """What all pixels say of a pixel (attention) and what the image says (pooling), merged (Chen et al. 2019, §3.2)."""

    def __init__(self, channels: int, keys: int, width: int, pooled: int, *, dropout: float) -> None:
        """`channels` of the map, `keys` and `width` of keys and values, `pooled` of the image's context."""
        super().__init__()
        # Queries are the keys, so that similarity is mutual.
        self.key = nn.Sequential(nn.Conv2d(channels, keys, 1), nn.BatchNorm2d(keys), nn.ReLU())
        self.value = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU()
        )
        self.image = nn.Sequential(
            nn.Dropout2d(dropout),
            nn.Conv2d(channels, pooled, 1),
            nn.ReLU(),
            nn.Conv2d(pooled, pooled, 1),
            nn.ReLU(),
        )
        self.merge = nn.Sequential(
            nn.Dropout2d(dropout), nn.Conv2d(width + pooled, width, 1), nn.ReLU(), nn.Dropout2d(dropout)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.get_parameter("bias"))

    def forward(self, x: Float[Tensor, "B C h w"]) -> tuple[Float[Tensor, "B D h w"], Float[Tensor, "B N N"]]:
        """Return the merged context, and how much each pixel attends to each other one (rows sum to 1)."""
        keys = self.key(x).flatten(2)
        attention = (keys.transpose(1, 2) @ keys / keys.shape[1] ** 0.5).softmax(-1)
        attended = self.value(x).flatten(2) @ attention.transpose(1, 2)
        image = self.image(F.adaptive_avg_pool2d(x, 1))
        context = torch.cat([attended.unflatten(2, x.shape[-2:]), image.expand(-1, -1, *x.shape[-2:])], 1)
        return self.merge(context), attention


class OrdinalDepth(nn.Module):
    """Soft ordinal inference (Chen et al. 2019, §3.4): probabilities of exceeding thresholds → depth.

    Their sum is how many thresholds are exceeded: its whole part names a level, and its fraction the place between the
    middles of this level and the next. Level l reaches from t_l to t_{l+1}, t_l = t₀ (t_{K−1} / t₀)^(l / (K − 1)), as
    in Fu et al. 2018 (DORN).
    """

    thresholds: Tensor
    """t₁ … t_K, in metres: the upper ends of the levels."""

    def __init__(self, levels: int, min_depth: float, max_depth: float) -> None:
        """`levels` K; `min_depth` t₀ and `max_depth` t_{K−1} in metres.

        Raises:
            BadInput: fewer than two levels, or bounds that are none.
        """
        super().__init__()
        if levels < 2:
            raise BadInput(f"levels {levels} must be at least 2.")
        if not 0 < min_depth < max_depth < float("inf"):
            raise BadInput(f"min_depth {min_depth} and max_depth {max_depth} must be metres, 0 < min < max.")
        self.low, self.step = log(min_depth), log(max_depth / min_depth) / (levels - 1)
        # On the CPU even where weights are not drawn yet (the meta device): no file brings it.
        upper = torch.arange(1, levels + 1, device="cpu")
        self.register_buffer("thresholds", self._threshold(upper), persistent=False)

    def forward(self, exceeded: Float[Tensor, "B K H W"]) -> Float[Tensor, "B 1 H W"]:
        count = exceeded.float().sum(1, keepdim=True)
        whole = count.detach().floor()
        fraction = count - whole
        return (1 - fraction) * self._middle(whole) + fraction * self._middle(whole + 1)

    def _middle(self, level: Tensor) -> Tensor:
        """The mean of a threshold and the next one, in metres."""
        return (self._threshold(level) + self._threshold(level + 1)) / 2

    def _threshold(self, level: Tensor) -> Tensor:
        return torch.exp(self.low + self.step * level)
