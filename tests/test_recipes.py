"""Recipes and studies: equal budgets, frozen encoders, and verdicts that say what the data support."""

import json
import math
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import timm
import torch
from safetensors.torch import save_file

from leadline.cli.study_literature import StudyLiteratureCommand
from leadline.cli.study_stages import StudyStagesCommand
from leadline.cli.train_arguments import TrainArguments
from leadline.cli.train_small import TrainSmallCommand
from leadline.core.errors import BadInput
from leadline.data.datasets import open_data
from leadline.data.datasets.rooms import rooms
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import protocol
from leadline.evaluation.statistics import Difference, paired_difference, verdict
from leadline.evaluation.tables import COLUMNS
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.registry import build
from leadline.models.saving import save
from leadline.recipes import RECIPES, TrainingRun, recipe
from leadline.recipes.leadline_small import ARGUMENTS, BLENDS
from leadline.recipes.study_options import StudyData
from leadline.recipes.study_stages import DESIGN, StagesStudyOptions, stage_arms, study_stages
from leadline.recipes.train import train
from leadline.recipes.train_options import TrainOptions
from leadline.training.parallel import run_parallel
from leadline.training.trainer import HardwareConfig, TrainConfig

CONFIG = TrainConfig(steps=4, batch_size=2, validate_every=2, learning_rate=1e-3)
HARDWARE = HardwareConfig(accelerator="cpu", workers=0, save_every=0.0, log_every=1)
NETWORK = "hybrid,size=tiny,encoder=test_efficientnet,dim=48,blocks=1,input_size=64:64"
STEREO = "pilzer,size=tiny,encoder=test_efficientnet,widths=8:8:4:4:4,input_size=64:64"
NETWORKS = {"coarse_to_fine": "eigen,size=tiny,hidden=16,input_size=64:64", "refine_and_distil": STEREO}
"""Recipe → the network that it trains, where it is not a hybrid."""
DATA = "rooms,count=4,height=64,width=64"


@pytest.fixture
def training_run() -> TrainingRun:
    return TrainingRun(
        network=NETWORK,
        train=rooms("train", count=4, height=64, width=64),
        validation=rooms("val", count=2, height=64, width=64),
        config=CONFIG,
        protocol=protocol("rooms"),
        hardware=HARDWARE,
    )


def suited(training_run: TrainingRun, name: str) -> TrainingRun:
    """The training with the network, the data and the protocol that a recipe needs."""
    training_run = replace(training_run, network=NETWORKS.get(name, NETWORK))
    if name != "refine_and_distil":
        return training_run
    train, validation = (rooms(split, count=2, height=64, width=64, baseline=0.2) for split in ("train", "val"))
    return replace(training_run, train=train, validation=validation, protocol=protocol("scale_free"))


