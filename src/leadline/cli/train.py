"""`leadline train`."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.core.errors import NoSplit
from leadline.data.loader import hold_out
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.metrics import METRICS
from leadline.models.saving import save
from leadline.recipes import recipe


@dataclass(frozen=True)
class TrainCommand:
    """Train a network; run the same command again to resume an interrupted training."""

    out: Path
    """The run folder; the trained model will be in `model/` below it."""
    recipe: str = "end_to_end"
    """end_to_end, multi_stage (of a hybrid), coarse_to_fine (of eigen) or refine_and_distil (of pilzer, from stereo
    pairs)."""
    options: Annotated[TrainArguments, tyro.conf.arg(name="")] = field(default_factory=TrainArguments)

    def run(self) -> int:
        chosen = recipe(self.recipe)
        train = self.options.open("train", self.out / "cache")
        try:
            validation = self.options.open("val", self.out / "cache")
        except NoSplit:
            train, validation = hold_out(train)
        training_run = self.options.training_run(train, validation, seed=self.options.config.seed)
        model = chosen(training_run, self.out)
        scores = evaluate_metrics(model, validation, training_run.protocol)
        where = f"{validation.name} ({training_run.protocol.words})"
        known = {name: score for name, score in scores.items() if math.isfinite(score)}
        model.provenance = replace(model.provenance, figures={where: known})
        save(model, self.out / "model")
        figures = ", ".join(f"{METRICS[name].heading} {scores[name]:.3f}" for name in ("rmse", "abs_rel", "d1"))
        print(f"{where}: {figures}")
        print(f"The model is in {self.out / 'model'}")
        return 0
