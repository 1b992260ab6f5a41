"""Recipes: one file a training regime, each reading like its paragraph in the paper."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from leadline.core.errors import unknown
from leadline.core.paths import StrPath
from leadline.data.datasets import Dataset
from leadline.evaluation.protocols import EvalProtocol, protocol
from leadline.models.base import DepthModel
from leadline.models.loading import open_model
from leadline.models.registry import build
from leadline.models.saving import save
from leadline.training.objectives import Objective, Supervised
from leadline.training.trainer import HardwareConfig, TrainConfig, fit


@dataclass(frozen=True)
class TrainingRun:
    """What every recipe is given: a network to build, what it learns from, for how long, and how it is judged."""

    network: str
    """In words: `hybrid,size=tiny`, or the folder of a saved model to go on from."""
    train: Dataset
    validation: Dataset
    plan: TrainConfig = field(default_factory=TrainConfig)
    """Over all stages together."""
    objective: Objective = field(default_factory=Supervised)
    protocol: EvalProtocol = field(default_factory=lambda: protocol("indoor"))
    """Of the validation."""
    machine: HardwareConfig = field(default_factory=HardwareConfig)
    frozen: tuple[str, ...] = ()
    """Submodules that keep their weights and their statistics, in every stage."""
    lora: int = 0
    """Rank of the adapters through which alone the encoder learns; 0: the encoder itself learns."""

    def seeded(self, seed: int) -> "TrainingRun":
        """The same course from another seed."""
        return replace(self, plan=replace(self.plan, seed=seed))

    def build(self, network: str = "", **arguments: Any) -> DepthModel:
        """The untrained network, or another one that a stage needs: the same weights for the same seed."""
        with torch.random.fork_rng():
            torch.manual_seed(self.plan.seed)
            return build(network, **arguments) if network else open_model(self.network)

    def fit(
        self, model: DepthModel, out: StrPath, *, steps: int | None = None, frozen: tuple[str, ...] = ()
    ) -> DepthModel:
        """`leadline.training.trainer.fit` on this course; `steps` where it is one stage of several."""
        plan = replace(self.plan, steps=self.plan.steps if steps is None else steps)
        return fit(
            model,
            self.train,
            self.validation,
            self.objective,
            plan,
            out,
            protocol=self.protocol,
            frozen=tuple(dict.fromkeys((*self.frozen, *frozen))),
            lora=self.lora,
            machine=self.machine,
        )


RECIPES: Mapping[str, str] = {
    "end_to_end": "leadline.recipes.end_to_end:end_to_end",
    "multi_stage": "leadline.recipes.multi_stage:multi_stage",
}
"""Name → recipe."""

Recipe = Callable[[TrainingRun, StrPath], DepthModel]
"""`(course, out)` → the trained model; the run folders lie in `out`."""


def recipe(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        BadInput: there is none.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    module, _, function = RECIPES[name].partition(":")
    return getattr(import_module(module), function)


def run_folder(out: StrPath, name: str, seed: int) -> Path:
    """Where a study in `out` keeps its training of this name from this seed."""
    return Path(out) / name / f"seed-{seed}"


def train_and_save(name: str, course: TrainingRun, out: StrPath) -> None:
    """Train by the recipe of this name in the run folder `out`; the trained model is in `model/` below it."""
    out = Path(out)
    save(recipe(name)(course, out), out / "model")
