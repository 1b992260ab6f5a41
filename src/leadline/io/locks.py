"""Locks: one process at a time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def file_lock(lock: Path, doing: str) -> Iterator[None]:
    """Hold the file `lock`, after waiting for another process that holds it and, as the user is told, is `doing` this.

    A lock ends with its process, however that ends.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        print(f"Another process is {doing}: waiting for it.", file=sys.stderr)
        held.acquire()
    try:
        yield
    finally:
        held.release()
