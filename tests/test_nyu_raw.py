"""NYU Depth v2, raw: two scenes in the layout of the Kinect's dumps."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, UnreadableFile
from leadline.data.datasets import Dataset, open_data
from leadline.data.datasets.nyu_raw import ROTATION, TRANSLATION, nyu_raw

SCENES = ("kitchen_0004a", "office_0001", "bedroom_0009")


def write_depth_dump(file: Path, numbers: np.ndarray, order: str = "<u2") -> None:
    """As the Kinect's recorder wrote it: a PGM header, and bytes the wrong way round for one."""
    file.write_bytes(b"P5\n640 480\n65535\n" + numbers.astype(order).tobytes())


def write_frames(scene: Path, numbers: np.ndarray, times: tuple[float, ...] = (100.0,)) -> None:
    scene.mkdir(parents=True)
    for time in times:
        write_depth_dump(scene / f"d-{time:.6f}-3136372612.pgm", numbers)
        Image.new("RGB", (640, 480), (51, 102, 204)).save(scene / f"r-{time + 0.012:.6f}-3118787619.ppm")
        (scene / f"a-{time:.6f}-1.dump").write_bytes(b"")


@pytest.fixture
def numbers() -> np.ndarray:
    """A wall 2 m away, with a hole, something too near and something too far."""
    numbers = np.full((480, 640), 917)
    numbers[100:200, 100:200] = 2047
    numbers[300:320, 300:320] = 500
    numbers[300:320, 400:420] = 1080
    return numbers


@pytest.fixture
def path(tmp_path: Path, numbers: np.ndarray) -> Path:
    for scene in SCENES[:2]:
        write_frames(tmp_path / "raw" / "part1" / scene, numbers)
    return tmp_path / "raw"


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """The labelled set's two files, with what says which room is for what: a kitchen and a bedroom, and an office."""
    scenes, folder = ("kitchen_0004b", "bedroom_0009", "office_0001"), tmp_path / "labelled"
    folder.mkdir()
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w") as file:
        for name in ("images", "depths", "rawDepths"):
            file.create_dataset(name, data=np.zeros((3, 1, 1), np.uint8))
        texts = [np.array([[ord(letter)] for letter in scene], np.uint16) for scene in scenes]
        references = [file.create_dataset(f"#refs#/{i}", data=text).ref for i, text in enumerate(texts)]
        file.create_dataset("scenes", data=np.array([references], h5py.ref_dtype), dtype=h5py.ref_dtype)
    scipy.io.savemat(folder / "splits.mat", {"trainNdxs": np.array([1, 2]), "testNdxs": np.array([3])})
    return folder


def test_numbers_become_metres_in_the_colour_camera(path: Path, numbers: np.ndarray) -> None:
    data = open_data(f"nyu_raw:{path},labelled=none", "train")
    assert isinstance(data, Dataset)
    assert (data.name, data.kind, len(data)) == ("nyu_raw train, all scenes", DepthKind.METRIC, 2)
    sample = data[0]
    assert sample.name == f"{SCENES[0]}/100.000000-3136372612"
    assert sample.size == (480, 640)
    assert sample.depth[sample.valid].unique().tolist() == [pytest.approx(351.3 / (1092.5 - 917))]
    # The depth camera sees less than the photograph shows.
    assert 0.6 < sample.valid.float().mean() < 0.9
    assert sample.valid[0, 240, 320]
    assert not sample.valid[0, :5].any()


def test_a_point_lands_where_the_toolbox_puts_it(tmp_path: Path) -> None:
    """MATLAB's pixels count from 1; near the middle of the picture the lenses hardly bend."""
    numbers = np.full((480, 640), 2047)
    row, column, number = 250, 330, 900
    numbers[row - 1, column - 1] = number
    write_frames(tmp_path / SCENES[0], numbers)
    metres = 351.3 / (1092.5 - number)
    x, y = (column - 313.04475871) / 582.62448168, (row - 238.44389627) / 582.69103271
    point = np.array([x, y, 1]) * metres
    seen = -ROTATION.T @ point + TRANSLATION  # the toolbox's own order of signs, which a quotient does not show
    x, y = seen[0] * 518.857901 / seen[2] + 325.582449, seen[1] * 519.469611 / seen[2] + 253.736166
    sample = nyu_raw("train", path=tmp_path, labelled=None)[0]
    assert sample.valid.nonzero().tolist() == [[0, round(y) - 1, round(x) - 1]]
    assert sample.depth[sample.valid].item() == pytest.approx(metres)


