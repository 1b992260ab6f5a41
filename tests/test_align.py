"""Alignments undo exactly what a kind of depth leaves open, and refuse what they cannot undo."""

import numpy as np
import pytest
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.evaluation.alignment import (
    ALIGNMENTS,
    DEPTH_AT_INFINITY,
    align,
    check_alignment,
    inverse_scale_shift,
    least_squares_scale,
    least_squares_scale_shift,
    median_scale,
)


@pytest.fixture
def truth() -> tuple[torch.Tensor, torch.Tensor]:
    """Three measured images of 1 to 9 m and their holes."""
    generator = torch.Generator().manual_seed(3)
    measured = torch.rand(3, 1, 8, 10, generator=generator) * 8 + 1
    return measured, torch.rand(3, 1, 8, 10, generator=generator) < 0.7


FACTORS = torch.tensor([0.2, 1.0, 37.0]).view(3, 1, 1, 1)
SHIFTS = torch.tensor([0.5, 0.0, -0.1]).view(3, 1, 1, 1)


@pytest.mark.parametrize("robust", [False, True])
def test_each_alignment_recovers_metres_from_what_it_leaves_open(truth, robust):
    measured, valid = truth
    undone = [
        least_squares_scale(measured * FACTORS, measured, valid, robust=robust),
        least_squares_scale_shift(measured * FACTORS + SHIFTS, measured, valid, robust=robust),
        inverse_scale_shift(FACTORS / measured + SHIFTS, measured, valid, robust=robust),
        median_scale(measured * FACTORS, measured, valid),
    ]
    for metres in undone:
        torch.testing.assert_close(metres, measured, rtol=1e-4, atol=1e-4)


def test_least_squares_are_numpys(truth):
    measured, valid = truth
    predicted = measured.sqrt() + 0.3 * torch.rand(measured.shape, generator=torch.Generator().manual_seed(1))
    scaled, shifted = (fit(predicted, measured, valid) for fit in (least_squares_scale, least_squares_scale_shift))
    for i in range(3):
        d, t = (each[i][valid[i]].double().numpy() for each in (predicted, measured))
        (s,), *_ = np.linalg.lstsq(d[:, None], t)
        slope, shift = np.polyfit(d, t, 1)
        np.testing.assert_allclose(scaled[i][valid[i]], s * d, rtol=1e-5)
        np.testing.assert_allclose(shifted[i][valid[i]], slope * d + shift, rtol=1e-5)


def test_median_scale_is_the_ratio_of_numpys_medians(truth):
    measured, valid = truth
    for i in range(3):
        for one in (valid[i], valid[i].clone().fill_(True)):  # odd and even counts of pixels
            d = measured[i].square()
            ratio = np.median(measured[i][one]) / np.median(d[one])
            np.testing.assert_allclose(median_scale(d, measured[i], one), ratio * d, rtol=1e-6)


def test_robust_fits_ignore_a_fifth_of_gross_outliers(truth):
    measured, valid = truth
    spoilt = torch.where(torch.rand(measured.shape, generator=torch.Generator().manual_seed(5)) < 0.2, 60.0, measured)
    sought = torch.where(valid, measured, 1)
    for fit, predicted in (
        (least_squares_scale, measured * FACTORS),
        (least_squares_scale_shift, measured * FACTORS + SHIFTS),
        (inverse_scale_shift, FACTORS / measured + SHIFTS),
    ):
        plain, robust = (torch.where(valid, fit(predicted, spoilt, valid, robust=each), 1) for each in (False, True))
        torch.testing.assert_close(robust, sought, rtol=0.02, atol=0.02)
        assert (plain - sought).abs().max() > 0.1


def test_images_of_a_batch_are_aligned_one_by_one(truth):
    measured, valid = truth
    for alignment in ALIGNMENTS:
        together = align(measured.square(), measured, valid, alignment=alignment, kind=DepthKind.METRIC)
        for i in range(3):
            alone = align(measured[i].square(), measured[i], valid[i], alignment=alignment, kind=DepthKind.METRIC)
            torch.testing.assert_close(together[i], alone)


def test_holes_and_nonfinite_predictions_do_not_move_the_fit(truth):
    measured, valid = truth
    predicted = torch.where(valid, measured * 3, torch.nan)
    predicted[0, 0, 0, 0] = torch.inf
    spoilt = torch.where(valid, measured, 0)
    for alignment in ("median", "scale", "scale_shift"):
        metres = align(predicted, spoilt, valid, alignment=alignment, kind=DepthKind.SCALE_FREE)
        torch.testing.assert_close(metres[1:][valid[1:]], measured[1:][valid[1:]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("robust", [False, True])
def test_without_valid_pixels_or_contrast_the_result_is_finite(truth, alignment, robust):
    measured, valid = truth
    for constant in (0.0, 2.0):
        flat = torch.full_like(measured, constant)
        for mask in (valid, torch.zeros_like(valid)):
            metres = align(flat, measured, mask, alignment=alignment, kind=DepthKind.METRIC, robust=robust)
            assert metres.isfinite().all()


def test_a_constant_prediction_becomes_the_mean_depth(truth):
    measured, valid = truth
    metres = least_squares_scale_shift(torch.full_like(measured, 5.0), measured, valid)
    for i in range(3):
        assert metres[i].unique().item() == pytest.approx(measured[i][valid[i]].mean().item(), rel=1e-5)


def test_beyond_infinity_is_the_farthest(truth):
    measured, valid = truth
    inverse = 1 / measured
    inverse[0, 0, 0, 0] = -5.0
    valid[0, 0, 0, 0] = False
    assert inverse_scale_shift(inverse, measured, valid)[0, 0, 0, 0].item() == pytest.approx(DEPTH_AT_INFINITY)


def test_metric_depth_is_inverted_before_an_inverse_fit(truth):
    measured, valid = truth
    metres = align(measured * 4, measured, valid, alignment="inverse_scale_shift", kind=DepthKind.SCALE_FREE)
    torch.testing.assert_close(metres, measured, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "alignment"),
    [
        (DepthKind.RELATIVE, "none"),
        (DepthKind.RELATIVE, "median"),
        (DepthKind.RELATIVE, "scale_shift"),
        (DepthKind.SCALE_FREE, "none"),
    ],
)
def test_an_alignment_too_weak_for_the_kind_is_refused_with_the_cure(kind, alignment, truth):
    with pytest.raises(BadInput, match=f"{kind.value}.*--alignment.*inverse_scale_shift"):
        align(*truth[:1], *truth, alignment=alignment, kind=kind)


def test_an_unknown_alignment_is_answered_with_the_known_ones():
    with pytest.raises(BadInput, match="No alignment is called 'mean'"):
        check_alignment("mean", DepthKind.METRIC)
