"""Scope: give a network the head that says where it is not to be trusted, or take it away."""

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.models.base import DepthModel
from leadline.models.names import SCOPE
from leadline.models.quantisation import add_quantisers, is_rounding
from leadline.models.registry import build


def with_scope(model: DepthModel, weight: Float[Tensor, "C"], bias: float) -> DepthModel:
    """Return the network with a scope head of these numbers, whatever it had before.

    Args:
        model: a network with a fusion decoder, as `cnn` and `hybrid` are; it stays as it is.
        weight: of the mean of each channel of the last map that `features` returns.
        bias: such that a score of `leadline.models.names.MOST_IN_SCOPE` is where images begin to be outside.

    Raises:
        BadInput: a network without a fusion decoder.
    """
    numbers = {f"{SCOPE}.weight": weight.float(), f"{SCOPE}.bias": torch.tensor(float(bias))}
    return _rebuilt(model, {SCOPE: len(weight)}, numbers)


def without_scope(model: DepthModel) -> DepthModel:
    """Return the network without its scope head, which is fitted to features that training or pruning would change.

    A network that has none is returned as it is.
    """
    return _rebuilt(model, {}, {}) if SCOPE in model.arguments else model


def _rebuilt(model: DepthModel, scope: dict[str, int], numbers: dict[str, Tensor]) -> DepthModel:
    """The same network with another scope head, or none."""
    arguments = {key: value for key, value in model.arguments.items() if key != SCOPE}
    made = build(model.name, **arguments, **scope)
    made.weight_bits = model.weight_bits
    if is_rounding(model):
        add_quantisers(made)
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith(f"{SCOPE}.")}
    made.load_state_dict({**weights, **numbers})
    made.set_preprocessing(model.preprocessing)
    made.provenance = model.provenance
    return made.to(next(model.parameters()).device).train(model.training)
