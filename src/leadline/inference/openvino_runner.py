"""Run an exported file by OpenVINO."""

import os
import sys
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from leadline.core.paths import StrPath
from leadline.core.threads import threads_asked_for
from leadline.models.names import OUT_OF_SCOPE

METADATA_PATH = ["leadline"]
"""Where a model's runtime information keeps what the file says of itself."""


def import_openvino() -> ModuleType:
    """Import OpenVINO, and keep it from reporting that to its makers.

    At its import it would write an identifier into the home directory and send a message, from a process that it forks.

    Raises:
        ImportError: it is not installed.
    """
    if loaded := sys.modules.get("openvino"):
        return loaded
    reports = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # its own stand-in is used where this is missing
    try:
        import openvino
    finally:
        del sys.modules["openvino_telemetry"]
        if reports is not None:
            sys.modules["openvino_telemetry"] = reports
    return openvino


def compile_file(runtime: Any, path: StrPath) -> tuple[Any, str]:
    """Read and compile a model.

    Args:
        runtime: the module `openvino`.
        path: the file .xml, with the .bin beside it.

    Returns:
        A function of images and focal lengths (`leadline.inference.backends.Run`), and the metadata.
    """
    core = runtime.Core()
    model = core.read_model(os.fspath(path))
    metadata = model.get_rt_info(METADATA_PATH).astype(str) if model.has_rt_info(METADATA_PATH) else ""
    # On processors with bfloat16 instructions OpenVINO would compute in 8 bits of mantissa, whatever the file holds.
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads := threads_asked_for():
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    compiled = core.compile_model(model, "CPU", settings)

    # One call at a time: a second one would find its request busy.
    turn = Lock()
    has_score = any(OUT_OF_SCOPE in output.get_names() for output in compiled.outputs)

    def run(images: np.ndarray, focals: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        with turn:
            answer = compiled({"image": images, "focal": focals})
        return answer["depth"], answer[OUT_OF_SCOPE] if has_score else None

    return run, metadata
