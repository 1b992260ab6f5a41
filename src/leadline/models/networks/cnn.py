"""cnn: any timm encoder and the fusion decoder; the paper's encoder is ResNeXt-101."""

from leadline.models.decoders import FusionModel
from leadline.models.networks.presets import NetworkConfig, build_network


def cnn(config: NetworkConfig) -> FusionModel:
    """Build a CNN: an encoder's four feature maps, fused; the first stage of the paper's network."""
    return build_network(config)
