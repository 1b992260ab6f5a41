"""Published: the weights that MiDaS and DPT released, where they are, what may be done with them, what they scored."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from leadline.core.errors import BadInput, check_known
from leadline.io.download import download

MIRROR = "LEADLINE_RELEASES"
"""Environment variable: an address under which all files lie, asked in place of the official ones."""


@dataclass(frozen=True)
class Figures:
    """What a publication says that a model scored on NYU Depth v2."""

    metrics: Mapping[str, float]
    """Names as in `leadline.evaluation.metrics.METRICS`."""
    protocol: str
    source: str


@dataclass(frozen=True)
class Release:
    """One official weight file."""

    file: str
    """The name it was published under; the eight digits before its ending begin its SHA-256."""
    sha256: str
    """As many of its hash's hex digits as are publicly known, at least those in its name."""
    size: int
    """Bytes."""
    addresses: tuple[str, ...]
    """The official ones, the one that keeps the hash in the name first."""
    idle_parameters: int
    """That the file holds and no output depends on; published parameter counts include them."""
    terms: str
    """What is known of the training data's terms, which the licence of the weights leaves open."""
    licence: str = "MIT"
    """Of the repository that released the weights."""
    nyu: Figures | None = None

    @property
    def path(self) -> Path:
        """Where the file is kept: in the folder that the hub's cache has for other libraries' files.

        `HF_ASSETS_CACHE/leadline`, which is `~/.cache/huggingface/assets/leadline` unless HF_HOME or XDG_CACHE_HOME
        move the cache. Not in HF_HUB_CACHE: the hub's own tools take every folder there for a repository of the hub.
        """
        return Path(constants.HF_ASSETS_CACHE) / "leadline" / self.file


def weights_file(name: str) -> Path:
    """Find the weight file of a published model; download it at first use.

    Raises:
        BadInput: no such model, not on this machine while HF_HUB_OFFLINE is set, or as `download`.
    """
    check_known("published model", name, RELEASES)
    release = RELEASES[name]
    file = release.path
    if file.is_file():
        return file
    addresses = _asked(release)
    if constants.HF_HUB_OFFLINE:
        raise BadInput(
            f"{name} needs {release.file}, which is not on this machine, and HF_HUB_OFFLINE forbids to download it. "
            f"Bring it from {addresses[0]} as {file}."
        )
    print(
        f"{name}: downloading {release.file} ({release.size / 1e6:.0f} MB) from {addresses[0]} to {file.parent}.\n"
        f"Licence of the weights: {release.licence}. {release.terms}",
        file=sys.stderr,
        flush=True,
    )
    download(addresses, file, release.sha256)
    return file


def _asked(release: Release) -> tuple[str, ...]:
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return release.addresses
    if not mirror.startswith(("http://", "https://")):
        raise BadInput(f"{MIRROR} must be an address that begins with https:// or http://, not {mirror!r}.")
    return (f"{mirror.rstrip('/')}/{release.file}",)


_MIDAS = "https://github.com/isl-org/MiDaS/releases/download"
_DPT = "https://github.com/isl-org/DPT/releases/download/1_0"
_TEN = "Trained on ten datasets, each with terms of its own."
_ZERO_SHOT = "zero-shot: scale and shift of the inverse depth fitted to each image; the source gives 1 − δ1 in percent"
_MIDAS_TABLE = "MiDaS, README, Accuracy"

RELEASES: Mapping[str, Release] = {
    "midas_small": Release(
        "midas_v21_small-70d6b9c8.pt",
        "70d6b9c891758c67f974a6097fb0c608c7ee67fb81ac3e5588847d5596d56fca",
        85_761_505,
        (f"{_MIDAS}/v2_1/midas_v21_small-70d6b9c8.pt", f"{_MIDAS}/v2_1/midas_v21_small_256.pt"),
        idle_parameters=4_719_616,
        terms=_TEN,
        nyu=Figures({"d1": 0.8657}, _ZERO_SHOT, _MIDAS_TABLE),
    ),
    "midas_v21": Release(
        "midas_v21-f6b98070.pt",
        "f6b980704cfd7259c7cc2b058c2f160159c55e84b3b6c08331b4156a84629f70",
        422_509_849,
        (f"{_MIDAS}/v2_1/midas_v21-f6b98070.pt", f"{_MIDAS}/v2_1/midas_v21_384.pt"),
        idle_parameters=1_180_160,
        terms=_TEN,
        nyu=Figures({"d1": 0.9129}, _ZERO_SHOT, _MIDAS_TABLE),
    ),
    "dpt_large": Release(
        "dpt_large-midas-2f21e586.pt",
        "2f21e586477d90cb9624c7eef5df7891edca49a1c4795ee2cb631fd4daa6ca69",
        1_376_378_527,
        (f"{_DPT}/dpt_large-midas-2f21e586.pt", f"{_MIDAS}/v3/dpt_large_384.pt"),
        idle_parameters=2_207_208,
        terms=_TEN,
        nyu=Figures({"d1": 0.9168}, _ZERO_SHOT, _MIDAS_TABLE),
    ),
    "dpt_hybrid": Release(
        "dpt_hybrid-midas-501f0c75.pt",
        "501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853",
        492_757_791,
        (f"{_DPT}/dpt_hybrid-midas-501f0c75.pt", f"{_MIDAS}/v3/dpt_hybrid_384.pt"),
        idle_parameters=1_950_696,
        terms=_TEN,
        nyu=Figures({"d1": 0.9131}, _ZERO_SHOT, _MIDAS_TABLE),
    ),
    "dpt_hybrid_nyu": Release(
        "dpt_hybrid_nyu-2ce69ec7.pt",
        "2ce69ec7",
        492_757_791,  # Its sibling's: it holds tensors of the same names and shapes, and its own size is not stated.
        (f"{_DPT}/dpt_hybrid_nyu-2ce69ec7.pt",),
        idle_parameters=1_950_696,
        terms=f"{_TEN} Finetuned on NYU Depth v2, which is for research and states no terms for trained weights.",
        nyu=Figures(
            {"abs_rel": 0.110, "rmse": 0.357, "log10": 0.045, "d1": 0.904, "d2": 0.988, "d3": 0.998},
            "nyu_eigen: 654 test images, Eigen crop, cap 10 m, averaged per image",
            "Ranftl et al. 2021 (DPT)",
        ),
    ),
    "dpt_hybrid_kitti": Release(
        "dpt_hybrid_kitti-cb926ef4.pt",
        "cb926ef4",
        492_757_791,  # As above.
        (f"{_DPT}/dpt_hybrid_kitti-cb926ef4.pt",),
        idle_parameters=1_950_696,
        terms=f"{_TEN} Finetuned on KITTI, whose data are CC BY-NC-SA 3.0: not for commercial use.",
    ),
}
"""Model → its official file; names as in `leadline.models.registry.MODELS`.

Addresses: the READMEs and hubconf.py of github.com/isl-org/MiDaS and github.com/isl-org/DPT. MiDaS later published
the same bytes under other names, which the second address asks for.
"""
