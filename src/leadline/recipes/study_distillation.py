"""The study of distillation: the source paper's failure reproduced, then fixed step by step, against a control."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known
from leadline.core.ranges import AtLeastOne, NotNegative
from leadline.data.datasets import Dataset, open_data
from leadline.data.loader import Subset
from leadline.data.mixing import as_mixture
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.statistics import Difference, compare_rows, describe_difference
from leadline.evaluation.tables import Row, Table, TextTable, average_runs
from leadline.models.base import DepthModel, ModelSpec
from leadline.models.loading import load
from leadline.models.saving import save
from leadline.recipes import TrainingRun
from leadline.recipes.distil import (
    BEST_WEIGHTS,
    METRES,
    SCALE_FREE,
    DistillationExperiment,
    Variant,
    check_gate,
    teacher_row,
)
from leadline.recipes.studies import describe_budget, numbers_section, results_table
from leadline.recipes.train_options import TrainOptions
from leadline.reporting.report import Report, reading
from leadline.training.objectives import Supervised
from leadline.training.trainer import TrainConfig

VARIANTS: Mapping[str, Variant] = {
    "control": Variant("control: no teacher"),
    "0-paper": Variant(
        "0 the paper's: relative teacher, its numbers taken for metres, two log losses",
        {"silog": 1.0},
        alignment="none",
        relative=True,
        mixes_kinds=True,
        network="head=softplus",
    ),
    "1-aligned": Variant(
        "1 + labels aligned to metres", {"silog": 1.0}, alignment="truth", relative=True, network="head=softplus"
    ),
    "2-head": Variant("2 + log head", {"silog": 1.0}, alignment="truth", relative=True),
    "3-scale-free": Variant("3 + scale-free teacher loss instead", SCALE_FREE, alignment="none", relative=True),
    "4-confidence": Variant("4 + confidence weights", SCALE_FREE, alignment="none", relative=True, confidence=True),
    "5-unlabelled-relative": Variant(
        "5a + unlabelled images, relative teacher",
        SCALE_FREE,
        alignment="none",
        relative=True,
        confidence=True,
        unlabelled=True,
    ),
    "5-unlabelled": Variant(
        "5b the same with a teacher in metres, log losses", METRES, alignment="none", confidence=True, unlabelled=True
    ),
    "6-features": Variant(
        "6 + features of several layers",
        {**METRES, "features": 0.5},
        alignment="none",
        confidence=True,
        unlabelled=True,
    ),
    "7-longer": Variant(
        "7 = 5b, twice as long", METRES, alignment="none", confidence=True, unlabelled=True, stretch=2.0
    ),
    "7-control": Variant("control, twice as long", stretch=2.0),
    "filled-naive": Variant(
        "holes filled with the relative teacher's numbers (the paper's)",
        alignment="none",
        relative=True,
        holes="naive",
        mixes_kinds=True,
    ),
    "filled-gated": Variant(
        "holes filled with metres, gated by confidence", relative=True, alignment="truth", holes="gated"
    ),
}
"""Folder → variant, in the order of the table; each fixes one more thing than the one before it."""
CONTROLS: Mapping[str, str] = {"7-longer": "7-control"}
"""Treatments whose steps another control matches."""
PAPER_FIGURES = (
    ("baseline: ground truth alone", "0.619", "0.701", "0.470"),
    ("a second loss term from DPT", "1.151", "0.417", "0.817"),
    ("holes filled by DPT", "1.181", "0.407", "0.907"),
)
"""The source paper's Table 2: RMSE (m), δ < 1.25, MAE (m); MiDaS-small on NYU Depth v2."""


STUDENT: Mapping[str, Any] = {
    "data": "rooms,domain=b,count=2064,height=64,width=96",
    "model": "cnn,size=tiny,input_size=64:96",
    "loss": "silog=1",
    "config": TrainConfig(steps=1000, batch_size=16, learning_rate=4e-3, validate_every=200),
}
"""Default training options of the student."""


