"""Units: how many steps of a scene's numbers make a metre, as stated, or guessed with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from leadline.data_quality.frame_stats import DepthStats, FrameStats
from leadline.io.depth_units import COMMON_DEPTH_SCALES, format_metres, is_plausible, likely_scales

INDOOR = (0.2, 7.0)
"""Metres between which the median of a scene must lie, if its numbers are to be millimetres."""
ROTATED = 8
"""SUN RGB-D's numbers are millimetres with their bits rotated left by three: all below 8.19 m are multiples of this."""


@dataclass(frozen=True)
class Unit:
    """Steps per metre, and why."""

    scale: float
    reason: str


def unit_of(frames: Sequence[FrameStats]) -> Unit | None:
    """Return the unit of a scene's numbers, stated or guessed; None if no scale in use makes plausible metres of them.

    A stated scale is taken as it is: the check `unit` judges it.
    """
    all_stats = [frame.depth_stats for frame in frames if frame.depth_stats and frame.depth_stats.median]
    if not all_stats:
        return None
    scales = {stats.scale for stats in all_stats}
    middle = median(stats.median for stats in all_stats)
    if len(scales) == 1 and (scale := scales.pop()):
        sources = ", ".join(dict.fromkeys(stats.source for stats in all_stats))
        is_rule = all(stats.is_rule and stats.is_integer for stats in all_stats)
        others = _others(middle, 5000 if scale == 1000 else 1000) if is_rule else ""
        return Unit(
            scale, f"{sources}; it makes the median {format_metres(middle / scale)}{others}{_warning(all_stats)}"
        )
    return _guess(all_stats, middle, frames)


def is_like_kitti(frames: Sequence[FrameStats]) -> bool:
    """Return whether all maps are more than three times as wide as high and less than half measured, as KITTI's are."""
    return all(
        frame.depth_size
        and frame.depth_stats
        and frame.depth_size[1] > 3 * frame.depth_size[0]
        and frame.depth_stats.holes > 0.5
        for frame in frames
        if frame.depth_stats
    )


def is_like_sunrgbd(all_stats: Sequence[DepthStats]) -> bool:
    """Return whether most maps hold multiples of 8 only, and have depths of rooms once their bits are rotated back."""
    rotated = [stats for stats in all_stats if stats.is_integer and stats.divisor == ROTATED and stats.levels > ROTATED]
    is_room = INDOOR[0] <= median(stats.median for stats in all_stats) / ROTATED / 1000 <= INDOOR[1]
    return len(rotated) > 0.8 * len(all_stats) and is_room


IN_SUNRGBD = "all numbers are multiples of 8: they are SUN RGB-D's, millimetres with their bits rotated left by three"
ROTATE_BACK = "state encoding=sunrgbd"


def _warning(all_stats: Sequence[DepthStats]) -> str:
    """Return what contradicts a stated scale; empty if nothing."""
    return (
        f"; but {IN_SUNRGBD}, so {ROTATE_BACK}"
        if is_like_sunrgbd(all_stats) and all_stats[0].scale != 1000 * ROTATED
        else ""
    )


def _others(middle: float, scale: int) -> str:
    """Return what another camera's scale would make of the median, where a reader's rule sets the scale."""
    return (
        f" (depth_scale={scale} would make it {format_metres(middle / scale)})" if is_plausible(middle / scale) else ""
    )


def _guess(all_stats: Sequence[DepthStats], middle: float, frames: Sequence[FrameStats]) -> Unit | None:
    if not all(stats.is_integer for stats in all_stats):
        return _guess_floats(middle)
    if is_like_kitti(frames):
        return Unit(
            256, f"wide and sparse as KITTI's, where 256 steps make a metre: median {format_metres(middle / 256)}"
        )
    if is_like_sunrgbd(all_stats):
        scale = 1000 * ROTATED
        return Unit(scale, f"{IN_SUNRGBD}, so {ROTATE_BACK}: median {format_metres(middle / scale)}")
    if all(stats.divisor % 5 == 0 for stats in all_stats) and is_plausible(middle / 5000):
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
    """Return metres if they are plausible, as readers take them; else the likeliest unit, which readers want stated."""
    if is_plausible(middle):
        return Unit(1, f"floats of median {middle:.3g}: metres, as readers take them")
    likely = likely_scales(middle, is_integer=False)
    if not likely:
        return None
    first, *others = (f"depth_scale={scale} ({COMMON_DEPTH_SCALES[scale]})" for scale in likely)
    or_else = f", or {others[0]}, which makes it {format_metres(middle / likely[1])}" if others else ""
    return Unit(
        likely[0],
        f"floats of median {middle:.4g}, which readers refuse as metres: state {first}, which makes it "
        f"{format_metres(middle / likely[0])}{or_else}",
    )
