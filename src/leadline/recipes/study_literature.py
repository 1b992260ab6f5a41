"""The study of the literature: its networks trained side by side, on equal images and in equal steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from leadline.core.stopwatch import time_in_turns
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.tables import TextTable
from leadline.models.base import DepthModel
from leadline.recipes import TrainingRun
from leadline.recipes.arms import Arm, Claim, Design
from leadline.recipes.distil import BEST_WEIGHTS
from leadline.recipes.studies import describe_budget
from leadline.recipes.study_options import StudyOptions, finish_study, open_study
from leadline.recipes.train_options import TrainOptions, parse_weights
from leadline.reporting.charts import error_against_cost
from leadline.reporting.network_counts import multiply_adds
from leadline.reporting.report import Chart, Report
from leadline.training.objectives import Supervised
from leadline.training.trainer import TrainConfig


@dataclass(frozen=True)
class Contender:
    """A network of the study, and what is its own in how it is trained."""

    title: str
    network: str
    """NAME[,option=value]…; the study adds `input_size`."""
    recipe: str = "end_to_end"
    loss: str = ""
    """Terms and weights; empty: the study's."""


NETWORKS: Mapping[str, Contender] = {
    "cnn": Contender("cnn", "cnn,size=tiny"),
    "hybrid": Contender("hybrid", "hybrid,size=tiny"),
    "midas_small": Contender("MiDaS-small-like", "cnn,size=tiny,encoder=tf_efficientnet_lite3,decoder=light,width=64"),
    "eigen": Contender("Eigen 2014, its loss", "eigen,size=tiny", "coarse_to_fine", "scale_invariant=1"),
    "eigen-silog": Contender("Eigen 2014", "eigen,size=tiny", "coarse_to_fine"),
    "hierarchical_crf": Contender("Li 2015", "hierarchical_crf,size=tiny", loss="silog=1,side_silog=1"),
    "cascade-crf": Contender(
        "Xu 2017, cascade", "continuous_crf,size=tiny,fusion=cascade", loss="silog=1,side_silog=1"
    ),
    "multiscale-crf": Contender(
        "Xu 2017, multi-scale", "continuous_crf,size=tiny,fusion=multiscale", loss="silog=1,side_silog=1"
    ),
    "structured_attention": Contender("Xu 2018", "structured_attention,size=tiny", loss="silog=1,side_silog=0.8"),
    "bts": Contender("BTS 2019", "bts,size=tiny"),
    "acan": Contender("ACAN 2019, its losses", "acan,size=tiny", loss="ordinal=0.1,attention=0.1"),
    "acan-silog": Contender("ACAN 2019", "acan,size=tiny"),
    "transdepth": Contender("TransDepth 2021", "transdepth,size=tiny"),
}
"""Folder → contender, in the order of the table."""
CONTROL = "cnn"
"""What every other network is compared with."""
PAPERS: tuple[tuple[str, ...], ...] = (
    ("Eigen 2014", "0.215", "0.907", "0.611", "0.887", "0.971"),
    ("Li 2015", "0.232", "0.821", "0.621", "0.886", "0.968"),
    ("Xu 2017, multi-scale continuous CRF", "0.121", "0.586", "0.811", "0.954", "0.987"),
    ("Xu 2018, structured attention CRF", "0.125", "0.593", "0.806", "0.952", "0.986"),
    ("BTS 2019, DenseNet-161", "0.110", "0.392", "0.885", "0.978", "0.994"),
    ("TransDepth 2021", "0.106", "0.365", "0.900", "0.983", "0.996"),
)
"""Name, AbsRel, RMSE, δ < 1.25, 1.25², 1.25³: as the papers (BTS: its README) state them for NYU Depth v2."""
DESIGN = Design(
    "literature",
    "The literature's networks, side by side",
    "Each network of docs/literature.md at its tiny size, on the encoder of the control where it leaves the encoder "
    "free, trained on equal images in equal steps, by its own loss where its name says so. The control is a CNN's "
    "pyramid under a light decoder, with nothing of what the papers added.",
    {"literature": "Is any of the literature's networks better than a plain CNN on equal data and in equal steps?"},
    tuple(Claim("literature", name, CONTROL, "literature") for name in NETWORKS if name != CONTROL),
    {"literature": "all networks against the control"},
)
TRAINING: Mapping[str, Any] = {
    "data": "rooms,domain=a,count=2048,height=64,width=96",
    "loss": "silog=1",
    "config": TrainConfig(steps=600, batch_size=16, learning_rate=2e-3, validate_every=150),
}
"""Default training options of the study."""


