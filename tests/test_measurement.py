"""What the page tells of a photograph: places and distances in metres that are right where the depth is."""

import numpy as np
import pytest
import torch
from PIL import Image

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.data.datasets.rooms import rooms
from leadline.io.depth_maps import DepthMap, read_depth
from leadline.models.registry import build
from leadline.serve.measurement import Measurement, explain, measure


@pytest.fixture(scope="module")
def room() -> Measurement:
    sample = rooms("val", height=48, width=64, holes=False)[0]
    depth = DepthMap(sample.depth, sample.valid, DepthKind.METRIC, sample.intrinsics)
    picture = sample.image.mul(255).round().byte().permute(1, 2, 0).numpy()
    return Measurement("room", picture, depth, depth, False, "given")


def test_the_distance_between_two_points_is_that_in_space(room):
    fx, fy, cx, cy = room.depth.intrinsics.tolist()
    places = []
    for column, row in ((10, 40), (50, 30)):
        z = room.depth.depth[0, row, column].item()
        places.append(((column - cx) / fx * z, (row - cy) / fy * z, z))
        assert room.point(column, row) == pytest.approx(places[-1])
    assert room.distance((10, 40), (50, 30)) == pytest.approx(np.linalg.norm(np.subtract(*places)))
    for outside in ((64, 0), (0, 48), (-1, 0)):
        with pytest.raises(BadInput, match="outside"):
            room.point(*outside)


def test_a_point_of_known_distance_sets_the_scale_of_all(room):
    before = room.depth.depth[0, 40, 10].item()
    scaled = room.scaled(10, 40, 2 * before)
    assert scaled.point(10, 40)[2] == pytest.approx(2 * before)
    assert scaled.distance((10, 40), (50, 30)) == pytest.approx(2 * room.distance((10, 40), (50, 30)), rel=1e-5)
    again = scaled.scaled(10, 40, before)  # the same point again replaces what was told of it
    assert again.point(10, 40)[2] == pytest.approx(before)
    assert "Scaled from 1 of 1" in explain(scaled)
    with pytest.raises(BadInput, match="more than 0"):
        room.scaled(10, 40, 0)


def test_relative_depth_gets_metres_from_two_points(room):
    metres = room.depth.depth
    inverse = DepthMap(3 / metres + 1, room.depth.valid, DepthKind.RELATIVE, room.depth.intrinsics)
    blind = Measurement("room", room.photograph, inverse, inverse, False, "given")
    with pytest.raises(BadInput, match="no metres"):
        blind.point(10, 40)
    one = blind.scaled(10, 40, metres[0, 40, 10].item())
    assert "needs a second one" in one.said
    both = one.scaled(32, 10, metres[0, 10, 32].item())
    assert both.depth.kind is DepthKind.METRIC
    assert both.point(50, 30)[2] == pytest.approx(metres[0, 30, 50].item(), rel=1e-3)


def test_files_hold_the_metres_that_are_shown(room, tmp_path):
    scaled = room.scaled(10, 40, 3.0)
    names = [file.name for file in scaled.write_files(tmp_path)]
    assert names == ["room.depth.png", "room.depth.npz", "room.ply", "room.glb"]
    assert read_depth(tmp_path / "room.depth.png").depth[0, 40, 10].item() == pytest.approx(3.0, abs=0.001)
    assert scaled.colours().size == (64, 48)


def test_a_photograph_is_measured_with_a_camera_that_is_called_a_guess(tmp_path):
    torch.manual_seed(0)
    model = build("cnn", size="tiny", input_size=(64, 64)).eval()
    path = tmp_path / "..%2f<b>.png"
    Image.new("RGB", (64, 48), "grey").save(path)
    measured = measure(model, path)
    assert measured.is_guess
    assert measured.name == "___2f_b_"
    assert "The camera is a guess" in explain(measured)
    assert measured.summary()["camera"] == "unknown, 65.4 degrees across"
    assert not measure(model, path, 70).is_guess
    with pytest.raises(BadInput, match="0 to 180"):
        measure(model, path, 200)
