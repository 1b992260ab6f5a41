"""Backends: a network in an exported file, and what runs it: ONNX Runtime, OpenVINO or PyTorch."""

import hashlib
import logging
import mmap
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.core.threads import let_forks_use_one_thread, threads_asked_for, usable_cores
from leadline.inference.openvino_runner import compile_file, import_openvino
from leadline.io.json_text import parse_json
from leadline.io.outputs import file_sha256
from leadline.models.description import LARGEST_FILE, ModelDescription, parse_description
from leadline.models.names import MOST_IN_SCOPE, OUT_OF_SCOPE
from leadline.models.preprocessing import Preprocessing, Provenance

METADATA_KEY = "leadline"
"""The key, in a file's own metadata, of a JSON text: what the file is (see `ExportedModel.export`)."""

WEIGHTS_SHA256 = "weights_sha256"
"""The key, in `ExportedModel.export`, of the hash of OpenVINO's file of weights; older versions wrote none."""

CONTENT_SHA256 = "content_sha256"
"""The key, in `ExportedModel.export`, of the hash of an ONNX file; older versions wrote none."""

Scored = tuple[Float[np.ndarray, "B 1 H W"], Float[np.ndarray, "B"] | None]
"""Depth of images, and how far each is from what the network learnt, between 0 and 1; None: the model says nothing."""

Run = Callable[[UInt8[np.ndarray, "B H W 3"], Float[np.ndarray, "B"]], Scored]
"""RGB images, and focal lengths in their pixels (0: unknown) → depth of their size, and their scores."""


class Predictor(ABC):
    """What `predict` needs of a model, whatever runs it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The model's name."""

    @property
    @abstractmethod
    def kind(self) -> DepthKind:
        """Of the depth that it returns."""

    @property
    @abstractmethod
    def preprocessing(self) -> Preprocessing:
        """What happens to an image before the network sees it."""

    @property
    @abstractmethod
    def provenance(self) -> Provenance:
        """Where the weights come from."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of all that the answers depend on."""

    def measure(
        self, images: Sequence[np.ndarray], cameras: Sequence[np.ndarray | None]
    ) -> Float[np.ndarray, "B 1 H W"]:
        """Predict the depth of images of one size, in the unit of `kind`.

        Args:
            images: (H, W) grey or (H, W, 3) RGB each, as `Photograph.pixels`: 8 or 16 bits, or floats in [0, 1].
            cameras: fx, fy, cx, cy in pixels of each image, or None where unknown.
        """
        return self.measure_scored(images, cameras)[0]

    @abstractmethod
    def measure_scored(self, images: Sequence[np.ndarray], cameras: Sequence[np.ndarray | None]) -> Scored:
        """Predict as `measure`, and say how far each image is from what the network learnt, if it has a scope head.

        Args:
            images: as for `measure`.
            cameras: as for `measure`.

        Returns:
            The depth, and a score between 0 and 1 for each image: above `leadline.models.names.MOST_IN_SCOPE` its depth
            is not to be trusted. None: the model says nothing.
        """

    @property
    def callers(self) -> int:
        """How many threads may call `measure` at once."""
        return 1

    def for_callers(self) -> "Predictor":
        """Return the model as it is quickest where several threads call it, or itself where one at a time is."""
        return self


def scope_words(scores: Float[np.ndarray, "B"] | None) -> dict[str, str]:
    """Return what is recorded with a depth map: the score of its image, and a warning where it is out of scope.

    Args:
        scores: of `Predictor.measure_scored` for one image.
    """
    if scores is None:
        return {}
    score = float(scores[0])
    warning = {"warning": OUTSIDE} if score > MOST_IN_SCOPE else {}
    return {OUT_OF_SCOPE: f"{score:.3f}", **warning}


OUTSIDE = "It looks outside of what this network learnt from: do not trust its depth."
"""What is said of an image whose score is above `leadline.models.names.MOST_IN_SCOPE`."""


