"""DepthKind: what the numbers of a depth map guarantee, and the words for it."""

from enum import StrEnum
from typing import NamedTuple


class DepthKind(StrEnum):
    """State what a number in a depth map guarantees; a comparison aligns by the weaker guarantee, or refuses."""

    METRIC = "metric"
    """Metres along the optical axis."""
    SCALE_FREE = "scale_free"
    """Depth up to one positive factor per image."""
    RELATIVE = "relative"
    """Inverse depth up to a positive factor and a shift per image: larger is nearer."""

    @property
    def unit(self) -> str:
        """What the numbers count, as depth files state it: `metres`."""
        return _WORDS[self].unit

    @property
    def description(self) -> str:
        """What the numbers are, for a sentence or a card: `metres along the optical axis`."""
        return _WORDS[self].description

    @property
    def guarantee(self) -> str:
        """What is known of depth of this kind, as a clause of an error: `it is metres`."""
        return _WORDS[self].guarantee


class _Words(NamedTuple):
    unit: str
    description: str
    guarantee: str


_WORDS = {
    DepthKind.METRIC: _Words("metres", "metres along the optical axis", "it is metres"),
    DepthKind.SCALE_FREE: _Words(
        "depth, up to one factor",
        "depth along the optical axis, up to one factor per image",
        "it is known up to a factor",
    ),
    DepthKind.RELATIVE: _Words(
        "inverse depth, up to scale and shift",
        "inverse depth, up to a positive factor and a shift per image: larger is nearer",
        "it is inverse depth, known up to a factor and a shift",
    ),
}
