"""Encoders: any timm network as maps at 1/4, 1/8, 1/16 and 1/32 of the image; a plain ViT's have one stride."""

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from math import sqrt
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers.format import Format
from torch import Tensor, nn

from leadline.core.camera import CANONICAL_FOCAL
from leadline.core.errors import BadInput, check_known
from leadline.core.paths import StrPath
from leadline.models.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    Provenance,
    Resize,
    init_on_meta,
    shapes,
    state_dict_mismatch,
)
from leadline.models.densenet import DensePyramid
from leadline.models.preprocessing import Restoring
from leadline.models.vit import PlainVit

REDUCTIONS = (4, 8, 16, 32)
"""How much smaller than the image each map is, finest first."""
_SOURCES = frozenset({"checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict"})
"""Ways of timm's to get at weights, which a description from a stranger could name."""
RESIZES = (Resize.SAME_AREA.value, Resize.STRETCH.value)
"""Ways for a photograph to come to the native size of an own network."""
RESTORES = ("bilinear", "guided")
"""Ways for its depth to come back to the photograph's size."""
CAMERAS = ("canonical", "learned", "any")
"""`canonical`: the network measures through one camera, and its metres follow the focal length of the photograph's;
`learned`: they follow it to a power that is learned; `any`: it takes every photograph for what it looks like."""


def make_encoder(
    name: str,
    *,
    options: Mapping[str, Any] | None = None,
    weights: StrPath | None = None,
    pretrained: bool = False,
    reductions: Sequence[int] = REDUCTIONS,
) -> nn.Module:
    """Build a timm network as a module from an image to feature maps, with random weights unless given others.

    A plain vision transformer, whose maps all have one stride, becomes a `PlainVit`. `channels()` returns the maps'
    widths.

    Args:
        name: timm's.
        options: timm's own keyword arguments, such as `{"pad_type": "same"}`.
        weights: safetensors file of the whole network in timm's layout.
        pretrained: let timm download its weights.
        reductions: how much smaller than the image each map is, finest first; several may be alike in a dilated one.

    Raises:
        BadInput: timm does not know the network, it has no such maps, or the weights are not its own.
    """
    options = timm_options(options)
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3) or ["resnext101_32x8d", "mobilenetv3_small_100"]
        raise BadInput(f"timm has no network called {name!r}. Near: {', '.join(near)}.")
    try:
        with init_on_meta():
            outline = timm.create_model(name, features_only=True, **options)
            found = _info(outline).reduction()
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as problem:
        raise BadInput(f"{name!r} with {options} gives no pyramid of features: {problem}") from problem
    if len(set(found)) == 1 and tuple(reductions) == REDUCTIONS:
        options = {"dynamic_img_size": True, **options}
        encoder = _plain_vit(name, options, pretrained=pretrained)
        if weights is not None:
            # The pyramid leaves out the classifier and what pools the tokens for it.
            whole = _read(Path(weights), name, options)
            encoder.vit.load_state_dict({key: whole[key] for key in encoder.vit.state_dict()})
        return encoder
    levels = _levels(found, reductions)
    if levels is None:
        raise BadInput(
            f"{name!r} gives maps at 1/{', 1/'.join(map(str, found))} of the image; "
            f"an encoder needs 1/{', 1/'.join(map(str, reductions))}, as ResNets and MobileNets give"
            f"{', or one stride, as plain ViTs do' if tuple(reductions) == REDUCTIONS else ''}."
        )
    _must_take_any_size(name, outline)
    if name.startswith("densenet") and len(reductions) > len(REDUCTIONS):
        return _densenet(name, options, weights, pretrained=pretrained)
    pyramid = _created(name, pretrained=pretrained, features_only=True, out_indices=levels, **options)
    if weights is not None:
        whole = _read(Path(weights), name, options)
        # timm flattens stages.0 of the whole network to stages_0 in its pyramid.
        flat = {key.replace(".", "_"): tensor for key, tensor in whole.items()}
        pyramid.load_state_dict({key: flat[key.replace(".", "_")] for key in pyramid.state_dict()})
    if getattr(pyramid, "output_fmt", Format.NCHW) is Format.NHWC:
        pyramid.register_forward_hook(_channels_first)
    return pyramid


