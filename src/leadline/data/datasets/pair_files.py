"""Find the photographs and depth maps of a folder or a CSV file, complete or not, for readers and data checks."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from leadline.core.errors import BadInput
from leadline.data.datasets import SPLITS
from leadline.io.depth_maps import DEPTH_SUFFIXES
from leadline.io.images import PHOTO_SUFFIXES
from leadline.io.json_text import parse_json

PHOTO_FOLDERS = ("rgb", "color", "image")
"""Folders of a scene's photographs beside `depth/`: `rgb`, and those of Open3D."""
CAMERA_FILES = ("intrinsic.json", "camera_intrinsic.json")
"""Files of a scene with Open3D's `PinholeCameraIntrinsic`."""
COLOUR_PICTURES = (".colour", ".color")
"""Endings of the stems of the colour pictures that `leadline predict` writes beside its depth maps."""


@dataclass(frozen=True)
class FoundPair:
    """A photograph and the depth map that should belong to it, as files or lines name them."""

    split: str
    name: str
    """`SCENE/0007`."""
    image: Path | None
    depth: Path | None
    camera: tuple[float, ...] | None = None
    """fx, fy, cx, cy in pixels of the photograph."""
    fault: str = ""
    """Why the files cannot be a pair, where more than one missing partner is wrong."""
    camera_fault: str = ""
    """Why the stated camera is refused."""

    @property
    def scene(self) -> str:
        """The part of the name before its last `/`."""
        return self.name.rpartition("/")[0]

    @property
    def is_complete(self) -> bool:
        """Whether both files exist."""
        return bool(self.image and self.depth)


@dataclass(frozen=True)
class PairListing:
    """All photographs and depth maps of a folder or a CSV file."""

    pairs: tuple[FoundPair, ...]
    faults: tuple[str, ...] = ()
    """What is wrong with `scenes.json`, the file of the cameras."""
    has_splits: bool = True
    """Whether folders or a CSV column state the splits."""


def find_pairs(path: Path) -> PairListing:
    """List the pairs of a folder of scenes or of a CSV file, in the order of their names or lines.

    Raises:
        BadInput: it is no folder, or not a CSV file of pairs.
    """
    if path.is_file():
        return _listed(path)
    if not path.is_dir():
        what = "neither a folder nor a file" if path.exists() else "not there"
        raise BadInput(f"{path} is {what}: give a folder of photographs and depth, or a CSV file of pairs.")
    return _found(path)


def matches(scene: str, patterns: str) -> bool:
    """Return whether a scene's name matches one of the patterns, separated by `|`; nothing matches an empty text."""
    return bool(patterns) and any(fnmatch(scene, pattern) for pattern in patterns.split("|"))


def is_wanted(scene: str, include: str, exclude: str) -> bool:
    """Return whether a scene is to be taken.

    Args:
        scene: its name.
        include: patterns of names to take, separated by `|`; empty takes all.
        exclude: patterns of names to leave out, likewise; empty leaves out none.
    """
    return not matches(scene, exclude) and (not include or matches(scene, include))


def _listed(path: Path) -> PairListing:
    rows = _rows(path)
    pairs = [_listed_pair(row, path.parent, f"{path}, line {line}") for line, row in rows]
    twice = [name for name, count in Counter(pair.name for pair in pairs).items() if count > 1]
    if twice:
        fault = f"{path} lists {len(twice)} photographs more than once, first {twice[0]}: keep one line of each."
        pairs = [replace(pair, fault=pair.fault or (fault if pair.name in twice else "")) for pair in pairs]
    return PairListing(tuple(pairs), has_splits=any(row.get("split") for _, row in rows))


