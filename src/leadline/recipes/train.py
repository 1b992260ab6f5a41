"""Train a network by a recipe, score it on the validation samples, and save it with its figures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from leadline.core.errors import BadInput, NoSplit
from leadline.core.paths import StrPath
from leadline.data.loader import hold_out
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.metrics import METRICS
from leadline.models.base import DepthModel
from leadline.models.saving import save
from leadline.recipes import recipe
from leadline.recipes.train_options import TrainOptions


@dataclass(frozen=True)
class TrainedModel:
    """Hold a trained model, and what it scored on the validation samples."""

    model: DepthModel
    folder: Path
    """Where it is saved."""
    scored_on: str
    """Data and protocol in words."""
    scores: Mapping[str, float]
    """Metric → value; NaN where nothing could be scored."""

    @property
    def headline(self) -> str:
        """The most used figures, as one line."""
        figures = (f"{METRICS[name].heading} {self.scores[name]:.3f}" for name in ("rmse", "abs_rel", "d1"))
        return f"{self.scored_on}: {', '.join(figures)}"


def train(options: TrainOptions, out: StrPath, *, recipe_name: str = "end_to_end") -> TrainedModel:
    """Train, score and save a network; an interrupted training resumes.

    Args:
        options: network, data, losses and settings. Data without a validation split has some of its training samples
            held out for it.
        out: the run folder; the trained model, with its figures, will be in `model/` below it.
        recipe_name: a name in `leadline.recipes.RECIPES`.

    Raises:
        BadInput: an option, the data or the run folder cannot be used.
    """
    out = Path(out)
    if (out / "model.json").exists():
        raise BadInput(f"{out} is the folder of a model, not of a training: choose another folder.")
    chosen = recipe(recipe_name)
    samples = options.open("train", out / "cache")
    try:
        validation = options.open("val", out / "cache")
    except NoSplit:
        samples, validation = hold_out(samples)
    training_run = options.training_run(samples, validation, seed=options.config.seed)
    model = chosen(training_run, out)
    scores = evaluate_metrics(model, validation, training_run.protocol)
    scored_on = f"{validation.name} ({training_run.protocol.words})"
    known = {name: score for name, score in scores.items() if math.isfinite(score)}
    model.provenance = replace(model.provenance, figures={scored_on: known})
    save(model, out / "model")
    return TrainedModel(model, out / "model", scored_on, scores)
