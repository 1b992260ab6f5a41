"""Licences: what a dataset says of its own."""

import re
from importlib import import_module
from pathlib import Path

from leadline.core.specs import parse_spec
from leadline.data.datasets import DATASETS, Dataset
from leadline.data.datasets.store import ArrowDataset


def licence_of(words: str, dataset: Dataset) -> str:
    """What a dataset's store, its folder or else its reader says; empty where none of them does."""
    if isinstance(dataset, ArrowDataset):
        return dataset.licence
    name, path, _ = parse_spec(words)
    if name not in DATASETS:
        return stated_licence(Path(words.partition(",")[0]))
    return (path and stated_licence(Path(path))) or _published(name)


def stated_licence(place: Path) -> str:
    """The first line of a licence file in a folder, or of its README's lines that speak of one.

    Beside a file it is looked for in that file's folder.
    """
    folder = place if place.is_dir() else place.parent
    texts = {file.name: file for file in sorted(folder.iterdir()) if file.is_file()} if place.exists() else {}
    for name, file in texts.items():
        if re.match(r"(licen[cs]e|copying)\b", name, re.IGNORECASE):
            lines = [line.strip(" #*=") for line in file.read_text(errors="replace").splitlines()]
            return f"{next(filter(None, lines), 'nothing')} ({name})"
    for name, file in texts.items():
        if re.match(r"readme\b", name, re.IGNORECASE):
            said = re.search(r"^.*licen[cs]e.*$", file.read_text(errors="replace"), re.IGNORECASE | re.MULTILINE)
            if said:
                return f"{said[0].strip(' #*|')} ({name})"
    return ""


def _published(name: str) -> str:
    """The second paragraph of a reader's docstring, where it names the page and the licence of published data."""
    paragraphs = (import_module(DATASETS[name].partition(":")[0]).__doc__ or "").split("\n\n")
    said = " ".join(paragraphs[1].split()) if len(paragraphs) > 1 else ""
    return said if "://" in said else ""
