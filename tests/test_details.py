"""Details of a score: boundary F1 against a second derivation, and errors by range of depth."""

import json

import numpy as np
import pytest
import torch

from leadline.cli.main import main
from leadline.evaluation.details import THRESHOLDS, ComparedImage, boundary_f1, details
from leadline.evaluation.geometry import cloud_scores, points_of, relative_normal_error


def in_numpy(predicted: np.ndarray, target: np.ndarray) -> float:
    """Depth Pro's boundary F1 of fully measured maps, written from its definition with loops."""

    def edges(depth: np.ndarray, threshold: float) -> dict[tuple[int, int], set[tuple[int, int]]]:
        found: dict[tuple[int, int], set[tuple[int, int]]] = {}
        height, width = depth.shape
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            found[down, right] = {
                (row, column)
                for row in range(height)
                for column in range(width)
                if 0 <= row + down < height
                and 0 <= column + right < width
                and depth[row + down, column + right] / depth[row, column] > threshold
            }
        return found

    scores = []
    for threshold in THRESHOLDS:
        ours, theirs = edges(predicted, threshold), edges(target, threshold)
        sides = [side for side in theirs if theirs[side]]
        precision = np.mean([len(ours[side] & theirs[side]) / max(len(ours[side]), 1) for side in sides])
        recall = np.mean([len(ours[side] & theirs[side]) / len(theirs[side]) for side in sides])
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return float(np.average(scores, weights=THRESHOLDS))


def test_boundary_f1_is_what_loops_over_the_definition_give_and_no_scale_changes_it():
    rng = np.random.default_rng(0)
    target = rng.uniform(1, 3, (7, 9))
    predicted = target * rng.uniform(0.8, 1.25, (7, 9))
    ours, theirs = (torch.tensor(each)[None] for each in (predicted, target))
    every = torch.ones_like(theirs, dtype=torch.bool)
    found = boundary_f1(ours, theirs, every)
    assert found == pytest.approx(in_numpy(predicted, target))
    assert 0 < found < 1
    assert boundary_f1(7 * ours, theirs, every) == pytest.approx(found)
    assert boundary_f1(theirs, theirs, every) == pytest.approx(1)


def test_a_blurred_edge_costs_f1_what_a_wrong_scale_does_not():
    target = torch.full((1, 8, 8), 2.0)
    target[..., 4:] = 4.0
    every = torch.ones_like(target, dtype=torch.bool)
    blurred = torch.tensor([2, 2, 2, 2.4, 2.9, 3.4, 4, 4]).expand(1, 8, 8)
    assert boundary_f1(blurred, target, every) < 0.5
    assert boundary_f1(3 * target, target, every) == pytest.approx(1)
    assert np.isnan(boundary_f1(target, torch.full_like(target, 2.0), every))
    hole = every.clone()
    hole[..., 4] = False
    assert np.isnan(boundary_f1(target, target, hole))


def test_errors_are_listed_by_the_depth_they_are_made_at():
    target = torch.tensor([[[0.5, 1.5, 3.0, 3.0]]])
    metres = torch.tensor([[[0.5, 3.0, 3.3, 2.7]]])
    table, shape = details([ComparedImage(metres, target, torch.ones_like(target, dtype=torch.bool))])
    assert [line[:3] for line in table.lines] == [
        ("0 to 1 m", "25.0%", "0.000"),
        ("1 to 2 m", "25.0%", "1.000"),
        ("2 to 4 m", "50.0%", "0.100"),
    ]
    assert "scores, unaligned, AbsRel 1.125, RMSE" in table.remarks[0]  # of 2.25 m
    assert [line[2:] for line in shape.lines] == [("–", "–", "–")] * 2
    assert "Of 1 images, 1 have edges and 0 have intrinsics" in shape.remarks[1]


