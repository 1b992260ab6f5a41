"""End to end: encoder, transformer and decoder learn depth together, from the first step to the last."""

from leadline.core.paths import StrPath
from leadline.models.base import DepthModel
from leadline.recipes import TrainingRun


def end_to_end(training_run: TrainingRun, out: StrPath) -> DepthModel:
    """Train the whole network at once; serves any model."""
    return training_run.fit(training_run.build(), out)
