"""Stopwatch: how long the stages of a repeated task take, as a table, and what functions take that are compared."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from threading import Lock
from time import perf_counter

from leadline.core.markdown import markdown_table


class Stopwatch:
    """Add up the seconds of named stages, of all threads; where it is off, it measures nothing.

    Args:
        is_on: whether anything is measured.
        wait: called before the clock is read: waits until a device has computed what was asked of it.
    """

    def __init__(self, *, is_on: bool = True, wait: Callable[[], object] | None = None) -> None:
        self.is_on, self.wait = is_on, wait
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.began = perf_counter()
        self._lock = Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add what the block takes to a stage."""
        if not self.is_on:
            yield
            return
        start = self._now()
        try:
            yield
        finally:
            taken = self._now() - start
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + taken
                self.counts[name] = self.counts.get(name, 0) + 1

    def table(self) -> str:
        """Return each stage's seconds, calls and share, and which took longest.

        Shares are of the time since the beginning, or of the stages' sum, where threads make that longer.
        """
        clock = self._now() - self.began
        known = sum(self.seconds.values())
        whole, rest = max(clock, known), max(0.0, clock - known)
        body = [
            [
                name,
                f"{taken:.2f}",
                str(self.counts[name]),
                f"{1000 * taken / self.counts[name]:.1f}",
                _share(taken, whole),
            ]
            for name, taken in self.seconds.items()
        ]
        body.append(["all else", f"{rest:.2f}", "–", "–", _share(rest, whole)])
        lines = markdown_table(["stage", "s", "calls", "ms a call", "share"], body)
        if not self.seconds:
            return lines
        slowest = max(self.seconds, key=lambda name: self.seconds[name])
        return (
            f"{lines}\n\nLongest: {slowest}, {_share(self.seconds[slowest], whole)} of {whole:.1f} s in {clock:.1f} s."
        )

    def _now(self) -> float:
        if self.wait:
            self.wait()
        return perf_counter()


def time_in_turns(functions: Sequence[Callable[[], object]], turns: int) -> list[float]:
    """Return the median seconds of each function; they take turns, so that what else the machine does hits them alike.

    Args:
        functions: what is timed; each waits for the device that it computes on.
        turns: how often each is called, after two calls that are not timed.
    """
    taken: list[list[float]] = [[] for _ in functions]
    for turn in range(turns + 2):
        for function, seconds in zip(functions, taken, strict=True):
            start = perf_counter()
            function()
            if turn >= 2:
                seconds.append(perf_counter() - start)
    return [median(seconds) for seconds in taken]


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"
