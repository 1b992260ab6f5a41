"""NYU Depth v2: read from small files in the exact layout of the official ones."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from leadline.core.errors import BadInput, NoSplit
from leadline.data.datasets import Dataset, open_data
from leadline.data.datasets.nyu import nyu

HEIGHT, WIDTH, IMAGES = 6, 8, 9
SCENES = [*("kitchen_0004a", "kitchen_0004b", "office_0001", "study_0002", "bedroom_0001"), *["bath_0001"] * 4]
TRAINING, TEST = [1, 2, 4, 5, 3], [9, 6, 7, 8]  # counted from 1, as in MATLAB


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """What MATLAB would show: images H × W × 3 × N and depths H × W × N."""
    draw = np.random.default_rng(0)
    filled = draw.uniform(0.7, 10, (HEIGHT, WIDTH, IMAGES)).astype(np.float32)
    raw = np.where(draw.random(filled.shape) < 0.3, 0, filled)
    images = draw.integers(0, 256, (HEIGHT, WIDTH, 3, IMAGES), dtype=np.uint8)
    return {"images": images, "depths": filled, "rawDepths": raw}


@pytest.fixture
def path(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """The two files as MATLAB writes them: v7.3 turns every array's axes round, texts become references; and v5."""
    folder = tmp_path / "nyu"
    folder.mkdir()
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array.T, chunks=(1, *array.T.shape[1:]), compression="gzip")
        references = [file.create_dataset(f"#refs#/{i}", data=_utf16(scene)).ref for i, scene in enumerate(SCENES)]
        file.create_dataset("scenes", data=np.array([references], h5py.ref_dtype), dtype=h5py.ref_dtype)
    indices = {"trainNdxs": np.array(TRAINING, np.uint16)[:, None], "testNdxs": np.array(TEST, np.uint16)[:, None]}
    scipy.io.savemat(folder / "splits.mat", indices, do_compression=True)
    return folder


def _utf16(text: str) -> np.ndarray:
    return np.array([[ord(letter)] for letter in text], np.uint16)


def test_the_axes_are_turned_back(path: Path, arrays: dict[str, np.ndarray]) -> None:
    sample = nyu("test", path=path)[-1]
    assert sample.name == "bath_0001/0009"
    assert torch.equal(sample.image, torch.from_numpy(arrays["images"][..., 8] / np.float32(255)).permute(2, 0, 1))
    assert torch.equal(sample.depth, torch.from_numpy(arrays["rawDepths"][..., 8].copy())[None])


def test_holes_of_the_sensor_are_not_valid(path: Path, arrays: dict[str, np.ndarray]) -> None:
    sample = nyu("test", path=path)[0]
    assert torch.equal(sample.valid[0], torch.from_numpy(arrays["rawDepths"][..., 5] > 0))
    assert 0 < sample.valid.float().mean() < 1


def test_filled_truth_has_no_holes_and_the_name_says_so(path: Path, arrays: dict[str, np.ndarray]) -> None:
    data = open_data(f"nyu:{path},truth=filled", "test")
    assert data.name == "nyu test, filled"
    assert data[0].valid.all()
    assert torch.equal(data[0].depth, torch.from_numpy(arrays["depths"][..., 5].copy())[None])


def test_the_official_split_counts_from_one(path: Path) -> None:
    test, training = nyu("test", path=path), nyu("train", path=path, holdout=0)
    assert [test[index].name for index in range(len(test))] == [f"bath_0001/000{number}" for number in (6, 7, 8, 9)]
    assert training.numbers == (0, 1, 2, 3, 4)
    assert (test.name, training.name) == ("nyu test", "nyu train")
    assert isinstance(test, Dataset)


def test_val_shares_no_room_with_train_and_no_image_with_test(path: Path) -> None:
    train, val, test = (nyu(split, path=path, holdout=3) for split in ("train", "val", "test"))
    assert val.scenes == ("study_0002", "bedroom_0001")  # every third of bedroom, kitchen, office, study
    assert train.scenes == ("kitchen_0004a", "kitchen_0004b", "office_0001")
    assert sorted(train.numbers + val.numbers + test.numbers) == list(range(IMAGES))
    assert (train.name, val.name) == ("nyu train (3 of 5)", "nyu val (2 of 5)")
    with pytest.raises(NoSplit, match="holdout=0 leaves nothing for val: state holdout=10"):
        nyu("val", path=path, holdout=0)