def timm_options(told: Mapping[str, Any] | None) -> dict[str, Any]:
    """Read timm's keyword arguments from texts of a command line: `depth:4`, `strict_img_size:false`.

    Raises:
        BadInput: one of them names a source of weights.
    """
    options = {key: _value(value) if isinstance(value, str) else value for key, value in (told or {}).items()}
    if sources := sorted(_SOURCES & options.keys()):
        raise BadInput(f"An encoder's weights come by weights=FILE or pretrained=yes, and not by {sources[0]!r}.")
    return options


def channels(encoder: nn.Module) -> list[int]:
    """Return the channels of each feature map, finest (or shallowest) first."""
    if isinstance(encoder, DensePyramid):
        return encoder.channels
    return [encoder.dim] * 4 if isinstance(encoder, PlainVit) else _info(encoder).channels()


def multiple_of(encoder: nn.Module) -> int:
    """Return what the sides of an encoder's input must divide by: its coarsest stride, or a ViT's patch."""
    return encoder.patch if isinstance(encoder, PlainVit) else REDUCTIONS[-1]


def encoder_preprocessing(
    name: str,
    size: Sequence[int],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    *,
    camera: str = "canonical",
    multiple: int = 32,
    resize: str = "same_area",
    restore: str = "bilinear",
) -> Preprocessing:
    """Choose the preprocessing of an own network with this encoder.

    Args:
        name: of the timm network.
        size: native height and width in pixels.
        mean: of RGB in [0, 1]; None: that of timm's own weights.
        std: of RGB in [0, 1]; None: likewise.
        camera: "canonical", "learned" or "any".
        multiple: what both sides must divide by.
        resize: "same_area" or "stretch".
        restore: "bilinear" or "guided".

    Raises:
        BadInput: the native size does not divide, mean and std are not three numbers each, or an unknown camera or
            way to resize or to restore.
    """
    check_known("resize", resize, RESIZES)
    check_known("restore", restore, RESTORES)
    check_known("camera", camera, CAMERAS)
    trained = timm.get_pretrained_cfg(name)
    if len(size) != 2 or any(side < multiple or side % multiple for side in size):
        raise BadInput(f"input_size {tuple(size)} must be a height and a width that divide by {multiple}.")
    mean = tuple(mean or (trained.mean if trained else IMAGENET_MEAN))
    std = tuple(std or (trained.std if trained else IMAGENET_STD))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise BadInput(f"mean {mean} and std {std} must be three numbers each, of red, green and blue.")
    focal = round(CANONICAL_FOCAL * sqrt(size[0] * size[1]), 1) if camera != "any" else None
    return Preprocessing(
        *((size[0], size[1]), multiple, Resize(resize)),
        restore=cast("Restoring", restore),
        mean=mean,
        std=std,
        focal=focal,
    )


def encoder_provenance(name: str, weights: StrPath | None, *, pretrained: bool) -> Provenance:
    """Record what the encoder's weights start from.

    Args:
        name: of the timm network.
        weights: file that they were read from, if any.
        pretrained: whether timm downloaded its own.
    """
    if weights is not None:
        return Provenance(encoder=f"{name} from {Path(weights).name}")
    return Provenance(encoder=f"{name} as timm publishes it" if pretrained else "")


def _levels(found: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...] | None:
    """The numbers of the first maps of these reductions, each after the one before; None where there are none."""
    levels: list[int] = []
    for reduction in wanted:
        after = levels[-1] + 1 if levels else 0
        if reduction not in found[after:]:
            return None
        levels.append(list(found).index(reduction, after))
    return tuple(levels)


