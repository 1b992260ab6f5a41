"""Studies: recipes against each other over seeds, at equal budgets, and what the figures support."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from leadline.core.ranges import AtLeastOne, check_fields
from leadline.evaluation.evaluate import constant_baseline, evaluate
from leadline.evaluation.protocols import protocol
from leadline.evaluation.statistics import compare_rows, differences_table, verdict
from leadline.evaluation.tables import COLUMNS, Row, Table, average_runs
from leadline.models.loading import load
from leadline.recipes import run_folder, train_and_save
from leadline.recipes.train_options import TrainOptions
from leadline.reporting.charts import metric_bars
from leadline.reporting.report import (
    Chart,
    Report,
    Section,
    check_report_folder,
    photo_files,
    photographs,
    publish,
    reading,
    worst_images,
)
from leadline.training.parallel import run_parallel

VARIANTS: Mapping[str, str] = {"end_to_end": "end to end", "multi_stage": "multi-stage"}
"""Recipe → what the study's tables call it."""


@dataclass(frozen=True)
class StudyStages:
    """Multi-stage against end-to-end training over seeds, with equal steps and images; a killed study continues."""

    out: Path = Path("runs/stages")
    """Folder for the runs and for report.html, report.md and report.json."""
    seeds: AtLeastOne = 3
    """Each recipe is trained once from each of the seeds 0 … n − 1."""
    photos: tuple[str, ...] = ()
    """Photographs without a truth to show predictions of in the report: files, folders or patterns."""
    jobs: AtLeastOne = 1
    """Trainings at a time, each on its share of the cores; on a processor with small networks, as many as it has cores
    is fastest."""
    options: Annotated[TrainOptions, tyro.conf.arg(name="")] = field(default_factory=TrainOptions)

    def run(self) -> int:
        check_fields(self)
        check_report_folder(self.out)
        print(f"The report is {publish(self.report(), self.out)}")
        return 0

    def report(self) -> Report:
        """Train each recipe from each seed, evaluate, and compare."""
        photos = photo_files(self.photos)
        train, validation, test = self.options.splits(self.out / "cache")
        ruling = protocol(self.options.protocol)
        known = constant_baseline(train, ruling)
        seeds = range(self.seeds)
        training_run = self.options.training_run(train, validation, seed=0)
        run_parallel(
            [
                partial(train_and_save, name, training_run.seeded(seed), run_folder(self.out, name, seed))
                for seed in seeds
                for name in VARIANTS
            ],
            self.jobs,
        )
        runs: dict[str, list[Row]] = {name: [] for name in VARIANTS}
        baselines: Sequence[Row] = ()
        for seed in seeds:
            for name, words in VARIANTS.items():
                model = load(run_folder(self.out, name, seed) / "model")
                scored, *baselines = evaluate(model, test, ruling, training=known, name=words).rows
                runs[name].append(scored)

        differences = compare_rows(runs["end_to_end"], runs["multi_stage"])
        table = Table(
            f"Trained on {train.name}, scored on {test.name}",
            (*(average_runs(VARIANTS[name], rows) for name, rows in runs.items()), *baselines),
            notes=(_budget(self.options, len(train)),),
            protocol=ruling.as_dict(),
        )
        shown = min(VARIANTS, key=lambda name: runs[name][0].metrics["rmse"])
        model = load(run_folder(self.out, shown, 0) / "model")
        sections = [
            Section(
                "Numbers",
                f"Protocol {ruling.description}.",
                (table, differences_table(VARIANTS["end_to_end"], VARIANTS["multi_stage"], differences)),
                (Chart(metric_bars(table.rows, COLUMNS), "The same as bars from zero, after the paper's Figure 2."),),
            ),
            worst_images(model, test, ruling, runs[shown][0].worst(6)),
            *([photographs(model, photos)] if photos else []),
            reading(),
        ]
        found = verdict(VARIANTS["end_to_end"], VARIANTS["multi_stage"], differences, seeds=self.seeds)
        return Report(
            "Multi-stage against end-to-end training",
            tuple(sections),
            f"**{found}** "
            f"Pictures are of {VARIANTS[shown]}, seed 0. The paper claims that end to end wins on every metric.",
        )


def _budget(options: TrainOptions, samples: int) -> str:
    config = options.config
    return (
        f"Each run had {config.steps} optimiser steps of {config.batch_size} images, {config.steps * config.batch_size:,} "
        f"in all, from {samples:,} samples; multi-stage spends half of them on the encoder alone. "
        f"Network: {options.model}."
    )
