"""Folder: your own photographs and depth maps, paired by name, or listed in a CSV file.

Expected tree (SCENE may be left out where there is one only, SPLIT where all is for training):

    DIR/scenes.json                     intrinsics, if known: {"train/SCENE": {"intrinsics_fx_fy_cx_cy": [...]}}
    DIR/SPLIT/SCENE/rgb/0007.jpg        any photograph
    DIR/SPLIT/SCENE/depth/0007.png      .png .npz .pfm .tiff of the same size

or a CSV file with the header `image,depth` and, as wanted, `split` and `fx,fy,cx,cy`; its paths start at its folder.
Unit: `depth_scale` says how many steps of the depth files make a metre; files that Leadline wrote state it themselves.
Trap: split by frames instead of by scenes, the validation shows places that the training has as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from leadline.core.camera import explain_impossible_camera, resize_intrinsics
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, unknown
from leadline.core.paths import StrPath
from leadline.core.sample import ImageTensor, Intrinsics, Sample
from leadline.data.datasets.depth_reading import DepthReading
from leadline.data.datasets.pair_files import FoundPair, PairListing, find_pairs, is_wanted
from leadline.io.images import read_image

LICENCE = ""
"""Only the folder can state it."""


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
    """Pairs of files as samples; build it with `folder`."""

    name: str
    kind: DepthKind
    pairs: tuple[Pair, ...]
    reading: DepthReading
    camera_size: tuple[int, int] | None = None
    """Height and width of the photographs that the cameras are stated for, where copies are of another size."""
    has_splits: bool = True
    """Whether its folders or its list say what is for training and what is not."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image = read_image(pair.image)
        stated = None
        if pair.intrinsics is not None:
            stated = torch.tensor(follow_size(pair.intrinsics, self.camera_size, image))
        check_camera(pair, stated, image)
        measured = self.reading.read(pair.depth, self.kind, stated)
        if image.shape[1:] != measured.depth.shape[1:]:
            raise BadInput(
                f"{pair.image} is {_size(image)} pixels and {pair.depth} is {_size(measured.depth)}: "
                "register and resize the depth to its photograph first (a phone's photograph may be turned by EXIF)."
            )
        intrinsics = measured.intrinsics if stated is None else stated
        check_camera(pair, intrinsics, image)
        return Sample(image, measured.depth, measured.valid, self.kind, intrinsics, pair.name)


def check_camera(pair: Pair, intrinsics: Intrinsics | None, image: ImageTensor) -> None:
    """Raise BadInput if these intrinsics cannot be of the camera that took the photograph.

    Args:
        pair: the files, for the message.
        intrinsics: fx, fy, cx, cy in pixels of the image, or None, which passes.
        image: the photograph, (3, H, W).
    """
    if intrinsics is not None and (
        fault := explain_impossible_camera(intrinsics.tolist(), (image.shape[1], image.shape[2]))
    ):
        raise BadInput(f"{pair.image}: {fault}.")


def follow_size(camera: tuple[float, ...], known_for: tuple[int, int] | None, image: ImageTensor) -> tuple[float, ...]:
    """Return the camera of a photograph that may be of another size than the one it is stated for.

    Args:
        camera: fx, fy, cx, cy in pixels.
        known_for: height and width that the camera is stated for; None leaves it as it is.
        image: the photograph, (3, H, W).
    """
    return resize_intrinsics(camera, known_for, (image.shape[1], image.shape[2])) if known_for else camera


def folder(
    split: str,
    *,
    path: StrPath,
    depth_scale: float | None = None,
    invalid: Sequence[float] | None = (),
    max_depth: float | None = None,
    along_ray: bool = False,
    encoding: str = "",
    kind: str = "metric",
    include: str = "",
    exclude: str = "",
) -> FolderDataset:
    """Open photographs and depth maps in a folder or a CSV file.

    Without folders (or a CSV column) of splits all pairs are "train". Where "test" is missing "val" serves as the
    test, and the dataset's name says so.

    Args:
        split: "train", "val" or "test".
        path: the folder or the CSV file.
        depth_scale: steps of the depth files that make a metre: 1000 for millimetres, 256 for KITTI, 5000 for TUM.
        invalid: numbers in the depth files that mean "not measured", as renderers write for their background:
            `65535:1e10`; None takes all numbers as depth.
        max_depth: what is farther, in metres, is not measured either.
        along_ray: the numbers are distances along the ray; with the camera they become depth along the optical axis.
        encoding: "sunrgbd" for that dataset's files: millimetres with their bits rotated left by three.
        kind: what the depth guarantees: "metric", "scale_free" or "relative".
        include: patterns of scene names, separated by `|`; none takes all.
        exclude: patterns of scene names to leave out.

    Raises:
        NoSplit: no such split.
        BadInput: no pairs, or a file without its partner.
    """
    path = Path(path)
    reading = DepthReading(depth_scale, None if invalid is None else tuple(invalid), max_depth, along_ray, encoding)
    if kind not in tuple(DepthKind):
        raise unknown("kind", kind, DepthKind)
    if not path.exists():
        raise BadInput(f"No folder or file {path}.")
    listing = find_pairs(path)
    listed = _complete_pairs(path, listing)
    taken = _taken_split(path, split, listed)
    pairs = tuple(pair for pair in listed[taken] if is_wanted(_scene(pair), include, exclude))
    if not pairs:
        scenes = sorted({_scene(pair) for pair in listed[taken]})
        raise BadInput(f"Nothing of {path} ({taken}) is left: its scenes are {', '.join(scenes)}.")
    limits = [f"{key} {value}" for key, value in (("only", include), ("without", exclude)) if value]
    name = path.stem if path.is_file() else path.resolve().name
    return FolderDataset(
        " ".join([name, taken, *limits]), DepthKind(kind), pairs, reading, has_splits=listing.has_splits
    )


def _complete_pairs(path: Path, listing: PairListing) -> Mapping[str, list[Pair]]:
    """Return split → pairs, after checking that all have both files and a plausible camera or none."""
    faults = [*listing.faults, *(fault for each in listing.pairs for fault in (each.fault, each.camera_fault))]
    if fault := next(filter(None, faults), ""):
        raise BadInput(fault)
    pairs: dict[str, list[Pair]] = {}
    for each in listing.pairs:
        if not (each.image and each.depth):
            raise _partner_missing([other for other in listing.pairs if other.scene == each.scene])
        pairs.setdefault(each.split, []).append(Pair(each.name, each.image, each.depth, each.camera))
    if not pairs:
        raise BadInput(
            f"No pairs in {path}: it needs rgb/ and depth/ side by side, in it or in its SPLIT/SCENE folders."
        )
    return pairs


def _partner_missing(pairs: Sequence[FoundPair]) -> BadInput:
    alone = [file for each in pairs if not each.is_complete for file in (each.image, each.depth) if file]
    names = ", ".join(map(str, alone[:3]))
    return BadInput(f"{len(alone)} files in {alone[0].parents[1]} have no partner in rgb/ or depth/, first {names}.")


def _taken_split(path: Path, split: str, pairs: Mapping[str, list[Pair]]) -> str:
    if split in pairs:
        return split
    if split == "test" and "val" in pairs:
        return "val"
    fix = f"make a folder {split} with scenes of its own (or, in a CSV file, a column split)"
    raise NoSplit(f"{path} has no {split} split, only {', '.join(sorted(pairs))}: {fix}.")


def _scene(pair: Pair) -> str:
    return pair.name.rpartition("/")[0]


def _size(image: torch.Tensor) -> str:
    return f"{image.shape[-1]} × {image.shape[-2]}"
