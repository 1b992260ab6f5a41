"""Fitting: a run folder survives kills, refuses other configurations, and says what happened in it."""

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from seer import Changed, Listed

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.data.datasets import open_data
from leadline.data.datasets.rooms import rooms
from leadline.data.mixing import AlternatingDatasets
from leadline.data.transforms import Augmentation
from leadline.evaluation.protocols import protocol
from leadline.io.images import write_image
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.registry import build
from leadline.training.objectives import Distilled, Supervised
from leadline.training.trainer import HardwareConfig, TrainConfig, fit, view

CONFIG = TrainConfig(steps=6, batch_size=2, validate_every=3, learning_rate=1e-3, size=(64, 64))
HARDWARE = HardwareConfig(accelerator="cpu", workers=0, save_every=0.0, log_every=2)
TRAIN = rooms("train", count=8, height=64, width=64)
VALIDATION = rooms("val", count=2, height=64, width=64)


def model(seed: int = 0, *, blocks: int = 1, **arguments) -> DepthModel:
    torch.manual_seed(seed)
    encoder = "test_efficientnet"  # the smallest of timm's pyramids
    return build("hybrid", size="tiny", encoder=encoder, dim=48, blocks=blocks, input_size=(64, 64), **arguments)


def run(out: Path, config: TrainConfig = CONFIG, **changes) -> DepthModel:
    given = {"model": model(), "train": TRAIN, "validation": VALIDATION, "objective": Supervised(), **changes}
    return fit(**given, config=config, out=out, protocol=protocol("rooms"), hardware=HARDWARE)


def lines(out: Path, part: str) -> list[dict]:
    every = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in every if line["part"] == part]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(out)
    return out


def test_a_run_leaves_its_models_its_logs_and_its_summary(whole):
    assert {path.name for path in whole.iterdir()} == {
        "run.json", "best", "last", "log.jsonl", "tensorboard", "done.json"
    }  # fmt: skip
    assert [line["step"] for line in lines(whole, "train")] == [2, 3, 4, 6]
    assert [line["step"] for line in lines(whole, "validation")] == [3, 6]
    assert lines(whole, "train")[0].keys() == {"step", "part", "silog", "learning_rate"}
    summary = json.loads((whole / "done.json").read_text())
    assert summary["best"]["rmse"] == min(line["rmse"] for line in lines(whole, "validation"))
    assert load(whole / "best").provenance.training_data == TRAIN.name


def test_a_profile_names_the_parts_of_a_training_and_changes_nothing(whole, tmp_path, capsys):
    hardware = replace(HARDWARE, profile=True)
    given = {"model": model(), "train": TRAIN, "validation": VALIDATION, "objective": Supervised()}
    fit(**given, config=CONFIG, out=tmp_path / "run", protocol=protocol("rooms"), hardware=hardware)
    said = capsys.readouterr().err
    for stage in ("waiting for data", "forward", "backward", "optimiser", "validation"):
        assert f"| {stage} " in said
    assert "Longest: " in said
    assert lines(tmp_path / "run", "train") == lines(whole, "train")


@pytest.mark.long
def test_a_compiled_training_computes_what_an_eager_one_does(tmp_path):
    # In processes of their own: the compiler cannot look through the checks of shapes that the tests add.
    words = (
        "train --data rooms,count=4,height=64,width=64 --model cnn,size=tiny,input_size=64:64 --steps 4 --batch-size 2"
    )
    command = [sys.executable, "-m", "leadline", *words.split(), "--log-every", "1", "--workers", "0", "--out"]
    for name, more in (("eager", []), ("compiled", ["--compile"])):
        subprocess.run([*command, str(tmp_path / name), *more], check=True)
    eager, compiled = ([line["silog"] for line in lines(tmp_path / name, "train")] for name in ("eager", "compiled"))
    assert compiled == pytest.approx(eager, rel=1e-2)


def test_the_old_keywords_of_fit_are_taken_with_a_warning(whole):
    given = {"model": model(), "train": TRAIN, "validation": VALIDATION, "objective": Supervised(), "out": whole}
    with pytest.warns(DeprecationWarning, match="(plan|machine)= is called (config|hardware)= now") as said:
        again = fit(**given, plan=CONFIG, machine=HARDWARE, protocol=protocol("rooms"))  # pyright: ignore[reportCallIssue]
    assert len(said) == 2
    assert torch.equal(next(again.parameters()), next(load(whole / "best").parameters()))


def test_training_lowers_the_loss(tmp_path):
    config = replace(CONFIG, steps=20, batch_size=4, validate_every=20, augmentation=Augmentation(flip=0, brightness=0))
    run(tmp_path / "run", config)
    losses = [line["silog"] for line in lines(tmp_path / "run", "train")]
    assert losses[-1] < 0.8 * losses[0]


