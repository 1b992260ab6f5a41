"""Studies: recipes against each other over seeds, at equal budgets, and what the figures support."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated

import tyro
from scipy.stats import t as student_t

from leadline.charts import metric_bars
from leadline.datasets import Dataset
from leadline.errors import BadInput, NoSplit
from leadline.evaluate import constants, evaluate
from leadline.loader import hold_out
from leadline.metrics import METRICS
from leadline.models import load, save
from leadline.predict import find_images
from leadline.protocols import protocol
from leadline.recipes import recipe
from leadline.recipes.train import Lesson
from leadline.report import Chart, Report, Section, photographs, reading, worst_images, write_report
from leadline.tables import COLUMNS, Listing, Row, Table, over_runs

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """One metric of two treatments, paired by seed: the first less the second."""

    metric: str
    mean: float
    margin: float
    """Half the width of the 95 % confidence interval of the mean (Student's t); infinite for a single pair."""

    @property
    def winner(self) -> int | None:
        """0 if the first is better, 1 if the second is, None where the interval holds zero."""
        if not abs(self.mean) > self.margin:
            return None
        return self.leader

    @property
    def leader(self) -> int:
        """0 if the first is better on average, else 1."""
        return 0 if (self.mean > 0) == METRICS[self.metric].higher_is_better else 1


def paired_difference(metric: str, first: Sequence[float], second: Sequence[float]) -> Difference:
    """The mean difference of one metric over pairs that share a seed, with its confidence interval."""
    differences = [one - other for one, other in zip(first, second, strict=True)]
    count = len(differences)
    if count < 2:
        return Difference(metric, fmean(differences), math.inf)
    quantile = float(student_t.ppf((1 + CONFIDENCE) / 2, count - 1))
    return Difference(metric, fmean(differences), quantile * stdev(differences) / math.sqrt(count))


def verdict(first: str, second: str, differences: Sequence[Difference], *, seeds: int) -> str:
    """What paired differences support, in words, and no more.

    `first` and `second` name the treatments; "end to end", "multi-stage".
    """
    count = len(differences)
    ahead = sum(each.leader == 0 for each in differences)
    leads = f"on average {first} is ahead in {ahead} and {second} in {count - ahead} of {count} metrics"
    if seeds < 2:
        return f"One seed says nothing of chance, so this decides nothing; {leads.removeprefix('on average ')}."
    sentences = []
    for side, name in ((0, first), (1, second)):
        if won := [METRICS[each.metric].label for each in differences if each.winner == side]:
            sentences.append(f"{name.capitalize()} is better in {', '.join(won)}.")
    undecided = sum(each.winner is None for each in differences)
    if undecided == count:
        sentences.append(f"{seeds} seeds decide no metric; {leads}.")
    elif undecided:
        sentences.append(f"The other {undecided} of {count} metrics are undecided; {leads}.")
    return " ".join(
        [*sentences, f"(Decided: the 95 % interval of the difference over {seeds} paired seeds is off zero.)"]
    )


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
    lesson: Annotated[Lesson, tyro.conf.arg(name="")] = field(default_factory=Lesson)

    def run(self) -> int:
        if self.seeds < 1:
            raise BadInput(f"--seeds {self.seeds}: a study needs one seed at least.")
        report = self.report()
        page = write_report(report, self.out)
        for table in report.sections[0].tables:
            print(table.markdown())
        print(report.prose)
        print(f"The report is {page}")
        return 0

    def report(self) -> Report:
        """Train each recipe from each seed, evaluate, and compare."""
        photos = [source for source, _ in find_images(self.photos)[0]] if self.photos else []
        train, validation, test = _splits(self.lesson, self.out / "cache")
        ruling = protocol(self.lesson.protocol)
        known = constants(train, ruling)
        runs: dict[str, list[Row]] = {name: [] for name in TREATMENTS}
        baselines: Sequence[Row] = ()
        for seed in range(self.seeds):
            course = self.lesson.course(train, validation, seed=seed)
            for name, words in TREATMENTS.items():
                out = self.out / name / f"seed-{seed}"
                model = recipe(name)(course, out)
                save(model, out / "model")
                scored, *baselines = evaluate(model, test, ruling, training=known, name=words).rows
                runs[name].append(scored)

        differences = [
            paired_difference(
                metric,
                [row.metrics[metric] for row in runs["end_to_end"]],
                [row.metrics[metric] for row in runs["multi_stage"]],
            )
            for metric in COLUMNS
        ]
        table = Table(
            f"Trained on {train.name}, scored on {test.name}",
            (*(over_runs(TREATMENTS[name], rows) for name, rows in runs.items()), *baselines),
            notes=(_budget(self.lesson, len(train)),),
            protocol=ruling.as_dict(),
        )
        shown = min(TREATMENTS, key=lambda name: runs[name][0].metrics["rmse"])
        model = load(self.out / shown / "seed-0" / "model")
        sections = [
            Section(
                "Numbers",
                f"Protocol {ruling.description}.",
                (table, _listed(differences)),
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


def _splits(lesson: Lesson, cache: Path) -> tuple[Dataset, Dataset, Dataset]:
    """What to learn from, what to choose the best weights by, and what to score them on: no two share a sample.

    Where the validation split has to serve as the test, every tenth training sample takes its place.
    """
    train, test = lesson.open("train", cache), lesson.open("test", cache)
    try:
        validation = lesson.open("val", cache)
    except NoSplit:
        validation = test
    if validation.name == test.name:
        train, validation = hold_out(train)
    return train, validation, test


def _budget(lesson: Lesson, samples: int) -> str:
    plan = lesson.plan
    return (
        f"Each run had {plan.steps} optimiser steps of {plan.batch_size} images, {plan.steps * plan.batch_size:,} "
        f"in all, from {samples:,} samples; multi-stage spends half of them on the encoder alone. "
        f"Network: {lesson.model}."
    )


def _listed(differences: Sequence[Difference]) -> Listing:
    first, second = TREATMENTS.values()
    lines = tuple(
        (
            METRICS[each.metric].heading,
            f"{each.mean:+.4f}",
            "–" if math.isinf(each.margin) else f"± {each.margin:.4f}",
            "undecided" if each.winner is None else (first, second)[each.winner],
        )
        for each in differences
    )
    return Listing(
        f"{first.capitalize()} less {second}, paired by seed",
        ("metric", "mean difference", "95 % interval", "better"),
        lines,
    )
