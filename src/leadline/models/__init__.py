"""Models: `build` makes one from its name, `save` and `load` keep it as a folder of weights and their description."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from leadline.errors import BadInput, unknown
from leadline.files import swapped_folder
from leadline.models.base import DepthModel, Preprocessing, Provenance, Resize, misfit, shapes
from leadline.sample import Kind

__all__ = ["MODELS", "DepthModel", "Preprocessing", "Provenance", "Resize", "build", "load", "save"]

MODELS: Mapping[str, str] = {
    "cnn": "leadline.models.cnn:cnn",
    "hybrid": "leadline.models.hybrid:hybrid",
}
"""Name → builder `(**arguments) -> DepthModel`; nothing is imported until it is built."""

FORMAT = 1
"""Of the saved folder; a reader refuses what is newer."""
_WEIGHTS, _DESCRIPTION = "weights.safetensors", "model.json"
_SOURCES = frozenset({"weights", "pretrained"})
"""Arguments that say where first weights come from: a saved model has its own and does not keep them."""


def build(name: str, **arguments: Any) -> DepthModel:
    """Make the model called `name`; `arguments` are its builder's.

    Raises:
        BadInput: no such model, an argument that its builder does not take, or a value it cannot use.
    """
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    module, _, builder_name = MODELS[name].partition(":")
    builder = getattr(import_module(module), builder_name)
    signature = inspect.signature(builder)
    for key in arguments:
        if key not in signature.parameters:
            raise unknown(f"{name} argument", key, signature.parameters)
    given = signature.bind(**arguments)
    given.apply_defaults()
    model = builder(**arguments)
    model.name = name
    kept = {key: value for key, value in given.arguments.items() if key not in _SOURCES}
    try:
        model.arguments = json.loads(json.dumps(kept))
    except TypeError as problem:
        raise BadInput(f"The arguments of {name!r} must be what JSON can hold: {problem}.") from problem
    return model


def save(model: DepthModel, directory: Path | str) -> None:
    """Write `model` as the folder `directory`, whole or not at all: weights.safetensors and model.json.

    Raises:
        BadInput: the folder holds other files, or cannot be written.
    """
    description = {
        "format": FORMAT,
        "name": model.name,
        "arguments": model.arguments,
        "kind": model.kind,
        "preprocessing": asdict(model.preprocessing),
        "provenance": asdict(model.provenance),
    }
    weights = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    with swapped_folder(Path(directory)) as folder:
        save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
        (folder / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load(path: Path | str) -> DepthModel:
    """Read back a folder that `save` wrote: the same model, bit by bit, ready to predict (in evaluation mode).

    Raises:
        BadInput: no such folder, or one that does not hold a whole model.
    """
    folder = Path(path)
    description = _description(folder)
    try:
        name, kind = description["name"], Kind(description["kind"])
        arguments = description["arguments"]
        preprocessing = _preprocessing(description["preprocessing"])
        provenance = Provenance(**description["provenance"])
    except (KeyError, TypeError, ValueError) as problem:
        raise BadInput(f"{folder / _DESCRIPTION} does not describe a model ({problem!r}): save it again.") from problem
    model = blank(name, **arguments)
    if model.kind != kind:
        raise BadInput(f"{folder / _DESCRIPTION} says {kind}, and {name!r} so built is {model.kind}: save it again.")
    try:
        weights = load_file(folder / _WEIGHTS)
    except (OSError, SafetensorError) as problem:
        raise BadInput(f"{folder / _WEIGHTS} cannot be read ({problem}): save or copy the model again.") from problem
    if fault := misfit(shapes(model.state_dict()), shapes(weights)):
        raise BadInput(f"{folder / _WEIGHTS} does not fit {name!r}: {fault}. Save or copy the model again.")
    model.load_state_dict(weights, assign=True)
    model.provenance = provenance
    model.prepare_as(preprocessing)
    return model.eval()


def blank(name: str, **arguments: Any) -> DepthModel:
    """`build` without drawing weights that `load_state_dict(…, assign=True)` replaces at once."""
    with torch.device("meta"):
        model = build(name, **arguments)
    kept = model.state_dict().keys()
    if any(buffer.is_meta for key, buffer in model.named_buffers() if key not in kept):
        return build(name, **arguments)  # Its encoder computes tables that no file holds.
    return model


def _description(folder: Path) -> dict[str, Any]:
    file = folder / _DESCRIPTION
    if not file.is_file():
        raise BadInput(f"No model at {folder}: a saved model is a folder with {_DESCRIPTION} and {_WEIGHTS}.")
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise BadInput(f"{file} is not JSON ({problem}): save or copy the model again.") from problem
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise BadInput(f"{file} does not describe a model: save it again.")
    if description["format"] > FORMAT:
        raise BadInput(f"{file} is of format {description['format']}, newer than this leadline: upgrade it.")
    return description


def _preprocessing(told: Mapping[str, Any]) -> Preprocessing:
    """JSON's lists and text as the tuples and the `Resize` that they were."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    values["resize"] = Resize(values["resize"])
    return Preprocessing(**values)
