"""Continuous CRFs: their iterations against dense linear algebra on the same energy, and their gradients."""

import math
from itertools import product

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
from leadline.models.networks.continuous_crf import CascadeCrf, ContinuousCrfModel, MultiScaleCrf
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
    model = build("continuous_crf", size="tiny", fusion=fusion, encoder="resnet10t", width=8)
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


def test_every_level_has_a_depth_of_its_own_to_learn_from():
    model = build("continuous_crf", size="tiny", encoder="resnet10t", width=8).eval()
    image = drawn(1, 3, 64, 96).float()
    with torch.no_grad():
        depth, sides = model.forward_with_sides(image)
        assert torch.equal(depth, model(image))
    assert [name for name, each in sides.items() if each.shape == depth.shape] == [
        "depth 1/32",
        "depth 1/16",
        "depth 1/8",
        "depth 1/4",
    ]


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
