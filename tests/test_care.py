"""Care: every fault that is planted in rendered rooms and in real photographs is found, by its own check alone."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from leadline.cli.main import main
from leadline.core.errors import BadInput
from leadline.data.datasets import open_data
from leadline.data_quality.checks import CHECKS, examine
from leadline.data_quality.frame_stats import collect_stats
from leadline.data_quality.index import index_data
from leadline.io.images import read_image, write_image

PHOTOGRAPHS = {"train/kinect_redkitchen": 6, "val/nyu": 5}
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
            Image.fromarray(numbers).save(file.with_suffix(".tiff"))
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
            with Image.open(file) as picture:
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
    collection = index_data(f"{root},depth_scale={depth_scale}")
    found: dict[str, set[str]] = {}
    for fault in examine(list(collect_stats(collection, collection.entries)), collection.kind):
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


def test_a_test_set_is_found_in_the_training_though_cropped_mirrored_and_brightened(photographs, tmp_path, capsys):
    copy = tmp_path / "data"
    shutil.copytree(photographs / "train", copy / "train")
    leaks = {}
    for place, file in enumerate(sorted((photographs / "val" / "nyu" / "rgb").iterdir())[:3]):
        picture = cv2.imread(str(file))
        assert picture is not None
        height, width = picture.shape[:2]
        cropped = picture[height * 44 // 480 : height * 471 // 480, width * 40 // 640 : width * 601 // 640]
        changed = [cropped, picture[:, ::-1], np.clip(picture * 1.2, 0, 255).astype(np.uint8)][place]
        for folder, content in (("rgb", changed), ("depth", np.full(changed.shape[:2], 1000, np.uint16))):
            target = copy / "train" / "mine" / folder / f"{place}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), content)
        leaks[str(copy / "train" / "mine" / "rgb" / f"{place}.png")] = file.stem
    words = ["data", "doctor", f"{copy},depth_scale=1000", "--json", "--against", f"{photographs},include=nyu"]
    assert main([*words, "--against-split", "val"]) == 1
    found = [fault for fault in json.loads(capsys.readouterr().out)["faults"] if fault["check"] == "leaked"]
    assert {fault["files"][0] for fault in found} == leaks.keys()
    assert all(f"nyu/{leaks[fault['files'][0]]} " in fault["message"] for fault in found)


def test_the_doctor_ends_with_0_for_sound_data_and_with_1_and_the_files_for_other(rooms, tmp_path, capsys):
    assert main(["data", "doctor", f"{rooms},depth_scale=1000"]) == 0
    assert "17 frames" in capsys.readouterr().out
    assert main(["data", "doctor", "rooms,height=96,width=128", "--frames", "2"]) == 0
    capsys.readouterr()
    shutil.copytree(rooms, tmp_path / "data")
    spoiled = tmp_path / "data" / "train" / "house" / "depth" / "0003.png"
    write_numbers(spoiled, np.zeros((96, 128)))
    assert main(["data", "doctor", f"{tmp_path / 'data'},depth_scale=1000"]) == 1
    printed = capsys.readouterr().out
    assert "empty: nothing is measured" in printed
    assert str(spoiled) in printed
    assert str(spoiled.with_name("0004.png")) not in printed


def test_what_is_said_of_many_files_is_said_once(rooms, tmp_path, capsys):
    shutil.copytree(rooms, tmp_path / "data")
    spoiled = [tmp_path / "data" / "train" / "house" / "depth" / f"000{number}.png" for number in (1, 4, 5)]
    for file in spoiled:
        write_numbers(file, np.zeros((96, 128)))
    assert main(["data", "doctor", f"{tmp_path / 'data'},depth_scale=1000", "--json"]) == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert fault["files"] == [str(file) for file in spoiled]


@pytest.mark.parametrize(("farthest", "is_cut"), [(9000, False), (7000, True)])
def test_a_wall_within_a_sensors_coarse_steps_is_not_saturated_and_a_cut_is(rooms, tmp_path, farthest, is_cut):
    """A Kinect's number is 1092.5 − 351.3 m / depth: at 9 m some percent of the pixels share each."""
    shutil.copytree(rooms / "train", tmp_path / "data" / "train")
    metres = np.linspace(1, 9, 96)[:, None].repeat(128, 1)
    coarse = np.minimum(351300 / (1092.5 - (1092.5 - 351.3 / metres).round()), farthest)
    write_numbers(tmp_path / "data" / "train" / "house" / "depth" / "0003.png", coarse)
    assert ("saturated" in doctored(tmp_path / "data", 1000)) is is_cut


