"""model.json: what a saved model says of itself, checked field by field before anything is built from it."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.io.json_text import parse_json
from leadline.models.names import PRUNED, SCOPE
from leadline.models.preprocessing import Interpolation, Preprocessing, Provenance, Resize, Restoring

FORMAT = 3
"""Of the saved folder; a reader refuses what is newer. Models with a scope head are of format 3, pruned and quantised
ones of format 2, and others of format 1."""
LARGEST_FILE = 4 * 2**20
"""Bytes of a model.json; the largest of the transformers library's configurations have some 100 kB."""
DEEPEST = 32
"""Levels of lists and objects in it."""
WEIGHT_BITS = (4, 8)
"""Bits that whole numbers in a file of weights may have."""


def describe(
    name: str,
    arguments: Mapping[str, Any],
    kind: DepthKind,
    rule: Preprocessing,
    provenance: Provenance,
    *,
    weight_bits: int | None = None,
) -> dict[str, Any]:
    """Return what a model.json holds of a model, but the checksum of its weights.

    Args:
        name: the key of its builder.
        arguments: of the builder, as JSON holds them.
        kind: what its depth guarantees.
        rule: its preprocessing.
        provenance: where its weights come from; figures that are NaN are left out.
        weight_bits: of whole numbers, where the weights are saved as such.
    """
    figures = {
        # JSON has no NaN, which a metric is where nothing could be scored.
        data: {metric: score for metric, score in scores.items() if math.isfinite(score)}
        for data, scores in provenance.figures.items()
    }
    return {
        "format": FORMAT if SCOPE in arguments else 2 if weight_bits or PRUNED in arguments else 1,
        "name": name,
        "arguments": arguments,
        "kind": kind,
        "preprocessing": asdict(rule),
        "provenance": {**asdict(provenance), "figures": figures},
        **({"weight_bits": weight_bits} if weight_bits else {}),
    }


@dataclass(frozen=True)
class ModelDescription:
    """The checked contents of a model.json."""

    name: str
    kind: DepthKind
    arguments: Mapping[str, Any]
    """Of the builder; `build` checks them against it."""
    preprocessing: Preprocessing
    provenance: Provenance
    weights_sha256: str | None = None
    """Checksum of the file of weights; older versions wrote none."""
    weight_bits: int | None = None
    """Bits of the whole numbers in the file of weights; None: they are floats."""


def read_description(file: Path) -> ModelDescription:
    """Read a model.json.

    Raises:
        BadInput: it cannot be read, is no JSON, or a field is missing, unknown, of another type or out of its range;
            the message names file and field.
    """
    return parse_description(read_json(file), file)


def parse_description(held: Any, file: Path) -> ModelDescription:
    """Check what a model.json holds, wherever it was found.

    Args:
        held: the JSON.
        file: what messages name.

    Raises:
        BadInput: as `read_description`.
    """
    try:
        _must(isinstance(held, dict), "it", "an object")
        _check_depth(held, DEEPEST)
        _must("format" in held, "format", "there")
        _whole(held["format"], "format", 1, math.inf)
        if held["format"] > FORMAT:
            raise BadInput(f"{file} is of format {held['format']}, newer than this leadline: upgrade it.")
        return _read_model({key: value for key, value in held.items() if key != "format"}, "")
    except _Fault as fault:
        raise BadInput(f"{file} does not describe a model ({fault}): save or copy the model again.") from fault


def read_json(file: Path) -> Any:
    """Read a JSON file of bounded size.

    Raises:
        BadInput: it cannot be read, is too large, or is no JSON.
    """
    try:
        with file.open("rb") as opened:
            text = opened.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise BadInput(f"{file} is larger than {LARGEST_FILE // 2**20} MB, and so no description of a model.")
        return parse_json(text.decode("utf-8"))
    except OSError as problem:
        raise BadInput(f"{file} cannot be read ({problem}): save or copy the model again.") from problem
    except (ValueError, RecursionError) as problem:
        if isinstance(problem, BadInput):
            raise
        raise BadInput(f"{file} is not JSON ({problem}): save or copy the model again.") from problem


def check_preprocessing(preprocessing: Preprocessing) -> Preprocessing:
    """Return `preprocessing`, whatever it was made from, if its values are such as a model.json may hold.

    Raises:
        BadInput: a value of another type or out of its range.
    """
    try:
        return _object_of(Preprocessing, _PREPROCESSING)(json.loads(json.dumps(asdict(preprocessing))), "preprocessing")
    except (_Fault, TypeError) as fault:
        raise BadInput(f"{fault}.") from fault


class _Fault(ValueError):
    """A field and what it must be."""