@dataclass(frozen=True)
class LiteratureStudyOptions(StudyOptions):
    """What the study of the literature trains, and where."""

    out: Path = Path("runs/literature")
    """Folder for the runs, the report and the record."""
    options: TrainOptions = field(default_factory=lambda: TrainOptions(**TRAINING))


@dataclass(frozen=True)
class Cost:
    """What one image costs."""

    parameters: int
    multiply_adds: int
    """Of matrix products and convolutions."""
    milliseconds: float
    """Median over repeated predictions of one image, on the device and with the threads at hand."""


def study_literature(study: LiteratureStudyOptions, command: str = "") -> tuple[Report, dict[str, Any]]:
    """Train each network from each seed, evaluate, and compare; an interrupted study resumes.

    Args:
        study: its options; their `model` is not used.
        command: the command line, for the record.

    Returns:
        The report, with a chart of error against cost; and the record.

    Raises:
        BadInput: an option, the data or a run folder cannot be used.
    """
    chosen = DESIGN.arms(study.only)
    data = open_study(study, DESIGN)
    height, width = data.train[0].size
    arms, costs = {}, {}
    for name in chosen:
        contender = NETWORKS[name]
        run = _run(data.training_run, contender, height, width)
        model = run.build()
        # What cannot be built or lacks a loss's side outputs is refused before anything is trained.
        run.objective.parts(model)
        costs[name] = measure_cost(model, (height, width))
        factors = {"network": contender.network, "loss": contender.loss or study.options.loss}
        arms[name] = Arm(contender.title, run, contender.recipe, factors, study.seeds)
    budget = describe_budget(study.options, len(data.train), remark=BEST_WEIGHTS)
    notes = [budget.partition(" Network:")[0], _losses({name: NETWORKS[name] for name in chosen}, study.options.loss)]
    titles = {name: NETWORKS[name].title for name in chosen}
    report, record = finish_study(
        study, DESIGN, arms, data, notes=notes, tables=[_costs(titles, costs), _papers()], command=command
    )
    rows = record["derived"]["rows"]
    points = [
        (titles[name], costs[name].multiply_adds, each["rmse"]["mean"], each["rmse"]["standard_error"] or 0.0)
        for name, each in rows.items()
    ]
    chart = Chart(
        error_against_cost(points, METRICS["rmse"].heading), "Error against multiply-adds; bars of one standard error."
    )
    first = replace(report.sections[0], figures=(chart, *report.sections[0].figures))
    return replace(report, sections=(first, *report.sections[1:])), record


def measure_cost(model: DepthModel, size: tuple[int, int], *, repeats: int = 15) -> Cost:
    """Measure what one image costs.

    Args:
        model: the network, on the device to measure on.
        size: height and width of the image.
        repeats: predictions to take the median time of.
    """
    device = next(model.parameters()).device
    image = torch.rand(1, 3, *size, device=device)
    model.eval()
    with torch.inference_mode():
        (seconds,) = time_in_turns([lambda: model(image).sum().item()], repeats)
    parameters = sum(each.numel() for each in model.parameters())
    return Cost(parameters, multiply_adds(model.to("meta")), 1000 * seconds)


def _run(base: TrainingRun, contender: Contender, height: int, width: int) -> TrainingRun:
    network = f"{contender.network},input_size={height}:{width}"
    if not contender.loss:
        return replace(base, network=network)
    return replace(base, network=network, objective=Supervised(parse_weights(contender.loss)))


def _losses(contenders: Mapping[str, Contender], shared: str) -> str:
    own = ", ".join(f"{each.title} ({each.loss})" for each in contenders.values() if each.loss)
    return f"Loss: {shared}" + (f"; but {own}." if own else ".")


def _costs(titles: Mapping[str, str], costs: Mapping[str, Cost]) -> TextTable:
    lines = tuple(
        (
            titles[name],
            f"{cost.parameters / 1e6:.2f} M",
            f"{cost.multiply_adds / 1e6:.0f} M",
            f"{cost.milliseconds:.1f}",
        )
        for name, cost in costs.items()
    )
    remark = f"Milliseconds: median of repeated predictions of one image, {torch.get_num_threads()} thread(s)."
    return TextTable("Cost of one image", ("", "parameters", "multiply-adds", "ms"), lines, (remark,))


def _papers() -> TextTable:
    remarks = (
        "Their figures, on their data (NYU Depth v2), at their sizes: not to be compared with the rows above. Those of "
        "ACAN are not quoted, as they could not be checked against the paper.",
    )
    header = ("as published", *(METRICS[name].heading for name in ("abs_rel", "rmse", "d1", "d2", "d3")))
    return TextTable("What the papers report", header, PAPERS, remarks)
