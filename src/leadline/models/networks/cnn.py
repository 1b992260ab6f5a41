"""cnn: any timm encoder and the fusion decoder; the paper's encoder is ResNeXt-101."""

from collections.abc import Mapping, Sequence
from typing import Any

from leadline.core.depth_kind import DepthKind
from leadline.core.paths import StrPath
from leadline.models.decoders import FusionModel
from leadline.models.networks.presets import own_network, resolve_defaults


def cnn(
    *,
    size: str = "paper",
    encoder: str | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    weights: StrPath | None = None,
    pretrained: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    decoder: str | None = None,
    width: int | None = None,
    head: str = "log",
    min_depth: float = 0.1,
    max_depth: float = 100.0,
    kind: str = DepthKind.METRIC,
    input_size: Sequence[int] | None = None,
    camera: str = "canonical",
) -> FusionModel:
    """An encoder's four maps, fused; without the transformer, this is the paper's first stage.

    Args:
        size: "paper" or "tiny"; says `encoder`, `decoder`, `width` and `input_size` where they are not given.
        encoder: any timm network with maps at 1/4 … 1/32, or a plain ViT (vit_small_patch14_dinov2), whose tokens are
            reassembled into such maps and whose patch is what sides divide by.
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
        camera: "canonical" (metres follow the photograph's focal length, where it is known) or "any".
    """
    chosen = resolve_defaults(size, encoder=encoder, decoder=decoder, width=width, input_size=input_size)
    model = own_network(
        encoder_options=encoder_options,
        weights=weights,
        pretrained=pretrained,
        mean=mean,
        std=std,
        head=head,
        min_depth=min_depth,
        max_depth=max_depth,
        kind=kind,
        camera=camera,
        input_size=input_size,
        default_size=chosen["input_size"],
        **{name: chosen[name] for name in ("encoder", "decoder", "width")},
    )
    model.settled = {**chosen, "input_size": model.preprocessing.size}
    return model
