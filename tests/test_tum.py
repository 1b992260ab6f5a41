"""TUM RGB-D: two sequences in the published layout."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit
from leadline.data.datasets import Dataset, open_data
from leadline.data.datasets.tum import associate, tum
from leadline.io.images import write_image

TIMES = {"rgb": (10.0, 10.033, 10.066, 10.2), "depth": (9.99, 10.045, 10.05)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for name in ("rgbd_dataset_freiburg1_desk", "rgbd_dataset_freiburg3_office"):
        sequence = tmp_path / "tum" / name
        for kind, times in TIMES.items():
            files = [f"{kind}/{time:.6f}.png" for time in times]
            lines = [f"{time:.6f} {file}" for time, file in zip(times, files, strict=True)]
            for number, file in enumerate(files, start=1):
                write_image(sequence / file, torch.full((3, 2, 3), 0.2))
                if kind == "depth":
                    cv2.imwrite(str(sequence / file), np.array([[0, 5000, 2500]] * 2, np.uint16) * number)
            (sequence / f"{kind}.txt").write_text("\n".join(["# timestamp filename", *lines, ""]))
    return tmp_path / "tum"


def test_pairs_belong_by_time_and_depth_is_metres_times_5000(path: Path) -> None:
    data = open_data(f"tum:{path}", "train")
    assert isinstance(data, Dataset)
    assert (data.name, data.kind, len(data)) == ("tum train", DepthKind.METRIC, 6)
    samples = [data[index] for index in range(3)]
    assert [sample.name for sample in samples] == [
        f"rgbd_dataset_freiburg1_desk/{time}" for time in ("10.000000", "10.033000", "10.066000")
    ]
    assert [sample.depth[0, 0].tolist() for sample in samples] == [[0, 1, 0.5], [0, 2, 1], [0, 3, 1.5]]
    assert samples[0].valid[0, 0].tolist() == [False, True, True]


def test_the_nearest_times_are_taken_first_and_once() -> None:
    assert associate([0, 1, 2], [1.2, 0.9], 0.5) == [(1, 1)]
    assert associate([0, 0.01], [0.008], 0.02) == [(1, 0)]
    assert associate([5.0, 0.0], [0.01, 5.01], 0.02) == [(0, 1), (1, 0)]
    assert associate([0], [], 0.02) == []


def test_the_name_of_a_sequence_tells_its_camera(path: Path) -> None:
    (path / "rgbd_dataset_freiburg1_desk").rename(path / "mine")
    data = tum("train", path=path)
    assert data.pairs[0].intrinsics is None
    assert data.pairs[-1].intrinsics == (535.4, 539.2, 320.1, 247.6)
    assert [len(tum("train", path=path / "mine", max_difference=seconds)) for seconds in (0.02, 0.2)] == [3, 3]


def test_sequences_are_kept_for_val_and_test(path: Path) -> None:
    assert len(tum("train", path=path, test="*freiburg3*")) == 3
    assert {pair.name[:22] for pair in tum("test", path=path, test="*freiburg3*").pairs} == {"rgbd_dataset_freiburg3"}
    with pytest.raises(NoSplit, match="has no published val split: state val=PATTERN"):
        tum("val", path=path)


def test_what_is_missing_or_damaged_is_named(path: Path) -> None:
    with pytest.raises(BadInput, match=r"TUM RGB-D needs SEQUENCE/rgb\.txt and SEQUENCE/depth\.txt in .*absent"):
        tum("train", path=path / "absent")
    with pytest.raises(BadInput, match=r"has depth within 1e-05 s: state max_difference"):
        tum("train", path=path, max_difference=1e-5)
    sequence = path / "rgbd_dataset_freiburg1_desk"
    (sequence / "rgb.txt").write_text("10.0\n")
    with pytest.raises(BadInput, match=r"rgb\.txt must hold lines `SECONDS FILE`"):
        tum("train", path=path)
    (sequence / "depth.txt").unlink()
    (sequence / "rgb.txt").write_text("")
    with pytest.raises(BadInput, match=r"TUM RGB-D needs depth\.txt in"):
        tum("train", path=path)


def test_another_cameras_sequence_in_this_layout_has_its_own_unit(path: Path) -> None:
    data = open_data(f"tum:{path},depth_scale=1000", "train")
    assert data.name == "tum train, depth_scale=1000"
    assert data[0].depth[0, 0].tolist() == [0, 5, 2.5]
    with pytest.raises(BadInput, match="depth_scale=0 must be positive"):
        open_data(f"tum:{path},depth_scale=0", "train")


def test_the_published_camera_follows_smaller_copies(path: Path) -> None:
    camera = tum("train", path=path)[0].intrinsics
    assert camera is not None
    # 640 × 480 pixels became 3 × 2.
    wanted = [517.3 * 3 / 640, 516.5 * 2 / 480, 319.1 * 3 / 640 - 0.5, 255.8 * 2 / 480 - 0.5]
    assert camera.tolist() == pytest.approx(wanted)
