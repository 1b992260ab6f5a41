"""Save a model as a folder of weights and their description, and load that folder."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from shutil import copymode
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from leadline.core.errors import BadInput, first_line
from leadline.core.paths import StrPath
from leadline.io.atomic import atomic_folder
from leadline.io.outputs import file_sha256
from leadline.models.base import DepthModel, as_dtype_of, shapes, state_dict_mismatch
from leadline.models.description import ModelDescription, describe, read_description
from leadline.models.lora import merge_adapters
from leadline.models.quantisation import (
    SCALE,
    channel_scales,
    from_levels,
    merge_quantisers,
    pack,
    packed_shapes,
    quantised_names,
    to_levels,
    unpack,
)
from leadline.models.registry import _SOURCES, build_on_meta, with_tables

WEIGHTS, _DESCRIPTION = "weights.safetensors", "model.json"
_CHECKSUM = "weights_sha256"
"""Of the file of weights, in the description; folders of older versions have none."""


def save(model: DepthModel, directory: StrPath, *, half: bool = False) -> None:
    """Write a model as a folder, whole or not at all: weights.safetensors and model.json.

    Adapters of LoRA are merged into the weights. A model that has `weight_bits` is written as whole numbers of these
    bits with a scale for each output channel, `NAME` and `NAME.scale`, and `load` multiplies the two: see
    `leadline.models.quantisation`.

    Args:
        model: any model.
        directory: the folder; what `save` wrote there before is replaced.
        half: keep the weights as float16, at half the size and three decimal digits; `load` gives float32 in any case.

    Raises:
        BadInput: the folder holds other files, or cannot be written.
    """
    model = merge_quantisers(merge_adapters(model))
    description = describe(
        model.name,
        model.arguments,
        model.kind,
        model.preprocessing,
        model.provenance,
        weight_bits=model.weight_bits,
    )
    weights = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    if half:
        weights = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in weights.items()}
    if model.weight_bits:
        weights |= _quantised(model, model.weight_bits)
    with atomic_folder(Path(directory)) as folder:
        _save_weights(weights, folder / WEIGHTS)
        description[_CHECKSUM] = file_sha256(folder / WEIGHTS)
        (folder / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        # safetensors writes for the owner alone.
        copymode(folder / _DESCRIPTION, folder / WEIGHTS)


def _save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write weights; raises an `OSError` where safetensors has an error of its own, which tells the number only."""
    try:
        save_file(dict(weights), path, metadata={"format": "pt"})
    except SafetensorError as error:
        if not (number := re.search(r"os error (\d+)", str(error))):
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def fingerprint(model: DepthModel) -> str:
    """Return the SHA-256 of all that the model's answers depend on."""
    told = hashlib.sha256()
    for part in (model.name, model.arguments, model.kind.value, asdict(model.preprocessing)):
        told.update(json.dumps(part, sort_keys=True).encode())
    _tell_weights(model, told)
    return told.hexdigest()


def weights_sha256(model: DepthModel) -> str:
    """Return the SHA-256 of the model's weights alone, which is the same in every version of Leadline."""
    told = hashlib.sha256()
    _tell_weights(model, told)
    return told.hexdigest()


def _tell_weights(model: DepthModel, told: Any) -> None:
    for name, tensor in sorted(model.state_dict().items()):
        told.update(name.encode())
        told.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())


def load_folder(folder: StrPath) -> DepthModel:
    """Load the model that `save` wrote into `folder`, in evaluation mode and as float32.

    Nothing is allocated before the description is checked and the shapes in the weights file are the model's.

    Raises:
        BadInput: no such folder, or its files do not hold a whole model; the message names the file.
    """
    folder = Path(folder)
    description_file, weights_file = folder / _DESCRIPTION, folder / WEIGHTS
    if not description_file.is_file():
        raise BadInput(f"No model at {folder}: a saved model is a folder with {_DESCRIPTION} and {WEIGHTS}.")
    told = read_description(description_file)
    if named := sorted(_SOURCES & told.arguments.keys()):
        raise BadInput(f"{description_file} names {named[0]}: a saved model has its own weights. Save it again.")
    model = _built(description_file, lambda: build_on_meta(told.name, **told.arguments))
    if model.kind != told.kind:
        raise BadInput(
            f"{description_file} says {told.kind}, and {told.name!r} so built is {model.kind}: save it again."
        )
    if told.preprocessing.multiple % model.preprocessing.multiple:
        raise BadInput(
            f"{description_file}: preprocessing.multiple is {told.preprocessing.multiple}, and {told.name!r} takes "
            f"multiples of {model.preprocessing.multiple}: save it again."
        )
    weights = _weights(weights_file, model, told)
    model = _built(description_file, lambda: with_tables(model))
    model.load_state_dict(weights, assign=True)
    model.provenance = told.provenance
    model.weight_bits = told.weight_bits
    model.set_preprocessing(told.preprocessing)
    return model.eval()


