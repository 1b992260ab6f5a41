"""Licences of datasets, as a store, a folder or a reader states them."""

import re
from importlib import import_module
from pathlib import Path

from leadline.core.specs import parse_spec
from leadline.data.datasets import DATASETS, Dataset
from leadline.data.datasets.store import ArrowDataset


def licence_of(spec: str, dataset: Dataset) -> str:
    """Return the licence that a dataset's store, its folder or else its reader states; empty where none of them does.

    Args:
        spec: what the dataset was opened from, `NAME[:PATH][,option=value]…`.
        dataset: what `open_data` made of it.
    """
    if isinstance(dataset, ArrowDataset):
        return dataset.licence
    name, path, _ = parse_spec(spec)
    if name not in DATASETS:
        return stated_licence(Path(spec.partition(",")[0]))
    return (path and stated_licence(Path(path))) or _published(name)


def stated_licence(place: Path) -> str:
    """Return the first line of a folder's licence file, or the first line of its README that mentions a licence.

    For a file, its folder is searched; the result is empty where neither is found.
    """
    folder = place if place.is_dir() else place.parent
    texts = {file.name: file for file in sorted(folder.iterdir()) if file.is_file()} if place.exists() else {}
    for name, file in texts.items():
        if re.match(r"(licen[cs]e|copying)\b", name, re.IGNORECASE):
            lines = [line.strip(" #*=") for line in file.read_text(errors="replace").splitlines()]
            return f"{next(filter(None, lines), 'nothing')} ({name})"
    for name, file in texts.items():
        if re.match(r"readme\b", name, re.IGNORECASE):
            found = re.search(r"^.*licen[cs]e.*$", file.read_text(errors="replace"), re.IGNORECASE | re.MULTILINE)
            if found:
                return f"{found[0].strip(' #*|')} ({name})"
    return ""


def _published(name: str) -> str:
    """Return the constant `LICENCE` of a reader's module; a docstring would be gone under `python -OO`."""
    return import_module(DATASETS[name].partition(":")[0]).LICENCE
