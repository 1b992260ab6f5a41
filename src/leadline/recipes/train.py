"""Train a network by a recipe, score it on the validation samples, and save it with its figures."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from leadline.core.errors import BadInput, NoSplit
from leadline.core.markdown import html_table
from leadline.core.paths import StrPath
from leadline.data.loader import hold_out
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.tables import COLUMNS
from leadline.io.run_folder import read_configuration
from leadline.models.base import DepthModel
from leadline.models.saving import save
from leadline.recipes import recipe
from leadline.recipes.train_options import TrainOptions
from leadline.reporting.charts import curves


@dataclass(frozen=True, repr=False)
class TrainedModel:
    """Hold a trained model, and what it scored on the validation samples; a notebook shows both."""

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

    def __repr__(self) -> str:
        return f"TrainedModel({self.model.name} in {self.folder}; {self.headline})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what was trained, what it scores, and how that came about."""
        millions = sum(each.numel() for each in self.model.parameters()) / 1e6
        about = [
            ("network", f"{self.model.name}, {millions:.1f} million parameters"),
            ("depth", self.model.kind.value),
            ("saved in", str(self.folder)),
        ]
        lines = {}
        for run in _run_folders(self.folder.parent):
            config = read_configuration(run / "run.json")["config"]
            stage = run.name if run != self.folder.parent else "training"
            about.append((stage, ", ".join(f"{key.replace('_', ' ')} {config[key]}" for key in _SHOWN)))
            metric = METRICS[config["monitor"]]
            if points := _validations(run, config["monitor"]):
                lines[f"{stage}: {metric.heading}"] = points
        parts = [
            html_table("", ("", "value"), about),
            html_table(
                self.scored_on,
                [METRICS[name].heading for name in COLUMNS],
                [[METRICS[name].printed(self.scores[name]) for name in COLUMNS]],
            ),
        ]
        if any(len(points) > 1 for points in lines.values()):
            parts.append(curves(lines, "steps", "validation"))
        return "\n".join(parts)


_SHOWN = ("steps", "batch_size", "learning_rate", "seed")
"""Fields of `TrainConfig` that a notebook shows."""


def _run_folders(out: Path) -> list[Path]:
    """Return the run folders of a training: its own, or those of its stages."""
    return [each for each in (out, *sorted(out.iterdir())) if (each / "run.json").is_file()]


def _validations(run: Path, metric: str) -> list[tuple[float, float, float]]:
    """Return step, value of a metric and 0 for each validation of a run."""
    log = run / "log.jsonl"
    entries = map(json.loads, log.read_text(encoding="utf-8").splitlines() if log.is_file() else ())
    scored = [(each["step"], each[metric], 0.0) for each in entries if each["part"] == "validation"]
    return [each for each in scored if math.isfinite(each[1])]


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
