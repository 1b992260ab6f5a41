"""Time a model in a process of its own, which imports no more than the model needs."""

import resource
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from leadline.core.errors import BadInput
from leadline.inference.backends import ExportedModel, exported_files
from leadline.inference.session import Backend, load_predictor

_LEAST_RUNS = 5


def time_predictor(sender: Connection, spec: str, backend: Backend, batch: int, seconds: float) -> None:
    """Load a model, run it, and send what it took, or the reason why it cannot be run.

    Args:
        sender: where the answer goes: a dict, or a text.
        spec: what `leadline.load` takes.
        backend: what runs it.
        batch: images at once.
        seconds: how long it is run, after one run that is not counted.
    """
    try:
        predictor = load_predictor(spec, "cpu", backend=backend, says=False)
        height, width = predictor.preprocessing.size
        images = list(np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8))
        taken: list[float] = []
        predictor.measure(images, [None] * batch)
        while len(taken) < _LEAST_RUNS or sum(taken) < seconds:
            start = perf_counter()
            predictor.measure(images, [None] * batch)
            taken.append(perf_counter() - start)
    except BadInput as fault:
        sender.send(str(fault))
        return
    except MemoryError:
        sender.send(f"{batch} images at once are more than the memory holds: give a smaller --batch.")
        return
    is_file = isinstance(predictor, ExportedModel)
    sender.send(
        {
            "model": spec,
            "backend": predictor.backend if is_file else backend.replace("auto", "torch"),
            "precision": str(predictor.export.get("precision", "fp32")) if is_file else "fp32",
            "size": (height, width),
            "seconds": taken,
            "peak_mb": _peak_memory(),
            "file_mb": sum(map(_bytes, _weights(spec, predictor))) / 1e6,
            "figures": {place: dict(scores) for place, scores in predictor.provenance.figures.items()},
        }
    )


def _peak_memory() -> float:
    """Return the largest memory of this process, in MB."""
    # What getrusage says on Linux includes the process that this one was started from.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def _weights(spec: str, predictor: Any) -> list[Any]:
    """Return the files of the weights, which may have fewer bits than the loaded model; else the model."""
    if isinstance(predictor, ExportedModel):
        return list(exported_files(predictor.path))
    from leadline.models.saving import WEIGHTS  # with PyTorch, which such a model has imported

    file = Path(spec) / WEIGHTS
    return [file if file.is_file() else predictor.model]


def _bytes(weights: Any) -> int:
    if isinstance(weights, Path):
        return weights.stat().st_size
    return sum(each.numel() * each.element_size() for each in weights.state_dict().values())
