"""Training options of several commands, as the command line spells them."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from leadline.recipes.train_options import TrainOptions
from leadline.training.trainer import HardwareConfig, TrainConfig


@dataclass(frozen=True)
class TrainArguments(TrainOptions):
    """`TrainOptions` whose inner settings are options without a prefix: `--steps`, not `--config.steps`."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    hardware: Annotated[HardwareConfig, tyro.conf.arg(name="")] = field(default_factory=HardwareConfig)
