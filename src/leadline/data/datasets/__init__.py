"""Datasets: each file turns one folder layout (or a procedure) into samples; `open_data` finds it by name."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, check_type, unknown
from leadline.core.image_checks import ROUNDING, explain_range
from leadline.core.paths import StrPath
from leadline.core.sample import Sample
from leadline.core.specs import parse_options, parse_spec
from leadline.io.depth_units import PLAUSIBLE_MEDIAN_METRES

_Item = TypeVar("_Item")


@runtime_checkable
class Dataset(Protocol):
    """A finite, ordered collection of samples that always returns the same sample for the same index."""

    @property
    def name(self) -> str:
        """Name of the data and the split in tables and run folders: `nyu test`."""
        ...

    @property
    def kind(self) -> DepthKind:
        """What its depth guarantees."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def check_dataset(dataset: object) -> None:
    """Refuse what is no dataset, such as a spec that was not opened.

    Raises:
        BadInput: it is none; the error says how to open one.
    """
    check_type(dataset, Dataset, "dataset", 'open one by leadline.datasets.open_data("rooms,count=4", "val")')


def check_samples(dataset: object) -> None:
    """Refuse a dataset whose first sample holds numbers of another type or range, or depth in another unit.

    Readers of files check every sample; for a dataset that a user wrote this is the only check.

    Raises:
        BadInput: it is no dataset, has no samples, or the first one holds other numbers; the error says what to do.
        UnreadableFile: the file of the first sample cannot be read.
    """
    check_dataset(dataset)
    assert isinstance(dataset, Dataset)
    if not len(dataset):
        raise BadInput(f"{dataset.name} has no samples.")
    sample, where = dataset[0], f"The first sample of {dataset.name}"
    check_type(sample, Sample, "Sample", "a dataset returns those of leadline.datasets.Sample")
    for part, is_right in (
        ("image", sample.image.is_floating_point()),
        ("depth", sample.depth.is_floating_point()),
        ("valid", str(sample.valid.dtype) == "torch.bool"),
    ):
        if not is_right:
            wanted = "booleans" if part == "valid" else "floats"
            raise BadInput(f"{where}: its `{part}` holds {getattr(sample, part).dtype}: give {wanted}.")
    low, high = (each.item() for each in sample.image.aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise BadInput(f"{where}: {explain_range(low, high)}")
    depth = sample.depth[sample.valid]
    if not depth.numel():
        return
    is_measured = depth.isfinite() if sample.kind is DepthKind.RELATIVE else depth.isfinite() & (depth > 0)
    if not is_measured.all():
        raise BadInput(f"{where}: valid depth is not finite or not positive: mark it as not valid.")
    middle = float(depth.median())
    if sample.kind is DepthKind.METRIC and middle > PLAUSIBLE_MEDIAN_METRES[1]:
        raise BadInput(
            f"{where}: its depth has a median of {middle:,.4g}, and metric depth is in metres: divide by 1000 if it is "
            "in millimetres, or give kind=DepthKind.SCALE_FREE if it has no unit."
        )


SPLITS = ("train", "val", "test")
"""Names of the splits, in the order in which commands take them."""
DATASETS: Mapping[str, str] = {
    "diml": "leadline.data.datasets.diml:diml",
    "folder": "leadline.data.datasets.folder:folder",
    "hub": "leadline.data.datasets.hub:hub",
    "kitti": "leadline.data.datasets.kitti:kitti",
    "nyu": "leadline.data.datasets.nyu:nyu",
    "nyu_raw": "leadline.data.datasets.nyu_raw:nyu_raw",
    "pandora": "leadline.data.datasets.pandora:pandora",
    "photos": "leadline.data.datasets.photos:photos",
    "redweb": "leadline.data.datasets.redweb:redweb",
    "rooms": "leadline.data.datasets.rooms:rooms",
    "scannet": "leadline.data.datasets.scannet:scannet",
    "sceneflow": "leadline.data.datasets.sceneflow:sceneflow",
    "store": "leadline.data.datasets.store:store",
    "tum": "leadline.data.datasets.tum:tum",
}
"""Name → builder `(split, *, option=…) -> Dataset`; nothing is imported until it is opened."""


def open_data(spec: StrPath, split: str, *, cache: StrPath | None = None) -> Dataset:
    """Open a dataset from `NAME[:PATH][,option=value]…`, or from the path of a folder or of a CSV of pairs.

    Args:
        spec: `rooms`, `rooms,domain=b`, `nyu:data/nyu`, `data/mine,depth_scale=1000`.
        split: "train", "val" or "test".
        cache: where a dataset that renders its samples may keep them, unless the spec says where.

    Raises:
        BadInput: an unknown dataset, option or split, or data that is not where the spec says.
        NoSplit: the data has no such split.
    """
    spec = os.fspath(spec)
    if " + " in spec and not Path(spec).exists():
        raise BadInput(f"{spec!r} names several datasets, which trainings take: give one.")
    place = spec.partition(",")[0]
    if (known := parse_spec(spec)[0]) not in DATASETS and not Path(place).exists():
        raise BadInput(f"No folder or file {place}.") if "/" in place else unknown("dataset", known, DATASETS)
    name, builder, options = _resolved(spec)
    needed = signature(builder).parameters.get("path")
    if needed is not None and needed.default is needed.empty and "path" not in options:
        raise BadInput(f"{name} needs the path of its folder: write {name}:PATH.")
    if cache and "cache" in signature(builder).parameters:
        options.setdefault("cache", os.fspath(cache))
    return builder(split, **parse_options(builder, options, name))


def _resolved(spec: str) -> tuple[str, Callable[..., Dataset], dict[str, Any]]:
    """Return the name of a dataset, its builder, and the texts of the options in a spec, the path among them."""
    name, path, options = parse_spec(spec)
    if name not in DATASETS:
        name, path = "folder", spec.partition(",")[0]
    if path:
        options["path"] = path
    module, _, builder_name = DATASETS[name].partition(":")
    return name, getattr(import_module(module), builder_name), options


def reading_options(spec: StrPath) -> dict[str, Any]:
    """Return the options that a spec reads its samples with, defaults included; not where they lie.

    Args:
        spec: as for `open_data`; the data need not be there.

    Raises:
        BadInput: an option that the dataset does not have, or a text that is not of its type.
    """
    name, builder, texts = _resolved(os.fspath(spec))
    parameters = signature(builder).parameters
    defaults = {key: each.default for key, each in parameters.items() if each.default is not each.empty}
    options = {**defaults, **parse_options(builder, texts, name)}
    return {key: value for key, value in options.items() if key not in ("split", "path", "cache")}


def open_for_evaluation(spec: StrPath, split: str) -> Dataset:
    """Open the data of an evaluation: as `open_data`, but a folder or a CSV file without splits serves as any of them.

    The dataset's name then says so. Training must not use this: it would be evaluated on what it was trained on.

    Raises:
        NoSplit: the data has splits, and none of this name.
        BadInput: as `open_data`.
    """
    from leadline.data.datasets.folder import FolderDataset

    try:
        return open_data(spec, split)
    except NoSplit:
        whole = open_data(spec, "train")
        if not isinstance(whole, FolderDataset) or whole.has_splits:
            raise
    return replace(whole, name=f"{whole.name.replace(' train', '', 1)}, all {len(whole)} pairs: it has no splits")


def subsample_evenly(items: Sequence[_Item], max_count: int) -> Sequence[_Item]:
    """Take every n-th item, so that at most `max_count` are left."""
    return items[:: -(-len(items) // max_count) or 1]