def test_a_crop_by_an_unknown_camera_is_a_zoom_into_a_view_by_the_canonical_one():
    rule, sample = model().preprocessing, TRAIN[0].replace(intrinsics=None)
    assert rule.focal is not None
    whole, crop = (
        view(sample, np.random.default_rng(0), augmentation=Augmentation(crop=share), preprocessing=rule, size=(32, 32))
        for share in (1.0, 0.5)
    )
    # 64 × 64 is what the network sees natively, so that the whole at half the pixels has half the focal length.
    assert whole.intrinsics is not None
    assert whole.intrinsics[:2].tolist() == pytest.approx([rule.focal / 2] * 2)
    assert crop.intrinsics is not None
    assert crop.intrinsics[0] > 1.05 * whole.intrinsics[0]
    anyones = model(camera="any").preprocessing
    assert view(sample, np.random.default_rng(0), augmentation=Augmentation(), preprocessing=anyones).intrinsics is None


def test_a_finished_run_returns_its_best_weights_at_once(whole):
    before = (whole / "log.jsonl").read_bytes()
    again = run(whole)
    assert (whole / "log.jsonl").read_bytes() == before
    best = load(whole / "best").state_dict()
    assert all(torch.equal(tensor, best[key]) for key, tensor in again.state_dict().items())


def test_a_size_that_the_network_cannot_take_is_refused_before_a_folder_is_written(tmp_path):
    with pytest.raises(BadInput, match="size=64:70: hybrid takes sides that divide by 32"):
        run(tmp_path / "run", replace(CONFIG, size=(64, 70)), model=model())
    assert not (tmp_path / "run").exists()


def test_photographs_without_depth_are_no_training_data(tmp_path):
    """Their steps would teach nothing, and count as a loss of 0."""
    write_image(tmp_path / "photos" / "a.png", torch.rand(3, 64, 64))
    photos, measured = open_data(f"photos:{tmp_path / 'photos'}", "train"), rooms("train", count=4, height=64, width=64)
    for data in (photos, AlternatingDatasets([(measured, 1.0), (photos, 1.0)])):
        with pytest.raises(BadInput, match="photos of photos has no measured depth to learn from"):
            run(tmp_path / "run", train=data)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_changed_configuration_is_refused_with_the_difference(whole):
    with pytest.raises(BadInput, match=r"config\.batch_size: 2 → 4\n.*delete this one"):
        run(whole, replace(CONFIG, batch_size=4))
    with pytest.raises(BadInput, match=r"objective\.weights\.l1: absent → 1\.0"):
        run(whole, objective=Supervised({"silog": 1.0, "l1": 1.0}))
    with pytest.raises(BadInput, match=r"train\.samples: 8 → 4"):
        run(whole, train=rooms("train", count=4, height=64, width=64))
    with pytest.raises(BadInput, match=r"train\.first sample: .*rooms"):
        run(whole, train=rooms("train", count=8, height=64, width=64, seed=5))
    data = rooms("train", count=8, height=64, width=64)
    with pytest.raises(BadInput, match=r"\n  train\.samples spread over it: 8 crc32"):
        run(whole, train=Changed(data, lambda i, sample: sample.replace(image=1 - sample.image) if i == 7 else sample))
    with pytest.raises(BadInput, match=r"model\.arguments\.blocks: 1 → 2"):
        run(
            whole,
            model=build("hybrid", size="tiny", encoder="test_efficientnet", dim=48, blocks=2, input_size=(64, 64)),
        )


