"""Model registry: build a model from its name."""

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import import_module
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from leadline.core.arrays import plain
from leadline.core.errors import BadInput, unknown
from leadline.core.specs import parse_options
from leadline.models.base import DepthModel, ModelSpec, init_on_meta
from leadline.models.decoders import add_scope
from leadline.models.names import DEFAULT as DEFAULT
from leadline.models.names import LEARNED_CAMERA, PRUNED, SCOPE
from leadline.models.widths import set_widths

MODELS: Mapping[str, str] = {
    "acan": "leadline.models.networks.acan:acan",
    "bts": "leadline.models.networks.bts:bts",
    "bts_kitti": "leadline.models.networks.bts:bts_kitti",
    "cnn": "leadline.models.networks.cnn:cnn",
    "continuous_crf": "leadline.models.networks.continuous_crf:continuous_crf",
    "dpt_hybrid": "leadline.models.networks.dpt:dpt_hybrid",
    "dpt_hybrid_kitti": "leadline.models.networks.dpt:dpt_hybrid_kitti",
    "dpt_hybrid_nyu": "leadline.models.networks.dpt:dpt_hybrid_nyu",
    "dpt_large": "leadline.models.networks.dpt:dpt_large",
    "eigen": "leadline.models.networks.eigen:eigen",
    "hierarchical_crf": "leadline.models.networks.hierarchical_crf:hierarchical_crf",
    "hybrid": "leadline.models.networks.hybrid:hybrid",
    "midas_small": "leadline.models.networks.midas:midas_small",
    "midas_v21": "leadline.models.networks.midas:midas_v21",
    "pilzer": "leadline.models.networks.pilzer:pilzer",
    "structured_attention": "leadline.models.networks.structured_attention:structured_attention",
    "transdepth": "leadline.models.networks.transdepth:transdepth",
}
"""Name → builder `(**arguments) -> DepthModel`; nothing is imported until it is built."""


BUILDERS: Mapping[str, str] = {
    **MODELS,
    "depth_anything_3": "leadline.models.pretrained.depth_anything_3:depth_anything_3",
    "hub": "leadline.models.pretrained.transformers:hub",
}
"""Also of what is no network of ours, but is saved and loaded as one."""


_SOURCES = frozenset({"weights", "pretrained"})
"""Arguments that say where first weights come from: a saved model has its own and does not keep them."""


LARGEST_TABLES = 2**30
"""Bytes of what an encoder computes when it is built (position tables, attention masks)."""
_RANGES: Mapping[str, tuple[float, float]] = {
    "width": (2, 4096),
    "dim": (1, 16384),
    "blocks": (1, 256),
    "heads": (1, 1024),
    "patch": (1, 64),
    "input_size": (1, 16384),
    "encoder_options": (-16384, 16384),
    "vit_options": (-16384, 16384),
}
"""Argument of a builder → the least and the largest of its numbers; the builder checks the rest."""
_LARGEST = 1e6
_MOST_LAYERS = 512
_LONGEST = 4096


def build(name: str, **arguments: Any) -> DepthModel:
    """Make the model called `name`; `arguments` are its builder's, or words for them as on the command line.

    Any model takes `pruned` besides: the widths of its layers that were pruned (`leadline.models.widths`). One with a
    fusion decoder takes `scope`, the channels of its last feature map, for a
    `leadline.models.layers.scope_head.ScopeHead` on it, which `leadline.recipes.scope.fit_scope` fits.

    Raises:
        BadInput: no such model, an argument that its builder does not take, or a value it cannot use.
    """
    if name not in BUILDERS:
        raise unknown("model", name, MODELS)
    arguments = plain(arguments)
    pruned, scope = arguments.pop(PRUNED, None), arguments.pop(SCOPE, None)
    module, _, builder_name = BUILDERS[name].partition(":")
    builder = getattr(import_module(module), builder_name)
    config = options_of(builder)
    values = parse_options(config or builder, arguments, name)
    _check(values, get_type_hints(config or builder), name)
    if config:
        made = config(**values)
        model, given = builder(made), {each.name: getattr(made, each.name) for each in fields(config)}
    else:
        bound = inspect.signature(builder).bind(**values)
        model = builder(**bound.kwargs)
        bound.apply_defaults()
        given = bound.kwargs
    kept = {key: value for key, value in {**given, **model.defaults}.items() if key not in _SOURCES}
    if pruned is not None:
        kept[PRUNED] = pruned
    if scope is not None:
        add_scope(model, name, scope)
        kept[SCOPE] = scope
    try:
        model.set_spec(ModelSpec(name, json.loads(json.dumps(kept))))
    except TypeError as problem:
        raise BadInput(f"The arguments of {name!r} must be what JSON can hold: {problem}.") from problem
    if kept.get("camera") == LEARNED_CAMERA:
        model.learn_focal_power()
    if pruned is not None:
        set_widths(model, pruned)
    return model


