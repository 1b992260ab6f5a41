"""Stopping: let Ctrl-C and SIGTERM wait until what is begun is whole."""

import signal
from threading import current_thread, main_thread
from typing import Any

from leadline.core.progress import print_line


class StopRequest:
    """Delay the first SIGTERM or SIGINT until `end` while it is entered; a second one acts at once."""

    def __init__(self) -> None:
        self.signal = 0
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        # Only the main thread of a process may handle signals.
        if current_thread() is main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self.before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def end(self, message: str) -> None:
        """Act on the signal: SIGTERM ends the process with 143, SIGINT interrupts it."""
        self._restore()
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        print_line(f"{message} The same command continues.")
        raise SystemExit(128 + self.signal)

    def _asked(self, number: int, _frame: object) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}