@dataclass(frozen=True)
class DistillationStudyOptions:
    """What the study of distillation trains, and where."""

    out: Path = Path("runs/distillation")
    """Folder for the runs, the labels and the report."""
    seeds: AtLeastOne = 3
    """Each variant is trained once from each of the seeds 0 … n − 1."""
    quick: bool = False
    """One seed and an eighth of the steps."""
    teacher: str | None = None
    """Model whose output is metric depth; unset: a hybrid is trained on `teacher_data` and fine-tuned on the student's
    data."""
    relative_teacher: str | None = None
    """Model whose output is relative depth; unset: the teacher's output without its unit."""
    teacher_data: str = "rooms,domain=a,count=8192,height=64,width=96"
    """What the teacher is trained on, where none is given."""
    teacher_steps: AtLeastOne = 2500
    """Steps of that training; a fifth as many fine-tune it."""
    labelled: NotNegative = 64
    """Training samples that keep their target depth, evenly spread; 0: all."""
    unlabelled: str = "rest"
    """Images without a target depth: a dataset, the `rest` of the training samples, or `none`, which leaves their rows
    out."""
    only: tuple[str, ...] = ()
    """Folders of `VARIANTS` to train, besides the control; unset: all."""
    gate: bool = True
    """Stop if the teacher does not beat a student without a teacher on held-out data."""
    jobs: AtLeastOne = 1
    """Trainings of students at a time, each on its share of the cores; on a processor, as many as it has cores is
    fastest."""
    options: TrainOptions = field(default_factory=lambda: TrainOptions(**STUDENT))

    @property
    def budget(self) -> "DistillationStudyOptions":
        """These options with the seeds and the steps that `quick` leaves."""
        if not self.quick:
            return self
        config = self.options.config
        return replace(
            self,
            quick=False,
            seeds=1,
            teacher_steps=max(self.teacher_steps // _QUICK, 1),
            options=replace(self.options, config=replace(config, steps=max(config.steps // _QUICK, 1))),
        )


def study_distillation(study: DistillationStudyOptions) -> tuple[Report, dict[str, Any]]:
    """Train the teacher and every variant, evaluate and compare; an interrupted study resumes.

    Returns:
        The report; and what a JSON file records of it.

    Raises:
        BadInput: an option, the data or a folder cannot be used, or the teacher is no better than the control.
    """
    study = study.budget
    variants = chosen_variants(study)
    given = load(study.teacher) if study.teacher else None
    relative = load(study.relative_teacher) if study.relative_teacher else None
    _check_kinds(given, relative)
    options, seeds, cache = study.options, study.seeds, study.out / "cache"
    train, validation, test = options.splits(cache)
    train, rest = _split_labelled(as_mixture(train), study.labelled)
    unlabelled = rest if study.unlabelled == "rest" else None
    if study.unlabelled not in ("rest", "none"):
        unlabelled = open_data(study.unlabelled, "train", cache=cache)
    _check_unlabelled(variants, unlabelled)
    training_run = options.training_run(train, validation, seed=0)
    protocol, device = training_run.protocol, training_run.hardware.device
    teacher_spec = study.teacher or str(_trained_teacher(study, training_run, cache))
    teacher = (given or load(teacher_spec)).to(device)
    relative = relative.to(device) if relative else UnscaledModel(teacher)
    experiment = DistillationExperiment(
        training_run, teacher, teacher_spec, study.out, unlabelled, relative, jobs=study.jobs
    )
    passed = check_gate(experiment, VARIANTS["control"], validation, is_on=study.gate)
    rows, baselines = experiment.evaluate(variants, seeds, test, training=train)
    differences = {
        name: compare_rows(each, rows[CONTROLS.get(name, "control")])
        for name, each in rows.items()
        if name not in ("control", *CONTROLS.values())
    }
    of_teacher = teacher_row(teacher, test, protocol)
    averages = [average_runs(variants[name].name, each) for name, each in rows.items()]
    budget = describe_budget(options, len(train), unlabelled=len(unlabelled) if unlabelled else 0, remark=BEST_WEIGHTS)
    table = results_table([*averages, of_teacher, *baselines], train, test, protocol, notes=[budget, passed])
    comparisons = [_differences_to_control(variants, rows, differences, of_teacher), _paper_figures()]
    # By validation: the best on the test split would be ahead there by chance, too.
    best = max(differences, key=lambda name: sum(experiment.validation_score(name, seed) for seed in range(seeds)))
    prose = "**" + " ".join(_sentences(variants, differences, best, seeds)) + "**"
    sections = (numbers_section(table, comparisons, protocol), reading())
    names = (*rows, "teacher", *("baseline" for _ in baselines))
    report = Report("Distillation: why it failed, and what fixes it", sections, prose)
    return report, _record(table, names, differences)


def training_time(study: DistillationStudyOptions) -> str:
    """Say what the trainings took by their own clocks: more than passed, where some ran in parallel."""
    folders = [study.out / name for name in ("teacher", *chosen_variants(study))]
    runs = [json.loads(done.read_text())["seconds"] for each in folders for done in each.rglob("done.json")]
    return f"{len(runs)} trainings, whose own clocks add up to {sum(runs) / 60:.0f} minutes."


def chosen_variants(study: DistillationStudyOptions) -> dict[str, Variant]:
    """Return the variants that were asked for, with their controls, in the order of the table.

    Raises:
        BadInput: an unknown variant, controls alone, or a variant without the unlabelled images that it needs.
    """
    for name in study.only:
        check_known("variant", name, VARIANTS)
        if VARIANTS[name].unlabelled and study.unlabelled == "none":
            raise BadInput(f"{name} needs unlabelled images: name some with --unlabelled.")
    if study.only and not set(study.only) - {"control", *CONTROLS.values()}:
        raise BadInput("--only names controls alone: name a variant to compare with them.")
    available = [name for name, each in VARIANTS.items() if study.unlabelled != "none" or not each.unlabelled]
    wanted = [name for name in available if name in (study.only or VARIANTS)]
    wanted += ["control", *(CONTROLS[name] for name in wanted if name in CONTROLS)]
    return {name: VARIANTS[name] for name in VARIANTS if name in wanted}


def _trained_teacher(study: DistillationStudyOptions, student: TrainingRun, cache: Path) -> Path:
    """Train a hybrid on the teacher's data, and then on the student's; return its folder."""
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


class UnscaledModel(DepthModel):
    """Strip the unit from a metric model: output inverse depth from 0 to 10 over each image, as DPT does."""

    def __init__(self, metric: DepthModel) -> None:
        super().__init__(
            DepthKind.RELATIVE,
            replace(metric.preprocessing, focal=None),
            metric.provenance,
            spec=ModelSpec(f"{metric.name} without its unit", metric.arguments),
        )
        self.metric = metric
        self.encoder = metric.encoder
        self.eval()

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        inverse = 1 / self.metric.forward_canonical(image)
        low, high = inverse.amin((1, 2, 3), keepdim=True), inverse.amax((1, 2, 3), keepdim=True)
        return 10 * (inverse - low) / (high - low).clamp_min(torch.finfo(inverse.dtype).tiny)

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        return self.metric.features(image)


_QUICK = 8
"""What --quick divides steps by."""


def _record(table: Table, names: Sequence[str], differences: Mapping[str, Sequence[Difference]]) -> dict[str, Any]:
    """What JSON keeps of the main table, whose rows belong to the variants of these folder names."""
    return {
        "protocol": table.protocol,
        "notes": list(table.notes),
        "rows": [
            {
                **row.as_dict(),
                "seeds": row.runs,
                "difference_to_control": {
                    each.metric: {"mean": each.mean, "margin_95": each.margin if row.runs > 1 else None}
                    for each in differences.get(name, ())
                },
            }
            for name, row in zip(names, table.rows, strict=True)
        ],
        "papers_own_figures_on_their_data": [list(line) for line in PAPER_FIGURES],
    }


def _check_kinds(teacher: DepthModel | None, relative: DepthModel | None) -> None:
    """Refuse teachers whose kind of depth is not what their option asks for."""
    asked = (("--teacher", teacher, DepthKind.METRIC), ("--relative-teacher", relative, DepthKind.RELATIVE))
    for option, model, kind in asked:
        if model and model.kind is not kind:
            raise BadInput(f"{option} has to output {kind.value} depth, and {model.name!r} outputs {model.kind.value}.")


def _check_unlabelled(variants: Mapping[str, Variant], unlabelled: Dataset | None) -> None:
    """Refuse variants that need unlabelled images where no training sample is left over."""
    for name, variant in variants.items():
        if variant.unlabelled and unlabelled is None:
            raise BadInput(
                f"{name} needs unlabelled images, and every training sample is labelled: name some with --unlabelled, "
                "keep the target depth of fewer with --labelled, or leave such variants out with --unlabelled none."
            )


def _split_labelled(train: Dataset, labelled: int) -> tuple[Dataset, Dataset | None]:
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


def _differences_to_control(
    variants: Mapping[str, Variant],
    rows: Mapping[str, Sequence[Row]],
    differences: Mapping[str, Sequence[Difference]],
    teacher: Row,
) -> TextTable:
    """Each variant's RMSE against its control's: the ratio, the fraction of the way to the teacher, the interval."""
    lines = []
    for name, each in differences.items():
        control = average_runs("", rows[CONTROLS.get(name, "control")]).metrics["rmse"]
        own = average_runs("", rows[name]).metrics["rmse"]
        of_rmse = next(one for one in each if one.metric == "rmse")
        ahead = sum(one.winner == 0 for one in each)
        behind = sum(one.winner == 1 for one in each)
        way = (control - own) / (control - teacher.metrics["rmse"])
        lines.append(
            (
                variants[name].name,
                f"{own / control:.2f}",
                f"{way:.0%}",
                f"{of_rmse.mean:+.3f}",
                "–" if of_rmse.margin == float("inf") else f"± {of_rmse.margin:.3f}",
                f"{ahead} / {behind} of {len(each)}",
            )
        )
    header = (
        "against its control",
        "RMSE ratio",
        "way to the teacher",
        "RMSE difference (m)",
        "95 % interval",
        "metrics better / worse",
    )
    return TextTable("Differences to the step-matched control, paired by seed", header, tuple(lines))


def _paper_figures() -> TextTable:
    remarks = ("Their figures, on their data (NYU Depth v2): not to be compared with the rows above, only in kind.",)
    header = ("the source paper's Table 2", METRICS["rmse"].heading, METRICS["d1"].heading, METRICS["mae"].heading)
    return TextTable("What the source paper reports", header, PAPER_FIGURES, remarks)


def _sentences(
    variants: Mapping[str, Variant], differences: Mapping[str, Sequence[Difference]], best: str, seeds: int
) -> list[str]:
    """The verdicts in RMSE of the paper's setup and of the best variant, chosen by validation."""
    of_rmse = {name: next(one for one in each if one.metric == "rmse") for name, each in differences.items()}
    sentences = []
    if "0-paper" in of_rmse:
        sentences.append(
            describe_difference("The paper's distillation", "its control", of_rmse["0-paper"], seeds=seeds)
        )
    student = f"The student that validated best ({variants[best].name})"
    sentences.append(describe_difference(student, "its control", of_rmse[best], seeds=seeds))
    return sentences
