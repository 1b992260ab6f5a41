"""Faults: what is wrong with data, where, and the cure; and how frames are put together to judge them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leadline.data_quality.frame_stats import FrameStats

FEW = 5
"""Frames: a scene with fewer tells too little alone, and is judged together with the other small ones."""


@dataclass(frozen=True)
class Issue:
    """What is wrong, and with which frames."""

    check: str
    message: str
    """With the cure."""
    looks: tuple[FrameStats, ...]

    @property
    def files(self) -> list[str]:
        """Every file that it concerns: photographs, depth maps or both."""
        return list(dict.fromkeys(file for look in self.looks for file in look.entry.files(_CONCERNED.get(self.check))))


_CONCERNED = {
    **dict.fromkeys(("turned", "camera", "twins", "leaked"), "image"),
    **dict.fromkeys(("eight_bits", "empty", "impossible", "inverse", "unit", "saturated"), "depth"),
    **dict.fromkeys(("along_ray", "mispaired", "misaligned"), "depth"),
}
"""Check → the one file of a pair that is to blame."""


def single_issue(check: str, look: FrameStats, message: str) -> Issue:
    return Issue(check, message, (look,))


def group_by_scene(looks: Sequence[FrameStats]) -> Mapping[tuple[str, str], list[FrameStats]]:
    """Split and scene → its frames."""
    found: dict[tuple[str, str], list[FrameStats]] = defaultdict(list)
    for look in looks:
        found[look.place].append(look)
    return found


def scene_groups(looks: Sequence[FrameStats]) -> list[list[FrameStats]]:
    """The scenes, those of fewer than `FEW` frames put together; what is still fewer is left out."""
    found = group_by_scene(looks).values()
    small = [look for group in found if len(group) < FEW for look in group]
    return [group for group in [*found, small] if len(group) >= FEW]


def significance(gains: Sequence[float]) -> float:
    """The mean in its standard errors; 0 for fewer than `FEW`."""
    if len(gains) < FEW:
        return 0.0
    return float(np.mean(gains) / (np.std(gains, ddof=1) / len(gains) ** 0.5 + 1e-9))


def count_words(looks: Sequence[FrameStats], what: str) -> str:
    """`3 frames of train/kitchen`"""
    places = list(dict.fromkeys("/".join(filter(None, look.place)) for look in looks))
    where = places[0] if len(places) == 1 else f"{len(places)} scenes"
    return f"{len(looks)} {what}{'' if len(looks) == 1 else 's'} of {where}"