def steps(out: Path) -> int:
    """Optimiser steps of all the finished runs below a folder."""
    return sum(json.loads(done.read_text())["steps"] for done in out.rglob("done.json"))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_spends_the_same_steps_and_returns_what_it_saved(name, training_run, tmp_path):
    training_run = suited(training_run, name)
    model = recipe(name)(training_run, tmp_path)
    assert steps(tmp_path) == training_run.config.steps
    assert model.name == training_run.network.partition(",")[0]
    saved = load(sorted(tmp_path.rglob("best"))[-1]).state_dict()
    assert all(torch.equal(tensor, saved[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_run_again_changes_nothing(name, training_run, tmp_path):
    training_run = suited(training_run, name)
    first = recipe(name)(training_run, tmp_path).state_dict()
    logs = {log: log.read_text() for log in tmp_path.rglob("log.jsonl")}
    again = recipe(name)(training_run, tmp_path).state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in first.items())
    assert {log: log.read_text() for log in tmp_path.rglob("log.jsonl")} == logs


def test_multi_stage_keeps_the_encoder_that_learnt_depth_alone(training_run, tmp_path):
    model = recipe("multi_stage")(training_run, tmp_path)
    alone = load(tmp_path / "1-encoder" / "best").encoder.state_dict()
    assert all(torch.equal(tensor, alone[key]) for key, tensor in model.encoder.state_dict().items())


def test_multi_stage_refuses_a_network_without_a_transformer(training_run, tmp_path):
    with pytest.raises(BadInput, match="trains the parts of a hybrid"):
        recipe("multi_stage")(replace(training_run, network="cnn,size=tiny"), tmp_path)


def test_the_fine_network_learns_over_the_coarse_one_that_stays_as_it_was(training_run, tmp_path):
    model = recipe("coarse_to_fine")(replace(training_run, network=NETWORKS["coarse_to_fine"]), tmp_path)
    coarse, fine = load(tmp_path / "1-coarse" / "best").state_dict(), model.state_dict()
    assert all(torch.equal(fine[key], coarse[key]) for key in coarse)
    assert any(key.startswith("fine.") for key in fine)


def test_coarse_to_fine_refuses_a_network_that_has_no_coarse_part(training_run, tmp_path):
    with pytest.raises(BadInput, match=r"trains the two networks of eigen.*--model eigen"):
        recipe("coarse_to_fine")(training_run, tmp_path)


def test_the_small_network_is_made_from_its_encoder_in_two_stages_and_again_for_nothing(tmp_path):
    encoder = timm.create_model("mobilenetv2_100", pad_type="same")
    save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    made = TrainSmallCommand(
        encoder=tmp_path / "encoder.safetensors",
        out=tmp_path / "run",
        measured="rooms,domain=b,count=4,height=64,width=96",
        test="rooms,domain=b,count=2,height=64,width=96",
        rooms=4,
        steps=5,
        hardware=HARDWARE,
    )
    assert made.run() == 0
    assert steps(tmp_path) == 5 + 1
    weights = tmp_path / "run" / "model" / "weights.safetensors"
    assert weights.stat().st_size < 10e6
    network = load(tmp_path / "run" / "model")
    assert network.preprocessing.size == (192, 256)
    assert "rooms-c" in network.provenance.training_data
    assert "rooms-b" in network.provenance.training_data
    assert network.provenance.figures == {
        f"rooms-b test ({ruling.words})": evaluate_metrics(network, open_data(made.test, "test"), ruling)
        for ruling in (protocol("indoor"), protocol("indoor", alignment="median"))
    }
    before = weights.read_bytes()
    assert made.run() == 0
    assert weights.read_bytes() == before


def continued(folder: Path, **options: Any) -> tuple[DepthModel, DepthModel]:
    """A small network, and what two more steps of the recipe's last stage make of it."""
    start = build("cnn", **{**ARGUMENTS, "input_size": (192, 256), "camera": "any"})
    save(start, folder / "start")
    made = TrainSmallCommand(
        start=str(folder / "start"), out=folder / "run", rooms=4, furnished_steps=2, hardware=HARDWARE, **options
    )
    assert made.run() == 0
    return start, load(folder / "run" / "model")


def test_a_small_network_goes_on_with_furnished_rooms_and_learns_how_far_to_follow_the_camera(tmp_path):
    """Measured photographs come from several datasets, each with its share, which one file could not give them."""
    measured = "rooms,domain=a,count=2,height=64,width=96*3 + rooms,domain=a,count=2,height=64,width=64"
    _, network = continued(tmp_path, measured=measured, furnished="rooms,domain=b,count=2,height=192,width=256")
    assert network.arguments["camera"] == "learned"
    assert network.focal_power is not None
    assert network.focal_power.item() != 0.5
    assert "19% rooms-a train + 6% rooms-a train + 60% rooms-b train" in network.provenance.training_data


def test_the_small_network_is_a_mean_of_the_weights_before_and_after_its_last_stage(tmp_path):
    start, network = continued(tmp_path, validation="rooms,domain=a,count=2,height=64,width=96")
    found, before, after = (
        network.state_dict(),
        start.state_dict(),
        load(tmp_path / "run" / "3-furnished" / "best").state_dict(),
    )
    key = "head.0.weight"
    assert any(
        torch.allclose(found[key], before[key].lerp(after[key], fraction), atol=1e-3 * before[key].abs().max().item())
        for fraction in BLENDS
    )


@pytest.mark.parametrize(
    ("options", "said"), [({"measured_fraction": 1.0}, "measured_fraction=1"), ({"test": "nowhere"}, "nowhere")]
)
def test_the_small_network_refuses_what_it_cannot_use_before_it_learns(options, said, tmp_path):
    with pytest.raises(BadInput, match=said):
        TrainSmallCommand(encoder=tmp_path / "none", out=tmp_path / "run", measured="rooms", **options).run()
    assert not (tmp_path / "run").exists()


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(
        BadInput,
        match=r"No recipe is called 'end2end'\. Known recipes: coarse_to_fine, end_to_end, multi_stage, refine",
    ):
        recipe("end2end")


def test_the_literature_is_trained_side_by_side_and_recorded(tmp_path):
    options = TrainArguments(data=DATA, protocol="rooms", config=CONFIG, hardware=HARDWARE)
    study = StudyLiteratureCommand(
        out=tmp_path / "out", seeds=1, only=("eigen",), record=tmp_path / "record", options=options
    )
    assert study.run() == 0
    record = json.loads((tmp_path / "record" / "literature.json").read_text())
    assert list(record["arms"]) == ["cnn", "eigen"]
    assert [claim["against"] for claim in record["claims"]] == ["cnn"]
    assert [seed["steps"] for seed in record["arms"]["eigen"]["seeds"].values()] == [[2, 2]]
    costs, papers = record["tables"]
    assert all(float(line[2].removesuffix(" M")) > 1 for line in costs["body"])
    assert papers["body"][0][0] == "Eigen 2014"
    assert "says nothing of chance" in (tmp_path / "record" / "literature.md").read_text()
    assert "multiply-adds" in (tmp_path / "out" / "report.html").read_text()
    assert json.loads((tmp_path / "out" / "eigen" / "seed-0" / "1-coarse" / "done.json").read_text())["steps"] == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"only": ("alexnet",)}, "No arm is called 'alexnet'"),
        ({"only": ("cnn",)}, "names controls alone"),
        (
            {"only": ("eigen",), "options": TrainArguments(data="rooms,count=4,height=16,width=64")},
            r"input_size \(16, 64\) must be",
        ),
    ],
)
def test_the_literature_refuses_what_it_cannot_train_before_it_trains(options, said, tmp_path):
    with pytest.raises(BadInput, match=said):
        StudyLiteratureCommand(out=tmp_path / "out", **options).run()
    assert not list(tmp_path.rglob("run.json"))


