"""Distillation: a teacher labels images once, and a student learns from these labels beside the measured depth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known
from leadline.core.ranges import AtLeastOne
from leadline.data.datasets import Dataset, open_data
from leadline.data.mixing import Mixture, as_mixture
from leadline.evaluation.evaluate import evaluate, evaluate_metrics
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.statistics import compare_rows, describe_difference, differences_table
from leadline.evaluation.tables import Row, average_runs
from leadline.io.run_folder import read_configuration
from leadline.models.base import FREE_LICENCES, DepthModel, Provenance
from leadline.models.loading import load
from leadline.models.saving import save
from leadline.recipes import TrainingRun, run_folder
from leadline.recipes.studies import (
    describe_budget,
    numbers_section,
    results_table,
    score_over_seeds,
    train_over_seeds,
    trained_model,
)
from leadline.recipes.train_options import TrainOptions, parse_weights
from leadline.reporting.report import Report, reading, worst_images
from leadline.training.cross_context import AnchoredLabels, CornerCrops
from leadline.training.distillation_losses import DISTILLATION_TERMS
from leadline.training.objectives import Distilled, Supervised, check_distillation_term, feature_terms
from leadline.training.pseudo_labels import (
    ALIGNMENTS,
    HoleFilledDataset,
    PseudoLabelledDataset,
    PseudoLabelStore,
    label,
    load_pseudo_labels,
)

Holes = Literal["open", "naive", "gated"]
"""What happens to pixels without a target; see `Variant.holes`."""
Context = Literal["image", "crop", "cross", "unanchored"]
"""What the teacher sees of the unlabelled images; see `Variant.context`."""
METRES: Mapping[str, float] = {"silog": 1.0, "l1": 1.0}
"""Default loss terms against a teacher in metres."""
SCALE_FREE: Mapping[str, float] = {"ssi": 1.0, "ssi_gradient": 0.5}
"""Default loss terms against a relative teacher: Ranftl et al. 2020, eq. 11–12, with their weights."""
BEST_WEIGHTS = "the weights are those that validated best"
_ALIGNED = {DepthKind.RELATIVE: "inverse_scale_shift", DepthKind.SCALE_FREE: "median"}
"""How a depth that is not in metres is compared with metres."""


@dataclass(frozen=True)
class Variant:
    """Describe one way for a student to learn from a teacher; all variants have the same steps and images per step."""

    name: str
    teacher_losses: Mapping[str, float] = field(default_factory=dict)
    """Loss terms against the teacher and their weights, of `DISTILLATION_TERMS`; none: the student has no teacher."""
    alignment: str = "auto"
    """How the labels of the measured images are aligned: see `leadline.training.pseudo_labels.ALIGNMENTS`."""
    unit: str = ""
    """Which of the experiment's `relative_teachers` it learns from; empty: from the teacher itself."""
    confidence: bool = False
    """Weigh each pixel by how well the teacher's views agree."""
    unlabelled: bool = False
    """Half of the training images are ones without a target depth."""
    context: Context = "image"
    """Of the unlabelled images: `image`, each whole; `crop`, half of the samples are corners of them, with that part of
    the whole image's label; `cross`, half of the corners have the teacher's label of the corner alone instead, at the
    level of the whole image's (cross-context distillation, He et al. 2025); `unanchored`, at its own level."""
    beside: str = ""
    """Measured data of the experiment's `beside` that make half of the training images: a control that has the data of
    a teacher and no teacher."""
    mixes_kinds: bool = False
    """Compare the teacher's numbers with metres whatever they are: a mistake, for studying it."""
    holes: Holes = "open"
    """`naive`: the teacher's numbers, whatever they are, fill what was not measured; `gated`: its metres do, where it
    is confident, scaled to match the measurements around the hole."""
    network: str = ""
    """Options of the student that differ: `head=softplus`."""
    stretch: float = 1.0
    """Factor on the number of steps."""

    def __post_init__(self) -> None:
        for term in self.teacher_losses:
            check_known("distillation loss", term, DISTILLATION_TERMS)
        if self.unlabelled and not self.teacher_losses:
            raise BadInput(
                f"{self.name!r} has no use for unlabelled images: only a loss against the teacher learns from them. "
                "Leave --unlabelled out, or the filling of holes."
            )
        if self.context != "image" and not self.unlabelled:
            raise BadInput(
                f"{self.name!r} has no unlabelled images to take corners of: name some, or leave context out."
            )
        if self.beside and (self.teacher_losses or self.holes != "open"):
            raise BadInput(f"{self.name!r} has a teacher and its data at once, which separates neither.")


