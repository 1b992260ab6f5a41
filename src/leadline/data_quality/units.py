"""Units: how many steps of a scene's numbers make a metre, as stated, or guessed with the reason said."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from leadline.data_quality.frame_stats import DepthStats, FrameStats
from leadline.io.depth_units import COMMON_DEPTH_SCALES, format_metres, is_plausible, likely_scales

INDOOR = (0.2, 7.0)
"""Metres: a scene whose median in millimetres lies between is taken for millimetres."""
ROTATED = 8
"""SUN RGB-D's numbers are millimetres with their bits rotated left by three: all below 8.19 m are multiples of this."""


@dataclass(frozen=True)
class Unit:
    """Steps per metre, and why."""

    scale: float
    reason: str


def unit_of(looks: Sequence[FrameStats]) -> Unit | None:
    """What a scene's numbers mean; None if no scale in use makes plausible metres of them.

    What was stated is believed here: the check `unit` judges it.
    """
    tallies = [look.tally for look in looks if look.tally and look.tally.median]
    if not tallies:
        return None
    scales = {tally.scale for tally in tallies}
    middle = median(tally.median for tally in tallies)
    if len(scales) == 1 and (scale := scales.pop()):
        sources = ", ".join(dict.fromkeys(tally.source for tally in tallies))
        is_rule = all(tally.is_rule and tally.is_integer for tally in tallies)
        others = _others(middle, 5000 if scale == 1000 else 1000) if is_rule else ""
        return Unit(scale, f"{sources}; it makes the median {format_metres(middle / scale)}{others}{_warning(tallies)}")
    return _guess(tallies, middle, looks)


def is_like_kitti(looks: Sequence[FrameStats]) -> bool:
    """Three times as wide as high, and less than half measured."""
    return all(
        look.depth_size and look.tally and look.depth_size[1] > 3 * look.depth_size[0] and look.tally.holes > 0.5
        for look in looks
        if look.tally
    )


def is_like_sunrgbd(tallies: Sequence[DepthStats]) -> bool:
    """Whether most maps have multiples of 8 only, which are rooms once their bits are rotated back."""
    rotated = [tally for tally in tallies if tally.is_integer and tally.divisor == ROTATED and tally.levels > ROTATED]
    is_room = INDOOR[0] <= median(tally.median for tally in tallies) / ROTATED / 1000 <= INDOOR[1]
    return len(rotated) > 0.8 * len(tallies) and is_room


IN_SUNRGBD = "all numbers are multiples of 8: they are SUN RGB-D's, millimetres with their bits rotated left by three"
ROTATE_BACK = "state encoding=sunrgbd"


def _warning(tallies: Sequence[DepthStats]) -> str:
    """What contradicts a stated scale."""
    return (
        f"; but {IN_SUNRGBD}, so {ROTATE_BACK}"
        if is_like_sunrgbd(tallies) and tallies[0].scale != 1000 * ROTATED
        else ""
    )


def _others(middle: float, scale: int) -> str:
    """What another camera's scale would make of a median that a reader's rule is applied to."""
    return (
        f" (depth_scale={scale} would make it {format_metres(middle / scale)})" if is_plausible(middle / scale) else ""
    )


def _guess(tallies: Sequence[DepthStats], middle: float, looks: Sequence[FrameStats]) -> Unit | None:
    if not all(tally.is_integer for tally in tallies):
        return _guess_floats(middle)
    if is_like_kitti(looks):
        return Unit(
            256, f"wide and sparse as KITTI's, where 256 steps make a metre: median {format_metres(middle / 256)}"
        )
    if is_like_sunrgbd(tallies):
        scale = 1000 * ROTATED
        return Unit(scale, f"{IN_SUNRGBD}, so {ROTATE_BACK}: median {format_metres(middle / scale)}")
    if all(tally.divisor % 5 == 0 for tally in tallies) and is_plausible(middle / 5000):
        return Unit(
            5000, f"all numbers are multiples of 5, millimetres in TUM's unit: median {format_metres(middle / 5000)}"
        )
    if INDOOR[0] <= middle / 1000 <= INDOOR[1]:
        others = ", ".join(
            f"{scale} would make it {format_metres(middle / scale)}"
            for scale in (256, 5000)
            if is_plausible(middle / scale)
        )
        return Unit(
            1000, f"millimetres make the median {format_metres(middle / 1000)}" + (f" ({others})" if others else "")
        )
    likely = likely_scales(middle)
    return (
        Unit(likely[0], f"{COMMON_DEPTH_SCALES[likely[0]]} make the median {format_metres(middle / likely[0])}")
        if likely
        else None
    )


def _guess_floats(middle: float) -> Unit | None:
    """Metres if they may be, as the reader takes them; else what the reader refuses until it is stated."""
    if is_plausible(middle):
        return Unit(1, f"floats of median {middle:.3g}: metres, as readers take them")
    if is_plausible(middle / 1000):
        return Unit(
            1000, f"floats of median {middle:.4g}, which readers refuse as metres: state depth_scale=1000 (millimetres)"
        )
    return None
