"""KITTI, raw drives with measured depth: some 23,000 photographs from a car, about 375 × 1242, in Eigen's split.

Geiger et al. 2013, https://www.cvlibs.net/datasets/kitti/raw_data.php (photographs, calibration, LiDAR), and Uhrig et
al. 2017, https://www.cvlibs.net/datasets/kitti/eval_depth.php?benchmark=depth_prediction ("annotated depth maps":
eleven LiDAR turns put together and cleaned).

Expected tree (`DRIVE` is `2011_09_26_drive_0002_sync`):

    data/kitti/2011_09_26/calib_cam_to_cam.txt
    data/kitti/2011_09_26/DRIVE/image_02/data/0000000069.png
    data/kitti/train/DRIVE/proj_depth/groundtruth/image_02/0000000069.png     train/ and val/ of the annotated maps,
                                                                               or all drives in data/kitti itself
    data/kitti/eigen_train_files_with_gt.txt                                  a frame a line: IMAGE DEPTH FOCAL
    data/kitti/eigen_test_files_with_gt.txt

and for the LiDAR itself

    data/kitti/2011_09_26/calib_velo_to_cam.txt
    data/kitti/2011_09_26/DRIVE/velodyne_points/data/0000000069.bin

Unit: 16-bit PNG, metres × 256, 0 where no ray came back; LiDAR points in metres, float32 x y z reflectance.
Traps: `train` and `val` of the annotated maps are not Eigen's split: his test drives lie in both. 45 of his 697 test
frames have no annotated map (the lists say `None`), so 652 count there and 697 with the LiDAR. A LiDAR sees no sky.
The benchmark's crops are fractions of the whole photograph: train with `crop=kb`, evaluate without.

The lists are those of Lee et al. 2019 (BTS), https://github.com/cleinc/bts, `train_test_inputs/`, which is under the
GPL-3.0 and so not shipped here: their SHA-256 are below; with others the dataset's name says `own list`.
"""

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from leadline.core.camera import crop_intrinsics, intrinsics_of_matrix
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile, check_known
from leadline.core.paths import StrPath
from leadline.core.sample import Sample
from leadline.data.datasets.folder import Pair
from leadline.data.datasets.pairs import FilePairs, check_split, is_published, missing_files, scenes_for
from leadline.data.datasets.projection import nearest_wins
from leadline.io.depth_maps import read_depth
from leadline.io.images import read_image

LICENCE = "CC BY-NC-SA 3.0, not for commercial use: https://www.cvlibs.net/datasets/kitti"
TRUTHS = ("annotated", "lidar", "lidar_as_published")
CROPS = ("none", "kb")
KB_CROP = (352, 1216)
"""Height and width of the crop of KITTI's benchmark, at the bottom of a photograph and in the middle of its width."""
"""Height and width that all photographs can be cropped to."""
LISTS = {
    "train": ("eigen_train_files_with_gt.txt", "3655308ee4a017094dc620402db3fc587d769cfbfa9a16c6d0f8de6dcbe109ec"),
    "test": ("eigen_test_files_with_gt.txt", "8d0499af9ab4c0d1cd7944d572b0e0e4412feab1e73f4003038426fde699b53a"),
}
"""Split → file and its SHA-256: 23,158 and 697 frames."""