def test_sparse_depth_is_not_saturated_by_its_farthest_pixel(rooms, tmp_path):
    shutil.copytree(rooms / "train", tmp_path / "data" / "train")
    rng = np.random.default_rng(0)
    for file in (tmp_path / "data" / "train" / "house" / "depth").iterdir():
        depth = np.array(Image.open(file)).ravel()
        kept = rng.choice(np.flatnonzero(depth), 30, replace=False)
        sparse = np.zeros_like(depth)
        sparse[kept] = depth[kept]
        write_numbers(file, sparse.reshape(96, 128))
    assert "saturated" not in doctored(tmp_path / "data", 1000)


def test_a_damaged_photograph_is_listed_and_the_others_examined(rooms, tmp_path, capsys):
    shutil.copytree(rooms / "train", tmp_path / "data" / "train")
    file = tmp_path / "data" / "train" / "house" / "rgb" / "0003.png"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 9
    file.write_bytes(content)
    assert main(["data", "doctor", f"{tmp_path / 'data'},depth_scale=1000", "--json"]) == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert (fault["check"], fault["files"][0]) == ("unreadable", str(file))
    main(["data", "inspect", f"{tmp_path / 'data'},depth_scale=1000"])
    assert "0003.png" in capsys.readouterr().out


def test_a_csv_file_is_examined_whether_its_files_exist_or_not(rooms, tmp_path, capsys):
    list_of_pairs = tmp_path / "pairs.csv"
    house = rooms / "train" / "house"
    lines = [f"{house}/rgb/{index:04d}.png,{house}/depth/{index:04d}.png" for index in (0, 1, 99)]
    list_of_pairs.write_text("\n".join(["image,depth", *lines]))
    assert main(["data", "doctor", f"{list_of_pairs},depth_scale=1000", "--json"]) == 1
    assert {fault["check"] for fault in json.loads(capsys.readouterr().out)["faults"]} == {"unpaired"}


@pytest.mark.parametrize("options", ["depth_scale=1000,exclude=kitti", "depth_scale=256,include=kitti"])
def test_nothing_is_found_in_sound_photographs_of_many_sensors(shared, options):
    collection = index_data(f"{shared / 'data' / 'rgbd'},{options}", frames=5)
    assert examine(list(collect_stats(collection, collection.entries)), collection.kind) == []


@pytest.mark.parametrize("stated", [",depth_scale=1000", ""])
def test_another_unit_within_a_mixture_is_found_where_kitti_shows(shared, stated):
    collection = index_data(f"{shared / 'data' / 'rgbd'},include=kitti|hallway|sunrgbd{stated}")
    (fault,) = examine(list(collect_stats(collection, collection.entries)), collection.kind)
    assert fault.check == "unit"
    assert "depth_scale=256" in fault.message
    assert all("/kitti/" in file for file in fault.files)


@pytest.mark.parametrize(
    ("change", "steps", "scale", "reason"),
    [
        (lambda millimetres: millimetres, np.uint16, 1000, "millimetres"),
        (lambda millimetres: millimetres.round() * 5, np.uint16, 5000, "multiples of 5"),
        (lambda millimetres: millimetres / 1000, np.float32, 1, "metres"),
        (lambda millimetres: millimetres, np.float32, 1000, "millimetres"),
    ],
)
def test_a_unit_is_guessed_with_its_reason(rooms, tmp_path, change, steps, scale, reason, capsys):
    house = rooms / "train" / "house"
    for file in sorted((house / "depth").iterdir())[:3]:
        copy = tmp_path / "data" / "depth" / f"{file.stem}.tiff"
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(change(numbers_of(file)).astype(steps)).save(copy)
        write_image(tmp_path / "data" / "rgb" / file.name, read_image(house / "rgb" / file.name))
    assert main(["data", "inspect", str(tmp_path / "data"), "--json"]) == 0
    (scene,) = json.loads(capsys.readouterr().out)["scenes"]
    assert scene["unit"]["scale"] == scale
    assert reason in scene["unit"]["reason"]
    truth = [numbers_of(file) / 1000 for file in sorted((house / "depth").iterdir())[:3]]
    assert scene["median"] == pytest.approx(np.median([np.median(each[each > 0]) for each in truth]), abs=0.002)
    assert scene["holes"] == pytest.approx(np.mean([(each == 0).mean() for each in truth]))


