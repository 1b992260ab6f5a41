"""Refine and distil: disparity from stereo pairs without measured depth, then its refinement, and distillation."""

from dataclasses import replace
from pathlib import Path

from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.models.base import DepthModel
from leadline.models.saving import save
from leadline.recipes import TrainingRun
from leadline.training.objectives import Supervised
from leadline.training.stereo import RefineAndDistil, check_pairs


def refine_and_distil(training_run: TrainingRun, out: StrPath) -> DepthModel:
    """Train `pilzer` on stereo pairs in two phases that share the steps (Pilzer et al. 2019).

    In the first the student and the cycle network learn to synthesise either view. In the second the inconsistency
    network learns with them, and the student from its refined disparity. The distilled student alone, which is a third
    of the networks, is saved in `student/` below `out`. Measured depth serves validation only.

    Raises:
        BadInput: the network is not `pilzer` with all its parts, the data has no stereo pairs, or losses are asked for
            that are not the recipe's own.
    """
    out = Path(out)
    if training_run.objective != Supervised():
        raise BadInput("refine_and_distil compares images and has losses of its own: leave --loss out.")
    check_pairs(training_run.train)
    model = training_run.build()
    RefineAndDistil().parts(model)
    first = training_run.config.steps // 2
    student = replace(training_run, objective=RefineAndDistil(refines=False))
    model = student.fit(model, out / "1-student", steps=first)
    refined = replace(training_run, objective=RefineAndDistil())
    model = refined.fit(model, out / "2-refined", steps=training_run.config.steps - first)
    alone = training_run.build("pilzer", **{**model.arguments, "answer": "student"})
    alone.load_state_dict({key: tensor for key, tensor in model.state_dict().items() if key in alone.state_dict()})
    alone.provenance = model.provenance
    save(alone, out / "student")
    return model