@dataclass(frozen=True, eq=False)
class ExportedModel(Predictor):
    """A network in a file that `leadline export` wrote, with its preprocessing; it sees 8 bits a channel."""

    path: Path
    backend: str
    """What runs it: onnx, openvino or torch."""
    description: ModelDescription
    export: Mapping[str, Any]
    """How it was made: precision, the original's fingerprint, what it was checked on and how far it is from it."""
    run: Run = field(repr=False)
    at_once: int = 1
    """See `callers`."""

    @property
    def callers(self) -> int:
        """How many threads may call `measure` at once."""
        return self.at_once

    def for_callers(self) -> "ExportedModel":
        """Return a small model of ONNX Runtime so that each core runs its own images; another as it is.

        The layers of a small network are too short to share among cores: 10 % more images a second are measured by
        calls side by side on two. A large one occupies all cores by itself, and several at once would only take more
        memory.
        """
        if self.backend != "onnx" or self.path.stat().st_size > _LARGEST_SIDE_BY_SIDE:
            return self
        run, _ = _with_onnx_runtime(self.path, threads=1)
        return replace(self, run=run, at_once=usable_cores())

    @property
    def name(self) -> str:
        """The original's name."""
        return self.description.name

    @property
    def kind(self) -> DepthKind:
        """Of the depth that it returns."""
        return self.description.kind

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done inside."""
        return self.description.preprocessing

    @property
    def provenance(self) -> Provenance:
        """Where the original's weights come from."""
        return self.description.provenance

    @cached_property
    def fingerprint(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The SHA-256 of all that the answers depend on."""
        told = hashlib.sha256(self.backend.encode())
        for file in exported_files(self.path):
            told.update(file.read_bytes())
        return told.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the place of the file, so that other processes open it."""
        return load_exported, (self.path.resolve(), self.backend)

    def measure_scored(self, images: Sequence[np.ndarray], cameras: Sequence[np.ndarray | None]) -> Scored:
        """Predict as `Predictor.measure_scored` says; more than 8 bits a channel are rounded to 8.

        Raises:
            BadInput: the file cannot be run on so many images of that size.
        """
        focals = [0.0 if camera is None or not np.isfinite(camera[:2]).all() else _focal(camera) for camera in cameras]
        batch = np.stack([as_rgb8(image) for image in images])
        try:
            return self.run(batch, np.array(focals, np.float32))
        except (BadInput, MemoryError):
            raise
        except Exception as problem:  # each library has its own
            count, height, width, _ = batch.shape
            words = " ".join(str(problem).split())[:200]
            raise BadInput(
                f"{self.path} fails by {self.backend} on {count} images of {height} × {width}: export it anew, or run "
                f"it by another backend ({words})."
            ) from problem


def is_exported(path: StrPath) -> bool:
    """Return whether a name is that of an exported file, by its suffix."""
    return Path(path).suffix.lower() in _RUNNERS


def exported_files(path: StrPath) -> list[Path]:
    """Return the files that an exported model consists of: OpenVINO keeps its weights in a second one."""
    path = Path(path)
    return [path, path.with_suffix(".bin")] if path.suffix.lower() == ".xml" else [path]


def load_exported(path: StrPath, backend: str = "auto") -> ExportedModel:
    """Open a file that `leadline export` wrote.

    Args:
        path: a file .onnx, .xml (with the .bin beside it) or .pt2.
        backend: what runs it: onnx, openvino or torch; auto: the fastest that is installed, but never torch, because
            a program of PyTorch may run code that the file holds.

    Raises:
        BadInput: no such file, none of ours, one that this version cannot run, or a backend that does not run such
            files or is not installed.
    """
    path = Path(path)
    runners = _RUNNERS[path.suffix.lower()]
    if backend != "auto" and backend not in runners:
        raise BadInput(f"{path} is run by {' or '.join(runners)}, not by {backend}: choose another backend, or none.")
    for file in exported_files(path):
        if not file.is_file():
            raise BadInput(f"No file {file}: `leadline export` writes it.")
    if backend == "auto" and path.suffix.lower() == ".pt2":
        raise BadInput(
            f"{path} is a program of PyTorch, which may run code that the file holds: give --backend torch if you "
            "trust it, or export to onnx or openvino, which hold none."
        )
    chosen = backend if backend != "auto" else next(filter(is_installed, runners), next(iter(runners)))
    run, metadata = runners[chosen](path)
    try:
        said = parse_json(metadata) if metadata and len(metadata) <= LARGEST_FILE else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("model"), dict):
        raise BadInput(f"{path} is no model that `leadline export` wrote: export the model anew.")
    made = said.get("export")
    made = made if isinstance(made, dict) else {}
    described = parse_description(said["model"], path)
    if path.suffix.lower() == ".onnx" and CONTENT_SHA256 in made and content_sha256(path) != made[CONTENT_SHA256]:
        raise BadInput(f"{path} is damaged: copy it again, or export anew.")
    stated = made.get(WEIGHTS_SHA256)
    for weights in exported_files(path)[1:]:
        if stated is not None and file_sha256(weights) != stated:
            raise BadInput(f"{weights} is damaged, or of another model than {path}: copy both again, or export anew.")
    return ExportedModel(path, chosen, described, made, run)


def content_sha256(path: StrPath) -> str:
    """Return the SHA-256 of an ONNX file but for the place in its metadata that holds it, as hex digits.

    Args:
        path: the file, which states `CONTENT_SHA256` once, or zeros there.
    """
    told = hashlib.sha256()
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        marker = f'"{CONTENT_SHA256}": "'.encode()
        start = content.find(marker) + len(marker)
        with memoryview(content) as whole:
            told.update(whole[:start])
            told.update(NO_SHA256.encode())
            told.update(whole[start + len(NO_SHA256) :])
    return told.hexdigest()


