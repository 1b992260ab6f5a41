"""`leadline data doctor`: what is wrong with a dataset, file by file."""

from collections.abc import Sequence

from leadline.core.depth_kind import DepthKind
from leadline.core.progress import track
from leadline.data_quality.checks import examine
from leadline.data_quality.frame_stats import FrameStats, collect_stats
from leadline.data_quality.index import Collection
from leadline.data_quality.issues import Issue, group_by_scene
from leadline.data_quality.units import unit_of

SHOWN = 5
"""Files of one issue that are printed; `--json` has all."""


def stats_of(collection: Collection) -> list[FrameStats]:
    """Read every entry of a dataset once and return its statistics, with a progress bar."""
    return list(collect_stats(collection, track(collection.entries, len(collection.entries), "frames")))


def diagnose(collection: Collection, frames: Sequence[FrameStats]) -> list[Issue]:
    """Find what is wrong with the files of a dataset and with what is stated about them."""
    return [*(Issue("camera", fault, ()) for fault in collection.faults), *examine(frames, collection.kind)]


def missing_unit(collection: Collection, frames: Sequence[FrameStats]) -> str:
    """Say which scale to state where files leave their unit open, which readers refuse; empty where none do."""
    unscaled = [
        frame
        for frame in frames
        if frame.depth_stats and frame.depth_stats.is_integer and frame.depth_stats.scale is None
    ]
    if not unscaled or collection.kind is not DepthKind.METRIC:
        return ""
    units = [unit for group in group_by_scene(unscaled).values() if (unit := unit_of(group))]
    guesses = dict.fromkeys(f"depth_scale={unit.scale:g} fits: {unit.reason}" for unit in units)
    fitting = "; ".join(list(guesses)[:SHOWN]) or "no scale in use fits"
    return f"The files do not state their unit, and readers ask for it: {fitting}."
