"""Training options that commands and studies share."""

import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit
from leadline.core.ranges import Within, check_value
from leadline.data.datasets import Dataset, open_data
from leadline.data.loader import drop_unreadable, hold_out
from leadline.data.mixing import AlternatingDatasets
from leadline.evaluation.protocols import protocol
from leadline.recipes import TrainingRun
from leadline.training.objectives import Supervised
from leadline.training.trainer import HardwareConfig, TrainConfig


@dataclass(frozen=True)
class TrainOptions:
    """Name what is learned from what, as on the command line."""

    data: str = "rooms"
    """NAME[:PATH][,option=value]… or a folder: `rooms`, `nyu:data/nyu`, `data/mine,depth_scale=1000`. Several
    alternate, `nyu:data/nyu*2 + redweb:data/redweb`, each with its fraction of the steps and the loss that its kind
    allows; the first one with metric depth is what is validated and tested on."""
    model: str = "hybrid,size=tiny"
    """NAME[,option=value]…, or the folder of a saved model to start from."""
    loss: str = "silog=1"
    """Loss terms and their weights: `silog=1,l1=0.5`."""
    protocol: str = "indoor"
    """How validation is scored: `indoor`, or another of `leadline evaluate`; `relative` of a relative network."""
    frozen: tuple[str, ...] = ()
    """Parts of the network that keep their weights and their statistics: `--frozen encoder`."""
    lora: int = 0
    """Rank of LoRA adapters through which alone the encoder's linear layers learn; the saved model has them merged.
    Needs `pip install 'leadline[lora]'`; 0: none."""
    skip_unreadable: bool = False
    """Leave out samples whose files cannot be read, and count them, instead of stopping at the first."""
    config: TrainConfig = field(default_factory=TrainConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    def training_run(self, train: Dataset, validation: Dataset, *, seed: int) -> TrainingRun:
        """Make the training run of these options on these samples.

        Args:
            train: samples to learn from.
            validation: samples to choose the best weights by.
            seed: of the weights, the order of the data and the augmentation.

        Raises:
            BadInput: no such loss term or protocol.
        """
        return TrainingRun(
            network=self.model,
            train=train,
            validation=validation,
            config=replace(self.config, seed=seed),
            objective=Supervised(parse_weights(self.loss)),
            protocol=protocol(self.protocol),
            hardware=self.hardware,
            frozen=self.frozen,
            lora=self.lora,
        )

    def splits(self, cache: Path) -> tuple[Dataset, Dataset, Dataset]:
        """Open the training, validation and test samples; no two splits share a sample.

        Where the validation split has to serve as the test, every tenth training sample takes its place.
        """
        train, test = self.open("train", cache), self.open("test", cache)
        try:
            validation = self.open("val", cache)
        except NoSplit:
            validation = test
        if validation.name == test.name:
            train, validation = hold_out(train)
        return train, validation, test

    def open(self, split: str, cache: Path) -> Dataset:
        """Open one split of the data; a dataset that renders its samples keeps them in `cache`."""
        dataset = self._opened(split, cache)
        if not self.skip_unreadable:
            return dataset
        dataset, faults = drop_unreadable(dataset)
        for fault in faults:
            print(f"left out: {fault}", file=sys.stderr)
        if faults:
            print(f"{len(faults)} of {len(faults) + len(dataset)} samples of {dataset.name} left out.", file=sys.stderr)
        return dataset

    def _opened(self, split: str, cache: Path) -> Dataset:
        parts = parse_parts(self.data)
        if len(parts) == 1:
            return open_data(parts[0][0], split, cache=cache)
        if split == "train":
            alternating = [(open_data(words, split, cache=cache), share) for words, share in parts]
            if all(dataset.kind is not DepthKind.METRIC for dataset, _ in alternating):
                raise BadInput(f"No part of {self.data!r} has metric depth, which validation needs: add one that has.")
            return AlternatingDatasets(alternating)
        for words, _ in parts:
            with suppress(NoSplit):
                dataset = open_data(words, split, cache=cache)
                if dataset.kind is DepthKind.METRIC:
                    return dataset
        raise NoSplit(f"No part of {self.data!r} has a {split!r} split of metric depth.")


def parse_parts(words: str) -> list[tuple[str, float]]:
    """Parse `nyu:data/nyu*2 + redweb:data/redweb` to each dataset's specification and its weight, 1 where none stands.

    Raises:
        BadInput: a weight is no positive number.
    """
    return [_weighted(part) for part in re.split(r" \+(?: |$)", words)]


def _weighted(words: str) -> tuple[str, float]:
    """`redweb:data/redweb*0.5` → the dataset's specification and its fraction."""
    if not words.strip():
        raise BadInput("Nothing stands beside a + of the data: name a dataset there, or leave the + out.")
    name, star, share = words.strip().rpartition("*")
    try:
        part, weight = (name, float(share)) if star else (words.strip(), 1.0)
    except ValueError as mistake:
        raise BadInput(f"{words!r}: write the weight of a dataset as NAME*0.5.") from mistake
    check_value(f"the weight of {part}", weight, [Within(0, above=True)])
    return part, weight


def parse_weights(words: str) -> Mapping[str, float]:
    """Parse `silog=1,l1=0.5` to {"silog": 1.0, "l1": 0.5}.

    Raises:
        BadInput: it is not written so, a term stands twice, or a weight is not positive.
    """
    try:
        weights = {name: float(weight) for name, weight in (term.split("=") for term in words.split(","))}
    except ValueError as mistake:
        raise BadInput(f"{words!r} are no loss terms with weights: write `silog=1,l1=0.5`.") from mistake
    if len(weights) < len(words.split(",")):
        raise BadInput(f"{words!r} names a loss term twice: leave one out.")
    for name, weight in weights.items():
        check_value(name, weight, [Within(0, above=True)])
    return weights