def test_a_study_trains_compares_and_reports(tmp_path):
    options = TrainArguments(data=DATA, model=NETWORK, protocol="rooms", config=CONFIG, hardware=HARDWARE)
    only = ("multi-stage",)
    study = StudyStagesCommand(out=tmp_path, seeds=2, only=only, photos=("examples/photos",), options=options)
    assert study.run() == 0
    told = json.loads((tmp_path / "report.json").read_text())
    rows = {row["name"]: row for row in told["sections"][0]["tables"][0]["rows"]}
    assert rows["end to end"]["runs"] == 2
    assert rows["multi-stage, as many steps in all"]["errors"]["rmse"] > 0
    assert {row["protocol"] for row in rows.values()} == {"rooms"}
    assert sum(row["is_baseline"] for row in rows.values()) == 3
    recorded = json.loads((tmp_path / "stages.json").read_text())
    assert [seed["steps"] for seed in recorded["arms"]["multi-stage"]["seeds"].values()] == [[2, 2], [2, 2]]
    page = (tmp_path / "report.html").read_text()
    assert "reception.jpg" in page
    assert "Multi-stage against end-to-end" in page


def test_trainings_side_by_side_end_as_those_one_after_another_do(tmp_path):
    options = TrainArguments(data=DATA, model=NETWORK, protocol="rooms", config=CONFIG, hardware=HARDWARE)
    only, threads = ("multi-stage",), torch.get_num_threads()
    torch.set_num_threads(1)
    for jobs in (1, 2):
        study_stages(StudyStagesCommand(out=tmp_path / str(jobs), seeds=1, jobs=jobs, only=only, options=options))
    torch.set_num_threads(threads)
    first, second = (
        [load(saved).state_dict() for saved in sorted((tmp_path / jobs).glob("*/seed-0/model"))] for jobs in "12"
    )
    assert len(first) == 2
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_the_error_of_a_task_beside_others_arrives_with_its_words():
    with pytest.raises(BadInput, match="No recipe is called 'end2end'"):
        run_parallel([partial(recipe, "end2end")], jobs=2)
    with pytest.raises(BadInput, match=r"A training was killed.* the same command continues it"):
        run_parallel([os.abort], jobs=2)
    with pytest.raises(BadInput, match="--jobs 0: one training at a time is the least"):
        run_parallel([], jobs=0)


