"""Models: `build` makes one from its name, `save` and `load` keep it as a folder of weights and their description."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from shutil import copymode
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from leadline.errors import BadInput, unknown
from leadline.files import swapped_folder
from leadline.models.base import DepthModel, Preprocessing, Provenance, Resize, misfit, shapes, undrawn
from leadline.models.published import RELEASES, weights_file
from leadline.sample import Kind
from leadline.words import parse, typed

__all__ = [
    "DEFAULT",
    "MODELS",
    "DepthModel",
    "Preprocessing",
    "Provenance",
    "Resize",
    "build",
    "load",
    "open_model",
    "save",
]

MODELS: Mapping[str, str] = {
    "cnn": "leadline.models.cnn:cnn",
    "dpt_hybrid": "leadline.models.dpt:dpt_hybrid",
    "dpt_hybrid_kitti": "leadline.models.dpt:dpt_hybrid_kitti",
    "dpt_hybrid_nyu": "leadline.models.dpt:dpt_hybrid_nyu",
    "dpt_large": "leadline.models.dpt:dpt_large",
    "hybrid": "leadline.models.hybrid:hybrid",
    "midas_small": "leadline.models.midas:midas_small",
    "midas_v21": "leadline.models.midas:midas_v21",
}
"""Name → builder `(**arguments) -> DepthModel`; nothing is imported until it is built."""
DEFAULT = "leadline_small"
"""The trained model that comes with the package: what commands take where none is named."""
_BUILDERS: Mapping[str, str] = {**MODELS, "hub": "leadline.models.teachers:hub"}
"""Also of what is no network of ours, but is saved and loaded as one."""

FORMAT = 1
"""Of the saved folder; a reader refuses what is newer."""
_WEIGHTS, _DESCRIPTION = "weights.safetensors", "model.json"
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
    given = inspect.signature(builder).bind(**typed(builder, arguments, name))
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


def save(model: DepthModel, directory: Path | str, *, half: bool = False) -> None:
    """Write `model` as the folder `directory`, whole or not at all: weights.safetensors and model.json.

    `half` keeps the weights as float16, at half the size and three decimal digits; `load` gives float32 in any case.

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
    if half:
        weights = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    with swapped_folder(Path(directory)) as folder:
        save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
        (folder / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        # safetensors writes for the owner alone.
        copymode(folder / _DESCRIPTION, folder / _WEIGHTS)


def load(path: Path | str = DEFAULT, as_name: str | None = None) -> DepthModel:
    """Read back a folder that `save` wrote, or an official MiDaS or DPT checkpoint; in evaluation mode.

    Without a path: the model that comes with the package.

    Where nothing lies at `path`, it may be the name of a published model, whose weights are downloaded at first use.
    `as_name` says which model a checkpoint is, where neither its keys nor its file name do.
    `hub:PLACE[,kind=…][,revision=…]` is a model of the Hugging Face hub, or a folder of the transformers library.

    Raises:
        BadInput: nothing there, a folder that does not hold a whole model, a file that is no known checkpoint, or
            weights that cannot be downloaded.
    """
    if str(path).startswith("hub:"):
        from leadline.models.sharing import opened

        return opened(str(path))
    if str(path) == DEFAULT and not Path(path).exists():
        path = Path(__file__).with_name(DEFAULT)
    if str(path) in RELEASES and not Path(path).exists():
        path, as_name = weights_file(str(path)), as_name or str(path)
    if Path(path).is_file():
        from leadline.models.checkpoints import from_file

        return from_file(Path(path), as_name)
    if as_name is not None:
        raise BadInput(
            f"{path} is no checkpoint file, so it cannot be read as {as_name!r}; a saved model has its name."
        )
    return _from_folder(Path(path))


def open_model(words: str) -> DepthModel:
    """Load the model at a path, or build an untrained one from `NAME[,argument=value]…`: `hybrid,size=tiny`.

    Raises:
        BadInput: neither a path nor a known model, or as `load` and `build` say.
    """
    if Path(words).exists():
        return load(words)
    name, path, arguments = parse(words)
    return load(words) if path or "/" in name or words == DEFAULT else build(name, **arguments)


def blank(name: str, **arguments: Any) -> DepthModel:
    """`build` without drawing weights that `load_state_dict(…, assign=True)` replaces at once."""
    with undrawn():
        model = build(name, **arguments)
    kept = model.state_dict().keys()
    if any(buffer.is_meta for key, buffer in model.named_buffers() if key not in kept):
        return build(name, **arguments)  # Its encoder computes tables that no file holds.
    return model


def _from_folder(folder: Path) -> DepthModel:
    description = _description(folder)
    try:
        name, kind = str(description["name"]), Kind(description["kind"])
        arguments = dict(description["arguments"])
        preprocessing = _preprocessing(description["preprocessing"])
        provenance = Provenance(**description["provenance"])
    except (KeyError, TypeError, ValueError) as problem:
        raise BadInput(f"{folder / _DESCRIPTION} does not describe a model ({problem!r}): save it again.") from problem
    if told := sorted(_SOURCES & arguments.keys()):
        raise BadInput(f"{folder / _DESCRIPTION} names {told[0]}: a saved model has its own weights. Save it again.")
    model = blank(name, **arguments)
    if model.kind != kind:
        raise BadInput(f"{folder / _DESCRIPTION} says {kind}, and {name!r} so built is {model.kind}: save it again.")
    try:
        weights = load_file(folder / _WEIGHTS)
    except (OSError, SafetensorError) as problem:
        raise BadInput(f"{folder / _WEIGHTS} cannot be read ({problem}): save or copy the model again.") from problem
    if fault := misfit(shapes(model.state_dict()), shapes(weights)):
        raise BadInput(f"{folder / _WEIGHTS} does not fit {name!r}: {fault}. Save or copy the model again.")
    weights = {key: tensor.float() if tensor.dtype is torch.float16 else tensor for key, tensor in weights.items()}
    model.load_state_dict(weights, assign=True)
    model.provenance = provenance
    model.prepare_as(preprocessing)
    return model.eval()


def _description(folder: Path) -> dict[str, Any]:
    file = folder / _DESCRIPTION
    if not file.is_file():
        raise BadInput(
            f"No model at {folder}: a saved model is a folder with {_DESCRIPTION} and {_WEIGHTS}. "
            f"{DEFAULT} comes with the package; published models go by their names: {', '.join(sorted(RELEASES))}."
        )
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
