"""Cameras: intrinsics in another unit, or of a picture of another size, are refused or named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from leadline.cli.main import main
from leadline.core.camera import (
    camera_matrix,
    crop_intrinsics,
    explain_impossible_camera,
    explain_unlikely_camera,
    flip_intrinsics,
    intrinsics_of_matrix,
    project,
    resize_intrinsics,
    unproject,
)
from leadline.core.errors import BadInput
from leadline.data.datasets import open_data
from leadline.io.depth_maps import DepthMap, write_depth
from leadline.io.images import write_image
from leadline.io.intrinsics import read_intrinsics

RIGHT = [518.9, 519.5, 324.6, 252.7]
"""NYU's, of 480 × 640."""
SIZE = (480, 640)


def scaled(factor: float) -> list[float]:
    return [number * factor for number in RIGHT]


def normalised() -> list[float]:
    return [RIGHT[0] / 640, RIGHT[1] / 480, RIGHT[2] / 640, RIGHT[3] / 480]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three photographs of a quarter of that size along each side, with their depth."""
    rng = np.random.default_rng(0)
    for number in range(3):
        image = torch.from_numpy(rng.random((3, 120, 160), np.float32))
        depth = torch.from_numpy(rng.uniform(1, 3, (1, 120, 160)).astype(np.float32))
        write_image(tmp_path / "data" / "kitchen" / "rgb" / f"{number}.png", image)
        write_depth(tmp_path / "data" / "kitchen" / "depth" / f"{number}.png", DepthMap(depth, depth > 0))
    return tmp_path / "data"


def state(data: Path, camera: object, scene: str = "kitchen") -> None:
    (data / "scenes.json").write_text(json.dumps({scene: {"intrinsics_fx_fy_cx_cy": camera}}))


def faults(capsys: pytest.CaptureFixture[str], data: Path) -> dict[str, str]:
    """Check → message of what the doctor finds."""
    assert main(["data", "doctor", str(data), "--json"]) in (0, 1)
    return {fault["check"]: fault["message"] for fault in json.loads(capsys.readouterr().out)["faults"]}


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (normalised(), "sees 179 degrees: it seems divided by the picture's size"),
        (scaled(1.0), r"principal point outside of the picture: it seems to be of a picture of 65\d × 5\d\d"),
        ([0, 0, 80, 60], "has no focal length"),
        ([float("nan"), 130, 80, 60], "has no focal length, or no number"),
        ([130, 130, 80], "a camera is fx, fy, cx and cy"),
        (["wide", 130, 80, 60], "must be numbers, in pixels"),
        ([130, 130, 80, None], "must be numbers, in pixels"),
    ],
)
def test_an_impossible_camera_is_refused_by_the_reader_and_named_by_the_doctor(
    data: Path, camera: list, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state(data, camera)
    with pytest.raises(BadInput, match=message):
        open_data(str(data), "train")[0]
    found = faults(capsys, data)
    assert found.keys() == {"camera"}
    assert message.split(":")[0] in found["camera"] or "outside of the picture" in found["camera"]


@pytest.mark.parametrize(("factor", "cure"), [(0.125, "82 × 64, so multiply it by 1.95"), (0.375, "244 × 191")])
def test_a_camera_of_another_size_is_named_with_the_factor(
    data: Path, factor: float, cure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state(data, scaled(factor))
    found = faults(capsys, data)
    assert found.keys() == {"camera"}
    assert f"it seems to be of a picture of {cure}" in found["camera"]


def test_the_right_camera_passes_and_reaches_the_sample(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state(data, scaled(0.25))
    assert faults(capsys, data) == {}
    intrinsics = open_data(str(data), "train")[0].intrinsics
    assert intrinsics is not None
    assert intrinsics.tolist() == pytest.approx(scaled(0.25))


@pytest.mark.parametrize("key", ["train/kitchen", "kitchen"])
def test_a_catalogue_finds_its_scene_with_and_without_the_split(data: Path, key: str) -> None:
    state(data, scaled(0.25), key)
    assert open_data(str(data), "train")[0].intrinsics is not None


@pytest.mark.parametrize("key", ["kitchn", "train/kitchn", "trian/kitchen"])
def test_a_key_of_the_catalogue_that_fits_no_scene_is_named(
    data: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state(data, scaled(0.25), key)
    with pytest.raises(BadInput, match=rf"scenes\.json names {key}, which is no scene here \(kitchen\)"):
        open_data(str(data), "train")
    assert f"names {key}" in faults(capsys, data)["camera"]


def test_a_catalogue_may_speak_of_splits_that_were_not_copied(data: Path) -> None:
    (data / "val").mkdir()
    (data / "kitchen").rename(data / "val" / "kitchen")
    cameras = {key: {"intrinsics_fx_fy_cx_cy": scaled(0.25)} for key in ("val/kitchen", "train/hall")}
    (data / "scenes.json").write_text(json.dumps(cameras))
    assert open_data(str(data), "val")[0].intrinsics is not None


def test_too_few_cameras_and_broken_catalogues_are_named_by_the_doctor(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state(data, [scaled(0.25), None])
    assert "has 2 cameras for the 3 frames" in faults(capsys, data)["camera"]
    (data / "scenes.json").write_text("[")
    assert "is not of the form" in faults(capsys, data)["camera"]


def test_a_doubtful_crop_is_no_fault_of_a_reader_and_fields_of_view_are_bounded() -> None:
    assert explain_unlikely_camera(RIGHT, SIZE) == ""
    assert explain_impossible_camera([518.9, 519.5, 200.0, 252.7], SIZE) == ""
    assert "far from the middle" in explain_unlikely_camera([518.9, 519.5, 200.0, 252.7], SIZE)
    assert "sees 2.4 degrees" in explain_unlikely_camera([15000.0, 11000.0, 319.5, 239.5], SIZE)
    assert "sees 159 degrees" in explain_impossible_camera([60.0, 60.0, 319.5, 239.5], SIZE)


EDITS = {
    # What is done to a picture of 480 × 640 pixels, and where its pixel (column, row) then is.
    "crop": (lambda camera: crop_intrinsics(camera, 20, 30), lambda column, row: (column - 30, row - 20)),
    "flip": (lambda camera: flip_intrinsics(camera, 640), lambda column, row: (639 - column, row)),
    "resize": (
        lambda camera: resize_intrinsics(camera, (480, 640), (120, 320)),
        lambda column, row: ((column + 0.5) / 2 - 0.5, (row + 0.5) / 4 - 0.5),
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_intrinsics_of_an_edited_picture_project_to_where_its_pixels_went(edit: str) -> None:
    change, moved = EDITS[edit]
    camera = (518.9, 519.5, 325.6, 253.7)
    x, y, z = np.random.default_rng(0).uniform((-1, -1, 1), (1, 1, 5), (50, 3)).T
    edited = change(camera)
    # A mirror turns the x axis round.
    seen = project(-x if edit == "flip" else x, y, z, edited)
    np.testing.assert_allclose(seen, moved(*project(x, y, z, camera)), atol=1e-9)
    batch = torch.tensor([camera, (60.0, 61.0, float("nan"), float("nan"))])
    torch.testing.assert_close(change(batch)[0], torch.tensor(edited))
    assert change(batch)[1, 2:].isnan().all()


def test_rays_and_matrices_agree_with_the_projection() -> None:
    camera = (518.9, 519.5, 325.6, 253.7)
    x, y, z = np.random.default_rng(0).uniform((-1, -1, 1), (1, 1, 5), (50, 3)).T
    columns, rows = project(x, y, z, camera)
    np.testing.assert_allclose(unproject(columns, rows, camera), (x / z, y / z))
    points = camera_matrix(camera) @ np.stack([x, y, z])
    np.testing.assert_allclose(points[:2] / points[2], [columns, rows])
    assert intrinsics_of_matrix(camera_matrix(camera)) == camera


@pytest.mark.parametrize(("name", "text"), [("k.txt", "50 50 32 24\r\n"), ("k.json", "[50, 50, 32, 24]")])
def test_intrinsics_that_an_editor_saved_with_a_byte_order_mark_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert read_intrinsics(tmp_path / name) == (50, 50, 32, 24)
