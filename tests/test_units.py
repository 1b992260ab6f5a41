"""Units and values: what the numbers of depth files mean is one thing for the reader and for the data checks."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from leadline.cli.main import main
from leadline.core.camera import ray_lengths
from leadline.io.images import write_image

SIZE = HEIGHT, WIDTH = 96, 128
CAMERA = (110.0, 110.0, 63.5, 47.5)


def room(number: int) -> np.ndarray:
    """Metres of a wall seen at a slant above a floor, other in each frame."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    across, down = (columns - CAMERA[2]) / CAMERA[0], (rows - CAMERA[3]) / CAMERA[1]
    wall = (2.0 + 0.1 * number) / (1 + (0.3 + 0.05 * number) * across + 0.1 * down)
    floor = 0.9 / np.maximum(down + 0.2, 1e-3)
    return np.minimum(wall, floor)


def write_data(root: Path, change: Callable[[np.ndarray], np.ndarray], *, suffix: str = "png", frames: int = 6) -> Path:
    """A folder of photographs and of what `change` makes of metres."""
    rng = np.random.default_rng(0)
    for number in range(frames):
        picture = cv2.GaussianBlur(rng.random((HEIGHT, WIDTH, 3), np.float32), (5, 5), 0)
        write_image(root / "rgb" / f"{number}.png", torch.from_numpy(picture).permute(2, 0, 1))
        (root / "depth").mkdir(exist_ok=True)
        numbers = change(room(number))
        file = root / "depth" / f"{number}.{suffix}"
        if suffix == "npz":
            np.savez(file, depth=numbers)
        else:
            cv2.imwrite(str(file), numbers.round().astype(np.uint16) if suffix == "png" else numbers)
    return root


def state_camera(root: Path) -> None:
    (root / "scenes.json").write_text(json.dumps({root.name: {"intrinsics_fx_fy_cx_cy": CAMERA}}))


def faults(capsys: pytest.CaptureFixture[str], words: str) -> dict[str, str]:
    """Check → message of what the doctor finds."""
    capsys.readouterr()
    assert main(["data", "doctor", words, "--json"]) in (0, 1)
    return {fault["check"]: fault["message"] for fault in json.loads(capsys.readouterr().out)["faults"]}


def test_distances_along_the_ray_are_suspected_where_walls_bulge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    along_axis = write_data(tmp_path / "axis", lambda metres: metres * 1000)
    along_ray = write_data(tmp_path / "ray", lambda metres: metres * 1000 * ray_lengths(CAMERA, SIZE))
    assert faults(capsys, f"{along_ray},depth_scale=1000") == {}  # without a camera nobody can tell
    for root in (along_axis, along_ray):
        state_camera(root)
    assert faults(capsys, f"{along_axis},depth_scale=1000") == {}
    found = faults(capsys, f"{along_ray},depth_scale=1000")
    assert found.keys() == {"along_ray"}
    assert "state along_ray=yes" in found["along_ray"]
