"""Depth that comes back to its photograph's size by the photograph's edges."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import leadline
from leadline.core.errors import BadInput
from leadline.inference.guided import restore_guided
from leadline.inference.tensors import predict_tensor

SMALL, LARGE = (48, 64), (240, 320)


def halves(size: tuple[int, int], left: float, right: float) -> Tensor:
    """(H, W) with one number in its left half and another in its right."""
    return torch.full(size, left).where(torch.arange(size[1]) < size[1] // 2, torch.tensor(right))


def photograph(size: tuple[int, int], left: float, right: float) -> Tensor:
    return halves(size, left, right).expand(1, 3, -1, -1)


def soft_step(near: float, far: float) -> Tensor:
    """(1, 1, h, w): a step that a network has smoothed over a fifth of the picture."""
    return F.avg_pool2d(F.pad(halves(SMALL, near, far)[None, None], (6, 6, 0, 0), mode="replicate"), (1, 13), 1)


def widest_step(depth: Tensor) -> float:
    """The largest ratio of two neighbours in a row."""
    return (depth[..., 1:] / depth[..., :-1]).max().item()


def test_a_soft_edge_becomes_sharp_where_the_photograph_has_one():
    restored = restore_guided(soft_step(2.0, 3.0), photograph(SMALL, 0.2, 0.8), photograph(LARGE, 0.2, 0.8))
    assert restored.shape == (1, 1, *LARGE)
    assert widest_step(F.interpolate(soft_step(2.0, 3.0), LARGE, mode="bilinear")) < 1.01
    assert widest_step(restored) > 1.15
    place = (restored[0, 0, 100, 1:] / restored[0, 0, 100, :-1]).argmax().item()
    assert place == LARGE[1] // 2 - 1


def test_a_pattern_on_a_wall_makes_no_edges():
    random = torch.rand(1, 3, *LARGE, generator=torch.Generator().manual_seed(0))
    seen = F.interpolate(random, SMALL, mode="bilinear", antialias=True)
    wall = torch.full((1, 1, *SMALL), 2.5)
    torch.testing.assert_close(restore_guided(wall, seen, random), torch.full((1, 1, *LARGE), 2.5))


def test_a_slope_before_a_plain_background_stays_a_slope():
    slope = torch.linspace(1, 4, SMALL[0])[:, None].expand(1, 1, *SMALL)
    restored = restore_guided(slope, photograph(SMALL, 0.5, 0.5), photograph(LARGE, 0.5, 0.5))
    inner = restored[0, 0, 30:-30, 160]
    expected = F.interpolate(slope, LARGE, mode="bilinear")[0, 0, 30:-30, 160]
    assert ((inner / expected) - 1).abs().max() < 0.03
    assert (inner.diff() > 0).all()


def test_depth_stays_within_what_the_network_predicted():
    random = torch.Generator().manual_seed(1)
    depth = torch.rand(2, 1, *SMALL, generator=random) * 5 + 0.5
    image = torch.rand(2, 3, *LARGE, generator=random)
    restored = restore_guided(depth, F.interpolate(image, SMALL, mode="area"), image)
    for each, known in zip(restored, depth, strict=True):
        assert known.min() <= each.min()
        assert each.max() <= known.max()


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (48, 64), (501, 333)])
def test_photographs_of_any_size_get_their_depth(size):
    model = leadline.build("cnn", size="tiny", input_size=(64, 96), restore="guided")
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(2))
    depth = predict_tensor(model, image)
    assert depth.shape == (1, *size)
    assert np.isfinite(depth.numpy()).all()


def test_a_saved_network_restores_as_it_did(tmp_path):
    model = leadline.build("cnn", size="tiny", input_size=(64, 96), restore="guided")
    leadline.save(model, tmp_path / "model")
    loaded = leadline.load(str(tmp_path / "model"))
    assert loaded.preprocessing.restore == "guided"
    image = torch.rand(3, 100, 150, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(predict_tensor(loaded, image), predict_tensor(model, image))


def test_relative_depth_has_no_logarithm_and_an_unknown_way_is_refused():
    with pytest.raises(BadInput, match="it is for metric and scale-free networks"):
        leadline.build("cnn", size="tiny", kind="relative", restore="guided")
    with pytest.raises(BadInput, match=r"No restore is called .nearest."):
        leadline.build("cnn", size="tiny", restore="nearest")
