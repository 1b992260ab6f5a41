"""Studies: train networks over seeds, score each on a test split, and lay the figures out for a report."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from leadline.core.paths import StrPath
from leadline.data.datasets import Dataset
from leadline.evaluation.evaluate import constant_baseline, evaluate
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.tables import COLUMNS, Row, Table, TextTable
from leadline.models.base import DepthModel
from leadline.models.saving import load_folder
from leadline.recipes import TrainingRun, run_folder, train_and_save
from leadline.recipes.train_options import TrainOptions
from leadline.reporting.charts import metric_bars
from leadline.reporting.report import Chart, Section
from leadline.training.parallel import run_parallel


def train_over_seeds(runs: Mapping[str, tuple[str, TrainingRun]], out: StrPath, *, seeds: int, jobs: int) -> None:
    """Train each run from each of the seeds 0 … n − 1; what was interrupted resumes, what is finished is kept.

    Args:
        runs: folder name → recipe and training run.
        out: the study's folder; see `run_folder`.
        seeds: how many.
        jobs: trainings at a time.
    """
    # All runs of a seed before the next seed: a study that is stopped early then has whole comparisons.
    run_parallel(
        [
            partial(train_and_save, recipe, training_run.seeded(seed), run_folder(out, name, seed))
            for seed in range(seeds)
            for name, (recipe, training_run) in runs.items()
        ],
        jobs,
    )


def trained_model(training_run: TrainingRun, out: StrPath, name: str, seed: int) -> DepthModel:
    """Load what `train_over_seeds` trained, on the device that the run computes on.

    Args:
        training_run: any run of the study, for its hardware.
        out: the study's folder.
        name: the run's folder in it.
        seed: which of its trainings.
    """
    return load_folder(run_folder(out, name, seed) / "model").to(training_run.hardware.device)


def score_over_seeds(
    model: Callable[[str, int], DepthModel],
    names: Mapping[str, str],
    test: Dataset,
    protocol: EvalProtocol,
    *,
    seeds: int,
    training: Dataset,
) -> tuple[dict[str, list[Row]], Sequence[Row]]:
    """Evaluate each trained model on the test split.

    Args:
        model: `(folder name, seed)` → the trained model.
        names: folder name → what the row is called.
        test: what to score on.
        protocol: how to score.
        seeds: how many models there are of each name.
        training: what the constants of the baselines are taken from.

    Returns:
        Folder name → a row for each seed; and the rows of the constant baselines.
    """
    constants = constant_baseline(training, protocol)
    rows: dict[str, list[Row]] = {name: [] for name in names}
    baselines: Sequence[Row] = ()
    for seed in range(seeds):
        for name, title in names.items():
            row, *baselines = evaluate(model(name, seed), test, protocol, training=constants, name=title).rows
            rows[name].append(row)
    return rows, baselines


def describe_budget(
    options: TrainOptions, samples: int, *, unlabelled: int = 0, remark: str, names_network: bool = True
) -> str:
    """Say what each training was given.

    Args:
        options: those of every training.
        samples: how many have a target depth.
        unlabelled: how many images without one there are beside them.
        remark: what else the reader has to know of the trainings.
        names_network: whether the options' network is that of all trainings.
    """
    config = options.config
    besides = f", and {unlabelled:,} unlabelled images where the name of a row says so" if unlabelled else ""
    return (
        f"Each run had {config.steps} optimiser steps of {config.batch_size} images, "
        f"{config.steps * config.batch_size:,} in all, from {samples:,} measured samples{besides}; {remark}."
        + (f" Network: {options.model}." if names_network else "")
    )


def results_table(
    rows: Sequence[Row], train: Dataset, test: Dataset, protocol: EvalProtocol, *, notes: Sequence[str]
) -> Table:
    """Make the main table of a study.

    Args:
        rows: its rows, in order.
        train: what was trained on, for the title.
        test: what was scored on, for the title.
        protocol: how it was scored.
        notes: sentences below the table.
    """
    title = f"Trained on {train.name}, scored on {test.name}"
    return Table(title, tuple(rows), notes=tuple(notes), protocol=protocol.as_dict())


def numbers_section(
    table: Table,
    others: Sequence[TextTable],
    protocol: EvalProtocol,
    *,
    caption: str = "The same as bars from zero.",
) -> Section:
    """Make the section of a study's report that holds its figures: the protocol, the tables, and bars.

    Args:
        table: the main table, which the bars show too.
        others: tables after it.
        protocol: how everything was scored.
        caption: what stands below the bars.
    """
    chart = Chart(metric_bars(table.rows, COLUMNS), caption)
    return Section("Numbers", f"Protocol {protocol.description}.", (table, *others), (chart,))
