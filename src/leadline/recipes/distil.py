"""Distillation: a teacher labels images once, and a student learns from the labels beside what was measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from leadline.charts import metric_bars
from leadline.datasets import Dataset, open_data
from leadline.differences import beats, compared, listed, needs_a_seed
from leadline.errors import BadInput, unknown
from leadline.evaluate import constants, evaluate, measure
from leadline.labels import ALIGNMENTS, Filled, Labelled, Store, label, opened
from leadline.loader import Mixture, mixed
from leadline.metrics import METRICS
from leadline.models import DepthModel, load, save
from leadline.models.base import FREE_LICENCES, Provenance
from leadline.objectives import Distilled, Supervised, check_taught, feature_terms
from leadline.protocols import Protocol
from leadline.recipes import Course, run_folder, train_and_save
from leadline.recipes.side_by_side import side_by_side
from leadline.recipes.train import Lesson, weights
from leadline.report import Chart, Report, Section, publish, reading, worst_images
from leadline.sample import Kind
from leadline.tables import COLUMNS, Row, Table, over_runs
from leadline.teaching import TEACHING

Holes = Literal["open", "naive", "gated"]


@dataclass(frozen=True)
class Treatment:
    """One way to let a student learn from a teacher; every one has the same steps and images a step."""

    name: str
    taught: Mapping[str, float] = field(default_factory=dict)
    """Loss terms against the teacher, of `leadline.teaching.TEACHING`; none: the student has no teacher."""
    alignment: str = "auto"
    """How the labels of the measured images are aligned: see `leadline.labels.ALIGNMENTS`."""
    relative: bool = False
    """Learn from the relative teacher rather than from the one that answers metres."""
    confidence: bool = False
    """Weigh each pixel by how well the teacher's views agree."""
    unlabelled: bool = False
    """Half of the images that are seen are ones that were not measured."""
    mixes_kinds: bool = False
    """Compare the teacher's numbers with metres whatever they are: a mistake, for studying it."""
    holes: Holes = "open"
    """`naive`: the teacher's numbers, whatever they are, fill what was not measured; `gated`: its metres do, where it
    is confident, level with what was measured around."""
    network: str = ""
    """Options of the student that differ: `head=softplus`."""
    stretch: float = 1.0
    """Times as many steps as the others."""

    def __post_init__(self) -> None:
        for term in self.taught:
            if term not in TEACHING:
                raise unknown("teaching loss", term, TEACHING)
        if self.unlabelled and not self.taught:
            raise BadInput(
                f"{self.name!r} has no use for unlabelled images: only a loss against the teacher learns from them. "
                "Leave --unlabelled out, or the filling of holes."
            )