def _built(file: Path, make: Callable[[], DepthModel]) -> DepthModel:
    """The model that `make` builds from the arguments in `file`."""
    try:
        return make()
    except BadInput as problem:
        raise BadInput(f"{file}: {problem}") from problem
    except Exception as problem:  # timm and torch raise whatever a stranger's arguments lead them to.
        raise BadInput(f"{file}: no model can be built from its arguments ({first_line(problem)[:300]}).") from problem


def _quantised(model: DepthModel, bits: int) -> dict[str, Tensor]:
    """The tensors that replace and join those of floats in a file of quantised weights."""
    found, weights = {}, model.state_dict()
    for name in quantised_names(model):
        weight = weights[name].detach().cpu().float()
        scales = channel_scales(weight, bits)
        found |= {name: pack(to_levels(weight, scales, bits), bits).contiguous(), name + SCALE: scales}
    return found


def _weights(file: Path, model: DepthModel, told: ModelDescription) -> dict[str, Tensor]:
    """The tensors of a weights file, those of floats as float32; `model` says which there must be, and
    the description the bits of whole numbers and the file's SHA-256, if any."""
    expected = model.state_dict()
    quantised = quantised_names(model) if told.weight_bits else []
    sizes = packed_shapes(expected, quantised, told.weight_bits) if told.weight_bits else shapes(expected)
    try:
        if not file.is_file():
            raise FileNotFoundError("no such file")
        with safe_open(file, "pt") as opened:
            found = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
            if fault := state_dict_mismatch(sizes, found):
                raise BadInput(f"{file} does not fit {model.name!r}: {fault}. Save or copy the model again.")
            _check_sum(file, told.weights_sha256)
            weights = {key: _aligned(opened.get_tensor(key)) for key in found}
    except (OSError, SafetensorError) as problem:
        raise BadInput(f"{file} cannot be read ({problem}): save or copy the model again.") from problem
    if told.weight_bits:
        for name in quantised:
            shape = expected[name].shape
            weights[name] = _dequantised(name, weights[name], weights.pop(name + SCALE), shape, told.weight_bits, file)
    return {key: as_dtype_of(expected[key], tensor, f"{key} in {file}") for key, tensor in weights.items()}


def _dequantised(name: str, packed: Tensor, scales: Tensor, shape: torch.Size, bits: int, file: Path) -> Tensor:
    """The weights of a layer as floats.

    Raises:
        BadInput: the levels are no whole numbers of these bits, or a scale is no positive number.
    """
    wanted = torch.int8 if bits == 8 else torch.uint8
    if packed.dtype != wanted:
        raise BadInput(f"{name} in {file} holds {packed.dtype}, where {wanted} belongs: save or copy the model again.")
    scales = as_dtype_of(torch.empty(0), scales, f"{name}{SCALE} in {file}")
    if not (scales.isfinite() & (scales > 0)).all():
        raise BadInput(f"{name}{SCALE} in {file} must hold positive numbers: save or copy the model again.")
    return from_levels(unpack(packed, shape, bits), scales)


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor where vector instructions read whole lines of memory, as an allocated one is.

    Products of a matrix and a vector add up in another order elsewhere, and a loaded model would answer other bits.
    """
    return tensor if tensor.data_ptr() % 64 == 0 else tensor.clone()


def _check_sum(file: Path, stated: str | None) -> None:
    """Refuse weights that are not those that were saved.

    Raises:
        BadInput: the checksum differs.
    """
    if stated is not None and file_sha256(file) != stated:
        raise BadInput(
            f"{file} is damaged, or of another model (its SHA-256 is not the one in {_DESCRIPTION}): copy the model "
            "again, or train it anew in another folder. If you changed the weights yourself, take "
            f"{_CHECKSUM} out of that file."
        )
