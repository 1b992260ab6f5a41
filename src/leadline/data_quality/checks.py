"""Checks: the table of all checks, and which issue explains which others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from leadline.core.depth_kind import DepthKind
from leadline.data_quality import edge_checks, file_checks
from leadline.data_quality.frame_stats import FrameStats
from leadline.data_quality.issues import Issue
from leadline.data_quality.near_duplicates import near_duplicates


@dataclass(frozen=True)
class Check:
    """One check: the function that finds its issues, and what they mean."""

    find: Callable[[Sequence[FrameStats], DepthKind], list[Issue]]
    meaning: str
    explained_by: tuple[str, ...] = ()
    """Frames with an issue of one of these checks are left out, because it explains what would be found."""


CHECKS: Mapping[str, Check] = {
    "unreadable": Check(file_checks.unreadable, "a file is truncated, empty or of no known format"),
    "unpaired": Check(file_checks.unpaired, "a photograph without depth, or depth without a photograph"),
    "turned": Check(edge_checks.turned, "EXIF turns the photograph, and nothing turns its depth"),
    "other_size": Check(file_checks.other_size, "photograph and depth differ in size or aspect", ("turned",)),
    "camera": Check(file_checks.cameras, "the camera cannot be that of the photograph", ("turned",)),
    "eight_bits": Check(file_checks.eight_bits, "depth of 8 bits, or painted in colours"),
    "empty": Check(file_checks.empty, "nothing is measured, or everything is equally far"),
    "impossible": Check(file_checks.impossible, "negative, NaN or infinite where numbers are depth"),
    "background": Check(
        file_checks.background, "numbers that no camera measures, as renderers write for the sky", ("eight_bits",)
    ),
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
"""Name → check, in the order in which they run."""


def examine(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Run all checks and return their issues; a fault is reported by one check, though others would find it as well."""
    found: dict[str, list[Issue]] = {}
    for name, check in CHECKS.items():
        explained = {id(frame) for cause in check.explained_by for issue in found[cause] for frame in issue.frames}
        found[name] = check.find([frame for frame in frames if id(frame) not in explained], kind)
    return [issue for issues in found.values() for issue in _merge_equal(issues)]


def _merge_equal(issues: Sequence[Issue]) -> list[Issue]:
    """Merge the issues of one check that have the same message."""
    same: dict[tuple[str, str], list[FrameStats]] = {}
    for issue in issues:
        same.setdefault((issue.check, issue.message), []).extend(issue.frames)
    return [Issue(check, message, tuple(frames)) for (check, message), frames in same.items()]
