"""Render furnished rooms with Blender into a folder of photographs and depth maps; a killed run is resumed."""

import importlib.util
import json
import math
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from leadline.core.camera import centered_camera, focal_length
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.data.furnished_rooms.catalogue import FurnitureModel, list_credits, read_catalogues
from leadline.data.furnished_rooms.layout import make_layout
from leadline.io.atomic import atomic_folder, atomic_write, clean_stale
from leadline.io.locks import file_lock
from leadline.io.run_folder import claim_folder

VERSION = 2
"""Version of layouts and rendering: raise it when the same seed no longer gives the same rooms."""
_VAL_EVERY = 20
"""One scene of this many is for validation, and the next one for the test."""
_BLENDER = Path(__file__).with_name("blender.py")
"""Script for another Python, which has Blender's module and not Leadline."""
_PANE = 1
"""Object index of window panes: behind them lies no measurable surface."""
_SCENES_A_PROCESS = 6
"""Blender does not free all memory of a scene, so that a process renders only a few."""
_SKY_METRES = 60.0
"""Metres beyond which a pixel shows the sky and has no depth."""


@dataclass(frozen=True)
class RoomsConfig:
    """Configuration of a rendering; the same one gives the same rooms."""

    scenes: int = 2000
    views: int = 10
    """Photographs of each scene, at most."""
    size: tuple[int, int] = (192, 256)
    """Height and width."""
    samples: int = 2
    """Light samples of each pixel; a denoiser removes the noise that remains."""
    seed: int = 0