def test_intrinsics_count_pixels_from_zero(path: Path) -> None:
    intrinsics = nyu("test", path=path)[0].intrinsics
    assert intrinsics is not None
    assert intrinsics.tolist() == pytest.approx([518.8579, 519.46961, 324.58245, 252.73617])


def test_a_copy_in_another_process_reads_the_same(path: Path) -> None:
    data = nyu("test", path=path)
    assert torch.equal(pickle.loads(pickle.dumps(data))[1].depth, data[1].depth)


@pytest.mark.parametrize(("name", "left"), [("nyu_depth_v2_labeled.mat", 1), ("splits.mat", 1)])
def test_a_missing_file_says_where_it_belongs(path: Path, name: str, left: int) -> None:
    (path / name).unlink()
    with pytest.raises(BadInput, match=rf"NYUv2 needs {name} in .*nyu \(found {left} files\)\. See docs/datasets\.md"):
        nyu("test", path=path)


def test_a_missing_folder_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"NYUv2 needs nyu_depth_v2_labeled\.mat in .*\(found 0 files\)"):
        open_data(f"nyu:{tmp_path / 'absent'}", "train")


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_named_with_the_size_it_should_have(path: Path, kept: float) -> None:
    file = path / "nyu_depth_v2_labeled.mat"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(BadInput, match=r"labeled\.mat is truncated or damaged .*official file 2,972,037,809.*again"):
        nyu("test", path=path)


def test_an_image_that_was_damaged_is_no_sample(path: Path) -> None:
    file, data = path / "nyu_depth_v2_labeled.mat", nyu("test", path=path)
    with h5py.File(file) as content:
        images = content["images"]
        assert isinstance(images, h5py.Dataset)
        chunk = images.id.get_chunk_info_by_coord((8, 0, 0, 0))
    damaged = bytearray(file.read_bytes())
    damaged[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    file.write_bytes(damaged)
    assert data[0].valid.any()
    with pytest.raises(BadInput, match="is truncated or damaged"):
        data[3]


@pytest.mark.parametrize("content", [b"", b"<html>moved</html>" * 20, "v7.3"])
def test_a_damaged_split_is_named(path: Path, content: bytes | str) -> None:
    other = (path / "nyu_depth_v2_labeled.mat").read_bytes()
    (path / "splits.mat").write_bytes(other if isinstance(content, str) else content)
    with pytest.raises(BadInput, match=r"splits\.mat is damaged or not the official file"):
        nyu("test", path=path)


@pytest.mark.parametrize("test", [[6, 7, 8, 10], [0, 6], [5, 6, 7]])
def test_a_split_of_other_images_is_refused(path: Path, test: list[int]) -> None:
    scipy.io.savemat(path / "splits.mat", {"trainNdxs": np.array(TRAINING), "testNdxs": np.array(test)})
    with pytest.raises(BadInput, match=r"splits\.mat does not belong to the 9 images"):
        nyu("test", path=path)


def test_a_split_of_all_images_that_is_not_the_published_one_is_told_of(path: Path) -> None:
    with h5py.File(path / "nyu_depth_v2_labeled.mat", "a") as file:
        reference = file.create_dataset("one", data=_utf16("bath_0001")).ref
        del file["scenes"]
        file.create_dataset("scenes", data=np.array([[reference] * 1449], h5py.ref_dtype), dtype=h5py.ref_dtype)
    assert nyu("test", path=path).name == "nyu test, own split"


def test_a_file_without_raw_depth_is_not_the_official_one(path: Path) -> None:
    with h5py.File(path / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["rawDepths"], file["scenes"]
    with pytest.raises(BadInput, match="holds no rawDepths and no scenes: it is not the official file"):
        nyu("test", path=path)


def test_unknown_truths_and_splits_list_the_known(path: Path) -> None:
    with pytest.raises(BadInput, match=r"No truth is called 'dense'\. Known truths: filled, raw"):
        nyu("test", path=path, truth="dense")
    with pytest.raises(BadInput, match=r"No split is called 'all'\. Known splits: test, train, val"):
        nyu("all", path=path)
