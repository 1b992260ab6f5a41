"""Training options that commands and studies share."""

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
    """What is learned from what, as the command line names it."""

    data: str = "rooms"
    """NAME[:PATH][,option=value]… or a folder: `rooms`, `nyu:data/nyu`, `data/mine,depth_scale=1000`. Several take
    turns, `nyu:data/nyu*2 + redweb:data/redweb`, each with its share of the steps and the loss that its kind allows;
    the first that measures metres is what is validated and tested on."""
    model: str = "hybrid,size=tiny"
    """NAME[,option=value]…, or the folder of a saved model to go on from."""
    loss: str = "silog=1"
    """Loss terms and their weights: `silog=1,l1=0.5`."""
    protocol: str = "indoor"
    """How validation is scored."""
    skip_unreadable: bool = False
    """Leave out samples whose files cannot be read, and count them, instead of stopping at the first."""
    config: TrainConfig = field(default_factory=TrainConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)

    def training_run(self, train: Dataset, validation: Dataset, *, seed: int) -> TrainingRun:
        """This options on these samples.

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
        )

    def splits(self, cache: Path) -> tuple[Dataset, Dataset, Dataset]:
        """What to learn from, what to choose the best weights by, and what to score them on: no two share a sample.

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
        """One split of the data; what renders its samples keeps them in `cache`."""
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
        parts = [_share(part) for part in self.data.split(" + ")]
        if len(parts) == 1:
            return open_data(parts[0][0], split, cache=cache)
        if split == "train":
            taking_turns = [(open_data(words, split, cache=cache), share) for words, share in parts]
            if all(dataset.kind is not DepthKind.METRIC for dataset, _ in taking_turns):
                raise BadInput(
                    f"Nothing among {self.data!r} measures metres, which validation needs: add a part that does."
                )
            return AlternatingDatasets(taking_turns)
        for words, _ in parts:
            with suppress(NoSplit):
                dataset = open_data(words, split, cache=cache)
                if dataset.kind is DepthKind.METRIC:
                    return dataset
        raise NoSplit(f"Nothing among {self.data!r} measures metres in a {split!r} part.")


def _share(words: str) -> tuple[str, float]:
    """`redweb:data/redweb*0.5` → its words and its share."""
    name, star, share = words.strip().rpartition("*")
    try:
        part, weight = (name, float(share)) if star else (words.strip(), 1.0)
    except ValueError as mistake:
        raise BadInput(f"{words!r}: write the share of a dataset as NAME*0.5.") from mistake
    check_value(f"the share of {part}", weight, [Within(0, above=True)])
    return part, weight


def parse_weights(words: str) -> Mapping[str, float]:
    """`silog=1,l1=0.5` → {"silog": 1.0, "l1": 0.5}"""
    try:
        weights = {name: float(weight) for name, weight in (term.split("=") for term in words.split(","))}
    except ValueError as mistake:
        raise BadInput(f"{words!r} are no loss terms with weights: write `silog=1,l1=0.5`.") from mistake
    for name, weight in weights.items():
        check_value(name, weight, [Within(0, above=True)])
    return weights
