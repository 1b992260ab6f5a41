"""Index of a dataset: where its photographs and depth maps lie, found without reading them."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit
from leadline.core.paths import StrPath
from leadline.core.sample import Sample
from leadline.core.specs import parse_options, parse_spec
from leadline.data.datasets import DATASETS, SPLITS, Dataset, open_data
from leadline.data.datasets.depth_reading import DepthReading
from leadline.data.datasets.folder import FolderDataset, Pair, folder
from leadline.data.datasets.licences import licence_of, stated_licence
from leadline.data.datasets.pair_files import FoundPair, find_pairs, is_wanted
from leadline.data.datasets.pairs import FilePairs
from leadline.data.datasets.store import ArrowDataset

Camera = tuple[float, ...]
"""fx, fy, cx, cy in pixels of the photograph."""


@dataclass(frozen=True)
class Entry:
    """A photograph and the depth map that should belong to it: two files, or a sample that a dataset makes."""

    split: str
    scene: str
    name: str
    image: Path | None = None
    depth: Path | None = None
    camera: Camera | None = None
    camera_size: tuple[int, int] | None = None
    """Height and width of the photographs that the camera is stated for, where copies are of another size."""
    make: Callable[[], Sample] | None = None
    pair_fault: str = ""
    """Why the files cannot be a pair, where more than one missing partner is wrong."""
    camera_fault: str = ""
    """Why the stated camera is refused."""

    @property
    def is_frame(self) -> bool:
        """Whether it has a photograph and depth; else it is a file whose partner is missing or wrong."""
        return not self.pair_fault and bool(self.make or (self.image and self.depth))

    def files(self, which: str | None = None) -> tuple[str, ...]:
        """Return the files to name in a message: the "image", the "depth" or (None) both; else the sample's name."""
        files = {"image": self.image, "depth": self.depth}
        named = [file for part, file in files.items() if file and which in (None, part)]
        return tuple(map(str, named)) or (f"{self.split}/{self.name}",)


@dataclass(frozen=True)
class Collection:
    """All entries of a dataset, and what is stated about them."""

    spec: str
    """What it was named by, `NAME[:PATH][,option=value]…`."""
    layout: str
    """The layout that was recognised."""
    entries: tuple[Entry, ...]
    reading: DepthReading
    """How the numbers in the depth files are read."""
    kind: DepthKind
    licence: str
    """As the folder or the dataset states it."""
    reader: str = ""
    """The reader of published data that sets the unit by its rule; empty for a folder or a CSV file."""
    refused: tuple[str, ...] = ()
    """Splits that could not be opened while others could, and why."""
    faults: tuple[str, ...] = ()
    """What is wrong with `scenes.json`, the file of the cameras."""


def index_data(spec: StrPath, *, split: str | None = None, frames: int | None = None) -> Collection:
    """List the entries of a dataset, also of a folder that `open_data` would refuse.

    Args:
        spec: as for `open_data`; the layouts of published datasets are recognised without their names.
        split: only this one; None takes all.
        frames: at most this many of each scene, the first ones; None takes all.

    Raises:
        BadInput: no such dataset, folder or file, or nothing in it.
    """
    if frames is not None and frames < 1:
        raise BadInput(f"frames={frames} takes no frame: state 1 or more, or leave it out for all.")
    spec = os.fspath(spec)
    name, path, options = parse_spec(spec)
    place = Path(path if name == "folder" else spec.partition(",")[0])
    if name not in DATASETS and place.is_dir() and (recognised := _recognised(place)):
        return index_data(",".join([recognised, *spec.split(",")[1:]]), split=split, frames=frames)
    if name == "folder" or (name not in DATASETS and place.exists()):
        return _collected_files(spec, place, parse_options(folder, options, "folder"), split, frames)
    return _collected_samples(spec, name, split, frames)


def _recognised(place: Path) -> str | None:
    """Return the spec of the published dataset whose files lie here."""
    for pattern, spec in _MARKS.items():
        if any(place.glob(pattern)):
            name, comma, options = spec.partition(",")
            return f"{name}:{place}{comma}{options}"
    return None


_MARKS: Mapping[str, str] = {
    "*/00000.arrow": "store",
    "dataset_dict.json": "hub",
    "state.json": "hub",
    "nyu_depth_v2_labeled.mat": "nyu",
    "eigen_*_files_with_gt.txt": "kitti",
    "20[0-9][0-9]_[0-9][0-9]_[0-9][0-9]": "kitti",
    "rgb.txt": "tum",
    "*/rgb.txt": "tum",
    "scannetv2_*.txt": "scannet",
    "*/intrinsic/intrinsic_color.txt": "scannet",
    "RDs": "redweb",
    "rds": "redweb",
    "flyingthings3d/disparity": "sceneflow",
    "monkaa/disparity": "sceneflow,part=monkaa",
    "driving/disparity": "sceneflow,part=driving",
    "*/*/DEPTH/*_DEPTH.png": "pandora",
    "*/[HL]R/*/color": "diml",
    "*/*/*/col": "diml",
    # Which scenes are for the test is stated in another folder, which may be missing.
    "*/d-*.pgm": "nyu_raw,labelled=none",
    "*/*/d-*.pgm": "nyu_raw,labelled=none",
}
"""Pattern of a file or folder that no other dataset has → the spec of the dataset; the first that matches counts."""


