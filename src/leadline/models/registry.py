"""Model registry: build a model from its name."""

import inspect
import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from leadline.core.errors import BadInput, unknown
from leadline.core.specs import parse_options
from leadline.models.base import DepthModel, init_on_meta

MODELS: Mapping[str, str] = {
    "cnn": "leadline.models.networks.cnn:cnn",
    "dpt_hybrid": "leadline.models.networks.dpt:dpt_hybrid",
    "dpt_hybrid_kitti": "leadline.models.networks.dpt:dpt_hybrid_kitti",
    "dpt_hybrid_nyu": "leadline.models.networks.dpt:dpt_hybrid_nyu",
    "dpt_large": "leadline.models.networks.dpt:dpt_large",
    "hybrid": "leadline.models.networks.hybrid:hybrid",
    "midas_small": "leadline.models.networks.midas:midas_small",
    "midas_v21": "leadline.models.networks.midas:midas_v21",
}
"""Name → builder `(**arguments) -> DepthModel`; nothing is imported until it is built."""


DEFAULT = "leadline_small"
"""The trained model that comes with the package: what commands take where none is named."""


_BUILDERS: Mapping[str, str] = {**MODELS, "hub": "leadline.models.pretrained.transformers:hub"}
"""Also of what is no network of ours, but is saved and loaded as one."""


_SOURCES = frozenset({"weights", "pretrained"})
"""Arguments that say where first weights come from: a saved model has its own and does not keep them."""


def build(name: str, **arguments: Any) -> DepthModel:
    """Make the model called `name`; `arguments` are its builder's, or words for them as on the command line.

    Raises:
        BadInput: no such model, an argument that its builder does not take, or a value it cannot use.
    """
    if name not in _BUILDERS:
        raise unknown("model", name, MODELS)
    module, _, builder_name = _BUILDERS[name].partition(":")
    builder = getattr(import_module(module), builder_name)
    given = inspect.signature(builder).bind(**parse_options(builder, arguments, name))
    model = builder(**given.kwargs)
    model.name = name
    given.apply_defaults()
    try:
        model.arguments = json.loads(
            json.dumps({key: value for key, value in {**given.kwargs, **model.settled}.items() if key not in _SOURCES})
        )
    except TypeError as problem:
        raise BadInput(f"The arguments of {name!r} must be what JSON can hold: {problem}.") from problem
    return model


def build_empty(name: str, **arguments: Any) -> DepthModel:
    """`build` without drawing weights that `load_state_dict(…, assign=True)` replaces at once."""
    with init_on_meta():
        model = build(name, **arguments)
    kept = model.state_dict().keys()
    if any(buffer.is_meta for key, buffer in model.named_buffers() if key not in kept):
        return build(name, **arguments)  # Its encoder computes tables that no file holds.
    return model
