"""`leadline train`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.recipes.train import train


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
        trained = train(self.options, self.out, recipe_name=self.recipe)
        print(trained.headline)
        print(f"The model is in {trained.folder}")
        return 0
