"""Checks: the table of all faults that are looked for, and which of them explain others away."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from leadline.core.depth_kind import DepthKind
from leadline.data_quality import edge_checks, file_checks
from leadline.data_quality.frame_stats import FrameStats
from leadline.data_quality.issues import Issue
from leadline.data_quality.near_duplicates import near_duplicates


@dataclass(frozen=True)
class Check:
    """One check."""

    find: Callable[[Sequence[FrameStats], DepthKind], list[Issue]]
    meaning: str
    after: tuple[str, ...] = ()
    """Frames that have one of these faults are not asked: it explains what would be found."""


CHECKS: Mapping[str, Check] = {
    "unreadable": Check(file_checks.unreadable, "a file is truncated, empty or of no known format"),
    "unpaired": Check(file_checks.unpaired, "a photograph without depth, or depth without a photograph"),
    "turned": Check(edge_checks.turned, "EXIF turns the photograph, and nothing turns its depth"),
    "other_size": Check(file_checks.other_size, "photograph and depth differ in size or aspect", ("turned",)),
    "camera": Check(file_checks.cameras, "the camera cannot be that of the photograph", ("turned",)),
    "eight_bits": Check(file_checks.eight_bits, "depth of 8 bits, or painted in colours"),
    "empty": Check(file_checks.empty, "nothing is measured, or everything is equally far"),
    "impossible": Check(file_checks.impossible, "negative, NaN or infinite where numbers are depth"),
    "inverse": Check(edge_checks.inverse, "inverse depth (disparity) taken for depth", ("empty",)),
    "along_ray": Check(
        edge_checks.along_ray,
        "distances along the ray taken for depth along the optical axis",
        ("camera", "empty", "inverse", "other_size"),
    ),
    "unit": Check(file_checks.unit, "the scale makes metres that no camera sees", ("eight_bits", "empty", "inverse")),
    "saturated": Check(file_checks.saturated, "what was too far is cut to the highest number", ("eight_bits", "empty")),
    "mispaired": Check(
        edge_checks.mispaired, "depth is that of the photograph before or after", ("turned", "other_size")
    ),
    "misaligned": Check(
        edge_checks.misaligned, "depth lies beside its photograph", ("turned", "other_size", "mispaired")
    ),
    "twins": Check(near_duplicates, "a picture lies in two splits"),
}
"""In the order of asking."""


def examine(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """All faults of a dataset, each by the check that it should be found by and no other."""
    found: dict[str, list[Issue]] = {}
    for name, check in CHECKS.items():
        explained = {id(look) for cause in check.after for fault in found[cause] for look in fault.looks}
        found[name] = check.find([look for look in looks if id(look) not in explained], kind)
    return [fault for faults in found.values() for fault in _told_once(faults)]


def _told_once(faults: Sequence[Issue]) -> list[Issue]:
    """One fault for all frames of which the same is said."""
    same: dict[tuple[str, str], list[FrameStats]] = {}
    for fault in faults:
        same.setdefault((fault.check, fault.message), []).extend(fault.looks)
    return [Issue(check, message, tuple(looks)) for (check, message), looks in same.items()]
