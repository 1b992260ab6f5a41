"""Options and steps that the studies of stages, architectures and losses share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadline.core.ranges import AtLeastOne
from leadline.data.datasets import Dataset
from leadline.evaluation.statistics import check_seeds
from leadline.evaluation.tables import TextTable
from leadline.recipes import TrainingRun
from leadline.recipes.arms import Arm, Design, baseline_rows, study_record, study_report, train_arms
from leadline.recipes.train_options import TrainOptions
from leadline.reporting.report import Chart, Report


@dataclass(frozen=True)
class StudyOptions:
    """What a study trains, and where."""

    out: Path
    """Folder for the runs, the report and the record."""
    seeds: AtLeastOne = 3
    """Each arm is trained once from each of the seeds 0 … n − 1."""
    only: tuple[str, ...] = ()
    """Arms to train, with what they are compared with; unset: all."""
    train: bool = True
    """Train what is not trained; without, record what is."""
    jobs: AtLeastOne = 1
    """Trainings at a time, each on its share of the cores; on a processor with small networks, as many as it has cores
    is fastest."""
    options: TrainOptions = field(default_factory=TrainOptions)


@dataclass(frozen=True)
class StudyData:
    """The samples of a study, and the training run that its arms change."""

    train: Dataset
    test: Dataset
    training_run: TrainingRun


def open_study(study: StudyOptions, design: Design) -> StudyData:
    """Open the data of a study and make its training run.

    Raises:
        BadInput: no seeds, no such arms, or an option or the data cannot be used.
    """
    check_seeds(study.seeds)
    design.arms(study.only)
    train, validation, test = study.options.splits(study.out / "cache")
    return StudyData(train, test, study.options.training_run(train, validation, seed=0))


def finish_study(
    study: StudyOptions,
    design: Design,
    arms: Mapping[str, Arm],
    data: StudyData,
    *,
    notes: Sequence[str],
    tables: Sequence[TextTable] = (),
    charts: Sequence[Chart] = (),
    command: str = "",
) -> tuple[Report, dict[str, Any]]:
    """Train the arms unless only a record is asked for, score them, and make report and record.

    Args:
        study: its options.
        design: its questions and claims.
        arms: folder name → arm; those that `--only` leaves out may be there.
        data: of `open_study`.
        notes: sentences below the table.
        tables: of what others report.
        charts: drawings beside the bars.
        command: the command line, for the record.
    """
    chosen = {name: arms[name] for name in design.arms(study.only)}
    if study.train:
        train_arms(chosen, study.out, study.jobs)
    protocol = data.training_run.protocol
    record = study_record(
        design.restricted(study.only),
        chosen,
        study.out,
        data.test,
        fixed=baseline_rows(data.train, data.test, protocol),
        notes=notes,
        tables=tables,
        command=command,
    )
    return study_report(record, data.train, data.test, protocol, charts), record
