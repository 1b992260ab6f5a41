"""Continuous CRFs: their iterations against dense linear algebra on the same energy, and their gradients."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from leadline.core.errors import BadInput
from leadline.models.layers.crf import (
    Pairs,
    gaussian_pairs,
    mean_field,
    multi_scale_mean_field,
    sum_of_windows,
    windows,
)
from leadline.models.layers.hierarchical_crf import (
    autoregression,
    autoregressive_map,
    smoothness_weights,
    superpixel_map,
)
from leadline.models.layers.structured_attention import StructuredAttentionCrf
from leadline.models.layers.superpixels import cielab, shared_borders, slic, superpixel_means
from leadline.models.networks.continuous_crf import CascadeCrf, ContinuousCrfModel, MultiScaleCrf
from leadline.models.networks.hierarchical_crf import superpixel_centres
from leadline.models.registry import build, build_on_meta

HEIGHT, WIDTH = 4, 5
PIXELS = list(product(range(HEIGHT), range(WIDTH)))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense_weights(features: Tensor, radius: int, dilation: int, reach: float) -> Tensor:
    """The weights of all pairs, from their definition and pixel by pixel."""
    count = (2 * radius + 1) ** 2 - 1
    weights = torch.zeros(len(PIXELS), len(PIXELS), dtype=torch.float64)
    for (i, (y, x)), (j, (v, u)) in product(enumerate(PIXELS), enumerate(PIXELS)):
        down, right = (v - y) / dilation, (u - x) / dilation
        is_near = down.is_integer() and right.is_integer() and max(abs(down), abs(right)) <= radius
        if i != j and is_near:
            apart = (features[0, :, y, x] - features[0, :, v, u]).square().sum()
            weights[i, j] = math.exp(-apart / 2 - ((v - y) ** 2 + (u - x) ** 2) / (2 * reach**2)) / count
    return weights


@pytest.fixture
def two_kernels() -> tuple[list[Pairs], Tensor]:
    features = 3 * drawn(1, 3, HEIGHT, WIDTH, seed=1)
    settings = [(1, 1, 1.5), (1, 2, 4.0)]
    pairs = [gaussian_pairs(features, radius, dilation, reach=reach) for radius, dilation, reach in settings]
    return pairs, sum(dense_weights(features, *each) for each in settings)  # pyright: ignore[reportReturnType]


def minimum(energy, unknowns: int) -> Tensor:
    """The minimum of a quadratic energy, by a dense solve with its Hessian."""
    zero = torch.zeros(unknowns, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(energy(zero), zero)
    curvature = torch.autograd.functional.hessian(energy, zero.detach())
    assert isinstance(curvature, Tensor)
    return torch.linalg.solve(curvature, -slope)


def test_mean_field_arrives_at_the_minimum_of_the_energy_of_one_map(two_kernels):
    pairs, weights = two_kernels
    observed = drawn(1, 1, HEIGHT, WIDTH)

    def energy(depth: Tensor) -> Tensor:
        between = (weights * (depth[:, None] - depth).square()).sum() / 2
        return (1.7 * (depth - observed.flatten()).square()).sum() + between

    field = mean_field(observed, pairs, 200, precision=1.7)
    torch.testing.assert_close(field.flatten(), minimum(energy, len(PIXELS)), rtol=1e-9, atol=1e-9)
    assert (field - observed).abs().max() > 0.02
    # Where it starts does not matter to where it ends.
    torch.testing.assert_close(mean_field(observed, pairs, 200, precision=1.7, start=observed + 5), field)


def test_mean_field_arrives_at_the_minimum_of_the_energy_of_all_scales(two_kernels):
    pairs, weights = two_kernels
    scales = 2
    observed = drawn(1, scales, HEIGHT, WIDTH)
    coupling, agreement = (drawn(scales, scales, seed=seed) for seed in (2, 3))
    coupling, agreement = coupling + coupling.T, agreement + agreement.T
    agreement = agreement - agreement.diagonal().diag()

    def energy(depth: Tensor) -> Tensor:
        maps = depth.view(scales, -1)
        total = (maps - observed[0].flatten(1)).square().sum()
        for one, other in product(range(scales), range(scales)):
            between = weights * (maps[one][:, None] - maps[other]).square()
            total = total + coupling[one, other] * between.sum() / 2
            total = total + agreement[one, other] * (maps[one] - maps[other]).square().sum() / 2
        return total

    field = multi_scale_mean_field(observed, pairs, 400, coupling=coupling, agreement=agreement)
    torch.testing.assert_close(field.flatten(), minimum(energy, scales * len(PIXELS)), rtol=1e-8, atol=1e-8)


def test_gradients_of_unrolled_iterations_agree_with_finite_differences():
    image, observed = drawn(1, 2, 3, 4, seed=1), drawn(1, 2, 3, 4)
    coupling, agreement = drawn(2, 2, seed=2), drawn(2, 2, seed=3)
    inputs = [each.requires_grad_() for each in (image, observed, coupling, agreement)]

    def fused(image: Tensor, observed: Tensor, coupling: Tensor, agreement: Tensor) -> Tensor:
        pairs = [gaussian_pairs(2 * image, 1, reach=2.0), gaussian_pairs(image, 1, 2)]
        first = mean_field(observed[:, :1], pairs, 3, precision=1 + coupling[0, 0], start=observed[:, 1:])
        return first + multi_scale_mean_field(observed, pairs, 3, coupling=coupling, agreement=agreement)

    assert torch.autograd.gradcheck(fused, inputs)


@pytest.mark.parametrize("fusion", [CascadeCrf, MultiScaleCrf])
def test_gradients_of_both_fusions_agree_with_finite_differences_in_every_parameter(fusion):
    module = fusion(2, 4, 2).double()
    names, values = zip(*module.named_parameters(), strict=True)
    small, scores = drawn(1, 3, 4, 4), drawn(1, 2, 4, 4, seed=1).requires_grad_()

    def fused(scores: Tensor, *parameters: Tensor) -> Tensor:
        held = dict(zip(names, parameters, strict=True))
        output = torch.func.functional_call(module, held, (scores, small))
        assert isinstance(output, Tensor)
        return output

    assert torch.autograd.gradcheck(fused, (scores, *(each.detach().requires_grad_() for each in values)))


def test_adding_up_windows_is_the_transpose_of_taking_them():
    maps, parts = drawn(2, 3, 5, 6), drawn(2, 3, 25, 5, 6, seed=1)
    taken = (windows(maps, 2, 2) * parts).sum()
    torch.testing.assert_close((maps * sum_of_windows(parts, 2, 2)).sum(), taken)


def test_equal_observations_stay_as_they_are_whatever_the_image():
    small = drawn(1, 3, 6, 6).float()
    for module in (CascadeCrf(4, 4, 6), MultiScaleCrf(4, 4, 6)):
        torch.testing.assert_close(module(torch.full((1, 4, 6, 6), 0.3), small), torch.full((1, 1, 6, 6), 0.3))


@pytest.mark.parametrize("fusion", ["cascade", "multiscale"])
def test_a_fused_step_keeps_the_images_edge_and_loses_the_scores_noise(fusion):
    model = build("continuous_crf", size="tiny", fusion=fusion, encoder="test_efficientnet", width=8)
    assert isinstance(model, ContinuousCrfModel)
    right = (torch.arange(24) >= 12).float().expand(1, 1, 16, 24)
    noise = 0.3 * torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        field = model.fusion(right + noise, right.expand(-1, 3, -1, -1))
    assert (field - right).std() < 0.5 * noise[:, -1].std()
    assert field[..., 12].mean() - field[..., 11].mean() > 0.5


# ── the network ──


def test_the_papers_network_has_the_parameters_of_its_parts():
    encoder = 23_508_032  # ResNet-50 without its classifier, by its publishers.
    sides = sum(9 * deep * 256 + 256 + 9 * 256 + 1 for deep in (256, 512, 1024, 2048))
    for fusion, crf in (("cascade", 4 * 2 + 3), ("multiscale", 2 + 10 + 6)):
        model = build_on_meta("continuous_crf", fusion=fusion)
        assert sum(each.numel() for each in model.parameters()) == encoder + sides + crf
        image = torch.empty(1, 3, *model.preprocessing.size, device="meta")
        assert model.to("meta").eval()(image).shape == (1, 1, 224, 288)


@pytest.mark.parametrize(
    ("name", "levels"), [("continuous_crf", 4), ("structured_attention", 3), ("hierarchical_crf", 1)]
)
def test_every_level_has_a_depth_of_its_own_to_learn_from(name, levels):
    model = build(name, size="tiny", encoder="test_efficientnet", width=8).eval()
    image = drawn(1, 3, 64, 96).float()
    canonical = torch.full((1, 4), model.preprocessing.focal or 0.0)
    with torch.no_grad():
        depth, sides = model.forward_with_sides(image)
        longer = model.forward_with_sides(image, 2 * canonical)
        assert torch.equal(depth, model(image))
    assert sides.keys() == model.side_outputs
    assert sides["depths"].shape == (1, levels, 64, 96)
    torch.testing.assert_close(longer[1]["depths"], 2 * sides["depths"])
    torch.testing.assert_close(longer[0], 2 * depth)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fusion": "mean"}, "No fusion is called 'mean'. Known fusions: cascade, multiscale"),
        ({"iterations": 0}, "iterations 0 must be from 1 to 100"),
        ({"stride": 3}, "stride 3 must be 1, 2 or 4"),
        ({"input_size": (16, 64)}, r"input_size \(16, 64\) must be a height and a width that divide by 32"),
    ],
)
def test_what_no_such_network_has_is_refused(arguments, message):
    with pytest.raises(BadInput, match=message):
        build("continuous_crf", size="tiny", **arguments)


# ── structured attention ──


def test_the_papers_attention_network_has_the_parameters_of_the_authors():
    encoder = 23_508_032
    to_an_eighth = (1024 * 512 * 4**2 + 512) + (2048 * 512 * 8**2 + 512)
    updates = 3 * ((1024 * 512 * 9 + 512) + (512 * 512 * 9 + 512)) + 5 * 3 * 2 * 512
    head = (512 * 256 * 4**2 + 256) + (256 * 128 * 4**2 + 128) + (128 * 9 + 1)
    sides = 3 * (512 * 9 + 1)
    for structured, more in ((False, 0), (True, 3 * 512 * 9)):
        model = build_on_meta("structured_attention", structured=structured)
        count = sum(each.numel() for each in model.parameters())
        assert count == encoder + to_an_eighth + updates + head + sides + more
    image = torch.empty(1, 3, *model.preprocessing.size, device="meta")
    assert model.to("meta").eval()(image).shape == (1, 1, 224, 288)


def test_an_update_adds_gated_messages_as_the_papers_equations_say():
    crf = StructuredAttentionCrf(2, 1, 2).double()
    weights = [[0.3, -0.2], [0.5, 0.1], [-0.4, 0.6]]
    with torch.no_grad():
        for kernel in crf.parameters():
            kernel.fill_(0.0)
        crf.factors.fill_(1.0)
        for scale in range(2):
            crf.gates[scale].get_parameter("weight")[0, :, 1, 1] = torch.tensor(weights[scale], dtype=torch.float64)
            crf.messages[scale].get_parameter("weight")[0, 0, 1, 1] = weights[2][scale]
            crf.structure[scale].get_parameter("weight")[0, 0, 1, 2] = 0.7  # the gate to the right
    sent, received = [drawn(1, 1, 1, 3, seed=1), drawn(1, 1, 1, 3, seed=2)], drawn(1, 1, 1, 3)
    h, f = [each[0, 0, 0].numpy() for each in sent], received[0, 0, 0].numpy().copy()
    gates = [np.zeros(3), np.zeros(3)]  # no gates before the first iteration
    for _ in range(2):
        for scale in range(2):
            around = 0.7 * np.append(gates[scale][1:], 0.0)
            gates[scale] = 1 / (1 + np.exp(-(weights[scale][0] * h[scale] + weights[scale][1] * f + around)))
            f = f + gates[scale] * weights[2][scale] * h[scale]
    updated, last = crf(sent, received)
    np.testing.assert_allclose(updated[0, 0, 0].detach(), f, rtol=1e-12)
    np.testing.assert_allclose(last[1][0, 0, 0].detach(), gates[1], rtol=1e-12)


def test_gradients_of_attention_and_messages_agree_with_finite_differences():
    torch.manual_seed(0)
    crf = StructuredAttentionCrf(2, 2, 2).double()
    for module in crf.structure:
        torch.nn.init.normal_(module.get_parameter("weight"))
    inputs = [drawn(1, 2, 3, 3, seed=seed).requires_grad_() for seed in range(3)]
    names, values = zip(*crf.named_parameters(), strict=True)

    def updated(first: Tensor, second: Tensor, received: Tensor, *parameters: Tensor) -> Tensor:
        held = dict(zip(names, parameters, strict=True))
        output = torch.func.functional_call(crf, held, ([first, second], received))
        assert isinstance(output, tuple)
        return output[0]

    assert torch.autograd.gradcheck(updated, (*inputs, *values), fast_mode=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"width": 10}, "width 10 must divide by 4"), ({"iterations": 1}, "iterations 1 must be from 2 to 100")],
)
def test_what_no_attention_network_has_is_refused(arguments, message):
    with pytest.raises(BadInput, match=message):
        build("structured_attention", size="tiny", **arguments)


# ── superpixels and the hierarchical CRF ──


def test_colours_in_cielab_are_those_of_the_standard():
    # sRGB white, mid grey, red and blue under D65; from CIE's formulae with the primaries of IEC 61966-2-1.
    colours = torch.tensor([[1.0, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0], [0, 0, 1]])
    expected = torch.tensor([[100.0, 0, 0], [53.389, 0, 0], [53.241, 80.092, 67.203], [32.297, 79.188, -107.860]])
    torch.testing.assert_close(cielab(colours.T[None, :, None])[0, :, 0].T, expected, atol=0.02, rtol=0)


def test_superpixels_follow_an_edge_and_stay_small():
    image = torch.zeros(2, 3, 24, 36)
    image[0, :, :, 17:] = 1.0  # not between two cells of the grid, which are 6 pixels wide
    image[1, 0, 10:, :] = 0.8
    labels = slic(image, 4, 6)
    assert labels.shape == (2, 24, 36)
    assert not set(labels[0, :, :17].unique().tolist()) & set(labels[0, :, 17:].unique().tolist())
    assert not set(labels[1, :10].unique().tolist()) & set(labels[1, 10:].unique().tolist())
    for superpixel in labels[0].unique():
        rows, columns = torch.where(labels[0] == superpixel)
        assert rows.max() - rows.min() < 18
        assert columns.max() - columns.min() < 18


def test_means_and_borders_of_superpixels_are_those_of_their_pixels():
    labels = torch.tensor([[[0, 0, 1], [2, 2, 1]]])
    means, counts = superpixel_means(torch.tensor([[[[1.0, 2, 3], [4, 5, 6]]]]), labels, 4)
    assert means.tolist() == [[[1.5, 4.5, 4.5, 0.0]]]
    assert counts.tolist() == [[2, 2, 2, 0]]
    assert shared_borders(labels, 4).tolist() == [[[0, 1, 2, 0], [1, 0, 1, 0], [2, 1, 0, 0], [0, 0, 0, 0]]]
    assert superpixel_centres(labels, 4)[0, 0].tolist() == pytest.approx([-1 / 3, -0.5])


def test_the_superpixels_closed_form_is_the_minimum_of_its_energy():
    observed, strength = drawn(2, 6), torch.tensor(1.3, dtype=torch.float64)
    weights = drawn(2, 6, 6, seed=1)
    weights = (weights + weights.transpose(1, 2)) * (1 - torch.eye(6, dtype=torch.float64))
    found = superpixel_map(observed, weights, strength)
    for image in range(2):

        def energy(depth: Tensor, image: int = image) -> Tensor:
            between = (weights[image] * (depth[:, None] - depth).square()).sum() / 2
            return (depth - observed[image]).square().sum() + strength * between

        torch.testing.assert_close(found[image], minimum(energy, 6))


def test_the_pixels_solution_is_the_minimum_of_the_autoregressive_energy():
    grey, observed = drawn(1, 1, HEIGHT, WIDTH, seed=1), drawn(1, 1, HEIGHT, WIDTH)
    strength = torch.tensor(4.0, dtype=torch.float64)
    coefficients = autoregression(grey)
    torch.testing.assert_close(coefficients.sum(1), torch.ones(1, HEIGHT, WIDTH, dtype=torch.float64))

    def energy(depth: Tensor) -> Tensor:
        total = (depth - observed.flatten()).square().sum()
        for (y, x), value in zip(PIXELS, depth, strict=True):
            predicted = sum(
                coefficients[0, 3 * (down + 1) + right + 1, y, x] * depth[(y + down) * WIDTH + x + right]
                for down, right in product((-1, 0, 1), repeat=2)
                if 0 <= y + down < HEIGHT and 0 <= x + right < WIDTH
            )
            total = total + strength * (value - predicted).square()
        return total

    found = autoregressive_map(observed, coefficients, strength, iterations=60)
    torch.testing.assert_close(found.flatten(), minimum(energy, len(PIXELS)), rtol=1e-9, atol=1e-9)
    # As few iterations as a training takes come close.
    nearly = autoregressive_map(observed, coefficients, strength)
    torch.testing.assert_close(nearly, found, rtol=1e-4, atol=1e-4)


def test_gradients_of_both_levels_agree_with_finite_differences():
    labels = torch.tensor([[[0, 0, 1, 1], [0, 2, 2, 1], [3, 3, 2, 1]]])
    small, observed = drawn(1, 3, 3, 4, seed=1), drawn(1, 4).requires_grad_()
    weights, coefficients = smoothness_weights(small, labels, 4), autoregression(small.mean(1, keepdim=True))
    strengths = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.8, 3.0)]

    def depth(observed: Tensor, first: Tensor, second: Tensor) -> Tensor:
        of_superpixels = superpixel_map(observed, weights, first)
        flat = of_superpixels.gather(1, labels.flatten(1)).view(1, 1, 3, 4)
        return autoregressive_map(flat, coefficients, second, iterations=40)

    assert torch.autograd.gradcheck(depth, (observed, *strengths))


def test_the_papers_hierarchical_network_has_the_parameters_of_its_parts():
    encoder = 14_714_688  # VGG-16's convolutions, by its publishers; its maps at 1/8 to 1/32 have 512 channels.
    regression = 4 * (512**2 + 512 + 9 * 512 * 1024 + 1024)
    regression += (4 * 1024 * 1024 + 1024) + (1024 + 1)
    model = build_on_meta("hierarchical_crf")
    assert sum(each.numel() for each in model.parameters()) == encoder + regression + 2
    assert model.preprocessing.size == (224, 288)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"superpixels": 6000}, r"superpixels=6000 of 64 × 80 pixels .*choose from 1 to 5120, or a larger input_size"),
        ({"superpixels": 0}, "superpixels=0 of 64 × 80 pixels"),
        ({"stride": 8}, "stride 8 must be 1, 2 or 4"),
    ],
)
def test_superpixels_that_no_image_has_are_refused_before_training(arguments, message):
    with pytest.raises(BadInput, match=message):
        build("hierarchical_crf", size="tiny", **arguments)


def test_more_superpixels_than_a_smaller_image_has_pixels_are_refused():
    model = build("hierarchical_crf", size="tiny", encoder="test_efficientnet", width=8, superpixels=300)
    with pytest.raises(BadInput, match="superpixels=300 of 16 × 16 pixels"):
        model(torch.rand(1, 3, 32, 32))
