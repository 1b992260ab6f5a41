"""`leadline data doctor`: what is wrong with a dataset, file by file."""

from tqdm import tqdm

from leadline.data_quality.frame_stats import Look, look_at
from leadline.data_quality.index import Collection

SHOWN = 5
"""Files of one fault that are printed; `--json` has all."""


def seen(collection: Collection) -> list[Look]:
    """Every entry, looked at once."""
    return list(look_at(collection, tqdm(collection.entries, "seen", disable=None, leave=False)))
