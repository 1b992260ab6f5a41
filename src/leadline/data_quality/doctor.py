"""`leadline data doctor`: what is wrong with a dataset, file by file."""

from collections.abc import Sequence

from tqdm import tqdm

from leadline.data_quality.checks import examine
from leadline.data_quality.frame_stats import FrameStats, collect_stats
from leadline.data_quality.index import Collection
from leadline.data_quality.issues import Issue

SHOWN = 5
"""Files of one fault that are printed; `--json` has all."""


def stats_of(collection: Collection) -> list[FrameStats]:
    """Every entry, looked at once."""
    return list(collect_stats(collection, tqdm(collection.entries, "seen", disable=None, leave=False)))


def diagnose(collection: Collection, looks: Sequence[FrameStats]) -> list[Issue]:
    """Find what is wrong with the files of a dataset and with what is stated about them."""
    return [*(Issue("camera", fault, ()) for fault in collection.faults), *examine(looks, collection.kind)]
