"""Near-duplicates: photographs that are the same picture, though resized, recompressed or brightened."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt64

from leadline.core.depth_kind import DepthKind
from leadline.data_quality.frame_stats import FrameStats
from leadline.data_quality.issues import Issue

MAX_DISTANCE = 12
"""Bits of the fingerprints' 64 that may differ. A picture and its copy (JPEG 30, 37 % of the size, brighter) differ in
at most 10 in 99 of 100 cases; of 110,000 pairs of pictures of different scenes none differs in fewer than 14."""
MIN_CORRELATION = 0.8
"""Correlation that the thumbnails must have: copies have 0.83–1, others within 16 bits at most 0.56."""
MIN_CONTRAST = 3.0
"""Grey levels (standard deviation of the thumbnail) below which pictures are too flat to be told apart."""


def near_duplicates(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find photographs that are in two splits."""
    found = []
    splits = list(dict.fromkeys(frame.entry.split for frame in frames))
    for place, split in enumerate(splits):
        ours = [frame for frame in frames if frame.entry.split == split]
        others = [frame for frame in frames if frame.entry.split in splits[place + 1 :]]
        for one, other, distance in _pairs(ours, others):
            where = f"{other.entry.split}/{other.entry.name}"
            message = f"{one.entry.split}/{one.entry.name} is {where} ({distance} bits differ): take one out."
            found.append(Issue("twins", message, (one, other)))
    return found


def leaked_images(frames: Sequence[FrameStats], forbidden: Sequence[FrameStats]) -> list[Issue]:
    """Find photographs of "train" that are among `forbidden`, those of a dataset that models will be evaluated on."""
    training = [frame for frame in frames if frame.entry.split == "train"]
    best: dict[int, Issue] = {}
    for one, other, distance in _pairs(training, forbidden):
        message = (
            f"train/{one.entry.name} is {other.entry.name} of the other set ({distance} bits differ): take it out."
        )
        best.setdefault(id(one), Issue("leaked", message, (one,)))
    return list(best.values())


def _pairs(some: Sequence[FrameStats], others: Sequence[FrameStats]) -> Iterator[tuple[FrameStats, FrameStats, int]]:
    """Yield the pairs of two sets that are the same picture, and how many bits differ."""
    some, others = _with_contrast(some), _with_contrast(others)
    if not some or not others:
        return
    theirs, their_thumbnails = _fingerprints(others), _normalized(others)
    for frame, own, thumbnail in zip(some, _fingerprints(some), _normalized(some), strict=True):
        distances = np.bitwise_count(theirs ^ own)
        for place in np.flatnonzero(distances <= MAX_DISTANCE):
            if float(their_thumbnails[place] @ thumbnail) > MIN_CORRELATION:
                yield frame, others[place], int(distances[place])


def _with_contrast(frames: Sequence[FrameStats]) -> list[FrameStats]:
    return [frame for frame in frames if frame.thumbnail is not None and frame.thumbnail.std() > MIN_CONTRAST]


def _fingerprints(frames: Sequence[FrameStats]) -> UInt64[np.ndarray, " n"]:
    return np.array([frame.fingerprint for frame in frames], np.uint64)


def _normalized(frames: Sequence[FrameStats]) -> Float[np.ndarray, "n 256"]:
    """Return the thumbnails as vectors of mean 0 and length 1."""
    flat = np.stack([frame.thumbnail.ravel() for frame in frames if frame.thumbnail is not None]).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)