def test_evaluate_lists_details_when_asked_and_refuses_them_of_maps_in_files(tmp_path, capsys):
    file = tmp_path / "table.json"
    data = ["--data", "rooms,count=2,height=64,width=64"]
    assert main(["evaluate", *data, "--details", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "Errors by range of depth" in printed
    assert "boundary F1" in printed
    assert "2 have intrinsics" in printed
    ranges, shape = json.loads(file.read_text())["details"]
    assert ranges["title"].startswith("Errors by range")
    # A flat predictor has no edges, and bends nothing: only the room's own angles are missed.
    assert [line[1] for line in shape["body"]][1] == "0.000"
    assert all(float(value) > 0 for line in shape["body"] for value in line[2:])
    maps = ["--predictions", str(tmp_path), "--ground-truth", str(tmp_path)]
    assert main(["evaluate", *maps, "--details"]) == 1
    assert "--details is of a model" in capsys.readouterr().err


CAMERA = (40.0, 42.0, 31.0, 23.5)
"""fx, fy, cx, cy of maps of 48 × 64 pixels."""
EVERY = torch.ones(1, 48, 64, dtype=torch.bool)


def plane(normal: tuple[float, float, float], distance: float) -> torch.Tensor:
    """The depth of a plane: points p with normal · p = distance."""
    rows, columns = np.indices((48, 64))
    rays = np.stack([(columns - CAMERA[2]) / CAMERA[0], (rows - CAMERA[3]) / CAMERA[1], np.ones((48, 64))], axis=-1)
    return torch.from_numpy(distance / (rays @ np.array(normal)))[None]


def corner() -> torch.Tensor:
    """Two walls that meet at a right angle in the middle of the picture."""
    return torch.minimum(plane((1, 0, 1), 3.0), plane((-1, 0, 1), 3.0))


def test_points_lie_on_the_plane_that_was_seen():
    normal = np.array([0.2, -0.3, 1.0])
    assert points_of(plane(tuple(normal), 2.0), CAMERA) @ normal == pytest.approx(np.full((48, 64), 2.0))


def test_relative_normals_ignore_scale_and_the_direction_of_a_whole_plane_and_see_waves_that_rmse_hardly_does():
    wall = plane((0.2, 0.1, 1.0), 2.0)
    assert relative_normal_error(3 * wall, wall, EVERY, CAMERA) == pytest.approx(0, abs=0.01)
    turned = plane((-0.3, 0.2, 1.0), 2.0)
    assert relative_normal_error(turned, wall, EVERY, CAMERA) == pytest.approx(0, abs=0.01)
    wavy = wall * (1 + 0.01 * torch.sin(torch.arange(64.0)))
    assert relative_normal_error(wavy, wall, EVERY, CAMERA) > 5
    assert float((wavy - wall).abs().mean()) < 0.02


def test_the_angle_of_a_corner_is_what_a_flat_prediction_gets_wrong():
    """Pairs on both sides of the edge are 90 degrees apart: counted here from the definition, without the edge."""
    error = relative_normal_error(torch.full_like(corner(), 2.0), corner(), EVERY, CAMERA)
    rng, found = np.random.default_rng(0), []
    for scale in (1, 2, 4, 8):
        height, width, radius = -(-48 // scale) - 2, -(-64 // scale) - 2, max(32 // scale, 3)
        rows, columns = rng.integers(height, size=200_000), rng.integers(width, size=200_000)
        down, right = (np.floor(rng.uniform(-radius, radius, 200_000)).astype(int) for _ in range(2))
        inside = (rows + down >= 0) & (rows + down < height) & (columns + right >= 0) & (columns + right < width)
        # The triangle of a column reaches over the edge (at column 31) where its first corner is left of it.
        sides = [
            np.where((c + 2) * scale <= 31, -1, np.where(c * scale >= 31, 1, 0)) for c in (columns, columns + right)
        ]
        clear = inside & (sides[0] != 0) & (sides[1] != 0)
        across = (sides[0] != sides[1])[clear].mean()
        found.append((90 * across, inside.sum(), clear.sum()))
    least = np.mean([angle * clear / inside for angle, inside, clear in found])
    most = np.mean([(angle * clear + 90 * (inside - clear)) / inside for angle, inside, clear in found])
    assert least < error < most


def test_clouds_are_as_far_apart_as_a_wall_was_moved():
    wall = plane((0.0, 0.0, 1.0), 2.0)
    same = cloud_scores(wall, wall, EVERY, CAMERA)
    assert same.chamfer == pytest.approx(0)
    assert same.f_score == pytest.approx(1)
    near, far = (cloud_scores(wall + moved, wall, EVERY, CAMERA) for moved in (0.06, 0.3))
    assert 0.06 <= near.chamfer < 0.075
    assert near.f_score > 0.9
    assert 0.3 <= far.chamfer < 0.34
    assert far.f_score == 0


def test_what_is_not_measured_is_never_read():
    hole = EVERY.clone()
    hole[..., 10:20, 10:30] = False
    wild = torch.where(hole, corner(), 60.0)
    for score in (relative_normal_error, lambda *each: cloud_scores(*each).chamfer):
        assert score(wild, corner(), hole, CAMERA) == pytest.approx(0, abs=0.01)
        assert np.isnan(score(wild, corner(), torch.zeros_like(hole), CAMERA))
