"""Recipes: one file a training regime, each reading like its paragraph in the paper."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from leadline.core.errors import check_known
from leadline.core.paths import StrPath
from leadline.core.progress import print_line
from leadline.data.datasets import Dataset
from leadline.evaluation.protocols import EvalProtocol, protocol
from leadline.models.base import DepthModel
from leadline.models.loading import open_model
from leadline.models.names import SCOPE
from leadline.models.registry import build
from leadline.models.saving import save, weights_sha256
from leadline.models.scope import without_scope
from leadline.training.objectives import Objective, Supervised
from leadline.training.trainer import HardwareConfig, TrainConfig, fit


@cache
def say_without_scope(network: str) -> None:
    """Print, once for each network, that what is made of it does not say where it is not to be trusted."""
    print_line(
        f"{network} says which photographs are out of its scope; what is made of it here does not. "
        "`leadline train small --outside PHOTOS` fits such a head."
    )


@dataclass(frozen=True)
class TrainingRun:
    """Hold what every recipe needs: a network to build, what it learns from, for how long, and how it is scored."""

    network: str
    """NAME[,option=value]…, as `hybrid,size=tiny`, or the folder of a saved model to start from."""
    train: Dataset
    validation: Dataset
    config: TrainConfig = field(default_factory=TrainConfig)
    """Over all stages together."""
    objective: Objective = field(default_factory=Supervised)
    protocol: EvalProtocol = field(default_factory=lambda: protocol("indoor"))
    """Of the validation."""
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    frozen: tuple[str, ...] = ()
    """Submodules that keep their weights and their statistics, in every stage."""
    lora: int = 0
    """Rank of the adapters through which alone the encoder learns; 0: the encoder itself learns."""

    def seeded(self, seed: int) -> "TrainingRun":
        """Return the same run with another seed."""
        return replace(self, config=replace(self.config, seed=seed))

    def build(self, network: str = "", **arguments: Any) -> DepthModel:
        """Build the untrained network, or another one that a stage needs: the same weights for the same seed.

        A saved one to start from comes without its scope head, which training would make wrong.
        """
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            if network:
                return build(network, **arguments)
            model = open_model(self.network)
            if SCOPE in model.arguments:
                say_without_scope(self.network)
            return without_scope(model)

    def fit(
        self, model: DepthModel, out: StrPath, *, steps: int | None = None, frozen: tuple[str, ...] = ()
    ) -> DepthModel:
        """Call `leadline.training.trainer.fit` for this run.

        Args:
            model: the network to train.
            out: its run folder.
            steps: optimiser steps, where it is one stage of several; None: all.
            frozen: names of submodules that keep their weights.
        """
        config = replace(self.config, steps=self.config.steps if steps is None else steps)
        return fit(
            model,
            self.train,
            self.validation,
            self.objective,
            config,
            out,
            protocol=self.protocol,
            frozen=tuple(dict.fromkeys((*self.frozen, *frozen))),
            lora=self.lora,
            start=weights_sha256(model) if model.provenance.training_data else "",
            hardware=self.hardware,
        )


RECIPES: Mapping[str, str] = {
    "coarse_to_fine": "leadline.recipes.coarse_to_fine:coarse_to_fine",
    "end_to_end": "leadline.recipes.end_to_end:end_to_end",
    "multi_stage": "leadline.recipes.multi_stage:multi_stage",
    "refine_and_distil": "leadline.recipes.refine_and_distil:refine_and_distil",
}
"""Name → recipe."""

Recipe = Callable[[TrainingRun, StrPath], DepthModel]
"""`(training_run, out)` → the trained model; the run folders lie in `out`."""


def recipe(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        BadInput: there is none.
    """
    check_known("recipe", name, RECIPES)
    module, _, function = RECIPES[name].partition(":")
    return getattr(import_module(module), function)


def run_folder(out: StrPath, name: str, seed: int) -> Path:
    """Return the run folder of one training of a study.

    Args:
        out: the study's folder.
        name: of the run.
        seed: that it was trained from.
    """
    return Path(out) / name / f"seed-{seed}"


def train_and_save(name: str, training_run: TrainingRun, out: StrPath) -> None:
    """Train by a recipe and save the trained model.

    Args:
        name: of the recipe.
        training_run: what to train.
        out: the run folder; the model will be in `model/` below it.
    """
    out = Path(out)
    save(recipe(name)(training_run, out), out / "model")