def _must_take_any_size(name: str, outline: nn.Module) -> None:
    """Refuse a network whose attention or position embeddings are made for images of one size.

    Raises:
        BadInput: it does not compute for sides that are odd multiples of its coarsest stride.
    """
    # Convolutions and what normalises their channels take any size.
    if all(each.ndim in (1, 4) for each in outline.parameters()):
        return
    image = torch.empty(1, 3, 5 * REDUCTIONS[-1], 7 * REDUCTIONS[-1], device="meta")
    try:
        with torch.no_grad():
            outline.eval()(image)
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as problem:
        reason = str(problem).partition("\n")[0].rstrip(".") or "its attention has blocks of a fixed size"
        raise BadInput(
            f"timm's {name!r} is no encoder: it takes images of one size, or of multiples of it ({reason}), and depth "
            f"is measured at any multiple of {REDUCTIONS[-1]}. Take a network of free size: sam2_hiera_tiny, a ResNet, "
            "a ViT, or a Swin with encoder_options=strict_img_size:false."
        ) from problem


def _plain_vit(name: str, options: Mapping[str, Any], *, pretrained: bool) -> PlainVit:
    """timm's transformer `name`, whose position embeddings fit any size."""
    try:
        vit: Any = _created(name, pretrained=pretrained, num_classes=0, **options)
    except TypeError as problem:
        raise BadInput(f"timm's {name!r} is no encoder: it takes images of one size only ({problem}).") from problem
    needed = ("blocks", "embed_dim", "forward_intermediates", "patch_embed", "prune_intermediate_layers")
    if absent := [part for part in needed if not hasattr(vit, part)]:
        raise BadInput(
            f"timm's {name!r} is no encoder: its maps all have one stride, and it is no plain vision transformer "
            f"(it has no {absent[0]}). Take a ViT such as vit_small_patch14_dinov2, or a ResNet."
        )
    return PlainVit(vit)


def _densenet(name: str, options: Mapping[str, Any], weights: StrPath | None, *, pretrained: bool) -> DensePyramid:
    """timm's DenseNet `name`, without its classifier."""
    densenet = _created(name, pretrained=pretrained, num_classes=0, **options)
    if weights is not None:
        whole = _read(Path(weights), name, dict(options))
        densenet.load_state_dict({key: whole[key] for key in densenet.state_dict()})
    return DensePyramid(densenet)


def _created(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
    """`timm.create_model`, saying what to do where it cannot download the weights."""
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except Exception as problem:
        if not pretrained:
            raise
        raise BadInput(
            f"timm could not download the weights of {name!r} ({problem}): give a file of them."
        ) from problem


def _value(text: str) -> Any:
    """What JSON makes of it, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _channels_first(encoder: nn.Module, arguments: Any, maps: list[Tensor]) -> list[Tensor]:
    """Swin transformers answer (B, H, W, C)."""
    return [each.permute(0, 3, 1, 2) for each in maps]


def _info(encoder: nn.Module) -> Any:
    """What timm knows of a pyramid's maps."""
    return encoder.feature_info


def _read(file: Path, name: str, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """The whole network's tensors; its classifier, which no pyramid has, may be missing or another's."""
    if not file.is_file():
        raise BadInput(f"No encoder weights at {file}.")
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as problem:
        raise BadInput(f"{file} is not a whole safetensors file ({problem}).") from problem
    with init_on_meta():
        whole = timm.create_model(name, **options)
    trained = timm.get_pretrained_cfg(name)
    head = f"{trained.classifier if trained else 'head'}."
    expected, told = (
        {key: shape for key, shape in shapes(tensors).items() if not key.startswith(head)}
        for tensors in (whole.state_dict(), found)
    )
    if fault := state_dict_mismatch(expected, told):
        raise BadInput(f"{file} does not hold the weights of timm's {name!r}: {fault}.")
    return found
