"""The literature's networks: their papers' sizes, and what is particular to Eigen, ACAN and TransDepth.

`oracles/acan.npz` holds what github.com/miraiaroha/ACAN (code/models) answered, with one block in each stage of its
ResNet, on the numbers that `oracle_numbers` makes.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle_numbers import number
from torch import Tensor

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.sample import Sample
from leadline.models.layers.attention_gate import filter_by, structured_attention
from leadline.models.networks.acan import AcanModel, OrdinalDepth
from leadline.models.networks.eigen import EigenModel
from leadline.models.registry import build, build_on_meta
from leadline.training.losses import attention_loss, ordinal_loss, scale_invariant_loss
from leadline.training.objectives import Supervised

ORACLES = Path(__file__).parent / "oracles"
PAPER_SIZES = {
    "acan": (92.4, (224, 304)),
    "bts": (47.0, (480, 640)),
    "bts_kitti": (47.0, (352, 1216)),
    "eigen": (71.0, (228, 304)),
    "transdepth": (244.5, (480, 640)),
}
"""Millions of parameters, and height and width of image and answer."""


def images(height: int, width: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def labelled(height: int = 64, width: int = 64) -> Sample:
    generator = torch.Generator().manual_seed(1)
    depth = 1 + 3 * torch.rand(2, 1, height, width, generator=generator)
    valid = torch.rand(2, 1, height, width, generator=generator) > 0.1
    return Sample(images(height, width), depth, valid, DepthKind.METRIC, name="two")


@pytest.mark.parametrize("name", PAPER_SIZES)
def test_the_papers_size_is_the_default(name: str):
    millions, size = PAPER_SIZES[name]
    model = build_on_meta(name).to("meta").eval()
    assert round(sum(each.numel() for each in model.parameters()) / 1e6, 1) == millions
    assert model.preprocessing.size == size
    assert model(torch.empty(1, 3, *size, device="meta")).shape == (1, 1, *size)


# ── Eigen ──


def test_both_maps_of_eigen_are_of_the_papers_size():
    model = build_on_meta("eigen").to("meta")
    assert isinstance(model, EigenModel)
    assert model.fine is not None
    maps = model.encoder(torch.empty(1, 3, 228, 304, device="meta"))
    assert [tuple(each.shape[1:]) for each in maps] == [(96, 55, 74), (256, 27, 37), (256, 13, 18)]
    assert model.coarse.hidden.in_features == 256 * 6 * 8
    assert model.coarse.map.out_features == 55 * 74


def test_the_fine_network_edits_what_the_coarse_one_says():
    torch.manual_seed(0)
    coarse = build("eigen", size="tiny", stage="coarse").eval()
    fine = build("eigen", size="tiny").eval()
    assert isinstance(coarse, EigenModel)
    assert isinstance(fine, EigenModel)
    assert coarse.fine is None
    before = fine(images(96, 128))
    fine.coarse.map.bias.data += 1.0
    assert not torch.allclose(fine(images(96, 128)), before)


@pytest.mark.parametrize("size", [(24, 24), (100, 60)])
def test_eigen_answers_at_sizes_it_was_not_made_for(size: tuple[int, int]):
    assert build("eigen", size="tiny").eval()(images(*size)).shape == (2, 1, *size)


def test_sides_too_small_for_eigen_are_refused():
    with pytest.raises(BadInput, match=r"at least 24 pixels, not 20 × 64.*larger size"):
        build("eigen", size="tiny")(images(20, 64))
    with pytest.raises(BadInput, match=r"input_size \(16, 64\) must be a height and a width of at least 24"):
        build("eigen", size="tiny", input_size=(16, 64))


def test_eigens_loss_is_the_papers_equation():
    batch = labelled(4, 4)
    predicted = batch.depth * 1.5
    g = np.log(1.5)
    assert float(scale_invariant_loss(predicted, batch.depth, batch.valid)) == pytest.approx(g**2 - 0.5 * g**2)


# ── ACAN ──


@pytest.fixture(scope="module")
def acan() -> AcanModel:
    """ACAN with one block in each stage, and the numbers of the oracle."""
    model = build("acan", encoder="resnet50", encoder_options={"layers": (1, 1, 1, 1)}).eval()
    theirs = {
        "context.key.0": "decoder.saconv.f_key.conv",
        "context.key.1": "decoder.saconv.f_key.bn",
        "context.value.0": "decoder.saconv.f_value.conv1",
        "context.value.2": "decoder.saconv.f_value.conv2",
        "context.image.1": "decoder.image_context.linear1",
        "context.image.3": "decoder.image_context.linear2",
        "context.merge.1": "decoder.merge.conv1",
        "head": "classifier.conv",
    }
    state = {}
    for key, tensor in model.state_dict().items():
        part, _, last = key.rpartition(".")
        key = f"{theirs[part]}.{last}" if part in theirs else key.removeprefix("encoder.")
        # Their linear layers are our convolutions of one pixel.
        shape = tensor.shape[:2] if ".linear" in key else tensor.shape
        sharpened = key.endswith(("f_key.bn.weight", "f_key.bn.bias", "classifier.conv.weight"))
        state[f"{part}.{last}"] = number(key, shape).view(tensor.shape) * (20 if sharpened else 1)
    model.load_state_dict(state)
    assert isinstance(model, AcanModel)
    return model


@pytest.mark.parametrize(("shape", "size"), [(0, (64, 96)), (1, (96, 64))])
def test_acan_answers_as_the_public_program(acan: AcanModel, shape: int, size: tuple[int, int]):
    normalised = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(shape))
    with np.load(ORACLES / "acan.npz") as recorded:
        expected, attended, loss = (
            torch.from_numpy(recorded[f"{part}_{shape}"]) for part in ("depth", "attention", "loss")
        )
    with torch.no_grad():
        depth, sides = acan.forward_with_sides(normalised * acan.std + acan.mean)
    assert (depth[0, 0] - expected).abs().max() < 1e-4 * (expected.max() - expected.min())
    assert torch.allclose(sides["attention"][0], attended.float(), atol=1e-3)
    # The attention loss, too; theirs takes the depth of each cell's first pixel, ours that of its middle.
    target = 0.8 + 4 * torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(10 + shape))
    target = target[..., ::8, ::8].repeat_interleave(8, -1).repeat_interleave(8, -2)
    ours = attention_loss(sides["attention"], target, torch.ones_like(target, dtype=torch.bool))
    assert float(ours) == pytest.approx(float(loss), rel=1e-3)


def test_ordinal_probabilities_that_are_certain_give_the_middle_of_a_level():
    ordinal = OrdinalDepth(5, 1.0, 16.0)  # Levels begin at 1, 2, 4, 8 and 16 m.
    assert torch.allclose(ordinal.thresholds, torch.tensor([2.0, 4.0, 8.0, 16.0, 32.0]))
    exceeded = (torch.tensor([1.5, 3.0, 5.0]) > ordinal.thresholds[:, None]).float().view(1, 5, 1, 3)
    assert torch.allclose(ordinal(exceeded).flatten(), torch.tensor([1.5, 3.0, 6.0]))


def test_soft_inference_moves_smoothly_between_levels():
    ordinal = OrdinalDepth(5, 1.0, 16.0)
    certainty = torch.linspace(0, 1, 11)
    exceeded = torch.stack([torch.ones(11), certainty, *torch.zeros(3, 11)]).view(1, 5, 1, 11)
    steps = ordinal(exceeded).flatten().diff()
    assert (steps > 0).all()
    assert torch.allclose(steps, steps[0].expand(10), atol=1e-5)


def test_losses_of_side_outputs_fall_when_they_become_right():
    batch = labelled()
    thresholds = torch.tensor([1.5, 2.5, 3.5]).view(1, 3, 1, 1)
    right = (batch.depth > thresholds).float()
    unsure = torch.full_like(right, 0.5)
    assert ordinal_loss(right, thresholds, batch.depth, batch.valid) < 1e-5
    assert float(ordinal_loss(unsure, thresholds, batch.depth, batch.valid)) == pytest.approx(3 * np.log(2), rel=1e-5)
    flat = torch.full((2, 64, 64), 1 / 64)
    cells = batch.depth[..., 4::8, 4::8].flatten(1).log()
    alike = (-(cells[:, :, None] - cells[:, None, :]).abs()).softmax(-1)
    everywhere = torch.ones_like(batch.valid)
    assert abs(float(attention_loss(alike, batch.depth, everywhere))) < 1e-6
    assert attention_loss(flat, batch.depth, everywhere) > 0.01


def test_depth_that_is_not_valid_never_reaches_the_losses_of_side_outputs():
    batch = labelled()
    spoiled = torch.where(batch.valid, batch.depth, torch.nan)
    exceeded, thresholds = torch.rand(2, 3, 64, 64, requires_grad=True), torch.tensor([1.5, 2.5, 3.5]).view(1, 3, 1, 1)
    attention = torch.rand(2, 64, 64, requires_grad=True)
    terms = (partial(ordinal_loss, exceeded, thresholds), partial(attention_loss, attention))
    for loss, side in zip(terms, (exceeded, attention), strict=True):
        value = loss(spoiled, batch.valid)
        value.backward()
        assert torch.equal(value, loss(batch.depth, batch.valid))
        assert side.grad is not None
        assert side.grad.isfinite().all()
    assert attention_loss(attention, spoiled, torch.zeros_like(batch.valid)) == 0


def test_acan_is_trained_by_its_own_losses():
    model = build("acan", size="tiny", encoder="resnet10t", width=8, keys=4, pooled=4, levels=8)
    objective = Supervised({"ordinal": 1.0, "attention": 0.5, "silog": 0.1})
    terms = objective(model, labelled(), objective.parts(model))
    assert list(terms) == ["ordinal", "attention", "silog"]
    torch.stack(list(terms.values())).sum().backward()
    assert all(each.grad is not None for each in model.context.key.parameters())  # pyright: ignore


def test_a_loss_of_side_outputs_is_refused_for_a_network_without_them():
    model = build("cnn", size="tiny", encoder="resnet10t", width=8)
    with pytest.raises(BadInput, match=r"loss 'attention' compares attention, which cnn does not output.*train acan"):
        Supervised({"attention": 1.0}).parts(model)


# ── attention gates ──


def test_a_kernel_of_each_pixel_filters_as_one_convolution_where_all_are_alike():
    maps, kernel = torch.rand(2, 3, 9, 11), torch.rand(9)
    expected = torch.nn.functional.conv2d(
        maps, kernel.view(1, 1, 3, 3).expand(3, -1, -1, -1), padding=4, dilation=4, groups=3
    )
    assert torch.allclose(filter_by(maps, kernel.view(1, 9, 1, 1).expand(2, -1, 9, 11), 4), expected, atol=1e-5)


def test_structured_attention_of_rank_one_is_a_map_times_the_scores():
    scores = torch.rand(1, 4, 3, 5)
    ratio = structured_attention(scores, 1) / scores
    assert torch.allclose(ratio, scores.mean(1, keepdim=True).sigmoid().expand_as(ratio))
    assert structured_attention(scores, 0) is scores
