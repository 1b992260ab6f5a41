"""Datasets: each file turns one folder layout (or a procedure) into samples; `open_data` finds it by name."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, get_type_hints, runtime_checkable

from leadline.errors import BadInput, unknown
from leadline.sample import Kind, Sample


@runtime_checkable
class Dataset(Protocol):
    """A finite, ordered collection of samples that answers the same sample for the same index, always."""

    name: str
    """Names the data and the split in tables and run folders: `nyu test`."""
    kind: Kind
    """What its depth promises."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


DATASETS: Mapping[str, str] = {
    "folder": "leadline.datasets.folder:folder",
    "nyu": "leadline.datasets.nyu:nyu",
    "rooms": "leadline.datasets.rooms:rooms",
}
"""Name → builder `(split, **options) -> Dataset`; nothing is imported until it is opened."""


def open_data(spec: str, split: str, **defaults: Any) -> Dataset:
    """Open a dataset from words: `NAME[:PATH][,option=value]…`, or the path of a folder or CSV of pairs.

    `rooms`, `rooms,domain=b`, `nyu:data/nyu`, `data/mine,depth_scale=1000`. `split` is "train", "val" or "test";
    `defaults` are options that `spec` may override and that builders which do not know them never see.

    Raises:
        BadInput: an unknown dataset, option or split, or data that is not where `spec` says.
    """
    head, *settings = spec.split(",")
    name, _, path = head.partition(":")
    if name not in DATASETS:
        if not Path(head).exists():
            raise (unknown("dataset", head, DATASETS) if "/" not in head else BadInput(f"No folder or file {head}."))
        name, path = "folder", head
    module, _, builder_name = DATASETS[name].partition(":")
    builder = getattr(import_module(module), builder_name)
    types = {key: hint for key, hint in get_type_hints(builder).items() if key not in ("split", "return")}
    options = {key: value for key, value in defaults.items() if key in types}
    if path:
        options["path"] = path
    for setting in settings:
        key, _, value = setting.partition("=")
        options[key] = value
    for key, value in options.items():
        if key not in types:
            raise unknown(f"{name} option", key, types)
        options[key] = _parsed(key, value, types[key])
    return builder(split, **options)


def _parsed(key: str, value: Any, hint: Any) -> Any:
    """An option's text as the builder's type: int, float, Path, bool (`yes`, `no`) or text."""
    if not isinstance(value, str):
        return value
    try:
        for kind in (int, float, Path):
            if hint is kind or kind in getattr(hint, "__args__", ()):
                return kind(value)
    except ValueError as mistake:
        raise BadInput(f"{key}={value} is not a number.") from mistake
    if hint is bool:
        if value not in ("yes", "no"):
            raise BadInput(f"{key}={value} is neither yes nor no.")
        return value == "yes"
    return value
