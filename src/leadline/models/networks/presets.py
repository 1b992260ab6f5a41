"""Our own networks: the sizes that they come in, and how encoder, transformer, decoder and head are put together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from torch import nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known, unknown
from leadline.core.paths import StrPath
from leadline.models.base import Preprocessing, Provenance
from leadline.models.decoders import DECODERS, FusionModel, decoder_and_head
from leadline.models.encoders import (
    REDUCTIONS,
    channels,
    encoder_preprocessing,
    encoder_provenance,
    make_encoder,
    multiple_of,
)
from leadline.models.heads import output_activation
from leadline.models.vit import PlainVit, ReassembledPyramid


@dataclass(frozen=True)
class Size:
    """What `size` stands for where an argument is not given; a saved model keeps the values, not the word alone."""

    encoder: str
    decoder: str
    width: int
    input_size: tuple[int, int]
    dim: int
    """Of the transformer's tokens; it, `blocks` and `heads` concern a hybrid only."""
    blocks: int
    heads: int


SIZES: Mapping[str, Size] = {
    "paper": Size("resnext101_32x8d", "full", 256, (224, 224), dim=768, blocks=12, heads=12),  # ViT-B's transformer
    "tiny": Size("mobilenetv3_small_100", "light", 16, (128, 160), dim=192, blocks=4, heads=3),
}


@dataclass(frozen=True)
class EncoderConfig:
    """Options that every network over an encoder of timm's shares."""

    size: str = "paper"
    """"paper" or "tiny": says what is not given of `encoder`, `input_size` and the widths."""
    encoder: str | None = None
    """Any timm network with maps at 1/4 … 1/32, or for a `cnn` a plain ViT (vit_small_patch14_dinov2), whose tokens are
    reassembled into such maps and whose patch is what sides divide by."""
    encoder_options: Mapping[str, Any] | None = None
    """timm's own keyword arguments."""
    weights: StrPath | None = None
    """Safetensors file of the encoder in timm's layout."""
    pretrained: bool = False
    """Let timm download weights for the encoder."""
    mean: Sequence[float] | None = None
    """Of RGB in [0, 1], where `weights` want another than timm's."""
    std: Sequence[float] | None = None
    """Of RGB in [0, 1], likewise."""
    input_size: Sequence[int] | None = None
    """Native height and width."""
    camera: str = "canonical"
    """"canonical" (metres follow the photograph's focal length, where it is known), "learned" (to a power that is
    learned) or "any"."""


@dataclass(frozen=True)
class NetworkConfig(EncoderConfig):
    """What an own network is made of: the options of `cnn`."""

    decoder: str | None = None
    """"full" (256 channels, as MiDaS and DPT) or "light"."""
    width: int | None = None
    """Channels of the decoder's finest level; each coarser one of a light decoder has twice as many."""
    head: str = "log"
    """"log" or "softplus"."""
    min_depth: float = 0.1
    """Metres that the output never falls below."""
    max_depth: float = 100.0
    """Metres that the output never exceeds."""
    kind: str = DepthKind.METRIC
    """"metric", or "relative" for inverse depth."""
    resize: str = "same_area"
    """How a photograph comes to the native size: "same_area" keeps its aspect; "stretch" squashes it, in training too,
    as the source paper does to 224 × 224."""
    restore: str = "bilinear"
    """How depth comes back to the photograph's size: "bilinear", or for metric depth "guided" by its edges."""


Config = TypeVar("Config", bound=NetworkConfig)
OfEncoder = TypeVar("OfEncoder", bound=EncoderConfig)


def fill_defaults(config: OfEncoder, sizes: Mapping[str, Mapping[str, Any]]) -> OfEncoder:
    """Return the config with the values that its `size` stands for where it has None.

    Args:
        config: as a user gave it.
        sizes: size → option → value.

    Raises:
        BadInput: an unknown size.
    """
    check_known("size", config.size, sizes)
    preset = sizes[config.size]
    return replace(config, **{name: value for name, value in preset.items() if getattr(config, name) is None})


