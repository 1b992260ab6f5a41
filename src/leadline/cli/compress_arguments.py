"""Training options of the commands that compress: the model is not one of them."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments


@dataclass(frozen=True)
class CompressArguments(TrainArguments):
    """`TrainArguments` of a finetuning, whose network is what was compressed."""

    model: Annotated[str, tyro.conf.Suppress] = TrainArguments.model
    lora: Annotated[int, tyro.conf.Suppress] = 0