def render_rooms(
    catalogues: StrPath,
    out: StrPath,
    config: RoomsConfig,
    *,
    python: str,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Render the rooms that are missing in a folder, as SPLIT/SCENE/rgb and SPLIT/SCENE/depth (millimetres).

    Args:
        catalogues: folder that holds the `*.sh3f` files.
        out: folder to fill; it belongs to one configuration.
        config: number of rooms and views, size, quality and seed.
        python: a Python that has Blender's `bpy` (a version for Python 3.11 is on the package index).
        jobs: Blender processes at a time, of one thread each.
        progress: called with the number of finished scenes and of all.

    Returns:
        The number of photographs in the folder.

    Raises:
        BadInput: no catalogue, no Blender, no OpenEXR, a Blender that failed, or a folder of another configuration.
    """
    out = Path(out)
    models = read_catalogues(catalogues)
    _check_programs(python)
    about = {"rooms": config.__dict__ | {"version": VERSION, "size": list(config.size)}, "models": len(models)}
    claim_folder(out / "rooms.json", about, f"{out} holds other rooms")
    with file_lock(out / ".lock", f"rendering rooms in {out}"):
        unpacked = _unpacked(models, out / "models")
        (out / "CREDITS.txt").write_text("\n".join(list_credits(models)) + "\n", encoding="utf-8")
        folders = [_folder(out, number) for number in range(config.scenes)]
        for stale in out.glob(".frames.*"):
            shutil.rmtree(stale)
        for split in {folder.parent for folder in folders}:
            split.mkdir(exist_ok=True)
            clean_stale(split)
        missing = [number for number, folder in enumerate(folders) if not folder.exists()]
        batches = [missing[start : start + _SCENES_A_PROCESS] for start in range(0, len(missing), _SCENES_A_PROCESS)]
        done = config.scenes - len(missing)
        progress(done, config.scenes)
        with ThreadPoolExecutor(jobs) as pool:
            for count in pool.map(lambda batch: _render_batch(models, unpacked, out, config, python, batch), batches):
                done += count
                # After each batch, so that what an interrupted run leaves can be read with its cameras.
                _write_cameras(out, folders)
                progress(done, config.scenes)
        return _write_cameras(out, folders)


def _check_programs(python: str) -> None:
    if importlib.util.find_spec("OpenEXR") is None:
        raise BadInput("Blender's files need the library OpenEXR: pip install 'leadline[exr]'.")
    try:
        subprocess.run([python, "-c", "import bpy"], check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as problem:
        raise BadInput(
            f"{python} has no module bpy ({problem}). Make an environment for it: python3.11 -m venv blender && "
            "blender/bin/pip install 'bpy==4.2.0' 'numpy<2', and give --python blender/bin/python."
        ) from problem


def _unpacked(models: Sequence[FurnitureModel], folder: Path) -> Path:
    """Unpack the catalogues, each once."""
    for archive in sorted({model.archive for model in models}):
        target = folder / Path(archive).stem
        if not target.exists():
            with atomic_folder(target) as half, zipfile.ZipFile(archive) as packed:
                packed.extractall(half)
    return folder


def _folder(out: Path, number: int) -> Path:
    split = {0: "val", 1: "test"}.get(number % _VAL_EVERY, "train")
    return out / split / f"room_{number:05d}"


def _render_batch(
    models: Sequence[FurnitureModel],
    unpacked: Path,
    out: Path,
    config: RoomsConfig,
    python: str,
    numbers: Sequence[int],
) -> int:
    """Render scenes in one Blender process and move each to its folder as soon as it is complete."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".frames.") as scratch:
        jobs = Path(scratch) / "jobs.jsonl"
        places = {number: Path(scratch) / str(number) for number in numbers}
        jobs.write_text(
            "".join(json.dumps(_job(models, unpacked, config, number, places[number])) + "\n" for number in numbers)
        )
        command = [python, str(_BLENDER), str(jobs)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            output = list(
                _keep_finished(
                    process.stdout or [], out, config, {str(place): number for number, place in places.items()}
                )
            )
        if process.returncode != 0:
            raise BadInput(
                f"Blender ended with {process.returncode}: {' '.join(output[-3:])}. What was rendered is kept."
            )
    return len(numbers)


def _job(
    models: Sequence[FurnitureModel], unpacked: Path, config: RoomsConfig, number: int, place: Path
) -> dict[str, Any]:
    # More views than needed: those that face a near wall are rejected.
    layout = make_layout(models, (VERSION, config.seed, number), 3 * config.views)
    return {
        "layout": layout.as_json(),
        "models": str(unpacked),
        "out": str(place),
        "size": config.size,
        "samples": config.samples,
        "pane_index": _PANE,
        "views": config.views,
    }


def _keep_finished(lines: Any, out: Path, config: RoomsConfig, numbers: dict[str, int]) -> Iterator[str]:
    """Move each scene that Blender prints as done to its folder; yield all else that it prints."""
    for line in lines:
        printed = line.strip()
        if printed.startswith("done "):
            # The path may hold spaces.
            place = printed.removeprefix("done ").rpartition(" ")[0]
            _keep(Path(place), _folder(out, numbers[place]), config, numbers[place])
            shutil.rmtree(place)
        elif printed:
            yield printed


def _keep(frames: Path, folder: Path, config: RoomsConfig, number: int) -> None:
    """Convert the frames of a scene to photographs and depth maps."""
    views = json.loads((frames / "views.json").read_text())
    rng = np.random.default_rng((VERSION, config.seed, number, 1))
    cameras = []
    with atomic_folder(folder) as half:
        for name in ("rgb", "depth"):
            (half / name).mkdir()
        response = _CameraResponse(rng)
        for index, view in enumerate(views):
            light, depth = _read_frame(frames / f"{index:04d}.exr")
            height, width = depth.shape
            cv2.imwrite(
                str(half / "rgb" / f"{index:04d}.jpg"),
                response.apply(light, rng)[..., ::-1],
                [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(85, 97))],
            )
            cv2.imwrite(str(half / "depth" / f"{index:04d}.png"), np.rint(depth * 1000).astype(np.uint16))
            focal = focal_length(view["field_of_view"], width)
            cameras.append(centered_camera(focal, (height, width)))
        (half / "cameras.json").write_text(json.dumps(cameras))


def _read_frame(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read linear RGB and depth in metres, which is 0 where a window or nothing is seen."""
    import OpenEXR

    channels = {
        key.split(".", 1)[1]: each.pixels
        for key, each in OpenEXR.File(str(file), separate_channels=True).channels().items()
    }
    light = np.stack([channels[f"Combined.{name}"] for name in "RGB"], axis=-1)
    depth, index = channels["Depth.Z"], channels["IndexOB.X"]
    return light, np.where((index == _PANE) | ~(depth < _SKY_METRES), 0.0, depth)


class _CameraResponse:
    """From linear light to the 8 bits of a camera, with one white balance and tone curve for all frames of a scene."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.gains = np.exp(rng.normal(0, 0.08, 3))
        self.contrast = float(rng.uniform(0.85, 1.3))
        self.saturation = float(rng.uniform(0.6, 1.2))

    def apply(self, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return RGB of 8 bits; a tenth of the photographs is under-exposed, a tenth over-exposed."""
        light = np.maximum(light, 0) * self.gains
        middle = math.exp(float(np.log(light.mean(-1) + 1e-4).mean()))
        stops = rng.normal(0, 0.4) + rng.choice([0.0, -1.5, 1.3], p=[0.8, 0.1, 0.1])
        light = light * (0.28 / max(middle, 1e-4)) * 2.0**stops
        # Reinhard et al. 2002, eq. 4, with white at 4.
        light = light * (1 + light / 16) / (1 + light)
        grey = light.mean(-1, keepdims=True)
        light = np.clip(grey + self.saturation * (light - grey), 0, 1) ** (1 / 2.2)
        light = 0.5 + self.contrast * (light - 0.5)
        return np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8)


def _write_cameras(out: Path, folders: Sequence[Path]) -> int:
    """Write the cameras of all scenes as the `folder` dataset reads them; return the number of photographs."""
    cameras = {
        folder.relative_to(out).as_posix(): {
            "intrinsics_fx_fy_cx_cy": json.loads((folder / "cameras.json").read_text())
        }
        for folder in folders
        if (folder / "cameras.json").exists()
    }
    with atomic_write(out / "scenes.json") as half:
        half.write_text(json.dumps(cameras))
    return sum(len(each["intrinsics_fx_fy_cx_cy"]) for each in cameras.values())
