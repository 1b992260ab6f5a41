"""JSON from outside: of a key that stands twice in one object no value is lost in silence."""

import json
from typing import Any

from leadline.core.arrays import plain


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text holds, as `json.loads`, which would take the last of several values of one key.

    Raises:
        ValueError: it is no JSON, or a key stands twice in one object; the message names the key.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, object_pairs_hook=_object)


def as_json(value: Any) -> Any:
    """Return a value as it comes back from JSON: tuples as lists, and numbers of NumPy and PyTorch as Python's.

    Raises:
        TypeError: it holds what JSON cannot.
    """
    return json.loads(json.dumps(plain(value)))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held: dict[str, Any] = {}
    for key, value in pairs:
        if key in held:
            raise ValueError(f"the key {key[:80]!r} stands in it twice")
        held[key] = value
    return held
