"""The study of stages: multi-stage against end-to-end training over seeds, at equal steps in all and in each part."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from leadline.evaluation.evaluate import evaluate
from leadline.evaluation.tables import Row
from leadline.models.saving import load_folder
from leadline.recipes import run_folder
from leadline.recipes.arms import Arm, Claim, Design
from leadline.recipes.distil import BEST_WEIGHTS
from leadline.recipes.studies import describe_budget
from leadline.recipes.study_options import StudyData, StudyOptions, finish_study, open_study
from leadline.reporting.report import Report, photo_files, photographs, worst_images

METRICS_OF_THE_PAPER = ("rmse", "mae", "log_rms", "silog", "d1", "d2", "d3")
DESIGN = Design(
    "stages",
    "Multi-stage against end-to-end training",
    "Multi-stage training learns the encoder under a light decoder first, and then transformer and decoder on the "
    "frozen encoder. With equal total steps each of its parts has half of what the end-to-end training gives it; with "
    "equal steps in each part it has twice the steps in all. Neither alone is fair, so both are here, the latter "
    "beside an end-to-end training of twice the steps. The frozen encoder that never saw depth parts what the first "
    "stage adds.",
    {
        "stages": "Does end-to-end training beat multi-stage training, as the paper claims?",
        "metrics": "Does it win on every metric, as the paper claims, at equal steps in all?",
        "encoder": "Does an encoder finetuned on depth beat the one that it started from (section 4.1 of the paper)?",
    },
    (
        Claim("stages", "multi-stage", "end-to-end", "stages"),
        Claim("stages", "multi-stage-full", "end-to-end", "stages"),
        Claim("stages", "multi-stage-full", "end-to-end-twice", "stages"),
        *(Claim("metrics", "end-to-end", "multi-stage", "metrics", metric) for metric in METRICS_OF_THE_PAPER),
        Claim("encoder", "frozen", "multi-stage-full", "stages"),
        Claim("encoder", "frozen", "end-to-end", "stages"),
    ),
    {"stages": "RMSE, all claims of this study", "metrics": "end to end against multi-stage, every metric"},
)


@dataclass(frozen=True)
class StagesStudyOptions(StudyOptions):
    """What the study of stages trains, and where."""

    out: Path = Path("runs/stages")
    """Folder for the runs, and for report.html, report.md, report.json and the record."""
    photos: tuple[str, ...] = ()
    """Photographs without a target depth to show predictions of in the report: files, folders or patterns."""


def study_stages(study: StagesStudyOptions, command: str = "") -> tuple[Report, dict[str, Any]]:
    """Train each arm from each seed, evaluate, and compare; an interrupted study resumes.

    Args:
        study: its options.
        command: the command line, for the record.

    Returns:
        The report; and the record.

    Raises:
        BadInput: an option, the data or a run folder cannot be used.
    """
    photos, data = photo_files(study.photos), open_study(study, DESIGN)
    notes = [
        describe_budget(study.options, len(data.train), remark=BEST_WEIGHTS),
        "The paper claims that end to end wins on every metric (its Figure 2, NYU Depth v2).",
    ]
    report, record = finish_study(study, DESIGN, stage_arms(study, data), data, notes=notes, command=command)
    shown = min(record["arms"], key=lambda name: record["derived"]["rows"][name]["rmse"]["mean"])
    seed = next(iter(record["arms"][shown]["seeds"]))
    model = load_folder(run_folder(study.out, shown, int(seed)) / "model").to(data.training_run.hardware.device)
    protocol = data.training_run.protocol
    worst = worst_images(model, data.test, protocol, _scored(study, shown, seed, data).worst(6))
    pictures = (worst, *([photographs(model, photos)] if photos else []))
    sections = (report.sections[0], *pictures, *report.sections[1:])
    told = f"{report.prose}\n\nPictures are of {record['arms'][shown]['name']}, seed {seed}."
    return replace(report, sections=sections, prose=told), record


def stage_arms(study: StudyOptions, data: StudyData) -> Mapping[str, Arm]:
    """Return the arms of the study: the recipes, the steps, and what is frozen."""
    run = data.training_run
    config = run.config
    twice = replace(run, config=replace(config, steps=2 * config.steps))
    frozen = replace(run, frozen=("encoder",))
    start = "its start" if "weights" in run.network or "pretrained" in run.network else "random weights"
    return {
        "end-to-end": Arm("end to end", run, factors=_factors("end to end", "1"), seeds=study.seeds),
        "multi-stage": Arm(
            "multi-stage, as many steps in all", run, "multi_stage", _factors("multi-stage", "½ + ½"), study.seeds
        ),
        "multi-stage-full": Arm(
            "multi-stage, as many steps in each part",
            twice,
            "multi_stage",
            _factors("multi-stage", "1 + 1"),
            study.seeds,
        ),
        "end-to-end-twice": Arm(
            "end to end, twice the steps", twice, factors=_factors("end to end", "2"), seeds=study.seeds
        ),
        "frozen": Arm(f"encoder frozen at {start}", frozen, factors=_factors("frozen encoder", "1"), seeds=study.seeds),
    }


def _factors(recipe: str, steps: str) -> dict[str, str]:
    return {"recipe": recipe, "steps": steps}


def _scored(study: StudyOptions, name: str, seed: str, data: StudyData) -> Row:
    """The row of one trained model with the scores of each image."""
    model = load_folder(run_folder(study.out, name, int(seed)) / "model").to(data.training_run.hardware.device)
    return evaluate(model, data.test, data.training_run.protocol, training=data.test, name=name).rows[0]
