"""Distillation: a teacher labels images once, and a student learns from the labels beside what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, unknown
from leadline.data.datasets import Dataset
from leadline.data.mixing import Mixture
from leadline.evaluation.evaluate import constant_baseline, evaluate, evaluate_metrics
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.tables import Row
from leadline.io.run_folder import read_configuration
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.recipes import TrainingRun, run_folder, train_and_save
from leadline.recipes.train_options import TrainOptions
from leadline.training.distillation_losses import DISTILLATION_TERMS
from leadline.training.objectives import Distilled, Supervised, feature_terms
from leadline.training.parallel import run_parallel
from leadline.training.pseudo_labels import (
    HoleFilledDataset,
    PseudoLabelledDataset,
    PseudoLabelStore,
    label,
    load_pseudo_labels,
)

Holes = Literal["open", "naive", "gated"]


@dataclass(frozen=True)
class Variant:
    """One way to let a student learn from a teacher; every one has the same steps and images a step."""

    name: str
    taught: Mapping[str, float] = field(default_factory=dict)
    """Loss terms against the teacher, of `training.distillation_losses.TEACHING`; none: the student has no teacher."""
    alignment: str = "auto"
    """How the labels of the measured images are aligned: see `leadline.training.pseudo_labels.ALIGNMENTS`."""
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
            if term not in DISTILLATION_TERMS:
                raise unknown("teaching loss", term, DISTILLATION_TERMS)
        if self.unlabelled and not self.taught:
            raise BadInput(
                f"{self.name!r} has no use for unlabelled images: only a loss against the teacher learns from them. "
                "Leave --unlabelled out, or the filling of holes."
            )


@dataclass(frozen=True)
class DistillationExperiment:
    """All that variants share: the student's training_run, the teachers and the images."""

    training_run: TrainingRun
    teacher: DepthModel
    place: str
    """Words or the folder of the teacher."""
    out: Path
    """The folder of the stores of labels, `labels/`, and of the runs."""
    unlabelled: Dataset | None = None
    relative_teacher: DepthModel | None = None
    """The teacher of variants that ask for a relative one; unset: `teacher`."""
    unlabelled_labels: Path | None = None
    """The store of the unlabelled images' labels; unset: it lies with the others."""
    jobs: int = 1
    """Trainings at a time."""

    def train(self, variants: Mapping[str, Variant], seeds: int) -> None:
        """Label what the variants (folder name → variant) need, and train a student by each from each seed.

        What is killed continues, what is finished is left alone; `student` gives what came out.
        """
        runs = {name: self._training_run(variant) for name, variant in variants.items()}
        # All variants of a seed before the next seed: a study that is stopped early then has whole comparisons.
        tasks = [
            partial(train_and_save, "end_to_end", training_run.seeded(seed), run_folder(self.out, name, seed))
            for seed in range(seeds)
            for name, training_run in runs.items()
        ]
        run_parallel(tasks, self.jobs)

    def student(self, name: str, seed: int) -> DepthModel:
        """The trained student of the variant in the folder `name`."""
        return load(run_folder(self.out, name, seed) / "model").to(self.training_run.hardware.device)

    def merit(self, name: str, seed: int) -> float:
        """What this student's weights were chosen for, on validation data; higher is better."""
        metric = self.training_run.config.monitor
        done = read_configuration(run_folder(self.out, name, seed) / "done.json")
        return done["best"][metric] * (1 if METRICS[metric].higher_is_better else -1)

    def _training_run(self, variant: Variant) -> TrainingRun:
        train, objective = self._train_data(variant)
        options = f",{variant.network}" if variant.network else ""
        config = self.training_run.config
        return replace(
            self.training_run,
            network=self.training_run.network + options,
            train=train,
            objective=objective,
            config=replace(config, steps=round(config.steps * variant.stretch)),
        )

    def _train_data(self, variant: Variant) -> tuple[Dataset, Supervised | Distilled]:
        measured = self.training_run.train
        supervised = self.training_run.objective
        assert isinstance(supervised, Supervised)
        if variant.holes == "naive":
            store = self._labels("measured", measured, variant)
            return HoleFilledDataset(measured, store, confidence=0.0, blends=False, mixes_kinds=True), supervised
        if variant.holes == "gated":
            return HoleFilledDataset(measured, self._labels("measured", measured, variant)), supervised
        if not variant.taught:
            return measured, supervised
        objective = Distilled(
            measured=supervised.weights,
            taught=variant.taught,
            weighs_confidence=variant.confidence,
            mixes_kinds=variant.mixes_kinds,
            teacher=self.place if feature_terms(variant.taught) else "",
        )
        labelled = PseudoLabelledDataset(measured, self._labels("measured", measured, variant))
        if not variant.unlabelled:
            return labelled, objective
        assert self.unlabelled is not None
        store = self._labels("unlabelled", self.unlabelled, replace(variant, alignment="none"))
        unmeasured = PseudoLabelledDataset(self.unlabelled, store, keeps_truth=False)
        return Mixture([(labelled, 1), (unmeasured, 1)]), objective

    def _labels(self, what: str, dataset: Dataset, variant: Variant) -> PseudoLabelStore:
        relative = self.relative_teacher if variant.relative else None
        name = f"{what}-{'relative' if relative else 'teacher'}-{variant.alignment}"
        place, size = self.out / "labels" / name, None
        if what == "unlabelled" and self.unlabelled_labels:
            place = self.unlabelled_labels
            size = load_pseudo_labels(place).size
        # What is whole is read and left alone.
        return label(
            relative or self.teacher,
            dataset,
            place,
            alignment=variant.alignment,
            size=size,
            repair=True,
            progress=True,
        )


