"""Twins: photographs that are the same picture, though resized, recompressed or brightened."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt64

from leadline.core.depth_kind import DepthKind
from leadline.data_quality.frame_stats import FrameStats
from leadline.data_quality.issues import Issue

DISTANCE = 12
"""Of the fingerprints' 64 bits, as many may differ. A picture and its copy (JPEG 30, 37 % of the size, brighter)
differ in 10 at most in 99 of 100 cases; of the 110,000 pairs of pictures of different scenes none in fewer than 14."""
RESEMBLANCE = 0.8
"""And the thumbnails must correlate so well: copies do by 0.83–1, others within 16 bits by 0.56 at most."""
CONTRAST = 3.0
"""Grey levels (standard deviation of the thumbnail): flatter pictures resemble each other without being the same."""


def near_duplicates(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    found = []
    splits = list(dict.fromkeys(look.entry.split for look in looks))
    for place, split in enumerate(splits):
        ours = [look for look in looks if look.entry.split == split]
        others = [look for look in looks if look.entry.split in splits[place + 1 :]]
        for one, other, distance in _pairs(ours, others):
            where = f"{other.entry.split}/{other.entry.name}"
            message = f"{one.entry.split}/{one.entry.name} is {where} ({distance} bits differ): take one out."
            found.append(Issue("twins", message, (one, other)))
    return found


def leaked_images(looks: Sequence[FrameStats], forbidden: Sequence[FrameStats]) -> list[Issue]:
    """Training pictures that are among those of another set, which is meant to judge it."""
    training = [look for look in looks if look.entry.split == "train"]
    best: dict[int, Issue] = {}
    for one, other, distance in _pairs(training, forbidden):
        message = (
            f"train/{one.entry.name} is {other.entry.name} of the other set ({distance} bits differ): take it out."
        )
        best.setdefault(id(one), Issue("leaked", message, (one,)))
    return list(best.values())


def _pairs(some: Sequence[FrameStats], others: Sequence[FrameStats]) -> Iterator[tuple[FrameStats, FrameStats, int]]:
    """Which of two sets are the same picture, and how many bits differ."""
    some, others = _telling(some), _telling(others)
    if not some or not others:
        return
    theirs, their_thumbnails = _prints(others), _normalised(others)
    for look, own, thumbnail in zip(some, _prints(some), _normalised(some), strict=True):
        distances = np.bitwise_count(theirs ^ own)
        for place in np.flatnonzero(distances <= DISTANCE):
            if float(their_thumbnails[place] @ thumbnail) > RESEMBLANCE:
                yield look, others[place], int(distances[place])


def _telling(looks: Sequence[FrameStats]) -> list[FrameStats]:
    return [look for look in looks if look.thumbnail is not None and look.thumbnail.std() > CONTRAST]


def _prints(looks: Sequence[FrameStats]) -> UInt64[np.ndarray, " n"]:
    return np.array([look.print for look in looks], np.uint64)


def _normalised(looks: Sequence[FrameStats]) -> Float[np.ndarray, "n 256"]:
    """Thumbnails of mean 0 and length 1."""
    flat = np.stack([look.thumbnail.ravel() for look in looks if look.thumbnail is not None]).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)
