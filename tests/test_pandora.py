"""Pandora: people of two frames each, in the published layout and at the Kinect One's sizes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit
from leadline.data.datasets import Dataset, open_data
from leadline.data.datasets.pandora import pandora

PEOPLE = ("01", "04", "10")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wall 2 m away, with a hand at 0.8 m before it; the photograph's left half is white."""
    root = tmp_path_factory.mktemp("pandora")
    depth = np.full((424, 512), 2000, np.uint16)
    depth[200:220, 250:270] = 800
    depth[:100] = 0
    photo = np.zeros((1080, 1920, 4), np.uint8)
    photo[..., 3] = 255
    photo[:, :960] = 255
    for person in PEOPLE:
        sequence = root / person / "base_1_ID01"
        for folder, picture, frames in (("RGB", photo, (0, 1)), ("DEPTH", depth, (0, 1))):
            (sequence / folder).mkdir(parents=True)
            for frame in frames:
                cv2.imwrite(str(sequence / folder / f"{frame:06d}_{folder}.png"), picture)
    return root


def test_depth_is_projected_into_a_third_of_the_photograph(path: Path) -> None:
    data = open_data(f"pandora:{path}", "train")
    assert isinstance(data, Dataset)
    assert (data.name, data.kind, len(data)) == ("pandora train", DepthKind.METRIC, 4)
    sample = data[0]
    assert (sample.name, sample.size) == ("01/base_1_ID01/000000", (360, 640))
    assert sorted(sample.depth[sample.valid].unique().tolist()) == pytest.approx([0.8, 2])
    assert sample.image[0, 180, [300, 319, 320, 340]].tolist() == [1, 1, 0, 0]
    assert sample.intrinsics is not None
    assert sample.intrinsics.tolist() == pytest.approx([1081.372 / 3, 1081.372 / 3, 319.5, 179.5], abs=1e-3)


def test_both_cameras_look_the_same_way_52_mm_apart(path: Path) -> None:
    """A point before the middle of the depth camera lies 52 mm aside in the photograph: 360 pixels × 0.052 / metres."""
    middles = {}
    for is_mirrored in (True, False):
        sample = pandora("train", path=path, is_mirrored=is_mirrored)[0]
        hand = sample.valid[0] & (sample.depth[0] < 1)
        rows, middles[is_mirrored] = hand.nonzero().double().mean(0).tolist()
        # The hand's middle, 209.5 and 259.5, from the depth camera's, 205.4 and 254.9, about as large in both.
        assert rows == pytest.approx(179.5 + 4.1, abs=1)
    assert middles[True] - middles[False] == pytest.approx(2 * 360.457 * 0.052 / 0.8, abs=1)
    assert sum(middles.values()) / 2 == pytest.approx(319.5 + 4.6, abs=1)


def test_what_the_depth_camera_does_not_see_is_not_measured(path: Path) -> None:
    valid = pandora("train", path=path)[0].valid[0]
    assert not valid[:, :50].any()
    assert not valid[:60].any()  # the hole at the top
    assert valid[150:300, 150:500].float().mean() > 0.95


def test_the_papers_people_are_for_the_test(path: Path) -> None:
    def people(split: str, val: str = "", test: str = "10") -> set[str]:
        return {pair.name[:2] for pair in pandora(split, path=path, val=val, test=test).pairs}

    assert [pair.name[:2] for pair in pandora("test", path=path).pairs] == ["10", "10"]
    assert people("train") == {"01", "04"}
    assert (people("train", val="04"), people("val", val="04")) == ({"01"}, {"04"})
    assert people("test", test="01") == {"01"}
    fewer = pandora("train", path=path, every=2)
    assert (fewer.name, len(fewer)) == ("pandora train, every=2", 2)
    with pytest.raises(NoSplit, match="has no published val split: state val=PATTERN"):
        people("val")


def test_what_is_missing_is_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"Pandora needs NN/base_1_ID01/RGB/000000_RGB\.png and .*found nothing"):
        pandora("train", path=tmp_path)
    sequence = tmp_path / "02" / "free_1_ID02"
    for folder in ("RGB", "DEPTH"):
        (sequence / folder).mkdir(parents=True)
    cv2.imwrite(str(sequence / "DEPTH" / "000007_DEPTH.png"), np.ones((424, 512), np.uint16))
    with pytest.raises(BadInput, match=r"1 depth maps of .* have no photograph, first .*000007_RGB\.png"):
        pandora("train", path=tmp_path)
    cv2.imwrite(str(sequence / "RGB" / "000007_RGB.png"), np.zeros((540, 960, 3), np.uint8))
    with pytest.raises(BadInput, match=r"000007_RGB\.png is 960 × 540 pixels, and Pandora's are 1920 × 1080"):
        pandora("train", path=tmp_path)[0]
