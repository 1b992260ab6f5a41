"""Folder: your own photographs and depth maps, matched by name, or listed in a CSV file.

Expected tree (SCENE may be left out where there is one only, SPLIT where all is for training):

    DIR/scenes.json                     intrinsics, if known: {"train/SCENE": {"intrinsics_fx_fy_cx_cy": [...]}}
    DIR/SPLIT/SCENE/rgb/0007.jpg        any photograph
    DIR/SPLIT/SCENE/depth/0007.png      .png .npz .pfm .tiff of the same size

or a CSV file with the header `image,depth` and, as wanted, `split` and `fx,fy,cx,cy`; its paths start at its folder.
Unit: `depth_scale` says how many steps of the depth files make a metre; files of ours say it themselves.
Trap: a split by frames instead of scenes shows the validation what the training has seen.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, unknown
from leadline.core.sample import Sample
from leadline.io.depth_maps import DEPTH_SUFFIXES, read_depth
from leadline.io.images import PHOTO_SUFFIXES, read_image

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Pair:
    """A photograph and the depth map that belongs to it."""

    name: str
    """`SCENE/0007`."""
    image: Path
    depth: Path
    intrinsics: tuple[float, ...] | None = None
    """fx, fy, cx, cy in pixels; None leaves it to the depth file."""


@dataclass(frozen=True)
class FolderDataset:
    """Pairs of files as samples."""

    name: str
    kind: DepthKind
    pairs: tuple[Pair, ...]
    depth_scale: float | None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image = read_image(pair.image)
        measured = read_depth(pair.depth, depth_scale=self.depth_scale, kind=self.kind)
        if image.shape[1:] != measured.depth.shape[1:]:
            raise BadInput(
                f"{pair.image} is {_size(image)} pixels and {pair.depth} is {_size(measured.depth)}: "
                "register and resize the depth to its photograph first (a phone's photograph may be turned by EXIF)."
            )
        intrinsics = measured.intrinsics if pair.intrinsics is None else torch.tensor(pair.intrinsics)
        return Sample(image, measured.depth, measured.valid, self.kind, intrinsics, pair.name)


def folder(
    split: str,
    *,
    path: Path,
    depth_scale: float | None = None,
    kind: str = "metric",
    include: str = "",
    exclude: str = "",
) -> FolderDataset:
    """Photographs and depth maps in `path`, a folder or a CSV file.

    Without folders (or a CSV column) of splits all pairs are "train". Where "test" is missing "val" serves as the
    test, and the dataset's name says so.

    Args:
        depth_scale: steps of the depth files that make a metre: 1000 for millimetres, 256 for KITTI, 5000 for TUM.
        kind: what the depth promises: "metric", "scale_free" or "relative".
        include: patterns of scene names, separated by `|`; none takes all.
        exclude: patterns of scene names to leave out.

    Raises:
        NoSplit: no such split.
        BadInput: no pairs, or a file without its partner.
    """
    if kind not in tuple(DepthKind):
        raise unknown("kind", kind, DepthKind)
    if not path.exists():
        raise BadInput(f"No folder or file {path}.")
    listed = _listed_pairs(path) if path.is_file() else _found_pairs(path)
    taken = _taken_split(path, split, listed)
    pairs = tuple(pair for pair in listed[taken] if _is_wanted(pair, include, exclude))
    if not pairs:
        scenes = sorted({_scene(pair) for pair in listed[taken]})
        raise BadInput(f"Nothing of {path} ({taken}) is left: its scenes are {', '.join(scenes)}.")
    limits = [f"{key} {value}" for key, value in (("only", include), ("without", exclude)) if value]
    name = path.stem if path.is_file() else path.resolve().name
    return FolderDataset(" ".join([name, taken, *limits]), DepthKind(kind), pairs, depth_scale)


def _listed_pairs(path: Path) -> Mapping[str, list[Pair]]:
    """Split → pairs, as the CSV file says."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, restval=""))
    if not rows or not {"image", "depth"} <= rows[0].keys():
        raise BadInput(f"{path} must begin with the line `image,depth` (or `image,depth,split,fx,fy,cx,cy`) and go on.")
    pairs: dict[str, list[Pair]] = {}
    for line, row in enumerate(rows, start=2):
        pairs.setdefault(row.get("split") or "train", []).append(_listed_pair(row, path.parent, f"{path}, line {line}"))
    names = Counter(pair.name for each in pairs.values() for pair in each)
    if twice := [name for name, count in names.items() if count > 1]:
        raise BadInput(
            f"{path} lists {len(twice)} photographs more than once, first {twice[0]}: keep one line of each."
        )
    return pairs


