"""Calibration: the scale is found, kept only where it helps on what was left out, and exact in the saved model."""

import pytest
import torch
from seer import Listed, Seer, views

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.protocols import protocol
from leadline.models.loading import load
from leadline.models.registry import build
from leadline.models.rescaling import rescale
from leadline.models.saving import save
from leadline.recipes.calibration import _folds, calibrate

RULES = protocol("indoor")


def test_a_wrong_scale_is_found_and_helps_on_images_left_out():
    found = calibrate(Seer(bent=lambda depth: depth / 1.3), views(6), RULES)
    assert found.scale == pytest.approx(1.3, rel=1e-5)
    assert found.helps
    assert found.after < 1e-5 < found.before
    assert (found.images, found.folds, found.folds_better) == (6, 5, 5)


def test_a_scale_that_only_fits_the_images_it_came_from_is_not_kept():
    samples = views(4).samples
    scales = (0.5, 2.0, 0.5, 2.0)
    wild = [each.replace(depth=each.depth * scale) for each, scale in zip(samples, scales, strict=True)]
    found = calibrate(Seer(), Listed(wild), protocol("indoor", cap=100))
    assert not found.helps
    assert not calibrate(Seer(), views(4), RULES).helps  # right already: nothing to gain


@pytest.mark.parametrize("averaging", ["per_image", "pooled"])
def test_the_error_without_a_scale_is_the_one_that_evaluate_states(averaging):
    """Predictions of 9 to 99 m under a cap of 10 m, and images of different numbers of pixels."""
    data = views(4)
    few = torch.zeros(1, 32, 32, dtype=torch.bool)
    few[:, :4, 20:] = True
    data = Listed([data[0], data[1].replace(valid=few), data[2], data[3]])
    model, rules = Seer(bent=lambda depth: 11 * depth), protocol("indoor", averaging=averaging)
    found = calibrate(model, data, rules)
    assert found.before == pytest.approx(evaluate_metrics(model, data, rules)["rmse"], rel=1e-6)
    assert found.scale == pytest.approx(1 / 11, rel=1e-5)
    assert found.after < 1e-5


def test_frames_of_a_scene_are_left_out_together():
    assert sorted(map(sorted, _folds(["a", "b", "a", "c"]))) == [[0, 2], [1], [3]]
    assert _folds(["a"] * 3) == [[0], [1], [2]]


def test_too_few_images_and_protocols_that_align_are_refused():
    with pytest.raises(BadInput, match="1 images of listed train count: a scale needs 2"):
        calibrate(Seer(), views(1), RULES)
    with pytest.raises(BadInput, match="'median' takes the scale out"):
        calibrate(Seer(), views(2), protocol("indoor", alignment="median"))


@pytest.mark.parametrize("bounds", [(0.1, 100.0), (1.0, 3.0)])
def test_a_rescaled_model_answers_exactly_that_many_times_as_far(bounds, tmp_path):
    torch.manual_seed(0)
    low, high = bounds
    model = build("cnn", size="tiny", width=8, input_size=(64, 64), min_depth=low, max_depth=high).eval()
    image = torch.rand(2, 3, 64, 64)
    save(rescale(model, 1.7), tmp_path / "scaled")
    torch.testing.assert_close(load(tmp_path / "scaled")(image), 1.7 * model(image), rtol=1e-5, atol=0)
    with pytest.raises(BadInput, match="has no factor to change"):
        rescale(build("cnn", size="tiny", width=8, head="softplus"), 2.0)
    with pytest.raises(BadInput, match="only metres have a scale"):
        rescale(build("cnn", size="tiny", width=8, kind="relative"), 2.0)


def test_the_command_saves_a_model_that_is_better_and_nothing_where_it_would_not_be(tmp_path, capsys):
    torch.manual_seed(0)
    model = build("cnn", size="tiny", width=8, input_size=(64, 64))
    save(rescale(model, 0.25), tmp_path / "wrong")
    words = ["calibrate", str(tmp_path / "wrong"), "--data", "rooms,count=6,height=64,width=64"]
    assert main([*words, "--out", str(tmp_path / "right")]) == 0
    assert "better in 5 of 5 folds" in capsys.readouterr().out
    again = ["calibrate", str(tmp_path / "right"), *words[2:], "--out", str(tmp_path / "again")]
    assert main(again) == 1
    assert "nothing is saved" in capsys.readouterr().out
    assert not (tmp_path / "again").exists()
    assert main([*words, "--out", str(tmp_path / "right")]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_an_exported_file_is_refused_with_what_to_give(tmp_path, capsys):
    (tmp_path / "a.onnx").write_bytes(b"any")
    words = ["calibrate", str(tmp_path / "a.onnx"), "--data", "rooms,count=2", "--out", str(tmp_path / "right")]
    assert main(words) == 1
    assert "give the model that it was made of" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [DepthKind.SCALE_FREE, DepthKind.RELATIVE])
def test_metres_are_not_calibrated_by_depth_that_has_none(kind):
    with pytest.raises(BadInput, match=rf"ground truth of far is {kind}: metres are calibrated by a dataset"):
        calibrate(Seer(), Listed(views(4).samples, "far", kind), RULES)
