"""The study of distillation: the source paper's failure, its explanations one by one, and what a teacher adds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.ranges import AtLeastOne, NotNegative
from leadline.core.specs import parse_spec
from leadline.data.datasets import Dataset, open_data
from leadline.data.loader import Subset
from leadline.data.mixing import as_mixture
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.tables import TextTable
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.saving import save
from leadline.recipes import TrainingRun
from leadline.recipes.arms import Arm, baseline_rows, study_record, study_report, train_arms
from leadline.recipes.distil import BEST_WEIGHTS, SCALE_FREE, DistillationExperiment, check_gate, teacher_row
from leadline.recipes.distillation_design import CELLS, DESIGN, PAPER_FIGURES, Cell
from leadline.recipes.relative_teachers import DptRangeTeacher, UnitRangeTeacher
from leadline.recipes.studies import describe_budget
from leadline.recipes.train_options import TrainOptions
from leadline.reporting.report import Report
from leadline.training.objectives import Supervised
from leadline.training.trainer import TrainConfig

STUDENT: Mapping[str, Any] = {
    "data": "rooms,domain=b,count=2048,height=64,width=64",
    "model": "cnn,size=tiny,encoder=mobilenetv3_small_050,width=8,input_size=64:64,max_depth=10000",
    "loss": "silog=1",
    "config": TrainConfig(steps=120, batch_size=16, learning_rate=4e-3, validate_every=120, encoder_lr_scale=1.0),
}
"""Default training options of the student. Its head reaches DPT's numbers, so that it may learn them."""


