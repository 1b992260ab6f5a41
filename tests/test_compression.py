"""Compression: what is pruned computes what is left exactly, costs what was asked, and is a model like any other."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from leadline.cli.main import main
from leadline.compression.channels import LayerSums, lasso_channels, random_channels
from leadline.compression.pruning import check_prunable, prune
from leadline.core.errors import BadInput
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.pretrained.hub import save_pretrained
from leadline.models.registry import build, build_on_meta
from leadline.models.saving import fingerprint, save
from leadline.models.widths import PRUNED
from leadline.reporting.model_table import multiply_adds

NETWORK = {"size": "tiny", "encoder": "test_efficientnet", "width": 8, "input_size": (64, 64)}


def network(seed: int = 0) -> DepthModel:
    torch.manual_seed(seed)
    model = build("cnn", **NETWORK).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after a training
            nn.init.uniform_(layer.bias, -0.3, 0.3)
    *_, last = (layer for layer in model.head.modules() if isinstance(layer, nn.Conv2d))
    nn.init.normal_(last.weight)
    return model


@pytest.fixture(scope="module")
def model() -> DepthModel:
    return network()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def pruned(model: DepthModel, images: Tensor) -> DepthModel:
    return prune(model, images, 0.5)


def cost(model: DepthModel) -> int:
    return multiply_adds(deepcopy(model).to("meta"))


def with_silent_channels(narrow: DepthModel) -> DepthModel:
    """The unpruned network that computes what `narrow` does: its other channels are zero."""
    wide = network()
    tensors = wide.state_dict()
    for name, held in narrow.state_dict().items():
        tensors[name].zero_()
        tensors[name][tuple(slice(side) for side in held.shape)] = held
        if name.endswith("running_var"):
            tensors[name][len(held) :] = 1
    return wide


def test_a_network_whose_dropped_channels_are_zero_stays_the_same(images: Tensor, pruned: DepthModel):
    torch.manual_seed(3)
    narrow = build("cnn", **NETWORK, pruned=pruned.arguments[PRUNED]).eval()
    nn.init.normal_(narrow.head.get_parameter("2.weight"))
    wide = with_silent_channels(narrow)
    again = prune(wide, images, 0.5)
    assert again.arguments[PRUNED] == pruned.arguments[PRUNED]
    with torch.no_grad():
        torch.testing.assert_close(wide(images), narrow(images), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(again(images), wide(images), rtol=1e-5, atol=1e-5)
        assert wide(images).std() > 1e-3


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.8])
def test_multiply_adds_are_at_most_what_was_asked_and_near_it(model: DepthModel, images: Tensor, keep: float):
    ratio = cost(prune(model, images, keep, choose=random_channels(0))) / cost(model)
    assert keep - 0.03 < ratio <= keep


def test_chosen_channels_reconstruct_better_than_random_ones():
    generator = torch.Generator().manual_seed(0)
    strength = torch.rand(12, generator=generator)
    x = (torch.randn(300, 12, 4, generator=generator) * strength[:, None]).flatten(1).double()
    weight = torch.randn(12, 4, 5, generator=generator)
    y = x @ weight.double().flatten(0, 1)
    sums = LayerSums(weight, x.T @ x, x.T @ y, float(y.square().sum()))

    def error(kept: list[int]) -> float:
        return sums.error(kept, sums.refit(kept))

    chosen = lasso_channels([sums], 6)
    assert len(chosen) == 6
    at_random = [error(random_channels(seed)([sums], 6)) for seed in range(20)]
    assert error(chosen) < min(at_random)
    assert error(chosen) < sums.error(chosen, weight[chosen])
    kept = x.unflatten(1, (12, 4))[:, chosen].flatten(1)
    direct = (y - kept @ sums.refit(chosen).double().flatten(0, 1)).square().sum() / y.square().sum()
    assert error(chosen) == pytest.approx(float(direct), rel=1e-6)


def test_channels_that_are_copies_of_each_other_are_still_as_many_as_asked():
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(0)).double().expand(-1, 6)
    weight = torch.ones(6, 1, 1)
    y = x.sum(1, keepdim=True)
    sums = LayerSums(weight, x.T @ x, x.T @ y, float(y.square().sum()))
    assert len(lasso_channels([sums], 3)) == 3
    silent = LayerSums(weight, torch.zeros(6, 6).double(), torch.zeros(6, 1).double(), 0.0)
    assert len(lasso_channels([silent], 3)) == 3


def test_the_whole_network_is_nearer_to_the_original_than_with_random_channels(
    model: DepthModel, images: Tensor, pruned: DepthModel
):
    held_out = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        target = model(held_out).log()
        chosen = float((pruned(held_out).log() - target).square().mean())
        others = [prune(model, images, 0.5, choose=random_channels(seed))(held_out).log() for seed in range(3)]
    assert chosen < min(float((other - target).square().mean()) for other in others)


def test_a_saved_folder_reloads_bit_equal(pruned: DepthModel, images: Tensor, tmp_path: Path):
    save(pruned, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert fingerprint(loaded) == fingerprint(pruned)
    with torch.no_grad():
        assert torch.equal(loaded(images), pruned(images))
    assert json.loads((tmp_path / "model/model.json").read_text())["arguments"][PRUNED]


def test_the_original_is_left_alone(images: Tensor):
    model = network(5)
    before = fingerprint(model)
    prune(model, images, 0.5, choose=random_channels(0))
    assert fingerprint(model) == before
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("keep", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_a_fraction_that_is_none_is_refused(model: DepthModel, images: Tensor, keep: float):
    with pytest.raises(BadInput, match=r"keep=.*more than 0 and less than 1"):
        prune(model, images, keep)


def test_a_fraction_that_no_width_reaches_is_refused(model: DepthModel, images: Tensor):
    with pytest.raises(BadInput, match=r"keep=0\.001.*still needs .*%"):
        prune(model, images, 0.001)


def test_nothing_to_calibrate_on_is_refused(model: DepthModel, images: Tensor):
    with pytest.raises(BadInput, match="calibration images"):
        prune(model, images[:0], 0.5)


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("hybrid", {"size": "tiny"}, "LayerNorm, Linear"),
        ("cnn", {"encoder": "vit_tiny_patch16_224", "size": "tiny"}, "LayerNorm, Linear"),
        ("cnn", {"encoder": "convnext_atto", "size": "tiny"}, "Linear"),
        ("dpt_large", {}, "Linear"),
        ("eigen", {"size": "tiny"}, "Linear"),
        ("bts", {"size": "tiny"}, "its own way"),
    ],
)
def test_what_cannot_be_pruned_is_refused_by_name_with_what_can(name: str, arguments: dict, reason: str):
    with pytest.raises(BadInput, match=f"'{name}' cannot be pruned .*{reason}.*midas_small"):
        check_prunable(build_on_meta(name, **arguments))


@pytest.mark.parametrize("encoder", ["resnet10t", "resnext26ts", "mobilenetv2_035"])
def test_other_encoders_are_pruned_as_far_as_their_layers_allow(encoder: str, images: Tensor):
    torch.manual_seed(0)
    model = build("cnn", **{**NETWORK, "encoder": encoder}).eval()
    made = prune(model, images, 0.7, choose=random_channels(0))
    assert 0.6 < cost(made) / cost(model) <= 0.7
    assert made(images).shape == (4, 1, 64, 64)


# ── the folder and the command ──

ROOMS = "rooms,count=4,height=64,width=64"
SHORT = ["--steps", "2", "--batch-size", "2", "--validate-every", "2", "--workers", "0", "--accelerator", "cpu"]


@pytest.fixture(scope="module")
def folder(model: DepthModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models") / "original"
    save(model, place)
    return place


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pruned"
    words = ["compress", "prune", str(folder), "--keep", "0.5", "--images", "4", "--data", ROOMS]
    assert main([*words, "--out", str(out), *SHORT]) == 0
    return out


def test_the_command_prunes_finetunes_and_says_what_each_stage_costs(
    folder: Path, run: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["compress", "prune", str(folder), "--keep", "0.5", "--images", "4", "--data", ROOMS]
    before = (run / "model" / "weights.safetensors").stat().st_mtime_ns
    started = (run / "start" / "weights.safetensors").stat().st_mtime_ns
    assert main([*words, "--out", str(run), *SHORT]) == 0, "the same command again finds everything finished"
    assert (run / "start" / "weights.safetensors").stat().st_mtime_ns == started
    assert (run / "model" / "weights.safetensors").stat().st_mtime_ns >= before
    printed = capsys.readouterr().out
    for stage in ("original", "pruned, not finetuned", "pruned, finetuned with the original as its teacher"):
        assert f"| {stage} " in printed
    made, original = load(run / "model"), load(folder)
    assert 0.45 < cost(made) / cost(original) <= 0.5
    assert made.provenance.figures
    assert f"{cost(made) / 1e6:.1f} M" in printed
    sizes = [(place / "weights.safetensors").stat().st_size for place in (run / "model", folder)]
    assert sizes[0] < 0.7 * sizes[1]


def test_a_pruned_folder_is_a_model_like_any_other(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model = str(run / "model")
    assert main(["evaluate", "--model", model, "--data", ROOMS]) == 0
    photo = str(Path(__file__).parents[1] / "examples/photos/reception.jpg")
    assert main(["predict", photo, "--model", model, "--out", str(tmp_path / "depth")]) == 0
    save_pretrained(load(model), tmp_path / "shared")
    assert fingerprint(load(tmp_path / "shared")) == fingerprint(load(model))
    assert main(["train", "--model", f"start:{model}", "--data", ROOMS, *SHORT, "--out", str(tmp_path / "more")]) == 0
    assert load(tmp_path / "more/model").arguments[PRUNED] == load(model).arguments[PRUNED]
    capsys.readouterr()


def test_an_interrupted_run_resumes_with_what_was_pruned(run: Path, folder: Path, tmp_path: Path):
    """A run that was stopped between the pruning and the finetuning ends as one that was not."""
    out = tmp_path / "run"
    words = ["compress", "prune", str(folder), "--keep", "0.5", "--images", "4", "--data", ROOMS, "--out", str(out)]
    assert main([*words, "--no-finetune", *SHORT]) == 0
    assert fingerprint(load(out / "model")) == fingerprint(load(run / "start"))
    assert main([*words, *SHORT]) == 0
    assert fingerprint(load(out / "model")) == fingerprint(load(run / "model"))


Refusal = Callable[[Path, Path, Path], tuple[list[str], str]]
REFUSED: dict[str, Refusal] = {
    "keep of 1": lambda folder, run, out: ([str(folder), "--keep", "1"], "keep=1: give more than 0 and less than 1"),
    "keep of 0": lambda folder, run, out: ([str(folder), "--keep", "0"], "keep=0: give more than 0 and less than 1"),
    "pruned": lambda folder, run, out: ([str(run / "model")], "pruned already"),
    "exported": lambda folder, run, out: (["model.onnx"], "exported and cannot be compressed"),
    "absent": lambda folder, run, out: ([str(out / "absent")], "No model at"),
    "no data": lambda folder, run, out: ([str(folder), "--data", "data/absent"], "No folder or file data/absent"),
    "no images": lambda folder, run, out: ([str(folder), "--images", "0"], "images=0: give at least 1"),
    "loss": lambda folder, run, out: ([str(folder), "--teacher-losses", "l7=1"], "l7"),
    "kind": lambda folder, run, out: ([str(folder), "--teacher-losses", "ssi"], "no loss terms with weights"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_line_before_anything_is_computed(
    case: str, folder: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words, said = REFUSED[case](folder, run, tmp_path)
    out = tmp_path / "out"
    data = [] if "--data" in words else ["--data", ROOMS]
    assert main(["compress", "prune", *words, *data, "--out", str(out), *SHORT]) == 1
    printed = capsys.readouterr().err.strip()
    assert said in printed
    assert len(printed.splitlines()) == 1
    assert not (out / "start").exists()
    assert not (out / "model").exists()


def test_a_folder_of_another_compression_or_of_a_model_is_refused(
    folder: Path, run: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["compress", "prune", str(folder), "--data", ROOMS, *SHORT]
    assert main([*words, "--keep", "0.6", "--images", "4", "--out", str(run)]) == 1
    assert "keep: 0.5 → 0.6" in capsys.readouterr().err
    assert main([*words, "--out", str(folder)]) == 1
    assert "which is not of this run" in capsys.readouterr().err
