"""The study of distillation: the source paper's collapse redone, then one repair a row, against a control."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, unknown
from leadline.core.ranges import AtLeastOne, NotNegative, check_fields
from leadline.data.datasets import Dataset, open_data
from leadline.data.loader import Subset
from leadline.data.mixing import as_mixture
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.statistics import Difference, compare_rows, describe_difference
from leadline.evaluation.tables import COLUMNS, Listing, Row, Table, average_runs
from leadline.io.atomic import atomic_write
from leadline.io.outputs import check_replaceable
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.saving import save
from leadline.recipes import TrainingRun
from leadline.recipes.distil import (
    METRES,
    SCALE_FREE,
    DistillationExperiment,
    Variant,
    describe_budget,
    evaluate_runs,
    gate,
    teacher_row,
)
from leadline.recipes.train_options import TrainOptions
from leadline.reporting.charts import metric_bars
from leadline.reporting.report import Chart, Report, Section, check_report_folder, publish, reading
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
"""Folder → variant, in the order of the table; each row repairs one more thing than the row above it."""
CONTROLS: Mapping[str, str] = {"7-longer": "7-control"}
"""Treatments whose steps another control matches."""
PAPERS = (
    ("baseline: ground truth alone", "0.619", "0.701", "0.470"),
    ("a second loss term from DPT", "1.151", "0.417", "0.817"),
    ("holes filled by DPT", "1.181", "0.407", "0.907"),
)
"""The source paper's Table 2: RMSE (m), δ < 1.25, MAE (m); MiDaS-small on NYU Depth v2."""


