"""Units of depth files: the scales in use, and which numbers can be metres."""

import math

COMMON_DEPTH_SCALES = {1000: "millimetres", 256: "KITTI", 5000: "TUM RGB-D", 100: "centimetres", 1: "metres"}
"""Numbers per metre that are in use, and their names."""
PLAUSIBLE_MEDIAN_METRES = (0.1, 150.0)
"""Metres between which the median of a scene lies: a phone over a desk has 0.31, KITTI 13; a LiDAR ends at 120."""


def is_plausible(metres: float) -> bool:
    """Tell whether the median depth of a scene may be so many metres."""
    return PLAUSIBLE_MEDIAN_METRES[0] <= metres <= PLAUSIBLE_MEDIAN_METRES[1]


def likely_scales(middle: float, *, is_integer: bool = True) -> list[int]:
    """Return the scales in use by which a median is plausible in metres, the likeliest first: nearest to 2 m.

    Args:
        middle: the median of the numbers in a file.
        is_integer: whether the numbers are integers; floats are metres, centimetres or millimetres.
    """
    in_use = COMMON_DEPTH_SCALES if is_integer else (1, 100, 1000)
    fitting = [scale for scale in in_use if is_plausible(middle / scale)]
    return sorted(fitting, key=lambda scale: abs(math.log(middle / scale / 2)))


def format_metres(metres: float) -> str:
    """Return metres as a text: `1.8 m`, `13 m`, `3,750 m`."""
    return f"{metres:.2g} m" if metres < 10 else f"{metres:,.0f} m"


def explain_implausible_median(middle: float) -> str:
    """Say why floats of this median are not taken for metres, and what to state; return "" where they are."""
    if is_plausible(middle):
        return ""
    likely = [scale for scale in likely_scales(middle, is_integer=False) if scale != 1]
    advice = [
        f"depth_scale={scale} ({COMMON_DEPTH_SCALES[scale]}) makes it {format_metres(middle / scale)}"
        for scale in likely
    ]
    said = "; ".join([*advice, "state depth_scale=1 if it is"])
    return f"a median of {middle:,.4g} is no depth in metres: {said}"
