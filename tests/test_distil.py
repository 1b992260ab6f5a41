"""Distillation: kinds never mix by accident, a useless teacher is turned away, the control is treated alike."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from seer import Listed, Seer, views
from torch import Tensor

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.sample import Sample, TeacherPrediction, collate
from leadline.data.datasets import Dataset
from leadline.data.datasets.rooms import rooms
from leadline.data.loader import IDENTIFYING_SAMPLES
from leadline.data.mixing import Mixture
from leadline.evaluation.protocols import protocol
from leadline.evaluation.statistics import Difference, describe_difference
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.registry import build
from leadline.models.saving import save
from leadline.recipes.distil import DistilOptions, Variant, choose_variant, gate
from leadline.recipes.relative_teachers import DptRangeTeacher, UnitRangeTeacher
from leadline.training.cross_context import AnchoredLabels, CornerCrops
from leadline.training.objectives import Distilled, Supervised
from leadline.training.pseudo_labels import PseudoLabelledDataset, label
from leadline.training.trainer import HardwareConfig, TrainConfig, fit

SIDE = 32
STUDENT = f"cnn,size=tiny,encoder=test_efficientnet,width=8,input_size={SIDE}:{SIDE}"
TRAIN = rooms("train", count=4, height=SIDE, width=SIDE)
VALIDATION = rooms("val", count=2, height=SIDE, width=SIDE)
SHORT = [
    "--student", STUDENT, "--data", f"rooms,count=4,height={SIDE},width={SIDE}", "--protocol", "rooms",
    "--batch-size", "2", "--validate-every", "2", "--accelerator", "cpu", "--workers", "0",
]  # fmt: skip
UNLABELLED = f"rooms,seed=1,count=6,height={SIDE},width={SIDE}"


def network(seed: int = 0, **arguments) -> DepthModel:
    torch.manual_seed(seed)
    return build(
        "cnn", **{"size": "tiny", "encoder": "test_efficientnet", "width": 8, "input_size": (SIDE, SIDE), **arguments}
    )


def place(tmp_path_factory, **arguments) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "model"
    save(network(7, **arguments), folder)
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """A network of other widths that has learnt nothing."""
    return place(tmp_path_factory, width=16)


@pytest.fixture(scope="module")
def hopeless(tmp_path_factory) -> Path:
    """A network that sees no room nearer than 30 metres."""
    return place(tmp_path_factory, min_depth=30.0, max_depth=100.0)


@pytest.fixture(scope="module")
def relative(tmp_path_factory) -> Path:
    return place(tmp_path_factory, kind="relative")


def batch(kind: DepthKind = DepthKind.METRIC) -> Sample:
    """Two images and a teacher's answer: twice the measured metres, or their inverse."""
    both = collate([TRAIN[0], TRAIN[1]])
    depth = torch.where(both.valid, 2 * both.depth, 1.0)
    answer = 3 / depth - 0.1 if kind is DepthKind.RELATIVE else depth
    return both.replace(teacher_prediction=TeacherPrediction(answer, torch.ones_like(depth), kind))


