"""Locks: one process at a time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from leadline.core.errors import BadInput
from leadline.io.atomic import make_folder


@contextmanager
def file_lock(lock: Path, doing: str, *, waits: bool = True) -> Iterator[None]:
    """Hold the file `lock`, after waiting for another process that holds it.

    A lock ends with its process, however that ends.

    Args:
        lock: the file.
        doing: what the other process is doing, for the message: `downloading weights.pt`.
        waits: whether to wait for it.

    Raises:
        BadInput: another process holds it, and it is not waited for; or its folder cannot be created.
    """
    make_folder(lock.parent)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout as busy:
        if not waits:
            raise BadInput(f"Another process is {doing}: wait for its end, or choose another folder.") from busy
        print(f"Another process is {doing}: waiting for it.", file=sys.stderr)
        held.acquire()
    try:
        yield
    finally:
        held.release()
        if not waits:
            # Nobody waits for it under this name.
            lock.unlink(missing_ok=True)