@dataclass(frozen=True)
class DistillationExperiment:
    """Hold what all variants share: the student's training run, the teachers and the images."""

    training_run: TrainingRun
    teacher: DepthModel
    teacher_spec: str
    """The teacher as `leadline.load` names it: needed by losses that run it beside the student."""
    out: Path
    """The folder of the stores of labels, `labels/`, and of the runs."""
    unlabelled: Dataset | None = None
    relative_teachers: Mapping[str, DepthModel] = field(default_factory=dict)
    """Unit → the teacher of variants that learn from relative depth in this unit."""
    beside: Mapping[str, Dataset] = field(default_factory=dict)
    """Name → measured data that a variant may have beside the student's own."""
    subset: str = "measured"
    """What the store of the measured images' labels is called."""
    unlabelled_labels: Path | None = None
    """The store of the unlabelled images' labels; unset: it lies with the others."""
    jobs: int = 1
    """Trainings at a time."""

    def train(self, variants: Mapping[str, Variant], seeds: int) -> None:
        """Label what the variants need, and train a student by each from each seed; what was interrupted resumes.

        Args:
            variants: folder name → variant.
            seeds: each is trained once from each of the seeds 0 … n − 1.
        """
        runs = {name: ("end_to_end", self.run_of(variant)) for name, variant in variants.items()}
        train_over_seeds(runs, self.out, seeds=seeds, jobs=self.jobs)

    def evaluate(
        self, variants: Mapping[str, Variant], seeds: int, test: Dataset, *, training: Dataset
    ) -> tuple[dict[str, list[Row]], Sequence[Row]]:
        """Train the variants and score every student.

        Args:
            variants: folder name → variant.
            seeds: each is trained once from each of the seeds 0 … n − 1.
            test: what to score on.
            training: what the constants of the baselines are taken from.

        Returns:
            Folder name → a row for each seed; and the rows of the constant baselines.
        """
        self.train(variants, seeds)
        names = {name: variant.name for name, variant in variants.items()}
        protocol = self.training_run.protocol
        return score_over_seeds(self.student, names, test, protocol, seeds=seeds, training=training)

    def student(self, name: str, seed: int) -> DepthModel:
        """Load the trained student of the variant in the folder `name`."""
        return trained_model(self.training_run, self.out, name, seed)

    def validation_score(self, name: str, seed: int) -> float:
        """Return the validation score that this student's weights were chosen by; higher is better."""
        metric = self.training_run.config.monitor
        done = read_configuration(run_folder(self.out, name, seed) / "done.json")
        return done["best"][metric] * (1 if METRICS[metric].higher_is_better else -1)

    def run_of(self, variant: Variant) -> TrainingRun:
        """Label what a variant needs, and return its training run."""
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
            store = self._labels(self.subset, measured, variant)
            return HoleFilledDataset(measured, store, confidence=0.0, blends=False, mixes_kinds=True), supervised
        if variant.holes == "gated":
            return HoleFilledDataset(measured, self._labels(self.subset, measured, variant)), supervised
        if variant.beside:
            return Mixture([(measured, 1), (self.beside[variant.beside], 1)]), supervised
        if not variant.teacher_losses:
            return measured, supervised
        objective = Distilled(
            target_losses=supervised.weights,
            teacher_losses=variant.teacher_losses,
            weighs_confidence=variant.confidence,
            mixes_kinds=variant.mixes_kinds,
            teacher=self.teacher_spec if feature_terms(variant.teacher_losses) else "",
        )
        labelled = PseudoLabelledDataset(measured, self._labels(self.subset, measured, variant))
        if not variant.unlabelled:
            return labelled, objective
        assert self.unlabelled is not None
        unaligned = replace(variant, alignment="none")
        store = self._labels("unlabelled", self.unlabelled, unaligned)
        whole = PseudoLabelledDataset(self.unlabelled, store, keeps_target=False)
        if variant.context == "image":
            return Mixture([(labelled, 1), (whole, 1)]), objective
        return Mixture([(labelled, 2), (whole, 1), (self._corners(whole, unaligned), 1)]), objective

    def _corners(self, whole: PseudoLabelledDataset, variant: Variant) -> Dataset:
        """Corners of the unlabelled images, with labels in the variant's context."""
        assert self.unlabelled is not None
        of_whole = CornerCrops(whole)
        if variant.context == "crop":
            return of_whole
        corners = CornerCrops(self.unlabelled)
        store = self._labels("unlabelled-corners", corners, variant)
        of_corner: Dataset = PseudoLabelledDataset(corners, store, keeps_target=False)
        if variant.context == "cross":
            of_corner = AnchoredLabels(of_corner, of_whole)
        return Mixture([(of_whole, 1), (of_corner, 1)])

    def _labels(self, what: str, dataset: Dataset, variant: Variant) -> PseudoLabelStore:
        teacher = self.relative_teachers[variant.unit] if variant.unit else self.teacher
        name = f"{what}-{variant.unit or 'teacher'}-{variant.alignment}"
        place, size = self.out / "labels" / name, None
        if what == "unlabelled" and self.unlabelled_labels:
            place = self.unlabelled_labels
            size = load_pseudo_labels(place).size
        # What is whole is read and left alone.
        return label(
            teacher,
            dataset,
            place,
            alignment=variant.alignment,
            size=size,
            repair=True,
            progress=True,
        )


