"""Metrics agree with NumPy's word for them, under any split into batches and either averaging."""

import math

import numpy as np
import pytest
import torch

from leadline.evaluation import metrics
from leadline.evaluation.metrics import METRICS, MetricAccumulator


def _numpy(name: str, d: np.ndarray, t: np.ndarray) -> float:
    """Each metric derived again, from one-dimensional arrays in float64."""
    g = np.log(d / t)
    ratio = np.exp(np.abs(g))
    return float(
        {
            "abs_rel": lambda: np.average(abs(d / t - 1)),
            "sq_rel": lambda: np.average((d - t) * (d - t) / t),
            "rmse": lambda: np.linalg.norm(d - t) / math.sqrt(len(d)),
            "mae": lambda: np.average(abs(d - t)),
            "log_rms": lambda: np.linalg.norm(g) / math.sqrt(len(g)),
            "log10": lambda: np.average(abs(g)) / math.log(10),
            "d1": lambda: np.average(ratio < 1.25),
            "d2": lambda: np.average(ratio < 1.5625),
            "d3": lambda: np.average(ratio < 1.953125),
            "silog": lambda: np.var(g),
            "silog_bts": lambda: 100 * np.std(g),
            "silog_loss": lambda: 10 * math.sqrt(np.var(g) + 0.15 * np.mean(g) ** 2),
        }[name]()
    )


@pytest.fixture
def maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Five images of (predicted, measured, valid) whose numbers of valid pixels differ a lot."""
    generator = torch.Generator().manual_seed(7)
    measured = torch.rand(5, 1, 6, 9, generator=generator) * 8 + 0.5
    predicted = measured * torch.randn(5, 1, 6, 9, generator=generator).mul(0.4).exp()
    share = torch.tensor([0.05, 0.3, 0.9, 0.6, 0.5]).view(5, 1, 1, 1)
    return predicted, measured, torch.rand(5, 1, 6, 9, generator=generator) < share


def _one(maps, i: int) -> list[torch.Tensor]:
    return [each[i] for each in maps]


def _pixels(predicted, measured, valid) -> tuple[np.ndarray, np.ndarray]:
    return predicted[valid].double().numpy(), measured[valid].double().numpy()


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_numpys(name, maps):
    predicted, measured, valid = maps
    assert METRICS[name](predicted, measured, valid).item() == pytest.approx(_numpy(name, *_pixels(*maps)), rel=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_scores_average_per_image_and_pooled_as_numpy_does(name, maps):
    each = [_numpy(name, *_pixels(*_one(maps, i))) for i in range(5)]
    scores = MetricAccumulator.of(*maps)
    assert scores.per_image()[name] == pytest.approx(each, rel=1e-6)
    assert scores.averaged("per_image")[name] == pytest.approx(np.mean(each), rel=1e-6)
    assert scores.averaged("pooled")[name] == pytest.approx(_numpy(name, *_pixels(*maps)), rel=1e-6)


@pytest.mark.parametrize("split", [[5], [1, 1, 1, 1, 1], [2, 3], [4, 1]])
def test_no_split_and_no_order_of_merging_changes_a_digit(split, maps):
    whole = MetricAccumulator.of(*maps)
    predicted, measured, valid = (each.split(split) for each in maps)
    parts = [MetricAccumulator.of(d, t, v) for d, t, v in zip(predicted, measured, valid, strict=True)]
    backwards = MetricAccumulator.merged(reversed(parts))
    for averaging in ("per_image", "pooled"):
        assert sum(parts[1:], parts[0]).averaged(averaging) == whole.averaged(averaging)
        assert backwards.averaged(averaging) == whole.averaged(averaging)


def test_an_image_without_valid_pixels_counts_nowhere(maps):
    predicted, measured, valid = maps
    none = MetricAccumulator.of(predicted[0], torch.zeros_like(measured[0]), torch.zeros_like(valid[0]))
    both = MetricAccumulator.of(*maps) + none
    assert (both.counted, len(both.pixels)) == (5, 6)
    assert math.isnan(both.per_image()["rmse"][-1])
    for averaging in ("per_image", "pooled"):
        assert both.averaged(averaging) == MetricAccumulator.of(*maps).averaged(averaging)
        assert all(math.isnan(value) for value in none.averaged(averaging).values())


def test_what_lies_in_the_holes_does_not_matter(maps):
    predicted, measured, valid = maps
    spoilt = torch.where(valid, predicted, -1.0), torch.where(valid, measured, 0.0)
    assert MetricAccumulator.of(*spoilt, valid).averaged() == MetricAccumulator.of(*maps).averaged()


def test_a_perfect_prediction_scores_perfectly(maps):
    _, measured, valid = maps
    scores = MetricAccumulator.of(measured, measured, valid).averaged()
    assert all(scores[name] == metric.higher_is_better for name, metric in METRICS.items())


def test_silogs_forget_the_scale_and_the_loss_form_does_not(maps):
    predicted, measured, valid = maps
    once, twice = (MetricAccumulator.of(factor * predicted, measured, valid).averaged() for factor in (1, 2))
    assert twice["silog"] == pytest.approx(once["silog"], rel=1e-5)
    assert twice["silog_bts"] == pytest.approx(once["silog_bts"], rel=1e-5)
    assert twice["silog_loss"] > 1.05 * once["silog_loss"]


def test_a_ratio_of_exactly_the_threshold_is_outside_of_it():
    metres = torch.arange(1, 2001, dtype=torch.float32).view(1, 1, 2000) * 4 / 1000
    valid = torch.ones_like(metres, dtype=torch.bool)
    share = metrics.d1((metres * 1000 / 4 * 5).round() / 1000, metres, valid).item()
    assert share < 0.2  # of exact ties in millimetres, those that metres in float32 cannot tell


def test_labels_tell_all_metrics_apart():
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)


def test_values_that_occur_often_count_as_often():
    generator = torch.Generator().manual_seed(0)
    target = (torch.randint(1, 9, (5000,), generator=generator) / 2).numpy()
    predicted = np.full_like(target, 2.0)
    values, counts = np.unique(target, return_counts=True)
    every = MetricAccumulator.of_pixels(predicted, target)
    merged = MetricAccumulator.of_counted(predicted[: len(values)], values, counts)
    assert merged.pixels == every.pixels
    np.testing.assert_allclose(merged.sums, every.sums, rtol=1e-6)