def test_bytes_that_were_put_right_are_noticed(path: Path, numbers: np.ndarray) -> None:
    before = nyu_raw("train", path=path, labelled=None)[0]
    file = next((path / "part1" / SCENES[0]).glob("d-*"))
    write_depth_dump(file, numbers, ">u2")
    assert torch.equal(nyu_raw("train", path=path, labelled=None)[0].depth, before.depth)
    write_depth_dump(file, numbers + 40_000)
    with pytest.raises(UnreadableFile, match="numbers end at 2047"):
        nyu_raw("train", path=path, labelled=None)[0]


def test_the_photograph_is_straightened(path: Path) -> None:
    sample = nyu_raw("train", path=path, labelled=None)[0]
    assert sample.image[:, 240, 320].tolist() == pytest.approx([0.2, 0.4, 0.8])
    assert sample.image[:, 0, 0].tolist() == [1, 1, 1]  # outside of what was taken, the labelled set is white
    assert sample.intrinsics is not None
    assert sample.intrinsics.tolist() == pytest.approx([518.8579, 519.46961, 324.58245, 252.73617])


def test_depth_is_paired_with_the_photograph_nearest_in_time(tmp_path: Path, numbers: np.ndarray) -> None:
    write_frames(tmp_path / SCENES[0], numbers, (100.0, 100.033, 100.066, 105.0))
    (tmp_path / SCENES[0] / "r-105.012000-3118787619.ppm").unlink()
    data = nyu_raw("train", path=tmp_path, labelled=None)
    assert [pair.image.name[2:12] for pair in data.pairs] == ["100.012000", "100.045000", "100.078000"]
    assert len(nyu_raw("train", path=tmp_path, labelled=None, max_difference=10.0)) == 4
    fewer = nyu_raw("train", path=tmp_path, labelled=None, every=2)
    assert (fewer.name, len(fewer)) == ("nyu_raw train, all scenes, every=2", 2)


def test_no_room_of_the_test_is_trained_on(path: Path, labelled: Path, numbers: np.ndarray) -> None:
    write_frames(path / SCENES[2], numbers)
    splits = {split: nyu_raw(split, path=path, labelled=labelled) for split in ("train", "val", "test")}
    assert {split: [pair.name.split("/")[0] for pair in data.pairs] for split, data in splits.items()} == {
        "train": ["kitchen_0004a"],
        "val": ["bedroom_0009"],
        "test": ["office_0001"],
    }
    assert splits["train"].name == "nyu_raw train"
    assert len(nyu_raw("train", path=path, labelled=labelled, holdout=0)) == 2
    with pytest.raises(NoSplit, match="Which scenes are for test is in the labelled set: state labelled=data/nyu"):
        nyu_raw("test", path=path, labelled=None)
    with pytest.raises(BadInput, match=r"NYUv2 needs nyu_depth_v2_labeled\.mat"):
        nyu_raw("train", path=path, labelled=path)


def test_what_is_missing_or_damaged_is_named(path: Path) -> None:
    with pytest.raises(BadInput, match=r"NYUv2 raw needs SCENE/d-\*\.pgm and SCENE/r-\*\.ppm in .*absent"):
        nyu_raw("train", path=path / "absent", labelled=None)
    file = next((path / "part1" / SCENES[0]).glob("d-*"))
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(UnreadableFile, match=r"d-100\.000000-3136372612\.pgm: it is no depth dump of 640 × 480"):
        nyu_raw("train", path=path, labelled=None)[0]
    file.rename(file.with_name("d-late.pgm"))
    with pytest.raises(BadInput, match=r"d-late\.pgm has no time in its name"):
        nyu_raw("train", path=path, labelled=None)
