"""Studies: recipes against each other over seeds, at equal budgets, and what the figures support."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from leadline.evaluation.evaluate import constants, evaluate
from leadline.evaluation.protocols import protocol
from leadline.evaluation.statistics import compared, listed, needs_a_seed, verdict
from leadline.evaluation.tables import COLUMNS, Row, Table, over_runs
from leadline.models.loading import load
from leadline.recipes import run_folder, train_and_save
from leadline.recipes.train_options import Lesson
from leadline.reporting.charts import metric_bars
from leadline.reporting.report import Chart, Report, Section, photo_files, photographs, publish, reading, worst_images
from leadline.training.parallel import side_by_side

TREATMENTS: Mapping[str, str] = {"end_to_end": "end to end", "multi_stage": "multi-stage"}
"""Recipe → what the study's tables call it."""


@dataclass(frozen=True)
class StudyStages:
    """Multi-stage against end-to-end training over seeds, with equal steps and images; a killed study continues."""

    out: Path = Path("runs/stages")
    """Folder for the runs and for report.html, report.md and report.json."""
    seeds: int = 3
    """Each recipe is trained once from each of the seeds 0 … n − 1."""
    photos: tuple[str, ...] = ()
    """Photographs without a truth to show predictions of in the report: files, folders or patterns."""
    jobs: int = 1
    """Trainings at a time, each on its share of the cores; on a processor with small networks, as many as it has cores
    is fastest."""
    lesson: Annotated[Lesson, tyro.conf.arg(name="")] = field(default_factory=Lesson)

    def run(self) -> int:
        needs_a_seed(self.seeds)
        print(f"The report is {publish(self.report(), self.out)}")
        return 0

    def report(self) -> Report:
        """Train each recipe from each seed, evaluate, and compare."""
        photos = photo_files(self.photos)
        train, validation, test = self.lesson.splits(self.out / "cache")
        ruling = protocol(self.lesson.protocol)
        known = constants(train, ruling)
        seeds = range(self.seeds)
        course = self.lesson.course(train, validation, seed=0)
        side_by_side(
            [
                partial(train_and_save, name, course.seeded(seed), run_folder(self.out, name, seed))
                for seed in seeds
                for name in TREATMENTS
            ],
            self.jobs,
        )
        runs: dict[str, list[Row]] = {name: [] for name in TREATMENTS}
        baselines: Sequence[Row] = ()
        for seed in seeds:
            for name, words in TREATMENTS.items():
                model = load(run_folder(self.out, name, seed) / "model")
                scored, *baselines = evaluate(model, test, ruling, training=known, name=words).rows
                runs[name].append(scored)

        differences = compared(runs["end_to_end"], runs["multi_stage"])
        table = Table(
            f"Trained on {train.name}, scored on {test.name}",
            (*(over_runs(TREATMENTS[name], rows) for name, rows in runs.items()), *baselines),
            notes=(_budget(self.lesson, len(train)),),
            protocol=ruling.as_dict(),
        )
        shown = min(TREATMENTS, key=lambda name: runs[name][0].metrics["rmse"])
        model = load(run_folder(self.out, shown, 0) / "model")
        sections = [
            Section(
                "Numbers",
                f"Protocol {ruling.description}.",
                (table, listed(TREATMENTS["end_to_end"], TREATMENTS["multi_stage"], differences)),
                (Chart(metric_bars(table.rows, COLUMNS), "The same as bars from zero, after the paper's Figure 2."),),
            ),
            worst_images(model, test, ruling, runs[shown][0].worst(6)),
            *([photographs(model, photos)] if photos else []),
            reading(),
        ]
        found = verdict(TREATMENTS["end_to_end"], TREATMENTS["multi_stage"], differences, seeds=self.seeds)
        return Report(
            "Multi-stage against end-to-end training",
            tuple(sections),
            f"**{found}** "
            f"Pictures are of {TREATMENTS[shown]}, seed 0. The paper claims that end to end wins on every metric.",
        )


def _budget(lesson: Lesson, samples: int) -> str:
    plan = lesson.plan
    return (
        f"Each run had {plan.steps} optimiser steps of {plan.batch_size} images, {plan.steps * plan.batch_size:,} "
        f"in all, from {samples:,} samples; multi-stage spends half of them on the encoder alone. "
        f"Network: {lesson.model}."
    )