def kitti(
    split: str,
    *,
    path: StrPath = Path("data/kitti"),
    truth: str = "annotated",
    crop: str = "none",
    lists: StrPath | None = None,
    val: str = "",
) -> FilePairs:
    """Open the frames of Eigen's split; for a validation set name drives of the training with `val`.

    Args:
        split: "train", "val" or "test".
        path: the folder of the dates, and of the annotated maps.
        truth: "annotated" is the cleaned map; "lidar" one turn of the LiDAR, metres along the optical axis;
            "lidar_as_published" the same as numbers on Eigen's split were taken before 2017, along the LiDAR's own
            forward axis, some 0.27 m more.
        crop: "kb" keeps the lowest 352 rows and the middle 1216 columns.
        lists: the folder of the two lists, if it is another.
        val: patterns of drives of the training to keep for "val", separated by `|`: `2011_09_26_drive_0001*`.

    Raises:
        NoSplit: "val" without a pattern.
        BadInput: a list, a drive or a calibration is missing.
    """
    lists = None if lists is None else Path(lists)
    path = Path(path)
    check_split(split)
    for what, name, known in (("truth", truth, TRUTHS), ("crop", crop, CROPS)):
        check_known(what, name, known)
    file, is_official = _list("test" if split == "test" else "train", lists or path, path)
    pairs = _listed(file, path, truth)
    taken = pairs if split == "test" else scenes_for(split, pairs, path, val=val, test="")
    share = "" if len(taken) == len(pairs) else f" ({len(taken)} of {len(pairs)})"
    remarks = ["" if is_official else "own list", "" if truth == "annotated" else truth, "" if crop == "none" else crop]
    name = ", ".join([f"kitti {split}{share}", *filter(None, remarks)])
    return FilePairs(name, DepthKind.METRIC, tuple(taken), partial(_read, truth=truth, crop=crop))


def _list(split: str, folder: Path, path: Path) -> tuple[Path, bool]:
    """Return the list of a split, and whether it is the published one."""
    name, digest = LISTS[split]
    if not (folder / name).is_file():
        raise missing_files("KITTI", folder, name)
    return folder / name, is_published((folder / name).read_bytes(), digest)


def _listed(file: Path, path: Path, truth: str) -> list[Pair]:
    """Return the frames of a list that have the requested ground truth."""
    pairs: list[Pair] = []
    maps: dict[str, Path] = {}
    cameras: dict[Path, tuple[float, ...] | None] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if len(words) < 2 or Path(words[0]).parent.name != "data":
            raise BadInput(f"{file}, line {number}: {line!r} is not DATE/DRIVE/image_02/data/IMAGE DEPTH FOCAL.")
        image = path / words[0]
        camera, drive = image.parent.parent, image.parent.parent.parent
        if truth != "annotated":
            depth = drive / "velodyne_points" / "data" / f"{image.stem}.bin"
        elif words[1] == "None":
            continue
        else:
            if drive.name not in maps:
                maps[drive.name] = _maps(path, words[1])
            depth = maps[drive.name] / words[1]
        if camera not in cameras:
            cameras[camera] = _intrinsics(drive.parent, camera.name)
        pairs.append(Pair(f"{drive.name}/{camera.name}/{image.stem}", image, depth, cameras[camera]))
    folders = sorted({pair.image.parent for pair in pairs})
    if absent := [folder.relative_to(path).as_posix() for folder in folders if not folder.is_dir()]:
        more = f" (and {len(absent) - 1} more drives of {file.name})" if len(absent) > 1 else ""
        raise missing_files("KITTI", path, f"{absent[0]}{more}")
    if not pairs:
        raise BadInput(f"{file} names no frame with a truth.")
    return pairs


def _maps(path: Path, depth: str) -> Path:
    """Find the folder of the annotated maps of a drive."""
    drive = Path(depth).parts[0]
    for folder in (path / "train", path / "val", path, path / "data_depth_annotated"):
        if (folder / drive / "proj_depth").is_dir():
            return folder
    raise missing_files("KITTI", path, f"train/{drive}/proj_depth or val/{drive}/proj_depth")


def _read(pair: Pair, *, truth: str, crop: str) -> Sample:
    image = read_image(pair.image)
    if truth == "annotated":
        measured = read_depth(pair.depth, depth_scale=256.0, kind=DepthKind.METRIC)
        depth, valid = measured.depth, measured.valid
    else:
        depth = torch.from_numpy(_lidar(pair, (image.shape[1], image.shape[2]), truth))[None]
        valid = depth > 0
    if depth.shape[1:] != image.shape[1:]:
        raise BadInput(f"{pair.image} and {pair.depth} are not of one size: they are not of one frame.")
    intrinsics = None if pair.intrinsics is None else torch.tensor(pair.intrinsics)
    sample = Sample(image, depth, valid, DepthKind.METRIC, intrinsics, pair.name)
    return _kb_cropped(sample) if crop == "kb" else sample


