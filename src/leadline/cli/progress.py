"""Progress: a bar on a terminal, and now and then a line where the output goes to a file."""

import sys
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")

INTERVAL = 30.0
"""Seconds between two lines in a log."""


def track(items: Iterable[_Item], total: int, unit: str, name: str = "") -> Iterator[_Item]:
    """Yield the items, and say on standard error how many of them are done.

    Args:
        items: what is worked on.
        total: how many there are.
        unit: what one is called, in the plural: `images`.
        name: of the work, where it needs one.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=name or None, total=total, unit=f" {unit}")
        return
    began = said = monotonic()
    for done, item in enumerate(items):
        now = monotonic()
        if now - said >= INTERVAL:
            said = now
            left = (now - began) / done * (total - done) if done else float("nan")
            print(f"{f'{name}: ' if name else ''}{done} of {total} {unit}, {left / 60:.0f} min left", file=sys.stderr)
        yield item
