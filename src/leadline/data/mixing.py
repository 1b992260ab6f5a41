"""Mixtures of datasets: sampled by weight, or alternating step by step."""

import math
from collections.abc import Sequence

import numpy as np

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.sample import Sample
from leadline.data.datasets import Dataset


class Mixture:
    """Datasets of one kind as one, each with its fraction of the samples; small ones are repeated.

    It is as long as is needed to hold every sample of every part; which sample an index has depends on the index alone.
    """

    def __init__(self, parts: Sequence[tuple[Dataset, float]], name: str | None = None) -> None:
        """Mix datasets, given with their weights.

        Raises:
            BadInput: a weight that is not positive, an empty part, or parts of different kinds.
        """
        kinds = {part.kind for part, _ in parts}
        if len(kinds) != 1 or any(weight <= 0 or not len(part) for part, weight in parts):
            given = ", ".join(f"{weight:g} of {part.name} ({len(part)} of kind {part.kind})" for part, weight in parts)
            raise BadInput(f"A mixture needs samples of one kind and positive weights, and this one is {given}.")
        total = sum(weight for _, weight in parts)
        self.parts = tuple(part for part, _ in parts)
        self.name = name or " + ".join(f"{weight / total:.0%} {part.name}" for part, weight in parts)
        self.kind = kinds.pop()
        length = max(math.ceil(len(part) * total / weight) for part, weight in parts)
        # The samples of each part are evenly spread, so that any range of indices has the fractions.
        counts = [max(round(length * weight / total), 1) for _, weight in parts]
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
    """Datasets of any kinds that alternate in training, one whole step each, in proportion to their weights."""

    def __init__(self, parts: Sequence[tuple[Dataset, float]]) -> None:
        """Alternate datasets, given with their weights.

        Raises:
            BadInput: a weight that is not positive, or an empty part.
        """
        for part, weight in parts:
            if weight <= 0 or not len(part):
                raise BadInput(f"{part.name} ({len(part)} samples) with weight {weight:g} gives no samples.")
        total = sum(weight for _, weight in parts)
        self.parts = tuple(part for part, _ in parts)
        self.weights = tuple(weight / total for _, weight in parts)
        """Fraction of the steps that each part has."""
        weighted = zip(self.parts, self.weights, strict=True)
        self.name = " + ".join(f"{weight:.0%} {part.name} ({part.kind.value})" for part, weight in weighted)
        kinds = [part.kind for part in self.parts]
        self.kind = DepthKind.METRIC if DepthKind.METRIC in kinds else kinds[0]
        """The strongest guarantee among the parts; each sample has its own kind."""

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> Sample:
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(f"{self.name} has {len(self)} samples.")

    def schedule(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Return for each step the number of the part that has it, and how many steps that part had before.

        A schedule of more steps begins with those of one of fewer.
        """
        owners, earlier = np.zeros(steps, int), np.zeros(steps, int)
        had = np.zeros(len(self.parts), int)
        weights = np.array(self.weights)
        for step in range(steps):
            owner = int(np.argmax(weights * (step + 1) - had))
            owners[step], earlier[step] = owner, had[owner]
            had[owner] += 1
        return owners, earlier


def as_mixture(dataset: Dataset) -> Dataset:
    """Turn alternating datasets into a mixture that has its fractions in every step; return other datasets as they are.

    Raises:
        BadInput: its parts are of different kinds.
    """
    return (
        Mixture(list(zip(dataset.parts, dataset.weights, strict=True)))
        if isinstance(dataset, AlternatingDatasets)
        else dataset
    )
