"""`leadline distil`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, unknown
from leadline.core.ranges import AtLeastOne, check_fields
from leadline.data.datasets import open_data
from leadline.data.mixing import as_mixture
from leadline.evaluation.statistics import compare_rows, describe_difference, differences_table
from leadline.evaluation.tables import COLUMNS, Table, average_runs
from leadline.models.base import FREE_LICENCES, DepthModel, Provenance
from leadline.models.loading import load
from leadline.models.saving import save
from leadline.recipes.distil import (
    METRES,
    SCALE_FREE,
    DistillationExperiment,
    Holes,
    Variant,
    describe_budget,
    evaluate_runs,
    gate,
    teacher_row,
)
from leadline.recipes.train_options import TrainOptions, parse_weights
from leadline.reporting.charts import metric_bars
from leadline.reporting.report import Chart, Report, Section, check_report_folder, publish, reading, worst_images
from leadline.training.objectives import check_distillation_term
from leadline.training.pseudo_labels import ALIGNMENTS, load_pseudo_labels


@dataclass(frozen=True)
class DistilCommand:
    """Teach a small network by a large one, and say whether it helped: against a control that had no teacher.

    The control has the same student, steps, images a step and seeds. The student is --model, or --student, which is
    the same. Run the same command again to continue.
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
    seeds: AtLeastOne = 3
    """Student and control are trained once from each of the seeds 0 … n − 1."""
    gate: bool = True
    """Stop if the teacher does not beat the untaught student on held-out data in the student's units."""
    jobs: AtLeastOne = 1
    """Trainings at a time, each on its share of the cores; on a processor with small networks, as many as it has cores
    is fastest."""
    options: Annotated[TrainOptions, tyro.conf.arg(name="")] = field(default_factory=TrainOptions)

    def run(self) -> int:
        check_fields(self)
        if self.labels and not self.unlabelled:
            raise BadInput(f"--labels {self.labels} are of unlabelled images: name these with --unlabelled.")
        if self.labels:
            load_pseudo_labels(self.labels)
        check_report_folder(self.out)
        page = publish(self.report(), self.out)
        print(f"The student is in {self.out / 'model'}, the report is {page}")
        return 0

    def report(self) -> Report:
        """Train control and student from each seed, evaluate and compare."""
        cache = self.out / "cache"
        train, validation, test = self.options.splits(cache)
        # A label belongs to a sample, so that samples are what a mixture's shares are kept by.
        train = as_mixture(train)
        unlabelled = open_data(self.unlabelled, "train", cache=cache) if self.unlabelled else None
        training_run = self.options.training_run(train, validation, seed=0)
        teacher = load(self.teacher).to(training_run.hardware.device)
        experiment = DistillationExperiment(
            training_run, teacher, self.teacher, self.out, unlabelled, unlabelled_labels=self.labels, jobs=self.jobs
        )
        control = {"control": Variant("no teacher (control)")}
        variants = {**control, "distilled": self._variant(teacher)}

        if self.gate:
            experiment.train(control, 1)
            passed = gate(teacher, experiment.student("control", 0), validation, training_run.protocol)
        else:
            passed = "The teacher gate was left out (--no-gate)."
        rows, baselines = evaluate_runs(experiment, variants, self.seeds, test, training=train)
        differences = compare_rows(rows["distilled"], rows["control"])
        best = max(range(self.seeds), key=lambda seed: experiment.merit("distilled", seed))
        student = experiment.student("distilled", best)
        student.provenance = replace(student.provenance, licence=_inherited(teacher.provenance.licence))
        save(student, self.out / "model")

        table = Table(
            f"Trained on {train.name}, scored on {test.name}",
            (
                *(average_runs(variants[name].name, each) for name, each in rows.items()),
                teacher_row(teacher, test, training_run.protocol),
                *baselines,
            ),
            notes=(describe_budget(self.options, len(train), len(unlabelled) if unlabelled else 0), passed),
            protocol=training_run.protocol.as_dict(),
        )
        of_rmse = next(each for each in differences if each.metric == "rmse")
        sentence = describe_difference("The distilled student", "its control", of_rmse, seeds=self.seeds)
        sections = (
            Section(
                "Numbers",
                f"Protocol {training_run.protocol.description}.",
                (table, differences_table("distilled", "control", differences)),
                (Chart(metric_bars(table.rows, COLUMNS), "The same as bars from zero."),),
            ),
            worst_images(student, test, training_run.protocol, rows["distilled"][best].worst(6)),
            reading(),
        )
        return Report("A student with a teacher, and without", sections, f"**{sentence}**")

    def _variant(self, teacher: DepthModel) -> Variant:
        alignment = self.alignment
        if alignment not in ALIGNMENTS:
            raise unknown("alignment", alignment, ALIGNMENTS)
        if teacher.kind is not DepthKind.METRIC and self.unlabelled:
            if alignment == "truth":
                raise BadInput(
                    f"The teacher answers {teacher.kind.value} depth, which --alignment truth makes metres of for "
                    "measured images alone: use --alignment none, leave --unlabelled out, or take a teacher in metres."
                )
            alignment = "none"
        if alignment == "auto" and self.holes == "naive":
            alignment = "none"
        kind = teacher.kind if alignment == "none" else DepthKind.METRIC
        taught = (
            parse_weights(self.taught) if self.taught != "auto" else METRES if kind is DepthKind.METRIC else SCALE_FREE
        )
        if self.holes == "open":
            for term in taught:
                check_distillation_term(term, kind)
        return Variant(
            "distilled" if self.holes == "open" else f"holes filled, {self.holes}",
            taught={} if self.holes != "open" else taught,
            alignment=alignment,
            confidence=self.confidence,
            unlabelled=self.unlabelled is not None,
            holes=self.holes,
        )


def _inherited(licence: str) -> str:
    """The licence of what a teacher of this licence taught: ours where that is free, else the teacher's."""
    return Provenance().licence if licence.lower() in FREE_LICENCES else licence
