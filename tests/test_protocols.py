"""Protocols pick the published pixels, and print every departure from themselves."""

import pytest
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.evaluation.protocols import PROTOCOLS, protocol


@pytest.mark.parametrize(
    ("crop", "size", "rows", "columns"),
    [
        ("nyu_eigen", (480, 640), (45, 471), (41, 601)),
        ("nyu_older", (480, 640), (21, 460), (25, 616)),
        ("nyu_eigen", (240, 320), (22, 235), (20, 300)),
        # What the published arithmetic, floating point and all, gives for the common sizes of KITTI.
        ("kitti_garg", (375, 1242), (153, 371), (44, 1197)),
        ("kitti_garg", (370, 1224), (151, 366), (43, 1180)),
        ("kitti_eigen", (375, 1242), (124, 342), (44, 1197)),
        ("none", (7, 5), (0, 7), (0, 5)),
    ],
)
def test_crops_are_the_published_pixels(crop, size, rows, columns):
    everything = torch.ones(1, *size)
    inside = protocol("nyu_full", crop=crop).counts(everything, everything > 0)[0].nonzero()
    assert tuple(inside.min(dim=0).values.tolist()) == (rows[0], columns[0])
    assert tuple((inside.max(dim=0).values + 1).tolist()) == (rows[1], columns[1])
    assert len(inside) == (rows[1] - rows[0]) * (columns[1] - columns[0])


def test_truths_on_the_bounds_do_not_count():
    measured = torch.tensor([[[0.001, 0.0011, 9.999, 10.0, 5.0]]])
    valid = torch.tensor([[[True, True, True, True, False]]])
    assert protocol("nyu_full").counts(measured, valid).flatten().tolist() == [False, True, True, False, False]


def test_predictions_are_held_to_the_range_and_zeros_are_no_holes():
    predicted = torch.tensor([[[torch.nan, torch.inf, -torch.inf, 0.0, 99.0, 3.0]]])
    truth = torch.full_like(predicted, 2.0)
    compared = protocol("nyu_full").compare(predicted, truth, truth > 0, DepthKind.METRIC)
    assert compared.metres.flatten().tolist() == pytest.approx([1e-3, 10, 1e-3, 1e-3, 10, 3])
    assert compared.counted.all()


def test_the_prediction_is_aligned_before_it_is_held_to_the_range():
    truth = torch.linspace(1, 9, 40).view(1, 5, 8)
    compared = protocol("nyu_full", alignment="scale").compare(truth * 20, truth, truth > 0, DepthKind.METRIC)
    torch.testing.assert_close(compared.metres, truth)


def test_alignment_fits_the_pixels_that_count_only():
    truth = torch.linspace(1, 30, 60).view(1, 6, 10)
    predicted = torch.where(truth < 10, truth / 2, 1.0)
    compared = protocol("nyu_full", alignment="median").compare(predicted, truth, truth > 0, DepthKind.SCALE_FREE)
    torch.testing.assert_close(compared.metres[compared.counted], truth[compared.counted])


def test_words_show_every_departure_from_the_name():
    assert protocol("nyu_eigen").words == "nyu_eigen"
    assert protocol("nyu_eigen", cap=50.0).words == "nyu_eigen, cap 50 m"
    changed = protocol("kitti_garg", crop="none", min_depth=0.5, alignment="median", averaging="pooled", flip=True)
    assert changed.words == "kitti_garg, crop none, from 0.5 m, alignment median, pooled over pixels, with flip"
    assert changed.changed(cap=None) == changed
    assert {"words", "description", "crop", "cap", "alignment"} <= changed.as_dict().keys()


def test_every_protocol_is_known_by_its_own_name():
    for name, each in PROTOCOLS.items():
        assert name == each.name
        assert each.words == name


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("nyu", {}, "No protocol is called 'nyu'. Known protocols: indoor, kitti_eigen, kitti_garg"),
        ("nyu_eigen", {"crop": "middle"}, "No crop is called 'middle'"),
        ("nyu_eigen", {"alignment": "mean"}, "No alignment is called 'mean'"),
        ("nyu_eigen", {"cap": 0.0}, "0 < min depth < cap"),
        ("nyu_eigen", {"cap": float("inf")}, "cap=inf: give a finite number"),
        ("nyu_eigen", {"cap": float("nan")}, "cap=nan: give a finite number"),
        ("nyu_eigen", {"min_depth": -1.0}, "0 < min depth < cap"),
        ("nyu_eigen", {"min_depth": 20.0}, "0 < min depth < cap"),
    ],
)
def test_what_is_unknown_or_empty_is_refused(name, changes, message):
    with pytest.raises(BadInput, match=message):
        protocol(name, **changes)
