"""DenseNets as encoders: maps after their transitions, as BTS reads them, where timm's pyramid gives those before."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.errors import BadInput

_TAPS = ("norm0", "pool0", "transition1", "transition2", "norm5")
"""Layers whose maps are at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image."""


class DensePyramid(nn.Module):
    """A timm DenseNet as a module from an image to five maps, 1/2 … 1/32, finest first."""

    def __init__(self, densenet: nn.Module) -> None:
        """`densenet`: built by timm.

        Raises:
            BadInput: it has other layers than a DenseNet of three transitions.
        """
        super().__init__()
        features: Any = densenet.features
        if absent := [tap for tap in _TAPS if not hasattr(features, tap)]:
            raise BadInput(f"A DenseNet without a layer {absent[0]!r} is no encoder: take densenet121 or densenet161.")
        self.features = features
        first, second = features.norm0.num_features, features.transition1.conv.out_channels
        self.channels = [first, first, second, features.transition2.conv.out_channels, features.norm5.num_features]

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        maps, x = [], image
        for name, layer in self.features.named_children():
            x = layer(x)
            if name in _TAPS:
                maps.append(x)
        return maps
