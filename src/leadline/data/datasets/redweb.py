"""ReDWeb: 3600 photographs of all kinds from stereo pairs on the web, with relative depth from optical flow.

Xian et al. 2018, https://sites.google.com/site/redwebcvpr18/.

Expected tree:

    data/redweb/Imgs/NAME.jpg      the left photograph, of any size
    data/redweb/RDs/NAME.png       8 bits, of the same size

Unit: none; inverse depth up to a factor and a shift. Traps: the files hold the disparity negated, 0 nearest and 254
farthest, so that larger is farther, as if it were depth, and 255 is sky and what was not measured (as MiDaS's authors
read it, https://github.com/isl-org/MiDaS/issues/16, without full certainty from those of ReDWeb). This reader
inverts it: larger is nearer. 8 bits leave some 250 steps.
There is no official split; the photographs are not of one another's places, so every tenth is kept for "val".
"""

from pathlib import Path

import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit
from leadline.core.paths import StrPath
from leadline.core.sample import Sample
from leadline.data.datasets.folder import Pair
from leadline.data.datasets.pairs import FilePairs, check_split, missing_files
from leadline.io.images import PHOTO_SUFFIXES, read_image

LICENCE = "For research; no licence is stated: https://sites.google.com/site/redwebcvpr18/"


def redweb(split: str, *, path: StrPath = Path("data/redweb"), holdout: int = 10) -> FilePairs:
    """Open ReDWeb v1, as "train" and "val"; it has no test.

    Args:
        split: "train" or "val".
        path: the folder of `Imgs` and `RDs`.
        holdout: every n-th photograph, in the order of their names, is kept for "val"; 0 keeps none.

    Raises:
        NoSplit: "test", or "val" where none is kept.
        BadInput: no such folders, or a file without its partner.
    """
    path = Path(path)
    check_split(split)
    if split == "test" or (split == "val" and holdout < 1):
        raise NoSplit(f"ReDWeb has no {split} split: take val with holdout=10, or test on another dataset.")
    photos, maps = (_by_stem(path, name) for name in ("Imgs", "RDs"))
    if alone := sorted(photos.keys() ^ maps.keys()):
        raise BadInput(f"{len(alone)} files in {path} have no partner in Imgs or RDs, first {alone[0]}.")
    pairs = [Pair(stem, photos[stem], maps[stem]) for stem in sorted(photos)]
    held_out = pairs[::holdout] if holdout > 0 else []
    taken = held_out if split == "val" else [pair for pair in pairs if pair not in held_out]
    if not taken:
        raise BadInput(f"{path} has {len(pairs)} photographs, too few for holdout={holdout}.")
    return FilePairs(f"redweb {split} ({len(taken)} of {len(pairs)})", DepthKind.RELATIVE, tuple(taken), _read)


def _by_stem(path: Path, name: str) -> dict[str, Path]:
    """Return name → picture of a folder, whether it is written Imgs or imgs."""
    folder = next((folder for folder in (path / name, path / name.lower()) if folder.is_dir()), None)
    if folder is None:
        raise missing_files("ReDWeb", path, "Imgs/NAME.jpg", "RDs/NAME.png")
    files = (file for file in folder.iterdir() if not file.name.startswith("."))
    return {file.stem: file for file in files if file.suffix.lower() in PHOTO_SUFFIXES}


def _read(pair: Pair) -> Sample:
    image, negated = read_image(pair.image), read_image(pair.depth)[:1]
    if image.shape[1:] != negated.shape[1:]:
        raise BadInput(f"{pair.image} and {pair.depth} are not of one size: they are not of one photograph.")
    valid = negated < 1
    return Sample(image, torch.where(valid, 1 - negated, 0), valid, DepthKind.RELATIVE, None, pair.name)
