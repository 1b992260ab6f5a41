"""Threads: apply a function to many items at once, in order and in bounded memory."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def usable_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_asked_for() -> int:
    """Return how many threads a computation is to take by the variable OMP_NUM_THREADS; 0: as many as there are cores.

    Of a list, which OpenMP reads as one number for each level of nested loops, the first; what is no number counts as
    0, as OpenMP ignores it.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


@cache
def let_forks_use_one_thread() -> None:
    """Let PyTorch use one thread in the processes that are forked from this one; call it before it computes here.

    Its threads do not survive a fork, and GNU's OpenMP would wait for them without end.
    """
    if hasattr(os, "register_at_fork"):
        import torch

        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def map_in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int, ahead: int | None = None
) -> Iterator[_Result]:
    """Yield `function(item)` of each item in order, computed by threads while the caller works on earlier ones.

    Decoders, NumPy and PyTorch release Python's lock while they compute. Warnings are not shown meanwhile: Python's
    filters for them are shared by all threads, and decoders change them.

    Args:
        function: what is computed; it may be called in any thread.
        items: its arguments; they are taken in the caller's thread.
        threads: how many threads compute.
        ahead: how many items at most are computed or wait to be taken; unset: two for each thread.

    Raises:
        Exception: what the function raised for an item, when its turn comes; later items are dropped.
    """
    rest = iter(items)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool = ThreadPoolExecutor(threads)
        try:
            waiting: deque[Future[_Result]] = deque(
                pool.submit(function, item) for item in islice(rest, ahead or 2 * threads)
            )
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)
