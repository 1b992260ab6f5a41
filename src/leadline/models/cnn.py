"""cnn: any timm encoder and the fusion decoder; the paper's encoder is ResNeXt-101."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadline.errors import unknown
from leadline.models.encoders import channels, encoder_preprocessing, encoder_provenance, make_encoder
from leadline.models.fusion import FusionModel, decoder_and_head
from leadline.models.heads import answer
from leadline.sample import Kind


@dataclass(frozen=True)
class Size:
    """What `size` stands for where an argument is not given."""

    encoder: str
    decoder: str
    width: int | None
    input_size: tuple[int, int]


SIZES: Mapping[str, Size] = {
    "paper": Size("resnext101_32x8d", "full", None, (224, 224)),
    "tiny": Size("mobilenetv3_small_100", "light", 16, (128, 160)),
}


def cnn(
    *,
    size: str = "paper",
    encoder: str | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    weights: Path | str | None = None,
    pretrained: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    decoder: str | None = None,
    width: int | None = None,
    head: str = "log",
    min_depth: float = 0.1,
    max_depth: float = 100.0,
    kind: str = Kind.METRIC,
    input_size: Sequence[int] | None = None,
) -> FusionModel:
    """An encoder's four maps, fused; without the transformer, this is the paper's first stage.

    Args:
        size: "paper" or "tiny"; says `encoder`, `decoder`, `width` and `input_size` where they are not given.
        encoder: any timm network with maps at 1/4 … 1/32.
        encoder_options: timm's own keyword arguments.
        weights: safetensors file of the encoder in timm's layout.
        pretrained: let timm download weights for the encoder.
        mean, std: of RGB in [0, 1], where `weights` want others than timm's.
        decoder: "full" (256 channels, as MiDaS and DPT) or "light".
        width: channels of the decoder's finest level; each coarser one of a light decoder has twice as many.
        head: "log" or "softplus".
        min_depth, max_depth: metres that the answer never leaves.
        kind: "metric", or "relative" for inverse depth.
        input_size: native height and width.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    preset = SIZES[size]
    encoder = encoder or preset.encoder
    decoder = decoder or preset.decoder
    width = width or (preset.width if decoder == preset.decoder else None)
    pyramid = make_encoder(encoder, options=encoder_options, weights=weights, pretrained=pretrained)
    fusion, top = decoder_and_head(decoder, channels(pyramid), width, answer(head, kind, min_depth, max_depth))
    return FusionModel(
        Kind(kind),
        encoder_preprocessing(encoder, input_size or preset.input_size, mean, std),
        encoder_provenance(encoder, weights, pretrained=pretrained),
        encoder=pyramid,
        decoder=fusion,
        head=top,
    )
