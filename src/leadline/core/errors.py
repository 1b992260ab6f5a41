"""Errors that a user can fix: each says what is wrong and what to do."""

from collections.abc import Iterable
from types import UnionType


class BadInput(ValueError):
    """Something given from outside (a file, a name, an option) cannot be used; the message says what to do."""


class UnreadableFile(BadInput):
    """One file of many cannot be read; `skip_unreadable` continues without it."""


class FullDisk(BadInput):
    """There is no room for what is to be written; nothing else can be written there either."""


class NoSplit(BadInput):
    """The dataset has no split of this name; the caller may take it from another split."""


def first_line(problem: BaseException) -> str:
    """Return the first line of what an error says, or its type where it says nothing."""
    return (str(problem).strip() or repr(problem)).splitlines()[0]


def as_sentence(words: str) -> str:
    """Return words with a capital and a full stop; "" of none.

    Args:
        words: what is wrong, without either.
    """
    return f"{words[0].upper()}{words[1:]}." if words else ""


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Raise BadInput, as `unknown` words it, unless a name is one of the known ones.

    Args:
        what: what the name would name, in the singular: `model`.
        name: the name as it was given.
        known: the names that there are.
    """
    known = tuple(known)
    if name not in known:
        raise unknown(what, name, known)


def unknown(what: str, name: str, known: Iterable[str]) -> BadInput:
    """Return the error for a name that is in no table: `No model is called 'dtp'. Known models: cnn, hybrid.`

    Args:
        what: what the name would name, in the singular: `model`.
        name: the name as it was given.
        known: the names that there are.
    """
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return BadInput(f"No {what} is called {name!r}. Known {plural}: {', '.join(sorted(known))}.")


def check_type(value: object, expected: type | UnionType, noun: str, cure: str) -> None:
    """Refuse a value of another type, such as a text where the object that it names is needed.

    Args:
        value: what was given.
        expected: its type, a union of types, or a protocol that can be checked while the program runs.
        noun: what it should be.
        cure: what to do.

    Raises:
        BadInput: it is of another type.
    """
    if not isinstance(value, expected):
        shown = repr(value) if isinstance(value, str) else f"What is of type {type(value).__name__}"
        raise BadInput(f"{shown} is no {noun}: {cure}.")
