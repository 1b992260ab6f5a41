"""Read the intrinsics of a camera from a file of four numbers or of a 3 × 3 matrix."""

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.errors import BadInput
from leadline.core.paths import StrPath

NAMES = ("intrinsics", "K", "camera_matrix", "cam_K", "intrinsic_matrix")
"""What the numbers are called in JSON and NPZ files, where they have a name."""


def read_intrinsics(path: StrPath) -> tuple[float, float, float, float]:
    """Read fx, fy, cx, cy in pixels from a text, JSON, NPY or NPZ file.

    The file holds these four numbers, or the camera's 3 × 3 matrix by rows; JSON and NPZ files may name them (`fx` …,
    or one of `NAMES`).

    Raises:
        BadInput: no such file, or it does not hold them.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"No file {path}: --intrinsics is a file of fx, fy, cx and cy, or of a 3 × 3 matrix.")
    try:
        return _four(np.array(_numbers(path), np.float64).ravel())
    except (ValueError, TypeError, KeyError, OSError, EOFError, RecursionError, zipfile.BadZipFile) as problem:
        cure = "give four numbers, fx fy cx cy in pixels, or the camera's 3 × 3 matrix"
        raise BadInput(f"{path} holds no intrinsics ({problem}): {cure}.") from problem


def _numbers(path: Path) -> Any:
    if path.suffix.lower() in (".npy", ".npz"):
        held = np.load(path, allow_pickle=False)
        if isinstance(held, np.ndarray):
            return held
        with held:
            return _named({key: held[key] for key in held if held[key].dtype.kind in "fiu"})
    text = path.read_text(encoding="utf-8")
    if path.suffix.lower() == ".json":
        told = json.loads(text)
        return _named(told) if isinstance(told, dict) else told
    return [float(word) for word in text.replace(",", " ").replace(";", " ").split()]


def _named(held: Mapping[str, Any]) -> Any:
    """The numbers among those of a file that name theirs."""
    if {"fx", "fy", "cx", "cy"} <= held.keys():
        return [held[key] for key in ("fx", "fy", "cx", "cy")]
    found = [held[name] for name in NAMES if name in held] or (list(held.values()) if len(held) == 1 else [])
    if not found:
        raise ValueError(f"it has no {', '.join(NAMES[:-1])} or {NAMES[-1]}")
    return found[0]


def _four(numbers: np.ndarray) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of four numbers, or of nine that are a matrix by rows."""
    if numbers.size == 9:
        matrix = numbers.reshape(3, 3)
        if not np.allclose(matrix[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
            raise ValueError("its nine numbers are no camera's matrix, fx 0 cx, 0 fy cy, 0 0 1")
        numbers = matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
    if numbers.size != 4:
        raise ValueError(f"it has {numbers.size} numbers")
    fx, fy, cx, cy = (float(number) for number in numbers)
    if not all(map(math.isfinite, (fx, fy, cx, cy))):
        raise ValueError("one of its numbers is infinite or NaN")
    return fx, fy, cx, cy