@dataclass(frozen=True)
class StudyDistillation:
    """Why the paper's distillation failed, and what mends it: each repair a row, against a control without a teacher.

    Without options: rooms of domain a teach a hybrid, which 64 rooms of domain b fine-tune; the student is a small
    network that has those 64, and 2000 rooms of domain b without a truth. The real thing, for who has the file:
    --data nyu --labelled 0 --unlabelled none --teacher dpt_hybrid_nyu --relative-teacher dpt_hybrid
    --student midas_small,kind=metric,head=log. A killed study continues.
    """

    out: Path = Path("runs/distillation")
    """Folder for the runs, the labels and the report."""
    seeds: AtLeastOne = 3
    """Each variant is trained once from each of the seeds 0 … n − 1."""
    quick: bool = False
    """One seed and an eighth of the steps."""
    teacher: str | None = None
    """Model that answers metres; unset: a hybrid is trained on `teacher_data` and fine-tuned on the student's data."""
    relative_teacher: str | None = None
    """Model that answers relative depth; unset: the teacher's answers, robbed of their unit."""
    teacher_data: str = "rooms,domain=a,count=8192,height=64,width=96"
    """What the teacher is trained on, where none is given."""
    teacher_steps: AtLeastOne = 2500
    """Steps of that training; a fifth as many fine-tune it."""
    labelled: NotNegative = 64
    """Training samples that keep their truth, evenly spread; 0: all."""
    unlabelled: str = "rest"
    """Images without a truth: words of a dataset, the `rest` of the training samples, or `none`, which leaves their
    rows out."""
    only: tuple[str, ...] = ()
    """Folders of `VARIANTS` to train, besides the control; unset: all."""
    record: Path | None = None
    """Folder for distillation.md and distillation.json, the table alone."""
    gate: bool = True
    """Stop if the teacher does not beat the untaught student on held-out data."""
    jobs: AtLeastOne = 1
    """Trainings of students at a time, each on its share of the cores; on a processor, as many as it has cores is
    fastest."""
    options: Annotated[TrainOptions, tyro.conf.arg(name="")] = field(
        default_factory=lambda: TrainOptions(
            data="rooms,domain=b,count=2064,height=64,width=96",
            model="cnn,size=tiny,input_size=64:96",
            loss="silog=1",
            config=TrainConfig(steps=1000, batch_size=16, learning_rate=4e-3, validate_every=200),
        )
    )

    def run(self) -> int:
        check_fields(self)
        check_report_folder(self.out)
        for folder in filter(None, (self.out, self.record)):
            check_replaceable(
                folder / "distillation.json",
                "--out" if folder == self.out else "--record",
                keys=frozenset({"command", "rows"}),
                beside=["distillation.md"],
            )
        report, record = self.report()
        page = publish(report, self.out)
        for folder in filter(None, (self.out, self.record)):
            with atomic_write(folder / "distillation.json") as half:
                half.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            with atomic_write(folder / "distillation.md") as half:
                tables = [table.markdown() for table in report.sections[0].tables]
                parts = [f"# {report.title}", f"    {self.command()}", report.prose, *tables, self._time()]
                half.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        print(f"The report is {page}")
        return 0

    def command(self) -> str:
        """What to type for this study: all options that are not as they are by default."""
        return " ".join(["leadline study distillation", *_options(replace(self, out=StudyDistillation.out))])

    def report(self) -> tuple[Report, dict[str, Any]]:
        """Train the teacher and every variant, evaluate and compare; the report, and what JSON keeps of it."""
        variants = self._variants()
        given = load(self.teacher) if self.teacher else None
        relative = load(self.relative_teacher) if self.relative_teacher else None
        _check_kinds(given, relative)
        options = self.options
        if self.quick:
            options = replace(options, config=replace(options.config, steps=max(options.config.steps // _QUICK, 1)))
        seeds = 1 if self.quick else self.seeds
        cache = self.out / "cache"
        train, validation, test = options.splits(cache)
        train, rest = _parted(as_mixture(train), self.labelled)
        unlabelled = rest if self.unlabelled == "rest" else None
        if self.unlabelled not in ("rest", "none"):
            unlabelled = open_data(self.unlabelled, "train", cache=cache)
        _check_unlabelled(variants, unlabelled)
        training_run = options.training_run(train, validation, seed=0)
        place = self.teacher or str(self._trained_teacher(training_run, cache))
        teacher = (given or load(place)).to(training_run.hardware.device)
        relative = relative.to(training_run.hardware.device) if relative else Unscaled(teacher)
        experiment = DistillationExperiment(
            training_run, teacher, place, self.out, unlabelled, relative, jobs=self.jobs
        )

        passed = "The teacher gate was left out (--no-gate)."
        if self.gate:
            experiment.train({"control": VARIANTS["control"]}, 1)
            passed = gate(teacher, experiment.student("control", 0), validation, training_run.protocol)
        rows, baselines = evaluate_runs(experiment, variants, seeds, test, training=train)
        differences = {
            name: compare_rows(each, rows[CONTROLS.get(name, "control")])
            for name, each in rows.items()
            if name not in ("control", *CONTROLS.values())
        }
        master = teacher_row(teacher, test, training_run.protocol)
        table = Table(
            f"Trained on {train.name}, scored on {test.name}",
            (*(average_runs(variants[name].name, each) for name, each in rows.items()), master, *baselines),
            notes=(describe_budget(options, len(train), len(unlabelled) if unlabelled else 0), passed),
            protocol=training_run.protocol.as_dict(),
        )
        numbers = Section(
            "Numbers",
            f"Protocol {training_run.protocol.description}.",
            (table, _to_control(variants, rows, differences, master), _papers()),
            (Chart(metric_bars(table.rows, COLUMNS), "The same as bars from zero."),),
        )
        # By validation: the best on the test would be ahead by its luck there, too.
        best = max(differences, key=lambda name: sum(experiment.merit(name, seed) for seed in range(seeds)))
        prose = "**" + " ".join(_sentences(variants, differences, best, seeds)) + "**"
        record = {
            "command": self.command(),
            "protocol": training_run.protocol.as_dict(),
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
                for name, row in zip((*rows, "teacher", *("baseline" for _ in baselines)), table.rows, strict=True)
            ],
            "papers_own_figures_on_their_data": [list(line) for line in PAPERS],
        }
        return Report("Distillation: the collapse, and what mends it", (numbers, reading()), prose), record

    def _time(self) -> str:
        """What the trainings took by their own clocks: more than passed, where some ran beside each other."""
        folders = [self.out / name for name in ("teacher", *self._variants())]
        runs = [json.loads(done.read_text())["seconds"] for each in folders for done in each.rglob("done.json")]
        return f"{len(runs)} trainings, whose own clocks add up to {sum(runs) / 60:.0f} minutes."

    def _variants(self) -> dict[str, Variant]:
        """Those that were asked for, with their controls, in the order of the table."""
        for name in self.only:
            if name not in VARIANTS:
                raise unknown("variant", name, VARIANTS)
            if VARIANTS[name].unlabelled and self.unlabelled == "none":
                raise BadInput(f"{name} needs unlabelled images: name some with --unlabelled.")
        if self.only and not set(self.only) - {"control", *CONTROLS.values()}:
            raise BadInput("--only names controls alone: name a variant to compare with them.")
        had = [name for name, each in VARIANTS.items() if self.unlabelled != "none" or not each.unlabelled]
        wanted = [name for name in had if name in (self.only or VARIANTS)]
        wanted += ["control", *(CONTROLS[name] for name in wanted if name in CONTROLS)]
        return {name: VARIANTS[name] for name in VARIANTS if name in wanted}

    def _trained_teacher(self, student: TrainingRun, cache: Path) -> Path:
        """A hybrid that learns from the teacher's data, and then from the student's."""
        steps = max(self.teacher_steps // _QUICK, 1) if self.quick else self.teacher_steps
        height, width = student.train[0].size
        config = TrainConfig(steps=steps, batch_size=16, learning_rate=4e-3, validate_every=max(steps // 5, 1))
        apart = TrainingRun(
            network=f"hybrid,size=tiny,input_size={height}:{width}",
            train=open_data(self.teacher_data, "train", cache=cache),
            validation=open_data(self.teacher_data, "val", cache=cache),
            config=config,
            objective=Supervised({"silog": 1.0, "l1": 1.0}),
            protocol=student.protocol,
            hardware=student.hardware,
        )
        folder = self.out / "teacher"
        model = apart.fit(apart.build(), folder / "1-own-data")
        tuned = replace(
            apart,
            train=student.train,
            validation=student.validation,
            config=replace(config, steps=max(steps // 5, 1), learning_rate=5e-4, validate_every=max(steps // 25, 1)),
        )
        save(tuned.fit(model, folder / "2-students-data"), folder / "model")
        return folder / "model"


class Unscaled(DepthModel):
    """A network that answers metres, robbed of their unit: inverse depth from 0 to 10 over each image, like DPT's."""

    def __init__(self, metric: DepthModel) -> None:
        super().__init__(DepthKind.RELATIVE, replace(metric.preprocessing, focal=None), metric.provenance)
        self.name, self.arguments = f"{metric.name} without its unit", dict(metric.arguments)
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


def _options(study: Any, usual: Any = None, prefix: str = "") -> Iterator[str]:
    """The options of a command's dataclass that differ from the usual ones, as they are typed."""
    usual = StudyDistillation() if usual is None else usual
    for each in fields(study):
        value, default = getattr(study, each.name), getattr(usual, each.name)
        name = prefix + each.name.replace("_", "-")
        if value == default:
            continue
        if is_dataclass(value):
            yield from _options(value, default, "augmentation." if each.name == "augmentation" else "")
        elif isinstance(value, bool):
            yield f"--{name}" if value else f"--no-{name}"
        else:
            yield f"--{name} {shlex.join(map(str, value if isinstance(value, tuple) else (value,)))}"


def _check_kinds(teacher: DepthModel | None, relative: DepthModel | None) -> None:
    """Refuse teachers that do not answer what their rows say they do."""
    asked = (("--teacher", teacher, DepthKind.METRIC), ("--relative-teacher", relative, DepthKind.RELATIVE))
    for option, model, kind in asked:
        if model and model.kind is not kind:
            raise BadInput(f"{option} has to answer {kind.value} depth, and {model.name!r} answers {model.kind.value}.")


def _check_unlabelled(variants: Mapping[str, Variant], unlabelled: Dataset | None) -> None:
    """Refuse rows that need unlabelled images where no training sample is left over."""
    for name, variant in variants.items():
        if variant.unlabelled and unlabelled is None:
            raise BadInput(
                f"{name} needs unlabelled images, and every training sample is labelled: name some with --unlabelled, "
                "keep the truth of fewer with --labelled, or leave such rows out with --unlabelled none."
            )


def _parted(train: Dataset, labelled: int) -> tuple[Dataset, Dataset | None]:
    """So many samples, evenly spread, and the others; all and none where there are not more."""
    count = len(train)
    if not 0 < labelled < count:
        return train, None
    chosen = [number * count // labelled for number in range(labelled)]
    others = sorted(set(range(count)) - set(chosen))
    return (
        Subset(train, chosen, f"{labelled} of {count} of {train.name}"),
        Subset(train, others, f"the other {len(others)} of {train.name}"),
    )


def _to_control(
    variants: Mapping[str, Variant],
    rows: Mapping[str, Sequence[Row]],
    differences: Mapping[str, Sequence[Difference]],
    master: Row,
) -> Listing:
    """Each variant's RMSE against its control's: the ratio, the share of the way to the teacher, the interval."""
    lines = []
    for name, each in differences.items():
        control = average_runs("", rows[CONTROLS.get(name, "control")]).metrics["rmse"]
        own = average_runs("", rows[name]).metrics["rmse"]
        of_rmse = next(one for one in each if one.metric == "rmse")
        ahead = sum(one.winner == 0 for one in each)
        behind = sum(one.winner == 1 for one in each)
        way = (control - own) / (control - master.metrics["rmse"])
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
    return Listing("Differences to the step-matched control, paired by seed", header, tuple(lines))


def _papers() -> Listing:
    remarks = ("Their figures, on their data (NYU Depth v2): not to be compared with the rows above, only in kind.",)
    header = ("the source paper's Table 2", METRICS["rmse"].heading, METRICS["d1"].heading, METRICS["mae"].heading)
    return Listing("What the source paper reports", header, PAPERS, remarks)


def _sentences(
    variants: Mapping[str, Variant], differences: Mapping[str, Sequence[Difference]], best: str, seeds: int
) -> list[str]:
    """The verdicts in RMSE of the paper's setup and of the best variant, chosen by validation."""
    of_rmse = {name: next(one for one in each if one.metric == "rmse") for name, each in differences.items()}
    told = []
    if "0-paper" in of_rmse:
        told.append(describe_difference("The paper's distillation", "its control", of_rmse["0-paper"], seeds=seeds))
    student = f"The student that validated best ({variants[best].name})"
    told.append(describe_difference(student, "its control", of_rmse[best], seeds=seeds))
    return told
