"""ScanNet: scenes of two frames and more, as its exporter writes them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit
from leadline.data.datasets import Dataset, open_data
from leadline.data.datasets.scannet import scannet
from leadline.io.images import write_image


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Photographs of twice the size of their depth maps."""
    root = tmp_path / "scannet"
    for name in ("scene0000_00", "scene0001_00"):
        photo = torch.zeros(3, 4, 8)
        photo[:, :, 0] = 1
        for frame in (0, 2, 10):
            write_image(root / name / "color" / f"{frame}.jpg", photo)
            (root / name / "depth").mkdir(exist_ok=True)
            depth = np.array([[0, 1000, 2000, 3000]] * 2, np.uint16)
            cv2.imwrite(str(root / name / "depth" / f"{frame}.png"), depth)
        (root / name / "intrinsic").mkdir()
        matrix = "1170 0 4.5 0\n0 1168 2.5 0\n0 0 1 0\n0 0 0 1\n"
        (root / name / "intrinsic" / "intrinsic_color.txt").write_text(matrix)
    return root


def test_the_photograph_is_made_as_small_as_its_depth(path: Path) -> None:
    data = open_data(f"scannet:{path}", "train")
    assert isinstance(data, Dataset)
    assert (data.name, data.kind, len(data)) == ("scannet train", DepthKind.METRIC, 6)
    sample = data[0]
    assert sample.size == (2, 4)
    assert sample.depth[0, 0].tolist() == [0, 1, 2, 3]
    assert sample.valid[0, 0].tolist() == [False, True, True, True]
    assert sample.image[0, 0].tolist() == pytest.approx([0.5, 0, 0, 0], abs=0.1)
    assert sample.intrinsics is not None
    # 4.5 is the left edge of pixel 5 of 8, 5 pixels from the edge: 2.5 from it at half the size, which is centre 2
    assert sample.intrinsics.tolist() == [585, 584, 2, 1]


def test_frames_come_in_the_order_of_their_numbers(path: Path) -> None:
    assert [pair.name for pair in scannet("train", path=path).pairs][:3] == [
        f"scene0000_00/{frame}" for frame in (0, 2, 10)
    ]
    data = scannet("train", path=path, every=2)
    assert (data.name, len(data), data.pairs[1].name) == ("scannet train, every=2", 4, "scene0000_00/10")


def test_lists_make_the_splits_and_those_that_are_not_the_official_ones_are_told_of(path: Path) -> None:
    (path / "scannetv2_train.txt").write_text("scene0001_00\nscene0500_00\n")
    (path / "scannetv2_val.txt").write_text("scene0000_00\n")
    train, val = scannet("train", path=path), scannet("val", path=path)
    assert train.name == "scannet train, own list"
    assert {pair.name[:9] for pair in train.pairs} == {"scene0001"}
    assert {pair.name[:9] for pair in val.pairs} == {"scene0000"}
    with pytest.raises(NoSplit, match=r"has lists of train, val: put scannetv2_test\.txt beside them"):
        scannet("test", path=path)
    (path / "scannetv2_val.txt").write_text("scene0600_00\n")
    with pytest.raises(BadInput, match=r"None of the 1 scenes of scannetv2_val\.txt is in"):
        scannet("val", path=path)


def test_without_lists_patterns_do(path: Path) -> None:
    assert len(scannet("val", path=path, val="scene0001*")) == 3
    assert {pair.name[:9] for pair in scannet("train", path=path, val="scene0001*").pairs} == {"scene0000"}
    with pytest.raises(NoSplit, match="has no published test split"):
        scannet("test", path=path)


def test_without_intrinsics_the_camera_is_unknown(path: Path) -> None:
    file = path / "scene0000_00" / "intrinsic" / "intrinsic_color.txt"
    file.write_text("1 2 3 4 5")
    with pytest.raises(BadInput, match=r"intrinsic_color\.txt must hold a matrix of 4 × 4 numbers"):
        scannet("train", path=path)
    file.unlink()
    assert scannet("train", path=path)[0].intrinsics is None


def test_what_is_missing_is_named(path: Path) -> None:
    with pytest.raises(BadInput, match=r"ScanNet needs SCENE/color/0\.jpg and SCENE/depth/0\.png in .*absent"):
        scannet("train", path=path / "absent")
    with pytest.raises(BadInput, match="every=0 takes no frame"):
        scannet("train", path=path, every=0)
    (path / "scene0000_00" / "color" / "10.jpg").unlink()
    with pytest.raises(BadInput, match=r"1 depth maps of .*scene0000_00 have no photograph in color/, first 10\.png"):
        scannet("train", path=path)


def test_scans_of_another_unit_state_it_and_a_camera_of_another_size_is_refused(path: Path) -> None:
    data = scannet("train", path=path, depth_scale=4000.0)
    assert data.name == "scannet train, depth_scale=4000"
    assert data[0].depth[0, 0].tolist() == [0, 0.25, 0.5, 0.75]
    matrix = path / "scene0000_00" / "intrinsic" / "intrinsic_color.txt"
    matrix.write_text("1170 0 648 0\n0 1168 484 0\n0 0 1 0\n0 0 0 1\n")
    with pytest.raises(BadInput, match="of a picture of 8 × 4 has its principal point outside"):
        scannet("train", path=path)[0]
