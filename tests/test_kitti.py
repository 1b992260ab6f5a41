"""KITTI: two frames in the layout of the raw drives, the annotated maps and the published lists."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, UnreadableFile
from leadline.data.datasets import Dataset, open_data
from leadline.data.datasets.kitti import kitti
from leadline.io.images import write_image

DATE, HEIGHT, WIDTH = "2011_09_26", 24, 40
DRIVES = [f"{DATE}_drive_0001_sync", f"{DATE}_drive_0002_sync"]
FOCAL, CENTRE = 30.0, (20.0, 12.0)
# The LiDAR looks along x, with y to the left and z up, 0.27 m behind the camera.
LIDAR = "calib_time: 15-Mar-2012 11:37:16\nR: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 -0.27\n"


def stated_camera(focal: float, centre: tuple[float, float]) -> str:
    """The calibration of both colour cameras."""
    projections = [f"{focal} 0 {centre[0]} {shift} 0 {focal} {centre[1]} 0 0 0 1 0" for shift in (0, -5)]
    return (
        "calib_time: 09-Jan-2012 13:57:47\nR_rect_00: 1 0 0 0 1 0 0 0 1\n"
        f"P_rect_02: {projections[0]}\nP_rect_03: {projections[1]}\n"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A training and a test drive of one frame each, and a test frame without an annotated map."""
    root = tmp_path / "kitti"
    lines = {"train": [], "test": []}
    for drive, split, stem in ((DRIVES[0], "train", "69"), (DRIVES[1], "test", "54"), (DRIVES[1], "test", "55")):
        frame = f"{stem:>010}"
        image = f"{DATE}/{drive}/image_02/data/{frame}.png"
        depth = f"{drive}/proj_depth/groundtruth/image_02/{frame}.png"
        write_image(root / image, torch.full((3, HEIGHT, WIDTH), 0.4))
        if stem != "55":
            file = root / ("val" if split == "test" else "train") / depth
            file.parent.mkdir(parents=True)
            steps = np.zeros((HEIGHT, WIDTH), np.uint16)
            steps[20, 7] = 5 * 256 + 64
            cv2.imwrite(str(file), steps)
        lines[split].append(f"{image} {'None' if stem == '55' else depth} 721.5377")
        write_points(root / DATE / drive / "velodyne_points" / "data" / f"{frame}.bin")
    for split in lines:
        (root / f"eigen_{split}_files_with_gt.txt").write_text("\n".join(lines[split]))
    (root / DATE / "calib_cam_to_cam.txt").write_text(stated_camera(FOCAL, CENTRE))
    (root / DATE / "calib_velo_to_cam.txt").write_text(LIDAR)
    return root


def write_points(file: Path) -> None:
    """Two points on one ray through the middle, 10 and 20 m before the camera, one aside, one behind the car."""
    points = [[20.27, 0, 0], [10.27, 0, 0], [6.27, -1, 0.4], [-10, 0, 0], [4, 100, 0]]
    file.parent.mkdir(parents=True, exist_ok=True)
    np.array([[*point, 0.5] for point in points], "<f4").tofile(file)


def test_annotated_maps_are_metres_times_256(path: Path) -> None:
    data = open_data(f"kitti:{path}", "test")
    assert isinstance(data, Dataset)
    assert (data.name, data.kind, len(data)) == ("kitti test, own list", DepthKind.METRIC, 1)
    sample = data[0]
    assert sample.name == f"{DRIVES[1]}/image_02/0000000054"
    assert sample.valid.nonzero().tolist() == [[0, 20, 7]]
    assert sample.depth[0, 20, 7] == 5.25
    assert sample.image.unique().tolist() == pytest.approx([0.4])
    assert sample.intrinsics is not None
    assert sample.intrinsics.tolist() == [FOCAL, FOCAL, *CENTRE]


def test_the_nearest_lidar_point_wins_its_pixel(path: Path) -> None:
    data = kitti("test", path=path, truth="lidar")
    assert (data.name, len(data)) == ("kitti test, own list, lidar", 2)  # a frame without a map has its points
    sample = data[1]
    assert sample.valid.sum() == 2
    assert sample.depth[0, 11, 19].item() == pytest.approx(10, abs=1e-5)  # the centre, counted from 1 as published
    # 1 m to the right and 0.4 m up in 6 m: 20 + 30 / 6 and 12 − 12 / 6
    assert sample.depth[0, 10 - 1, 25 - 1].item() == pytest.approx(6, abs=1e-5)


