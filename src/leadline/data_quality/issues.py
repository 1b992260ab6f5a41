"""Issues: what is wrong with data, where, and how to fix it; and how frames are grouped to be judged together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leadline.data_quality.frame_stats import FrameStats

FEW = 5
"""Frames below which a scene is too small for statistics, and is judged together with the other small ones."""


@dataclass(frozen=True)
class Issue:
    """What is wrong, and with which frames."""

    check: str
    message: str
    """What is wrong, and how to fix it."""
    frames: tuple[FrameStats, ...]

    @property
    def files(self) -> list[str]:
        """Every file that it concerns: photographs, depth maps or both."""
        return list(
            dict.fromkeys(file for frame in self.frames for file in frame.entry.files(_CONCERNED.get(self.check)))
        )


_CONCERNED = {
    **dict.fromkeys(("turned", "camera", "twins", "leaked"), "image"),
    **dict.fromkeys(("eight_bits", "empty", "impossible", "inverse", "unit", "saturated"), "depth"),
    **dict.fromkeys(("background", "along_ray", "mispaired", "misaligned"), "depth"),
}
"""Check → the one file of a pair that is wrong."""


def single_issue(check: str, frame: FrameStats, message: str) -> Issue:
    """Make an issue of one frame.

    Args:
        check: name of the check.
        frame: the frame that it found.
        message: what is wrong, and how to fix it.
    """
    return Issue(check, message, (frame,))


def group_by_scene(frames: Sequence[FrameStats]) -> Mapping[tuple[str, str], list[FrameStats]]:
    """Group frames by split and scene, in the order of their first frames."""
    found: dict[tuple[str, str], list[FrameStats]] = defaultdict(list)
    for frame in frames:
        found[frame.place].append(frame)
    return found


def group_small_scenes(frames: Sequence[FrameStats]) -> list[list[FrameStats]]:
    """Group frames by scene, those of scenes with fewer than `FEW` together; a group of fewer than that is left out."""
    found = group_by_scene(frames).values()
    small = [frame for group in found if len(group) < FEW for frame in group]
    return [group for group in [*found, small] if len(group) >= FEW]


def significance(gains: Sequence[float]) -> float:
    """Return the mean divided by its standard error; 0 for fewer than `FEW` values."""
    if len(gains) < FEW:
        return 0.0
    return float(np.mean(gains) / (np.std(gains, ddof=1) / len(gains) ** 0.5 + 1e-9))


def count_files(count: int) -> str:
    """Return `1 file` or `3 files`."""
    return f"{count} file{'' if count == 1 else 's'}"


def describe_count(frames: Sequence[FrameStats], what: str) -> str:
    """Say how many of what are where: `3 frames of train/kitchen`.

    Args:
        frames: the frames to count.
        what: a noun in the singular.
    """
    places = list(dict.fromkeys("/".join(filter(None, frame.place)) for frame in frames))
    where = places[0] if len(places) == 1 else f"{len(places)} scenes"
    return f"{len(frames)} {what}{'' if len(frames) == 1 else 's'} of {where}"
