"""Benchmark: how fast this machine runs networks, beside what it can compute and copy at most."""

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import inf
from multiprocessing import get_context
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any

import numpy as np

from leadline.core.errors import BadInput
from leadline.core.threads import usable_cores
from leadline.evaluation.tables import TextTable
from leadline.inference.backends import is_exported
from leadline.inference.session import Backend
from leadline.inference.timing import time_predictor
from leadline.reporting.charts import scatter

_MATRIX = 2048
"""Rows and columns of the matrices whose product is timed."""
_COPIED = 1 << 28
"""Bytes that are copied: more than any cache holds."""


@dataclass(frozen=True)
class MachineRates:
    """Say what a machine is, and its ceilings."""

    processor: str
    cores: int
    """That this process may use."""
    gflops: float
    """10⁹ additions and multiplications a second in a product of 32-bit matrices, the best of some."""
    copied_gb: float
    """10⁹ bytes read and written a second in a copy, the best of some."""
    load: float
    """Average number of processes that wanted a core in the minute before; more than 0 disturbs the figures."""


@dataclass(frozen=True)
class BenchmarkRow:
    """Say how one model ran with one backend."""

    model: str
    backend: str
    precision: str
    size: tuple[int, int]
    """Height and width of the images: the network's own."""
    batch: int
    runs: int
    median_ms: float
    """Of a batch."""
    quartiles_ms: tuple[float, float]
    images_per_second: float
    """By the median."""
    gflops: float | None
    """10⁹ additions and multiplications a second of matrix products and convolutions; None: not known how many."""
    ceiling_fraction: float | None
    """Of the machine's `gflops`."""
    peak_mb: float
    """The largest memory of the process, libraries included."""
    file_mb: float
    """Of the weights."""
    figures: dict[str, dict[str, float]]
    """How accurate the model is: dataset and protocol → metric → value, as its own description says."""


@dataclass(frozen=True)
class LeftOut:
    """Say why a model does not run with a backend."""

    model: str
    """As it was given."""
    backend: str
    reason: str

    def __str__(self) -> str:
        return f"{self.model} with {self.backend}: {self.reason}"


def measure_machine(turns: int = 5) -> MachineRates:
    """Measure what this machine computes and copies at most; takes some seconds."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    one = np.ones((_MATRIX, _MATRIX), np.float32)
    source, target = (np.ones(_COPIED // 4, np.float32) for _ in range(2))
    products = min(_seconds(lambda: one @ one, turns))
    copies = min(_seconds(lambda: np.copyto(target, source), turns))
    return MachineRates(_processor(), usable_cores(), 2e-9 * _MATRIX**3 / products, 2e-9 * _COPIED / copies, load)


def measure_models(
    models: Sequence[str], backends: Sequence[Backend], machine: MachineRates, *, batch: int = 1, seconds: float = 3.0
) -> Iterator["BenchmarkRow | LeftOut"]:
    """Measure models with backends, each pair in a process of its own.

    Args:
        models: what `leadline.load` takes; files of `leadline export` state their precision.
        backends: what runs them.
        machine: the ceilings of this machine.
        batch: images at once.
        seconds: how long each is measured, after one run that is not counted.

    Yields:
        A row for each pair, or why there is none.

    Raises:
        BadInput: no image at once, or no time.
    """
    if batch < 1 or not 0 < seconds < inf:
        raise BadInput(f"--batch {batch} for {seconds:g} seconds: give at least one image, and a time.")
    for spec in models:
        operations = None
        for backend in backends:
            answer = _in_a_process(spec, backend, batch, seconds)
            if isinstance(answer, str):
                yield LeftOut(spec, backend, answer)
                continue
            operations = operations or _operations(spec)
            taken = answer.pop("seconds")
            low, middle, high = quantiles(taken, n=4)
            rate = 1e-9 * batch * operations / middle if operations else None
            yield BenchmarkRow(
                **answer,
                batch=batch,
                runs=len(taken),
                median_ms=1000 * middle,
                quartiles_ms=(1000 * low, 1000 * high),
                images_per_second=batch / middle,
                gflops=rate,
                ceiling_fraction=rate / machine.gflops if rate else None,
            )


def benchmark_table(machine: MachineRates, rows: Sequence[BenchmarkRow], left_out: Sequence[str] = ()) -> TextTable:
    """Return the figures as a table, with the machine and what was left out as remarks.

    Args:
        machine: what `measure_machine` returned.
        rows: what `measure_models` yielded.
        left_out: the lines that it yielded.
    """
    head = ("model", "backend", "precision", "input", "ms", "half of the runs", "images/s", "GFLOP/s", "of ceiling")
    lines = tuple(
        (
            *(row.model, row.backend, row.precision, f"{row.batch} × {row.size[0]} × {row.size[1]}"),
            *(f"{row.median_ms:.1f}", f"{row.quartiles_ms[0]:.1f} to {row.quartiles_ms[1]:.1f}"),
            f"{row.images_per_second:.1f}",
            f"{row.gflops:.1f}" if row.gflops else "–",
            f"{100 * row.ceiling_fraction:.0f} %" if row.ceiling_fraction else "–",
            *(f"{row.peak_mb:.0f}", f"{row.file_mb:.1f}"),
        )
        for row in rows
    )
    about = (
        f"{machine.processor}, {machine.cores} cores: {machine.gflops:.0f} GFLOP/s in products of 32-bit matrices, "
        f"{machine.copied_gb:.1f} GB/s read and written in copies. Load before: {machine.load:.1f}."
    )
    return TextTable("Benchmark", (*head, "peak MB", "file MB"), lines, (about, *left_out))


def benchmark_as_dict(
    machine: MachineRates, rows: Sequence[BenchmarkRow], left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what JSON holds.

    Args:
        machine: what `measure_machine` returned.
        rows: what `measure_models` yielded.
        left_out: the lines that it yielded.
    """
    return {"machine": asdict(machine), "benchmark": [asdict(row) for row in rows], "left_out": list(left_out)}


def accuracy_chart(rows: Sequence[BenchmarkRow], metric: str = "d1") -> str | None:
    """Draw a metric against latency, as SVG, for the dataset and protocol that most rows have figures for.

    Returns:
        None where no row has any.
    """
    places = [place for row in rows for place, scores in row.figures.items() if metric in scores]
    if not places:
        return None
    chosen = max(places, key=places.count)
    points = [
        (f"{row.model}, {row.backend} {row.precision}", row.median_ms / row.batch, row.figures[chosen][metric])
        for row in rows
        if metric in row.figures.get(chosen, {})
    ]
    return scatter(points, metric, "ms an image", chosen)


def _seconds(work: Any, turns: int) -> list[float]:
    work()
    taken = []
    for _ in range(turns):
        start = perf_counter()
        work()
        taken.append(perf_counter() - start)
    return taken


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _in_a_process(spec: str, backend: Backend, batch: int, seconds: float) -> dict[str, Any] | str:
    """Measure in a fresh process, whose memory is the model's own; the reason where it cannot be."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=time_predictor, args=(sender, spec, backend, batch, seconds), daemon=True)
    process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        process.join()
        answer = f"its process ended with {process.exitcode}, for want of memory perhaps"
    process.join()
    return answer


def _operations(spec: str) -> int | None:
    """Return the additions and multiplications for one image of the network's own size."""
    if is_exported(spec):
        return None
    from leadline.models.loading import load
    from leadline.reporting.network_counts import multiply_adds

    return 2 * multiply_adds(load(spec).to("meta").eval())
