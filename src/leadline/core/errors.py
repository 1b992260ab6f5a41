"""Errors that a user can mend: each says what is wrong and what to do."""

from collections.abc import Iterable


class BadInput(ValueError):
    """Something given from outside (a file, a name, an option) cannot be used; the message says the cure."""


class UnreadableFile(BadInput):
    """One file of many cannot be read; `skip_unreadable` goes on without it."""


class NoSplit(BadInput):
    """The data has no part of this name; what needs one may make it from another part."""


def unknown(what: str, name: str, known: Iterable[str]) -> BadInput:
    """The error for a name that is in no table: `No model is called 'dtp'. Known models: cnn, hybrid.`"""
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return BadInput(f"No {what} is called {name!r}. Known {plural}: {', '.join(sorted(known))}.")
