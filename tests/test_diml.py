"""DIML indoor: two frames in the layout of the sample package, and two in that of the full ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit
from leadline.data.datasets import Dataset, open_data
from leadline.data.datasets.diml import diml
from leadline.io.images import write_image


def write_frame(place: Path, photo: str, depths: dict[str, int], holes: int = 1) -> None:
    """A photograph, and maps that are `millimetres` everywhere but in their first pixels."""
    write_image(place / photo, torch.full((3, 2, 3), 0.2))
    for depth, millimetres in depths.items():
        steps = np.full((2, 3), millimetres, np.uint16)
        steps[0, :holes] = 0
        (place / depth).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / depth), steps)


@pytest.fixture
def sample_package(tmp_path: Path) -> Path:
    for place in ("train/HR/12. Livingroom", "train/HR/01. Warehouse", "test/HR/03. Church", "test/LR/03. Church"):
        write_frame(
            tmp_path / place, "color/in_01_160217_1_c.png", {"depth_filled/in_01_160217_1_depth_filled.png": 2500}
        )
    return tmp_path


@pytest.fixture
def full_packages(tmp_path: Path) -> Path:
    for place in ("01_warehouse_1/16.01.20/5", "02_cafe_1/16.01.21/1"):
        maps = {"warp_png/in_k_03_1_wd.png": 3000, "up_png/in_k_03_1_ud.png": 4000, "raw_png/in_k_03_1_rd.png": 9000}
        write_frame(tmp_path / place, "col/in_k_03_1_c.png", maps)
    return tmp_path


def test_the_sample_package_is_read_in_metres(sample_package: Path) -> None:
    data = open_data(f"diml:{sample_package}", "train")
    assert isinstance(data, Dataset)
    assert (data.name, data.kind, len(data)) == ("diml train", DepthKind.METRIC, 2)
    sample = data[1]
    assert sample.name == "12. Livingroom/in_01_160217_1"
    assert sample.depth[sample.valid].unique().tolist() == [2.5]
    assert (~sample.valid).nonzero().tolist() == [[0, 0, 0]]
    assert [len(diml("test", path=sample_package, size=size)) for size in ("HR", "LR")] == [1, 1]
    assert diml("test", path=sample_package, size="LR").name == "diml test, LR"


def test_places_are_kept_for_val(sample_package: Path) -> None:
    val = diml("val", path=sample_package, val="12.*")
    assert [pair.name for pair in val.pairs] == ["12. Livingroom/in_01_160217_1"]
    assert len(diml("train", path=sample_package, val="12.*")) == 1
    with pytest.raises(NoSplit, match="has no published val split"):
        diml("val", path=sample_package)
    with pytest.raises(BadInput, match=r"is left for val: its scenes are 01\. Warehouse, 12\. Livingroom"):
        diml("val", path=sample_package, val="99.*")
    with pytest.raises(NoSplit, match="has an official test"):
        diml("test", path=sample_package, test="12.*")


@pytest.mark.parametrize(("truth", "metres"), [("filled", 4), ("raw", 3)])
def test_the_full_packages_have_measured_and_filled_depth(full_packages: Path, truth: str, metres: float) -> None:
    data = diml("train", path=full_packages, truth=truth)
    assert (data.name, len(data)) == (f"diml train, full, {truth}", 2)
    sample = data[0]
    assert sample.name == "01_warehouse_1/16.01.20/5/in_k_03_1"
    assert sample.depth[sample.valid].unique().tolist() == [metres]
    assert len(diml("test", path=full_packages, test="02_cafe*")) == 1
    with pytest.raises(NoSplit, match="has no published test split"):
        diml("test", path=full_packages)


def test_what_is_missing_is_named(tmp_path: Path, sample_package: Path) -> None:
    with pytest.raises(BadInput, match=r"DIML needs train/HR/PLACE/color/\*_c\.png and .*absent \(found nothing\)"):
        diml("train", path=tmp_path / "absent")
    with pytest.raises(BadInput, match=r"DIML needs PLACE/color/\*_c\.png and .* in .*train/LR"):
        diml("train", path=sample_package, size="LR")
    with pytest.raises(BadInput, match="is the sample package, whose depth is filled"):
        diml("train", path=sample_package, truth="raw")
    next(sample_package.rglob("12. Livingroom/depth_filled/*.png")).unlink()
    with pytest.raises(BadInput, match=r"1 photographs below .* have no depth, first .*_depth_filled\.png"):
        diml("train", path=sample_package)
