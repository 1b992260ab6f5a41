"""The study of the literature: its networks trained side by side, on equal images and in equal steps."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from leadline.core.errors import BadInput, check_known
from leadline.core.ranges import AtLeastOne
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.statistics import Difference, compare_rows, describe_difference
from leadline.evaluation.tables import Row, TextTable, average_runs
from leadline.models.base import DepthModel
from leadline.recipes import TrainingRun
from leadline.recipes.studies import (
    describe_budget,
    numbers_section,
    results_table,
    score_over_seeds,
    train_over_seeds,
    trained_model,
)
from leadline.recipes.train_options import TrainOptions, parse_weights
from leadline.reporting.charts import error_against_cost
from leadline.reporting.model_table import multiply_adds
from leadline.reporting.report import Chart, Report, reading
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
TRAINING: Mapping[str, Any] = {
    "data": "rooms,domain=a,count=2048,height=64,width=96",
    "loss": "silog=1",
    "config": TrainConfig(steps=600, batch_size=16, learning_rate=2e-3, validate_every=150),
}
"""Default training options of the study."""


@dataclass(frozen=True)
class LiteratureStudyOptions:
    """What the study of the literature trains, and where."""

    out: Path = Path("runs/literature")
    """Folder for the runs and the report."""
    seeds: AtLeastOne = 3
    """Each network is trained once from each of the seeds 0 … n − 1."""
    networks: tuple[str, ...] = ()
    """Folders of `NETWORKS` to train, besides the control `cnn`; unset: all."""
    jobs: AtLeastOne = 1
    """Trainings at a time, each on its share of the cores; on a processor with small networks, as many as it has cores
    is fastest."""
    options: TrainOptions = field(default_factory=lambda: TrainOptions(**TRAINING))


@dataclass(frozen=True)
class Cost:
    """What one image costs."""

    parameters: int
    multiply_adds: int
    """Of matrix products and convolutions."""
    milliseconds: float
    """Median over repeated predictions of one image, on the device and with the threads at hand."""


def study_literature(study: LiteratureStudyOptions) -> tuple[Report, dict[str, Any]]:
    """Train each network from each seed, evaluate, and compare; an interrupted study resumes.

    Returns:
        The report; and what a JSON file records of it.

    Raises:
        BadInput: an option, the data or a run folder cannot be used.
    """
    contenders, options = chosen_networks(study.networks), study.options
    train, validation, test = options.splits(study.out / "cache")
    base = options.training_run(train, validation, seed=0)
    height, width = train[0].size
    runs = {name: (each.recipe, _run(base, each, height, width)) for name, each in contenders.items()}
    for _, run in runs.values():
        # What cannot be built or lacks a loss's side outputs is refused before anything is trained.
        run.objective.parts(run.build())
    train_over_seeds(runs, study.out, seeds=study.seeds, jobs=study.jobs)

    trained = partial(trained_model, base, study.out)
    titles = {name: each.title for name, each in contenders.items()}
    rows, baselines = score_over_seeds(trained, titles, test, base.protocol, seeds=study.seeds, training=train)
    costs = {name: measure_cost(trained(name, 0), (height, width)) for name in contenders}
    averages = {name: average_runs(titles[name], each) for name, each in rows.items()}
    differences = {name: compare_rows(rows[name], rows[CONTROL]) for name in contenders if name != CONTROL}

    budget = describe_budget(options, len(train), remark="the weights are those that validated best")
    notes = [budget.partition(" Network:")[0], _losses(contenders, options.loss)]
    table = results_table([*averages.values(), *baselines], train, test, base.protocol, notes=notes)
    section = numbers_section(table, [_costs(titles, costs), _papers()], base.protocol)
    points = [
        (titles[name], cost.multiply_adds, averages[name].metrics["rmse"], averages[name].errors.get("rmse", 0.0))
        for name, cost in costs.items()
    ]
    chart = Chart(
        error_against_cost(points, METRICS["rmse"].heading), "Error against multiply-adds; bars of one standard error."
    )
    prose = "**" + " ".join(_verdicts(titles, differences, study.seeds)) + "**"
    sections = (replace(section, figures=(chart, *section.figures)), reading())
    record = {
        "options": json.loads(json.dumps(asdict(study), default=str)),
        "protocol": base.protocol.as_dict(),
        "notes": notes,
        "verdict": prose.strip("*"),
        "rows": [_recorded(name, rows[name], averages[name], costs[name], differences) for name in contenders],
        "baselines": [row.as_dict() for row in baselines],
        "papers_own_figures_on_their_data": [list(line) for line in PAPERS],
    }
    return Report("The literature's networks, side by side", sections, prose), record


def chosen_networks(names: Sequence[str]) -> dict[str, Contender]:
    """Return the contenders of these names and the control, in the order of the table; all where none is named.

    Raises:
        BadInput: an unknown name, or the control alone.
    """
    for name in names:
        check_known("network", name, NETWORKS)
    if names and set(names) == {CONTROL}:
        raise BadInput(f"--networks names the control {CONTROL} alone: name a network to compare with it.")
    wanted = {*names, CONTROL} if names else NETWORKS.keys()
    return {name: each for name, each in NETWORKS.items() if name in wanted}


def measure_cost(model: DepthModel, size: tuple[int, int], *, repeats: int = 15) -> Cost:
    """Measure what one image costs.

    Args:
        model: the network, on the device to measure on.
        size: height and width of the image.
        repeats: predictions to take the median time of, after three that are not timed.
    """
    device = next(model.parameters()).device
    image = torch.rand(1, 3, *size, device=device)
    model.eval()
    seconds = []
    with torch.inference_mode():
        for _ in range(3 + repeats):
            started_at = time.perf_counter()
            model(image).sum().item()
            seconds.append(time.perf_counter() - started_at)
    parameters = sum(each.numel() for each in model.parameters())
    return Cost(parameters, multiply_adds(model.to("meta")), 1000 * median(seconds[3:]))


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


def _verdicts(titles: Mapping[str, str], differences: Mapping[str, Sequence[Difference]], seeds: int) -> list[str]:
    """A sentence on the RMSE of each network against the control."""
    return [
        describe_difference(titles[name], titles[CONTROL], _of_rmse(each), seeds=seeds)
        for name, each in differences.items()
    ]


def _of_rmse(differences: Sequence[Difference]) -> Difference:
    return next(each for each in differences if each.metric == "rmse")


def _recorded(
    name: str,
    rows: Sequence[Row],
    average: Row,
    cost: Cost,
    differences: Mapping[str, Sequence[Difference]],
) -> dict[str, Any]:
    return {
        "folder": name,
        **average.as_dict(),
        "seeds": [row.as_dict()["metrics"] for row in rows],
        "cost": asdict(cost),
        "difference_to_control": {
            each.metric: {"mean": each.mean, "margin_95": None if math.isinf(each.margin) else each.margin}
            for each in differences.get(name, ())
        },
    }