def test_the_card_tells_counts_cameras_licence_and_depths(rooms, tmp_path, capsys):
    shutil.copytree(rooms, tmp_path / "data")
    (tmp_path / "data" / "README.md").write_text("# Rooms\n\nThe licence is CC BY 4.0.\n")
    cameras = {"train/house": {"intrinsics_fx_fy_cx_cy": [64, 48, 63.5, 47.5]}}
    (tmp_path / "data" / "scenes.json").write_text(json.dumps(cameras))
    page = tmp_path / "card.html"
    assert main(["data", "inspect", f"{tmp_path / 'data'},depth_scale=1000", "--out", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "17 frames of 2 scenes (train 12, val 5)" in printed
    assert "The licence is CC BY 4.0. (README.md)" in printed
    assert "90° × 90°" in printed
    assert printed.count("128 × 96") == 2
    shares = [float(share) for share in re.findall(r" m +([\d.]+)% ", printed)]
    assert sum(shares) == pytest.approx(100, abs=1)
    text = page.read_text()
    assert text.count("data:image/png") == 3  # a depth map of each scene, and the legend
    assert text.count("data:image/jpeg") == 2
    assert not re.findall(r'(?:src|href)="(?!data:)', text)


@pytest.fixture
def sequence(rooms, tmp_path) -> Path:
    """Six of the rooms as a sequence in TUM's format."""
    root = tmp_path / "rgbd_dataset_freiburg1_room"
    house = rooms / "train" / "house"
    for folder, times in (("rgb", 0.0), ("depth", 0.01)):
        lines = []
        for number, file in enumerate(sorted((house / folder).iterdir())[:6]):
            copy = root / folder / f"{number + times:.2f}.png"
            if folder == "rgb":
                write_image(copy, read_image(file))
            else:
                write_numbers(copy, numbers_of(file) * 5)
            lines.append(f"{number + times:.2f} {folder}/{copy.name}\n")
        (root / f"{folder}.txt").write_text("# times\n" + "".join(lines))
    return root


def test_files_without_a_partner_are_no_frames(rooms, tmp_path, capsys):
    data = Path(shutil.copytree(rooms, tmp_path / "data"))
    scene = Scene(data / "train" / "house")
    scene.depths[1].unlink()
    scene.depths[3].unlink()
    scene.images[5].unlink()
    assert main(["data", "inspect", str(data)]) == 0
    said = capsys.readouterr().out
    assert "14 frames of 2 scenes (train 9, val 5), and 3 files without a partner" in said
    assert re.search(r"\| train/house +\| +9 \|", said)
    assert main(["data", "inspect", str(data), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["scenes"]
    assert [(each["frames"], each["unpaired"]) for each in told] == [(9, 3), (5, 0)]
    assert main(["data", "doctor", str(data)]) == 1
    assert "14 frames and 3 files without a partner of" in capsys.readouterr().out


def test_a_published_layout_is_recognised_and_its_own_files_are_named(sequence, capsys):
    assert main(["data", "inspect", str(sequence)]) == 0
    printed = capsys.readouterr().out
    assert f"tum:{sequence}: the dataset tum, 6 frames of 1 scenes (train 6)" in printed
    assert "CC BY 4.0" in printed
    assert main(["data", "doctor", str(sequence)]) == 0
    spoiled = sequence / "depth" / "2.01.png"
    spoiled.write_bytes(spoiled.read_bytes()[:200])
    capsys.readouterr()
    assert main(["data", "doctor", str(sequence)]) == 1
    assert f"\n    {spoiled}\n" in capsys.readouterr().out
    assert main(["data", "inspect", str(sequence)]) == 0
    assert f"1 with a file that cannot be read: Cannot read {spoiled}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "dataset"),
    [
        ("nyu_depth_v2_labeled.mat", "nyu_depth_v2_labeled.mat is truncated"),
        ("kitchen_0004/d-1.0-2.pgm", ""),
        ("2011_09_26/calib_cam_to_cam.txt", "KITTI needs"),
        ("RDs/0.png", "ReDWeb needs"),
        ("flyingthings3d/disparity/x", "Scene Flow needs"),
        ("monkaa/disparity/x", "Scene Flow needs"),
        ("driving/disparity/x", "Scene Flow needs"),
        ("01/base_1_ID01/DEPTH/000000_DEPTH.png", "Pandora needs"),
        ("train/HR/12. Livingroom/color/x", "DIML needs"),
        ("01_warehouse_1/16.01.20/5/col/x", "DIML needs"),
        ("scannetv2_train.txt", "ScanNet needs"),
    ],
)
def test_a_piece_of_a_published_layout_tells_what_it_should_be(file, dataset, tmp_path, capsys):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(b"")
    assert main(["data", "inspect", str(tmp_path)]) == 1
    assert (dataset or "for train") in capsys.readouterr().err


def test_a_split_that_cannot_be_opened_is_told_of(rooms, tmp_path, capsys):
    for folder, name in (("color", "rgb"), ("depth", "depth")):
        shutil.copytree(rooms / "val" / "house" / name, tmp_path / "scene0001_00" / folder)
    (tmp_path / "scannetv2_train.txt").write_text("scene0000_00\n")
    (tmp_path / "scannetv2_val.txt").write_text("scene0001_00\n")
    assert main(["data", "doctor", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "not looked at: train: None of the 1 scenes of scannetv2_train.txt is in" in printed
    assert "5 frames" in printed


def test_what_is_no_dataset_is_refused_with_what_is_needed(tmp_path, capsys):
    assert main(["data", "inspect", str(tmp_path)]) == 1
    assert "needs rgb/ and depth/" in capsys.readouterr().err
    assert main(["data", "doctor", "romos"]) == 1
    assert "No dataset is called 'romos'" in capsys.readouterr().err
    assert main(["data", "doctor", f"{tmp_path},depth_scale=0"]) == 1
    assert "depth_scale=0 must be positive" in capsys.readouterr().err
    assert main(["data", "doctor", "rooms", "--frames", "0"]) == 1
    assert "frames=0: give at least 1" in capsys.readouterr().err
    assert main(["data", "inspect", "rooms", "--out", "card.pdf"]) == 1
    assert "card.html" in capsys.readouterr().err
    for command in (["data", "doctor", "/dev/null"], ["evaluate", "--data", "/dev/null"]):
        assert main(command) == 1
        assert "/dev/null is neither a folder nor a file: give a folder" in capsys.readouterr().err
    with pytest.raises(BadInput, match="frames=0 takes no frame"):
        index_data("rooms", frames=0)


def facing_wall(metres: float, *, size: tuple[int, int] = (96, 128), box: bool = True) -> np.ndarray:
    """Millimetres of a room without noise: a wall that faces the camera, floor, ceiling, side walls and a box."""
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    across, down = (columns - (width - 1) / 2) / width, (rows - (height - 1) / 2) / width
    with np.errstate(divide="ignore"):
        planes = [np.where(down > 0, 1.3 / down, 1.4 / -down), 1.6 / np.abs(across), np.full(size, metres)]
    depth = np.minimum.reduce(planes)
    return np.where(box & (abs(across - 0.1) < 0.1) & (abs(down - 0.15) < 0.08), 1.0, depth) * 1000


@pytest.mark.parametrize("has_room", [True, False])
def test_a_flat_wall_in_a_render_without_noise_is_not_saturated_and_the_same_room_cut_and_tilted_is(has_room, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        numbers = facing_wall(2.9 + 0.1 * number)
        if not has_room:  # the wall and a box before it
            numbers = np.where(numbers < 1500, numbers, 2900 + 100 * number)
        write_numbers(tmp_path / "wall" / "depth" / f"{number}.png", numbers)
        picture = cv2.GaussianBlur(rng.integers(0, 255, (96, 128, 3)).astype(np.float32), (5, 5), 0)
        write_image(tmp_path / "wall" / "rgb" / f"{number}.png", torch.from_numpy(picture / 255).permute(2, 0, 1))
    assert "saturated" not in doctored(tmp_path / "wall", 1000)
    for file in (tmp_path / "wall" / "depth").iterdir():
        slanted = numbers_of(file) * (1 + 0.3 * np.linspace(-1, 1, 128))
        write_numbers(file, np.minimum(slanted, np.percentile(slanted, 70)))
    assert len(doctored(tmp_path / "wall", 1000)["saturated"]) == 6
