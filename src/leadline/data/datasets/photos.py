"""Photos: a folder of photographs whose depth nobody measured, for a teacher to label.

Expected tree: any; every file below the folder that looks like a photograph counts, in the order of the names.
Unit: none, no pixel is valid. Trap: pictures are of all sizes, and a store of pseudo-labels has one size.
Photographs of more than 25 megapixels are read at a half or a quarter of their sides. Panoramas are refused where
they are read, unless `panorama=flat` takes them for pictures of a pinhole camera.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit
from leadline.core.paths import StrPath
from leadline.core.sample import Sample
from leadline.io.discovery import find_images
from leadline.io.exif import Panorama
from leadline.io.images import read_photograph

LICENCE = ""
"""Only the folder can state it."""


@dataclass(frozen=True)
class PhotosDataset:
    """The photographs below a folder; build it with `photos`."""

    name: str
    kind: DepthKind
    path: Path
    files: tuple[Path, ...]
    left_out: tuple[str, ...] = ()
    """Which files were left out, and why."""
    panorama: Panorama = "refuse"

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        file = self.files[index]
        photo = read_photograph(file, panorama=self.panorama)
        image = photo.image
        nothing = torch.zeros_like(image[:1])
        name = file.relative_to(self.path).as_posix()
        if photo.camera.doubts and not photo.camera.is_panorama and photo.camera.intrinsics is None:
            warnings.warn(f"{name}: {' '.join(photo.camera.doubts)}", stacklevel=2)
        return Sample(image, nothing, nothing.bool(), self.kind, photo.camera.intrinsics, name)


def photos(split: str, *, path: StrPath, panorama: Panorama = "refuse") -> PhotosDataset:
    """Open all photographs below `path`, as "train"; there is no other split.

    Args:
        split: "train".
        path: the folder.
        panorama: "refuse" to read what its metadata calls a panorama, or take it for "flat".

    Raises:
        NoSplit: another split.
        BadInput: no folder, or no photograph in it.
    """
    path = Path(path)
    if split != "train":
        raise NoSplit(f"Photographs without depth have no {split!r} part: they are for training only.")
    if not path.is_dir():
        raise BadInput(f"No folder {path}.")
    found = find_images([str(path)])
    rest = found.describe_left_out()
    left_out = (*found.faults, *([f"Left out of {path}: {rest}."] if rest else []))
    files = tuple(file for file, _ in found.files)
    name = f"photos of {path.resolve().name}{'' if panorama == 'refuse' else ', panoramas taken for flat'}"
    return PhotosDataset(name, DepthKind.METRIC, path, files, left_out, panorama)