@dataclass(frozen=True)
class Classroom:
    """All that treatments share: the student's course, the teachers and the images."""

    course: Course
    teacher: DepthModel
    place: str
    """Words or the folder of the teacher."""
    out: Path
    """The folder of the stores of labels, `labels/`, and of the runs."""
    unlabelled: Dataset | None = None
    relative_teacher: DepthModel | None = None
    """The teacher of treatments that ask for a relative one; unset: `teacher`."""
    unlabelled_labels: Path | None = None
    """The store of the unlabelled images' labels; unset: it lies with the others."""
    jobs: int = 1
    """Trainings at a time."""

    def train(self, treatments: Mapping[str, Treatment], seeds: int) -> None:
        """Label what the treatments (folder name → treatment) need, and train a student by each from each seed.

        What is killed continues, what is finished is left alone; `student` gives what came out.
        """
        courses = {name: self._course(treatment) for name, treatment in treatments.items()}
        # All treatments of a seed before the next seed: a study that is stopped early then has whole comparisons.
        tasks = [
            partial(train_and_save, "end_to_end", course.seeded(seed), run_folder(self.out, name, seed))
            for seed in range(seeds)
            for name, course in courses.items()
        ]
        side_by_side(tasks, self.jobs)

    def student(self, name: str, seed: int) -> DepthModel:
        """The trained student of the treatment in the folder `name`."""
        return load(run_folder(self.out, name, seed) / "model").to(self.course.machine.device)

    def merit(self, name: str, seed: int) -> float:
        """What this student's weights were chosen for, on validation data; higher is better."""
        metric = self.course.plan.best_by
        done = json.loads((run_folder(self.out, name, seed) / "done.json").read_text())
        return done["best"][metric] * (1 if METRICS[metric].higher_is_better else -1)

    def _course(self, treatment: Treatment) -> Course:
        train, objective = self._lesson(treatment)
        options = f",{treatment.network}" if treatment.network else ""
        plan = self.course.plan
        return replace(
            self.course,
            network=self.course.network + options,
            train=train,
            objective=objective,
            plan=replace(plan, steps=round(plan.steps * treatment.stretch)),
        )

    def _lesson(self, treatment: Treatment) -> tuple[Dataset, Supervised | Distilled]:
        measured = self.course.train
        supervised = self.course.objective
        assert isinstance(supervised, Supervised)
        if treatment.holes == "naive":
            store = self._labels("measured", measured, treatment)
            return Filled(measured, store, confidence=0.0, blends=False, mixes_kinds=True), supervised
        if treatment.holes == "gated":
            return Filled(measured, self._labels("measured", measured, treatment)), supervised
        if not treatment.taught:
            return measured, supervised
        objective = Distilled(
            measured=supervised.weights,
            taught=treatment.taught,
            weighs_confidence=treatment.confidence,
            mixes_kinds=treatment.mixes_kinds,
            teacher=self.place if feature_terms(treatment.taught) else "",
        )
        labelled = Labelled(measured, self._labels("measured", measured, treatment))
        if not treatment.unlabelled:
            return labelled, objective
        assert self.unlabelled is not None
        store = self._labels("unlabelled", self.unlabelled, replace(treatment, alignment="none"))
        unmeasured = Labelled(self.unlabelled, store, keeps_truth=False)
        return Mixture([(labelled, 1), (unmeasured, 1)]), objective

    def _labels(self, what: str, dataset: Dataset, treatment: Treatment) -> Store:
        relative = self.relative_teacher if treatment.relative else None
        name = f"{what}-{'relative' if relative else 'teacher'}-{treatment.alignment}"
        place, size = self.out / "labels" / name, None
        if what == "unlabelled" and self.unlabelled_labels:
            place = self.unlabelled_labels
            size = opened(place).size
        # What is whole is read and left alone.
        return label(
            relative or self.teacher,
            dataset,
            place,
            alignment=treatment.alignment,
            size=size,
            repair=True,
            progress=True,
        )


def gate(teacher: DepthModel, control: DepthModel, held_out: Dataset, protocol: Protocol, metric: str = "rmse") -> str:
    """Whether the teacher beats the student's baseline in the student's units, on held-out data: in words.

    A teacher that does not answer metres is aligned to each truth first, as its labels will be.

    Raises:
        BadInput: it does not beat it, so nothing can be learnt from it.
    """
    ruling = _fair(protocol, teacher)
    scores = [measure(model, held_out, rule)[metric] for model, rule in ((teacher, ruling), (control, protocol))]
    known = METRICS[metric]
    figures = (
        f"{known.heading} {known.printed(scores[0])} ({ruling.words}) against the untaught student's "
        f"{known.printed(scores[1])} ({protocol.words}) on {held_out.name}"
    )
    ahead = scores[0] > scores[1] if known.higher_is_better else scores[0] < scores[1]
    if not ahead:
        raise BadInput(
            f"The teacher {teacher.name!r} has nothing to teach: {figures}. Train or choose a better one, check its "
            "units, or go on all the same with --no-gate."
        )
    return f"The teacher passed the gate: {figures}."