@dataclass(frozen=True)
class DistillationStudyOptions:
    """What the study of distillation trains, and where."""

    out: Path = Path("runs/distillation")
    """Folder for the runs, the labels and the report."""
    seeds: AtLeastOne = 5
    """Arms of the headline are trained once from each of the seeds 0 … n − 1."""
    ablation_seeds: AtLeastOne = 3
    """The same of the other arms."""
    quick: bool = False
    """One seed and an eighth of the steps."""
    teacher: str | None = None
    """Model whose output is metric depth; unset: a hybrid is trained on `teacher_data` and fine-tuned on the student's
    data."""
    relative_teacher: str | None = None
    """Model whose output is relative depth; unset: the teacher's depth as DPT-hybrid's numbers."""
    teacher_data: str | None = None
    """What the teacher learnt from: the data-matched control has it beside its own samples, and a pretrained student
    starts from it. Unset: 2,048 rooms of domain a; where a teacher is given, these arms are left out."""
    teacher_steps: AtLeastOne = 400
    """Steps of the teacher's training; a fifth as many fine-tune it."""
    pretraining_steps: AtLeastOne = 200
    """Steps of a pretrained student's training on relative depth."""
    labelled: NotNegative = 64
    """Training samples that keep their target depth, evenly spread; 0: all."""
    unlabelled: str = "rest"
    """Images without a target depth: a dataset, the `rest` of the training samples, which no arm has the depth of, or
    `none`, which leaves their arms out."""
    only: tuple[str, ...] = ()
    """Arms to train, with what they are compared with; unset: all."""
    gate: bool = True
    """Stop if the teacher does not beat a student without a teacher on held-out data."""
    train: bool = True
    """Train what is not trained; without, record what is."""
    jobs: AtLeastOne = 1
    """Trainings of students at a time, each on its share of the cores; on a processor, as many as it has cores is
    fastest."""
    options: TrainOptions = field(default_factory=lambda: TrainOptions(**STUDENT))

    @property
    def budget(self) -> "DistillationStudyOptions":
        """These options with the teacher's data, and with the seeds and the steps that `quick` leaves."""
        if self.teacher is None and self.teacher_data is None:
            return replace(self, teacher_data=_TEACHER_DATA).budget
        if not self.quick:
            return self
        config = self.options.config
        return replace(
            self,
            quick=False,
            seeds=1,
            ablation_seeds=1,
            teacher_steps=max(self.teacher_steps // _QUICK, 1),
            pretraining_steps=max(self.pretraining_steps // _QUICK, 1),
            options=replace(self.options, config=replace(config, steps=max(config.steps // _QUICK, 1))),
        )


def study_distillation(study: DistillationStudyOptions, command: str = "") -> tuple[Report, dict[str, Any]]:
    """Train the teacher and every arm, evaluate and compare; an interrupted study resumes.

    Args:
        study: its options.
        command: the command line, for the record.

    Returns:
        The report; and the record.

    Raises:
        BadInput: an option, the data or a folder cannot be used, or the teacher is no better than the control.
    """
    study = study.budget
    cells = chosen_cells(study)
    given = load(study.teacher) if study.teacher else None
    relative = load(study.relative_teacher) if study.relative_teacher else None
    _check_kinds(given, relative)
    options, cache = study.options, study.out / "cache"
    whole, validation, test = options.splits(cache)
    whole = as_mixture(whole)
    measured = {count: _split(whole, count) for count in {study.labelled, *(cell.measured for cell in cells.values())}}
    # Of all arms and not of the chosen ones: a study that is trained in parts has the same unlabelled images in each.
    counts = (study.labelled, *(cell.measured for cell in CELLS.values()))
    most = max((count for count in counts if 0 < count < len(whole)), default=0)
    train = measured[study.labelled][0]
    unlabelled = _split(whole, most)[1] if study.unlabelled == "rest" and study.labelled else None
    if study.unlabelled not in ("rest", "none"):
        unlabelled = open_data(study.unlabelled, "train", cache=cache)
    _check_data(cells, measured, unlabelled)
    training_run = options.training_run(train, validation, seed=0)
    protocol, device = training_run.protocol, training_run.hardware.device
    beside = {"teacher": open_data(study.teacher_data, "train", cache=cache)} if study.teacher_data else {}
    teacher_spec = study.teacher or str(_trained_teacher(study, training_run, cache))
    teacher = (given or load(teacher_spec)).to(device)
    relative = relative.to(device) if relative else DptRangeTeacher(teacher)
    experiment = DistillationExperiment(
        training_run,
        teacher,
        teacher_spec,
        study.out,
        unlabelled,
        {"dpt": relative, "unit": UnitRangeTeacher(relative)},
        {**beside, **({"unlabelled": unlabelled} if unlabelled else {})},
        jobs=study.jobs,
    )
    passed = check_gate(experiment, CELLS["control"].variant, validation, is_on=study.gate)
    arms = _arms(study, cells, experiment, {count: parts[0] for count, parts in measured.items()}, cache)
    if study.train:
        train_arms(arms, study.out, study.jobs)
    of_teacher = teacher_row(teacher, test, protocol)
    budget = describe_budget(options, len(train), unlabelled=len(unlabelled) if unlabelled else 0, remark=BEST_WEIGHTS)
    record = study_record(
        DESIGN.restricted(study.only),
        arms,
        study.out,
        test,
        fixed=[("teacher", of_teacher), *baseline_rows(train, test, protocol)],
        notes=[budget, passed, *_DEPARTURES, training_time(study)],
        tables=[_paper_figures()],
        command=command,
    )
    return study_report(record, train, test, protocol), record


def training_time(study: DistillationStudyOptions) -> str:
    """Say what the trainings took by their own clocks: more than passed, where some ran in parallel."""
    folders = [study.out / name for name in ("teacher", "start", *chosen_cells(study))]
    runs = [json.loads(done.read_text())["seconds"] for each in folders for done in each.rglob("done.json")]
    return f"{len(runs)} trainings, whose own clocks add up to {sum(runs) / 60:.0f} minutes."


def chosen_cells(study: DistillationStudyOptions) -> dict[str, Cell]:
    """Return the arms that were asked for, with what they are compared with, in the order of the table.

    Raises:
        BadInput: an unknown arm, controls alone, or an arm without the unlabelled images that it needs.
    """
    wanted = {*DESIGN.arms(study.only), "control"}
    has_data = study.teacher is None or study.teacher_data is not None
    available = {
        name: cell
        for name, cell in CELLS.items()
        if (study.unlabelled != "none" or not _needs_unlabelled(cell))
        and (has_data or not (cell.variant.beside == "teacher" or cell.start == "relative"))
    }
    for name in study.only:
        if name not in available and _needs_unlabelled(CELLS[name]):
            raise BadInput(f"{name} needs unlabelled images: name some with --unlabelled.")
        if name not in available:
            raise BadInput(f"{name} needs the data that the given teacher learnt from: name them with --teacher-data.")
    return {name: cell for name, cell in available.items() if name in wanted}


def _needs_unlabelled(cell: Cell) -> bool:
    return cell.variant.unlabelled or cell.variant.beside == "unlabelled"


def _arms(
    study: DistillationStudyOptions,
    cells: Mapping[str, Cell],
    experiment: DistillationExperiment,
    measured: Mapping[int, Dataset],
    cache: Path,
) -> dict[str, Arm]:
    """Label what the arms need and pretrain what they start from; folder → arm."""
    starts = {"random": experiment.training_run.network}
    if any(cell.start == "relative" for cell in cells.values()):
        starts["relative"] = _pretrained(study, experiment.training_run, cache)
    arms = {}
    for name, cell in cells.items():
        train = measured[cell.measured or study.labelled]
        run = replace(experiment.training_run, train=train, network=starts[cell.start])
        subset = "measured" if cell.measured in (0, study.labelled) else f"measured-{cell.measured}"
        arms[name] = Arm(
            cell.variant.name,
            replace(experiment, training_run=run, subset=subset).run_of(cell.variant),
            factors=cell.factors,
            seeds=study.seeds if cell.headline else study.ablation_seeds,
        )
    return arms


def _trained_teacher(study: DistillationStudyOptions, student: TrainingRun, cache: Path) -> Path:
    """Train a hybrid on the teacher's data, and then on the student's; return its folder."""
    assert study.teacher_data
    steps = study.teacher_steps
    height, width = student.train[0].size
    config = TrainConfig(steps=steps, batch_size=16, learning_rate=4e-3, validate_every=max(steps // 5, 1))
    on_own_data = TrainingRun(
        network=f"hybrid,size=tiny,input_size={height}:{width}",
        train=open_data(study.teacher_data, "train", cache=cache),
        validation=open_data(study.teacher_data, "val", cache=cache),
        config=config,
        objective=Supervised({"silog": 1.0, "l1": 1.0}),
        protocol=student.protocol,
        hardware=student.hardware,
    )
    folder = study.out / "teacher"
    model = on_own_data.fit(on_own_data.build(), folder / "1-own-data")
    fine_tuned = replace(
        on_own_data,
        train=student.train,
        validation=student.validation,
        config=replace(config, steps=max(steps // 5, 1), learning_rate=5e-4, validate_every=max(steps // 25, 1)),
    )
    save(fine_tuned.fit(model, folder / "2-students-data"), folder / "model")
    return folder / "model"


def _pretrained(study: DistillationStudyOptions, student: TrainingRun, cache: Path) -> str:
    """Train the student's network on relative depth of the teacher's data, as MiDaS is; return it as a start."""
    assert study.teacher_data
    steps, folder = study.pretraining_steps, study.out / "start"
    name, _, arguments = parse_spec(student.network)
    run = replace(
        student,
        network=",".join([name, *(f"{key}={value}" for key, value in {**arguments, "kind": "relative"}.items())]),
        train=open_data(study.teacher_data, "train", cache=cache),
        validation=open_data(study.teacher_data, "val", cache=cache),
        config=replace(student.config, steps=steps, validate_every=max(steps // 4, 1)),
        objective=Supervised(SCALE_FREE),
        protocol=student.protocol.changed(alignment="inverse_scale_shift"),
    )
    save(run.fit(run.build(), folder / "1-relative"), folder / "model")
    head = {key: arguments[key] for key in ("head", "min_depth", "max_depth") if key in arguments}
    return ",".join([f"start:{folder / 'model'}", *(f"{key}={value}" for key, value in head.items())])


_TEACHER_DATA = "rooms,domain=a,count=2048,height=64,width=64"
_QUICK = 8
"""What --quick divides steps by."""
_DEPARTURES = (
    "Departures from the source paper: procedural rooms in place of NYU Depth v2; a network of half a million weights "
    "in place of MiDaS-small; a teacher trained here, whose depth is written as DPT-hybrid's numbers, in place of what "
    "the paper calls a pre-trained transformer network; the truth's and the teacher's term are weighted 1 to 1 where a "
    "row says nothing else, and the paper tried several.",
)


def _check_kinds(teacher: DepthModel | None, relative: DepthModel | None) -> None:
    """Refuse teachers whose kind of depth is not what their option asks for."""
    asked = (("--teacher", teacher, DepthKind.METRIC), ("--relative-teacher", relative, DepthKind.RELATIVE))
    for option, model, kind in asked:
        if model and model.kind is not kind:
            raise BadInput(f"{option} has to output {kind.value} depth, and {model.name!r} outputs {model.kind.value}.")


def _check_data(
    cells: Mapping[str, Cell], measured: Mapping[int, tuple[Dataset, Dataset | None]], unlabelled: Dataset | None
) -> None:
    """Refuse arms that need unlabelled images, or more measured samples, than there are."""
    for name, cell in cells.items():
        if cell.measured and len(measured[cell.measured][0]) < cell.measured:
            raise BadInput(
                f"{name} needs {cell.measured} measured samples, and the data have {len(measured[cell.measured][0])}: "
                "leave such arms out with --only, or take more data."
            )
        if _needs_unlabelled(cell) and unlabelled is None:
            raise BadInput(
                f"{name} needs unlabelled images, and every training sample is labelled: name some with --unlabelled, "
                "keep the target depth of fewer with --labelled, or leave such arms out with --unlabelled none."
            )


def _split(train: Dataset, labelled: int) -> tuple[Dataset, Dataset | None]:
    """Split off `labelled` samples, evenly spread, and the others; all and none where there are not more."""
    count = len(train)
    if not 0 < labelled < count:
        return train, None
    chosen = [number * count // labelled for number in range(labelled)]
    others = sorted(set(range(count)) - set(chosen))
    return (
        Subset(train, chosen, f"{labelled} of {count} of {train.name}"),
        Subset(train, others, f"the other {len(others)} of {train.name}"),
    )


def _paper_figures() -> TextTable:
    remarks = ("Their figures, on their data (NYU Depth v2): not to be compared with the rows above, only in kind.",)
    header = ("the source paper's Table 2", METRICS["rmse"].heading, METRICS["d1"].heading, METRICS["mae"].heading)
    return TextTable("What the source paper reports", header, PAPER_FIGURES, remarks)
