"""Scene Flow: FlyingThings3D, Monkaa and Driving, 39,000 rendered stereo pairs of 540 × 960, without holes.

Mayer et al. 2016, https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html.

Expected tree (of each part the packages "RGB images (cleanpass)" and "Disparity"):

    data/sceneflow/flyingthings3d/frames_cleanpass/TRAIN/A/0000/left/0006.png     TRAIN and TEST, A to C
    data/sceneflow/flyingthings3d/disparity/TRAIN/A/0000/left/0006.pfm
    data/sceneflow/monkaa/{frames_cleanpass,disparity}/a_rain_of_stones_x2/left/0000.{png,pfm}
    data/sceneflow/driving/{frames_cleanpass,disparity}/15mm_focallength/scene_forwards/fast/left/0001.{png,pfm}

The WebP package (`frames_cleanpass_webp`) does as well.

Unit: disparity in pixels, float32 PFM; depth = focal length / disparity, in baselines of the stereo pair. The focal
length is 1050 pixels, in Driving's `15mm_focallength` 450, and the centre (479.5, 269.5). The baseline is one unit of
the 3D program, and things were put into the scenes at sizes that suit the eye: a unit is no metre, so this depth is
scale-free. (That all frames of a part share one factor is more than `scale_free` says.)
Traps: PFM rows lie bottom first; the disparity of the right view belongs to the right photographs.
"""

from functools import partial
from pathlib import Path

import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known
from leadline.core.paths import StrPath
from leadline.core.sample import OtherView, Sample
from leadline.data.datasets.folder import Pair, follow_size
from leadline.data.datasets.pairs import FilePairs, check_split, missing_files, scenes_for, with_official_test
from leadline.io.depth_maps import read_depth
from leadline.io.images import read_image

LICENCE = (
    "For research, not for commercial use: "
    "https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html"
)
PARTS = ("flyingthings3d", "monkaa", "driving")
PASSES = ("cleanpass", "finalpass")
VIEWS = ("left", "right")
OFFICIAL = {"train": "TRAIN", "test": "TEST"}
"""The folders of FlyingThings3D."""
CENTRE, PUBLISHED_SIZE = (479.5, 269.5), (540, 960)
"""The principal point in pixels of the published photographs, and their height and width; smaller copies follow."""


def sceneflow(
    split: str,
    *,
    path: StrPath = Path("data/sceneflow"),
    part: str = "flyingthings3d",
    render: str = "cleanpass",
    view: str = "left",
    stereo: bool = False,
    val: str = "",
    test: str = "",
) -> FilePairs:
    """Open one part of Scene Flow; only FlyingThings3D has a test.

    Args:
        split: "train", "val" or "test".
        path: the folder of the three parts.
        part: "flyingthings3d", "monkaa" or "driving".
        render: "cleanpass", or "finalpass" with blur of motion and focus.
        view: "left" or "right".
        stereo: give each sample the photograph of the other view, which `refine_and_distil` learns from.
        val: patterns of scenes to keep for "val", separated by `|`: `TRAIN/C/06*`, `eating*`, `15mm*`.
        test: likewise, where there is no official test.

    Raises:
        NoSplit: a split that neither the part nor a pattern makes.
        BadInput: no such folder, or a disparity without its photograph, or without that of the other view.
    """
    path = Path(path)
    check_split(split)
    for what, name, known in (("part", part, PARTS), ("render", render, PASSES), ("view", view, VIEWS)):
        check_known(what, name, known)
    root = path / part
    if part == "flyingthings3d":
        folder = root / "disparity" / OFFICIAL["test" if split == "test" else "train"]
        pairs = _pairs(root, folder, render, view)
        taken = with_official_test(split, pairs, root, dataset="FlyingThings3D", val=val, test=test)
    else:
        taken = scenes_for(split, _pairs(root, root / "disparity", render, view), root, val=val, test=test)
    remarks = [each for each, usual in ((render, "cleanpass"), (view, "left")) if each != usual]
    if stereo:
        remarks.append("stereo")
        if alone := [pair for pair in taken if not _other_photo(pair).is_file()]:
            raise BadInput(
                f"{len(alone)} photographs of {root} have no other view, first {_other_photo(alone[0])}: unpack both "
                "views, or leave stereo=yes out."
            )
    name = ", ".join([f"{part} {split}", *remarks])
    return FilePairs(name, DepthKind.SCALE_FREE, taken, partial(_read, stereo=stereo))


def _pairs(root: Path, folder: Path, render: str, view: str) -> list[Pair]:
    """Return the frames of one view below a folder of disparities, in the order of their names."""
    known = [root / f"frames_{render}", root / f"frames_{render}_webp"]
    photos = next((each for each in known if each.is_dir()), None)
    if photos is None or not folder.is_dir():
        raise missing_files("Scene Flow", root, known[0].name, folder.relative_to(root).as_posix())
    suffix = ".webp" if photos == known[1] else ".png"
    pairs = []
    for disparity in sorted(folder.rglob(f"{view}/*.pfm")):
        place = disparity.relative_to(root / "disparity")
        focal = 450.0 if "15mm_focallength" in place.parts else 1050.0
        pair = Pair(
            place.with_suffix("").as_posix(), (photos / place).with_suffix(suffix), disparity, (focal, focal, *CENTRE)
        )
        pairs.append(pair)
    if not pairs:
        raise BadInput(f"No {view}/*.pfm below {folder}. See docs/datasets.md.")
    if alone := [pair for pair in pairs if not pair.image.is_file()]:
        raise BadInput(f"{len(alone)} disparities below {folder} have no photograph, first {alone[0].image}.")
    return pairs


def _other_photo(pair: Pair) -> Path:
    """Return the photograph of the same moment by the other camera."""
    left, right = VIEWS
    return pair.image.parents[1] / (right if pair.image.parent.name == left else left) / pair.image.name


def _read(pair: Pair, *, stereo: bool) -> Sample:
    image = read_image(pair.image)
    # A disparity is inverse depth, so the file is read as `RELATIVE`; depth up to a factor is made from it below.
    measured = read_depth(pair.depth, kind=DepthKind.RELATIVE)
    valid = measured.valid & (measured.depth > 0)
    assert pair.intrinsics is not None
    # The disparity counts pixels of the published size, whatever size a copy has.
    depth = (pair.intrinsics[0] / measured.depth).where(valid, 0)
    if image.shape[1:] != depth.shape[1:]:
        raise BadInput(f"{pair.image} and {pair.depth} are not of one size: they are not of one frame.")
    intrinsics = torch.tensor(follow_size(pair.intrinsics, PUBLISHED_SIZE, image))
    sample = Sample(image, depth, valid, DepthKind.SCALE_FREE, intrinsics, pair.name)
    if not stereo:
        return sample
    other = read_image(_other_photo(pair))
    if other.shape != image.shape:
        raise BadInput(f"{pair.image} and {_other_photo(pair)} are not of one size: they are no stereo pair.")
    return sample.replace(other=OtherView(other, torch.tensor(1.0 if pair.image.parent.name == VIEWS[0] else -1.0)))
