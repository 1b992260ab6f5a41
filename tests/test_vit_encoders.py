"""Plain vision transformers of timm as encoders, and what training does with their weights: LoRA and frozen parts."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

import leadline.models.registry as registry
from leadline.cli.main import main
from leadline.core.errors import BadInput
from leadline.inference.tensors import predict_tensor
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.lora import add_adapters
from leadline.models.saving import save
from leadline.training import trainer

TINY: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"depth": 4, "embed_dim": 24, "num_heads": 2},
    "vit_small_patch14_dinov2": {"img_size": 112, "depth": 4, "embed_dim": 24, "num_heads": 2},
    "vit_small_patch16_dinov3": {"depth": 4, "embed_dim": 32, "num_heads": 2},
}
every_vit = pytest.mark.parametrize("encoder", TINY)


def build(encoder: str, **arguments: Any) -> DepthModel:
    torch.manual_seed(0)
    options = {"size": "tiny", "width": 8, "encoder_options": TINY.get(encoder, {}), **arguments}
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
    model: Any = build(encoder, weights=file)
    held = whole.state_dict()
    taken = model.encoder.vit.state_dict()
    assert taken.keys() <= held.keys()
    assert all(torch.equal(tensor, held[key]) for key, tensor in taken.items())
    assert model.pretrained_encoder


def test_the_maps_are_timms_own_of_the_whole_transformer():
    name = "vit_tiny_patch16_224"
    model: Any = made(name)
    whole: Any = timm.create_model(name, dynamic_img_size=True, **TINY[name]).eval()
    whole.load_state_dict(model.encoder.vit.state_dict(), strict=False)
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
    with pytest.raises(BadInput, match="3 blocks is no encoder"):
        registry.build("cnn", size="tiny", encoder="vit_tiny_patch16_224", encoder_options={"depth": 3})


# ── training: LoRA and frozen parts ──

VIT = "cnn,size=tiny,width=8,input_size=64:64,encoder=vit_tiny_patch16_224"
VIT += ",encoder_options=depth:4:embed_dim:24:num_heads:2"


def train(out: Path, *options: str, model: str | Path = VIT, steps: int = 3) -> int:
    from leadline.cli.main import main

    data = "rooms,count=4,height=64,width=64"
    words = f"--data {data} --batch-size 2 --validate-every {steps} --accelerator cpu --workers 0 --protocol rooms"
    return main(["train", "--out", str(out), "--model", str(model), *words.split(), "--steps", str(steps), *options])


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A saved ViT model to go on from, whose weights are known."""
    save(build("vit_tiny_patch16_224", input_size=(64, 64)), tmp_path / "start")
    return tmp_path / "start"


def changed(before: Path, after: Path) -> set[str]:
    old, new = load(before).state_dict(), load(after).state_dict()
    assert old.keys() == new.keys()
    return {key for key in old if not torch.equal(old[key], new[key])}


def test_lora_trains_linear_layers_decoder_and_head_and_nothing_else(start: Path, tmp_path: Path):
    pytest.importorskip("peft")
    assert train(tmp_path / "run", "--lora", "2", "--learning-rate", "0.01", model=start) == 0
    learnt = changed(start, tmp_path / "run" / "model")
    in_encoder = {key for key in learnt if key.startswith("encoder.")}
    assert in_encoder == {
        f"encoder.vit.blocks.{block}.{layer}.weight"
        for block in range(4)
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }
    assert {key.split(".")[0] for key in learnt} == {"encoder", "neck", "decoder", "head"}


