"""Our own networks: the sizes that they come in, and how encoder, transformer, decoder and head are put together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, unknown
from leadline.core.paths import StrPath
from leadline.models.decoders import DECODERS, FusionModel, decoder_and_head
from leadline.models.encoders import channels, encoder_preprocessing, encoder_provenance, make_encoder, multiple_of
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


def resolve_defaults(size: str, **given: Any) -> dict[str, Any]:
    """The arguments in `given`, each that is None as `size` has it.

    Raises:
        BadInput: an unknown size or decoder.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    if given["decoder"] not in (None, *DECODERS):
        raise unknown("decoder", given["decoder"], DECODERS)
    preset = {each.name: getattr(SIZES[size], each.name) for each in fields(Size)}
    if given["decoder"] not in (None, preset["decoder"]):
        preset["width"] = DECODERS[given["decoder"]]
    return {name: preset[name] if value is None else value for name, value in given.items()}


def own_network(
    *,
    encoder: str,
    encoder_options: Mapping[str, Any] | None,
    weights: StrPath | None,
    pretrained: bool,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    decoder: str,
    width: int,
    head: str,
    min_depth: float,
    max_depth: float,
    kind: str,
    input_size: Sequence[int] | None,
    default_size: Sequence[int],
    camera: str,
    patch: int = 1,
    transformer: Callable[[int, tuple[int, int]], nn.Module] | None = None,
    dim: int = 0,
) -> FusionModel:
    """A network of these settled arguments, which `cnn` and `hybrid` describe.

    `input_size` None is the size nearest to `default_size` that divides. `transformer` makes, for the channels of the
    encoder's last map and the native height and width of its grid of patches, the module that the map passes;
    `dim` channels come out of it.
    """
    feature_maps = make_encoder(encoder, options=encoder_options, weights=weights, pretrained=pretrained)
    if transformer and isinstance(feature_maps, PlainVit):
        raise BadInput(f"{encoder!r} is a transformer from the first layer on: use it as cnn,encoder={encoder}.")
    multiple = multiple_of(feature_maps) * patch
    size = input_size or [max(round(side / multiple), 1) * multiple for side in default_size]
    preprocessing = encoder_preprocessing(encoder, size, mean, std, camera=camera, multiple=multiple)
    neck = ReassembledPyramid(feature_maps.dim) if isinstance(feature_maps, PlainVit) else None
    *finer, last = neck.channels if neck else channels(feature_maps)
    rows, columns = (side // multiple for side in preprocessing.size)
    over_last = transformer(last, (rows, columns)) if transformer else None
    maps = [*finer, dim if transformer else last]
    fusion, top = decoder_and_head(decoder, maps, width, output_activation(head, kind, min_depth, max_depth))
    return FusionModel(
        DepthKind(kind),
        preprocessing,
        encoder_provenance(encoder, weights, pretrained=pretrained),
        encoder=feature_maps,
        neck=neck,
        transformer=over_last,
        decoder=fusion,
        head=top,
    )
