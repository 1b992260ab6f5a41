"""Names of the alignments, and the kinds of depth that each makes comparable to metres."""

from collections.abc import Mapping

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known

ALIGNMENT_KINDS: Mapping[str, frozenset[DepthKind]] = {
    "none": frozenset({DepthKind.METRIC}),
    "median": frozenset({DepthKind.METRIC, DepthKind.SCALE_FREE}),
    "scale": frozenset({DepthKind.METRIC, DepthKind.SCALE_FREE}),
    "scale_shift": frozenset({DepthKind.METRIC, DepthKind.SCALE_FREE}),
    "inverse_scale_shift": frozenset(DepthKind),
}
"""Name → kinds, from the strictest comparison to the most forgiving one."""
WITH_SHIFT = ("scale_shift", "inverse_scale_shift")
"""Alignments that fit a shift, to which a zero is a number as others are."""


def check_alignment(name: str, kind: DepthKind) -> None:
    """Refuse an alignment that is unknown, or that cannot make metres of depth of this kind."""
    check_known("alignment", name, ALIGNMENT_KINDS)
    if kind not in ALIGNMENT_KINDS[name]:
        choices = [each for each, kinds in ALIGNMENT_KINDS.items() if kind in kinds]
        raise BadInput(
            f"Depth of kind {kind.value!r} cannot be compared with metres under alignment {name!r}: "
            f"{kind.guarantee}. Choose --alignment {' or '.join(choices)}."
        )
