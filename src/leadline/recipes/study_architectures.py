"""The study of architectures: a CNN alone, a transformer alone, and both, over sizes of the training set."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from leadline.core.specs import parse_spec
from leadline.data.loader import Subset
from leadline.models.registry import build_on_meta
from leadline.recipes.arms import Arm, Claim, Design
from leadline.recipes.distil import BEST_WEIGHTS
from leadline.recipes.studies import describe_budget
from leadline.recipes.study_options import StudyOptions, finish_study, open_study
from leadline.recipes.train_options import TrainOptions
from leadline.reporting.charts import curves
from leadline.reporting.network_counts import multiply_adds
from leadline.reporting.report import Chart, Report
from leadline.training.trainer import TrainConfig

NETWORKS: Mapping[str, tuple[str, str]] = {
    "cnn": ("CNN alone", "cnn,size=tiny,width=8,encoder=mobilenetv3_small_100"),
    "transformer": (
        "transformer alone",
        "cnn,size=tiny,width=8,encoder=vit_tiny_patch16_224,encoder_options=depth:4:embed_dim:132",
    ),
    "hybrid": ("hybrid", "hybrid,size=tiny,width=8,encoder=mobilenetv3_small_050,dim=132,blocks=4,heads=3"),
}
"""Name → what it is called, and its network; their numbers of parameters are within a tenth of each other."""
FRACTIONS: Mapping[str, int] = {"all": 1, "quarter": 4, "sixteenth": 16}
"""Training set → what its size is divided by."""
BUDGETS: Mapping[str, str] = {"images": "equal images", "multiply-adds": "equal multiply-adds"}


def _claims() -> tuple[Claim, ...]:
    return tuple(
        Claim("hybrid" if size == "all" else "data", f"hybrid-{size}", f"{rival}-{size}-{budget}", "architectures")
        for size in FRACTIONS
        for budget in BUDGETS
        for rival in ("cnn", "transformer")
    )


DESIGN = Design(
    "architectures",
    "CNN, transformer, or both",
    "Three networks under the same decoder with numbers of parameters within a tenth of each other: a CNN's pyramid; "
    "a plain vision transformer on patches of the image, whose tokens are reassembled into a pyramid; and a smaller "
    "CNN with a transformer over its last map. Each rival of the hybrid is trained on as many images, and on as many "
    "as take the same multiply-adds. Three sizes of the training set, because the paper says that convolutions need "
    "less data.",
    {
        "hybrid": "Does CNN and transformer together beat either alone, the paper's headline, with all data?",
        "data": "And with a quarter and a sixteenth of the data?",
    },
    _claims(),
    {"architectures": "all claims of this study"},
)
TRAINING: Mapping[str, Any] = {
    "data": "rooms,domain=a,count=2048,height=64,width=64",
    "config": TrainConfig(steps=150, batch_size=16, learning_rate=4e-3, validate_every=150),
}
"""Default training options of the study."""


@dataclass(frozen=True)
class ArchitecturesStudyOptions(StudyOptions):
    """What the study of architectures trains, and where."""

    out: Path = Path("runs/architectures")
    """Folder for the runs, the report and the record."""
    options: TrainOptions = field(default_factory=lambda: TrainOptions(**TRAINING))


def study_architectures(study: ArchitecturesStudyOptions, command: str = "") -> tuple[Report, dict[str, Any]]:
    """Train each network on each size of the data from each seed, evaluate, and compare; it resumes.

    Args:
        study: its options; their `model` is not used.
        command: the command line, for the record.

    Returns:
        The report, with learning curves; and the record.

    Raises:
        BadInput: an option, the data or a run folder cannot be used.
    """
    data = open_study(study, DESIGN)
    height, width = data.train[0].size
    networks = {name: f"{network},input_size={height}:{width}" for name, (_, network) in NETWORKS.items()}
    costs = {name: _cost(network) for name, network in networks.items()}
    arms: dict[str, Arm] = {}
    for size, divisor in FRACTIONS.items():
        count = len(data.train) // divisor
        indices = [number * len(data.train) // count for number in range(count)]
        train = Subset(data.train, indices, f"{count} of {len(data.train)} of {data.train.name}")
        for name, (title, _) in NETWORKS.items():
            for budget, words in BUDGETS.items():
                steps = data.training_run.config.steps
                if budget == "multiply-adds":
                    steps = max(round(steps * costs["hybrid"] / costs[name]), 1)
                run = replace(
                    data.training_run,
                    network=networks[name],
                    train=train,
                    config=replace(data.training_run.config, steps=steps),
                )
                arm = f"hybrid-{size}" if name == "hybrid" else f"{name}-{size}-{budget}"
                about = "" if name == "hybrid" else f", {words}"
                factors = {"network": name, "images": str(count), "budget": words}
                arms[arm] = Arm(f"{title}, {count:,} images{about}", run, factors=factors, seeds=study.seeds)
    notes = [
        describe_budget(study.options, len(data.train), remark=BEST_WEIGHTS, names_network=False),
        "Multiply-adds of an image: " + ", ".join(f"{name} {cost / 1e6:.0f} M" for name, cost in costs.items()) + ".",
    ]
    report, record = finish_study(study, DESIGN, arms, data, notes=notes, command=command)
    chart = Chart(learning_curves(record), "RMSE over the number of training images; bars of one standard error.")
    first = replace(report.sections[0], figures=(chart, *report.sections[0].figures))
    return replace(report, sections=(first, *report.sections[1:])), record


def learning_curves(record: Mapping[str, Any]) -> str:
    """Draw the RMSE of each network over the number of training images, from a record of this study."""
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for name, arm in record["arms"].items():
        factors, rmse = arm["factors"], record["derived"]["rows"][name]["rmse"]
        title = NETWORKS[factors["network"]][0]
        title += "" if factors["network"] == "hybrid" else f", {factors['budget']}"
        point = (float(factors["images"]), rmse["mean"], rmse["standard_error"] or 0.0)
        lines.setdefault(title, []).append(point)
    return curves({name: sorted(points) for name, points in lines.items()}, "training images", "RMSE (m)")


def _cost(network: str) -> int:
    """Multiply-adds of one image of the network's native size."""
    name, _, arguments = parse_spec(network)
    return multiply_adds(build_on_meta(name, **arguments).to("meta").eval())
