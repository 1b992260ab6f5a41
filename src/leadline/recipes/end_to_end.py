"""End to end: encoder, transformer and decoder learn depth together, from the first step to the last."""

from pathlib import Path

from leadline.models.base import DepthModel
from leadline.recipes import TrainingRun


def end_to_end(course: TrainingRun, out: Path) -> DepthModel:
    """Train the whole network at once; serves any model."""
    return course.fit(course.build(), out)
