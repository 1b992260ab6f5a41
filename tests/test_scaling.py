"""Scaling: measured points, sparse maps and floors make the metres that they know, or are refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.sample import Depth
from leadline.data.datasets.rooms import SPLIT_SEEDS, rooms
from leadline.data.datasets.rooms.domains import DOMAINS
from leadline.data.datasets.rooms.scene import Camera, furnish
from leadline.evaluation.alignment import least_squares_scale, least_squares_scale_shift
from leadline.inference.metric_scale import (
    HORIZON,
    FloorScale,
    scale_from_floor,
    scale_from_points,
    scale_from_sparse,
    scaler_from_options,
)
from leadline.inference.tensors import predict_tensor
from leadline.io.depth_maps import DepthMap, read_depth, write_depth
from leadline.io.images import read_image
from leadline.models.loading import load
from leadline.models.registry import build
from leadline.models.saving import save

KINDS = (DepthKind.RELATIVE, DepthKind.SCALE_FREE, DepthKind.METRIC)


@pytest.fixture(scope="module")
def truth() -> DepthMap:
    """A room in metres, every pixel known."""
    sample = rooms("test", count=1, height=48, width=64, holes=False)[0]
    return DepthMap(sample.depth, sample.valid, intrinsics=sample.intrinsics)


def turned(truth: Depth, kind: DepthKind) -> DepthMap:
    """Metres as an ideal model of a kind would answer them."""
    depth = (1 / truth - 0.07) / 0.0013 if kind is DepthKind.RELATIVE else truth / 3.7
    return DepthMap(depth, torch.ones_like(depth, dtype=torch.bool), kind, provenance={"model": "ideal"})


def points(truth: Depth, count: int) -> list[tuple[float, float, float]]:
    """Of different depths, evenly from the nearest to the farthest."""
    width = truth.shape[-1]
    places = truth.flatten().argsort()[torch.linspace(0, truth.numel() - 1, count).long()].tolist()
    return [(place % width, place // width, truth.flatten()[place].item()) for place in places]


@pytest.mark.parametrize(("kind", "count"), [(kind, count) for kind in KINDS for count in (2, 3, 9)])
def test_points_make_metres_of_every_kind(truth, kind, count):
    scaled = scale_from_points(turned(truth.depth, kind), points(truth.depth, count))
    torch.testing.assert_close(scaled.depth.depth, truth.depth, rtol=1e-3, atol=1e-3)
    assert scaled.depth.kind is DepthKind.METRIC
    assert (scaled.used, scaled.rejected) == (count, 0)
    assert scaled.depth.provenance["model"] == "ideal"
    assert scaled.depth.provenance["predicted_kind"] == kind
    assert scaled.depth.provenance["scaled_from"].startswith(f"{count} of {count} points; ")


def test_two_points_leave_relative_depth_no_residual_to_boast_of(truth):
    relative = turned(truth.depth, DepthKind.RELATIVE)
    assert scale_from_points(relative, points(truth.depth, 2)).residual is None
    assert "too few to leave a residual" in str(scale_from_points(relative, points(truth.depth, 2)))
    assert scale_from_points(relative, points(truth.depth, 3)).residual == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fifth_of_gross_outliers_among_five_points_is_left_out(truth, kind):
    measured = points(truth.depth, 5)
    measured[1] = (*measured[1][:2], measured[1][2] * 3)
    scaled = scale_from_points(turned(truth.depth, kind), measured)
    assert (scaled.used, scaled.rejected) == (4, 1)
    torch.testing.assert_close(scaled.depth.depth, truth.depth, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sparse_map_with_a_fifth_of_outliers_makes_metres(truth, kind):
    generator = torch.Generator().manual_seed(0)
    chance = torch.rand(truth.depth.shape, generator=generator)
    noise = 1 + 0.005 * torch.randn(truth.depth.shape, generator=generator)
    spoilt = torch.where(torch.rand(truth.depth.shape, generator=generator) < 0.2, 60.0, truth.depth * noise)
    scaled = scale_from_sparse(turned(truth.depth, kind), DepthMap(spoilt, chance < 0.1))
    torch.testing.assert_close(scaled.depth.depth, truth.depth, rtol=0.01, atol=0.01)
    assert scaled.rejected == pytest.approx(0.2 * (scaled.used + scaled.rejected), rel=0.3)
    assert scaled.residual is not None
    assert 0 < scaled.residual < 0.03


def test_without_outliers_the_fit_is_the_one_of_evaluation(truth):
    guess = truth.depth * (1 + 0.01 * torch.sin(torch.arange(64.0)))
    relative, scale_free = (replace(turned(guess, kind), valid=truth.valid) for kind in KINDS[:2])
    generous = scale_from_sparse(scale_free, truth)
    assert generous.rejected == 0
    torch.testing.assert_close(
        generous.depth.depth, least_squares_scale(scale_free.depth, truth.depth, truth.valid), rtol=1e-5, atol=1e-5
    )
    inverse = least_squares_scale_shift(relative.depth, 1 / truth.depth, truth.valid)
    fitted = scale_from_sparse(relative, truth)
    assert fitted.rejected == 0
    torch.testing.assert_close(fitted.depth.depth, 1 / inverse, rtol=1e-4, atol=1e-4)


def test_what_comes_out_beyond_the_horizon_is_not_valid(truth):
    relative = turned(truth.depth, DepthKind.RELATIVE)
    relative.depth[0, 0, :5] = -1000
    scaled = scale_from_points(relative, [(x, y + 1, metres) for x, y, metres in points(truth.depth[:, 1:], 3)])
    assert not scaled.depth.valid[0, 0, :5].any()
    assert scaled.depth.valid[0, 1:].all()
    assert scaled.depth.depth.max() < HORIZON
    assert "beyond 250 m left out" not in str(scaled)
    relative.depth[0, :2] = -1000
    left_out = 2 / relative.depth.shape[-2]
    scaled = scale_from_points(relative, [(x, y + 2, metres) for x, y, metres in points(truth.depth[:, 2:], 3)])
    assert f"{left_out:.0%} of the pixels beyond 250 m left out" in str(scaled)


def test_a_measurement_in_another_unit_is_doubted_where_the_network_knows_metres(truth):
    measured = points(truth.depth, 4)
    assert "?" not in str(scale_from_points(truth, measured))
    centimetres = scale_from_points(truth, [(x, y, 30 * metres) for x, y, metres in measured])
    assert "30 times the network's own metres: are the measurements in metres?" in str(centimetres)


def seen_floor() -> tuple[Depth, Camera]:
    """A room whose lower third shows much floor, and the camera in it."""
    for index in range(20):
        camera = furnish(DOMAINS["a"], np.random.default_rng((0, SPLIT_SEEDS["test"], index))).camera
        depth = rooms("test", height=48, width=64, holes=False)[index].depth
        fx, _, cx, cy = camera.intrinsics(48, 64)
        rows, columns = np.mgrid[:48, :64]
        rays = np.stack([(columns - cx) / fx, (rows - cy) / fx, np.ones_like(rows)])
        above = camera.eye[2] + np.tensordot(camera.rotation()[2], rays, 1) * depth[0].numpy()
        if (np.abs(above[32:]) < 1e-3).mean() > 0.7:
            return depth, camera
    raise AssertionError("no room shows its floor")


def test_the_cameras_height_above_the_floor_makes_metres_of_every_kind():
    depth, camera = seen_floor()
    degrees = math.degrees(camera.field_of_view)
    floor = FloorScale(camera.eye[2], field_of_view=degrees, pitch=-math.degrees(camera.pitch))
    for kind in KINDS:
        scaled = scale_from_floor(turned(depth, kind), floor)
        torch.testing.assert_close(scaled.depth.depth, depth, rtol=0.01, atol=0.01)
        assert f"looks down {floor.pitch:.1f} degrees" in str(scaled)  # of depth with a shape it is found, not taken
        assert scaled.depth.intrinsics is not None
        np.testing.assert_allclose(scaled.depth.intrinsics, camera.intrinsics(48, 64), rtol=1e-5)


def test_a_floor_alone_cannot_scale_relative_depth(truth):
    relative = turned(truth.depth, DepthKind.RELATIVE)
    with pytest.raises(BadInput, match=r"add pitch=DEGREES.*or give points or a sparse depth map"):
        scale_from_floor(relative, FloorScale(1.5, focal_px=60))
    scale_from_floor(replace(relative, kind=DepthKind.SCALE_FREE, depth=truth.depth), FloorScale(1.5, focal_px=60))


def test_anchors_that_determine_nothing_are_refused(truth):
    relative = turned(truth.depth, DepthKind.RELATIVE)
    good = points(truth.depth, 2)
    flat = replace(relative, depth=torch.ones_like(relative.depth))
    for prediction, measured, message in (
        (relative, good[:1], "at least 2 points"),
        (flat, good, "have one relative depth"),
        (relative, [(*good[0][:2], 9.0), (*good[1][:2], 1.0)], "farther where the prediction is nearer"),
        (relative, [(64, 0, 2.0), good[0]], "Point 64,0,2 is outside the photograph"),
        (relative, [(0, 0, -2.0), good[0]], "positive metres"),
    ):
        with pytest.raises(BadInput, match=message):
            scale_from_points(prediction, measured)
    with pytest.raises(BadInput, match="at least 2 measured pixels"):
        scale_from_sparse(relative, replace(truth, valid=torch.zeros_like(truth.valid)))
    with pytest.raises(BadInput, match="64 × 40 pixels and the photograph 64 × 48"):
        scale_from_sparse(relative, DepthMap(truth.depth[:, :40], truth.valid[:, :40]))
    with pytest.raises(BadInput, match="does not come nearer"):
        scale_from_floor(flat, FloorScale(1.5, focal_px=60, pitch=0))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["120,80"], "measured points .*sparse depth map.*floor"),
        (["1,2,3", "nowhere.png"], "Nothing to scale from"),
        (["floor:high,focal_px=50"], "'high' is not a number"),
        (["floor:1.4"], "either field_of_view=DEGREES"),
        (["floor:1.4,focal_px=50,roll=2"], "No floor option is called 'roll'"),
        (["floor:-1,focal_px=50"], "positive height"),
    ],
)
def test_words_that_scale_nothing_are_refused(words, message):
    with pytest.raises(BadInput, match=message):
        scaler_from_options(words, 1)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a relative model and two photographs."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("scaling")
    save(
        build("hybrid", size="tiny", encoder="test_efficientnet", input_size=(64, 64), kind="relative"), place / "model"
    )
    (place / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.random.default_rng(ord(name[0])).integers(0, 256, (30, 50, 3), np.uint8)).save(
            place / "in" / name
        )
    return place


def answer(home: Path, name: str) -> Depth:
    """What a photograph would measure if the model were right."""
    relative = predict_tensor(load(home / "model"), read_image(home / "in" / name))
    return 1 / (0.3 + 0.5 * (relative - relative.min()) / (relative.max() - relative.min()))


def test_points_on_the_command_line_become_a_file_in_metres_that_says_so(home, tmp_path, capsys):
    truth = answer(home, "a.png")
    words = [f"{x},{y},{metres:.6f}" for x, y, metres in points(truth, 4)]
    given = ["predict", str(home / "in" / "a.png"), "--model", str(home / "model"), "--metres"]
    assert main([*given, "--out", str(tmp_path), "--json", "--scale-from", *words]) == 0
    said = json.loads(capsys.readouterr().out)
    written = read_depth(tmp_path / "a.png")
    assert written.kind is DepthKind.METRIC
    torch.testing.assert_close(written.depth, truth, rtol=1e-3, atol=2e-3)
    assert written.provenance["predicted_kind"] == "relative"
    assert written.provenance["scaled_from"] == said["scaled_from"]
    assert (said["kind"], said["used"], said["rejected"]) == ("metric", 4, 0)
    assert said["residual"] < 1e-3
    assert main([*given, "--out", str(tmp_path), "--scale-from", *words]) == 0
    assert "a.png: scaled from 4 of 4 points; median residual 0.000 m" in capsys.readouterr().err


def test_a_folder_of_sparse_maps_scales_the_photographs_of_its_names(home, tmp_path, capsys):
    truth = answer(home, "a.png")
    sparse = torch.rand(truth.shape, generator=torch.Generator().manual_seed(1)) < 0.1
    steps = torch.where(sparse, truth * 5000, 0).round()[0].numpy().astype(np.uint16)
    (tmp_path / "maps").mkdir()
    Image.fromarray(steps).save(tmp_path / "maps" / "a.png")  # says no unit
    given = ["predict", str(home / "in"), "--model", str(home / "model"), "--out", str(tmp_path / "out")]
    assert main([*given, "--scale-from", str(tmp_path / "maps"), "--depth-scale", "5000"]) == 1
    torch.testing.assert_close(read_depth(tmp_path / "out" / "a.png").depth, truth, rtol=2e-3, atol=2e-3)
    assert "needs one depth map for b.png" in capsys.readouterr().err
    write_depth(tmp_path / "one.npz", DepthMap(truth, sparse))
    assert main([*given, "--scale-from", str(tmp_path / "one.npz")]) == 1
    assert "there are 2: name one photograph" in capsys.readouterr().err


def test_a_relative_model_asked_for_metres_is_refused_with_the_ways_to_them(home, tmp_path, capsys):
    given = ["predict", str(home / "in"), "--model", str(home / "model"), "--out", str(tmp_path / "out")]
    assert main([*given, "--metres"]) == 1
    printed = capsys.readouterr().err
    assert "predicts relative depth, not metres" in printed
    assert all(way in printed for way in ("X,Y,METRES", "FILE or FOLDER", "floor:1.45,field_of_view=60,pitch=10"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", list(DepthKind))
def test_a_prediction_in_fewer_pixels_than_the_photograph_is_scaled_as_the_enlarged_one(kind):
    """Photographs over 25 megapixels are measured at a half: points, maps and boxes count the photograph's pixels."""
    rows = torch.linspace(0.2, 1, 30)[:, None].expand(30, 40) + torch.linspace(0, 0.3, 40)
    depth = (rows if kind is DepthKind.RELATIVE else 1 / rows)[None]
    small = DepthMap(depth, torch.ones_like(depth).bool(), kind)
    enlarged = torch.nn.functional.interpolate(depth[None], (60, 80), mode="bilinear", align_corners=False)[0]
    large = DepthMap(enlarged, torch.ones_like(enlarged).bool(), kind)
    points = [(3, 5, 9.0), (70, 50, 2.0), (40, 30, 3.5), (12, 55, 2.6)]
    scaled = [scale_from_points(small, points, (60, 80)), scale_from_points(large, points)]
    sparse = torch.zeros(1, 60, 80)
    for x, y, metres in points:
        sparse[0, y, x] = metres
    measured = DepthMap(sparse, sparse > 0)
    scaled += [scale_from_sparse(small, measured, size=(60, 80)), scale_from_sparse(large, measured)]
    for one in scaled:
        assert (one.scale, one.shift) == pytest.approx((scaled[0].scale, scaled[0].shift), rel=1e-5, abs=1e-6)
    with pytest.raises(BadInput, match="x is 0 … 79 to the right, y is 0 … 59 down"):
        scale_from_points(small, [(80, 0, 1.0)], (60, 80))
    floor = FloorScale(1.4, field_of_view=60, pitch=10, box=(0, 40, 80, 60))
    by_floor = [scale_from_floor(small, floor, (60, 80)), scale_from_floor(large, floor)]
    assert by_floor[0].scale == pytest.approx(by_floor[1].scale, rel=0.01)
