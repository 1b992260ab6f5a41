"""Relative predictions of other tools score what they are worth: never better for a turned sign, and 0 is a number."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from seer import Seer, views

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.evaluation.alignment import ALIGNMENTS, align, fit_alignment
from leadline.evaluation.evaluate import evaluate
from leadline.evaluation.protocols import protocol
from leadline.io.depth_maps import DepthMap, write_depth

METRES = np.random.default_rng(0).uniform(1, 9, (24, 32)).astype(np.float32)
RELATIVE = ("--kind", "relative", "--alignment", "inverse_scale_shift")


def _truths(folder: Path, count: int = 1) -> Path:
    for number in range(count):
        depth = torch.from_numpy(METRES + number)[None]
        folder.mkdir(exist_ok=True)
        write_depth(folder / f"{number}.npz", DepthMap(depth, depth > 0))
    return folder


def _floats(folder: Path, *maps: np.ndarray) -> Path:
    """As another tool saves them: numbers and no words."""
    folder.mkdir()
    for number, values in enumerate(maps):
        np.savez(folder / f"{number}.npz", depth=values.astype(np.float32))
    return folder


def _evaluated(tmp_path: Path, predictions: Path, truth: Path, *options: str) -> dict:
    figures = tmp_path / "figures.json"
    command = ["evaluate", "--predictions", str(predictions), "--ground-truth", str(truth), "--json", str(figures)]
    assert main([*command, *options]) == 0
    return json.loads(figures.read_text())


def test_metres_scored_as_relative_depth_are_no_better_than_a_constant_and_are_named(tmp_path, capsys):
    truth = _truths(tmp_path / "truth", 2)
    said = _evaluated(tmp_path, _floats(tmp_path / "metres", METRES, METRES + 1), truth, *RELATIVE)
    row = said["rows"][0]
    assert said["metrics"]["abs_rel"] > 0.3
    constant = np.mean(1 / METRES.astype(np.float64)) ** -1
    expected = np.mean(np.abs(constant - METRES) / METRES)
    assert said["per_image"][0]["metrics"]["abs_rel"] == pytest.approx(expected, rel=1e-4)
    assert row["reversed_images"] == ["0", "1"]
    assert "2 of 2 images fit their ground truth by a negative factor only" in row["note"]
    printed = capsys.readouterr().out
    assert "as one constant depth (0, 1)" in printed
    assert "try --kind scale_free --alignment scale_shift, or --kind metric" in printed
    assert _evaluated(tmp_path, tmp_path / "metres", truth, "--kind", "metric")["metrics"]["abs_rel"] < 1e-6


@pytest.mark.parametrize("alignment", ["scale_shift", "inverse_scale_shift"])
def test_inverse_depth_scored_as_depth_is_no_better_than_a_constant(tmp_path, alignment):
    predictions = _floats(tmp_path / "inverse", 1 / METRES)
    said = _evaluated(
        tmp_path, predictions, _truths(tmp_path / "truth"), "--kind", "scale_free", "--alignment", alignment
    )
    assert said["metrics"]["d1"] < 0.6
    assert said["rows"][0]["reversed_images"] == ["0"]
    assert "try --kind relative --alignment inverse_scale_shift" in said["rows"][0]["note"]


@pytest.mark.parametrize(("alignment", "words"), [("scale", "as 0.1 m everywhere"), ("median", "as they are")])
def test_negative_depth_has_no_positive_factor_either(alignment, words):
    table = evaluate(
        Seer(DepthKind.SCALE_FREE, bent=torch.neg), views(3), protocol("indoor", alignment=alignment), name="turned"
    )
    assert table.rows[0].metrics["d1"] == 0
    assert table.rows[0].reversed_images == ("view/0", "view/1", "view/2")
    assert words in table.rows[0].note
    assert "--kind" not in table.rows[0].note


def test_one_turned_image_of_three_is_named_without_doubting_the_kind(tmp_path):
    predictions = _floats(tmp_path / "mixed", 1 / METRES, METRES, 3 / (METRES + 2) - 1)
    row = _evaluated(tmp_path, predictions, _truths(tmp_path / "truth", 3), *RELATIVE)["rows"][0]
    assert row["reversed_images"] == ["1"]
    assert row["note"].startswith("1 of 3 images fit their ground truth by a negative factor only")
    assert "look like" not in row["note"]


def test_a_right_prediction_is_named_nowhere(tmp_path):
    row = _evaluated(tmp_path, _floats(tmp_path / "right", 1 / METRES), _truths(tmp_path / "truth"), *RELATIVE)
    assert row["rows"][0]["reversed_images"] == []
    assert row["rows"][0]["note"] == ""
    assert row["metrics"]["rmse"] == pytest.approx(0, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    alignment=st.sampled_from([name for name in ALIGNMENTS if name != "none"]),
    robust=st.booleans(),
)
def test_no_alignment_turns_the_order_of_a_prediction(seed, alignment, robust):
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.randn(1, 1, 4, 5, generator=generator)
    measured = torch.rand(1, 1, 4, 5, generator=generator) * 8 + 1
    valid = torch.rand(1, 1, 4, 5, generator=generator) < 0.8
    kind = DepthKind.RELATIVE if alignment == "inverse_scale_shift" else DepthKind.SCALE_FREE
    metres = align(predicted, measured, valid, alignment=alignment, kind=kind, robust=robust)
    order = predicted.flatten().argsort(descending=kind is DepthKind.RELATIVE)
    assert (metres.flatten()[order].diff() >= 0).all()


def test_the_held_factor_is_the_best_of_those_that_are_allowed():
    measured = torch.from_numpy(METRES)[None]
    valid = measured > 0
    held = fit_alignment(10 - measured, measured, valid, alignment="scale_shift", kind=DepthKind.SCALE_FREE)
    assert bool(held.is_reversed)
    least = (held.metres - measured).square().sum()
    for scale in np.linspace(0, 2, 9):
        for shift in np.linspace(-5, 10, 31):
            assert ((10 - measured) * scale + shift - measured).square().sum() >= least - 1e-3


@pytest.mark.parametrize(("top", "type_", "rmse"), [(255, np.uint8, 0.02), (65535, np.uint16, 5e-4)])
def test_zero_is_the_farthest_number_of_an_integer_relative_map(tmp_path, top, type_, rmse):
    inverse = 1 / METRES
    steps = np.rint((inverse - inverse.min()) / np.ptp(inverse) * top)
    assert (steps == 0).any()
    truth = _truths(tmp_path / "truth")
    (tmp_path / "integers").mkdir()
    Image.fromarray(steps.astype(type_)).save(tmp_path / "integers" / "0.png")
    integers = _evaluated(tmp_path, tmp_path / "integers", truth, *RELATIVE)
    floats = _evaluated(tmp_path, _floats(tmp_path / "floats", steps), truth, *RELATIVE)
    assert integers["metrics"] == pytest.approx(floats["metrics"], abs=1e-5)
    assert integers["rows"][0]["note"] == ""
    capped = _evaluated(tmp_path, tmp_path / "integers", truth, *RELATIVE, "--cap", "4")
    assert capped["metrics"]["rmse"] < rmse * 2
    assert floats["metrics"]["rmse"] < rmse * 4


def test_the_protocol_says_which_images_were_turned():
    measured = torch.from_numpy(METRES)[None, None].expand(2, -1, -1, -1)
    predicted = torch.cat([1 / measured[:1], measured[:1]])
    compared = protocol("indoor", alignment="inverse_scale_shift").compare(
        predicted, measured, measured > 0, DepthKind.RELATIVE
    )
    assert compared.is_reversed.tolist() == [False, True]
