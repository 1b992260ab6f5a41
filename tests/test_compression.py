"""Compression: what is pruned computes what is left exactly, costs what was asked, and is a model like any other."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from leadline.cli.main import main
from leadline.compression.channels import RIDGE, LayerSamples, rank_at_random, rank_by_lasso
from leadline.compression.pruning import _patches, _positions, check_prunable, prune
from leadline.core.errors import BadInput
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.names import PRUNED
from leadline.models.pretrained.hub import save_pretrained
from leadline.models.quantisation import (
    FakeQuantiser,
    channel_scales,
    from_levels,
    pack,
    quantise,
    to_levels,
    unpack,
)
from leadline.models.registry import build, build_on_meta
from leadline.models.saving import fingerprint, save
from leadline.reporting.network_counts import multiply_adds

NETWORK = {"size": "tiny", "encoder": "test_efficientnet", "width": 8, "input_size": (64, 64)}


def network(seed: int = 0) -> DepthModel:
    torch.manual_seed(seed)
    model = build("cnn", **NETWORK).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after a training
            nn.init.uniform_(layer.bias, -0.3, 0.3)
    *_, last = (layer for layer in model.get_submodule("head").modules() if isinstance(layer, nn.Conv2d))
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


def test_a_network_whose_dropped_channels_are_zero_stays_the_same(model: DepthModel, images: Tensor):
    """Silent channels cost more than is asked to go, so that only they do."""
    widths = prune(model, images, 0.3, rank=rank_at_random(0)).arguments[PRUNED]
    torch.manual_seed(3)
    narrow = build("cnn", **NETWORK, pruned=widths).eval()
    nn.init.normal_(narrow.get_parameter("head.2.weight"))
    wide = with_silent_channels(narrow)
    again = prune(wide, images, 0.5)
    assert cost(again) <= 0.5 * cost(wide)
    with torch.no_grad():
        torch.testing.assert_close(wide(images), narrow(images), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(again(images), wide(images), rtol=1e-5, atol=1e-5)
        assert wide(images).std() > 1e-3


@pytest.mark.parametrize("keep", [0.25, 0.5, 0.8])
def test_multiply_adds_are_at_most_what_was_asked_and_near_it(model: DepthModel, images: Tensor, keep: float):
    ratio = cost(prune(model, images, keep, rank=rank_at_random(0))) / cost(model)
    assert keep - 0.03 < ratio <= keep


def test_chosen_channels_reconstruct_better_than_random_ones():
    generator = torch.Generator().manual_seed(0)
    strength = torch.rand(12, generator=generator)
    x = torch.randn(300, 12, 4, generator=generator) * strength[:, None]
    weight = torch.randn(12, 4, 5, generator=generator)
    layer = LayerSamples(weight, x, x.flatten(1) @ weight.flatten(0, 1))

    def error(kept: list[int]) -> float:
        return layer.error(kept, layer.refit(kept))

    chosen = rank_by_lasso([layer])[:6]
    assert len(set(chosen)) == 6
    at_random = [error(rank_at_random(seed)([layer])[:6]) for seed in range(20)]
    assert error(chosen) < min(at_random)
    assert error(chosen) < layer.error(chosen, weight[chosen])
    assert error(list(range(12))) < 1e-9


@pytest.mark.parametrize("count", [300, 20])
def test_the_fitted_weights_are_the_minimum_whichever_system_is_smaller(count: int):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(count, 5, 9, generator=generator).double(), torch.randn(count, 3, generator=generator).double()
    weight = torch.randn(5, 9, 3, generator=generator).double()
    found = LayerSamples(weight, x, y).refit([0, 2, 3]).flatten(0, 1)
    kept = x[:, [0, 2, 3]].flatten(1)
    held = RIDGE * kept.square().sum(0).mean()
    # Where the squared error and the distance from the trained weights balance, their gradients cancel.
    torch.testing.assert_close(kept.T @ (y - kept @ found), held * (found - weight[[0, 2, 3]].flatten(0, 1)))


def test_channels_that_are_silent_or_copies_of_each_other_are_still_ranked():
    x = torch.randn(50, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, 6, -1)
    weight = torch.ones(6, 1, 1)
    for inputs in (x, torch.zeros_like(x)):
        assert sorted(rank_by_lasso([LayerSamples(weight, inputs, inputs.sum(1))])) == list(range(6))


def test_the_whole_network_is_nearer_to_the_original_than_with_random_channels(
    model: DepthModel, images: Tensor, pruned: DepthModel
):
    held_out = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        target = model(held_out).log()
        chosen = float((pruned(held_out).log() - target).square().mean())
        others = [prune(model, images, 0.5, rank=rank_at_random(seed))(held_out).log() for seed in range(2)]
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
    prune(model, images, 0.5, rank=rank_at_random(0))
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
        ("cnn", {"encoder": "convnext_atto", "size": "tiny"}, "LayerNorm2d"),
        ("dpt_large", {}, "Linear"),
        ("eigen", {"size": "tiny"}, "Linear"),
        ("bts", {"size": "tiny"}, "its own way"),
    ],
)
def test_what_cannot_be_pruned_is_refused_by_name_with_what_can(name: str, arguments: dict, reason: str):
    with pytest.raises(BadInput, match=f"'{name}' cannot be pruned .*{reason}.*midas_small"):
        check_prunable(build_on_meta(name, **arguments))


@pytest.mark.parametrize(
    ("encoder", "options"),
    [("resnet10t", {"channels": [16, 16, 32, 48]}), ("test_efficientnet", {"pad_type": "same"})],
)
def test_other_encoders_are_pruned_too(encoder: str, options: dict, images: Tensor):
    torch.manual_seed(0)
    model = build("cnn", **{**NETWORK, "encoder": encoder, "encoder_options": options}).eval()
    made = prune(model, images, 0.7, rank=rank_at_random(0))
    assert 0.6 < cost(made) / cost(model) <= 0.7
    assert made(images).shape == (4, 1, 64, 64)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 5, 3, stride=2, padding=1),
        nn.Conv2d(3, 5, (3, 1), padding=(1, 0), dilation=2, bias=False),
        nn.Conv2d(3, 5, 1),
        Conv2dSame(3, 5, 3, stride=2),
    ],
    ids=repr,
)
def test_what_is_looked_at_is_what_the_layer_computes_with(layer: nn.Conv2d):
    image = torch.rand(2, 3, 14, 18, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = layer(image)
        seen = _patches(layer, image, out).flatten(1) @ layer.weight.flatten(1).T
        expected = out if layer.bias is None else out - layer.bias[:, None, None]
        flat = expected.flatten(2)[:, :, _positions(out.shape[-2] * out.shape[-1])]
    torch.testing.assert_close(seen, flat.permute(0, 2, 1).flatten(0, 1), rtol=1e-4, atol=1e-5)


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


def test_a_fraction_that_no_width_reaches_leaves_no_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["compress", "prune", str(folder), "--keep", "0.001", "--data", "rooms,count=2", "--out"]
    assert main([*words, str(tmp_path / "out"), *SHORT]) == 1
    assert "still needs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


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
    "frozen": lambda folder, run, out: ([str(folder), "--frozen", "encodr"], "Nothing to freeze"),
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


# ── weights of few bits ──


@pytest.fixture(params=[4, 8])
def bits(request: pytest.FixtureRequest) -> int:
    return request.param


def layers(model: DepthModel) -> dict[str, nn.Module]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def test_each_channel_takes_as_many_levels_as_its_bits_allow(bits: int, tmp_path: Path):
    model = quantise(network(), bits=bits)
    save(model, tmp_path / "model")
    for each in (model, load(tmp_path / "model")):
        for layer in layers(each).values():
            weight = layer.get_parameter("weight") if each is not model else layer.weight
            assert isinstance(weight, Tensor)
            assert max(len(channel.unique()) for channel in weight.detach()) <= 2**bits
            step = weight.detach().flatten(1).abs().amax(1) / (2 ** (bits - 1) - 1)
            levels = weight.detach().flatten(1) / step[:, None].clamp_min(1e-30)
            assert (levels - levels.round()).abs().max() < 1e-3


def test_the_nearest_level_is_taken_and_the_largest_weight_is_kept(bits: int):
    weight = torch.randn(5, 7, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    scales = channel_scales(weight, bits)
    rounded = from_levels(to_levels(weight, scales, bits), scales)
    assert ((rounded - weight).abs() <= scales.view(-1, 1, 1, 1) * 0.51).all()
    largest = weight.flatten(1).abs().argmax(1)
    for channel in (0, 1, 2, 4):
        kept = rounded[channel].flatten()[largest[channel]]
        assert float(kept) == pytest.approx(float(weight[channel].flatten()[largest[channel]]), rel=1e-3)
    assert rounded[3].count_nonzero() == 0


@pytest.mark.parametrize("shape", [(3, 5), (1, 1, 3, 3), (4, 2, 1, 1)])
def test_packed_levels_are_unpacked_as_they_were(bits: int, shape: tuple[int, ...]):
    highest = 2 ** (bits - 1) - 1
    levels = torch.randint(-highest, highest + 1, shape, generator=torch.Generator().manual_seed(0)).to(torch.int8)
    packed = pack(levels, bits)
    assert packed.nbytes == (levels.numel() if bits == 8 else (levels.numel() + 1) // 2)
    assert torch.equal(unpack(packed, levels.shape, bits), levels)


def test_the_gradient_passes_straight_through():
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    factors = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    rounded = FakeQuantiser(4)(weight)
    assert not torch.equal(rounded, weight)
    (rounded * factors).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, factors)


def test_a_quantised_folder_reloads_bit_equal_and_is_saved_so_again(bits: int, images: Tensor, tmp_path: Path):
    model = quantise(network(), bits=bits)
    save(model, tmp_path / "first")
    loaded = load(tmp_path / "first")
    assert loaded.weight_bits == bits
    with torch.no_grad():
        assert torch.equal(loaded(images), model.eval()(images))
        assert not torch.equal(loaded(images), network()(images))
    save(loaded, tmp_path / "second")
    assert fingerprint(load(tmp_path / "second")) == fingerprint(loaded)
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("first", "second"))
    assert first == second


def test_files_of_fewer_bits_are_smaller(tmp_path: Path):
    sizes = {}
    for bits in (None, 8, 4):
        model = network()
        save(quantise(model, bits=bits) if bits else model, tmp_path / str(bits))
        sizes[bits] = (tmp_path / str(bits) / "weights.safetensors").stat().st_size
    weights = sum(layer.get_parameter("weight").numel() for layer in layers(network()).values())
    assert sizes[None] - sizes[8] > 2.5 * weights
    assert sizes[8] - sizes[4] > 0.45 * weights


def test_other_bits_and_a_second_quantisation_are_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="weights have 4 or 8 bits"):
        quantise(network(), bits=3)
    with pytest.raises(BadInput, match="weights of 8 bits already"):
        quantise(quantise(network()), bits=4)
    with pytest.raises(BadInput, match="quantise the pruned one"):
        check_prunable(quantise(network()))


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    file = folder / "weights.safetensors"
    held = load_file(file)
    change(held)
    save_file(held, file)
    told = json.loads((folder / "model.json").read_text())
    del told["weights_sha256"]
    (folder / "model.json").write_text(json.dumps(told))


NAME = "decoder.bring.0.weight"
DAMAGE: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "no scales": lambda held: held.pop(f"{NAME}.scale"),
    "floats": lambda held: held.update({NAME: held[NAME].float()}),
    "wider": lambda held: held.update({NAME: held[NAME].to(torch.int64)}),
    "shorter": lambda held: held.update({NAME: held[NAME].flatten()[:-1].clone()}),
    "scales of another number": lambda held: held.update({f"{NAME}.scale": torch.ones(3)}),
    "scales of zero": lambda held: held[f"{NAME}.scale"].zero_(),
    "negative scales": lambda held: held[f"{NAME}.scale"].neg_(),
    "scales that are no numbers": lambda held: held[f"{NAME}.scale"].fill_(float("nan")),
    "infinite scales": lambda held: held[f"{NAME}.scale"].fill_(float("inf")),
    "whole scales": lambda held: held.update({f"{NAME}.scale": held[f"{NAME}.scale"].to(torch.int8)}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_quantised_weights_are_refused_and_named(damage: str, bits: int, tmp_path: Path):
    save(quantise(network(), bits=bits), tmp_path / "model")
    change_weights(tmp_path / "model", DAMAGE[damage])
    with pytest.raises(BadInput, match=r"weights\.safetensors") as caught:
        load(tmp_path / "model")
    assert NAME in str(caught.value)


def test_an_older_version_says_that_it_has_to_be_upgraded(pruned: DepthModel, tmp_path: Path):
    """Format 2 is of models that the first versions cannot read; all others stay readable for them."""
    made = {"plain": network(), "pruned": pruned, "quantised": quantise(network())}
    formats = {}
    for name, each in made.items():
        save(each, tmp_path / name)
        formats[name] = json.loads((tmp_path / name / "model.json").read_text())["format"]
    assert formats == {"plain": 1, "pruned": 2, "quantised": 2}


@pytest.fixture(scope="module")
def quantised_run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "quantised"
    words = ["compress", "quantise", str(folder), "--bits", "4", "--data", ROOMS, "--learning-rate", "0.01"]
    assert main([*words, "--out", str(out), *SHORT]) == 0
    return out


def test_a_quantised_network_learns_and_stays_at_its_bits(folder: Path, quantised_run: Path, images: Tensor):
    start, made, original = (load(each) for each in (quantised_run / "start", quantised_run / "model", folder))
    assert made.weight_bits == start.weight_bits == 4
    assert fingerprint(made) != fingerprint(start)
    for layer in layers(made).values():
        assert max(len(channel.unique()) for channel in layer.get_parameter("weight").detach()) <= 16
    sizes = [(each / "weights.safetensors").stat().st_size for each in (quantised_run / "model", folder)]
    assert sizes[0] < 0.4 * sizes[1]
    # What validated is what was saved: the floats behind the weights are not needed.
    with torch.no_grad():
        assert torch.equal(load(quantised_run / "finetuning/best")(images), made(images))
    rounded = quantise(deepcopy(original), bits=4).eval()
    with torch.no_grad():
        assert torch.equal(rounded(images), start(images))


def test_training_on_from_a_quantised_folder_keeps_its_bits(quantised_run: Path, tmp_path: Path):
    model = str(quantised_run / "model")
    assert main(["train", "--model", model, "--data", ROOMS, *SHORT, "--out", str(tmp_path / "more")]) == 0
    assert load(tmp_path / "more/model").weight_bits == 4
    words = ["train", "--model", model, "--data", ROOMS, *SHORT, "--lora", "2", "--out", str(tmp_path / "lora")]
    assert main(words) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{folder}", "--bits", "2"], "bits=2: choose one of 4, 8"),
        (["{folder}", "--bits", "16"], "bits=16: choose one of 4, 8"),
        (["{quantised}"], "weights of 4 bits already"),
        (["model.onnx"], "exported and cannot be compressed"),
        (["{folder}", "--teacher-losses", "ssi=0"], "ssi=0"),
    ],
)
def test_bad_input_of_quantise_is_refused_in_one_line(
    words: list[str], said: str, folder: Path, quantised_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    capsys.readouterr()
    words = [word.format(folder=folder, quantised=quantised_run / "model") for word in words]
    assert main(["compress", "quantise", *words, "--data", ROOMS, "--out", str(tmp_path / "out"), *SHORT]) == 1
    printed = capsys.readouterr().err.strip()
    assert said in printed
    assert len(printed.splitlines()) == 1
    assert not (tmp_path / "out" / "start").exists()


@pytest.mark.long
def test_a_study_records_what_each_network_costs_and_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["study", "compression", "--out", str(tmp_path), "--only", "bits-4-taught", "--seeds", "1"]
    words += ["--data", "rooms,count=4,height=32,width=32", "--images", "2", "--original-steps", "2", *SHORT]
    words += ["--model", "cnn,size=tiny,encoder=test_efficientnet,width=8,input_size=32:32"]
    assert main(words) == 0
    kept = json.loads((tmp_path / "compression.json").read_text())
    assert kept["arms"].keys() == {"bits-4-taught", "bits-4", "control"}
    (table,) = kept["tables"]
    costs = {line[0]: line for line in table["body"]}
    assert costs.keys() >= {"the original", "pruned, not finetuned", "4 bits, with the teacher"}
    assert float(costs["4 bits, no teacher"][2].split()[0]) < float(costs["the original"][2].split()[0])
    assert float(costs["pruned, not finetuned"][1].split()[0]) <= 0.5 * float(costs["the original"][1].split()[0])
    assert main(["study", "check", str(tmp_path / "compression.json")]) == 0
    assert main([*words, "--keep", "0.4"]) == 1
    assert "keep: 0.5 → 0.4" in capsys.readouterr().err
