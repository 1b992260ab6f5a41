"""Ranges: which numbers an option takes, stated in its annotation and checked when it is set."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from functools import cache
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
        return _is_finite(number) and is_high_enough and is_low_enough

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
    """Check every field of a dataclass instance that is a truth value, or has a range in its annotation.

    Numbers of NumPy and PyTorch become Python's, in a frozen instance too: what is configured is written as JSON.

    Raises:
        BadInput: a value of another type or number of values, a number out of its range or not finite, or a text that
            is no choice; it names field and range.
    """
    for name, rule in _rules(type(config)).items():
        value = getattr(config, name)
        if (as_python := plain(value)) is not value:
            object.__setattr__(config, name, as_python)
        rule.check(name, as_python)


def check_value(name: str, value: Any, marks: Sequence[Any], *, is_whole: bool = False) -> None:
    """Check one value against ranges and choices.

    Args:
        name: what an error calls the value.
        value: a number or a text.
        marks: metadata of an annotation; what is neither `Within` nor `OneOf` is ignored.
        is_whole: whether a number must be a whole one.

    Raises:
        BadInput: as `check_fields`.
    """
    value = plain(value)
    for mark in marks:
        if isinstance(mark, Within):
            if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float):
                wanted = dict.fromkeys(["a whole number" if is_whole else "a finite number", str(mark)])
                raise BadInput(f"{name}={value!r:.80}: give {', '.join(wanted)}.")
            if not mark.contains(value):
                wanted = dict.fromkeys(["a finite number", str(mark)] if not _is_finite(value) else [str(mark)])
                raise BadInput(f"{name}={_shown(value)}: give {', '.join(wanted)}.")
        if isinstance(mark, OneOf) and value not in tuple(mark.choices):
            choices = ", ".join(map(str, sorted(mark.choices)))
            raise BadInput(f"{name}={value!r:.80}: choose one of {choices}.")


def _is_finite(number: float) -> bool:
    """Tell whether a number is finite as a float, which large whole numbers are not."""
    return abs(number) < _LARGEST  # NaN is not


_LARGEST = 1e300


@dataclass(frozen=True)
class _Rule:
    """What a field takes, by its annotation."""

    marks: tuple[Any, ...]
    is_whole: bool
    is_truth: bool
    takes_none: bool
    count: int | None
    """Of a tuple's values; 0: any number of them, None: it is a single value."""

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that the field does not take."""
        if value is None and self.takes_none:
            return
        if self.is_truth:
            if not isinstance(value, bool):
                raise BadInput(f"{name}={value!r:.80}: give True or False.")
            return
        if self.count is None:
            check_value(name, value, self.marks, is_whole=self.is_whole)
            return
        if not isinstance(value, tuple | list) or (self.count and len(value) != self.count):
            how_many = f"{self.count} values" if self.count else "a tuple of values"
            raise BadInput(f"{name}={value!r:.80}: give {how_many}, each {self.marks[0]}.")
        for each in value:
            try:
                check_value(name, each, self.marks, is_whole=self.is_whole)
            except BadInput as fault:
                said = str(fault).partition(": ")[2]
                raise BadInput(f"{name}={_shown(value)}: {said}") from None


@cache
def _rules(kind: type) -> dict[str, _Rule]:
    """Field → its rule, of those that have one."""
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: rule for each in fields(kind) if (rule := _rule(hints[each.name]))}


def _rule(hint: Any) -> _Rule | None:
    marks, types = tuple(_marks(hint)), _types(hint)
    truth = types - {type(None)} == {bool}
    if not marks and not truth:
        return None
    tuples = [each for each in (hint, *get_args(hint)) if get_origin(each) is tuple]
    count = None
    if tuples:
        values = get_args(tuples[0])
        count = 0 if values[-1] is ... else len(values)
    return _Rule(marks, float not in types, truth, type(None) in types, count)


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
    if isinstance(value, tuple | list):
        return ":".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) or _is_finite(value) else f"{value!r:.80}"
