"""Care: every fault that is planted in rendered rooms and in real photographs is found, by its own check alone."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pictures

from leadline.care.checks import CHECKS, examine
from leadline.care.entries import collect
from leadline.care.looks import look_at
from leadline.datasets import open_data
from leadline.files import write_image

PHOTOGRAPHS = {"train/kinect_redkitchen": 6, "train/tabletop_single": 5, "val/nyu": 5}
"""Scenes of the real data → how many of their frames, evenly taken; all of one size, in millimetres."""


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> Path:
    """A dozen rendered rooms in train and five in val, as foreign files: PNG, and 16-bit PNG in millimetres."""
    root = tmp_path_factory.mktemp("rooms") / "data"
    for split, count in (("train", 12), ("val", 5)):
        dataset = open_data(f"rooms,height=96,width=128,count={count}", split)
        for index in range(count):
            sample = dataset[index]
            write_image(root / split / "house" / "rgb" / f"{index:04d}.png", sample.image)
            write_numbers(root / split / "house" / "depth" / f"{index:04d}.png", sample.depth[0].numpy() * 1000)
    return root


@pytest.fixture(scope="module")
def photographs(shared: Path, tmp_path_factory) -> Path:
    """Some of the real frames."""
    root = tmp_path_factory.mktemp("photographs") / "data"
    for scene, count in PHOTOGRAPHS.items():
        frames = sorted((shared / "data" / "rgbd" / scene / "rgb").iterdir())
        for frame in frames[:: len(frames) // count][:count]:
            for file in (frame, frame.parents[1] / "depth" / f"{frame.stem}.png"):
                copy = root / scene / file.parent.name / file.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
    return root


@dataclass(frozen=True)
class Scene:
    """A scene to spoil."""

    path: Path

    @property
    def images(self) -> list[Path]:
        return sorted((self.path / "rgb").iterdir())

    @property
    def depths(self) -> list[Path]:
        return sorted((self.path / "depth").iterdir())


Plant = Callable[[Scene], list[Path]]
"""Spoils a scene and returns the files that a doctor must name."""


def write_numbers(path: Path, numbers: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), numbers.round().clip(0, 65535).astype(np.uint16))


def numbers_of(path: Path) -> np.ndarray:
    numbers = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert numbers is not None
    return numbers.astype(np.float64)


def every_depth(change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    def plant(scene: Scene) -> list[Path]:
        for file in scene.depths:
            write_numbers(file, change(numbers_of(file)))
        return scene.depths

    return plant


def one_depth(change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    def plant(scene: Scene) -> list[Path]:
        write_numbers(scene.depths[2], change(numbers_of(scene.depths[2])))
        return [scene.depths[2]]

    return plant


def as_picture(change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    """One depth map as 8 bits."""

    def plant(scene: Scene) -> list[Path]:
        numbers = numbers_of(scene.depths[2])
        cv2.imwrite(str(scene.depths[2]), change((numbers * 255 / numbers.max()).round().astype(np.uint8)))
        return [scene.depths[2]]

    return plant


def as_floats(mark: float | None = None) -> Plant:
    """All depth as float TIFF, and in one file a patch of some other number."""

    def plant(scene: Scene) -> list[Path]:
        for place, file in enumerate(scene.depths):
            numbers = numbers_of(file).astype(np.float32)
            if place == 2 and mark is not None:
                numbers[20:30, 20:30] = mark
            Pictures.fromarray(numbers).save(file.with_suffix(".tiff"))
            file.unlink()
        return [scene.depths[2]]

    return plant


def cut_off(folder: str) -> Plant:
    def plant(scene: Scene) -> list[Path]:
        file = sorted((scene.path / folder).iterdir())[1]
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
        return [file]

    return plant


def exif(orientation: int) -> Plant:
    def plant(scene: Scene) -> list[Path]:
        for file in scene.images:
            with Pictures.open(file) as picture:
                tags = picture.getexif()
                tags[274] = orientation
                picture.save(file, exif=tags, quality=95)
        return scene.images

    return plant


def lone(scene: Scene) -> list[Path]:
    scene.depths[2].unlink()
    return [scene.images[2]]


def inverted(numbers: np.ndarray) -> np.ndarray:
    near = np.percentile(numbers[numbers > 0], 1)
    return np.where(numbers > 0, near * 60000 / np.maximum(numbers, near), 0)


def clipped(numbers: np.ndarray) -> np.ndarray:
    return np.minimum(numbers, np.percentile(numbers[numbers > 0], 70))


def moved(numbers: np.ndarray) -> np.ndarray:
    """To the right by 4 % of the width, as between two cameras."""
    columns = numbers.shape[1] // 25
    return np.pad(numbers, ((0, 0), (columns, 0)))[:, :-columns]


def late(scene: Scene) -> list[Path]:
    """Each depth map under the name of the next."""
    contents = [file.read_bytes() for file in scene.depths]
    for file, content in zip(scene.depths, [contents[-1], *contents[:-1]], strict=True):
        file.write_bytes(content)
    return scene.depths


def copied(scene: Scene) -> list[Path]:
    """A training picture in val: smaller, brighter and compressed."""
    other = Scene(scene.path.parents[1] / "val" / next((scene.path.parents[1] / "val").iterdir()).name)
    picture = cv2.imread(str(scene.images[3]))
    assert picture is not None
    picture = cv2.resize(picture, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    copy = other.path / "rgb" / "copy.jpg"
    cv2.imwrite(str(copy), np.clip(picture * 1.2 + 8.0, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 60])
    numbers = numbers_of(scene.depths[3])
    size = (picture.shape[1], picture.shape[0])
    write_numbers(other.path / "depth" / "copy.png", cv2.resize(numbers, size, interpolation=cv2.INTER_NEAREST))
    return [scene.images[3], copy]


PLANTS: dict[str, tuple[str, Plant, float]] = {
    "image cut off": ("unreadable", cut_off("rgb"), 1000),
    "depth cut off": ("unreadable", cut_off("depth"), 1000),
    "depth missing": ("unpaired", lone, 1000),
    "EXIF quarter turn": ("turned", exif(6), 1000),
    "EXIF half turn": ("turned", exif(3), 1000),
    "depth of other aspect": ("other_size", one_depth(lambda numbers: numbers[:, numbers.shape[1] // 10 :]), 1000),
    "depth of half the size": ("other_size", one_depth(lambda numbers: numbers[::2, ::2]), 1000),
    "8 bits": ("eight_bits", as_picture(lambda grey: grey), 1000),
    "8 bits in 16": ("eight_bits", one_depth(lambda numbers: (numbers * 255 // numbers.max()) * 257), 1000),
    "colour map": ("eight_bits", as_picture(lambda grey: cv2.applyColorMap(grey, cv2.COLORMAP_JET)), 1000),
    "all zero": ("empty", one_depth(np.zeros_like), 1000),
    "constant": ("empty", one_depth(lambda numbers: np.full_like(numbers, 1500)), 1000),
    "NaN": ("impossible", as_floats(np.nan), 1000),
    "infinite": ("impossible", as_floats(np.inf), 1000),
    "negative": ("impossible", as_floats(-3.0), 1000),
    "inverse depth": ("inverse", every_depth(inverted), 1000),
    "unit off by 1000": ("unit", every_depth(np.asarray), 1),
    "unit off by 256": ("unit", every_depth(lambda numbers: numbers * 0.256), 1),
    "unit off by 5000": ("unit", every_depth(lambda numbers: numbers * 5), 1),
    "5000 taken for 1000": ("unit", every_depth(lambda numbers: numbers * 5), 1000),
    "saturated": ("saturated", every_depth(clipped), 1000),
    "shifted by a frame": ("mispaired", late, 1000),
    "shifted by 4 %": ("misaligned", every_depth(moved), 1000),
    "in two splits": ("twins", copied, 1000),
}
"""What is planted → the check that must find it, how, and the scale that the user states."""


def doctored(root: Path, depth_scale: float) -> dict[str, set[str]]:
    """Check → the files that it names."""
    collection = collect(f"{root},depth_scale={depth_scale}")
    found: dict[str, set[str]] = {}
    for fault in examine(list(look_at(collection, collection.entries)), collection.kind):
        found.setdefault(fault.check, set()).update(fault.files)
    return found


@pytest.mark.parametrize("source", ["rooms", "photographs"])
def test_every_planted_fault_is_found_by_its_own_check_alone(source, request, tmp_path):
    clean = request.getfixturevalue(source)
    assert doctored(clean, 1000) == {}
    table, missed = [], []
    for name, (check, plant, depth_scale) in PLANTS.items():
        copy = tmp_path / name
        shutil.copytree(clean, copy)
        planted = plant(Scene(next(iter(sorted((copy / "train").iterdir())))))
        found = doctored(copy, depth_scale)
        table.append(f"{name:24}" + "".join(f"{len(found.get(each, ())) or '·':>11}" for each in CHECKS))
        if found.keys() != {check} or not {str(file) for file in planted} <= found[check]:
            missed.append(name)
        shutil.rmtree(copy)
    print(f"\nfiles named, planted × found, {source}:\n" + " " * 24 + "".join(f"{each:>11}" for each in CHECKS))
    print("\n".join(table))
    assert not missed