def encoder_of(
    config: EncoderConfig, reductions: Sequence[int], *, multiple: int = REDUCTIONS[-1], **options: Any
) -> tuple[nn.Module, Preprocessing, Provenance]:
    """Build the encoder of a network, and what follows from it: preprocessing and provenance.

    Args:
        config: with `encoder` and `input_size`.
        reductions: how much smaller than the image each of its maps is, finest first.
        multiple: what both sides of the input must divide by.
        options: timm's keyword arguments that the network needs; the config's take precedence.

    Raises:
        BadInput: the encoder has no such maps, or a size or statistic cannot be used.
    """
    assert config.encoder is not None
    assert config.input_size is not None
    encoder = make_encoder(
        config.encoder,
        options={**options, **(config.encoder_options or {})},
        weights=config.weights,
        pretrained=config.pretrained,
        reductions=reductions,
    )
    preprocessing = encoder_preprocessing(
        config.encoder, config.input_size, config.mean, config.std, camera=config.camera, multiple=multiple
    )
    return encoder, preprocessing, encoder_provenance(config.encoder, config.weights, pretrained=config.pretrained)


def defaults_of(config: EncoderConfig, sizes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of all options that a size stands for, which a saved model keeps.

    Args:
        config: after `fill_defaults`.
        sizes: size → option → value.
    """
    return {name: getattr(config, name) for name in sizes[config.size]}


def resolve_defaults(config: Config) -> Config:
    """Return the config with the values of the preset called `size` where it has None.

    Raises:
        BadInput: an unknown size or decoder.
    """
    check_known("size", config.size, SIZES)
    if config.decoder not in (None, *DECODERS):
        raise unknown("decoder", config.decoder, DECODERS)
    own = {each.name for each in fields(config)}
    preset = {each.name: getattr(SIZES[config.size], each.name) for each in fields(Size) if each.name in own}
    if config.decoder not in (None, preset["decoder"]):
        preset["width"] = DECODERS[config.decoder]
    return replace(config, **{name: value for name, value in preset.items() if getattr(config, name) is None})


def build_network(
    config: NetworkConfig,
    *,
    patch: int = 1,
    transformer: Callable[[int, tuple[int, int]], nn.Module] | None = None,
    dim: int = 0,
) -> FusionModel:
    """Put encoder, transformer, decoder and head together; the model keeps what the preset decided.

    Args:
        config: as a user gave it. Without `input_size` the size is the one nearest to the preset's that divides.
        patch: side of a token's patch of the last feature map.
        transformer: makes, for the channels of the encoder's last map and the native height and width of its grid of
            patches, the module that the map passes through.
        dim: channels that come out of the transformer.

    Raises:
        BadInput: a plain ViT under a second transformer, or what the parts refuse.
    """
    full = resolve_defaults(config)
    assert full.encoder is not None
    assert full.decoder is not None
    assert full.width is not None
    assert full.input_size is not None
    encoder = make_encoder(full.encoder, options=full.encoder_options, weights=full.weights, pretrained=full.pretrained)
    if transformer and isinstance(encoder, PlainVit):
        raise BadInput(
            f"{full.encoder!r} is a transformer from the first layer on: use it as cnn,encoder={full.encoder}."
        )
    multiple = multiple_of(encoder) * patch
    size = config.input_size or [max(round(side / multiple), 1) * multiple for side in full.input_size]
    preprocessing = encoder_preprocessing(
        *(full.encoder, size, full.mean, full.std),
        camera=full.camera,
        multiple=multiple,
        resize=full.resize,
        restore=full.restore,
    )
    neck = ReassembledPyramid(encoder.dim) if isinstance(encoder, PlainVit) else None
    *finer, last = neck.channels if neck else channels(encoder)
    rows, columns = (side // multiple for side in preprocessing.size)
    over_last = transformer(last, (rows, columns)) if transformer else None
    maps = [*finer, dim if transformer else last]
    answer = output_activation(full.head, full.kind, full.min_depth, full.max_depth)
    fusion, head = decoder_and_head(full.decoder, maps, full.width, answer)
    of_preset = {each.name for each in fields(Size)} & {each.name for each in fields(full)}
    return FusionModel(
        DepthKind(full.kind),
        preprocessing,
        encoder_provenance(full.encoder, full.weights, pretrained=full.pretrained),
        encoder=encoder,
        neck=neck,
        transformer=over_last,
        decoder=fusion,
        head=head,
        defaults={**{name: getattr(full, name) for name in of_preset}, "input_size": preprocessing.size},
    )
