"""Checks of files: whether they can be read, belong together, and hold numbers that can be metres."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median

from leadline.core.camera import explain_unlikely_camera
from leadline.core.depth_kind import DepthKind
from leadline.data_quality.frame_stats import DepthStats, FrameStats
from leadline.data_quality.issues import FEW, Issue, count_words, group_by_scene, single_issue
from leadline.data_quality.units import IN_SUNRGBD, ROTATE_BACK, ROTATED, Unit, is_like_kitti, is_like_sunrgbd, unit_of
from leadline.io.depth_units import (
    COMMON_DEPTH_SCALES,
    explain_implausible_median,
    format_metres,
    is_plausible,
    likely_scales,
)


def unreadable(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    return [
        single_issue("unreadable", look, look.refusals["unreadable"]) for look in looks if "unreadable" in look.refusals
    ]


def unpaired(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    missing = {True: "photograph", False: "depth map"}
    cure = "add it, or take this out"
    return [
        single_issue("unpaired", look, look.entry.pair_fault or f"has no {missing[look.entry.image is None]}: {cure}.")
        for look in looks
        if look.entry.pair_fault or not (look.entry.make or (look.entry.image and look.entry.depth))
    ]


def cameras(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    found = []
    for look in looks:
        said = look.refusals.get("camera", "")
        if not said and look.camera and look.image_size:
            said = explain_unlikely_camera(look.camera, look.image_size)
        if said:
            found.append(single_issue("camera", look, f"{said.rstrip('.')}."))
    return found


def other_size(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    found = defaultdict(list)
    for look in looks:
        if look.image_size and look.depth_size and look.image_size != look.depth_size:
            found[look.place, look.image_size, look.depth_size].append(look)
    return [
        Issue(
            "other_size",
            f"{count_words(group, 'photograph')}: {_pixels(image)}, and the depth {_pixels(depth)}"
            + (" with another aspect: register it first." if _is_other_aspect(image, depth) else ": resize it first."),
            tuple(group),
        )
        for (_, image, depth), group in found.items()
    ]


ASPECT = 0.01
"""Relative difference of width ∕ height up to which two sizes may show the same picture."""


def eight_bits(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    found = []
    for look in looks:
        if "picture" in look.refusals:
            found.append(single_issue("eight_bits", look, look.refusals["picture"]))
        elif look.tally and kind is DepthKind.METRIC and _has_few_levels(look.tally):
            tally = look.tally
            said = "8 bits" if tally.bits == 8 else f"{tally.levels} depths, all multiples of {tally.divisor}"
            found.append(
                single_issue("eight_bits", look, f"holds {said}: give the 16-bit or float map it was made of.")
            )
    return found


STEP = 16
"""16 bits with at most 256 levels, all multiples of this, were 8 bits once. Clean files have 1, TUM's 5."""


