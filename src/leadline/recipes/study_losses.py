"""The study of losses: λ and α of the scale-invariant log loss, other losses, and the gradient term."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from leadline.recipes.arms import Arm, Claim, Design
from leadline.recipes.distil import BEST_WEIGHTS
from leadline.recipes.studies import describe_budget
from leadline.recipes.study_options import StudyOptions, finish_study, open_study
from leadline.recipes.train_options import TrainOptions
from leadline.reporting.report import Report
from leadline.training.objectives import Supervised
from leadline.training.trainer import TrainConfig

LOSSES: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "silog": ("silog, λ = 0.85, α = 10 (the paper's)", {"silog": 1.0}),
    "lambda-0": ("silog, λ = 0", {"silog_0": 1.0}),
    "lambda-0.5": ("silog, λ = 0.5", {"silog_0.5": 1.0}),
    "lambda-1": ("silog, λ = 1", {"silog_1": 1.0}),
    "alpha-1": ("silog, α = 1", {"silog": 0.1}),
    "alpha-100": ("silog, α = 100", {"silog": 10.0}),
    "l1": ("l1", {"l1": 1.0}),
    "berhu": ("berHu", {"berhu": 1.0}),
    "silog-l1": ("silog and l1", {"silog": 1.0, "l1": 1.0}),
    "silog-gradient": ("silog and gradient", {"silog": 1.0, "gradient": 0.5}),
    "l1-gradient": ("l1 and gradient", {"l1": 1.0, "gradient": 0.5}),
}
"""Folder → what the row is called, and its loss terms with their weights. α is the weight of the whole term."""
DESIGN = Design(
    "losses",
    "Losses: λ, α, and what else",
    "One factor at a time around the paper's loss, silog with λ = 0.85 and α = 10: λ, which says how much of the "
    "global scale is forgiven; α, which under a clipped gradient and AdamW is nearly a factor on the learning rate "
    "that they take out again; the loss itself; and a gradient term beside it.",
    {
        "lambda": "Does λ matter?",
        "alpha": "Does α matter?",
        "loss": "Does silog beat l1, berHu, or both together?",
        "gradient": "Does a gradient term help?",
    },
    (
        *(Claim("lambda", name, "silog", "losses") for name in ("lambda-0", "lambda-0.5", "lambda-1")),
        *(Claim("alpha", name, "silog", "losses") for name in ("alpha-1", "alpha-100")),
        *(Claim("loss", name, "silog", "losses") for name in ("l1", "berhu", "silog-l1")),
        Claim("gradient", "silog-gradient", "silog", "losses"),
        Claim("gradient", "l1-gradient", "l1", "losses"),
    ),
    {"losses": "all claims of this study"},
)
NETWORK: Mapping[str, Any] = {
    "data": "rooms,domain=a,count=1024,height=64,width=64",
    "model": "cnn,size=tiny,encoder=mobilenetv3_small_050,width=8,input_size=64:64",
    "config": TrainConfig(steps=120, batch_size=16, learning_rate=4e-3, validate_every=120),
}
"""Default training options of the study."""


@dataclass(frozen=True)
class LossesStudyOptions(StudyOptions):
    """What the study of losses trains, and where."""

    out: Path = Path("runs/losses")
    """Folder for the runs, the report and the record."""
    options: TrainOptions = field(default_factory=lambda: TrainOptions(**NETWORK))


def study_losses(study: LossesStudyOptions, command: str = "") -> tuple[Report, dict[str, Any]]:
    """Train by each loss from each seed, evaluate, and compare; an interrupted study resumes.

    Args:
        study: its options; their `loss` is not used.
        command: the command line, for the record.

    Returns:
        The report; and the record.

    Raises:
        BadInput: an option, the data or a run folder cannot be used.
    """
    data = open_study(study, DESIGN)
    arms = {
        name: Arm(
            title,
            replace(data.training_run, objective=Supervised(weights)),
            factors={"loss": ", ".join(f"{term}={weight:g}" for term, weight in weights.items())},
            seeds=study.seeds,
        )
        for name, (title, weights) in LOSSES.items()
    }
    notes = [describe_budget(study.options, len(data.train), remark=BEST_WEIGHTS)]
    return finish_study(study, DESIGN, arms, data, notes=notes, command=command)
