"""The study of stages: multi-stage against end-to-end training over seeds, at equal budgets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from leadline.core.ranges import AtLeastOne
from leadline.evaluation.protocols import protocol
from leadline.evaluation.statistics import compare_rows, differences_table, verdict
from leadline.evaluation.tables import average_runs
from leadline.recipes.studies import (
    describe_budget,
    numbers_section,
    results_table,
    score_over_seeds,
    train_over_seeds,
    trained_model,
)
from leadline.recipes.train_options import TrainOptions
from leadline.reporting.report import Report, photo_files, photographs, reading, worst_images

VARIANTS: Mapping[str, str] = {"end_to_end": "end to end", "multi_stage": "multi-stage"}
"""Recipe → what the study's tables call it."""


@dataclass(frozen=True)
class StagesStudyOptions:
    """What the study of stages trains, and where."""

    out: Path = Path("runs/stages")
    """Folder for the runs and for report.html, report.md and report.json."""
    seeds: AtLeastOne = 3
    """Each recipe is trained once from each of the seeds 0 … n − 1."""
    photos: tuple[str, ...] = ()
    """Photographs without a target depth to show predictions of in the report: files, folders or patterns."""
    jobs: AtLeastOne = 1
    """Trainings at a time, each on its share of the cores; on a processor with small networks, as many as it has cores
    is fastest."""
    options: TrainOptions = field(default_factory=TrainOptions)


def study_stages(study: StagesStudyOptions) -> Report:
    """Train each recipe from each seed, evaluate, and compare; an interrupted study resumes.

    Raises:
        BadInput: an option, the data or a run folder cannot be used.
    """
    options, photos = study.options, photo_files(study.photos)
    train, validation, test = options.splits(study.out / "cache")
    rules = protocol(options.protocol)
    training_run = options.training_run(train, validation, seed=0)
    train_over_seeds({name: (name, training_run) for name in VARIANTS}, study.out, seeds=study.seeds, jobs=study.jobs)
    trained = partial(trained_model, training_run, study.out)
    rows, baselines = score_over_seeds(trained, VARIANTS, test, rules, seeds=study.seeds, training=train)

    first, second = VARIANTS.values()
    differences = compare_rows(rows["end_to_end"], rows["multi_stage"])
    budget = describe_budget(options, len(train), remark="multi-stage spends half of them on the encoder alone")
    averages = [average_runs(VARIANTS[name], each) for name, each in rows.items()]
    table = results_table([*averages, *baselines], train, test, rules, notes=[budget])
    caption = "The same as bars from zero, after the paper's Figure 2."
    shown = min(VARIANTS, key=lambda name: rows[name][0].metrics["rmse"])
    model = trained(shown, 0)
    sections = (
        numbers_section(table, [differences_table(first, second, differences)], rules, caption=caption),
        worst_images(model, test, rules, rows[shown][0].worst(6)),
        *([photographs(model, photos)] if photos else []),
        reading(),
    )
    return Report(
        "Multi-stage against end-to-end training",
        sections,
        f"**{verdict(first, second, differences, seeds=study.seeds)}** "
        f"Pictures are of {VARIANTS[shown]}, seed 0. The paper claims that end to end wins on every metric.",
    )