def scored(
    classroom: Classroom, treatments: Mapping[str, Treatment], seeds: int, test: Dataset, *, training: Dataset
) -> tuple[dict[str, list[Row]], Sequence[Row]]:
    """Train each treatment (folder name → treatment) from each seed: its rows on the test, and the baselines' rows."""
    classroom.train(treatments, seeds)
    protocol = classroom.course.protocol
    known = constants(training, protocol)
    rows: dict[str, list[Row]] = {name: [] for name in treatments}
    baselines: Sequence[Row] = ()
    for seed in range(seeds):
        for name, treatment in treatments.items():
            student = classroom.student(name, seed)
            row, *baselines = evaluate(student, test, protocol, training=known, name=treatment.name).rows
            rows[name].append(row)
    return rows, baselines


def teacher_row(teacher: DepthModel, test: Dataset, protocol: Protocol) -> Row:
    """What the teacher itself scores; one that answers no metres, aligned to each truth, as its protocol then says."""
    return evaluate(teacher, test, _fair(protocol, teacher), name="the teacher").rows[0]


def _fair(protocol: Protocol, teacher: DepthModel) -> Protocol:
    return protocol if teacher.kind is Kind.METRIC else protocol.changed(alignment=_ALIGNED[teacher.kind])


@dataclass(frozen=True)
class Distil:
    """Teach a small network by a large one, and say whether it helped: against a control that had no teacher.

    The control has the same student, steps, images a step and seeds. Run the same command again to continue.

    leadline distil --teacher dpt_hybrid_nyu --student midas_small,kind=metric,head=log \
        --data nyu:data/nyu --out runs/distil
    """

    out: Path
    """Folder for the runs, the labels and the report; the student that validated best will be in `model/`."""
    teacher: str
    """Folder of a saved model, a checkpoint, the name of a published model, or hub:USER/NAME."""
    unlabelled: str | None = None
    """Images whose depth nobody measured, which make half of each step: photos:DIR, or a dataset whose truth is left
    aside."""
    labels: Path | None = None
    """Store of the teacher's labels of the unlabelled images, made by `leadline label`; unset: they are made in OUT."""
    taught: str = "auto"
    """Loss terms against the teacher and their weights, as silog=1,l1=1; auto: silog and l1 in log depth for labels in
    metres, scale-and-shift-invariant ones for relative labels."""
    alignment: str = "auto"
    """How labels become metres: none, truth (each by its own image's measured depth), or auto: `truth` for a teacher
    that answers none, unless there are unlabelled images, which have no truth."""
    holes: Holes = "open"
    """Let the teacher fill what was not measured: naive, or gated (aligned, confident, level with what is around)."""
    confidence: bool = True
    """Weigh the teacher's pixels by how well its views agree."""
    seeds: int = 3
    """Student and control are trained once from each of the seeds 0 … n − 1."""
    gate: bool = True
    """Stop if the teacher does not beat the untaught student on held-out data in the student's units."""
    jobs: int = 1
    """Trainings at a time, each on its share of the cores; on a processor with small networks, as many as it has cores
    is fastest."""
    lesson: Annotated[Lesson, tyro.conf.arg(name="")] = field(default_factory=Lesson)

    def run(self) -> int:
        needs_a_seed(self.seeds)
        page = publish(self.report(), self.out)
        print(f"The student is in {self.out / 'model'}, the report is {page}")
        return 0

    def report(self) -> Report:
        """Train control and student from each seed, evaluate and compare."""
        cache = self.out / "cache"
        train, validation, test = self.lesson.splits(cache)
        # A label belongs to a sample, so that samples are what a mixture's shares are kept by.
        train = mixed(train)
        unlabelled = open_data(self.unlabelled, "train", cache=cache) if self.unlabelled else None
        course = self.lesson.course(train, validation, seed=0)
        teacher = load(self.teacher).to(course.machine.device)
        classroom = Classroom(
            course, teacher, self.teacher, self.out, unlabelled, unlabelled_labels=self.labels, jobs=self.jobs
        )
        control = {"control": Treatment("no teacher (control)")}
        treatments = {**control, "distilled": self._treatment(teacher)}

        if self.gate:
            classroom.train(control, 1)
            passed = gate(teacher, classroom.student("control", 0), validation, course.protocol)
        else:
            passed = "The teacher gate was left out (--no-gate)."
        rows, baselines = scored(classroom, treatments, self.seeds, test, training=train)
        differences = compared(rows["distilled"], rows["control"])
        best = max(range(self.seeds), key=lambda seed: classroom.merit("distilled", seed))
        student = classroom.student("distilled", best)
        student.provenance = replace(student.provenance, licence=_inherited(teacher.provenance.licence))
        save(student, self.out / "model")

        table = Table(
            f"Trained on {train.name}, scored on {test.name}",
            (
                *(over_runs(treatments[name].name, each) for name, each in rows.items()),
                teacher_row(teacher, test, course.protocol),
                *baselines,
            ),
            notes=(budget(self.lesson, len(train), len(unlabelled) if unlabelled else 0), passed),
            protocol=course.protocol.as_dict(),
        )
        of_rmse = next(each for each in differences if each.metric == "rmse")
        sentence = beats("The distilled student", "its control", of_rmse, seeds=self.seeds)
        sections = (
            Section(
                "Numbers",
                f"Protocol {course.protocol.description}.",
                (table, listed("distilled", "control", differences)),
                (Chart(metric_bars(table.rows, COLUMNS), "The same as bars from zero."),),
            ),
            worst_images(student, test, course.protocol, rows["distilled"][best].worst(6)),
            reading(),
        )
        return Report("A student with a teacher, and without", sections, f"**{sentence}**")

    def _treatment(self, teacher: DepthModel) -> Treatment:
        alignment = self.alignment
        if alignment not in ALIGNMENTS:
            raise unknown("alignment", alignment, ALIGNMENTS)
        if teacher.kind is not Kind.METRIC and self.unlabelled:
            if alignment == "truth":
                raise BadInput(
                    f"The teacher answers {teacher.kind.value} depth, which --alignment truth makes metres of for "
                    "measured images alone: use --alignment none, leave --unlabelled out, or take a teacher in metres."
                )
            alignment = "none"
        if alignment == "auto" and self.holes == "naive":
            alignment = "none"
        kind = teacher.kind if alignment == "none" else Kind.METRIC
        taught = weights(self.taught) if self.taught != "auto" else METRES if kind is Kind.METRIC else SCALE_FREE
        if self.holes == "open":
            for term in taught:
                check_taught(term, kind)
        return Treatment(
            "distilled" if self.holes == "open" else f"holes filled, {self.holes}",
            taught={} if self.holes != "open" else taught,
            alignment=alignment,
            confidence=self.confidence,
            unlabelled=self.unlabelled is not None,
            holes=self.holes,
        )


def budget(lesson: Lesson, measured: int, unlabelled: int) -> str:
    """What each training was given, in words."""
    plan = lesson.plan
    besides = f", and {unlabelled:,} unlabelled images where a row says so" if unlabelled else ""
    return (
        f"Each run had {plan.steps} optimiser steps of {plan.batch_size} images from {measured:,} measured samples"
        f"{besides}; the weights are those that validated best. Student: {lesson.model}."
    )


def _inherited(licence: str) -> str:
    """The licence of what a teacher of this licence taught: ours where that is free, else the teacher's."""
    return Provenance().licence if licence.lower() in FREE_LICENCES else licence


METRES: Mapping[str, float] = {"silog": 1.0, "l1": 1.0}
"""Terms against a teacher in metres, unless told."""
SCALE_FREE: Mapping[str, float] = {"ssi": 1.0, "ssi_gradient": 0.5}
"""Terms against a relative teacher, unless told: Ranftl et al. 2020, eq. 11–12, with their weights."""
_ALIGNED = {Kind.RELATIVE: "inverse_scale_shift", Kind.SCALE_FREE: "median"}
"""How an answer that is no metres is compared with metres."""