@dataclass(frozen=True)
class DistilOptions:
    """What a student is distilled from, and where."""

    out: Path
    """Folder for the runs, the labels and the report; the student that validated best will be in `model/`."""
    teacher: str
    """Folder of a saved model, a checkpoint, the name of a published model, or hub:USER/NAME."""
    unlabelled: str | None = None
    """Images without measured depth, which make half of each step: photos:DIR, or a dataset whose depth is ignored."""
    labels: Path | None = None
    """Store of the teacher's labels of the unlabelled images, made by `leadline label`; unset: they are made in OUT."""
    teacher_losses: str = "auto"
    """Loss terms against the teacher and their weights, as silog=1,l1=1; auto: silog and l1 in log depth for labels in
    metres, scale-and-shift-invariant ones for relative labels."""
    alignment: str = "auto"
    """How labels become metres: none, truth (each by its own image's measured depth), or auto: `truth` for a teacher
    that does not output metres, unless there are unlabelled images, which have no measured depth."""
    holes: Holes = "open"
    """Let the teacher fill what was not measured: naive, or gated (aligned, where confident, scaled to the measurements
    around)."""
    context: Context = "image"
    """What the teacher sees of the unlabelled images: image (each whole), crop (half of the samples are corners, with
    that part of the whole image's label), cross (half of the corners have the teacher's label of the corner alone, at
    the level of the whole image's), or unanchored (at its own level)."""
    confidence: bool = True
    """Weigh the teacher's pixels by how well its views agree."""
    seeds: AtLeastOne = 3
    """Student and control are trained once from each of the seeds 0 … n − 1."""
    gate: bool = True
    """Stop if the teacher does not beat a student without a teacher, on held-out data and in the student's units."""
    jobs: AtLeastOne = 1
    """Trainings at a time, each on its share of the cores; on a processor with small networks, as many as it has cores
    is fastest."""
    options: TrainOptions = field(default_factory=TrainOptions)


def distil(distillation: DistilOptions) -> Report:
    """Train a student with the teacher and a control without it, from each seed; evaluate and compare.

    Both have the same network, steps, images per step and seeds. The student that validated best is saved in `model/`
    below the folder. An interrupted distillation resumes.

    Raises:
        BadInput: an option, the data or a folder cannot be used, or the teacher is no better than the control.
    """
    options, out, seeds = distillation.options, distillation.out, distillation.seeds
    cache = out / "cache"
    train, validation, test = options.splits(cache)
    # A label belongs to a sample, so a mixture keeps its fractions by samples.
    train = as_mixture(train)
    unlabelled = open_data(distillation.unlabelled, "train", cache=cache) if distillation.unlabelled else None
    training_run = options.training_run(train, validation, seed=0)
    protocol = training_run.protocol
    teacher = load(distillation.teacher).to(training_run.hardware.device)
    experiment = DistillationExperiment(
        training_run,
        teacher,
        distillation.teacher,
        out,
        unlabelled,
        unlabelled_labels=distillation.labels,
        jobs=distillation.jobs,
    )
    variants = {"control": Variant("no teacher (control)"), "distilled": choose_variant(distillation, teacher)}
    passed = check_gate(experiment, variants["control"], validation, is_on=distillation.gate)
    rows, baselines = experiment.evaluate(variants, seeds, test, training=train)
    differences = compare_rows(rows["distilled"], rows["control"])
    best = max(range(seeds), key=lambda seed: experiment.validation_score("distilled", seed))
    student = experiment.student("distilled", best)
    student.provenance = replace(student.provenance, licence=_inherited_licence(teacher.provenance.licence))
    save(student, out / "model")

    averages = [average_runs(variants[name].name, each) for name, each in rows.items()]
    budget = describe_budget(options, len(train), unlabelled=len(unlabelled) if unlabelled else 0, remark=BEST_WEIGHTS)
    table = results_table(
        [*averages, teacher_row(teacher, test, protocol), *baselines], train, test, protocol, notes=[budget, passed]
    )
    of_rmse = next(each for each in differences if each.metric == "rmse")
    sections = (
        numbers_section(table, [differences_table("distilled", "control", differences)], protocol),
        worst_images(student, test, protocol, rows["distilled"][best].worst(6)),
        reading(),
    )
    sentence = describe_difference("The distilled student", "its control", of_rmse, seeds=seeds)
    return Report("A student with a teacher, and without", sections, f"**{sentence}**")