def empty(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    said = {0: "no measured depth", 1: "the same depth everywhere"}
    return [
        single_issue("empty", look, f"holds {said[look.tally.levels]}: leave it out.")
        for look in looks
        if look.tally and look.tally.levels in said
    ]


def impossible(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    found = []
    for scene in group_by_scene([look for look in looks if look.tally and not look.tally.is_integer]).values():
        for mark in ("NaN", "infinite", "negative"):
            marked = [look for look in scene if look.tally and look.tally.shares[mark] > 0]
            if mark == "negative":
                wrong = [] if kind is DepthKind.RELATIVE else marked
            else:
                is_convention = len(marked) >= CONVENTION * len(scene)
                wrong = [look for look in marked if look.tally and not look.tally.is_ours and not is_convention]
            found += [
                single_issue(
                    "impossible", look, f"holds {mark} numbers ({look.tally.shares[mark]:.2%}): write 0 instead."
                )
                for look in wrong
                if look.tally
            ]
    return found


CONVENTION = 0.5
"""NaN or inf in this share of a scene's frames is how its maker marks what is not measured."""


def background(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    found = defaultdict(list)
    for look in looks:
        if look.tally and look.tally.background:
            found[look.place, look.tally.background].append(look)
    return [
        Issue(
            "background",
            f"{count_words(group, 'depth map')}: up to {_share(group, 'background')} of the pixels hold numbers up to "
            f"{number:g}, which no camera measures: state invalid={number:g}, or max_depth=METRES.",
            tuple(group),
        )
        for (_, number), group in found.items()
    ]


def saturated(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    found = defaultdict(list)
    for look in looks:
        if look.tally and look.tally.is_cut:
            found[look.place, look.tally.high].append(look)
    return [
        Issue(
            "saturated",
            f"{count_words(group, 'depth map')}: {max(look.tally.top for look in group if look.tally):.0%} of what is "
            f"measured at the highest number, {high:g}: what lay beyond was cut to it, so write 0 there, or state "
            f"invalid={high:g}.",
            tuple(group),
        )
        for (_, high), group in found.items()
    ]


def unit(looks: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    if kind is not DepthKind.METRIC:
        return []
    found = []
    groups = list(group_by_scene([look for look in looks if look.tally]).values())
    usual = _usual_scale(groups)
    for scene in groups:
        if wrong := _wrong_unit(scene, [look.tally for look in scene if look.tally], usual):
            found.append(Issue("unit", f"{count_words(scene, 'depth map')}: {wrong}.", tuple(scene)))
        else:  # files that a reader refuses, though most of their scene may be metres
            found += [single_issue("unit", look, f"{said}.") for look in scene if (said := _refused_as_metres(look))]
    return found


def _refused_as_metres(look: FrameStats) -> str:
    tally = look.tally
    is_open = tally and tally.median and tally.scale is None and not tally.is_integer
    return explain_implausible_median(tally.median) if tally and is_open else ""


def _share(looks: Sequence[FrameStats], mark: str) -> str:
    """The largest share of the pixels that are so marked."""
    return f"{max(look.tally.shares.get(mark, 0.0) for look in looks if look.tally):.2%}"


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[1]} × {size[0]}"


def _is_other_aspect(image: tuple[int, int], depth: tuple[int, int]) -> bool:
    return abs(image[1] * depth[0] / (image[0] * depth[1]) - 1) > ASPECT


def _has_few_levels(tally: DepthStats) -> bool:
    return tally.is_integer and (tally.bits == 8 or (1 < tally.levels <= 256 and tally.divisor >= STEP))


def _usual_scale(groups: Sequence[Sequence[FrameStats]]) -> float | None:
    """What most frames have by guess: where nothing is stated, one scale has to do for all scenes."""
    counts = Counter[float]()
    for scene in groups:
        if guessed := unit_of(scene):
            counts[guessed.scale] += len(scene)
    return counts.most_common(1)[0][0] if counts else None


def _wrong_unit(scene: Sequence[FrameStats], tallies: Sequence[DepthStats], usual: float | None) -> str:
    """What is wrong with a scene's scale, the stated one or else the usual one; empty if nothing."""
    middle, is_integer = median(tally.median for tally in tallies), all(tally.is_integer for tally in tallies)
    stated = unit_of(scene)
    if stated is None:
        return f"numbers around {middle:g} are metres by no scale in use, so find out their unit"
    if all(tally.scale is None for tally in tallies):
        # Floats without a unit are read as metres; of integers one scale has to do for all scenes.
        if not is_integer:
            return explain_implausible_median(middle)
        stated = Unit(usual or stated.scale, "as most frames have it")
    if is_like_sunrgbd(tallies) and any(tally.scale != 1000 * ROTATED for tally in tallies):
        return f"{IN_SUNRGBD}, so {ROTATE_BACK}"
    if not is_plausible(middle / stated.scale):
        likely = likely_scales(middle, is_integer=is_integer)
        cures = [
            f"depth_scale={scale} ({COMMON_DEPTH_SCALES[scale]}) would make it {format_metres(middle / scale)}"
            for scale in likely[:2]
        ]
        return f"depth_scale={stated.scale:g} makes the median {format_metres(middle / stated.scale)}; " + (
            ", ".join(cures) or "no scale in use makes metres of it"
        )
    if stated.scale == 1000 and is_like_kitti(scene):
        return "they are wide and sparse as KITTI's, whose unit is depth_scale=256, and not 1000"
    is_tum = all(tally.divisor % 5 == 0 and tally.divisor % 10 != 0 for tally in tallies)
    if stated.scale == 1000 and is_integer and is_tum and len(scene) >= FEW:
        return "all numbers are multiples of 5: they are in TUM's unit, depth_scale=5000, and not 1000"
    return ""
