"""Scene Flow: two frames of each part in the published layout, and one real frame."""

from pathlib import Path

import numpy as np
import pytest
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, UnreadableFile
from leadline.data.datasets import Dataset, open_data
from leadline.data.datasets.sceneflow import sceneflow
from leadline.io.images import write_image

DRIVING = "scene_forwards/fast/left"
FRAMES = {
    "flyingthings3d": ["TRAIN/A/0000/left/0006", "TRAIN/C/0600/left/0007", "TEST/A/0000/left/0006"],
    "monkaa": ["a_rain_of_stones_x2/left/0000", "eating_x2/left/0001", "eating_x2/right/0001"],
    "driving": [f"15mm_focallength/{DRIVING}/0001", f"35mm_focallength/{DRIVING}/0001"],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    root = tmp_path / "sceneflow"
    for name, frames in FRAMES.items():
        for frame in frames:
            write_image(root / name / "frames_cleanpass" / f"{frame}.png", torch.full((3, 2, 3), 0.6))
            write_pfm(root / name / "disparity" / f"{frame}.pfm", np.array([[10, 0, 50], [100, np.inf, 5]]))
    return root


def write_pfm(file: Path, rows: np.ndarray) -> None:
    """As the dataset's own files: little-endian, bottom row first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"Pf\n3 2\n-1.000000\n" + rows[::-1].astype("<f4").tobytes())


def test_disparity_becomes_depth_in_baselines(path: Path) -> None:
    data = open_data(f"sceneflow:{path}", "train")
    assert isinstance(data, Dataset)
    assert (data.name, data.kind, len(data)) == ("flyingthings3d train", DepthKind.SCALE_FREE, 2)
    sample = data[0]
    assert sample.name == "TRAIN/A/0000/left/0006"
    assert sample.depth.tolist() == [[[105, 0, 21], [10.5, 0, 210]]]
    assert sample.valid.tolist() == [[[True, False, True], [True, False, True]]]
    assert sample.intrinsics is not None
    # The camera of 960 × 540 pixels, in those of this copy.
    assert sample.intrinsics.tolist() == pytest.approx([1050 * 3 / 960, 1050 * 2 / 540, 1, 0.5])


def test_each_part_has_its_focal_length(path: Path) -> None:
    focals = {name: [round(float(each.intrinsics[0]) * 960 / 3) for each in opened(path, name)] for name in FRAMES}
    assert focals == {"flyingthings3d": [1050, 1050], "monkaa": [1050, 1050], "driving": [450, 1050]}
    assert opened(path, "driving")[0].depth[0, 0, 0] == 45


def opened(path: Path, name: str) -> list:
    data = sceneflow("train", path=path, part=name)
    return [data[index] for index in range(len(data))]


def test_official_and_chosen_splits_share_no_scene(path: Path) -> None:
    def names(split: str, **options: str) -> list[str]:
        return [pair.name for pair in sceneflow(split, path=path, **options).pairs]  # pyright: ignore[reportArgumentType]

    things, monkaa = FRAMES["flyingthings3d"], FRAMES["monkaa"]
    assert names("test") == things[2:]
    assert names("train", val="TRAIN/C/*") == things[:1]
    assert names("val", val="TRAIN/C/*") == things[1:2]
    assert names("train", part="monkaa", test="eating*") == monkaa[:1]
    assert names("test", part="monkaa", test="eating*") == monkaa[1:2]
    for split, part in (("val", "flyingthings3d"), ("test", "monkaa"), ("val", "driving")):
        with pytest.raises(NoSplit, match=f"has no published {split} split: state {split}=PATTERN"):
            names(split, part=part)
    with pytest.raises(BadInput, match="FlyingThings3D has an official test"):
        names("test", test="TRAIN/C/*")


def test_the_right_view_is_read_and_named(path: Path) -> None:
    data = sceneflow("train", path=path, part="monkaa", view="right")
    assert (data.name, [pair.name for pair in data.pairs]) == ("monkaa train, right", ["eating_x2/right/0001"])


def test_webp_photographs_do_as_well(path: Path) -> None:
    root = path / "flyingthings3d"
    (root / "frames_cleanpass").rename(root / "frames_cleanpass_webp")
    for file in (root / "frames_cleanpass_webp").rglob("*.png"):
        file.rename(file.with_suffix(".webp"))
    assert sceneflow("train", path=path)[0].size == (2, 3)


def test_what_is_missing_is_named(path: Path) -> None:
    with pytest.raises(BadInput, match=r"Scene Flow needs frames_finalpass and disparity/TRAIN in .*\(found dis"):
        sceneflow("train", path=path, render="finalpass")
    with pytest.raises(BadInput, match=r"No right/\*\.pfm below .*disparity"):
        sceneflow("train", path=path, view="right")
    (path / "monkaa" / "frames_cleanpass" / f"{FRAMES['monkaa'][1]}.png").unlink()
    with pytest.raises(BadInput, match=r"1 disparities below .* have no photograph, first .*eating_x2/left/0001\.png"):
        sceneflow("train", path=path, part="monkaa")
    with pytest.raises(BadInput, match=r"No part is called 'sintel'\. Known parts: driving, flyingthings3d, monkaa"):
        sceneflow("train", path=path, part="sintel")


def test_a_truncated_disparity_is_named(path: Path) -> None:
    file = path / "flyingthings3d" / "disparity" / f"{FRAMES['flyingthings3d'][0]}.pfm"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UnreadableFile, match=r"0006\.pfm: 3 × 2 floats need 24 bytes, and it has 20"):
        sceneflow("train", path=path)[0]


def test_a_real_frame_is_read(shared: Path, path: Path) -> None:
    source, place = shared / "data" / "formats" / "sceneflow", FRAMES["flyingthings3d"][0]
    root = path / "flyingthings3d"
    (root / "frames_cleanpass" / f"{place}.png").write_bytes((source / "left.png").read_bytes())
    (root / "disparity" / f"{place}.pfm").write_bytes((source / "disparity.pfm").read_bytes())
    sample = sceneflow("train", path=path)[0]
    assert sample.size == (540, 960)
    assert sample.valid.all()
    # The near half of the picture lies within a hundred baselines, and nothing nearer than the stereo pair is wide.
    assert 1 < sample.depth.min() < sample.depth.median() < 1000
