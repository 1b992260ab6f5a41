"""Loader: samples → batches, in an order that depends on the seed and the step only."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.core.sample import Sample, collate
from leadline.data.datasets import Dataset
from leadline.data.mixing import AlternatingDatasets
from leadline.io.run_folder import SPREAD_SAMPLES

Transform = Callable[[Sample, np.random.Generator], Sample]
"""An augmentation; all its randomness comes from the generator."""


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
    """Yield the batches of steps `first_step` … `last_step` − 1, each of `batch_size` samples over all ranks.

    Each epoch takes the samples in a new order, `permutation(seed, epoch)`, and `transform` draws from
    `default_rng((seed, epoch, index))`: the samples of a step are the same however often the training was interrupted.
    Each of `AlternatingDatasets` has whole steps, and epochs of its own.

    Args:
        dataset: the samples.
        transform: augments one sample.
        seed: of the order and of the augmentation.
        batch_size: samples of a step, over all ranks.
        first_step: number of the first step, from 0.
        last_step: number after that of the last step.
        rank: number of this process among those that train together.
        ranks: number of these processes; each has every `ranks`-th sample of a step.
        workers: processes that load samples; 0 loads them in this one.

    Raises:
        BadInput: the dataset is empty, or a sample cannot be used.
        UnreadableFile: a file of a sample cannot be read.
    """
    if len(dataset) == 0:
        raise BadInput(f"{dataset.name} has no samples.")
    positions = range(first_step * batch_size + rank, last_step * batch_size, ranks)
    if isinstance(dataset, AlternatingDatasets):
        samples = _AlternatingEpochs(dataset, transform, seed, batch_size=batch_size, steps=last_step)
    else:
        samples = _Epochs(dataset, transform, (seed,))
    loader = DataLoader(
        _ErrorsReturned(samples),
        batch_size=batch_size // ranks,
        sampler=positions,
        num_workers=workers,
        collate_fn=_collate_or_error,
        worker_init_fn=use_one_thread,
    )
    return _raise_errors(loader)


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
    """Split a dataset without a validation split into all samples but every tenth (`every`), and every tenth.

    Of alternating datasets, the first one of metric depth gives the tenth; of fewer than ten samples the last is taken.

    Raises:
        BadInput: there are fewer than two samples.
    """
    if isinstance(dataset, AlternatingDatasets):
        number = next((n for n, part in enumerate(dataset.parts) if part.kind is DepthKind.METRIC), 0)
        less, held = hold_out(dataset.parts[number], every)
        parts = [less if n == number else part for n, part in enumerate(dataset.parts)]
        return AlternatingDatasets(list(zip(parts, dataset.weights, strict=True))), held
    indices = range(len(dataset))
    if len(indices) < 2:
        raise BadInput(f"{dataset.name} has {len(indices)} samples, and training needs another for validation.")
    every = min(every, len(indices))
    held = indices[every - 1 :: every]
    return (
        Subset(dataset, sorted(set(indices) - set(held)), f"{dataset.name} less every {every}th"),
        Subset(dataset, held, f"every {every}th of {dataset.name}"),
    )


def group_by_size(samples: Iterable[Sample], max_count: int) -> Iterator[list[Sample]]:
    """Group samples of one height and width, in order, at most `max_count` in a group."""
    group: list[Sample] = []
    for sample in samples:
        if group and (len(group) == max_count or sample.size != group[0].size):
            yield group
            group = []
        group.append(sample)
    if group:
        yield group


def use_one_thread(_worker: int) -> None:
    """Let PyTorch use one thread in a process that loads data, as many such processes share the cores."""
    torch.set_num_threads(1)


def drop_unreadable(dataset: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """Return the dataset without the samples whose files cannot be read, and what is wrong with each of those.

    Everything is read once, so that bad files are known before hours of training and not after.
    """
    good, faults = [], []
    for index in range(len(dataset)):
        try:
            dataset[index]
            good.append(index)
        except UnreadableFile as fault:
            faults.append(str(fault))
    return (Subset(dataset, good) if faults else dataset), tuple(faults)


def identity(dataset: Dataset, *, skip_unreadable: bool = False) -> dict[str, Any]:
    """Return what tells datasets apart: name, number of samples, kind, and what is in some of the samples.

    The first sample has a checksum of its own; another one is of `IDENTIFYING_SAMPLES` that are evenly spread, which
    are all of a small dataset. A file that changed between those is not noticed: to read everything would take as long
    as an epoch.

    Args:
        dataset: the samples.
        skip_unreadable: count samples whose files cannot be read as such.

    Raises:
        UnreadableFile: a file of these samples cannot be read, and `skip_unreadable` is not set.
    """
    count = len(dataset)
    spread = sorted({round(place * (count - 1) / (IDENTIFYING_SAMPLES - 1)) for place in range(IDENTIFYING_SAMPLES)})
    name, first = _checksum(dataset, 0, skip_unreadable)
    checksum = first
    for index in spread[1:]:
        checksum = zlib.crc32(repr(_checksum(dataset, index, skip_unreadable)).encode(), checksum)
    return {
        "name": dataset.name,
        "samples": count,
        "kind": dataset.kind,
        "first sample": f"{name} crc32 {first:08x}",
        SPREAD_SAMPLES: f"{len(spread)} crc32 {checksum:08x}",
    }


IDENTIFYING_SAMPLES = 16
"""Samples that `identity` reads, at most."""


def _checksum(dataset: Dataset, index: int, skip_unreadable: bool) -> tuple[str, int]:
    """Return a sample's name and the CRC-32 of its pixels, or what stands for a sample that cannot be read."""
    try:
        sample = dataset[index]
    except UnreadableFile:
        if not skip_unreadable:
            raise
        return "unreadable", 0
    maps = [sample.image, sample.depth, sample.valid]
    if sample.teacher_prediction:
        maps += [sample.teacher_prediction.depth, sample.teacher_prediction.confidence]
    if sample.other:
        maps.append(sample.other.image)
    return str(sample.name), zlib.crc32(b"".join(each.numpy().tobytes() for each in maps))


