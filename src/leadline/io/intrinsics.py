"""Read the intrinsics of a camera from a file of four numbers or of a 3 × 3 matrix."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.camera import parse_camera
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.io.json_text import parse_json

INTRINSICS_KEYS = ("intrinsics", "K", "camera_matrix", "cam_K", "intrinsic_matrix")
"""Names under which JSON and NPZ files may hold the numbers."""


def read_intrinsics(path: StrPath) -> tuple[float, float, float, float]:
    """Read fx, fy, cx, cy in pixels from a text, JSON, NPY or NPZ file.

    The file holds these four numbers, or the camera's 3 × 3 matrix by rows; JSON and NPZ files may name them (`fx` …,
    or one of `INTRINSICS_KEYS`).

    Raises:
        BadInput: no such file, or it does not hold them (see `leadline.core.camera.parse_camera`).
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"No file {path}: --intrinsics is a file of fx, fy, cx and cy, or of a 3 × 3 matrix.")
    try:
        numbers = _numbers(path)
    except (ValueError, TypeError, KeyError, OSError, EOFError, RecursionError, zipfile.BadZipFile) as problem:
        advice = "give four numbers, fx fy cx cy in pixels, or the camera's 3 × 3 matrix"
        raise BadInput(f"{path} holds no intrinsics ({problem}): {advice}.") from problem
    return parse_camera(numbers, str(path))


def _numbers(path: Path) -> Any:
    if path.suffix.lower() in (".npy", ".npz"):
        held = np.load(path, allow_pickle=False)
        if isinstance(held, np.ndarray):
            return held
        with held:
            return _named({key: held[key] for key in held if held[key].dtype.kind in "fiu"})
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix.lower() == ".json":
        content = parse_json(text)
        return _named(content) if isinstance(content, dict) else content
    return text.replace(";", " ")


def _named(held: Mapping[str, Any]) -> Any:
    """Return the intrinsics among the named numbers of a file."""
    if {"fx", "fy", "cx", "cy"} <= held.keys():
        return [held[key] for key in ("fx", "fy", "cx", "cy")]
    if "fx" in held and (lacking := [key for key in ("fy", "cx", "cy") if key not in held]):
        raise ValueError(f"it has fx, and no {' and no '.join(lacking)}")
    found = [held[name] for name in INTRINSICS_KEYS if name in held] or (list(held.values()) if len(held) == 1 else [])
    if not found:
        raise ValueError(f"it has no {', '.join(INTRINSICS_KEYS[:-1])} or {INTRINSICS_KEYS[-1]}")
    return found[0]
