"""Save a model as a folder of weights and their description, and load that folder."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from shutil import copymode
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.io.atomic import atomic_folder
from leadline.models.base import DepthModel, Preprocessing, Provenance, Resize, shapes, state_dict_mismatch
from leadline.models.lora import merge_adapters
from leadline.models.pretrained.releases import RELEASES
from leadline.models.registry import _SOURCES, DEFAULT, build_empty

FORMAT = 1
"""Of the saved folder; a reader refuses what is newer."""


_WEIGHTS, _DESCRIPTION = "weights.safetensors", "model.json"


def save(model: DepthModel, directory: StrPath, *, half: bool = False) -> None:
    """Write `model` as the folder `directory`, whole or not at all: weights.safetensors and model.json.

    Adapters of LoRA are merged into the weights. `half` keeps the weights as float16, at half the size and three decimal digits; `load` gives float32 in any case.

    Raises:
        BadInput: the folder holds other files, or cannot be written.
    """
    model = merge_adapters(model)
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
    with atomic_folder(Path(directory)) as folder:
        save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
        (folder / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        # safetensors writes for the owner alone.
        copymode(folder / _DESCRIPTION, folder / _WEIGHTS)


def fingerprint(model: DepthModel) -> str:
    """Return the SHA-256 of all that the model's answers depend on."""
    told = hashlib.sha256()
    for part in (model.name, model.arguments, model.kind.value, asdict(model.preprocessing)):
        told.update(json.dumps(part, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        told.update(name.encode())
        told.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return told.hexdigest()


def load_folder(folder: StrPath) -> DepthModel:
    folder = Path(folder)
    description = _description(folder)
    try:
        name, kind = str(description["name"]), DepthKind(description["kind"])
        arguments = dict(description["arguments"])
        preprocessing = _preprocessing(description["preprocessing"])
        provenance = Provenance(**description["provenance"])
    except (KeyError, TypeError, ValueError) as problem:
        raise BadInput(f"{folder / _DESCRIPTION} does not describe a model ({problem!r}): save it again.") from problem
    if told := sorted(_SOURCES & arguments.keys()):
        raise BadInput(f"{folder / _DESCRIPTION} names {told[0]}: a saved model has its own weights. Save it again.")
    model = build_empty(name, **arguments)
    if model.kind != kind:
        raise BadInput(f"{folder / _DESCRIPTION} says {kind}, and {name!r} so built is {model.kind}: save it again.")
    try:
        weights = load_file(folder / _WEIGHTS)
    except (OSError, SafetensorError) as problem:
        raise BadInput(f"{folder / _WEIGHTS} cannot be read ({problem}): save or copy the model again.") from problem
    if fault := state_dict_mismatch(shapes(model.state_dict()), shapes(weights)):
        raise BadInput(f"{folder / _WEIGHTS} does not fit {name!r}: {fault}. Save or copy the model again.")
    weights = {key: tensor.float() if tensor.dtype is torch.float16 else tensor for key, tensor in weights.items()}
    model.load_state_dict(weights, assign=True)
    model.provenance = provenance
    model.set_preprocessing(preprocessing)
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