class TestTheLoss:
    def test_names_each_term_and_weighs_it(self):
        once, twice = (
            Distilled({"silog": 1.0}, {"silog": weight, "l1": weight})(network().eval(), batch(), torch.nn.Module())
            for weight in (1.0, 2.0)
        )
        assert list(once) == ["silog", "teacher silog", "teacher l1"]
        assert twice["teacher l1"].item() == pytest.approx(2 * once["teacher l1"].item())
        assert twice["silog"].item() == once["silog"].item()

    @pytest.mark.parametrize("term", ["silog", "l1", "bins", "holistic"])
    def test_refuses_relative_labels_where_metres_are_compared_and_says_the_cure(self, term):
        objective, model = Distilled(teacher_losses={term: 1.0}), network()
        cure = r"relative and '\w+' compares metric depth: align the labels to the measured depth, or choose .* ssi and"
        with pytest.raises(BadInput, match=cure):
            objective(model, batch(DepthKind.RELATIVE), objective.parts(model))

    def test_takes_relative_numbers_for_metres_only_by_declared_mistake(self):
        model = network().eval()
        mistaken = Distilled(teacher_losses={"silog": 1.0}, mixes_kinds=True)(
            model, batch(DepthKind.RELATIVE), torch.nn.Module()
        )
        right = Distilled(teacher_losses={"silog": 1.0})(model, batch(), torch.nn.Module())
        assert mistaken["teacher silog"].item() != pytest.approx(right["teacher silog"].item(), rel=0.01)

    @pytest.mark.parametrize("term", ["ssi", "ssi_gradient"])
    def test_that_ignores_scale_and_shift_is_the_same_for_every_kind_of_teacher(self, term):
        losses = [
            Distilled(teacher_losses={term: 1.0})(network().eval(), batch(kind), torch.nn.Module())[
                f"teacher {term}"
            ].item()
            for kind in (DepthKind.METRIC, DepthKind.RELATIVE)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        assert losses[0] > 0

    def test_refuses_a_relative_student_where_metres_are_compared(self):
        objective = Distilled({"ssi": 1.0}, {"l1": 1.0})
        with pytest.raises(BadInput, match=r"student is relative and 'l1' compares metric depth: .*kind=metric"):
            objective(network(kind="relative"), batch(), torch.nn.Module())
        taken = Distilled({"ssi": 1.0}, {"ssi": 1.0})(network(kind="relative"), batch(), torch.nn.Module())
        assert taken["teacher ssi"].isfinite()

    def test_refuses_what_it_does_not_know_or_have(self):
        with pytest.raises(
            BadInput, match=r"No distillation loss is called 'mimic'\. Known distillation losses: bins, "
        ):
            Distilled(teacher_losses={"mimic": 1.0})
        with pytest.raises(BadInput, match=r"features compare features, which needs a running teacher"):
            Distilled(teacher_losses={"features": 1.0})
        with pytest.raises(BadInput, match="needs labels: `leadline label` makes them"):
            Distilled()(network(), batch().replace(teacher_prediction=None), torch.nn.Module())

    def test_weighs_pixels_by_confidence_unless_told_not_to_and_never_reads_unbelieved_ones(self):
        def told(confidence: Tensor, **settings) -> float:
            sample = batch()
            assert sample.teacher_prediction
            wild = torch.where(left, 90.0, sample.teacher_prediction.depth)
            sample = sample.replace(
                teacher_prediction=replace(sample.teacher_prediction, depth=wild, confidence=confidence)
            )
            loss = Distilled(teacher_losses={"l1": 1.0}, **settings)(network().eval(), sample, torch.nn.Module())
            return loss["teacher l1"].item()

        left = torch.arange(SIDE).expand(2, 1, SIDE, SIDE) < SIDE // 2
        sure, doubtful, none = (torch.where(left, share, 1.0) for share in (1.0, 0.1, 0.0))
        assert told(none) < told(doubtful) < told(sure)
        assert told(doubtful, weighs_confidence=False) == told(sure)
        assert told(none, weighs_confidence=False) == told(none)

    def test_gets_nothing_measured_from_images_that_were_not(self):
        whole = batch()
        silent = whole.replace(depth=torch.zeros_like(whole.depth), valid=torch.zeros_like(whole.valid))
        terms = Distilled(teacher_losses={"silog": 1.0})(network().eval(), silent, torch.nn.Module())
        assert terms["silog"].item() == 0
        assert terms["teacher silog"].item() > 0
        # Beside a measured image they change nothing that is measured.
        mixed = collate([TRAIN[0], TRAIN[1].replace(depth=torch.zeros(1, SIDE, SIDE), valid=silent.valid[0])])
        alone = collate([TRAIN[0]])
        losses = [Supervised()(network().eval(), each, torch.nn.Module())["silog"].item() for each in (mixed, alone)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def weights(parts: torch.nn.Module) -> dict[str, Tensor]:
    """The parts' kernels: of a difference of scores, as holistic is one, biases learn nothing."""
    return {name: each.detach().clone() for name, each in parts.named_parameters() if each.ndim > 1}


@pytest.mark.parametrize("term", ["features", "holistic"])
def test_what_learns_beside_the_student_learns(term, teacher):
    model = network()
    objective = Distilled(teacher_losses={term: 1.0}, teacher=str(teacher) if term == "features" else "")
    parts = objective.parts(model)
    before = weights(parts)
    assert before
    optimizer = torch.optim.AdamW([*model.parameters(), *parts.parameters()], lr=1e-3, weight_decay=0)
    sum(objective(model.train(), batch(), parts).values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
    optimizer.step()
    after = weights(parts)
    assert all(not torch.equal(was, after[name]) for name, was in before.items())


@dataclass
class Interrupted:
    """A dataset that is interrupted after so many samples."""

    dataset: Dataset
    left: int

    def __post_init__(self) -> None:
        self.name, self.kind = self.dataset.name, self.dataset.kind

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return self.dataset[index]


def test_an_interrupted_training_with_parts_that_learn_ends_with_the_same_bits(teacher, tmp_path):
    def run(train: Dataset, out: str) -> dict[str, Tensor]:
        return fit(
            network(),
            train,
            VALIDATION,
            Distilled(teacher_losses={"silog": 1.0, "holistic": 0.1, "features": 0.5}, teacher=str(teacher)),
            TrainConfig(steps=4, batch_size=2, validate_every=4, learning_rate=1e-3),
            tmp_path / out,
            protocol=protocol("rooms"),
            hardware=HardwareConfig(accelerator="cpu", workers=0, save_every=0.0, log_every=1),
        ).state_dict()

    labelled = PseudoLabelledDataset(TRAIN, label(network(3), TRAIN, tmp_path / "labels"))
    whole = run(labelled, "whole")
    # Some samples tell the data apart, and four more are two steps.
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(labelled, 1 + min(len(labelled), IDENTIFYING_SAMPLES) + 4), "stopped")
    stored = torch.load(tmp_path / "stopped" / "last.ckpt", weights_only=True)
    assert stored["step"] == 2
    assert {name.split(".")[0] for name in stored["parts"]} == {"discriminator", "projections"}
    continued = run(labelled, "stopped")
    assert all(torch.equal(tensor, continued[name]) for name, tensor in whole.items())
    logs = [(tmp_path / out / "log.jsonl").read_text() for out in ("whole", "stopped")]
    assert logs[0] == logs[1]
    assert "teacher holistic" in logs[0]


def test_a_training_with_other_labels_is_another_training(tmp_path):
    def run(model: DepthModel, labels: str) -> None:
        labelled = PseudoLabelledDataset(TRAIN, label(model, TRAIN, tmp_path / labels))
        config = TrainConfig(steps=1, batch_size=2, validate_every=1)
        hardware = HardwareConfig(accelerator="cpu", workers=0)
        fit(
            network(), labelled, VALIDATION, Distilled(), config, tmp_path / "run",
            protocol=protocol("rooms"), hardware=hardware,
        )  # fmt: skip

    run(network(3), "of the first")
    with pytest.raises(BadInput, match=r"train\.first sample: "):
        run(network(4), "of the second")


class TestTheGate:
    def test_lets_a_better_teacher_pass_and_says_by_how_much(self):
        said = gate(Seer(), Seer(bent=lambda depth: 1.5 * depth), views(3), protocol("indoor"))
        assert said.startswith("The teacher passed the gate: RMSE (m) ↓ 0.000")
        assert "against the student's without a teacher, 2." in said
        assert "on listed train" in said

    def test_refuses_a_worse_one_with_both_figures_and_the_cure(self):
        figures = r"'seer' has nothing to teach: RMSE \(m\) ↓ 2\.\d+ .* without a teacher, 0\.000 .*--no-gate"
        with pytest.raises(BadInput, match=figures):
            gate(Seer(bent=lambda depth: 1.5 * depth), Seer(), views(3), protocol("indoor"))

    def test_refuses_an_equal_one_and_one_whose_answers_are_no_numbers(self):
        for factor in (1.0, math.nan):
            with pytest.raises(BadInput, match="nothing to teach"):
                gate(Seer(bent=lambda depth, factor=factor: factor * depth), Seer(), views(3), protocol("indoor"))

    def test_aligns_a_relative_teacher_as_its_labels_will_be(self):
        said = gate(Seer(DepthKind.RELATIVE), Seer(bent=lambda depth: 1.1 * depth), views(3), protocol("indoor"))
        assert "inverse_scale_shift" in said


@dataclass
class Counted:
    """Samples that tell their part and their number."""

    name: str
    count: int
    kind: DepthKind = DepthKind.METRIC

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        depth = torch.full((1, 1, 1), float(index))
        return Sample(depth.expand(3, -1, -1), depth, depth >= 0, self.kind, name=self.name)


class TestAMixture:
    def seen(self, mixture: Mixture) -> list[tuple[str, int]]:
        samples = [mixture[index] for index in range(len(mixture))]
        return [(str(sample.name), int(sample.depth)) for sample in samples]

    @pytest.mark.parametrize("counts", [(3, 20), (20, 3), (7, 7), (1, 1)])
    @pytest.mark.parametrize("shares", [(1, 1), (1, 3), (0.2, 0.1)])
    def test_shows_every_sample_and_each_part_as_its_share_says(self, counts, shares):
        mixture = Mixture([(Counted("a", counts[0]), shares[0]), (Counted("b", counts[1]), shares[1])])
        seen = self.seen(mixture)
        for name, count, share in zip("ab", counts, shares, strict=True):
            numbers = [number for part, number in seen if part == name]
            assert set(numbers) == set(range(count))
            assert len(numbers) == pytest.approx(len(seen) * share / sum(shares), abs=1)
            # A part comes round again only when it has been seen whole.
            assert numbers == [index % count for index in range(len(numbers))]
        # The part that needs most room is seen once, up to rounding.
        assert len(seen) <= max(c * sum(shares) / s for c, s in zip(counts, shares, strict=True)) + 2

    def test_holds_the_shares_in_any_window_of_indices(self):
        shares = np.array([1, 3, 4])
        parts = [Counted("a", 5), Counted("b", 100), Counted("c", 31)]
        mixture = Mixture(list(zip(parts, shares.tolist(), strict=True)))
        owners = np.array(["abc".index(name) for name, _ in self.seen(mixture)])
        for width in (8, 16, 40):
            windows = np.lib.stride_tricks.sliding_window_view(owners, width)
            counted = np.stack([(windows == owner).sum(axis=1) for owner in range(3)], axis=1)
            assert np.abs(counted - width * shares / shares.sum()).max() <= 2

    def test_is_the_same_every_time_and_says_its_shares(self):
        parts = [(Counted("a", 3), 1.0), (Counted("b", 9), 3.0)]
        assert self.seen(Mixture(parts)) == self.seen(Mixture(parts))
        assert Mixture(parts).name == "25% a + 75% b"

    def test_refuses_kinds_that_differ_empty_parts_and_shares_that_are_none(self):
        kinds = [(Counted("a", 1), 1), (Counted("b", 1, DepthKind.RELATIVE), 1)]
        with pytest.raises(BadInput, match=r"samples of one kind .* 1 of a \(1 of kind metric\), 1 of b \(1 of kind r"):
            Mixture(kinds)
        with pytest.raises(BadInput, match=r"1 of b \(0 of kind metric\)"):
            Mixture([(Counted("a", 1), 1), (Counted("b", 0), 1)])
        with pytest.raises(BadInput, match=r"positive weights.* 0 of b"):
            Mixture([(Counted("a", 1), 1), (Counted("b", 1), 0)])
        with pytest.raises(BadInput):
            Mixture([])


@pytest.mark.parametrize(
    ("difference", "seeds", "sentence"),
    [
        (Difference("rmse", -0.25, 0.125), 3, "It beats its control by 0.250 ± 0.125 m in RMSE over 3 seeds."),
        (Difference("rmse", 0.25, 0.125), 3, "It is worse than its control by 0.250 ± 0.125 m in RMSE over 3 seeds."),
        (
            Difference("rmse", -0.25, 0.5),
            3,
            "It does not beat its control: it is ahead of it by 0.250 ± 0.500 m in RMSE over 3 seeds, which may be "
            "chance.",
        ),
        (
            Difference("d1", -0.25, 0.5),
            5,
            "It does not beat its control: it is behind it by 0.250 ± 0.500 in δ < 1.25 over 5 seeds, which may be "
            "chance.",
        ),
        (
            Difference("d1", 0.25, math.inf),
            1,
            "It is ahead of its control by 0.250 in δ < 1.25 with the one seed tried, which says nothing of chance.",
        ),
    ],
)
def test_a_sentence_says_no_more_than_the_interval_does(difference, seeds, sentence):
    assert describe_difference("It", "its control", difference, seeds=seeds) == sentence


def test_a_treatment_that_makes_no_sense_is_refused_when_it_is_named():
    with pytest.raises(BadInput, match="No distillation loss is called 'mimic'"):
        Variant("distilled", {"mimic": 1.0})
    with pytest.raises(BadInput, match="'filled' has no use for unlabelled images"):
        Variant("filled", holes="gated", unlabelled=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--unlabelled", "none", "--only", "unlabelled"], "unlabelled needs unlabelled images: name some with"),
        (
            ["--labelled", "0", "--only", "unlabelled"],
            "needs unlabelled images, and every training sample",
        ),
        (["--teacher", "{relative}"], "--teacher has to output metric depth, and 'cnn' outputs relative"),
        (
            ["--relative-teacher", "{teacher}"],
            "has to output relative depth, and 'cnn' outputs metric",
        ),
        (["--only", "control"], "--only names controls alone"),
        (["--only", "paper-pretrained", "--teacher", "{teacher}"], "needs the data that the given teacher learnt from"),
        (["--only", "control-1024"], "--only names controls alone"),
        (["--only", "paper-1024"], "1024 needs 1024 measured samples, and the data have 4"),
    ],
)
def test_a_study_that_cannot_be_is_refused_before_anything_is_trained(
    options, said, teacher, relative, tmp_path, capsys
):
    options = [each.format(teacher=teacher, relative=relative) for each in options]
    assert main(["study", "distillation", "--out", str(tmp_path), *SHORT, *options]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("run.json"))


def test_what_a_teacher_of_a_licence_that_is_not_free_taught_has_its_licence(tmp_path, tmp_path_factory):
    strict = network(7, width=16)
    strict.provenance = replace(strict.provenance, licence="CC-BY-NC-4.0")
    save(strict, tmp_path / "teacher")
    words = ["distil", "--teacher", str(tmp_path / "teacher"), "--out", str(tmp_path / "run"), *SHORT, "--steps", "1"]
    assert main([*words, "--seeds", "1", "--no-gate"]) == 0
    assert load(tmp_path / "run" / "model").provenance.licence == "CC-BY-NC-4.0"
    assert load(tmp_path / "run" / "control" / "seed-0" / "model").provenance.licence == "Apache-2.0"


def test_a_damaged_shard_of_labels_is_made_anew_before_training(teacher, tmp_path, capsys):
    words = ["distil", "--teacher", str(teacher), "--out", str(tmp_path), *SHORT, "--steps", "1", "--seeds", "1"]
    words += ["--no-gate"]
    assert main(words) == 0
    (shard,) = tmp_path.rglob("labels/*/*.npy")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    capsys.readouterr()
    assert main(words) == 0
    assert "Shard 00000.npy of the labels in" in capsys.readouterr().err
    assert shard.read_bytes() == whole


def test_labels_made_beforehand_are_read_and_checked(teacher, hopeless, tmp_path, capsys):
    store = tmp_path / "store"
    assert (
        main(["label", "--teacher", str(teacher), "--data", UNLABELLED, "--out", str(store), "--size", "16", "16"]) == 0
    )
    words = ["distil", "--unlabelled", UNLABELLED, "--labels", str(store), *SHORT, "--steps", "1", "--seeds", "1"]
    words += ["--no-gate"]
    assert main([*words, "--teacher", str(teacher), "--out", str(tmp_path / "run")]) == 0
    assert [each.name for each in (tmp_path / "run" / "labels").iterdir()] == ["measured-teacher-auto"]
    assert main([*words, "--teacher", str(hopeless), "--out", str(tmp_path / "other")]) == 1
    assert "teacher.sha256" in capsys.readouterr().err


def test_images_whose_truth_is_no_metres_may_be_unlabelled_ones(teacher, tmp_path):
    relative = Listed([each.replace(kind=DepthKind.RELATIVE) for each in views(2)], kind=DepthKind.RELATIVE)
    unlabelled = PseudoLabelledDataset(relative, label(load(teacher), relative, tmp_path), keeps_target=False)
    assert unlabelled[0].kind is unlabelled.kind is DepthKind.METRIC
    assert not unlabelled[0].valid.any()
    assert len(Mixture([(TRAIN, 1), (unlabelled, 1)])) == 8


def test_kinds_that_cannot_meet_are_refused_before_anything_is_trained(relative, tmp_path, capsys):
    words = ["distil", "--teacher", str(relative), "--out", str(tmp_path / "run"), *SHORT]
    assert main([*words, "--unlabelled", UNLABELLED, "--alignment", "truth"]) == 1
    assert "which --alignment truth makes metres of for measured images alone" in capsys.readouterr().err
    assert main([*words, "--unlabelled", UNLABELLED, "--teacher-losses", "silog=1"]) == 1
    assert "labels are relative and 'silog' compares metric depth" in capsys.readouterr().err
    assert main([*words, "--unlabelled", UNLABELLED, "--holes", "gated"]) == 1
    assert "has no use for unlabelled images" in capsys.readouterr().err
    assert main([*words, "--alignment", "mean"]) == 1
    assert "No alignment is called 'mean'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("run.json"))


def test_a_mixtures_shares_hold_for_the_student_and_for_its_control(hopeless, tmp_path):
    words = ["distil", "--teacher", str(hopeless), "--out", str(tmp_path), *SHORT, "--steps", "1", "--seeds", "1"]
    data = "rooms,count=2,height=64,width=64 + rooms,domain=b,count=2,height=64,width=64*3"
    assert main([*words, "--no-gate", "--data", data]) == 0
    for name in ("control", "distilled"):
        told = json.loads((tmp_path / name / "seed-0" / "run.json").read_text())
        assert told["train"]["name"].startswith("25% rooms-a train + 75% rooms-b train")


@pytest.mark.parametrize(
    ("settings", "alignment", "losses"),
    [
        ({}, "auto", {"silog", "l1"}),
        ({"unlabelled": UNLABELLED}, "none", {"ssi", "ssi_gradient"}),
        ({"alignment": "none"}, "none", {"ssi", "ssi_gradient"}),
        ({"holes": "gated"}, "auto", set()),
        ({"holes": "naive"}, "none", set()),
    ],
)
def test_what_a_student_learns_from_a_relative_teacher_follows_from_what_can_be_made_of_it(settings, alignment, losses):
    variant = choose_variant(DistilOptions(out=Path("unused"), teacher="unused", **settings), Seer(DepthKind.RELATIVE))
    assert variant.alignment == alignment
    assert set(variant.teacher_losses) == losses


def finished(out: Path) -> dict[str, int]:
    """Run folder → optimiser steps."""
    return {
        done.parent.relative_to(out).as_posix(): json.loads(done.read_text())["steps"]
        for done in sorted(out.rglob("done.json"))
    }


def touched(out: Path) -> dict[Path, int]:
    """When each log, checkpoint's summary and shard was last written."""
    files = [*out.rglob("log.jsonl"), *out.rglob("done.json"), *out.rglob("labels/*/*.npy")]
    return {file: file.stat().st_mtime_ns for file in files}


def test_the_command_compares_a_student_with_its_control_and_runs_again_for_nothing(hopeless, tmp_path, capsys):
    words = ["distil", "--teacher", str(hopeless), "--unlabelled", UNLABELLED, "--out", str(tmp_path), *SHORT]
    words += ["--steps", "2", "--seeds", "2"]
    assert main(words) == 1
    assert "has nothing to teach: RMSE (m) ↓" in capsys.readouterr().err
    assert finished(tmp_path) == {"control/seed-0": 2}
    assert not (tmp_path / "labels").exists()

    assert main([*words, "--no-gate"]) == 0
    printed = capsys.readouterr().out
    assert "its control" in printed
    assert "RMSE over 2 seeds" in printed
    both = ("control", "distilled")
    assert finished(tmp_path) == {f"{name}/seed-{seed}": 2 for name in both for seed in (0, 1)}
    validated = [json.loads((tmp_path / f"distilled/seed-{seed}/done.json").read_text())["best"] for seed in (0, 1)]
    best = min((0, 1), key=lambda seed: validated[seed]["rmse"])
    student, chosen = (load(tmp_path / each / "model") for each in ("", f"distilled/seed-{best}"))
    assert all(torch.equal(one, other) for one, other in zip(student.parameters(), chosen.parameters(), strict=True))
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.json", "weights.safetensors"}
    table, differences = json.loads((tmp_path / "report.json").read_text())["sections"][0]["tables"][:2]
    assert any("left out (--no-gate)" in note for note in table["notes"])
    rows = {row["name"]: row for row in table["rows"]}
    assert rows["distilled"]["runs"] == rows["no teacher (control)"]["runs"] == 2
    assert rows["the teacher"]["metrics"]["rmse"] > 2 * rows["distilled"]["metrics"]["rmse"]
    assert "paired by seed" in differences["title"]
    configured = [json.loads((tmp_path / name / "seed-1" / "run.json").read_text()) for name in both]
    assert configured[0]["config"] == configured[1]["config"]
    assert configured[0]["model"] == configured[1]["model"]

    before = touched(tmp_path)
    assert main([*words, "--no-gate"]) == 0
    assert touched(tmp_path) == before


def test_the_study_records_every_seed_and_what_follows_and_runs_again_for_nothing(teacher, tmp_path, capsys):
    words = ["study", "distillation", "--out", str(tmp_path), "--teacher", str(teacher), "--seeds", "2", "--no-gate"]
    words += ["--only", "paper", "filled-gated", "--steps", "2", "--record", str(tmp_path / "record"), *SHORT]
    words += ["--ablation-seeds", "1", "--unlabelled", "none"]
    assert main(words) == 0
    runs = {f"{name}/seed-{seed}": 2 for name in ("control", "paper") for seed in (0, 1)}
    assert finished(tmp_path) == {**runs, "filled-gated/seed-0": 2}
    for file in ("distillation.json", "distillation.md"):
        assert (tmp_path / file).read_bytes() == (tmp_path / "record" / file).read_bytes()
    file = tmp_path / "record" / "distillation.json"
    record = json.loads(file.read_text())
    assert record["arms"].keys() == {"control", "paper", "filled-gated"}
    seeds = record["arms"]["paper"]["seeds"]
    assert seeds.keys() == {"0", "1"}
    assert len({seed["weights"] for seed in seeds.values()}) == 2
    found = record["derived"]["claims"][0]
    assert (record["claims"][0]["arm"], record["claims"][0]["against"], found["pairs"]) == ("paper", "control", 2)
    control = record["arms"]["control"]["seeds"]
    by_hand = [seeds[seed]["metrics"]["rmse"] - control[seed]["metrics"]["rmse"] for seed in ("0", "1")]
    assert found["mean"] == pytest.approx(sum(by_hand) / 2)
    assert {row["id"] for row in record["fixed"]} == {"teacher", *(f"baseline-{number}" for number in range(3))}
    assert record["command"].startswith("leadline study distillation --seeds 2 --ablation-seeds 1 --teacher ")
    page = (tmp_path / "distillation.md").read_text()
    assert "5 trainings, whose own clocks add up to " in page
    assert "1.151" in page

    before = touched(tmp_path)
    assert main([*words, "--no-train"]) == 0
    assert touched(tmp_path) == before
    capsys.readouterr()
    assert main(["study", "check", str(file)]) == 0
    assert "everything follows" in capsys.readouterr().out

    seeds["1"]["metrics"]["rmse"] += 0.5
    file.write_text(json.dumps(record))
    assert main(["study", "check", str(file)]) == 1
    assert "derived.claims[0].mean: " in capsys.readouterr().out


def test_the_quick_study_trains_its_own_teacher_and_what_a_pretrained_student_starts_from(tmp_path):
    words = ["study", "distillation", "--out", str(tmp_path), "--quick", "--no-gate", "--only", "aligned-pretrained"]
    words += ["--teacher-data", f"rooms,count=4,height={SIDE},width={SIDE}", "--teacher-steps", "25", *SHORT]
    words += ["--steps", "10", "--pretraining-steps", "16", "--unlabelled", "none"]
    assert main(words) == 0
    assert finished(tmp_path) == {
        "aligned-pretrained/seed-0": 1,
        "control-pretrained/seed-0": 1,
        "control/seed-0": 1,
        "start/1-relative": 2,
        "teacher/1-own-data": 3,
        "teacher/2-students-data": 1,
    }
    start, student = (load(tmp_path / name) for name in ("start/model", "control-pretrained/seed-0/model"))
    assert (start.kind, student.kind) == (DepthKind.RELATIVE, DepthKind.METRIC)
    record = json.loads((tmp_path / "distillation.json").read_text())
    assert {found["decision"] for found in record["derived"]["claims"]} == {"undecided"}  # one seed
    assert all(found["margin_95"] is None for found in record["derived"]["claims"])
    # A record names a study's files by their place in its folder, wherever that lay.
    assert record["arms"]["control-pretrained"]["network"].startswith("start:start/model")
    assert str(tmp_path) not in json.dumps(record["arms"])


def test_the_relative_teachers_numbers_are_those_of_dpt_hybrid_or_from_0_to_1():
    image = torch.tensor([0.5, 1, 2, 3, 5, 9]).expand(1, 3, 4, 6) / 10  # which it reads ten times as metres
    dpt = DptRangeTeacher(Seer(DepthKind.METRIC))
    torch.testing.assert_close(
        dpt(image)[0, 0, 0], torch.tensor([6105.5738, 2826.8852, 1187.5410, 641.0929, 203.9344, 0]), rtol=1e-5, atol=0
    )
    unit = UnitRangeTeacher(dpt)(image)
    assert (unit.min(), unit.max()) == (0, 1)


@pytest.fixture(scope="module")
def labelled(teacher, tmp_path_factory) -> tuple[Dataset, Dataset]:
    """Corners with the whole image's label, and with the corner's own."""
    model, places = load(teacher), [tmp_path_factory.mktemp(name) for name in ("whole", "corners")]
    whole = PseudoLabelledDataset(TRAIN, label(model, TRAIN, places[0]), keeps_target=False)
    corners = CornerCrops(TRAIN)
    return CornerCrops(whole), PseudoLabelledDataset(corners, label(model, corners, places[1]), keeps_target=False)


class TestTheContext:
    def test_corners_are_the_pixels_depth_and_camera_of_that_part_of_the_image(self):
        corners, whole = CornerCrops(TRAIN, 0.5), TRAIN[1]
        assert len(corners) == 4 * len(TRAIN)
        lower_right = corners[4 + 3]
        assert lower_right.size == whole.size
        assert lower_right.name != whole.name
        half = SIDE // 2
        assert torch.equal(lower_right.depth[:, ::2, ::2], whole.depth[:, half:, half:])
        assert lower_right.intrinsics is not None
        assert whole.intrinsics is not None
        (focal, _, centre, _), (whole_focal, _, whole_centre, _) = (
            lower_right.intrinsics.tolist(),
            whole.intrinsics.tolist(),
        )
        assert focal == pytest.approx(2 * whole_focal)
        assert centre == pytest.approx(2 * (whole_centre - half), abs=0.51)

    def test_an_anchored_label_has_the_corners_shape_at_the_level_of_the_whole_images(self, labelled):
        whole, own = labelled
        anchored = AnchoredLabels(own, whole)
        for index in range(len(own)):
            before, after, level = (each[index].teacher_prediction for each in (own, anchored, whole))
            assert before
            assert after
            assert level
            ratio = after.depth / before.depth
            assert ratio.std() < 1e-5 * ratio.mean()
            assert (level.depth / after.depth).median().item() == pytest.approx(1, rel=1e-4)
            assert torch.equal(after.confidence, before.confidence)

    def test_labels_of_different_images_are_no_pairs(self, labelled):
        whole, own = labelled
        with pytest.raises(BadInput, match="not a pair"):
            AnchoredLabels(own, Listed([whole[number] for number in reversed(range(len(whole)))]))[0]
        with pytest.raises(BadInput, match="no pairs"):
            AnchoredLabels(own, Listed([whole[0]]))

    def test_context_without_unlabelled_images_is_refused_before_anything_is_made(self, teacher, tmp_path, capsys):
        out = tmp_path / "run"
        command = ["distil", "--teacher", str(teacher), *SHORT, "--steps", "2", "--seeds", "1", "--out", str(out)]
        assert main([*command, "--context", "cross"]) == 1
        assert "no unlabelled images to take corners of" in capsys.readouterr().err

    def test_a_student_is_distilled_from_crops_and_the_corners_are_labelled_once(self, teacher, tmp_path, capsys):
        out = tmp_path / "run"
        command = ["distil", "--teacher", str(teacher), *SHORT, "--steps", "2", "--seeds", "1", "--no-gate"]
        command += ["--unlabelled", UNLABELLED, "--context", "cross", "--out", str(out)]
        assert main(command) == 0
        store = json.loads((out / "labels" / "unlabelled-corners-teacher-none" / "store.json").read_text())
        assert store["data"]["samples"] == 4 * 6
        assert main(command) == 0
