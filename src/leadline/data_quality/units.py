"""Units: how many steps of a scene's numbers make a metre, as stated, or guessed with the reason said."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from leadline.data_quality.frame_stats import DepthStats, FrameStats

SCALES = {1000: "millimetres", 256: "KITTI", 5000: "TUM RGB-D", 100: "centimetres", 1: "metres"}
"""Steps per metre that are in use, and by whom."""
PLAUSIBLE = (0.1, 150.0)
"""Metres between which the median of a scene lies: a phone over a desk has 0.31, KITTI 13; a LiDAR ends at 120."""
INDOOR = (0.2, 7.0)
"""Metres: a scene whose median in millimetres lies between is taken for millimetres."""


@dataclass(frozen=True)
class Unit:
    """Steps per metre, and why."""

    scale: float
    reason: str


def unit_of(looks: Sequence[FrameStats]) -> Unit | None:
    """What a scene's numbers mean; None if no scale in use makes plausible metres of them.

    What was stated is believed here: `unit_faults` judges it.
    """
    tallies = [look.tally for look in looks if look.tally and look.tally.median]
    if not tallies:
        return None
    scales = {tally.scale for tally in tallies}
    middle = median(tally.median for tally in tallies)
    if len(scales) == 1 and (scale := scales.pop()):
        said = "the files say so" if all(tally.is_ours for tally in tallies) else "as stated"
        return Unit(scale, f"{said}; it makes the median {in_words(middle / scale)}")
    return _guess(tallies, middle, looks)


def likely_scales(middle: float, *, is_integer: bool = True) -> list[int]:
    """The scales in use that make plausible metres of a median, the likeliest first: nearest to 2 m."""
    fitting = [scale for scale in SCALES if is_plausible(middle / scale) and (is_integer or scale in (1, 1000))]
    return sorted(fitting, key=lambda scale: abs(math.log(middle / scale / 2)))


def is_plausible(metres: float) -> bool:
    return PLAUSIBLE[0] <= metres <= PLAUSIBLE[1]


def is_like_kitti(looks: Sequence[FrameStats]) -> bool:
    """Three times as wide as high, and less than half measured."""
    return all(
        look.depth_size and look.tally and look.depth_size[1] > 3 * look.depth_size[0] and look.tally.holes > 0.5
        for look in looks
        if look.tally
    )


def in_words(number: float) -> str:
    """`1.8 m`, `13 m`, `3,750 m`"""
    return f"{number:.2g} m" if number < 10 else f"{number:,.0f} m"


def _guess(tallies: Sequence[DepthStats], middle: float, looks: Sequence[FrameStats]) -> Unit | None:
    if not all(tally.is_integer for tally in tallies):
        scale = 1 if is_plausible(middle) else 1000
        name = "metres" if scale == 1 else "millimetres"
        return Unit(scale, f"floats of median {middle:.3g}: {name}") if is_plausible(middle / scale) else None
    if is_like_kitti(looks):
        return Unit(256, f"wide and sparse as KITTI's, where 256 steps make a metre: median {in_words(middle / 256)}")
    if all(tally.divisor % 5 == 0 for tally in tallies) and is_plausible(middle / 5000):
        return Unit(
            5000, f"all numbers are multiples of 5, millimetres in TUM's unit: median {in_words(middle / 5000)}"
        )
    if INDOOR[0] <= middle / 1000 <= INDOOR[1]:
        others = ", ".join(
            f"{scale} would make it {in_words(middle / scale)}" for scale in (256, 5000) if is_plausible(middle / scale)
        )
        return Unit(1000, f"millimetres make the median {in_words(middle / 1000)}" + (f" ({others})" if others else ""))
    likely = likely_scales(middle)
    return Unit(likely[0], f"{SCALES[likely[0]]} make the median {in_words(middle / likely[0])}") if likely else None
