"""Checks of files: whether they can be read, belong together, and hold numbers that can be metres."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from statistics import median

from leadline.core.camera import explain_unlikely_camera
from leadline.core.depth_kind import DepthKind
from leadline.data_quality.frame_stats import DepthStats, FrameStats
from leadline.data_quality.issues import FEW, Issue, describe_count, group_by_scene, single_issue
from leadline.data_quality.units import IN_SUNRGBD, ROTATE_BACK, ROTATED, Unit, is_like_kitti, is_like_sunrgbd, unit_of
from leadline.io.depth_units import (
    COMMON_DEPTH_SCALES,
    explain_implausible_median,
    format_metres,
    is_plausible,
    likely_scales,
)


def unreadable(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find files that cannot be decoded: truncated, empty or of no known format."""
    return [
        single_issue("unreadable", frame, frame.refusals["unreadable"])
        for frame in frames
        if "unreadable" in frame.refusals
    ]


def unpaired(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find photographs without depth and depth maps without a photograph."""
    missing = {True: "photograph", False: "depth map"}
    fix = "add it, or take this out"
    return [
        single_issue(
            "unpaired", frame, frame.entry.pair_fault or f"has no {missing[frame.entry.image is None]}: {fix}."
        )
        for frame in frames
        if not frame.entry.is_frame
    ]


def cameras(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find intrinsics that cannot be those of the photograph: of another size or unit, or malformed."""
    found = []
    for frame in frames:
        doubt = frame.refusals.get("camera", "")
        if not doubt and frame.camera and frame.image_size:
            doubt = explain_unlikely_camera(frame.camera, frame.image_size)
        if doubt:
            found.append(single_issue("camera", frame, f"{doubt.rstrip('.')}."))
    return found


def other_size(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find photographs and depth maps that differ in size or aspect."""
    found = defaultdict(list)
    for frame in frames:
        if frame.image_size and frame.depth_size and frame.image_size != frame.depth_size:
            found[frame.place, frame.image_size, frame.depth_size].append(frame)
    return [
        Issue(
            "other_size",
            f"{describe_count(group, 'photograph')}: {_pixels(image)}, and the depth {_pixels(depth)}"
            + (" with another aspect: register it first." if _is_other_aspect(image, depth) else ": resize it first."),
            tuple(group),
        )
        for (_, image, depth), group in found.items()
    ]


ASPECT = 0.01
"""Relative difference of width ∕ height up to which two sizes may show the same picture."""


def eight_bits(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find depth maps in colour, and metric ones of 8 bits or with the few levels of 8 bits scaled up."""
    found = []
    for frame in frames:
        if "picture" in frame.refusals:
            found.append(single_issue("eight_bits", frame, frame.refusals["picture"]))
        elif frame.depth_stats and kind is DepthKind.METRIC and _has_few_levels(frame.depth_stats):
            stats = frame.depth_stats
            content = "8 bits" if stats.bits == 8 else f"{stats.levels} depths, all multiples of {stats.divisor}"
            found.append(
                single_issue("eight_bits", frame, f"holds {content}: give the 16-bit or float map it was made of.")
            )
    return found


STEP = 16
"""16-bit files with at most 256 levels, all multiples of this or more, were 8 bits. Clean files have 1, TUM's 5."""


def empty(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find depth maps in which nothing is measured, or everything is equally far."""
    contents = {0: "no measured depth", 1: "the same depth everywhere"}
    return [
        single_issue("empty", frame, f"holds {contents[frame.depth_stats.levels]}: leave it out.")
        for frame in frames
        if frame.depth_stats and frame.depth_stats.levels in contents
    ]


def impossible(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find float depth maps with negative numbers, or with NaN or inf where their scene does not mark holes by them."""
    found = []
    for scene in group_by_scene(
        [frame for frame in frames if frame.depth_stats and not frame.depth_stats.is_integer]
    ).values():
        for mark in ("NaN", "infinite", "negative"):
            marked = [frame for frame in scene if frame.depth_stats and frame.depth_stats.fractions[mark] > 0]
            if mark == "negative":
                wrong = [] if kind is DepthKind.RELATIVE else marked
            else:
                is_convention = len(marked) >= CONVENTION * len(scene)
                wrong = [
                    frame
                    for frame in marked
                    if frame.depth_stats and not frame.depth_stats.is_ours and not is_convention
                ]
            found += [
                single_issue(
                    "impossible",
                    frame,
                    f"holds {mark} numbers ({frame.depth_stats.fractions[mark]:.2%}): write 0 instead.",
                )
                for frame in wrong
                if frame.depth_stats
            ]
    return found


CONVENTION = 0.5
"""NaN or inf in this fraction of a scene's frames is how its author marks what is not measured."""


def background(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find numbers that no camera measures, as renderers write for their background."""
    return [
        Issue(
            "background",
            f"{describe_count(group, 'depth map')}: up to {_largest_fraction(group, 'background')} of the pixels hold "
            f"numbers up to {number:g}, which no camera measures: state invalid={number:g}, or max_depth=METRES.",
            tuple(group),
        )
        for number, group in _by_scene_and_number(frames, lambda stats: stats.background)
    ]


def saturated(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find depth maps in which everything farther was set to the highest number."""
    return [
        Issue(
            "saturated",
            f"{describe_count(group, 'depth map')}: "
            f"{max(frame.depth_stats.top for frame in group if frame.depth_stats):.0%} of what is measured at the "
            f"highest number, {high:g}: what lay beyond was cut to it, so write 0 there, or state "
            f"invalid={high:g}.",
            tuple(group),
        )
        for high, group in _by_scene_and_number(frames, lambda stats: stats.high if stats.is_cut else None)
    ]


def _by_scene_and_number(
    frames: Sequence[FrameStats], number_of: Callable[[DepthStats], float | None]
) -> list[tuple[float, list[FrameStats]]]:
    """Group the frames of each scene by a number of their depth maps; those without one (None, 0) are left out."""
    found = defaultdict(list)
    for frame in frames:
        if frame.depth_stats and (number := number_of(frame.depth_stats)):
            found[frame.place, number].append(frame)
    return [(number, group) for (_, number), group in found.items()]


def unit(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find scenes whose scale, stated or else the usual one of the dataset, makes metres that no camera sees."""
    if kind is not DepthKind.METRIC:
        return []
    found = []
    groups = list(group_by_scene([frame for frame in frames if frame.depth_stats]).values())
    usual = _usual_scale(groups)
    for scene in groups:
        if wrong := _wrong_unit(scene, [frame.depth_stats for frame in scene if frame.depth_stats], usual):
            found.append(Issue("unit", f"{describe_count(scene, 'depth map')}: {wrong}.", tuple(scene)))
        else:  # files that a reader refuses, though most of their scene may be metres
            found += [
                single_issue("unit", frame, f"{reason}.") for frame in scene if (reason := _refused_as_metres(frame))
            ]
    return found


def _refused_as_metres(frame: FrameStats) -> str:
    stats = frame.depth_stats
    is_open = stats and stats.median and stats.scale is None and not stats.is_integer
    return explain_implausible_median(stats.median) if stats and is_open else ""


def _largest_fraction(frames: Sequence[FrameStats], mark: str) -> str:
    """Return the largest fraction of pixels with this mark, in percent."""
    return f"{max(frame.depth_stats.fractions.get(mark, 0.0) for frame in frames if frame.depth_stats):.2%}"


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[1]} × {size[0]}"


def _is_other_aspect(image: tuple[int, int], depth: tuple[int, int]) -> bool:
    return abs(image[1] * depth[0] / (image[0] * depth[1]) - 1) > ASPECT


def _has_few_levels(stats: DepthStats) -> bool:
    return stats.is_integer and (stats.bits == 8 or (1 < stats.levels <= 256 and stats.divisor >= STEP))


def _usual_scale(groups: Sequence[Sequence[FrameStats]]) -> float | None:
    """Return the scale guessed for most frames: where none is stated, one scale has to fit all scenes."""
    counts = Counter[float]()
    for scene in groups:
        if guessed := unit_of(scene):
            counts[guessed.scale] += len(scene)
    return counts.most_common(1)[0][0] if counts else None


def _wrong_unit(scene: Sequence[FrameStats], all_stats: Sequence[DepthStats], usual: float | None) -> str:
    """Return what is wrong with a scene's scale, the stated one or else the usual one; empty if nothing."""
    middle, is_integer = median(stats.median for stats in all_stats), all(stats.is_integer for stats in all_stats)
    stated = unit_of(scene)
    if stated is None:
        return f"numbers around {middle:g} are metres by no scale in use, so find out their unit"
    if all(stats.scale is None for stats in all_stats):
        # Floats without a unit are read as metres; of integers one scale has to fit all scenes.
        if not is_integer:
            return explain_implausible_median(middle)
        stated = Unit(usual or stated.scale, "as most frames have it")
    if is_like_sunrgbd(all_stats) and any(stats.scale != 1000 * ROTATED for stats in all_stats):
        return f"{IN_SUNRGBD}, so {ROTATE_BACK}"
    if not is_plausible(middle / stated.scale):
        likely = likely_scales(middle, is_integer=is_integer)
        fixes = [
            f"depth_scale={scale} ({COMMON_DEPTH_SCALES[scale]}) would make it {format_metres(middle / scale)}"
            for scale in likely[:2]
        ]
        return f"depth_scale={stated.scale:g} makes the median {format_metres(middle / stated.scale)}; " + (
            ", ".join(fixes) or "no scale in use makes metres of it"
        )
    if stated.scale == 1000 and is_like_kitti(scene):
        return "they are wide and sparse as KITTI's, whose unit is depth_scale=256, and not 1000"
    is_tum = all(stats.divisor % 5 == 0 and stats.divisor % 10 != 0 for stats in all_stats)
    if stated.scale == 1000 and is_integer and is_tum and len(scene) >= FEW:
        return "all numbers are multiples of 5: they are in TUM's unit, depth_scale=5000, and not 1000"
    return ""
