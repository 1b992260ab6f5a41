"""How fast rooms are rendered, and read back from a cache, on one thread: `python benchmarks/rooms.py`."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import torch

from leadline.data.datasets.rooms import rooms
from leadline.data.datasets.rooms.domains import DOMAINS

SCENES = 200


def per_second(work: Callable[[int], object]) -> float:
    """Scenes a second, after a few that warm up."""
    for index in range(10):
        work(index)
    start = time.perf_counter()
    for index in range(SCENES):
        work(index)
    return SCENES / (time.perf_counter() - start)


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for domain in DOMAINS:
        print(f"rooms-{domain} 128×160: {per_second(rooms('train', domain=domain).__getitem__):.0f} rendered/s", end="")
        with TemporaryDirectory() as folder:
            kept = rooms("train", domain=domain, cache=Path(folder))
            filling = per_second(kept.__getitem__)
            print(f", {filling:.0f}/s into the cache, {per_second(kept.__getitem__):.0f}/s from it")


if __name__ == "__main__":
    main()
