"""Rooms: procedural indoor scenes with exact depth, in as many domains as `DOMAINS` has entries."""

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known
from leadline.core.paths import StrPath
from leadline.core.sample import OtherView, Sample
from leadline.data.datasets.pairs import check_split
from leadline.data.datasets.rooms.domains import DOMAINS
from leadline.data.datasets.rooms.render import render
from leadline.data.datasets.rooms.scene import furnish
from leadline.io.atomic import atomic_write, make_folder

LICENCE = "Apache-2.0, as the code"
SPLIT_SEEDS: Mapping[str, int] = {"train": 0, "val": 1, "test": 2}
"""Split → the second number of its samples' seeds `(seed, split, index)`, so that no two splits share a room."""
DEFAULT_COUNTS: Mapping[str, int] = {"train": 4096, "val": 128, "test": 256}
"""Split → how many samples it has unless `count` says otherwise."""


@dataclass(frozen=True)
class RoomsDataset:
    """The samples of one split of one domain; build it with `rooms`."""

    name: str
    kind: DepthKind
    split: str
    count: int
    height: int
    width: int
    domain: str
    holes: bool
    seed: int
    baseline: float
    """Metres from the camera to a second one at its right; 0: there is none."""
    folder: Path | None
    """Where rendered samples are cached; None keeps none."""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name} has samples 0 … {self.count - 1}, and not {index}.")
        frame = self._cached(index)
        depth = torch.from_numpy(frame["depth"])[None]
        valid = torch.from_numpy(frame["measured"])[None] if self.holes else torch.ones_like(depth, dtype=torch.bool)
        other = None
        if self.baseline:
            other = OtherView(torch.from_numpy(frame["right"]).float().div_(255), torch.tensor(1.0))
        return Sample(
            image=torch.from_numpy(frame["image"]).float().div_(255),
            depth=depth * valid,
            valid=valid,
            kind=self.kind,
            intrinsics=torch.from_numpy(frame["intrinsics"]),
            name=f"rooms-{self.domain}/{self.split}/{index:06d}",
            other=other,
        )

    def _cached(self, index: int) -> np.ndarray:
        """Return a sample's record, from the cache if it is there and undamaged."""
        if self.folder is None:
            return self._rendered(index)
        path = self.folder / f"{index:06d}.npy"
        # Missing, or truncated by a power failure: both are rendered again.
        with suppress(OSError, ValueError, EOFError):
            return np.load(path)
        record = self._rendered(index)
        try:
            make_folder(path.parent)
            with atomic_write(path, durable=False) as half:
                np.save(half, record)
        except (OSError, BadInput):
            warnings.warn(f"Cannot write to {self.folder}: rooms are rendered anew each time.", stacklevel=3)
        return record

    def _rendered(self, index: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, SPLIT_SEEDS[self.split], index))
        scene = furnish(DOMAINS[self.domain], rng)
        view = render(scene, self.height, self.width, rng)
        record = np.empty((), _record(self.height, self.width, is_stereo=self.baseline > 0))
        record["intrinsics"] = scene.camera.intrinsics(self.height, self.width)
        record["depth"], record["image"], record["measured"] = view.depth, view.image, view.measured
        if self.baseline:
            moved = scene._replace(camera=scene.camera.moved_right(self.baseline))
            sensor = np.random.default_rng((self.seed, SPLIT_SEEDS[self.split], index, 1))
            record["right"] = render(moved, self.height, self.width, sensor).image
        return record


def rooms(
    split: str,
    *,
    count: int | None = None,
    height: int = 128,
    width: int = 160,
    domain: str = "a",
    holes: bool = True,
    seed: int = 0,
    baseline: float = 0.0,
    cache: StrPath | None = None,
) -> RoomsDataset:
    """Open rooms of a domain: scenes that no other split or seed has, each a function of its index alone.

    Args:
        split: "train", "val" or "test".
        count: how many; unset, `DEFAULT_COUNTS`, which "val" and "test" never exceed, so that they stay comparable.
        height: of the images, in pixels.
        width: of the images, in pixels.
        domain: a key of `DOMAINS`: "a" homes, "b" offices and corridors, "c" anything indoors.
        holes: leave out what a structured-light camera would not measure; without, all depth is valid, and the images
            are the same.
        seed: another seed makes other rooms.
        baseline: metres to a second camera at the right of the first, whose image each sample then has, too: a stereo
            pair, which `refine_and_distil` learns from; 0: there is none.
        cache: a folder that keeps what was rendered; any number of processes may share it. Its key holds the domain's
            `version`, so that a cache never returns pixels of another version.

    Raises:
        BadInput: an unknown split or domain, a size or count that is not positive, or a negative or huge baseline.
    """
    cache = None if cache is None else Path(cache)
    check_split(split)
    check_known("domain", domain, DOMAINS)
    usual = DEFAULT_COUNTS[split]
    count = usual if count is None else count if split == "train" else min(count, usual)
    if min(count, height, width) < 1:
        raise BadInput(f"Rooms need a count and sides of at least 1, not count={count}, {height}×{width}.")
    if not 0 <= baseline <= 1:
        raise BadInput(f"baseline={baseline:g} must be from 0 (no second camera) to 1 metre: eyes are 0.065 apart.")
    stereo = f"-stereo{baseline:g}" if baseline else ""
    if cache is not None:
        cache = cache / f"rooms-{domain}-{split}-seed{seed}-{height}x{width}-v{DOMAINS[domain].version}{stereo}"
    name = f"rooms-{domain} {split}{f', stereo {baseline:g} m' if baseline else ''}"
    return RoomsDataset(name, DepthKind.METRIC, split, count, height, width, domain, holes, seed, baseline, cache)


def _record(height: int, width: int, *, is_stereo: bool) -> np.dtype:
    """Return the layout of one sample in the cache, four-byte fields first so that all are aligned."""
    pixels = (height, width)
    right = [("right", "u1", (3, *pixels))] if is_stereo else []
    return np.dtype(
        [
            ("intrinsics", "f4", (4,)),
            ("depth", "f4", pixels),
            ("image", "u1", (3, *pixels)),
            ("measured", "?", pixels),
            *right,
        ]
    )
