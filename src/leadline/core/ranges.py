"""Ranges: which numbers an option takes, stated in its annotation and checked when it is set."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from leadline.core.arrays import plain
from leadline.core.errors import BadInput


@dataclass(frozen=True)
class Within:
    """Annotate the range of a finite number, or of each of several: `Annotated[int, Within(1)]`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    """Whether `low` itself is excluded."""
    below: bool = False
    """Whether `high` itself is excluded."""

    def contains(self, number: float) -> bool:
        """Tell whether a number is finite and in the range."""
        is_high_enough = number > self.low if self.above else number >= self.low
        is_low_enough = number < self.high if self.below else number <= self.high
        return math.isfinite(number) and is_high_enough and is_low_enough

    def __str__(self) -> str:
        low = "" if self.low == -math.inf else f"more than {self.low:g}" if self.above else f"at least {self.low:g}"
        high = "" if self.high == math.inf else f"less than {self.high:g}" if self.below else f"at most {self.high:g}"
        return " and ".join(filter(None, (low, high))) or "a finite number"


@dataclass(frozen=True)
class OneOf:
    """Annotate a text or number that is one of a few: `Annotated[str, OneOf(("cpu", "cuda"))]`."""

    choices: Collection[Any]


AtLeastOne = Annotated[int, Within(1)]
"""A count that cannot be zero."""
NotNegative = Annotated[int, Within(0)]
Seed = Annotated[int, Within(0, 2**63 - 1)]
"""What random generators take."""
Positive = Annotated[float, Within(0, above=True)]
Probability = Annotated[float, Within(0, 1)]
Side = Annotated[int, Within(1, 1 << 14)]
"""Pixels of a height or a width."""


def check_fields(config: Any) -> None:
    """Check every field of a dataclass instance that has a range in its annotation; None is always accepted.

    Numbers of NumPy and PyTorch become Python's, in a frozen instance too: what is configured is written as JSON.

    Raises:
        BadInput: a number of another type, out of its range or not finite, or a text that is no choice; it names field
            and range.
    """
    for name, (marks, is_whole) in _marked(type(config)).items():
        value = getattr(config, name)
        if (as_python := plain(value)) is not value:
            object.__setattr__(config, name, as_python)
        check_value(name, as_python, marks, is_whole=is_whole)


def check_value(name: str, value: Any, marks: Sequence[Any], *, is_whole: bool = False) -> None:
    """Check one value, or each of a sequence, against the ranges and choices of its annotation.

    Args:
        name: what an error calls the value.
        value: a number, a text, a list or tuple of them, or None, which is always accepted.
        marks: the metadata of its annotation; what is neither `Within` nor `OneOf` is ignored.
        is_whole: whether a number must be a whole one.

    Raises:
        BadInput: as `check_fields`.
    """
    if value is None:
        return
    for each in value if isinstance(value, tuple | list) else (value,):
        for mark in marks:
            if isinstance(mark, Within) and not _is_number(each, is_whole=is_whole):
                raise BadInput(f"{name}={value!r:.80}: give a {'whole ' if is_whole else ''}number, {mark}.")
            if isinstance(mark, Within) and not mark.contains(each):
                raise BadInput(f"{name}={_shown(value)}: give {mark}.")
            if isinstance(mark, OneOf) and each not in mark.choices:
                raise BadInput(f"{name}={each!r}: choose one of {', '.join(map(str, sorted(mark.choices)))}.")


def _is_number(value: Any, *, is_whole: bool) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral if is_whole else Real)


@cache
def _marked(kind: type) -> dict[str, tuple[tuple[Any, ...], bool]]:
    """Field → its ranges and choices, and whether its numbers are whole, of those that have any."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        each.name: (found, float not in _types(hints[each.name]))
        for each in fields(kind)
        if (found := tuple(_marks(hints[each.name])))
    }


def _types(hint: Any) -> set[Any]:
    """Return the types in an annotation: int and NoneType of `tuple[Side, Side] | None`."""
    parts = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    return {hint} if not parts else set().union(*map(_types, parts))


def _marks(hint: Any) -> list[Any]:
    """Return the ranges and choices in an annotation and in its parts: `tuple[Side, Side] | None`."""
    own = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Within | OneOf)]
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    for part in inner:
        own += [mark for mark in _marks(part) if mark not in own]
    return own


def _shown(value: Any) -> str:
    return ":".join(f"{each:g}" for each in value) if isinstance(value, tuple | list) else f"{value:g}"