def test_a_run_killed_at_any_moment_continues_to_the_same_bits(whole, tmp_path):
    took = json.loads((whole / "done.json").read_text())["seconds"]
    moments, kills = random.Random(0), 0
    # A machine that has become faster since may finish before any kill: then again, with earlier ones.
    while not kills:
        out = tmp_path / f"run-{took:g}"
        while not (out / "done.json").exists():
            process = get_context("fork").Process(target=run, args=(out,))
            process.start()
            process.join(moments.uniform(0.2, 1.2) * took if kills < 5 else None)
            if process.is_alive():
                process.kill()
                kills += 1
            process.join()
        assert_same_run(out, whole)
        took /= 2


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["end_to_end", "multi_stage"])
def test_a_command_killed_ten_times_ends_as_one_that_was_not(tmp_path, recipe):
    def command(out: Path) -> list[str]:
        return [
            sys.executable, "-c", "import sys; from leadline.cli.main import main; sys.exit(main())",
            "train", "--out", str(out), "--recipe", recipe, "--data", "rooms,count=96", "--steps", "60",
            "--batch-size", "8", "--validate-every", "20", "--save-every", "0", "--log-every", "1",
            "--learning-rate", "1e-3",
        ]  # fmt: skip

    def after(process: subprocess.Popen, out: Path, lines: int) -> None:
        """Wait until a command that runs has written so many lines of its logs."""
        for _ in range(lines):
            before = logs(out)
            while process.poll() is None and logs(out) == before:
                time.sleep(0.005)

    def logs(out: Path) -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in out.rglob("log.jsonl")}

    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    moments = random.Random(1)
    for _ in range(10):
        process = subprocess.Popen(command(tmp_path / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Ten times at most five of its sixty steps do not end the training.
        after(process, tmp_path / "killed", 1 + moments.randrange(5))
        time.sleep(moments.uniform(0, 0.1))
        assert process.poll() is None
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert any((tmp_path / "killed").rglob("last.ckpt"))
    assert not (tmp_path / "killed" / "model").exists()
    subprocess.run(command(tmp_path / "killed"), check=True, capture_output=True)
    weights = [tmp_path / each / "model" / "weights.safetensors" for each in ("whole", "killed")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_frozen_parts_keep_their_weights_and_their_statistics(tmp_path):
    start = model()
    trained = run(tmp_path / "run", model=model(), frozen=("encoder",)).state_dict()
    for key, tensor in start.state_dict().items():
        assert torch.equal(tensor, trained[key]) == key.startswith("encoder."), key


def test_a_pretrained_encoder_learns_more_slowly(tmp_path):
    start = model()
    scratch = run(tmp_path / "scratch", model=model()).encoder.state_dict()
    pretrained = model()
    pretrained.provenance = replace(pretrained.provenance, encoder="photographs")
    slow = run(tmp_path / "slow", model=pretrained).encoder.state_dict()
    key = next(key for key, tensor in scratch.items() if tensor.ndim == 4)
    origin = start.encoder.state_dict()[key]
    assert (slow[key] - origin).norm() < 0.5 * (scratch[key] - origin).norm()


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(BadInput, match=r"no longer a number at step 2.*lower learning rate"):
        run(tmp_path / "run", model=spoiled(model()))
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["step"] == 0


def spoiled(model: DepthModel) -> DepthModel:
    """A model whose first weight is no number."""
    next(model.parameters()).data.fill_(torch.nan)
    return model


def test_a_relative_model_learns_from_metric_depth_by_a_loss_that_ignores_scale_and_shift(tmp_path):
    trained = fit(
        model(kind="relative"),
        TRAIN,
        VALIDATION,
        Supervised({"ssi": 1.0, "ssi_gradient": 0.5}),
        CONFIG,
        tmp_path / "run",
        protocol=protocol("relative"),
        hardware=HARDWARE,
    )
    assert trained.kind is DepthKind.RELATIVE


@pytest.mark.parametrize("objective", [Supervised(), Supervised({"ssi": 1.0, "l1": 0.1}), Distilled()])
def test_a_relative_model_is_refused_losses_of_the_scale_that_it_leaves_open(tmp_path, objective):
    given = {"model": model(kind="relative"), "train": TRAIN, "validation": VALIDATION, "objective": objective}
    with pytest.raises(BadInput, match=r"up to a scale and a shift, which '(silog|l1)' compares: use ssi and ssi_grad"):
        fit(**given, config=CONFIG, out=tmp_path / "run", protocol=protocol("relative"), hardware=HARDWARE)
    assert not (tmp_path / "run").exists()


def test_a_network_that_claims_metres_learns_from_some(tmp_path):
    free = Listed([TRAIN[0], TRAIN[1]], "far train", DepthKind.SCALE_FREE)
    with pytest.raises(BadInput, match=r"Nothing in far train is in metres, which hybrid would claim to predict"):
        run(tmp_path / "run", train=free)


def test_a_relative_model_is_refused_before_it_learns_what_no_metres_can_be_compared_with(tmp_path):
    with pytest.raises(BadInput, match=r"outputs relative depth, .* --protocol relative; .* kind=metric"):
        run(tmp_path / "run", model=model(kind="relative"))
    assert not (tmp_path / "run").exists()


def test_an_unknown_loss_is_refused_with_the_known_ones():
    with pytest.raises(BadInput, match=r"No loss is called .l2.\. Known losses: attention, berhu, gradient, l1"):
        Supervised({"l2": 1.0})


def assert_same_run(one: Path, other: Path) -> None:
    for part in ("best", "last"):
        weights = [folder / part / "weights.safetensors" for folder in (one, other)]
        assert weights[0].read_bytes() == weights[1].read_bytes(), part
    assert (one / "log.jsonl").read_text() == (other / "log.jsonl").read_text()
