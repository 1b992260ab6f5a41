"""Pairs: what the readers of published layouts share: pairs of files, splits by scenes, errors for missing files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, check_known
from leadline.core.sample import Sample
from leadline.data.datasets import SPLITS
from leadline.data.datasets.folder import Pair, check_camera
from leadline.data.datasets.pair_files import matches


@dataclass(frozen=True)
class FilePairs:
    """Pairs of files, each read into a sample when it is requested."""

    name: str
    kind: DepthKind
    pairs: tuple[Pair, ...]
    read: Callable[[Pair], Sample]
    """A function of a module, or a `partial` of one, so that it can be pickled for other processes."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Read one pair.

        Raises:
            BadInput: files that do not fit together, or a camera that cannot have taken the photograph.
        """
        sample = self.read(self.pairs[index])
        check_camera(self.pairs[index], sample.intrinsics, sample.image)
        return sample


def missing_files(dataset: str, path: Path, *expected: str) -> BadInput:
    """Return the error for a folder that is not laid out as published: what was expected, and what was found."""
    found = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    there = f"found {', '.join(found[:5])}{' …' if len(found) > 5 else ''}" if found else "found nothing"
    return BadInput(f"{dataset} needs {' and '.join(expected)} in {path} ({there}). See docs/datasets.md.")


def is_published(listed: bytes, digest: str) -> bool:
    """Return whether a list has this SHA-256, with Unix or Windows line ends."""
    return sha256(listed.replace(b"\r\n", b"\n")).hexdigest() == digest


def check_split(split: str) -> None:
    """Raise BadInput unless a split is one of `SPLITS`."""
    check_known("split", split, SPLITS)


def check_every(every: int) -> None:
    """Raise BadInput unless `every`, the n of every n-th frame, is 1 or more."""
    if every < 1:
        raise BadInput(f"every={every} takes no frame: state every=1 for all of them.")


def with_official_test(
    split: str, pairs: Sequence[Pair], where: Path, *, dataset: str, val: str, test: str
) -> tuple[Pair, ...]:
    """Return the pairs of a split of a dataset whose test is published and whose "val" is cut from "train".

    Args:
        split: "train", "val" or "test".
        pairs: the pairs of the official test for "test", those of the official training else.
        where: the dataset's folder, for messages.
        dataset: its name, for messages.
        val: patterns of scene names to keep for "val", separated by `|`.
        test: likewise; refused, for there is an official test.

    Raises:
        NoSplit: a test of one's own, or no patterns for "val".
        BadInput: no scene is of that name.
    """
    if test:
        raise NoSplit(f"{dataset} has an official test: leave test=… out.")
    return tuple(pairs) if split == "test" else scenes_for(split, pairs, where, val=val, test="")


def scenes_for(split: str, pairs: Sequence[Pair], where: Path, *, val: str, test: str) -> tuple[Pair, ...]:
    """Return the pairs of the scenes that `val` or `test` name, or for "train" those of all others.

    Args:
        split: "train", "val" or "test".
        pairs: all pairs, named `SCENE/FRAME`.
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
        fix = f"state {split}=PATTERN|PATTERN, the scenes to keep for it"
        raise NoSplit(f"{where} has no published {split} split: {fix}.")
    taken = tuple(pair for pair in pairs if matches(scene(pair), chosen) == (split != "train"))
    if not taken:
        scenes = sorted({scene(pair) for pair in pairs})
        more = f" and {len(scenes) - 5} more" if len(scenes) > 5 else ""
        raise BadInput(f"Nothing of {where} is left for {split}: its scenes are {', '.join(scenes[:5])}{more}.")
    return taken


def scene(pair: Pair) -> str:
    """Return the scene of a pair: the part of its name before the last `/`."""
    return pair.name.rpartition("/")[0]
