"""DIML/CVL RGB-D, indoor: photographs with Kinect One depth registered to them, from Korean rooms, shops and churches.

Cho et al. 2021 (arXiv 2110.11590), https://dimlrgbd.github.io.

Expected tree, of the sample package (1609 for training, 503 for test; HR is 756 × 1344, LR 288 × 512):

    data/diml/train/HR/12. Livingroom/color/in_01_160217_123138_c.png
    data/diml/train/HR/12. Livingroom/depth_filled/in_01_160217_123138_depth_filled.png

or of the full packages, without a split:

    data/diml/01_warehouse_1/16.01.20/5/col/in_k_03_160225_000001_c.png
    data/diml/01_warehouse_1/16.01.20/5/warp_png/in_k_03_160225_000001_wd.png     measured, registered, with holes
    data/diml/01_warehouse_1/16.01.20/5/up_png/in_k_03_160225_000001_ud.png       the same, filled

Unit: millimetres along the optical axis, 16-bit PNG, 0 where nothing was measured.
Traps: the filled maps are an algorithm's work at edges and where there were holes; `raw_png` is the sensor's own view
(424 × 512), not that of the photograph, and is not read. The intrinsics are not published with the pictures.

Layouts as in public readers: ZoeDepth's `diml_indoor_test.py` for the sample, and lists of files for the full one.
"""

from pathlib import Path

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known
from leadline.core.paths import StrPath
from leadline.data.datasets.depth_reading import DepthReading
from leadline.data.datasets.folder import FolderDataset, Pair
from leadline.data.datasets.pairs import check_split, missing_files, scenes_for, with_official_test

LICENCE = "Read the terms at https://dimlrgbd.github.io before use; none are stated for weights trained on it"
TRUTHS = {"filled": ("up_png", "ud"), "raw": ("warp_png", "wd")}
"""Name → folder and file ending in the full packages."""
SIZES = ("HR", "LR")


def diml(
    split: str,
    *,
    path: StrPath = Path("data/diml"),
    truth: str = "filled",
    size: str = "HR",
    val: str = "",
    test: str = "",
) -> FolderDataset:
    """Open the indoor part, from the sample package or from the full ones, whichever is found.

    Args:
        split: "train", "val" or "test".
        path: the folder of `train` and `test`, or of the places.
        truth: "filled", or "raw" (registered, with its holes), which only the full packages have.
        size: "HR" or "LR" of the sample package.
        val: patterns of places to keep for "val", separated by `|`: `12.*`, `01_warehouse*`.
        test: likewise, for the full packages.

    Raises:
        NoSplit: a split that neither the package nor a pattern makes.
        BadInput: no such folder, or a photograph without its depth.
    """
    path = Path(path)
    check_split(split)
    for what, name, known in (("truth", truth, TRUTHS), ("size", size, SIZES)):
        check_known(what, name, known)
    if any((path / each).is_dir() for each in ("train", "test")):
        pairs = _sample(path, "test" if split == "test" else "train", size, truth)
        taken = with_official_test(split, pairs, path, dataset=str(path), val=val, test=test)
        return FolderDataset(
            f"diml {split}{'' if size == 'HR' else f', {size}'}", DepthKind.METRIC, taken, DepthReading(1000.0)
        )
    taken = scenes_for(split, _full(path, *TRUTHS[truth]), path, val=val, test=test)
    return FolderDataset(f"diml {split}, full, {truth}", DepthKind.METRIC, taken, DepthReading(1000.0))


def _sample(path: Path, folder: str, size: str, truth: str) -> list[Pair]:
    root = path / folder / size
    photos = sorted(root.glob("*/color/*_c.png"))
    if not photos:
        raise missing_files("DIML", root, "PLACE/color/*_c.png", "PLACE/depth_filled/*_depth_filled.png")
    if truth == "raw":
        raise BadInput(f"{path} is the sample package, whose depth is filled: take truth=filled, or the full packages.")
    return _paired(path / folder / size, photos, "depth_filled", "depth_filled")


def _full(path: Path, folder: str, ending: str) -> list[Pair]:
    photos = sorted(path.rglob("col/*_c.png"))
    if not photos:
        raise missing_files("DIML", path, "train/HR/PLACE/color/*_c.png", "depth_filled (or PLACE/DATE/N/col/*_c.png)")
    return _paired(path, photos, folder, ending)


def _paired(root: Path, photos: list[Path], folder: str, ending: str) -> list[Pair]:
    """Pair `PLACE/color/NAME_c.png` with `PLACE/FOLDER/NAME_ENDING.png`."""
    pairs = []
    for photo in photos:
        stem, place = photo.stem.removesuffix("_c"), photo.parent.parent
        name = f"{place.relative_to(root).as_posix()}/{stem}"
        pairs.append(Pair(name, photo, place / folder / f"{stem}_{ending}.png"))
    if alone := [pair for pair in pairs if not pair.depth.is_file()]:
        raise BadInput(f"{len(alone)} photographs below {root} have no depth, first {alone[0].depth}.")
    return pairs