def gate(
    teacher: DepthModel, control: DepthModel, held_out: Dataset, protocol: EvalProtocol, metric: str = "rmse"
) -> str:
    """Whether the teacher beats the student's baseline in the student's units, on held-out data: in words.

    A teacher that does not answer metres is aligned to each truth first, as its labels will be.

    Raises:
        BadInput: it does not beat it, so nothing can be learnt from it.
    """
    ruling = _fair(protocol, teacher)
    scores = [
        evaluate_metrics(model, held_out, rule)[metric] for model, rule in ((teacher, ruling), (control, protocol))
    ]
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


def evaluate_runs(
    experiment: DistillationExperiment,
    variants: Mapping[str, Variant],
    seeds: int,
    test: Dataset,
    *,
    training: Dataset,
) -> tuple[dict[str, list[Row]], Sequence[Row]]:
    """Train each variant (folder name → variant) from each seed: its rows on the test, and the baselines' rows."""
    experiment.train(variants, seeds)
    protocol = experiment.training_run.protocol
    known = constant_baseline(training, protocol)
    rows: dict[str, list[Row]] = {name: [] for name in variants}
    baselines: Sequence[Row] = ()
    for seed in range(seeds):
        for name, variant in variants.items():
            student = experiment.student(name, seed)
            row, *baselines = evaluate(student, test, protocol, training=known, name=variant.name).rows
            rows[name].append(row)
    return rows, baselines


def teacher_row(teacher: DepthModel, test: Dataset, protocol: EvalProtocol) -> Row:
    """What the teacher itself scores; one that answers no metres, aligned to each truth, as its protocol then says."""
    return evaluate(teacher, test, _fair(protocol, teacher), name="the teacher").rows[0]


def _fair(protocol: EvalProtocol, teacher: DepthModel) -> EvalProtocol:
    return protocol if teacher.kind is DepthKind.METRIC else protocol.changed(alignment=_ALIGNED[teacher.kind])


def describe_budget(options: TrainOptions, measured: int, unlabelled: int) -> str:
    """What each training was given, in words."""
    config = options.config
    besides = f", and {unlabelled:,} unlabelled images where a row says so" if unlabelled else ""
    return (
        f"Each run had {config.steps} optimiser steps of {config.batch_size} images from {measured:,} measured samples"
        f"{besides}; the weights are those that validated best. Student: {options.model}."
    )


METRES: Mapping[str, float] = {"silog": 1.0, "l1": 1.0}
"""Terms against a teacher in metres, unless told."""


SCALE_FREE: Mapping[str, float] = {"ssi": 1.0, "ssi_gradient": 0.5}
"""Terms against a relative teacher, unless told: Ranftl et al. 2020, eq. 11–12, with their weights."""


_ALIGNED = {DepthKind.RELATIVE: "inverse_scale_shift", DepthKind.SCALE_FREE: "median"}
"""How an answer that is no metres is compared with metres."""
