"""Specs: `NAME[:PATH][,option=value]…`, which names a dataset or a model, → the arguments of a function."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from leadline.core.errors import BadInput, unknown


def parse_spec(spec: str) -> tuple[str, str, dict[str, str]]:
    """Split a spec: `rooms:here,domain=b` → ("rooms", "here", {"domain": "b"}); what is absent is empty.

    Returns:
        The name, the path, and the option texts by their names.

    Raises:
        BadInput: an option without `=`, or one that stands twice.
    """
    head, *settings = spec.split(",")
    name, _, path = head.partition(":")
    options = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise BadInput(f"{setting!r} in {spec!r} is no option: write option=value.")
        if key.strip() in options:
            raise BadInput(f"{key.strip()} stands twice in {spec!r}: leave one out.")
        options[key.strip()] = value.strip()
    return name, path, options


def parse_options(builder: Callable[..., Any], options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Convert the texts of options to the types in a function's annotations; `split` is never an option.

    Several numbers, and pairs, are written with colons: `input_size=192:256` and `encoder_options=pad_type:same`.

    Args:
        builder: the function or class whose parameters the options are.
        options: parameter → its text, or a value that is not a text and stays as it is.
        what: what an error calls the thing that the options belong to: `model`.

    Returns:
        Parameter → its value.

    Raises:
        BadInput: an option that the function does not have, or a text that is not of its type.
    """
    hints = {name: hint for name, hint in get_type_hints(builder).items() if name not in ("split", "return")}
    for key in options:
        if key not in hints:
            raise unknown(f"{what} option", key, hints)
    return {
        key: _read(value, hints[key], f"{what} option {key}") if isinstance(value, str) else value
        for key, value in options.items()
    }


def _read(text: str, hint: Any, where: str) -> Any:
    choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if NoneType in choices and text == "none":
        return None
    if get_origin(hint) is Literal and text not in get_args(hint):
        raise BadInput(f"{where}: {text!r} is none of {', '.join(get_args(hint))}.")
    for kind, (article, read) in _READERS.items():
        if any(kind in (choice, get_origin(choice)) for choice in choices):
            try:
                return read(text)
            except (ValueError, KeyError) as mistake:
                raise BadInput(f"{where}: {text!r} is not {article}.") from mistake
    return text


def _numbers(text: str) -> tuple[int, ...] | tuple[float, ...]:
    numbers = tuple(float(part) for part in text.split(":"))
    return tuple(int(number) for number in numbers) if all(number.is_integer() for number in numbers) else numbers


def _pairs(text: str) -> dict[str, str]:
    names, values = text.split(":")[::2], text.split(":")[1::2]
    return dict(zip(names, values, strict=True))


_READERS: Mapping[Any, tuple[str, Callable[[str], Any]]] = {
    bool: ("yes or no", {"yes": True, "no": False}.__getitem__),
    int: ("a whole number", int),
    float: ("a number", float),
    Path: ("a path", Path),
    Sequence: ("numbers with colons between them", _numbers),
    Mapping: ("name:value pairs", _pairs),
}