def choose_variant(distillation: DistilOptions, teacher: DepthModel) -> Variant:
    """Choose how the student learns from this teacher: what the options leave open follows from its kind.

    Raises:
        BadInput: no such alignment or loss, or one that does not suit the teacher's kind or the images.
    """
    alignment = distillation.alignment
    check_known("alignment", alignment, ALIGNMENTS)
    if teacher.kind is not DepthKind.METRIC and distillation.unlabelled:
        if alignment == "truth":
            raise BadInput(
                f"The teacher outputs {teacher.kind.value} depth, which --alignment truth makes metres of for "
                "measured images alone: use --alignment none, leave --unlabelled out, or take a teacher in metres."
            )
        alignment = "none"
    if alignment == "auto" and distillation.holes == "naive":
        alignment = "none"
    kind = teacher.kind if alignment == "none" else DepthKind.METRIC
    if distillation.teacher_losses != "auto":
        losses = parse_weights(distillation.teacher_losses)
    else:
        losses = METRES if kind is DepthKind.METRIC else SCALE_FREE
    if distillation.holes == "open":
        for term in losses:
            check_distillation_term(term, kind)
    return Variant(
        "distilled" if distillation.holes == "open" else f"holes filled, {distillation.holes}",
        teacher_losses={} if distillation.holes != "open" else losses,
        alignment=alignment,
        confidence=distillation.confidence,
        unlabelled=distillation.unlabelled is not None,
        context=distillation.context,
        holes=distillation.holes,
    )


def check_gate(experiment: DistillationExperiment, control: Variant, held_out: Dataset, *, is_on: bool = True) -> str:
    """Train the control from the first seed and put the teacher to `gate` against it.

    Args:
        experiment: the student's training, the teacher and the folder.
        control: the variant without a teacher; its folder is `control`.
        held_out: what to score both on.
        is_on: else nothing is done.

    Returns:
        A sentence for the report.

    Raises:
        BadInput: the teacher is no better than the control.
    """
    if not is_on:
        return "The teacher gate was left out (--no-gate)."
    experiment.train({"control": control}, 1)
    protocol = experiment.training_run.protocol
    return gate(experiment.teacher, experiment.student("control", 0), held_out, protocol)


def gate(
    teacher: DepthModel, control: DepthModel, held_out: Dataset, protocol: EvalProtocol, metric: str = "rmse"
) -> str:
    """Check that the teacher beats a student without a teacher, in the student's units and on held-out data.

    A teacher that does not output metres is aligned to each target first, as its labels will be.

    Args:
        teacher: the teacher.
        control: a student that was trained without it.
        held_out: what to score both on.
        protocol: how to score the student.
        metric: which metric decides.

    Returns:
        A sentence with both scores.

    Raises:
        BadInput: the teacher is no better, so nothing can be learnt from it.
    """
    ruling = _with_alignment(protocol, teacher)
    scores = [
        evaluate_metrics(model, held_out, rule)[metric] for model, rule in ((teacher, ruling), (control, protocol))
    ]
    known = METRICS[metric]
    figures = (
        f"{known.heading} {known.printed(scores[0])} ({ruling.words}) against the student's without a teacher, "
        f"{known.printed(scores[1])} ({protocol.words}), on {held_out.name}"
    )
    ahead = scores[0] > scores[1] if known.higher_is_better else scores[0] < scores[1]
    if not ahead:
        raise BadInput(
            f"The teacher {teacher.name!r} has nothing to teach: {figures}. Train or choose a better one, check its "
            "units, or continue all the same with --no-gate."
        )
    return f"The teacher passed the gate: {figures}."


def teacher_row(teacher: DepthModel, test: Dataset, protocol: EvalProtocol) -> Row:
    """Score the teacher itself, aligned to each target where it does not output metres.

    Args:
        teacher: the model.
        test: what to score on.
        protocol: the students' protocol; its alignment is replaced where the teacher needs one.
    """
    return evaluate(teacher, test, _with_alignment(protocol, teacher), name="the teacher").rows[0]


def _with_alignment(protocol: EvalProtocol, teacher: DepthModel) -> EvalProtocol:
    return protocol if teacher.kind is DepthKind.METRIC else protocol.changed(alignment=_ALIGNED[teacher.kind])


def _inherited_licence(licence: str) -> str:
    """Return the licence of a student of such a teacher: ours where the teacher's is free, else the teacher's."""
    return Provenance().licence if licence.lower() in FREE_LICENCES else licence
