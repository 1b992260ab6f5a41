"""Plain vision transformers of timm as encoders, and what training does with their weights: LoRA and frozen parts."""

from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

import leadline.models.registry as registry
from leadline.core.errors import BadInput
from leadline.inference.predict import predict_tensor
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.saving import save

TINY = {
    "vit_tiny_patch16_224": {"depth": 4, "embed_dim": 24, "num_heads": 2},
    "vit_small_patch14_dinov2": {"img_size": 112, "depth": 4, "embed_dim": 24, "num_heads": 2},
    "vit_small_patch16_dinov3": {"depth": 4, "embed_dim": 32, "num_heads": 2},
}
every_vit = pytest.mark.parametrize("encoder", TINY)


def build(encoder: str, **arguments: object) -> DepthModel:
    torch.manual_seed(0)
    options = {"size": "tiny", "width": 8, "encoder_options": TINY[encoder], **arguments}
    return registry.build("cnn", encoder=encoder, **options)


@cache
def made(encoder: str) -> DepthModel:
    return build(encoder).eval()


def photograph(height: int, width: int, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@every_vit
def test_depth_is_as_large_as_the_image_whatever_its_shape(encoder: str):
    model = made(encoder)
    patch = 14 if "patch14" in encoder else 16
    assert model.preprocessing.multiple == patch
    for rows, columns in [(3, 5), (8, 4), (1, 1)]:
        with torch.no_grad():
            depth = model(photograph(rows * patch, columns * patch, count=2))
        assert depth.shape == (2, 1, rows * patch, columns * patch)
        assert depth.isfinite().all()


@every_vit
def test_tokens_of_one_stride_become_a_pyramid(encoder: str):
    model = made(encoder)
    patch = model.preprocessing.multiple
    with torch.no_grad():
        features = model.features(photograph(4 * patch, 6 * patch))
    assert [tuple(each.shape[-2:]) for each in features] == [(16, 24), (8, 12), (4, 6), (2, 3)]


@every_vit
def test_learning_reaches_every_parameter(encoder: str):
    model = build(encoder)
    side = 4 * model.preprocessing.multiple
    model(photograph(side, side)).log().mean().backward()
    assert [key for key, each in model.named_parameters() if each.grad is None] == []


@every_vit
@pytest.mark.parametrize("size", [(37, 53), (97, 31), (1, 1)])
def test_a_photograph_of_odd_sides_gets_depth_of_its_own_size(encoder: str, size: tuple[int, int]):
    depth = predict_tensor(made(encoder), photograph(*size)[0])
    assert tuple(depth.shape[-2:]) == size
    assert depth.isfinite().all()


@every_vit
def test_saved_and_loaded_it_is_the_same_to_the_bit(encoder: str, tmp_path: Path):
    model = made(encoder)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    side = 4 * model.preprocessing.multiple
    with torch.no_grad():
        assert torch.equal(model(photograph(side, 2 * side)), again(photograph(side, 2 * side)))
    assert (again.kind, again.preprocessing, again.arguments) == (model.kind, model.preprocessing, model.arguments)


@every_vit
def test_the_weights_of_a_whole_vit_in_timms_layout_are_taken(encoder: str, tmp_path: Path):
    whole = timm.create_model(encoder, **TINY[encoder])
    file = tmp_path / "whole.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in whole.state_dict().items()}, file)
    model = build(encoder, weights=file)
    held = whole.state_dict()
    taken = model.encoder.vit.state_dict()  # pyright: ignore
    assert taken.keys() <= held.keys()
    assert all(torch.equal(tensor, held[key]) for key, tensor in taken.items())
    assert model.pretrained_encoder


def test_the_maps_are_timms_own_of_the_whole_transformer():
    name = "vit_tiny_patch16_224"
    model = made(name)
    whole = timm.create_model(name, dynamic_img_size=True, **TINY[name]).eval()
    whole.load_state_dict(model.encoder.vit.state_dict(), strict=False)  # pyright: ignore
    image = photograph(48, 80)
    with torch.no_grad():
        tokens = whole.forward_features(image)[:, 1:]
        last = model.encoder(image)[-1]
    assert torch.allclose(last.flatten(2).transpose(1, 2), tokens, atol=1e-6)


def test_a_preset_size_is_rounded_to_the_patch_and_a_given_one_is_not():
    assert build("vit_small_patch14_dinov2").preprocessing.size == (126, 154)
    with pytest.raises(BadInput, match=r"input_size \(128, 160\) must be a height and a width that divide by 14"):
        build("vit_small_patch14_dinov2", input_size=(128, 160))


def test_a_hybrid_refuses_a_vit_and_says_what_to_take():
    with pytest.raises(BadInput, match="use it as cnn,encoder=vit_tiny_patch16_224"):
        registry.build("hybrid", size="tiny", encoder="vit_tiny_patch16_224")


def test_too_few_blocks_are_refused():
    with pytest.raises(BadInput, match="2 blocks is no encoder"):
        registry.build("cnn", size="tiny", encoder="vit_tiny_patch16_224", encoder_options={"depth": 2})