def _rows(path: Path) -> Sequence[tuple[int, Mapping[str, str]]]:
    """Return the line number and the columns of each row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="", skipinitialspace=True)
            rows = [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        fix = "save it as UTF-8, or convert it by `iconv -f latin1 -t utf-8`"
        raise BadInput(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): {fix}.") from error
    except csv.Error as error:
        raise BadInput(
            f"{path} is no CSV file of pairs ({error}): look for a quotation mark that is not closed."
        ) from error
    if not rows or not {"image", "depth"} <= rows[0][1].keys():
        header = "`image,depth` (or `image,depth,split,fx,fy,cx,cy`)"
        raise BadInput(f"{path} must begin with the line {header} and have a line for each pair.")
    return rows


def _listed_pair(row: Mapping[str, str], root: Path, where: str) -> FoundPair:
    image, depth = (root / row[key] for key in ("image", "depth"))
    absent = [str(file) for key, file in (("image", image), ("depth", depth)) if not row[key] or not _is_file(file)]
    stated = [row.get(key) or "" for key in ("fx", "fy", "cx", "cy")]
    camera, camera_fault = read_camera(stated if any(stated) else None, where)
    return FoundPair(
        row.get("split") or "train",
        _without_suffix(row["image"]),
        None if str(image) in absent else image,
        None if str(depth) in absent else depth,
        camera,
        f"{where}: no file {' and no file '.join(absent)}." if absent else "",
        camera_fault,
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is longer than names can be
        return False


def _without_suffix(name: str) -> str:
    folder, slash, file = Path(name).as_posix().lstrip("./").rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def _found(path: Path) -> PairListing:
    splits = {split: path / split for split in SPLITS if (path / split).is_dir()}
    roots = splits or {"train": path}
    scenes = [
        (split, scene)
        for split, root in roots.items()
        for scene in ([root] if _is_scene(root) else sorted(filter(_is_scene, root.iterdir())))
    ]
    stated, faults = _stated_cameras(path / "scenes.json")
    pairs: list[FoundPair] = []
    for split, scene in scenes:
        keys = _catalogue_keys(scene, split, path, has_splits=bool(splits))
        key = next((key for key in keys if key in stated), "")
        camera, where = (stated.pop(key), f"{path}/scenes.json") if key else _scene_camera(scene)
        pairs += _pairs_of(scene, split, camera, where)
    # scenes.json may name splits that were not copied; everything else that it names must exist.
    absent = set(SPLITS) - roots.keys()
    unknown = [key for key in stated if key.partition("/")[0] not in absent]
    if unknown:
        known = ", ".join(scene.relative_to(path).as_posix() for _, scene in scenes[:5])
        faults += (
            f"{path}/scenes.json names {', '.join(unknown[:5])}, which is no scene here ({known}): correct the key.",
        )
    return PairListing(tuple(pairs), faults, has_splits=bool(splits))


def _is_scene(path: Path) -> bool:
    """Return whether a folder has photographs or depth maps; a folder `color` alone may be anything."""
    return any((path / name).is_dir() for name in ("rgb", "depth"))


def _pairs_of(scene: Path, split: str, stated: Any, where: str) -> Iterator[FoundPair]:
    """Yield the pairs of one scene and the files without a partner."""
    photos = next((scene / name for name in PHOTO_FOLDERS if (scene / name).is_dir()), scene / PHOTO_FOLDERS[0])
    images = _by_stem(photos, (PHOTO_SUFFIXES,))
    # A photograph's format holds no depth; such files count only where there are no others, to be refused by name.
    depths = _by_stem(scene / "depth", (DEPTH_SUFFIXES, PHOTO_SUFFIXES - DEPTH_SUFFIXES))
    name = scene.resolve().name
    stems = sorted(images.keys() | depths.keys())
    cameras, fault = _camera_of_each(stated, len(stems), f"the {len(stems)} frames of {scene}", where)
    for stem, camera in zip(stems, cameras, strict=True):
        of_stem = images.get(stem, [None]), depths.get(stem, [None])
        known, camera_fault = read_camera(camera, f"{where}, {split}/{name}")
        yield FoundPair(
            split, f"{name}/{stem}", of_stem[0][0], of_stem[1][0], known, camera_fault=fault or camera_fault
        )
        for files, is_image in zip(of_stem, (True, False), strict=True):
            for file in files[1:]:
                one_name = f"{files[0]} and {file} have one name: keep one of them."
                yield FoundPair(
                    split, f"{name}/{stem}", file if is_image else None, None if is_image else file, fault=one_name
                )


def _by_stem(folder: Path, formats: Sequence[frozenset[str]]) -> Mapping[str, list[Path]]:
    """Return name without suffix → its files, of the first of the formats that it has."""
    files = sorted(file for file in folder.iterdir() if not file.name.startswith(".")) if folder.is_dir() else []
    found: dict[str, list[Path]] = {}
    for suffixes in formats:
        fitting = [file for file in files if file.suffix.lower() in suffixes and file.stem not in found]
        fitting = [file for file in fitting if file.is_file()]
        for file in fitting:
            found.setdefault(file.stem, []).append(file)
    pictures = {stem for stem in found if stem.endswith(COLOUR_PICTURES) and stem.rpartition(".")[0] in found}
    return {stem: each for stem, each in found.items() if stem not in pictures}


def _catalogue_keys(scene: Path, split: str, path: Path, *, has_splits: bool) -> list[str]:
    """Return the keys that a scene may have in scenes.json."""
    keys = [scene.relative_to(path).as_posix(), f"{split}/{scene.resolve().name}"]
    return keys if has_splits else [*keys, scene.resolve().name]


def _stated_cameras(catalogue: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read key → one camera for all frames of the scene, or a list of one each; and what is wrong with the file."""
    try:
        scenes = parse_json(catalogue.read_text(encoding="utf-8")) if catalogue.is_file() else {}
        return {scene: entry["intrinsics_fx_fy_cx_cy"] for scene, entry in scenes.items()}, ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        form = '{"train/SCENE": {"intrinsics_fx_fy_cx_cy": [fx, fy, cx, cy]}}'
        return {}, (f"{catalogue} is not of the form {form} ({problem}): correct it or move it away.",)