def _lidar(pair: Pair, size: tuple[int, int], truth: str) -> np.ndarray:
    """Project one turn of the LiDAR into a camera, 0 where no point falls: Eigen et al. 2014's ground truth."""
    if not pair.depth.is_file():
        raise BadInput(f"No file {pair.depth}: it comes with the raw drive, in velodyne_points/.")
    numbers = np.fromfile(pair.depth, "<f4")
    if numbers.size == 0 or numbers.size % 4:
        raise UnreadableFile(f"Cannot read {pair.depth}: it is no list of x y z reflectance. Copy it again.")
    points = numbers.reshape(-1, 4).astype(np.float64)
    points[:, 3] = 1
    # What lies behind the car would fall on the image too.
    points = points[points[:, 0] >= 0]
    camera = pair.image.parent.parent
    x, y, z = _projection(camera.parent.parent, camera.name) @ points.T
    metres = points[:, 0] if truth == "lidar_as_published" else z
    ahead = z > 0
    # As published, which counts pixels from 1 here.
    columns, rows = np.round(x[ahead] / z[ahead]) - 1, np.round(y[ahead] / z[ahead]) - 1
    return nearest_wins(columns, rows, metres[ahead], size)


def _kb_cropped(sample: Sample) -> Sample:
    """Crop to the lowest 352 rows and the middle 1216 columns; the principal point moves with them."""
    height, width = KB_CROP
    top, left = sample.size[0] - height, (sample.size[1] - width) // 2
    if top < 0 or left < 0:
        raise BadInput(
            f"{sample.name} is {sample.size[1]} × {sample.size[0]} pixels, too small for crop=kb (1216 × 352)."
        )
    part = (..., slice(top, top + height), slice(left, left + width))
    moved = None if sample.intrinsics is None else crop_intrinsics(sample.intrinsics, top, left)
    return replace(
        sample, image=sample.image[part], depth=sample.depth[part], valid=sample.valid[part], intrinsics=moved
    )


def _intrinsics(date: Path, camera: str) -> tuple[float, ...] | None:
    """Read fx, fy, cx, cy of a rectified camera, counted from 0; None where the calibration is missing."""
    file = date / "calib_cam_to_cam.txt"
    if not file.is_file():
        return None
    projection = _calibration(file)[f"P_rect_{camera[-2:]}"]
    try:
        return intrinsics_of_matrix(projection.reshape(3, 4))
    except ValueError as error:
        raise BadInput(f"{file}: P_rect_{camera[-2:]} cannot be used ({error}): copy the file again.") from error


@lru_cache(maxsize=64)
def _projection(date: Path, camera: str) -> np.ndarray:
    """Return the matrix: LiDAR point (x, y, z, 1) → (column × depth, row × depth, depth along the optical axis)."""
    files = ("calib_cam_to_cam.txt", "calib_velo_to_cam.txt")
    if absent := [file for file in files if not (date / file).is_file()]:
        raise missing_files("KITTI's LiDAR", date, *absent)
    cameras, lidar = (_calibration(date / file) for file in files)
    to_camera, rectified = np.eye(4), np.eye(4)
    to_camera[:3, :3], to_camera[:3, 3] = lidar["R"].reshape(3, 3), lidar["T"]
    rectified[:3, :3] = cameras["R_rect_00"].reshape(3, 3)
    return cameras[f"P_rect_{camera[-2:]}"].reshape(3, 4) @ rectified @ to_camera


@lru_cache(maxsize=64)
def _calibration(file: Path) -> dict[str, np.ndarray]:
    """Read the numbers of each line `NAME: …`, leaving out the date of the calibration."""
    lines = (line.partition(":") for line in file.read_text(encoding="utf-8").splitlines())
    texts = {name: words.split() for name, _, words in lines if name != "calib_time"}
    expected = {"R": 9, "T": 3} if "velo" in file.name else {"P_rect_02": 12, "R_rect_00": 9}
    try:
        if any(len(texts[name]) != count for name, count in expected.items()):
            raise ValueError("it has too few numbers")
        return {name: np.array([float(word) for word in words]) for name, words in texts.items()}
    except (ValueError, KeyError) as error:
        raise BadInput(f"{file} is no calibration of KITTI's raw drives ({error}). Download it again.") from error
