"""Independent trainings in parallel processes, because a small network makes little use of many cores."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from threading import Thread
from typing import Any

import torch

from leadline.core.errors import BadInput
from leadline.core.progress import share_terminal


def run_parallel(tasks: Sequence[Callable[[], object]], jobs: int) -> None:
    """Run the tasks, `jobs` at once, each on an equal part of the threads; with one job, in turn in this process.

    A task is a function that can be pickled, and leaves what it makes in files. If one fails nothing new is started,
    those that run are finished, and its error is raised. The processes end with this one, however it ends.

    Raises:
        BadInput: fewer jobs than one, or a process that was killed.
    """
    if jobs < 1:
        raise BadInput(f"--jobs {jobs}: one training at a time is the least.")
    if jobs == 1:
        for task in tasks:
            task()
        return
    processes = get_context("spawn")
    lines = processes.SimpleQueue()
    for line in range(jobs):
        lines.put(line)
    settings = (max(torch.get_num_threads() // jobs, 1), lines, processes.RLock())
    with ProcessPoolExecutor(jobs, processes, _begin, settings) as pool:
        running = [pool.submit(task) for task in tasks]
        try:
            for each in as_completed(running):
                each.result()
        except BrokenProcessPool as killed:
            raise BadInput(
                "A training was killed, as happens when memory runs out (fewer --jobs take less): the same command "
                "continues it."
            ) from killed
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin(threads: int, lines: "SimpleQueue[int]", lock: Any) -> None:
    """What each process does first: take its threads and a line of the screen, and watch the one that started it."""
    torch.set_num_threads(threads)
    share_terminal(lines.get(), lock)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End with the parent: a training left alone would write into a folder in which another may have been started."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
