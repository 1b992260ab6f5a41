"""Mixtures of datasets: sampled by weight, or in turns by step."""

import math
from collections.abc import Sequence

import numpy as np

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.sample import Sample
from leadline.data.datasets import Dataset


class Mixture:
    """Datasets of one kind side by side, each with its share of the samples, the small ones repeated.

    It is as long as every sample of every part needs; where a part comes round again is a matter of the index alone.
    """

    def __init__(self, parts: Sequence[tuple[Dataset, float]], name: str | None = None) -> None:
        """Raises:
        BadInput: a share that is not positive, an empty part, or parts of different kinds.
        """
        kinds = {part.kind for part, _ in parts}
        if len(kinds) != 1 or any(share <= 0 or not len(part) for part, share in parts):
            told = ", ".join(f"{share:g} of {part.name} ({len(part)} of kind {part.kind})" for part, share in parts)
            raise BadInput(f"A mixture needs samples of one kind and positive shares, and this one is {told}.")
        total = sum(share for _, share in parts)
        self.parts = tuple(part for part, _ in parts)
        self.name = name or " + ".join(f"{share / total:.0%} {part.name}" for part, share in parts)
        self.kind = kinds.pop()
        length = max(math.ceil(len(part) * total / share) for part, share in parts)
        # Places of each part evenly spread, so that any stretch of indices has the shares.
        counts = [max(round(length * share / total), 1) for _, share in parts]
        places = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
        owners = np.repeat(np.arange(len(parts)), counts)
        numbers = np.concatenate([np.arange(count) % len(part) for count, part in zip(counts, self.parts, strict=True)])
        order = np.argsort(places, kind="stable")
        self.owners, self.numbers = owners[order], numbers[order]

    def __len__(self) -> int:
        return len(self.owners)

    def __getitem__(self, index: int) -> Sample:
        return self.parts[self.owners[index]][int(self.numbers[index])]


class AlternatingDatasets:
    """Datasets of whatever kinds that take turns in training, a whole step each, in proportion to their shares."""

    def __init__(self, parts: Sequence[tuple[Dataset, float]]) -> None:
        """Raises:
        BadInput: a share that is not positive, or an empty part.
        """
        for part, share in parts:
            if share <= 0 or not len(part):
                raise BadInput(f"{part.name} ({len(part)} samples) with the share {share:g} has nothing to give.")
        total = sum(share for _, share in parts)
        self.parts = tuple(part for part, _ in parts)
        self.shares = tuple(share / total for _, share in parts)
        told = zip(self.parts, self.shares, strict=True)
        self.name = " + ".join(f"{share:.0%} {part.name} ({part.kind.value})" for part, share in told)
        kinds = [part.kind for part in self.parts]
        self.kind = DepthKind.METRIC if DepthKind.METRIC in kinds else kinds[0]
        """The strongest promise among the parts; each sample says its own."""

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> Sample:
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(f"{self.name} has {len(self)} samples.")

    def schedule(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """For each step the part that has it, and how many turns it had before; a longer schedule begins the same."""
        owners, earlier = np.zeros(steps, int), np.zeros(steps, int)
        had = np.zeros(len(self.parts), int)
        shares = np.array(self.shares)
        for step in range(steps):
            owner = int(np.argmax(shares * (step + 1) - had))
            owners[step], earlier[step] = owner, had[owner]
            had[owner] += 1
        return owners, earlier


def as_mixture(dataset: Dataset) -> Dataset:
    """What takes turns a step each, with the same shares in every step instead; any other dataset as it is.

    Raises:
        BadInput: its parts are of different kinds.
    """
    return (
        Mixture(list(zip(dataset.parts, dataset.shares, strict=True)))
        if isinstance(dataset, AlternatingDatasets)
        else dataset
    )
