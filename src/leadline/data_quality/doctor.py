"""`leadline data doctor`: what is wrong with a dataset, file by file."""

from tqdm import tqdm

from leadline.data_quality.frame_stats import FrameStats, collect_stats
from leadline.data_quality.index import Collection

SHOWN = 5
"""Files of one fault that are printed; `--json` has all."""


def stats_of(collection: Collection) -> list[FrameStats]:
    """Every entry, looked at once."""
    return list(collect_stats(collection, tqdm(collection.entries, "seen", disable=None, leave=False)))