def test_a_difference_is_paired_and_has_students_interval():
    difference = paired_difference("rmse", [1.0, 1.2, 0.9], [1.1, 1.5, 1.0])
    # Differences −0.1, −0.3, −0.1: mean −1/6, standard deviation √(4/300), and t = 4.3027 for two degrees of freedom.
    assert difference.mean == pytest.approx(-1 / 6)
    assert difference.margin == pytest.approx(4.30265 * math.sqrt(4 / 300) / math.sqrt(3), rel=1e-5)


def test_lower_wins_for_errors_and_higher_for_shares_within():
    assert Difference("rmse", -0.2, 0.1).winner == 0
    assert Difference("d1", -0.2, 0.1).winner == 1
    assert Difference("rmse", -0.1, 0.2).winner is None
    assert Difference("rmse", -0.1, math.inf).winner is None


def test_a_verdict_says_no_more_than_the_intervals_do():
    decided = [Difference("rmse", -0.2, 0.1), Difference("d1", 0.1, 0.05), Difference("mae", -0.1, 0.3)]
    said = verdict("end to end", "multi-stage", decided, seeds=3)
    assert said.startswith(f"End to end is better in {METRICS['rmse'].label}, {METRICS['d1'].label}.")
    assert "The other 1 of 3 metrics are undecided" in said
    assert "Multi-stage is better" not in said
    unknown = [replace(each, margin=9.0) for each in decided]
    assert "3 seeds decide no metric" in verdict("end to end", "multi-stage", unknown, seeds=3)
    assert "decides nothing" in verdict("end to end", "multi-stage", decided, seeds=1)


def test_the_study_of_stages_gives_equal_steps_in_all_and_in_each_part_and_a_frozen_start(training_run, tmp_path):
    data = StudyData(training_run.train, training_run.validation, training_run)
    arms = stage_arms(StagesStudyOptions(out=tmp_path), data)
    total = {name: arm.training_run.config.steps for name, arm in arms.items()}
    assert total == {"end-to-end": 4, "multi-stage": 4, "multi-stage-full": 8, "end-to-end-twice": 8, "frozen": 4}
    assert {name for name, arm in arms.items() if arm.recipe == "multi_stage"} == {"multi-stage", "multi-stage-full"}
    assert arms["frozen"].training_run.frozen == ("encoder",)
    assert arms.keys() == {name for claim in DESIGN.claims for name in (claim.arm, claim.against)}


@pytest.mark.parametrize(
    ("name", "stages"), [("end_to_end", ["training"]), ("multi_stage", ["1-encoder", "2-transformer"])]
)
def test_a_notebook_shows_what_was_trained_and_how_it_went(tmp_path, name, stages):
    options = TrainOptions(data=DATA, model=NETWORK, protocol="rooms", config=CONFIG, hardware=HARDWARE)
    out = tmp_path / "<run>"
    trained = train(options, out, recipe_name=name)
    assert repr(trained).startswith(f"TrainedModel(hybrid in {out}/model; rooms-a val (rooms): RMSE (m) ↓ ")
    shown = trained._repr_html_()
    tree = ElementTree.fromstring(f"<div>{shown}</div>")
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]
    assert [row[0] for row in rows[1:4]] == ["network", "depth", "saved in"]
    assert rows[3][1] == f"{out}/model"
    steps = 4 // len(stages)
    for number, stage in enumerate(stages):
        assert rows[4 + number] == [stage, f"steps {steps}, batch size 2, learning rate 0.001, seed 0"]
    assert rows[-1][COLUMNS.index("rmse")] == METRICS["rmse"].printed(trained.scores["rmse"])
    assert ("<svg" in shown) == (name == "end_to_end")  # a stage of two steps is validated once