NO_SHA256 = "0" * 64
"""What stands for a SHA-256 where it is not computed yet."""


def is_installed(backend: str) -> bool:
    """Return whether the library of a backend is there."""
    from importlib.util import find_spec

    return find_spec(_LIBRARIES[backend]) is not None


def as_rgb8(pixels: np.ndarray) -> UInt8[np.ndarray, "H W 3"]:
    """Return grey or RGB, of 8 or 16 bits or floats in [0, 1], as RGB of 8 bits."""
    if pixels.dtype != np.uint8:
        factor = np.float32(1 / 257 if pixels.dtype == np.uint16 else 255)
        rounded = np.empty(pixels.shape, np.uint8)
        for top in range(0, len(pixels), _STRIP):  # of a large photograph floats are four times the result
            rows = slice(top, top + _STRIP)
            rounded[rows] = np.rint(pixels[rows] * factor)
        pixels = rounded
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


_STRIP = 256
"""Rows that are rounded at once."""
_LARGEST_SIDE_BY_SIDE = 50_000_000
"""Bytes of a file whose network is run for several callers at once."""
_LEAST_SIDE = 2
"""Pixels: a program of PyTorch takes a side of 1 for one that never changes."""
_LIBRARIES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}
_INSTALL = {"onnx": "pip install onnxruntime", "openvino": "pip install 'leadline[cpu]'", "torch": "pip install torch"}


def _focal(camera: np.ndarray) -> float:
    return sqrt(max(float(camera[0]) * float(camera[1]), 0.0))


def _library(backend: str) -> Any:
    try:
        return import_openvino() if backend == "openvino" else import_module(_LIBRARIES[backend])
    except ImportError as problem:
        raise BadInput(f"{_LIBRARIES[backend]} is not installed: {_INSTALL[backend]}") from problem


def _with_onnx_runtime(path: Path, threads: int | None = None) -> tuple[Run, str]:
    """Open an ONNX file; `threads`: that compute for each caller, None: as many as there are cores."""
    runtime = _library("onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    # ONNX Runtime heeds no OMP_NUM_THREADS by itself.
    options.intra_op_num_threads = threads_asked_for() if threads is None else threads
    try:
        session = runtime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as problem:
        raise _cannot_run(path, f"ONNX Runtime {runtime.__version__}", problem) from problem
    metadata = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")

    def run(images: np.ndarray, focals: np.ndarray) -> Scored:
        depth, *scores = session.run(None, {"image": images, "focal": focals})
        return depth, scores[0] if scores else None

    return run, metadata


def _with_openvino(path: Path) -> tuple[Run, str]:
    runtime = _library("openvino")
    try:
        return compile_file(runtime, path)
    except Exception as problem:
        raise _cannot_run(path, f"OpenVINO {runtime.__version__}", problem) from problem


def _with_torch(path: Path) -> tuple[Run, str]:
    runtime = _library("torch")
    extra = {METADATA_KEY: ""}
    # It logs the traceback of each way to read a file that fails.
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        program = runtime.export.load(path, extra_files=extra).module()
    except Exception as problem:
        raise _cannot_run(path, f"PyTorch {runtime.__version__}", problem) from problem
    finally:
        logger.setLevel(level)

    def run(images: np.ndarray, focals: np.ndarray) -> Scored:
        if min(images.shape[1:3]) < _LEAST_SIDE:
            raise BadInput(f"{path} takes images of at least {_LEAST_SIDE} pixels a side: export to onnx for smaller.")
        let_forks_use_one_thread()
        with runtime.inference_mode():
            output = program(runtime.from_numpy(images), runtime.from_numpy(focals))
        depth, *scores = output if isinstance(output, tuple) else (output,)
        return depth.numpy(), scores[0].numpy() if scores else None

    return run, extra[METADATA_KEY]


_IS_NEWER = re.compile(
    r"(unsupported|not supported|under development).{0,80}(opset|ir version)|"
    r"(opset|ir version).{0,80}(unsupported|not supported|under development)",
    re.IGNORECASE,
)
"""What ONNX Runtime and OpenVINO say of files of later versions; "opset" alone stands in other errors, too."""


def _cannot_run(path: Path, library: str, problem: Exception) -> BadInput:
    words = " ".join(str(problem).split())
    line, is_newer = words[:200], _IS_NEWER.search(words) is not None
    advice = "it is newer than this library: upgrade it" if is_newer else "it is damaged, or no such file: export anew"
    return BadInput(f"{path} cannot be run by {library}: {advice} ({line}).")


_RUNNERS: Mapping[str, Mapping[str, Callable[[Path], tuple[Run, str]]]] = {
    ".onnx": {"onnx": _with_onnx_runtime},
    ".xml": {"openvino": _with_openvino},
    ".pt2": {"torch": _with_torch},
}
"""Suffix → backend → what opens such a file, the fastest first."""
