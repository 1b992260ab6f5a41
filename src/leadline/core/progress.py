"""Progress: a bar on a terminal, or a line every 30 seconds where standard error goes to a file."""

import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, TypeVar

_Item = TypeVar("_Item")

LOG_INTERVAL = 30.0
"""Seconds between two lines in a log."""
_place: dict[str, Any] = {}
"""Options for the bars of this process: `position`, a line of the terminal, where several processes share it."""


def hide_progress() -> None:
    """Draw no bars from now on, and print no lines in their place; errors are still printed."""
    _place["disable"] = True


class ProgressBar:
    """Show how much of a task is done, with a note beside it; a context manager.

    Args:
        total: how many units there are; None: unknown.
        unit: the name of the units, in the plural: `images`; `B` is shown as kB, MB …
        name: the name of the task.
        done: how many units were done before.
        is_shown: False draws and prints nothing.
    """

    def __init__(self, total: int | None, unit: str, name: str = "", *, done: int = 0, is_shown: bool = True) -> None:
        self.total, self.unit, self.name, self.done = total, unit, name, done
        self.note = ""
        self.first, self.began = done, monotonic()
        self.said = self.began
        is_shown = is_shown and not _place.get("disable")
        self.is_shown, self.bar = is_shown, None
        if is_shown and _is_terminal():
            from tqdm import tqdm

            options = {"desc": name or None, "initial": done, "unit": unit if unit == "B" else f" {unit}", **_place}
            self.bar = tqdm(total=total, unit_scale=unit == "B", mininterval=1.0, leave=unit != "B", **options)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, more: int = 1, note: str | None = None) -> None:
        """Add `more` units to those done; a `note` replaces the one that is shown beside them."""
        self.done += more
        self.note = self.note if note is None else note
        if self.bar is not None:
            if note is not None:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(more)
        elif self.is_shown and monotonic() - self.said >= LOG_INTERVAL:
            self.said = monotonic()
            _print_error(self._line())

    def close(self) -> None:
        """End the bar, which stays on the terminal as it is."""
        if self.bar is not None:
            self.bar.close()

    def _line(self) -> str:
        spent, made = monotonic() - self.began, self.done - self.first
        left, of = "", ""
        if self.total is not None:
            left = f", {spent / made * (self.total - self.done) / 60:.0f} min left" if made else ""
            of = f" of {self.total:,}"
        head = f"{self.name}: " if self.name else ""
        return f"{head}{self.done:,}{of} {self.unit}{left}" + (f" ({self.note})" if self.note else "")


def track(items: Iterable[_Item], total: int, unit: str, name: str = "", *, is_shown: bool = True) -> Iterator[_Item]:
    """Yield the items, and show on standard error how many of them are done.

    Args:
        items: what is worked on.
        total: how many there are.
        unit: the name of the items, in the plural: `images`.
        name: the name of the task; empty: none is shown.
        is_shown: False draws and prints nothing.
    """
    with ProgressBar(total, unit, name, is_shown=is_shown) as bar:
        for item in items:
            yield item
            bar.update()


def print_line(text: str) -> None:
    """Print a line on standard error, above the bars that are drawn there."""
    if _is_terminal():
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        _print_error(text)


def share_terminal(line: int, lock: Any) -> None:
    """Draw this process's bars on a line of their own, where several processes draw on one terminal."""
    _place["position"] = line
    if _is_terminal():
        from tqdm import tqdm

        tqdm.set_lock(lock)


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _print_error(text: str) -> None:
    if sys.stderr is not None:  # it is None in a program without a console, and `print` would take standard output
        print(text, file=sys.stderr, flush=True)