def options_of(builder: Any) -> Any:
    """Return the dataclass that a builder takes as its only argument, or None where its parameters are the options."""
    hints = {name: hint for name, hint in get_type_hints(builder).items() if name != "return"}
    only = next(iter(hints.values())) if len(hints) == 1 else None
    return only if isinstance(only, type) and is_dataclass(only) else None


def build_empty(name: str, **arguments: Any) -> DepthModel:
    """`build` without drawing weights that `load_state_dict(…, assign=True)` replaces at once."""
    return with_tables(build_on_meta(name, **arguments))


def build_on_meta(name: str, **arguments: Any) -> DepthModel:
    """`build` on the meta device: all shapes, and no memory."""
    with init_on_meta():
        return build(name, **arguments)


def with_tables(model: DepthModel) -> DepthModel:
    """Build a model again with real tensors where its encoder computes tables that no file holds.

    Raises:
        BadInput: the tables take more than `LARGEST_TABLES`.
    """
    kept = model.state_dict().keys()
    tables = [buffer for key, buffer in model.named_buffers() if buffer.is_meta and key not in kept]
    if not tables:
        return model
    if sum(table.nbytes for table in tables) > LARGEST_TABLES:
        raise BadInput(f"The encoder of {model.name!r} needs tables of more than {LARGEST_TABLES // 2**20} MB.")
    return build(model.name, **model.arguments)


def _check(arguments: Mapping[str, Any], hints: Mapping[str, Any], name: str) -> None:
    """Refuse values of another type than the builder takes, and sizes that no network has."""
    for key, value in arguments.items():
        where = f"{name} option {key}"
        if not _is_of(value, hints[key]):
            raise BadInput(f"{where}: {value!r:.80} is not what it takes ({_in_words(hints[key])}).")
        low, high = _RANGES.get(key, (-_LARGEST, _LARGEST))
        check_numbers(value, where, low, high)


def check_numbers(value: Any, where: str, low: float = -_LARGEST, high: float = _LARGEST) -> None:
    """Refuse numbers out of range in a value, whatever it nests, more layers than any network has, and long lists.

    Args:
        value: anything that JSON holds.
        where: what the message calls its place.
        low: the least number that is taken.
        high: the largest.

    Raises:
        BadInput: there is such a number.
    """
    if isinstance(value, Mapping):
        for key, each in value.items():
            many_layers = any(word in str(key) for word in ("depth", "layer", "block"))
            check_numbers(each, f"{where}.{key}"[:200], low, min(high, _MOST_LAYERS) if many_layers else high)
    elif isinstance(value, list | tuple):
        if len(value) > _LONGEST:
            raise BadInput(f"{where}: {len(value)} entries are more than {_LONGEST}.")
        for each in value:
            check_numbers(each, where, low, high)
    elif isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
        raise BadInput(f"{where}: {value!r:.80} must be from {low:g} to {high:g}.")


def _is_of(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_is_of(value, choice) for choice in get_args(hint))
    kind = get_origin(hint) or hint
    if kind is Sequence:
        return isinstance(value, list | tuple) and all(_is_of(each, get_args(hint)[0]) for each in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(kind, type) or isinstance(value, kind)


def _in_words(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint).replace("collections.abc.", "").replace("typing.", "")