def _collected_files(
    spec: str, place: Path, options: Mapping[str, Any], split: str | None, frames: int | None
) -> Collection:
    invalid = options.get("invalid", ())
    stated = {name: options[name] for name in ("depth_scale", "max_depth", "along_ray", "encoding") if name in options}
    reading = DepthReading(invalid=None if invalid is None else tuple(invalid), **stated)
    listing = find_pairs(place)
    include, exclude = options.get("include", ""), options.get("exclude", "")
    pairs = listing.pairs if place.is_file() else _in_natural_order(listing.pairs)
    wanted = [_entry(each) for each in pairs if split in (None, each.split) and is_wanted(each.scene, include, exclude)]
    if not wanted:
        raise BadInput(
            f"No photographs with depth in {place}: it needs rgb/ and depth/ side by side, in it or in its SPLIT/SCENE "
            "folders, or a CSV file with the columns image,depth. See docs/datasets.md."
        )
    return Collection(
        spec,
        "a CSV file of pairs" if place.is_file() else "a folder of rgb/ and depth/",
        tuple(_first_of_each_scene(wanted, frames)),
        reading,
        DepthKind(options.get("kind", DepthKind.METRIC)),
        stated_licence(place),
        faults=listing.faults,
    )


def _in_natural_order(pairs: Sequence[FoundPair]) -> list[FoundPair]:
    """Sort the pairs of each scene as they were taken, so that neighbours can be compared."""
    scenes: dict[tuple[str, str], list[FoundPair]] = {}
    for pair in pairs:
        scenes.setdefault((pair.split, pair.scene), []).append(pair)
    return [pair for scene in scenes.values() for pair in sorted(scene, key=_natural)]


def _entry(pair: FoundPair) -> Entry:
    return Entry(
        pair.split,
        pair.scene,
        pair.name,
        pair.image,
        pair.depth,
        pair.camera,
        pair_fault=pair.fault,
        camera_fault=pair.camera_fault,
    )


def _natural(pair: FoundPair) -> list[tuple[int, str]]:
    """Return a key that sorts frame 2 before frame 10."""
    parts = re.split(r"(\d+)", pair.name.rpartition("/")[2])
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _first_of_each_scene(entries: list[Entry], frames: int | None) -> Iterator[Entry]:
    taken: dict[tuple[str, str], int] = {}
    for entry in entries:
        place = (entry.split, entry.scene)
        taken[place] = taken.get(place, 0) + 1
        if frames is None or taken[place] <= frames:
            yield entry


def _collected_samples(spec: str, name: str, split: str | None, frames: int | None) -> Collection:
    """List the samples that a reader makes of its own files."""
    entries, kind, licence, reading = [], DepthKind.METRIC, "", DepthReading(1.0)
    absent: list[BadInput] = []
    refused: dict[str, BadInput] = {}
    stored: list[ArrowDataset] = []
    for each in (split,) if split else SPLITS:
        try:
            dataset = open_data(spec, each)
        except NoSplit as reason:
            absent.append(reason)
            continue
        except BadInput as reason:
            refused[each] = reason
            continue
        if isinstance(dataset, ArrowDataset):
            if dataset in stored:  # a split that stands for another one, as val does for an absent test
                continue
            stored.append(dataset)
        kind, licence = dataset.kind, licence_of(spec, dataset)
        reading = dataset.reading if isinstance(dataset, FolderDataset) else reading
        entries += _first_of_each_scene(list(_made(each, name, dataset)), frames)
    if not entries:
        raise next(iter([*refused.values(), *absent]), BadInput(f"{spec} holds nothing."))
    reasons = tuple(f"{each}: {reason}" for each, reason in refused.items())
    return Collection(spec, f"the dataset {name}", tuple(entries), reading, kind, licence, name, reasons)


def _made(split: str, name: str, dataset: Dataset) -> Iterator[Entry]:
    """Yield the samples of a dataset, with the files that they come from where they are known."""
    for index in range(len(dataset)):
        make = partial(dataset.__getitem__, index)
        if isinstance(dataset, FolderDataset):
            yield _file_entry(split, dataset.pairs[index], camera_size=dataset.camera_size)
        elif isinstance(dataset, FilePairs):
            yield replace(_file_entry(split, dataset.pairs[index]), make=make)
        else:
            yield Entry(split, "", f"{name}/{index:06d}", make=make)


def _file_entry(split: str, pair: Pair, *, camera_size: tuple[int, int] | None = None) -> Entry:
    return Entry(
        split, pair.name.rpartition("/")[0], pair.name, pair.image, pair.depth, pair.intrinsics, camera_size=camera_size
    )