def _scene_camera(scene: Path) -> tuple[Any, str]:
    """Read Open3D's camera file of a scene, whose matrix is in column-major order; return the camera and the path."""
    file = next((scene / name for name in CAMERA_FILES if (scene / name).is_file()), None)
    if not file:
        return None, str(scene)
    try:
        matrix = parse_json(file.read_text(encoding="utf-8"))["intrinsic_matrix"]
        return [matrix[place] for place in (0, 4, 6, 7)], str(file)
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as problem:
        return "no matrix", f"{file} ({problem})"


def _camera_of_each(stated: Any, count: int, frames: str, where: str) -> tuple[Sequence[Any], str]:
    """Return one stated camera for each frame, and what is wrong with their number."""
    if not isinstance(stated, list) or any(isinstance(each, int | float) for each in stated):
        return [stated] * count, ""
    if len(stated) != count:
        return [
            None
        ] * count, f"{where} has {len(stated)} cameras for {frames}: one for all is four numbers, fx, fy, cx, cy."
    return stated, ""


def read_camera(stated: Any, where: str) -> tuple[tuple[float, ...] | None, str]:
    """Return fx, fy, cx, cy in pixels of what a file states, or None; and what is wrong with it, or an empty text."""
    if stated is None:
        return None, ""
    if not isinstance(stated, list) or len(stated) != 4 or "" in stated:
        return None, f"{where}: a camera is fx, fy, cx and cy, or none of them."
    try:
        fx, fy, cx, cy = (float(number) for number in stated)
    except (TypeError, ValueError):
        return None, f"{where}: fx, fy, cx and cy must be numbers, in pixels."
    # A negative focal length says that the sensor's y axis points up; ours points down, as the rows do.
    return (abs(fx), abs(fy), cx, cy), ""