def _collate_or_error(samples: Sequence[Sample | BadInput]) -> Sample | BadInput:
    """Collate samples into a batch, or return the first error among them."""
    good: list[Sample] = []
    for each in samples:
        if isinstance(each, BadInput):
            return each
        good.append(each)
    try:
        return collate(good)
    except BadInput as fault:
        return fault


def _raise_errors(batches: Iterable[Sample | BadInput]) -> Iterator[Sample]:
    for each in batches:
        if isinstance(each, BadInput):
            raise each
        yield each


class _ErrorsReturned(torch.utils.data.Dataset[Sample | BadInput]):
    """Samples, or the errors of reading them: raised in a worker, an error would have a traceback in its message."""

    def __init__(self, samples: "_Epochs | _AlternatingEpochs") -> None:
        self.samples = samples

    def __getitem__(self, position: int) -> Sample | BadInput:
        try:
            return self.samples[position]
        except BadInput as fault:
            return fault


class _Epochs(torch.utils.data.Dataset[Sample]):
    """Endless epochs of a dataset, each in an order of its own."""

    def __init__(self, dataset: Dataset, transform: Transform, seed: tuple[int, ...]) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed
        self.order: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def __getitem__(self, position: int) -> Sample:
        epoch, place = divmod(position, len(self.dataset))
        if self.order[0] != epoch:
            self.order = epoch, np.random.default_rng((*self.seed, epoch)).permutation(len(self.dataset))
        index = int(self.order[1][place])
        return self.transform(self.dataset[index], np.random.default_rng((*self.seed, epoch, index)))


class _AlternatingEpochs(torch.utils.data.Dataset[Sample]):
    """Endless epochs of several datasets, one of which gives all samples of a step."""

    def __init__(
        self, datasets: AlternatingDatasets, transform: Transform, seed: int, *, batch_size: int, steps: int
    ) -> None:
        self.epochs = [_Epochs(part, transform, (seed, number)) for number, part in enumerate(datasets.parts)]
        self.owners, self.earlier = datasets.schedule(steps)
        self.batch_size = batch_size

    def __getitem__(self, position: int) -> Sample:
        step, place = divmod(position, self.batch_size)
        return self.epochs[self.owners[step]][int(self.earlier[step]) * self.batch_size + place]
