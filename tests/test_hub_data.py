"""Hub datasets: small tables, written and read by the library itself, without a network."""

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, UnreadableFile
from leadline.data.datasets import Dataset, open_data
from leadline.data.datasets.depth_reading import DepthReading
from leadline.data.datasets.hub import HubDataset, hub
from leadline.io.images import read_image

# The library's own way of naming tables stumbles over a type of Arrow's.
pytestmark = pytest.mark.filterwarnings("ignore:Cannot (locate reference|pickle)")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A train split of two rows and a validation of one; a column in millimetres, one in metres, one for the eye."""
    datasets = pytest.importorskip("datasets", reason="needs the library `datasets`: pip install 'leadline[datasets]'")
    millimetres = np.array([[0, 500, 1000], [1500, 2000, 2500]], np.uint16)
    metres = np.where(millimetres > 0, millimetres / np.float32(1000), np.float32(np.nan)).astype(np.float32)
    row = {
        "photo": Image.new("RGB", (3, 2), (51, 102, 204)),
        "depth": Image.fromarray(millimetres),
        "metres": metres.tolist(),
        "shown": Image.new("RGB", (3, 2), (1, 2, 3)),
        "coarse": Image.new("L", (3, 2), 51),
    }
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "depth": datasets.Image(),
            "metres": datasets.Array2D(shape=(2, 3), dtype="float32"),
            "shown": datasets.Image(),
            "coarse": datasets.Image(),
        }
    )
    splits = {
        split: datasets.Dataset.from_list([row] * count, features=features)
        for split, count in (("train", 2), ("validation", 1))
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "table")
    return str(tmp_path / "table")


def test_sixteen_bit_pictures_become_metres(path: str) -> None:
    data = open_data(f"hub:{path},image=photo,depth_scale=1000", "train")
    assert isinstance(data, Dataset)
    assert (data.name, data.kind, len(data)) == (f"{path} train", DepthKind.METRIC, 2)
    sample = data[1]
    assert sample.depth.tolist() == [[[0, 0.5, 1], [1.5, 2, 2.5]]]
    assert sample.valid.flatten().tolist() == [False, *[True] * 5]
    assert sample.image[:, 0, 0].tolist() == pytest.approx([0.2, 0.4, 0.8])
    assert sample.name == "000001"


def test_arrays_of_floats_are_taken_as_they_are(path: str) -> None:
    data = hub("val", path=path, image="photo", depth="metres")
    assert len(data) == 1
    assert data[0].depth.flatten().tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert data[0].valid.flatten().tolist() == [False, *[True] * 5]


def test_relative_depth_may_have_eight_bits(path: str) -> None:
    data = hub("train", path=path, image="photo", depth="coarse", kind="relative")
    assert (data.kind, data[0].depth.unique().tolist()) == (DepthKind.RELATIVE, [51])
    with pytest.raises(BadInput, match=r"row 0 of .*its depth has 8 bits, too few for metres"):
        hub("train", path=path, image="photo", depth="coarse", depth_scale=10.0)[0]


def test_what_is_no_depth_is_refused(path: str) -> None:
    with pytest.raises(BadInput, match="its depth is a picture in colour"):
        hub("train", path=path, image="photo", depth="shown", depth_scale=1000.0)[0]
    with pytest.raises(BadInput, match="does not say its unit: state depth_scale=1000 for millimetres"):
        hub("train", path=path, image="photo")[0]


def a_table(folder: Path, photo: Image.Image | bytes, depth: np.ndarray) -> str:
    datasets = pytest.importorskip("datasets", reason="needs the library `datasets`: pip install 'leadline[datasets]'")
    if isinstance(photo, Image.Image):
        held = BytesIO()
        photo.save(held, "PNG")
        photo = held.getvalue()
    features = datasets.Features({"image": datasets.Image(), "depth": datasets.Image()})
    rows = [{"image": {"bytes": photo, "path": None}, "depth": Image.fromarray(depth)}]
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows, features=features)}).save_to_disk(folder)
    return str(folder)


def test_a_photograph_in_a_table_is_read_as_its_file_is(tmp_path: Path) -> None:
    grey = Image.fromarray(np.array([[0, 257 * 128, 65535]], np.uint16))
    clear = Image.fromarray(np.array([[[9, 9, 9, 0], [255, 0, 0, 51], [0, 0, 0, 255]]], np.uint8))
    for name, picture in (("grey", grey), ("clear", clear)):
        picture.save(tmp_path / f"{name}.png")
        data = hub("train", path=a_table(tmp_path / name, picture, np.full((1, 3), 1000, np.uint16)), depth_scale=1000)
        assert torch.equal(data[0].image, read_image(tmp_path / f"{name}.png"))
    turned = Image.Exif()
    turned[274] = 6
    held = BytesIO()
    Image.new("RGB", (3, 2)).save(held, "JPEG", exif=turned)
    data = hub("train", path=a_table(tmp_path / "turned", held.getvalue(), np.ones((3, 2), np.uint16)), depth_scale=1)
    assert data[0].image.shape == (3, 3, 2)


def test_a_photograph_beside_a_table_is_read_by_its_path(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the library `datasets`: pip install 'leadline[datasets]'")
    Image.new("RGB", (3, 2), (51, 102, 204)).save(tmp_path / "photo.png")
    rows = [{"image": str(tmp_path / "photo.png"), "depth": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}]
    features = datasets.Features({"image": datasets.Image(), "depth": datasets.Array2D((2, 3), "float32")})
    table = datasets.Dataset.from_list(rows, features=features).cast_column("image", datasets.Image(decode=False))
    sample = HubDataset("here", DepthKind.METRIC, table, DepthReading())[0]
    assert sample.image[:, 0, 0].tolist() == pytest.approx([0.2, 0.4, 0.8])


def test_a_damaged_photograph_in_a_table_is_named(tmp_path: Path) -> None:
    held = BytesIO()
    Image.effect_noise((64, 64), 50).save(held, "PNG")
    cut = a_table(tmp_path / "cut", held.getvalue()[:900], np.ones((64, 64), np.uint16))
    with pytest.raises(UnreadableFile, match=r"the photograph of row 0 of .*cut train"):
        hub("train", path=cut, depth_scale=1000)[0]


def test_what_is_missing_is_named(path: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"No column is called 'image'\. Known columns: coarse, depth, metres, photo"):
        hub("train", path=path)
    with pytest.raises(NoSplit, match="has no test split, only train, validation"):
        hub("test", path=path, image="photo")
    with pytest.raises(BadInput, match="Cannot open the dataset"):
        hub("train", path=str(tmp_path / "absent"))


def test_without_the_library_its_install_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadInput, match=r"need the library `datasets`: pip install 'leadline\[datasets\]'"):
        hub("train", path="owner/name")