def test_published_lidar_numbers_count_from_the_lidar(path: Path) -> None:
    sample = kitti("test", path=path, truth="lidar_as_published")[0]
    assert sample.depth[0, 11, 19].item() == pytest.approx(10.27, abs=1e-5)


def test_a_right_camera_is_read_with_its_own_calibration(path: Path) -> None:
    source = path / DATE / DRIVES[0] / "image_02"
    source.rename(source.with_name("image_03"))
    file = path / "eigen_train_files_with_gt.txt"
    file.write_text(file.read_text().replace("image_02/data", "image_03/data"))
    sample = kitti("train", path=path, truth="lidar")[0]
    assert sample.name == f"{DRIVES[0]}/image_03/0000000069"
    # P_rect_03 shifts by −5 / depth pixels: half a pixel at 10 m, from 20 to 19.5, which rounds to the even.
    assert sample.valid[0, 11, 19]


def test_the_crop_keeps_the_lower_middle_and_moves_the_centre(path: Path) -> None:
    size, centre = (376, 1241), (609.6, 172.9)
    (path / DATE / "calib_cam_to_cam.txt").write_text(stated_camera(721.5, centre))
    photo = torch.zeros(3, *size)
    photo[:, 24, 12] = 1
    write_image(path / DATE / DRIVES[1] / "image_02" / "data" / "0000000054.png", photo)
    steps = np.zeros(size, np.uint16)
    steps[24, 12] = 256
    depth = f"{DRIVES[1]}/proj_depth/groundtruth/image_02/0000000054.png"
    cv2.imwrite(str(path / "val" / depth), steps)
    sample = kitti("test", path=path, crop="kb")[0]
    assert sample.size == (352, 1216)
    assert sample.image[:, 0, 0].tolist() == [1, 1, 1]
    assert sample.valid.nonzero().tolist() == [[0, 0, 0]]
    assert sample.intrinsics is not None
    assert sample.intrinsics.tolist() == pytest.approx([721.5, 721.5, centre[0] - 12, centre[1] - 24])
    (path / DATE / "calib_cam_to_cam.txt").write_text(stated_camera(FOCAL, CENTRE))
    with pytest.raises(BadInput, match=r"is 40 × 24 pixels, too small for crop=kb"):
        kitti("train", path=path, crop="kb")[0]


def test_val_are_the_training_drives_that_are_named(path: Path) -> None:
    file = path / "eigen_train_files_with_gt.txt"
    second = (path / "eigen_test_files_with_gt.txt").read_text().splitlines()[0]
    file.write_text(f"{file.read_text()}\n{second}")
    train, val = (kitti(split, path=path, val="*drive_0002*") for split in ("train", "val"))
    assert ([pair.name[:21] for pair in train.pairs], len(val)) == ([DRIVES[0][:21]], 1)
    assert (train.name, val.name) == ("kitti train (1 of 2), own list", "kitti val (1 of 2), own list")
    with pytest.raises(NoSplit, match="has no published val split: state val=PATTERN"):
        kitti("val", path=path)


def test_annotated_maps_may_lie_without_train_and_val(path: Path) -> None:
    for split in ("train", "val"):
        for drive in (path / split).iterdir():
            drive.rename(path / drive.name)
    assert kitti("train", path=path)[0].valid.any()


def test_without_calibration_the_camera_is_unknown(path: Path) -> None:
    (path / DATE / "calib_cam_to_cam.txt").unlink()
    assert kitti("test", path=path)[0].intrinsics is None
    with pytest.raises(BadInput, match=r"KITTI's LiDAR needs calib_cam_to_cam\.txt in .*2011_09_26"):
        kitti("test", path=path, truth="lidar")[0]


def test_a_copy_in_another_process_reads_the_same(path: Path) -> None:
    data = kitti("test", path=path)
    assert torch.equal(pickle.loads(pickle.dumps(data))[0].depth, data[0].depth)


