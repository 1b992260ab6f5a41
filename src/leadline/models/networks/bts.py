"""bts and bts_kitti: Lee et al. 2019, "From Big to Small": dense ASPP and local planar guidance."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.models.base import DepthModel, Preprocessing, Provenance
from leadline.models.encoders import channels
from leadline.models.layers.planar_decoder import PlanarDecoder
from leadline.models.networks.presets import EncoderConfig, defaults_of, encoder_of, fill_defaults

SIZES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"encoder": "densenet161", "width": 512, "max_depth": 10.0, "input_size": (480, 640)},
    "tiny": {"encoder": "mobilenetv3_small_100", "width": 64, "max_depth": 10.0, "input_size": (128, 160)},
}
KITTI_SIZES: Mapping[str, Mapping[str, Any]] = {
    "paper": {**SIZES["paper"], "max_depth": 80.0, "input_size": (352, 1216)},
    "tiny": {**SIZES["tiny"], "max_depth": 80.0},
}
REDUCTIONS = (2, 4, 8, 16, 32)
"""How much smaller than the image each map of the encoder is."""
_KITTI_FOCAL = 715.0873
"""Pixels: the focal length that the KITTI networks' metres are for; depth follows the camera's in proportion."""


@dataclass(frozen=True)
class BtsConfig(EncoderConfig):
    """What BTS is made of."""

    width: int | None = None
    """Channels of the decoder's coarsest level, halved at each finer one."""
    max_depth: float | None = None
    """Metres that the output never exceeds: 10 unless given, or 80 for KITTI."""


def bts(config: BtsConfig) -> "PlanarModel":
    """Build BTS: an encoder, and a decoder guided by planes at 1/8, 1/4 and 1/2 of the image."""
    return _build(config, SIZES)


def bts_kitti(config: BtsConfig) -> "PlanarModel":
    """Build BTS for KITTI: at most 80 m, at the focal length of its cars, and in proportion at any other."""
    model = _build(config, KITTI_SIZES)
    model.set_preprocessing(replace(model.preprocessing, focal=_KITTI_FOCAL))
    return model


def _build(config: BtsConfig, sizes: Mapping[str, Mapping[str, Any]]) -> "PlanarModel":
    full = fill_defaults(config, sizes)
    assert full.width is not None
    assert full.max_depth is not None
    encoder, preprocessing, provenance = encoder_of(full, REDUCTIONS)
    decoder = PlanarDecoder(channels(encoder), full.width, full.max_depth)
    defaults = defaults_of(full, sizes)
    return PlanarModel(preprocessing, provenance, encoder=encoder, decoder=decoder, defaults=defaults)


class PlanarModel(DepthModel):
    """Encoder of five maps → decoder with local planar guidance; metres."""

    def __init__(
        self,
        preprocessing: Preprocessing,
        provenance: Provenance,
        *,
        encoder: nn.Module,
        decoder: PlanarDecoder,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(DepthKind.METRIC, preprocessing, provenance, defaults=defaults)
        self.encoder = encoder
        self.decoder = decoder

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        return self.decoder(self.encoder(self.normalize(image)))

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        # The decoder reads a map at 1/2, too, which other networks do not have.
        return tuple(self.encoder(self.normalize(image))[1:])
