"""Quantisation: weights as whole numbers of few bits and a scale for each output channel, in a file and in training.

Polino et al. 2018, §2, with scaling by channel in place of buckets: w ≈ s q with q = round(w / s) from −(2ᵇ⁻¹ − 1) to
2ᵇ⁻¹ − 1, and s the channel's largest |w| over that. In training the weights stay floats: the network computes with the
rounded ones, and their gradient is passed on to the floats as it is (straight-through, Bengio et al. 2013).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from leadline.core.errors import BadInput
from leadline.models.base import DepthModel
from leadline.models.description import WEIGHT_BITS
from leadline.models.registry import build_empty

SCALE = ".scale"
"""What the name of a tensor of scales adds to that of its weights."""
_MANTISSA = 2**11
"""Scales have 11 bits, so that a level times a scale is exact as float32: what was read quantises to itself again."""


def quantised_names(model: nn.Module) -> list[str]:
    """Return the names of the tensors that are quantised: the weights of convolutions and linear layers."""
    return [f"{name}.weight" for name, _ in _layers(model)]


def channel_scales(weight: Tensor, bits: int) -> Tensor:
    """Return the step of each output channel's levels, (m,); 1 for a channel that is zero.

    Args:
        weight: (m, …).
        bits: 4 or 8.
    """
    scales = weight.detach().float().flatten(1).abs().amax(1) / _highest(bits)
    mantissa, exponent = torch.frexp(scales)
    scales = torch.ldexp(torch.round(mantissa * _MANTISSA) / _MANTISSA, exponent)
    return scales.where(scales > 0, 1.0)


def to_levels(weight: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Return the nearest level of each weight as int8, in the weights' shape.

    Args:
        weight: (m, …).
        scales: of each output channel, (m,).
        bits: 4 or 8.
    """
    highest = _highest(bits)
    return (weight.detach() / _along(scales, weight)).round().clamp(-highest, highest).to(torch.int8)


def from_levels(levels: Tensor, scales: Tensor) -> Tensor:
    """Return the weights that levels of (m, …) stand for, as float32."""
    return levels.float() * _along(scales.float(), levels)


def pack(levels: Tensor, bits: int) -> Tensor:
    """Return levels as a file holds them: int8 in their shape, or two of 4 bits in a byte, (⌈n / 2⌉,) uint8.

    The first of two is in the lower half; each is increased by 8.

    Args:
        levels: int8, of any shape.
        bits: 4 or 8.
    """
    if bits == 8:
        return levels
    flat = (levels.flatten() + 8).to(torch.uint8)
    if len(flat) % 2:
        flat = torch.cat([flat, flat.new_zeros(1)])
    return flat[::2] | flat[1::2] << 4


def unpack(packed: Tensor, shape: torch.Size, bits: int) -> Tensor:
    """Return the levels, int8 of `shape`, that `pack` packed.

    Args:
        packed: what `pack` returned.
        shape: of the levels.
        bits: 4 or 8.
    """
    if bits == 8:
        return packed
    both = torch.stack([packed & 15, packed >> 4], 1).flatten()[: shape.numel()]
    return (both.to(torch.int8) - 8).view(shape)


def packed_shapes(expected: Mapping[str, Tensor], names: list[str], bits: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a file of quantised weights.

    Args:
        expected: the model's tensors by name.
        names: those that are quantised.
        bits: 4 or 8.
    """
    found = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    for name in names:
        if bits == 4:
            found[name] = (-(-expected[name].numel() // 2),)
        found[name + SCALE] = (expected[name].shape[0],)
    return found


class FakeQuantiser(nn.Module):
    """A parametrisation of a layer's weights: rounds them to their levels, and passes the gradient on unchanged."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        return _StraightThrough.apply(weight, self.bits)  # pyright: ignore[reportReturnType]


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: int) -> Tensor:
        scales = channel_scales(weight, bits)
        return from_levels(to_levels(weight, scales, bits), scales).to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def quantise(model: DepthModel, *, bits: int = 8) -> DepthModel:
    """Let a network compute with weights of few bits, in place; it is trained through, and saved, at these bits.

    Args:
        model: any network; its floats are kept beside, for training.
        bits: 4 or 8.

    Returns:
        The model itself.

    Raises:
        BadInput: other bits, or the model is quantised already.
    """
    if bits not in WEIGHT_BITS:
        raise BadInput(f"bits={bits}: weights have {' or '.join(map(str, WEIGHT_BITS))} bits.")
    if model.weight_bits is not None:
        raise BadInput(
            f"This {model.name!r} has weights of {model.weight_bits} bits already: give the model that it was made of."
        )
    model.weight_bits = bits
    add_quantisers(model)
    return model


def add_quantisers(model: DepthModel) -> None:
    """Round the weights of a model that has `weight_bits` in each forward pass, where nothing does yet, in place."""
    if model.weight_bits is None or is_rounding(model):
        return
    for _, layer in _layers(model):
        parametrize.register_parametrization(layer, "weight", FakeQuantiser(model.weight_bits))


def merge_quantisers(model: DepthModel) -> DepthModel:
    """Return `model` itself where no weights are rounded, else a copy whose weights are the rounded ones."""
    if not is_rounding(model):
        return model
    # Not a deep copy without its parametrisations: torch takes them from the class that both would share.
    plain = build_empty(model.name, **model.arguments)
    held = model.state_dict()
    for name, layer in _layers(model):
        del held[f"{name}.parametrizations.weight.original"]
        held[f"{name}.weight"] = layer.weight  # pyright: ignore[reportArgumentType]
    plain.load_state_dict({name: tensor.detach().clone() for name, tensor in held.items()}, assign=True)
    plain.set_preprocessing(model.preprocessing)
    plain.provenance, plain.weight_bits = model.provenance, model.weight_bits
    return plain.train(model.training)


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            yield name, layer


def is_rounding(model: nn.Module) -> bool:
    """Return whether the weights of a network are rounded in each forward pass."""
    return any(isinstance(module, FakeQuantiser) for module in model.modules())


def _highest(bits: int) -> int:
    return 2 ** (bits - 1) - 1


def _along(scales: Tensor, weight: Tensor) -> Tensor:
    return scales.view(-1, *[1] * (weight.ndim - 1))
