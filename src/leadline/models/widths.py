"""Widths: the channels of a pruned network's layers, as its model.json records them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from leadline.core.errors import BadInput, first_line
from leadline.models.base import DepthModel
from leadline.models.names import PRUNED

_MOST_LAYERS = 4096


def set_widths(model: DepthModel, widths: Mapping[str, Any]) -> None:
    """Cut layers of an untrained network down to these widths, in place: the first channels of each are kept.

    Args:
        model: the network as its builder makes it, on any device.
        widths: layer → channels that come in and channels that go out of a convolution, or the channels of a batch
            normalisation: `{"encoder.conv_stem": [3, 8], "encoder.bn1": [8]}`. Other layers stay as they are.

    Raises:
        BadInput: no such layer, a width that is none or larger than the layer's, or layers that no longer fit each
            other.
    """
    if not isinstance(widths, Mapping) or len(widths) > _MOST_LAYERS:
        raise BadInput(
            f"{PRUNED} is an object of layers and their widths, at most {_MOST_LAYERS}: `leadline compress prune` "
            "writes it into model.json."
        )
    layers = dict(model.named_modules())
    for name, told in widths.items():
        where, layer = f"{PRUNED}.{str(name)[:100]}", layers.get(name)
        if not isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            raise BadInput(f"{where}: {model.name!r} has no convolution or batch normalisation of this name.")
        before = widths_of(layer)
        if not isinstance(told, list | tuple) or len(told) != len(before):
            raise BadInput(f"{where} must be a list of {len(before)} widths, and is {told!r:.80}.")
        for width, most in zip(told, before, strict=True):
            if not isinstance(width, int) or isinstance(width, bool) or not 1 <= width <= most:
                raise BadInput(f"{where}: {width!r:.80} must be a whole number from 1 to {most}.")
        if isinstance(layer, nn.BatchNorm2d):
            _cut_normalisation(layer, *told)
        elif layer.groups == 1:
            _cut_convolution(layer, *told)
        elif is_depthwise(layer) and told[0] == told[1]:
            layer.groups = told[0]
            _cut_convolution(layer, *told)
        else:
            raise BadInput(f"{where}: a convolution of {layer.groups} groups cannot have the widths {list(told)}.")
    _check_fit(model)


def widths_of(layer: nn.Module) -> list[int]:
    """Return the widths of a layer as `set_widths` takes them; none for a layer that has none of its own."""
    if isinstance(layer, nn.Conv2d):
        return [layer.in_channels, layer.out_channels]
    return [layer.num_features] if isinstance(layer, nn.BatchNorm2d) else []


def is_depthwise(layer: nn.Module) -> bool:
    """Tell whether a layer is a convolution of each channel for itself."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels == layer.out_channels


def changed_widths(model: DepthModel, original: DepthModel) -> dict[str, list[int]]:
    """Return the widths in which a network differs from the one that it was cut from.

    Args:
        model: the cut network.
        original: the same network with all its channels; it may be on the meta device.
    """
    before = {name: widths_of(layer) for name, layer in original.named_modules()}
    now = {name: widths_of(layer) for name, layer in model.named_modules()}
    return {name: widths for name, widths in now.items() if widths != before[name]}


def _cut_convolution(layer: nn.Conv2d, entering: int, leaving: int) -> None:
    layer.in_channels, layer.out_channels = entering, leaving
    layer.weight = _first(layer.weight, leaving, entering // layer.groups)
    if layer.bias is not None:
        layer.bias = _first(layer.bias, leaving)


def _cut_normalisation(layer: nn.BatchNorm2d, width: int) -> None:
    layer.num_features = width
    if layer.affine:
        layer.weight, layer.bias = _first(layer.weight, width), _first(layer.bias, width)
    if layer.running_mean is not None and layer.running_var is not None:
        layer.running_mean, layer.running_var = layer.running_mean[:width].clone(), layer.running_var[:width].clone()


def _first(values: Tensor, leaving: int, entering: int | None = None) -> nn.Parameter:
    part = values.detach()[:leaving]
    part = part if entering is None else part[:, :entering]
    return nn.Parameter(part.clone(), requires_grad=values.requires_grad)


def _check_fit(model: DepthModel) -> None:
    """Compute a small image once: what two layers disagree on is found here and not in a prediction."""
    was_training = model.training
    side = 2 * model.preprocessing.multiple
    weights = next(model.parameters())
    # `mean` and `std` are on the CPU whatever the weights are on.
    image = torch.zeros(1, 3, side, side, device=weights.device, dtype=weights.dtype)
    held = model.mean, model.std
    model.mean, model.std = model.mean.to(weights.device), model.std.to(weights.device)
    try:
        with torch.no_grad():
            model.eval()(image)
    except RuntimeError as problem:
        raise BadInput(
            f"{PRUNED}: the layers of {model.name!r} do not fit each other at these widths ({first_line(problem)})."
        ) from problem
    finally:
        model.mean, model.std = held
        model.train(was_training)
