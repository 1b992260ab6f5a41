"""Loading: samples → batches, in an order that depends on the seed and the step only."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.core.sample import Sample, collate
from leadline.data.datasets import Dataset
from leadline.data.mixing import AlternatingDatasets

Transform = Callable[[Sample, np.random.Generator], Sample]


Thing = TypeVar("Thing")


def batches(
    dataset: Dataset,
    transform: Transform,
    *,
    seed: int,
    batch_size: int,
    first_step: int,
    last_step: int,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
) -> Iterator[Sample]:
    """The batches of steps `first_step` … `last_step` − 1, each of `batch_size` samples over all ranks.

    Datasets in `AlternatingDatasets` each have whole steps, and visits of their own.

    Each visit to the dataset takes its samples in a new order, `permutation(seed, visit)`, and `transform` draws from
    `default_rng((seed, visit, index))`: what a step sees is the same however often the training was interrupted.
    """
    if len(dataset) == 0:
        raise BadInput(f"{dataset.name} has no samples.")
    positions = range(first_step * batch_size + rank, last_step * batch_size, ranks)
    if isinstance(dataset, AlternatingDatasets):
        visits = _InTurns(dataset, transform, seed, batch_size=batch_size, steps=last_step)
    else:
        visits = _Visits(dataset, transform, (seed,))
    loader = DataLoader(
        _Told(visits),
        batch_size=batch_size // ranks,
        sampler=positions,
        num_workers=workers,
        collate_fn=_together,
        worker_init_fn=use_one_thread,
    )
    return _raised(loader)


class Subset:
    """Some of a dataset's samples, in the order given."""

    def __init__(self, dataset: Dataset, indices: Sequence[int], name: str | None = None) -> None:
        self.dataset, self.indices = dataset, tuple(indices)
        self.name, self.kind = name or dataset.name, dataset.kind

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.indices[index]]


def hold_out(dataset: Dataset, every: int = 10) -> tuple[Dataset, Dataset]:
    """All samples but every tenth, and every tenth: for data that has no part of its own to choose weights by.

    Of datasets in turns, the first that measures metres gives the tenth; of less than ten samples, the last is held.

    Raises:
        BadInput: there is one sample only.
    """
    if isinstance(dataset, AlternatingDatasets):
        number = next((n for n, part in enumerate(dataset.parts) if part.kind is DepthKind.METRIC), 0)
        less, held = hold_out(dataset.parts[number], every)
        parts = [less if n == number else part for n, part in enumerate(dataset.parts)]
        return AlternatingDatasets(list(zip(parts, dataset.shares, strict=True))), held
    indices = range(len(dataset))
    if len(indices) < 2:
        raise BadInput(f"{dataset.name} has {len(indices)} samples, and training needs another to choose weights by.")
    every = min(every, len(indices))
    held = indices[every - 1 :: every]
    return (
        Subset(dataset, sorted(set(indices) - set(held)), f"{dataset.name} less every {every}th"),
        Subset(dataset, held, f"every {every}th of {dataset.name}"),
    )


def group_by_size(samples: Iterable[Sample], most: int) -> Iterator[list[Sample]]:
    """The samples in order, in groups of at most `most` that have one size."""
    group: list[Sample] = []
    for sample in samples:
        if group and (len(group) == most or sample.size != group[0].size):
            yield group
            group = []
        group.append(sample)
    if group:
        yield group


def subsample_evenly(things: Sequence[Thing], most: int) -> Sequence[Thing]:
    """At most so many of them, evenly spread."""
    return things[:: -(-len(things) // most) or 1]


def use_one_thread(_worker: int) -> None:
    """For a process that loads data: many beside each other have no use for more."""
    torch.set_num_threads(1)


def drop_unreadable(dataset: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """The dataset without the samples whose files cannot be read, and what is wrong with each of those.

    Reads everything once: the bad files are known before hours of training, not after.
    """
    good, faults = [], []
    for index in range(len(dataset)):
        try:
            dataset[index]
            good.append(index)
        except UnreadableFile as fault:
            faults.append(str(fault))
    return (Subset(dataset, good) if faults else dataset), tuple(faults)


def identity(dataset: Dataset) -> dict[str, Any]:
    """What tells one dataset from another without reading it whole."""
    first = dataset[0]
    maps = [first.image, first.depth, first.valid]
    if first.taught:
        maps += [first.taught.depth, first.taught.confidence]
    pixels = b"".join(each.numpy().tobytes() for each in maps)
    return {
        "name": dataset.name,
        "samples": len(dataset),
        "kind": dataset.kind,
        "first sample": f"{first.name} crc32 {zlib.crc32(pixels):08x}",
    }


def _together(samples: Sequence[Sample | BadInput]) -> Sample | BadInput:
    """One batch of samples, or the first fault among them."""
    good: list[Sample] = []
    for each in samples:
        if isinstance(each, BadInput):
            return each
        good.append(each)
    try:
        return collate(good)
    except BadInput as fault:
        return fault


def _raised(batches: Iterable[Sample | BadInput]) -> Iterator[Sample]:
    for each in batches:
        if isinstance(each, BadInput):
            raise each
        yield each


class _Told(torch.utils.data.Dataset[Sample | BadInput]):
    """Samples, and faults as they are: one raised in a worker would come back with that process's traceback for a
    message."""

    def __init__(self, samples: "_Visits | _InTurns") -> None:
        self.samples = samples

    def __getitem__(self, position: int) -> Sample | BadInput:
        try:
            return self.samples[position]
        except BadInput as fault:
            return fault


class _Visits(torch.utils.data.Dataset[Sample]):
    """The endless row of a dataset's visits, each in its own order."""

    def __init__(self, dataset: Dataset, transform: Transform, seed: tuple[int, ...]) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed
        self.order: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def __getitem__(self, position: int) -> Sample:
        visit, place = divmod(position, len(self.dataset))
        if self.order[0] != visit:
            self.order = visit, np.random.default_rng((*self.seed, visit)).permutation(len(self.dataset))
        index = int(self.order[1][place])
        return self.transform(self.dataset[index], np.random.default_rng((*self.seed, visit, index)))


class _InTurns(torch.utils.data.Dataset[Sample]):
    """The visits of several datasets, of which one gives all samples of a step."""

    def __init__(
        self, turns: "AlternatingDatasets", transform: Transform, seed: int, *, batch_size: int, steps: int
    ) -> None:
        self.visits = [_Visits(part, transform, (seed, number)) for number, part in enumerate(turns.parts)]
        self.owners, self.earlier = turns.schedule(steps)
        self.batch_size = batch_size

    def __getitem__(self, position: int) -> Sample:
        step, place = divmod(position, self.batch_size)
        return self.visits[self.owners[step]][int(self.earlier[step]) * self.batch_size + place]