def test_what_is_missing_is_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"KITTI needs eigen_test_files_with_gt\.txt in .*\(found nothing\)\. See"):
        kitti("test", path=tmp_path / "absent")
    (path / DATE / DRIVES[0]).rename(tmp_path / "away")
    with pytest.raises(BadInput, match=r"KITTI needs .*drive_0001_sync/image_02/data in"):
        kitti("train", path=path)
    (path / "val" / DRIVES[1]).rename(tmp_path / "maps")
    with pytest.raises(BadInput, match=r"KITTI needs train/2011_09_26_drive_0002_sync/proj_depth or val"):
        kitti("test", path=path)


def test_what_is_damaged_is_named(path: Path) -> None:
    points = path / DATE / DRIVES[0] / "velodyne_points" / "data" / "0000000069.bin"
    points.write_bytes(points.read_bytes()[:-3])
    with pytest.raises(UnreadableFile, match=r"0000000069\.bin: it is no list of x y z reflectance"):
        kitti("train", path=path, truth="lidar")[0]
    (path / DATE / "calib_velo_to_cam.txt").write_text("R: 1 2 3\nT: 0 0 0")
    with pytest.raises(BadInput, match=r"calib_velo_to_cam\.txt is no calibration"):
        kitti("test", path=path, truth="lidar")[0]
    (path / "eigen_test_files_with_gt.txt").write_text("image.png")
    with pytest.raises(BadInput, match=r"line 1: 'image\.png' is not DATE/DRIVE/image_02/data/IMAGE DEPTH FOCAL"):
        kitti("test", path=path)


@pytest.mark.parametrize(
    ("focal", "centre", "fault"),
    [
        (0, CENTRE, "has no focal length"),
        (float("nan"), CENTRE, "has no focal length, or no number"),
        (0.75, (0.5, 0.5), "seems divided by the picture's size"),
        (60.0, (40.0, 24.0), "principal point outside of the picture"),
    ],
    ids=["zero", "not a number", "normalised", "of a larger picture"],
)
def test_a_calibration_that_cannot_be_the_photographs_is_refused(
    path: Path, focal: float, centre: tuple[float, float], fault: str
) -> None:
    (path / DATE / "calib_cam_to_cam.txt").write_text(stated_camera(focal, centre))
    with pytest.raises(BadInput, match=rf"0000000054\.png: .*{fault}"):
        kitti("test", path=path)[0]


def test_unknown_options_list_the_known(path: Path) -> None:
    with pytest.raises(BadInput, match=r"No truth is called 'dense'\. Known truths: annotated, lidar, lidar_as_publ"):
        kitti("test", path=path, truth="dense")
    with pytest.raises(BadInput, match=r"No crop is called 'garg'\. Known crops: kb, none"):
        kitti("test", path=path, crop="garg")
    with pytest.raises(BadInput, match="No split is called 'all'"):
        kitti("all", path=path)


def test_real_maps_lie_within_the_lidars_reach(shared: Path, path: Path) -> None:
    """Three real frames, moved into the published layout; they have 4–20 % of their pixels measured."""
    source = shared / "data" / "rgbd" / "val" / "kitti"
    folder = path / DATE / DRIVES[1] / "image_02" / "data"
    maps = path / "val" / DRIVES[1] / "proj_depth" / "groundtruth" / "image_02"
    (path / DATE / "calib_cam_to_cam.txt").write_text(stated_camera(721.5, (609.6, 172.9)))
    lines = []
    for depth in sorted((source / "depth").iterdir()):
        frame = f"{depth.stem:>010}.png"
        (folder / frame).write_bytes((source / "rgb" / f"{depth.stem}.jpg").read_bytes())
        (maps / frame).write_bytes(depth.read_bytes())
        depth_name = f"{DRIVES[1]}/proj_depth/groundtruth/image_02/{frame}"
        lines.append(f"{DATE}/{DRIVES[1]}/image_02/data/{frame} {depth_name} 721.5")
    (path / "eigen_test_files_with_gt.txt").write_text("\n".join(lines))
    for sample in kitti("test", path=path):
        assert 0.02 < sample.valid.float().mean() < 0.3
        assert 1 < sample.depth[sample.valid].min() < sample.depth[sample.valid].max() < 120
