"""Units of depth files: the scales in use, and whether numbers can be metres."""

import math

COMMON_DEPTH_SCALES = {1000: "millimetres", 256: "KITTI", 5000: "TUM RGB-D", 100: "centimetres", 1: "metres"}
"""Steps per metre that are in use, and by whom."""
PLAUSIBLE_MEDIAN_METRES = (0.1, 150.0)
"""Metres between which the median of a scene lies: a phone over a desk has 0.31, KITTI 13; a LiDAR ends at 120."""


def is_plausible(metres: float) -> bool:
    """Whether the median depth of a scene may be so many metres."""
    return PLAUSIBLE_MEDIAN_METRES[0] <= metres <= PLAUSIBLE_MEDIAN_METRES[1]


def likely_scales(middle: float, *, is_integer: bool = True) -> list[int]:
    """Return the scales in use that make plausible metres of a median, the likeliest first: nearest to 2 m."""
    fitting = [
        scale for scale in COMMON_DEPTH_SCALES if is_plausible(middle / scale) and (is_integer or scale in (1, 1000))
    ]
    return sorted(fitting, key=lambda scale: abs(math.log(middle / scale / 2)))


def format_metres(metres: float) -> str:
    """`1.8 m`, `13 m`, `3,750 m`"""
    return f"{metres:.2g} m" if metres < 10 else f"{metres:,.0f} m"


def explain_implausible_median(middle: float) -> str:
    """Say why floats of this median are not taken for metres, and what to state; empty where they are."""
    if is_plausible(middle):
        return ""
    likely = [scale for scale in likely_scales(middle, is_integer=False) if scale != 1]
    cures = [
        f"depth_scale={scale} ({COMMON_DEPTH_SCALES[scale]}) makes it {format_metres(middle / scale)}"
        for scale in likely
    ]
    said = "; ".join([*cures, "state depth_scale=1 if it is"])
    return f"a median of {middle:,.4g} is no depth in metres: {said}"
