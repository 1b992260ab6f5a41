"""Losses: the papers' formulas, and nothing from pixels or images that were not measured."""

import numpy as np
import pytest
import torch

from leadline.training.losses import (
    berhu_loss,
    gradient_matching_loss,
    l1_loss,
    scale_and_shift_invariant_loss,
    silog_loss,
    standardize,
)
from leadline.training.objectives import TERMS


@pytest.fixture
def maps():
    """Two images of predicted and measured depth with a tenth of the pixels missing."""
    rng = np.random.default_rng(0)
    predicted = torch.from_numpy(rng.uniform(0.5, 8, (2, 1, 24, 32)))
    measured = torch.from_numpy(rng.uniform(0.5, 8, (2, 1, 24, 32)))
    valid = torch.from_numpy(rng.random((2, 1, 24, 32)) > 0.1)
    return predicted, measured, valid


def per_image(maps, formula):
    """The mean over images of a NumPy formula of (predicted, measured) at the valid pixels."""
    return np.mean([formula(p[v].numpy(), m[v].numpy()) for p, m, v in zip(*maps, strict=True)])


@pytest.mark.parametrize(("lam", "alpha"), [(0.85, 10.0), (0.5, 1.0), (0.0, 1.0)])
def test_silog_is_the_papers_formula(maps, lam, alpha):
    def formula(p, m):
        g = np.log(p) - np.log(m)
        return alpha * np.sqrt(np.mean(g**2) - lam * np.mean(g) ** 2)

    assert silog_loss(*maps, lam=lam, alpha=alpha).item() == pytest.approx(per_image(maps, formula), rel=1e-9)


def test_silog_defaults_are_the_papers(maps):
    assert silog_loss(*maps) == silog_loss(*maps, lam=0.85, alpha=10.0)


def test_l1_is_the_mean_absolute_error(maps):
    assert l1_loss(*maps).item() == pytest.approx(per_image(maps, lambda p, m: np.abs(p - m).mean()), rel=1e-9)


def test_berhu_is_linear_near_and_quadratic_far(maps):
    predicted, measured, valid = maps
    threshold = (predicted - measured)[valid].abs().max().item() / 5

    def formula(p, m):
        r = np.abs(p - m)
        return np.where(r <= threshold, r, (r**2 + threshold**2) / (2 * threshold)).mean()

    assert berhu_loss(*maps).item() == pytest.approx(per_image(maps, formula), rel=1e-9)


def test_standardised_images_have_median_0_and_mean_deviation_1(maps):
    depth, _, valid = maps
    for image, mask in zip(standardize(depth, valid), valid, strict=True):
        assert image[mask].median().item() == pytest.approx(0, abs=1e-12)
        assert image[mask].abs().mean().item() == pytest.approx(1)


def test_scale_and_shift_do_not_change_the_invariant_loss(maps):
    predicted, measured, valid = maps
    loss = scale_and_shift_invariant_loss(predicted, measured, valid)
    moved = scale_and_shift_invariant_loss(3.7 * predicted + 11, 0.2 * measured - 4, valid)
    assert moved.item() == pytest.approx(loss.item(), rel=1e-9)
    assert loss > 0.1


def test_the_invariant_loss_ignores_the_worst_pixels(maps):
    predicted, measured, _ = maps
    valid = torch.ones_like(measured, dtype=torch.bool)
    spoiled = measured.clone()
    # A tenth of the pixels, spread evenly about the median, far beyond all others.
    spoiled.flatten(1)[:, :38] = 1e3
    spoiled.flatten(1)[:, 38:76] = -1e3
    exact = scale_and_shift_invariant_loss(spoiled, spoiled + 0 * predicted, valid)
    assert exact.item() == 0
    outlier = measured.clone()
    outlier.flatten(1)[:, 0] = 1e6
    kept_all = scale_and_shift_invariant_loss(measured, outlier, valid, trim=0.0)
    trimmed = scale_and_shift_invariant_loss(measured, outlier, valid, trim=0.2)
    assert trimmed < kept_all


def test_gradient_matching_is_the_sum_over_scales_of_both_differences(maps):
    predicted, measured, valid = maps

    def formula(scales):
        images = []
        for p, m, v in zip(predicted, measured, valid, strict=True):
            total = 0.0
            for k in range(scales):
                r, ok = (p - m)[0, :: 2**k, :: 2**k].numpy(), v[0, :: 2**k, :: 2**k].numpy()
                dx = np.abs(np.diff(r, axis=1))[ok[:, 1:] & ok[:, :-1]].sum()
                dy = np.abs(np.diff(r, axis=0))[ok[1:] & ok[:-1]].sum()
                total += (dx + dy) / ok.sum()
            images.append(total)
        return np.mean(images)

    assert gradient_matching_loss(*maps, scales=3).item() == pytest.approx(formula(3), rel=1e-9)
    assert gradient_matching_loss(measured + 5, measured, valid).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", TERMS)
class TestEveryLoss:
    def test_never_reads_an_invalid_pixel(self, maps, name):
        predicted, measured, valid = maps
        clean = TERMS[name](predicted, measured, valid)
        for nonsense in (torch.nan, torch.inf, 0.0, -3.0):
            spoiled = TERMS[name](predicted, torch.where(valid, measured, nonsense), valid)
            assert spoiled.item() == pytest.approx(clean.item(), rel=1e-12)

    def test_takes_nothing_from_an_image_without_valid_pixels(self, maps, name):
        predicted, measured, valid = (each.clone() for each in maps)
        alone = TERMS[name](predicted[:1], measured[:1], valid[:1])
        valid[1] = False
        predicted.requires_grad_(True)
        both = TERMS[name](predicted, measured, valid)
        both.backward()
        assert both.item() == pytest.approx(alone.item(), rel=1e-12)
        assert predicted.grad is not None
        assert not predicted.grad[1].any()
        assert predicted.grad[0].any()

    def test_is_zero_with_a_zero_gradient_where_nothing_is_valid(self, maps, name):
        predicted, measured, _ = maps
        predicted = predicted.clone().requires_grad_(True)
        loss = TERMS[name](predicted, measured, torch.zeros_like(measured, dtype=torch.bool))
        loss.backward()
        assert loss.item() == 0
        assert predicted.grad is not None
        assert not predicted.grad.any()

    def test_is_zero_with_a_finite_gradient_at_a_perfect_prediction(self, maps, name):
        _, measured, valid = maps
        predicted = measured.clone().requires_grad_(True)
        loss = TERMS[name](predicted, measured, valid)
        loss.backward()
        assert loss.item() == pytest.approx(0, abs=1e-12)
        assert predicted.grad is not None
        assert predicted.grad.isfinite().all()

    def test_has_the_gradient_of_its_finite_differences(self, maps, name):
        predicted, measured, valid = (each[:, :, ::3, ::4] for each in maps)
        predicted = predicted.contiguous()
        loss = lambda moved: TERMS[name](moved, measured, valid)  # noqa: E731
        direction = torch.from_numpy(np.random.default_rng(1).normal(size=predicted.shape))
        # Where berHu goes from linear to quadratic hangs on the largest residual, and is a constant to its gradient.
        residual = torch.where(valid, (predicted - measured).abs(), 0.0)
        direction[residual == residual.max()] = 0.0
        step = 1e-7
        numeric = (loss(predicted + step * direction) - loss(predicted - step * direction)) / (2 * step)
        probe = predicted.clone().requires_grad_(True)
        loss(probe).backward()
        assert probe.grad is not None
        assert (probe.grad * direction).sum().item() == pytest.approx(numeric.item(), rel=1e-3, abs=1e-6)
