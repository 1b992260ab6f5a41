"""midas_v21 and midas_small: MiDaS 2.1's two convolutional networks (Ranftl et al. 2020)."""

from leadline.core.depth_kind import DepthKind
from leadline.core.paths import StrPath
from leadline.models.base import Preprocessing, Resize
from leadline.models.decoders import FusionDecoder, FusionModel
from leadline.models.encoders import channels, encoder_provenance, make_encoder
from leadline.models.heads import dense_head, official_activation


def midas_v21(
    *,
    encoder: str = "resnext101_32x8d",
    weights: StrPath | None = None,
    pretrained: bool = False,
    width: int = 256,
    head: str = "relu",
    min_depth: float = 0.1,
    max_depth: float = 100.0,
    kind: str = DepthKind.RELATIVE,
) -> FusionModel:
    """MiDaS 2.1, large: ResNeXt-101 under a decoder of 256 channels; relative depth as published.

    Args:
        encoder: any timm network with maps at 1/4 … 1/32; the published weights are for the default.
        weights: safetensors file of the encoder in timm's layout.
        pretrained: let timm download weights for the encoder.
        width: channels of the decoder.
        head: "relu" as published; "log" or "softplus" to finetune it to metres.
        min_depth: metres that "log" and "softplus" never fall below.
        max_depth: metres that they never exceed.
        kind: "relative" as published, or "metric" with another head.

    Raises:
        BadInput: metric depth from a ReLU.
    """
    activation = official_activation("midas_v21", head, kind, min_depth, max_depth)
    pyramid = make_encoder(encoder, weights=weights, pretrained=pretrained)
    return FusionModel(
        DepthKind(kind),
        _preprocessing(384),
        encoder_provenance(encoder, weights, pretrained=pretrained),
        encoder=pyramid,
        decoder=FusionDecoder(channels(pyramid), [width] * 4, mixes=False, relu_overwrites=True),
        head=dense_head(width, 32, activation, align_corners=False),
    )


def midas_small(
    *,
    encoder: str = "tf_efficientnet_lite3",
    weights: StrPath | None = None,
    pretrained: bool = False,
    width: int = 64,
    head: str = "relu",
    min_depth: float = 0.1,
    max_depth: float = 100.0,
    kind: str = DepthKind.RELATIVE,
) -> FusionModel:
    """Build MiDaS 2.1 small: EfficientNet-Lite3 under a decoder of 64 to 512 channels; the source paper's student.

    Args:
        encoder: any timm network with maps at 1/4 … 1/32; the published weights are for the default.
        weights: safetensors file of the encoder in timm's layout.
        pretrained: let timm download weights for the encoder.
        width: channels of the decoder's finest level; each coarser one has twice as many.
        head: "relu" as published, which gives 0 where it fails and then stops learning; "log" or "softplus" do not.
        min_depth: metres that "log" and "softplus" never fall below.
        max_depth: metres that they never exceed.
        kind: "relative" as published, or "metric" with another head.

    Raises:
        BadInput: metric depth from a ReLU.
    """
    activation = official_activation("midas_small", head, kind, min_depth, max_depth)
    pyramid = make_encoder(encoder, weights=weights, pretrained=pretrained)
    return FusionModel(
        DepthKind(kind),
        _preprocessing(256),
        encoder_provenance(encoder, weights, pretrained=pretrained),
        encoder=pyramid,
        decoder=FusionDecoder(channels(pyramid), [width, 2 * width, 4 * width, 8 * width]),
        head=dense_head(width, 32, activation, align_corners=False),
    )


def _preprocessing(side: int) -> Preprocessing:
    """ImageNet's colours, though the small network's encoder began with others."""
    return Preprocessing((side, side), resize=Resize.UPPER_BOUND, interpolation="cubic", restore="cubic")
