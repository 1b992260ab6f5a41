"""Details of a score: boundary F1 against a second derivation, and errors by range of depth."""

import json

import numpy as np
import pytest
import torch

from leadline.cli.main import main
from leadline.evaluation.details import THRESHOLDS, ComparedImage, boundary_f1, details


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
    table = details([ComparedImage(metres, target, torch.ones_like(target, dtype=torch.bool))])
    assert [line[:3] for line in table.lines] == [
        ("0 to 1 m", "25.0%", "0.000"),
        ("1 to 2 m", "25.0%", "1.000"),
        ("2 to 4 m", "50.0%", "0.100"),
    ]
    assert "over 1 images with edges" in table.remarks[0]
    assert "scores AbsRel 1.125, RMSE" in table.remarks[1]  # of 2.25 m


def test_evaluate_lists_details_when_asked_and_refuses_them_of_maps_in_files(tmp_path, capsys):
    file = tmp_path / "table.json"
    data = ["--data", "rooms,count=2,height=64,width=64"]
    assert main(["evaluate", *data, "--details", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "Errors by range of depth" in printed
    assert "Boundary F1" in printed
    assert json.loads(file.read_text())["details"]["title"].startswith("Errors by range")
    maps = ["--predictions", str(tmp_path), "--ground-truth", str(tmp_path)]
    assert main(["evaluate", *maps, "--details"]) == 1
    assert "--details is of a model" in capsys.readouterr().err