def test_a_model_trained_with_lora_loads_without_peft(tmp_path: Path):
    pytest.importorskip("peft")
    assert train(tmp_path / "run", "--lora", "2") == 0
    script = (
        "import sys; sys.modules['peft'] = None\n"
        f"from leadline.models.loading import load; print(load({str(tmp_path / 'run' / 'model')!r}).name)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "cnn"), done.stderr


@pytest.mark.parametrize("encoder", ["eva02_tiny_patch14_224", "vit_small_patch16_dinov3"])
def test_every_adapter_of_an_eva_network_learns(encoder: str):
    pytest.importorskip("peft")
    options = {"depth": 4, "embed_dim": 24, "num_heads": 2, "qkv_fused": True}
    model = build(encoder, encoder_options=TINY.get(encoder, options)).train()
    images = photograph(model.preprocessing.multiple * 3, model.preprocessing.multiple * 4)
    plain = model(images)
    add_adapters(model, 2)
    adapted = model(images)
    torch.testing.assert_close(adapted, plain, rtol=1e-5, atol=1e-5)
    adapted.mean().backward()
    gradients = {name: each.grad for name, each in model.named_parameters() if "lora_B" in name}
    assert any("attn.qkv" in name for name in gradients)
    assert not [name for name, gradient in gradients.items() if gradient is None or not gradient.any()]


def test_merged_adapters_predict_what_they_did_beside_the_layers(tmp_path: Path):
    pytest.importorskip("peft")
    model = build("vit_tiny_patch16_224").eval()
    add_adapters(model, 2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=1.0)
    save(model, tmp_path / "model")
    with torch.no_grad():
        apart, merged = model(photograph(64, 64)), load(tmp_path / "model")(photograph(64, 64))
        plain = build("vit_tiny_patch16_224").eval()(photograph(64, 64))
    torch.testing.assert_close(merged, apart, rtol=1e-4, atol=1e-5)
    assert (plain - apart).abs().max() > 100 * (merged - apart).abs().max()


@pytest.mark.parametrize("encoder", ["hiera_tiny_224", "coat_tiny", "gcvit_xxtiny", "swin_tiny_patch4_window7_224"])
def test_an_encoder_of_one_image_size_is_refused_when_it_is_named(encoder, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "--out", str(out), "--data", "rooms,count=2,height=64,width=64", "--model"]
    assert main([*command, f"cnn,encoder={encoder},input_size=224:224"]) == 1
    said = capsys.readouterr().err
    assert f"timm's '{encoder}' is no encoder: it takes images of one size" in said
    assert not out.exists()


def test_a_hierarchical_transformer_of_free_size_is_an_encoder():
    thin = {"embed_dim": 8, "stages": (1, 1, 2, 1), "num_heads": 1, "global_att_blocks": (3,)}
    with torch.no_grad():
        model = build("sam2_hiera_tiny", encoder_options=thin, decoder="light").eval()
        assert model(torch.rand(1, 3, 96, 160)).shape == (1, 1, 96, 160)


def test_a_killed_lora_training_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("peft")
    options = ("--lora", "2", "--save-every", "0", "--log-every", "1")
    assert train(tmp_path / "whole", *options, steps=4) == 0

    class Killed(BaseException):
        pass

    def killed(state: Any, path: Path) -> None:
        write(state, path)
        if state.step == 2:
            raise Killed

    write = trainer._State.write
    monkeypatch.setattr(trainer._State, "write", killed)
    with pytest.raises(Killed):
        train(tmp_path / "broken", *options, steps=4)
    monkeypatch.undo()
    assert train(tmp_path / "broken", *options, steps=4) == 0
    assert changed(tmp_path / "whole" / "model", tmp_path / "broken" / "model") == set()


def test_a_frozen_encoder_keeps_weights_and_statistics(tmp_path: Path):
    torch.manual_seed(0)
    save(registry.build("cnn", size="tiny", width=8, encoder="resnet10t", input_size=(64, 64)), tmp_path / "start")
    assert train(tmp_path / "run", "--frozen", "encoder", model=tmp_path / "start") == 0
    assert {key.split(".")[0] for key in changed(tmp_path / "start", tmp_path / "run" / "model")} == {"decoder", "head"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lora", "2", "--model", "cnn,size=tiny,encoder=resnet10t,input_size=64:64"), "has none"),
        (("--lora", "-1"), "at least 1"),
        (("--frozen", "encodr"), "The parts of cnn: encoder, neck, decoder, head"),
        (("--frozen", "encoder", "--lora", "2"), "give one of the two"),
        (("--frozen", "encoder", "neck", "decoder", "head"), "nothing of cnn is left to train"),
        (("--frozen", "encoder", "--recipe", "multi_stage", "--model", "hybrid,size=tiny"), "end_to_end"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_folder_is_claimed(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(tmp_path / "run", *options) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()


def test_lora_without_peft_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "peft", None)
    assert train(tmp_path / "run", "--lora", "2") != 0
    assert "pip install 'leadline[lora]'" in capsys.readouterr().err
