"""Pairs: what readers of published layouts share: files that a function reads, scenes as splits, what is missing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, unknown
from leadline.core.sample import Sample
from leadline.data.datasets import SPLITS
from leadline.data.datasets.folder import Pair
from leadline.data.datasets.pair_files import matches


@dataclass(frozen=True)
class FilePairs:
    """Pairs of files, each made a sample when it is asked for."""

    name: str
    kind: DepthKind
    pairs: tuple[Pair, ...]
    read: Callable[[Pair], Sample]
    """A function of a module, or a `partial` of one, so that other processes can have it."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        return self.read(self.pairs[index])


def missing_files(dataset: str, path: Path, *expected: str) -> BadInput:
    """The error for a folder that is not laid out as published: what was expected, and what lies there instead."""
    found = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    there = f"found {', '.join(found[:5])}{' …' if len(found) > 5 else ''}" if found else "found nothing"
    return BadInput(f"{dataset} needs {' and '.join(expected)} in {path} ({there}). See docs/datasets.md.")


def is_published(listed: bytes, digest: str) -> bool:
    """Whether a list is the one of this SHA-256; its line ends may have been changed on the way."""
    return sha256(listed.replace(b"\r\n", b"\n")).hexdigest() == digest


def check_split(split: str) -> None:
    """Raise BadInput unless it is one of `SPLITS`."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)


def scenes_for(split: str, pairs: Sequence[Pair], where: Path, *, val: str, test: str) -> tuple[Pair, ...]:
    """The pairs of the scenes that `val` or `test` name, or for "train" those of all others.

    Args:
        where: the dataset's folder, for messages.
        val: patterns of scene names, separated by `|`; none leaves no such split.
        test: likewise.

    Raises:
        NoSplit: nothing says which scenes are for this split.
        BadInput: no scene is of that name.
    """
    check_split(split)
    chosen = {"val": val, "test": test, "train": "|".join(filter(None, (val, test)))}[split]
    if not chosen and split != "train":
        cure = f"state {split}=PATTERN|PATTERN, the scenes to keep for it"
        raise NoSplit(f"{where} has no published {split} split: {cure}.")
    taken = tuple(pair for pair in pairs if matches(scene(pair), chosen) == (split != "train"))
    if not taken:
        scenes = sorted({scene(pair) for pair in pairs})
        more = f" and {len(scenes) - 5} more" if len(scenes) > 5 else ""
        raise BadInput(f"Nothing of {where} is left for {split}: its scenes are {', '.join(scenes[:5])}{more}.")
    return taken


def scene(pair: Pair) -> str:
    """What stands before the last `/` of its name."""
    return pair.name.rpartition("/")[0]