def _listed_pair(row: Mapping[str, str], root: Path, where: str) -> Pair:
    image, depth = root / row["image"], root / row["depth"]
    for file in (image, depth):
        if not file.is_file():
            raise BadInput(f"{where}: no file {file}.")
    camera = [row[key] for key in ("fx", "fy", "cx", "cy") if row.get(key)]
    try:
        intrinsics = tuple(float(number) for number in camera)
    except ValueError as error:
        raise BadInput(f"{where}: fx, fy, cx and cy must be numbers, in pixels.") from error
    if len(camera) not in (0, 4):
        raise BadInput(f"{where}: a camera is fx, fy, cx and cy, or none of them.")
    return Pair(Path(row["image"]).with_suffix("").as_posix().lstrip("./"), image, depth, intrinsics or None)


def _found_pairs(path: Path) -> Mapping[str, list[Pair]]:
    """Split → pairs, as the folders lie."""
    splits = {split: path / split for split in SPLITS if (path / split).is_dir()}
    pairs = {split: list(_pairs_below(root, path)) for split, root in (splits or {"train": path}).items()}
    found = {split: each for split, each in pairs.items() if each}
    if not found:
        raise BadInput(
            f"No pairs in {path}: it needs rgb/ and depth/ side by side, in it or in its SPLIT/SCENE folders."
        )
    return found


def _pairs_below(root: Path, path: Path) -> Iterator[Pair]:
    """The pairs of one split's scenes, in the order of their names."""
    known = _known_cameras(path / "scenes.json")
    for scene in [root] if _is_scene(root) else sorted(filter(_is_scene, root.iterdir())):
        images, depths = _by_stem(scene / "rgb", PHOTO_SUFFIXES), _by_stem(scene / "depth", DEPTH_SUFFIXES)
        if alone := sorted(images.keys() ^ depths.keys()):
            names = ", ".join(str(images.get(stem) or depths.get(stem)) for stem in alone[:3])
            raise BadInput(f"{len(alone)} files in {scene} have no partner in rgb/ or depth/, first {names}.")
        cameras = known.get(scene.relative_to(path).as_posix())
        if not isinstance(cameras, list) or any(isinstance(each, int | float) for each in cameras):
            cameras = [cameras] * len(images)
        if len(cameras) != len(images):
            raise BadInput(f"{path}/scenes.json has {len(cameras)} cameras for the {len(images)} frames of {scene}.")
        for stem, camera in zip(sorted(images), cameras, strict=True):
            intrinsics = None if camera is None else tuple(float(number) for number in camera)
            if intrinsics:
                # A negative focal length says that the sensor's y axis points up; ours points down, as the rows do.
                intrinsics = (*map(abs, intrinsics[:2]), *intrinsics[2:])
            yield Pair(f"{scene.resolve().name}/{stem}", images[stem], depths[stem], intrinsics)


def _known_cameras(catalogue: Path) -> Mapping[str, Any]:
    """SPLIT/SCENE → one camera for all its frames, or a list of one each; None where unknown."""
    try:
        scenes = json.loads(catalogue.read_text()) if catalogue.is_file() else {}
        return {scene: entry["intrinsics_fx_fy_cx_cy"] for scene, entry in scenes.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        form = '{"train/SCENE": {"intrinsics_fx_fy_cx_cy": [fx, fy, cx, cy]}}'
        raise BadInput(f"{catalogue} is not of the form {form}: mend it or move it away.") from error


def _is_scene(path: Path) -> bool:
    return (path / "rgb").is_dir() and (path / "depth").is_dir()


def _by_stem(path: Path, suffixes: frozenset[str]) -> Mapping[str, Path]:
    files: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() in suffixes and not file.name.startswith("."):
            if file.stem in files:
                raise BadInput(f"{files[file.stem]} and {file} have one name: keep one of them.")
            files[file.stem] = file
    return files


def _taken_split(path: Path, split: str, pairs: Mapping[str, list[Pair]]) -> str:
    if split in pairs:
        return split
    if split == "test" and "val" in pairs:
        return "val"
    cure = f"make a folder {split} with scenes of its own (or, in a CSV file, a column split)"
    raise NoSplit(f"{path} has no {split} split, only {', '.join(sorted(pairs))}: {cure}.")


def _is_wanted(pair: Pair, include: str, exclude: str) -> bool:
    scene = _scene(pair)
    is_excluded = any(fnmatch(scene, pattern) for pattern in exclude.split("|"))
    return not is_excluded and (not include or any(fnmatch(scene, pattern) for pattern in include.split("|")))


def _scene(pair: Pair) -> str:
    return pair.name.rpartition("/")[0]


def _size(image: torch.Tensor) -> str:
    return f"{image.shape[-1]} × {image.shape[-2]}"
