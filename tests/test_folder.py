"""Folder: anyone's pairs become samples, and what does not fit together is named."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, UnreadableFile
from leadline.data.datasets import open_data
from leadline.data.datasets.folder import folder
from leadline.io.depth_maps import DepthMap, write_depth
from leadline.io.images import write_image
from leadline.recipes.train_options import TrainOptions


def write_pair(scene: Path, stem: str = "0000", *, size: tuple[int, int] = (4, 6), metres: float = 2.0) -> None:
    """A grey photograph and its depth, everywhere `metres` but 0 in the top left pixel, in millimetres."""
    write_image(scene / "rgb" / f"{stem}.png", torch.full((3, *size), 0.2))
    depth = np.full(size, round(metres * 1000), np.uint16)
    depth[0, 0] = 0
    (scene / "depth").mkdir(exist_ok=True)
    cv2.imwrite(str(scene / "depth" / f"{stem}.png"), depth)


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    write_pair(tmp_path / "data" / "train" / "kitchen", "0000")
    write_pair(tmp_path / "data" / "train" / "kitchen", "0007", metres=3)
    write_pair(tmp_path / "data" / "train" / "attic", metres=4)
    write_pair(tmp_path / "data" / "val" / "cellar", metres=5)
    return tmp_path / "data"


def test_pairs_become_samples_in_metres(splits: Path) -> None:
    data = open_data(f"{splits},depth_scale=1000", "train")
    assert (data.name, data.kind, len(data)) == ("data train", DepthKind.METRIC, 3)
    assert [data[index].name for index in range(3)] == ["attic/0000", "kitchen/0000", "kitchen/0007"]
    sample = data[2]
    assert sample.size == (4, 6)
    assert sample.image.unique().tolist() == pytest.approx([0.2])
    assert sample.depth[sample.valid].unique().tolist() == [3]
    assert (~sample.valid).nonzero().tolist() == [[0, 0, 0]]
    assert sample.intrinsics is None


def test_val_stands_in_for_a_missing_test_and_the_name_says_so(splits: Path) -> None:
    data = folder("test", path=splits, depth_scale=1000.0)
    assert (data.name, data[0].name) == ("data val", "cellar/0000")


@pytest.mark.parametrize("scene", ["", "kitchen"])
def test_without_splits_all_is_for_training(tmp_path: Path, scene: str) -> None:
    write_pair(tmp_path / "data" / scene)
    data = folder("train", path=tmp_path / "data", depth_scale=1000.0)
    assert [pair.name for pair in data.pairs] == [f"{scene or 'data'}/0000"]
    for split in ("val", "test"):
        with pytest.raises(BadInput, match=f"has no {split} split, only train: make a folder {split}"):
            folder(split, path=tmp_path / "data")


def test_a_split_may_hold_its_pairs_without_scenes(tmp_path: Path) -> None:
    write_pair(tmp_path / "train")
    write_pair(tmp_path / "test", "0001")
    assert [pair.name for pair in folder("train", path=tmp_path).pairs] == ["train/0000"]
    assert [pair.name for pair in folder("test", path=tmp_path).pairs] == ["test/0001"]


def test_scenes_are_chosen_by_pattern(splits: Path) -> None:
    assert {pair.name for pair in folder("train", path=splits, include="kit*").pairs} == {
        "kitchen/0000",
        "kitchen/0007",
    }
    data = open_data(f"{splits},exclude=nothing|kit*", "train")
    assert (data.name, len(data)) == ("data train without nothing|kit*", 1)
    with pytest.raises(BadInput, match="is left: its scenes are attic, kitchen"):
        folder("train", path=splits, exclude="attic|kitchen")


def test_a_catalogue_gives_the_intrinsics(splits: Path) -> None:
    catalogue = {
        "train/attic": {"intrinsics_fx_fy_cx_cy": [500, -501, 3.5, 2.5]},
        "train/kitchen": {"intrinsics_fx_fy_cx_cy": [None, [300.0, 301.0, 3.0, 2.0]]},
        "val/cellar": {"intrinsics_fx_fy_cx_cy": None},
    }
    (splits / "scenes.json").write_text(json.dumps(catalogue))
    data = folder("train", path=splits, depth_scale=1000.0)
    known = [sample.intrinsics if sample.intrinsics is None else sample.intrinsics.tolist() for sample in data]
    assert known == [[500, 501, 3.5, 2.5], None, [300, 301, 3, 2]]
    assert folder("val", path=splits, depth_scale=1000.0)[0].intrinsics is None


def test_a_catalogue_that_does_not_fit_is_named(splits: Path) -> None:
    (splits / "scenes.json").write_text(json.dumps({"train/kitchen": {"intrinsics_fx_fy_cx_cy": [None] * 3}}))
    with pytest.raises(BadInput, match=r"scenes\.json has 3 cameras for the 2 frames"):
        folder("train", path=splits)
    (splits / "scenes.json").write_text("{")
    with pytest.raises(BadInput, match=r"scenes\.json is not of the form"):
        folder("train", path=splits)


def test_files_of_ours_say_their_own_unit_and_camera(tmp_path: Path) -> None:
    write_image(tmp_path / "rgb" / "a.jpg", torch.rand(3, 4, 6))
    camera = torch.tensor([500.0, 500.0, 3.0, 2.0])
    shape = DepthMap(torch.rand(1, 4, 6), torch.ones(1, 4, 6, dtype=torch.bool), DepthKind.RELATIVE, camera)
    write_depth(tmp_path / "depth" / "a.tiff", shape)
    sample = folder("train", path=tmp_path, kind="relative")[0]
    assert torch.equal(sample.depth, shape.depth)
    assert sample.intrinsics is not None
    assert torch.equal(sample.intrinsics, camera)
    with pytest.raises(BadInput, match="is relative, and not metric: state kind=relative"):
        folder("train", path=tmp_path)[0]


def test_a_csv_of_pairs_is_read(splits: Path) -> None:
    lines = [
        "image,depth,split,fx,fy,cx,cy",
        "train/attic/rgb/0000.png,train/attic/depth/0000.png,train,500,501,3.5,2.5",
        "val/cellar/rgb/0000.png,val/cellar/depth/0000.png,val,,,,",
    ]
    (splits / "mine.csv").write_text("\n".join(lines))
    data = open_data(f"{splits / 'mine.csv'},depth_scale=1000", "train")
    assert (data.name, len(data), data[0].name) == ("mine train", 1, "train/attic/rgb/0000")
    assert data[0].depth.max() == 4
    assert data[0].intrinsics is not None
    assert data[0].intrinsics.tolist() == [500, 501, 3.5, 2.5]
    assert open_data(f"{splits / 'mine.csv'},depth_scale=1000", "val")[0].intrinsics is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "must begin with the line"),
        ("photo,depth\na,b", "must begin with the line"),
        ("image,depth\ntrain/attic/rgb/0000.png,absent.png", "line 2: no file .*absent"),
        ("image,depth\ntrain/attic/rgb/0000.png", "line 2: no file"),
        ("image,depth,fx\nIMAGE,DEPTH,500", "line 2: a camera is fx, fy, cx and cy"),
        ("image,depth,fx,fy,cx,cy\nIMAGE,DEPTH,a,b,c,d", "line 2: fx, fy, cx and cy must be numbers"),
        ("image,depth\nIMAGE,DEPTH\nIMAGE,DEPTH", "lists 1 photographs more than once"),
    ],
)
def test_a_csv_that_does_not_fit_is_named(splits: Path, lines: str, message: str) -> None:
    lines = lines.replace("IMAGE", "train/attic/rgb/0000.png").replace("DEPTH", "train/attic/depth/0000.png")
    (splits / "mine.csv").write_text(lines)
    with pytest.raises(BadInput, match=message):
        folder("train", path=splits / "mine.csv")


def test_a_photograph_without_depth_is_named(splits: Path) -> None:
    (splits / "train" / "kitchen" / "depth" / "0007.png").unlink()
    with pytest.raises(BadInput, match=r"1 files in .*kitchen have no partner .*rgb/0007\.png"):
        folder("train", path=splits)


def test_two_photographs_of_one_name_are_named(splits: Path) -> None:
    write_image(splits / "train" / "kitchen" / "rgb" / "0007.jpg", torch.zeros(3, 4, 6))
    with pytest.raises(BadInput, match=r"0007\.jpg and .*0007\.png have one name"):
        folder("train", path=splits)


def test_a_folder_without_pairs_or_without_the_split_is_named(tmp_path: Path, splits: Path) -> None:
    with pytest.raises(BadInput, match="No folder or file"):
        folder("train", path=tmp_path / "absent")
    with pytest.raises(BadInput, match="it needs rgb/ and depth/ side by side"):
        folder("train", path=tmp_path)
    with pytest.raises(BadInput, match="has no spare split, only train, val"):
        folder("spare", path=splits)
    with pytest.raises(BadInput, match="No kind is called 'feet'"):
        folder("train", path=splits, kind="feet")


def test_sizes_that_differ_are_named_with_their_files(tmp_path: Path) -> None:
    write_pair(tmp_path, size=(4, 6))
    write_image(tmp_path / "rgb" / "0000.png", torch.rand(3, 8, 12))
    with pytest.raises(BadInput, match=r"rgb/0000\.png is 12 × 8 pixels and .*depth/0000\.png is 6 × 4"):
        folder("train", path=tmp_path, depth_scale=1000.0)[0]


def test_a_unit_that_is_not_stated_is_asked_for(splits: Path) -> None:
    with pytest.raises(BadInput, match=r"does not say its unit: state depth_scale=1000 for millimetres"):
        folder("train", path=splits)[0]


def test_eight_bit_depth_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path)
    cv2.imwrite(str(tmp_path / "depth" / "0000.png"), np.full((4, 6), 200, np.uint8))
    with pytest.raises(BadInput, match="has 8 bits, too few for metres"):
        folder("train", path=tmp_path, depth_scale=1000.0)[0]


def test_an_all_zero_truth_is_a_sample_without_measurements(tmp_path: Path) -> None:
    write_pair(tmp_path, metres=0)
    sample = folder("train", path=tmp_path, depth_scale=1000.0)[0]
    assert not sample.valid.any()
    assert sample.depth.isfinite().all()


def test_nan_and_infinite_depth_count_as_not_measured(tmp_path: Path) -> None:
    write_image(tmp_path / "rgb" / "a.png", torch.rand(3, 1, 4))
    (tmp_path / "depth").mkdir()
    np.savez(tmp_path / "depth" / "a.npz", depth=np.array([[np.nan, np.inf, -1, 2]]))
    sample = folder("train", path=tmp_path)[0]
    assert sample.valid.tolist() == [[[False, False, False, True]]]
    assert sample.depth.tolist() == [[[0, 0, 0, 2]]]


def test_a_truncated_jpeg_is_named(tmp_path: Path) -> None:
    write_pair(tmp_path, size=(64, 64))
    (tmp_path / "rgb" / "0000.png").unlink()
    photo = tmp_path / "rgb" / "0000.jpg"
    write_image(photo, torch.rand(3, 64, 64))
    photo.write_bytes(photo.read_bytes()[:1000])
    with pytest.raises(UnreadableFile, match=r"0000\.jpg"):
        folder("train", path=tmp_path, depth_scale=1000.0)[0]


def test_real_indoor_scenes_open(shared: Path) -> None:
    data = open_data(f"{shared / 'data' / 'rgbd'},depth_scale=1000,exclude=kitti", "val")
    assert data.name == "rgbd val without kitti"
    assert len(data) == 25
    for index in range(0, len(data), 4):
        sample = data[index]
        metres = sample.depth[sample.valid]
        assert 0.2 < metres.quantile(0.05) < metres.quantile(0.95) < 10
        assert 0.05 < sample.image.mean() < 0.95
    cameras = [data[index].intrinsics for index in range(len(data)) if "nyu/" in str(data[index].name)]
    assert [camera is None for camera in cameras] == [False, False, False, True, *[False] * 5]
    assert len(open_data(f"{shared / 'data' / 'rgbd'},depth_scale=1000", "train")) == 379


def test_words_without_a_place_are_refused() -> None:
    with pytest.raises(BadInput, match="folder needs the path of its folder: write folder:PATH"):
        open_data("folder", "train")


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """Two pairs in one folder, without a place for scenes: a.png and d.png, b.png and e.png."""
    for image, depth in (("a", "d"), ("b", "e")):
        write_image(tmp_path / f"{image}.png", torch.full((3, 4, 6), 0.2))
        cv2.imwrite(str(tmp_path / f"{depth}.png"), np.arange(1000, 1024, dtype=np.uint16).reshape(4, 6))
    return tmp_path


def test_a_csv_beside_its_photographs_is_read_and_examined(beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (beside / "pairs.csv").write_text("image, depth\na.png, d.png\nb.png, e.png\n")
    data = open_data(f"{beside / 'pairs.csv'},depth_scale=1000", "train")
    assert (len(data), data[0].name, data[1].name) == (2, "a", "b")
    assert main(["data", "doctor", f"{beside / 'pairs.csv'},depth_scale=1000"]) == 0
    assert "2 frames" in capsys.readouterr().out
    assert main(["data", "inspect", f"{beside / 'pairs.csv'},depth_scale=1000"]) == 0
    with pytest.raises(BadInput, match="is left"):
        open_data(f"{beside / 'pairs.csv'},depth_scale=1000,exclude=*", "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,depth\ncafé.png,d.png\n".encode("latin1"), "is not UTF-8 .*: save it as UTF-8"),
        (b'image,depth\na.png,"' + b"x" * 200_000, "is no CSV file of pairs .*field larger than"),
        (b"image,depth\n" + b"x" * 300 + b".png,d.png\n", "line 2: no file"),
        (b"image,depth\n,d.png\n", "line 2: no file"),
        (b"image;depth\na.png;d.png\n", "must begin with the line `image,depth`"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "doctor"])
def test_a_csv_that_cannot_be_read_is_one_line_in_every_command(
    beside: Path, content: bytes, message: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (beside / "pairs.csv").write_bytes(content)
    with pytest.raises(BadInput, match=message):
        open_data(f"{beside / 'pairs.csv'},depth_scale=1000", "train")
    is_shown = "line 2" in message and command == "inspect"
    assert main(["data", command, f"{beside / 'pairs.csv'},depth_scale=1000"]) == (0 if is_shown else 1)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("photos", ["color", "image", "rgb"])
def test_the_folders_and_the_camera_of_open3d_are_read(
    tmp_path: Path, photos: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path / "scan", "00000", size=(96, 128))
    write_pair(tmp_path / "scan", "00001", size=(96, 128), metres=2.5)
    (tmp_path / "scan" / "rgb").rename(tmp_path / "scan" / photos)
    matrix = [100.0, 0, 0, 0, 101.0, 0, 63.5, 47.5, 1]
    camera = {"width": 128, "height": 96, "intrinsic_matrix": matrix}
    (tmp_path / "scan" / "camera_intrinsic.json").write_text(json.dumps(camera))
    data = open_data(f"{tmp_path / 'scan'},depth_scale=1000", "train")
    assert [data[index].name for index in range(2)] == ["scan/00000", "scan/00001"]
    assert data[0].intrinsics is not None
    assert data[0].intrinsics.tolist() == [100, 101, 63.5, 47.5]
    assert main(["data", "inspect", f"{tmp_path / 'scan'},depth_scale=1000"]) == 0
    assert "65° × 51°" in capsys.readouterr().out
    (tmp_path / "scan" / "camera_intrinsic.json").write_text('{"intrinsic_matrix": [1]}')
    with pytest.raises(BadInput, match=r"camera_intrinsic\.json.*: a camera is fx, fy, cx and cy"):
        open_data(f"{tmp_path / 'scan'},depth_scale=1000", "train")


def test_depth_maps_with_their_colour_pictures_beside_them_are_a_dataset(splits: Path) -> None:
    scene = splits / "train" / "attic"
    write_image(scene / "depth" / "0000.colour.png", torch.rand(3, 4, 6))
    write_image(scene / "depth" / "0000.jpg", torch.rand(3, 4, 6))
    assert len(folder("train", path=splits, depth_scale=1000.0)) == 3


def test_a_scene_without_its_depth_folder_is_named(splits: Path) -> None:
    (splits / "train" / "kitchen" / "depth").rename(splits / "elsewhere")
    with pytest.raises(BadInput, match=r"2 files in .*kitchen have no partner"):
        folder("train", path=splits)


@pytest.mark.parametrize("as_list", [False, True])
def test_data_without_splits_is_scored_whole_and_the_table_says_so(
    tmp_path: Path, as_list: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for stem in ("0000", "0001"):
        write_pair(tmp_path / "mine", stem, size=(48, 64))
    words = f"{tmp_path / 'mine'},depth_scale=1000"
    if as_list:
        lines = [f"mine/rgb/{stem}.png,mine/depth/{stem}.png" for stem in ("0000", "0001")]
        (tmp_path / "mine.csv").write_text("\n".join(["image,depth", *lines]))
        words = f"{tmp_path / 'mine.csv'},depth_scale=1000"
    assert main(["evaluate", "--data", words]) == 0
    assert "mine, all 2 pairs: it has no splits" in capsys.readouterr().out
    # What trains must not take the same pairs for a test.
    with pytest.raises(NoSplit, match="has no test split, only train"):
        open_data(words, "test")
    with pytest.raises(NoSplit, match="has no test split, only train"):
        TrainOptions(data=words).splits(tmp_path)


def test_data_with_splits_is_scored_on_those_alone(splits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (splits / "val").rename(splits.parent / "elsewhere")
    assert main(["evaluate", "--data", f"{splits},depth_scale=1000"]) == 1
    assert "has no test split, only train" in capsys.readouterr().err


def test_a_folder_with_the_name_of_a_photograph_is_none(splits: Path) -> None:
    (splits / "train" / "attic" / "rgb" / "0001.png").mkdir()
    assert len(folder("train", path=splits, depth_scale=1000.0)) == 3