def _must(holds: bool, field: str, wanted: str) -> None:
    if not holds:
        raise _Fault(f"{field} must be {wanted}")


def _check_depth(value: Any, levels: int) -> None:
    _must(levels > 0, "it", f"nested at most {DEEPEST} levels deep")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(each, levels - 1)


_Reader = Callable[[Any, str], Any]
"""`(value, field)` → the value as Python has it."""


def _read_fields(readers: Mapping[str, _Reader], held: Any, inside: str) -> dict[str, Any]:
    _must(isinstance(held, dict), inside.removesuffix(".") or "it", "an object")
    if surplus := sorted(held.keys() - readers.keys()):
        raise _Fault(f"{inside}{surplus[0][:80]!r} is no field of it")
    return {name: reader(held[name], f"{inside}{name}") for name, reader in readers.items() if name in held}


def _object_of(made: type, readers: Mapping[str, _Reader]) -> _Reader:
    """Reads a frozen dataclass, whose fields without a default must be there."""
    required = [field.name for field in fields(made) if field.default is MISSING and field.default_factory is MISSING]

    def read(held: Any, where: str) -> Any:
        inside = f"{where}." if where else ""
        values = _read_fields(readers, held, inside)
        for name in required:
            _must(name in values, f"{inside}{name}", "there")
        return made(**values)

    return read


def _text(value: Any, field: str) -> str:
    _must(isinstance(value, str), field, "a text")
    return value


def _whole(value: Any, field: str, low: float, high: float) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    _must(is_whole and low <= value <= high, field, f"a whole number from {low} to {high}")
    return value


def _number(value: Any, field: str, low: float, high: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    _must(is_number and low <= value <= high, field, f"a number from {low:g} to {high:g}")
    return float(value)


def _several(value: Any, field: str, count: int, read: _Reader) -> tuple[Any, ...]:
    _must(isinstance(value, list) and len(value) == count, field, f"a list of {count}")
    return tuple(read(each, f"{field}[{number}]") for number, each in enumerate(value))


def _one_of(value: Any, field: str, known: tuple[str, ...]) -> str:
    _must(isinstance(value, str) and value in known, field, f"one of {', '.join(known)}")
    return value


def _bits(value: Any, field: str) -> int:
    known = isinstance(value, int) and not isinstance(value, bool) and value in WEIGHT_BITS
    _must(known, field, f"one of {', '.join(map(str, WEIGHT_BITS))}")
    return value


def _figures(value: Any, field: str) -> dict[str, dict[str, float]]:
    largest = 1e300

    def scores(of_data: Any, where: str) -> dict[str, float]:
        _must(isinstance(of_data, dict), where, "an object")
        return {metric: _number(score, f"{where}.{metric}", -largest, largest) for metric, score in of_data.items()}

    _must(isinstance(value, dict), field, "an object")
    return {data: scores(of_data, f"{field}.{data}") for data, of_data in value.items()}


def _arguments(value: Any, field: str) -> dict[str, Any]:
    _must(isinstance(value, dict), field, "an object")
    return value


_LARGEST_SIDE = 16384
_SMALLEST_STD = 1e-6

_PREPROCESSING: Mapping[str, _Reader] = {
    "size": lambda value, field: _several(value, field, 2, lambda side, where: _whole(side, where, 1, _LARGEST_SIDE)),
    "multiple": lambda value, field: _whole(value, field, 1, _LARGEST_SIDE),
    "resize": lambda value, field: Resize(_one_of(value, field, tuple(Resize))),
    "interpolation": lambda value, field: _one_of(value, field, get_args(Interpolation)),
    "restore": lambda value, field: _one_of(value, field, get_args(Restoring)),
    "mean": lambda value, field: _several(value, field, 3, lambda each, where: _number(each, where, -1e3, 1e3)),
    "std": lambda value, field: _several(value, field, 3, lambda each, where: _number(each, where, _SMALLEST_STD, 1e3)),
    "focal": lambda value, field: None if value is None else _number(value, field, 1e-3, 1e6),
    "margin": lambda value, field: _number(value, field, 0, 100),
}
_PROVENANCE: Mapping[str, _Reader] = {
    **dict.fromkeys(("training_data", "encoder", "licence", "notes"), _text),
    "figures": _figures,
}
_MODEL: Mapping[str, _Reader] = {
    "name": _text,
    "kind": lambda value, field: DepthKind(_one_of(value, field, tuple(DepthKind))),
    "arguments": _arguments,
    "preprocessing": _object_of(Preprocessing, _PREPROCESSING),
    "provenance": _object_of(Provenance, _PROVENANCE),
    "weights_sha256": _text,
    "weight_bits": _bits,
}
"""Field → its reader."""
_read_model = _object_of(ModelDescription, _MODEL)
