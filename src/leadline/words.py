"""Words: `NAME[:PATH][,option=value]…`, as data and models are named on the command line, → a builder's arguments."""

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from leadline.errors import BadInput, unknown


def parse(words: str) -> tuple[str, str, dict[str, str]]:
    """`rooms:here,domain=b` → ("rooms", "here", {"domain": "b"}); what is absent is empty."""
    head, *settings = words.split(",")
    name, _, path = head.partition(":")
    options = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise BadInput(f"{setting!r} in {words!r} is no option: write option=value.")
        options[key.strip()] = value.strip()
    return name, path, options


def typed(builder: Callable[..., Any], options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The options with their texts read as the builder annotates them; values that are no text stay as they are.

    Raises:
        BadInput: an option that the builder does not have, or a text that is not of its type.
    """
    hints = get_type_hints(builder)
    known = [name for name, each in signature(builder).parameters.items() if each.kind == each.KEYWORD_ONLY]
    for key in options:
        if key not in known:
            raise unknown(f"{what} option", key, known)
    return {
        key: _read(value, hints[key], f"{what} option {key}") if isinstance(value, str) else value
        for key, value in options.items()
    }


def _read(text: str, hint: Any, where: str) -> Any:
    choices = get_args(hint) or (hint,)
    if NoneType in choices and text == "none":
        return None
    for kind, read in _READERS.items():
        if kind in choices:
            try:
                return read(text)
            except (ValueError, KeyError) as mistake:
                raise BadInput(f"{where}: {text!r} is no {kind.__name__}.") from mistake
    return text


_READERS: Mapping[type, Callable[[str], Any]] = {
    bool: {"yes": True, "no": False}.__getitem__,
    int: int,
    float: float,
    Path: Path,
}
