"""Teaching: the papers' formulas, what confidence and trimming leave out, and two players with one optimiser."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.training.distillation_losses import (
    DISTILLATION_TERMS,
    ComparedSpace,
    Discriminator,
    DivergedError,
    LogErrors,
    Projections,
    confidence_from_views,
    feature_loss,
    holistic_loss,
    pairwise_similarity_loss,
    soft_bins_loss,
)
from leadline.training.losses import gradient_matching_loss, scale_and_shift_invariant_loss, silog_loss, standardize


def of_maps(name: str) -> Callable[..., torch.Tensor]:
    """The distillation loss of that name as a function of (predicted, taught, valid, confidence)."""
    term = DISTILLATION_TERMS[name]
    return (lambda *maps: term.of_errors(LogErrors(*maps))) if term.is_of_errors else term.function


teacher_silog, teacher_l1, teacher_ssi, teacher_gradient = map(of_maps, ("silog", "l1", "ssi", "ssi_gradient"))
DEPTH_LOSSES = [name for name, entry in DISTILLATION_TERMS.items() if entry.compares is not ComparedSpace.FEATURES]


@pytest.fixture
def maps():
    """Two images of predicted and taught depth, a tenth of the pixels missing, and a confidence."""
    rng = np.random.default_rng(0)
    predicted, taught = torch.from_numpy(rng.uniform(0.5, 8, (2, 2, 1, 24, 32))).float()
    valid = torch.from_numpy(rng.random((2, 1, 24, 32)) > 0.1)
    return predicted, taught, valid, torch.from_numpy(rng.uniform(0.1, 1, (2, 1, 24, 32))).float()


@pytest.fixture
def discriminator():
    torch.manual_seed(0)
    return Discriminator(width=4)


def loss_of(name, discriminator):
    """The loss as a function of (predicted, taught, valid, confidence)."""
    if name != "holistic":
        return of_maps(name)
    image = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    return lambda predicted, *rest: holistic_loss(discriminator.eval(), image[: len(predicted)], predicted, *rest)


def per_image(maps, formula):
    """The mean over images of a NumPy formula of (predicted, taught, confidence) at the valid pixels."""
    each = zip(*maps, strict=True)
    return np.mean([formula(*(m[v].double().numpy() for m in (p, t, c))) for p, t, v, c in each])


def best(residual, share=0.9):
    """Which residuals are among the smallest `share` of them."""
    return np.argsort(np.argsort(residual)) < math.ceil(share * len(residual))


def test_silog_is_weighted_and_trimmed_as_its_formula_says(maps):
    def formula(p, t, c):
        g = np.log(p / t)
        c = c * best(np.abs(g))
        return 10 * np.sqrt(np.average(g**2, weights=c) - 0.85 * np.average(g, weights=c) ** 2)

    assert teacher_silog(*maps).item() == pytest.approx(per_image(maps, formula), rel=1e-5)


def test_silog_without_trim_or_confidence_is_the_supervised_one(maps):
    assert of_maps("silog_all")(*maps[:3]).item() == pytest.approx(silog_loss(*maps[:3]).item(), rel=1e-6)


def test_l1_is_the_weighted_mean_of_the_smallest_log_errors(maps):
    def formula(p, t, c):
        g = np.abs(np.log(p / t))
        return np.average(g, weights=c * best(g))

    assert teacher_l1(*maps).item() == pytest.approx(per_image(maps, formula), rel=1e-5)


def test_ssi_is_ranftls_loss_over_what_is_kept(maps):
    predicted, taught, _, _ = maps
    valid = torch.ones_like(taught, dtype=torch.bool)
    kept = math.ceil(0.9 * 24 * 32) / (24 * 32)
    theirs = scale_and_shift_invariant_loss(predicted, taught, valid, trim=0.1)
    assert teacher_ssi(predicted, taught, valid).item() == pytest.approx(2 / kept * theirs.item(), rel=1e-5)


def test_gradient_is_ranftls_loss_where_all_are_equally_sure(maps):
    predicted, taught, valid, _ = maps
    theirs = gradient_matching_loss(standardize(predicted, valid), standardize(taught, valid), valid)
    even = torch.full_like(predicted, 0.25)
    assert teacher_gradient(predicted, taught, valid).item() == pytest.approx(theirs.item(), rel=1e-5)
    assert teacher_gradient(predicted, taught, valid, even).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_a_difference_weighs_as_its_less_sure_pixel():
    # Already standardised: median 0, mean deviation 1. The residual p − t is (0, 2, −2, 0), its steps 2, 4 and 2.
    predicted = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, 1, 1, 4) + 1
    taught = torch.tensor([-1.0, -1.0, 1.0, 1.0]).view(1, 1, 1, 4) + 1
    confidence = torch.tensor([1.0, 0.5, 0.5, 0.25]).view(1, 1, 1, 4)
    valid = torch.ones_like(taught, dtype=torch.bool)
    expected = (0.5 * 2 + 0.5 * 4 + 0.25 * 2) / 2.25
    assert teacher_gradient(predicted, taught, valid, confidence, scales=1).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [teacher_ssi, teacher_gradient])
def test_scale_and_shift_of_either_side_do_not_matter(maps, loss):
    predicted, taught, valid, confidence = maps
    moved = loss(3.7 * predicted + 11, 0.2 * taught + 4, valid, confidence)
    assert moved.item() == pytest.approx(loss(*maps).item(), rel=1e-4)
    assert moved > 0.1


@pytest.mark.parametrize("name", ["silog", "l1"])
def test_a_tenth_of_wild_pixels_changes_nothing(maps, name):
    loss = of_maps(name)
    predicted, _, _, _ = maps
    valid = torch.ones_like(predicted, dtype=torch.bool)
    taught = 1.1 * predicted
    clean = loss(predicted, taught, valid)
    taught.flatten(1)[:, :76] = 1e6
    probe = predicted.clone().requires_grad_(True)
    spoiled = loss(probe, taught, valid)
    spoiled.backward()
    assert spoiled.item() == pytest.approx(clean.item(), rel=1e-4)
    assert probe.grad is not None
    assert not probe.grad.flatten(1)[:, :76].any()
    assert of_maps(f"{name}_all")(predicted, taught, valid) > 5 * clean


def test_wild_pixels_pull_the_invariant_loss_less_when_trimmed(maps):
    predicted, taught, valid, _ = maps
    taught = taught.clone()
    taught.flatten(1)[:, :60] = 100.0
    assert teacher_ssi(predicted, taught, valid) < 0.8 * teacher_ssi(predicted, taught, valid, trim=0.0)


class TestSoftBins:
    def test_are_the_divergence_of_two_softmaxes(self, maps):
        def formula(p, t, c):
            centres, step = np.linspace(np.log(0.1), np.log(50), 20, retstep=True)
            chances = []
            for depth in (p, t):
                logits = -np.abs(np.log(depth)[:, None] - centres) / (2.0 * step)
                chances.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
            student, teacher = chances
            return 4 * np.average((teacher * np.log(teacher / student)).sum(1), weights=c)

        loss = soft_bins_loss(*maps, bins=20, far=50.0, temperature=2.0)
        assert loss.item() == pytest.approx(per_image(maps, formula), rel=1e-4)

    def test_forgive_gross_errors_more_than_a_square_would(self):
        taught, valid = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1, dtype=torch.bool)
        errors = [soft_bins_loss(taught * math.exp(e), taught, valid, temperature=2.0).item() for e in (0.1, 1.5, 3.0)]
        assert errors[0] < errors[1] < errors[2] < 2.5 * errors[1]
        assert errors[1] > 15 * errors[0]


@pytest.mark.parametrize("name", DEPTH_LOSSES)
class TestEveryDepthLoss:
    def test_is_zero_with_a_finite_gradient_at_a_perfect_prediction(self, maps, name, discriminator):
        _, taught, valid, confidence = maps
        predicted = taught.clone().requires_grad_(True)
        loss = loss_of(name, discriminator)(predicted, taught, valid, confidence)
        loss.backward()
        assert loss.item() == pytest.approx(0, abs=1e-6)
        assert predicted.grad is not None
        assert predicted.grad.isfinite().all()

    def test_never_reads_a_hole_or_a_pixel_nobody_is_sure_of(self, maps, name, discriminator):
        predicted, taught, valid, confidence = maps
        confidence[:, :, :3] = 0
        unread = ~valid | (confidence == 0)
        loss = loss_of(name, discriminator)
        clean = loss(predicted, taught, valid, confidence).item()
        for nonsense in (torch.nan, torch.inf, 0.0, -3.0):
            probe = torch.where(unread, nonsense, predicted).requires_grad_(True)
            spoiled = loss(probe, torch.where(unread, nonsense, taught), valid, confidence)
            spoiled.backward()
            assert spoiled.item() == pytest.approx(clean, rel=1e-5)
            assert probe.grad is not None
            assert probe.grad.isfinite().all()
            assert not probe.grad[unread].any()
            assert probe.grad.any()

    def test_takes_nothing_from_an_image_nobody_is_sure_of(self, maps, name, discriminator):
        predicted, taught, valid, confidence = maps
        loss = loss_of(name, discriminator)
        alone = loss(*(each[:1] for each in maps))
        confidence[1] = 0
        predicted.requires_grad_(True)
        both = loss(predicted, taught, valid, confidence)
        both.backward()
        assert both.item() == pytest.approx(alone.item(), rel=1e-5)
        assert predicted.grad is not None
        assert not predicted.grad[1].any()
        nothing = loss(predicted, taught, valid & False, confidence)
        assert nothing.item() == 0

    def test_full_confidence_is_no_confidence(self, maps, name, discriminator):
        loss = loss_of(name, discriminator)
        sure = loss(*maps[:3], torch.ones_like(maps[0]))
        assert sure.item() == pytest.approx(loss(*maps[:3], None).item(), rel=1e-6)


class TestPairwise:
    def test_is_the_mean_squared_difference_of_cosines(self):
        rng = np.random.default_rng(0)
        ours, theirs = rng.normal(size=(2, 5, 4, 6)), rng.normal(size=(2, 3, 4, 6))

        def cosines(features):
            nodes = features.reshape(2, -1, 2, 2, 3, 2).mean((3, 5)).reshape(2, -1, 6)
            nodes /= np.linalg.norm(nodes, axis=1, keepdims=True)
            return np.einsum("bci,bcj->bij", nodes, nodes)

        expected = np.mean((cosines(ours) - cosines(theirs)) ** 2)
        loss = pairwise_similarity_loss(torch.from_numpy(ours), torch.from_numpy(theirs), pool=2)
        assert loss.item() == pytest.approx(expected, rel=1e-6)

    def test_sees_no_difference_in_rotated_and_scaled_features(self):
        features = torch.randn(2, 4, 6, 8)
        turn = torch.linalg.qr(torch.randn(4, 4)).Q
        assert pairwise_similarity_loss(features, 3 * torch.einsum("dc,bchw->bdhw", turn, features)) < 1e-10

    def test_a_finer_map_meets_a_coarser_one_at_the_same_nodes(self):
        coarse = torch.randn(1, 4, 6, 8)
        fine = coarse.repeat_interleave(2, -1).repeat_interleave(2, -2)
        assert pairwise_similarity_loss(fine, coarse, pool=2) < 1e-10

    def test_leaves_out_nodes_nobody_is_sure_of(self):
        ours, theirs = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
        theirs[..., :4] = ours[..., :4]
        confidence = torch.zeros(1, 1, 16, 16)
        confidence[..., :8] = 1
        assert pairwise_similarity_loss(ours, theirs, confidence) < 1e-10
        assert pairwise_similarity_loss(ours, theirs) > 0.01
        assert pairwise_similarity_loss(ours, theirs, 0 * confidence) == 0


class TestFeatures:
    def test_are_learnt_through_projections_that_end_at_the_teachers(self):
        torch.manual_seed(0)
        student = [torch.randn(2, 6, 8, 8), torch.randn(2, 8, 4, 4)]
        target = Projections([6, 8], [3, 5])
        teacher = [10 * each.detach() for each in target(student)]
        projections = Projections([6, 8], [3, 5])
        optimizer = torch.optim.Adam(projections.parameters(), lr=0.05)
        losses = []
        for _ in range(60):
            loss = feature_loss(student, teacher, projections)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] > 0.5
        assert losses[-1] < 0.05
        assert feature_loss(student, teacher, target).item() == pytest.approx(0, abs=1e-6)

    def test_are_the_mean_of_one_minus_cosine_where_sure(self):
        projections = Projections([2], [2])
        with torch.no_grad():
            projections.levels[0].weight.copy_(torch.eye(2)[:, :, None, None])  # pyright: ignore
            projections.levels[0].bias.zero_()  # pyright: ignore
        ours = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]]).T.view(1, 2, 1, 3)
        theirs = torch.tensor([[5.0, 0.0], [1.0, 0.0], [4.0, 3.0]]).T.view(1, 2, 1, 3)
        confidence = torch.tensor([1.0, 0.5, 0.25]).view(1, 1, 1, 3)
        # Cosines 1, 0 and 24/25.
        assert feature_loss([ours], [theirs], projections).item() == pytest.approx(1.04 / 3)
        weighed = feature_loss([ours], [theirs], projections, confidence)
        assert weighed.item() == pytest.approx((0.5 + 0.25 * 0.04) / 1.75)

    @pytest.mark.parametrize("loss", ["features", "pairwise"])
    def test_teach_the_student_only_and_survive_silent_features(self, loss):
        student = torch.zeros(2, 3, 8, 8, requires_grad=True)
        teacher = torch.randn(2, 3, 4, 4, requires_grad=True)
        if loss == "pairwise":
            pairwise_similarity_loss(student, teacher).backward()
        else:
            feature_loss([student], [teacher], Projections([3], [3])).backward()
        assert teacher.grad is None
        assert student.grad is not None
        assert student.grad.isfinite().all()

    def test_of_unequal_depth_are_refused(self):
        with pytest.raises(BadInput, match="gives 3 feature maps and the teacher 2"):
            Projections([8, 16, 32], [16, 32])


class TestHolistic:
    @pytest.fixture
    def scene(self):
        """An image, a student's flat depth, and a teacher's that follows the image."""
        image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        taught = 1 + 4 * image.mean(1, keepdim=True)
        return image, torch.full_like(taught, 2.0), taught, torch.ones_like(taught, dtype=torch.bool)

    def test_a_step_of_the_student_raises_its_score(self, scene, discriminator):
        image, predicted, taught, valid = scene
        discriminator.eval()
        predicted.requires_grad_(True)
        holistic_loss(discriminator, image, predicted, taught, valid).backward()
        assert predicted.grad is not None
        with torch.no_grad():
            before = discriminator(image, predicted.log()).mean()
            after = discriminator(image, (predicted - 0.1 * predicted.grad / predicted.grad.norm()).log()).mean()
        assert after > before

    def test_steps_of_the_discriminator_tell_the_teacher_from_the_student(self, scene, discriminator):
        image, predicted, taught, valid = scene
        optimizer = torch.optim.Adam(discriminator.parameters(), lr=0.01)
        losses = []
        for _ in range(20):
            loss = holistic_loss(discriminator, image, predicted, taught, valid)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]
        assert losses[-1] < 0

    def test_one_optimiser_of_both_brings_the_student_to_the_teacher(self, scene, discriminator):
        image, start, taught, valid = scene
        log_depth = nn.Parameter(start.log())
        groups = [{"params": [log_depth], "lr": 0.02}, {"params": discriminator.parameters(), "lr": 0.005}]
        optimizer = torch.optim.Adam(groups, betas=(0.5, 0.9))
        distance = lambda: (log_depth - taught.log()).abs().mean().item()  # noqa: E731
        before = distance()
        for _ in range(150):
            loss = holistic_loss(discriminator, image, log_depth.exp(), taught, valid)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert distance() < 0.8 * before

    def test_a_discriminator_that_explodes_is_named(self, scene, discriminator):
        for layer in discriminator.layers:
            if isinstance(layer, nn.Conv2d):
                parametrize.remove_parametrizations(layer, "weight")
                layer.weight.data *= 100
        with pytest.raises(DivergedError, match=r"discriminator of the holistic loss diverged: .* keeps within 1000"):
            holistic_loss(discriminator, *scene)

    def test_a_discriminator_of_no_numbers_is_named(self, scene, discriminator):
        next(discriminator.parameters()).data.fill_(torch.nan)
        with pytest.raises(DivergedError, match=r"discriminator of the holistic loss diverged: .* are nan apart"):
            holistic_loss(discriminator, *scene)

    def test_a_student_of_no_numbers_is_not_blamed_on_the_discriminator(self, scene, discriminator):
        image, predicted, taught, valid = scene
        assert holistic_loss(discriminator, image, predicted * torch.nan, taught, valid).isnan()


class TestConfidence:
    @pytest.fixture
    def depth(self):
        return torch.from_numpy(np.random.default_rng(0).uniform(1, 5, (2, 1, 6, 8))).float()

    @pytest.mark.parametrize("kind", DepthKind)
    def test_is_one_where_all_views_agree(self, depth, kind):
        assert torch.allclose(confidence_from_views(torch.stack([depth] * 3), kind), torch.ones(2, 1, 6, 8))

    def test_falls_with_the_spread_of_log_depth(self, depth):
        # Two views that are e^0.2 apart have a standard deviation of 0.1.
        views = torch.stack([depth, depth * math.exp(0.2)])
        half = torch.full((2, 1, 6, 8), 0.5)
        assert torch.allclose(confidence_from_views(views, DepthKind.METRIC), half, atol=1e-4)
        assert torch.allclose(confidence_from_views(views, DepthKind.METRIC, tolerance=0.2), half + 0.3, atol=1e-4)

    def test_ignores_what_the_kind_leaves_open(self, depth):
        part = depth.clone()
        part[..., :3] = torch.nan
        scaled = confidence_from_views(torch.stack([depth, 3 * depth, 2 * part]), DepthKind.SCALE_FREE)
        shifted = confidence_from_views(torch.stack([depth, 3 * depth + 7, 2 * part - 5]), DepthKind.RELATIVE)
        assert torch.allclose(scaled, torch.ones_like(depth), atol=1e-4)
        assert torch.allclose(shifted, torch.ones_like(depth), atol=1e-4)
        assert confidence_from_views(torch.stack([depth, 3 * depth]), DepthKind.METRIC).max() < 0.1

    @pytest.mark.parametrize("kind", DepthKind)
    def test_is_lowest_where_the_views_differ(self, maps, kind):
        depth, other = maps[0], maps[0].clone()
        other[:, :, 2, 3] = 30
        confidence = confidence_from_views(torch.stack([depth, other]), kind)
        assert (confidence.flatten(1).argmin(1) == 2 * 32 + 3).all()
        assert confidence.amin() < 0.1
        assert confidence.flatten(1).median() > 0.9

    def test_of_a_pixel_one_view_covers_is_the_mean_of_the_others(self, depth):
        views = torch.stack([depth, depth * math.exp(0.2)])
        views[1, :, :, :2] = torch.nan
        views[:, :, :, 5] = torch.nan
        confidence = confidence_from_views(views, DepthKind.METRIC)
        assert torch.allclose(confidence[:, :, :5], torch.tensor(0.5), atol=1e-4)
        assert not confidence[:, :, 5].any()

    @pytest.mark.parametrize("kind", DepthKind)
    def test_of_a_single_view_is_one(self, depth, kind):
        assert (confidence_from_views(depth[None], kind) == 1).all()


ALL_PIXELS = {"silog_all", "l1_all"}
"""Losses of which no share of the pixels is trimmed."""


def test_every_loss_says_which_teachers_it_takes():
    assert set(DISTILLATION_TERMS) == {
        "silog",
        "l1",
        "ssi",
        "ssi_gradient",
        "bins",
        "pairwise",
        "holistic",
        "features",
        *ALL_PIXELS,
    }
    for entry in DISTILLATION_TERMS.values():
        needs_metres = entry.compares is ComparedSpace.DEPTH
        assert entry.measures == (frozenset({DepthKind.METRIC}) if needs_metres else frozenset(DepthKind))
