"""DepthKind: what the numbers of a depth map guarantee."""

from enum import StrEnum


class DepthKind(StrEnum):
    """What a number in a depth map promises; a comparison aligns by the weaker promise, or refuses."""

    METRIC = "metric"
    """Metres along the optical axis."""
    SCALE_FREE = "scale_free"
    """Depth up to one positive factor per image."""
    RELATIVE = "relative"
    """Inverse depth up to a positive factor and a shift per image: larger is nearer."""
