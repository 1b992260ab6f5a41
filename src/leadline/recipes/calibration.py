"""Calibration: one scale for a metric model from a few ground truths, kept only if it helps on those left out."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np

from leadline.core.arrays import as_array
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.data.datasets import Dataset, check_samples
from leadline.evaluation.alignment_kinds import check_alignment
from leadline.evaluation.evaluate import check_batch_size, predict_pairs
from leadline.evaluation.map_pairs import Pair
from leadline.evaluation.metrics import MetricAccumulator, Pixels
from leadline.evaluation.protocols import EvalProtocol, check_protocol
from leadline.evaluation.score_table import scene_of
from leadline.inference.tensors import check_predictor
from leadline.models.base import DepthModel

FOLDS = 5
"""Parts that are left out in turn, at most; as many as there are folders or images, if those are fewer."""


@dataclass(frozen=True)
class Calibration:
    """A scale, and what it does to images that it was not taken from."""

    scale: float
    """The median over images of the median ratio of ground truth to prediction."""
    images: int
    folds: int
    before: float
    """RMSE in metres of the model as it is: that of `leadline.evaluate` under the same protocol."""
    after: float
    """The same where each fold is scaled by what the other folds say."""
    folds_better: int

    @property
    def helps(self) -> bool:
        """Whether the held-out error falls on average, and in more than half of the folds."""
        return self.after < self.before and 2 * self.folds_better > self.folds

    def __str__(self) -> str:
        return (
            f"scale {self.scale:.4f} from {self.images} images; held out in {self.folds} folds: RMSE {self.before:.3f} "
            f"m without, {self.after:.3f} m with it, better in {self.folds_better} of {self.folds} folds"
        )


def calibrate(model: DepthModel, dataset: Dataset, protocol: EvalProtocol, *, batch_size: int = 8) -> Calibration:
    """Find one factor for all of a model's metres, and try it on images that it is not taken from.

    Frames of one folder (a scene) are never on both sides, where there are several folders.

    Args:
        model: metric depth, on the device that it computes on.
        dataset: a few images with depth in metres.
        protocol: which pixels count, and how the error is averaged; its alignment must be none.
        batch_size: images that the model sees at once.

    Raises:
        BadInput: fewer than two images that count, or a protocol that aligns.
    """
    check_predictor(model)
    check_batch_size(batch_size)
    check_samples(dataset)
    check_protocol(protocol)
    if protocol.alignment != "none":
        raise BadInput(f"Alignment {protocol.alignment!r} takes the scale out that is looked for: use none.")
    check_alignment(protocol.alignment, model.kind)
    if dataset.kind is not DepthKind.METRIC:
        raise BadInput(
            f"The ground truth of {dataset.name} is {dataset.kind.value}: metres are calibrated by a dataset that "
            "measures metres."
        )
    pairs = list(_counted(predict_pairs(model, dataset, protocol, batch_size), protocol))
    if len(pairs) < 2:
        raise BadInput(f"{len(pairs)} images of {dataset.name} count: a scale needs 2, one of which is left out.")
    folds = _folds([scene_of(each.name) for each in pairs])
    before, after = ([MetricAccumulator.merged([])] * len(pairs) for _ in range(2))
    better = 0
    for fold in folds:
        held = set(fold)
        scale = _scale(each for place, each in enumerate(pairs) if place not in held)
        for place in fold:
            before[place] = pairs[place].scored(1.0, protocol)
            after[place] = pairs[place].scored(scale, protocol)
        with_it, without = (_rmse((scores[place] for place in fold), protocol) for scores in (after, before))
        better += with_it < without
    return Calibration(_scale(pairs), len(pairs), len(folds), _rmse(before, protocol), _rmse(after, protocol), better)


def _rmse(scores: Iterable[MetricAccumulator], protocol: EvalProtocol) -> float:
    return MetricAccumulator.merged(scores).averaged(protocol.averaging)["rmse"]


@dataclass(frozen=True)
class _Counted:
    """Hold the pixels of one image that count."""

    name: str
    predicted: Pixels
    target: Pixels

    @cached_property
    def log_ratio(self) -> float | None:
        """The median of log target − log prediction where depth is predicted; None: it is nowhere."""
        positive = np.isfinite(self.predicted) & (self.predicted > 0)
        if not positive.any():
            return None
        return float(np.median(np.log(self.target[positive]) - np.log(self.predicted[positive])))

    def scored(self, scale: float, protocol: EvalProtocol) -> MetricAccumulator:
        """Score the prediction times `scale`, held to the protocol's range."""
        metres, _ = protocol.compare_pixels(self.predicted * np.float32(scale), self.target, DepthKind.METRIC)
        return MetricAccumulator.of_pixels(metres, self.target)


def _counted(pairs: Iterable[Pair], protocol: EvalProtocol) -> Iterator[_Counted]:
    for pair in pairs:
        counted = protocol.counts(pair.target, pair.valid)
        if counted.any():
            yield _Counted(pair.name, *(as_array(each[counted]) for each in (pair.predicted, pair.target)))


def _scale(pairs: Iterable[_Counted]) -> float:
    """Return the median over images of the median ratio of ground truth to prediction.

    Raises:
        BadInput: depth is predicted in no image.
    """
    medians = [each.log_ratio for each in pairs if each.log_ratio is not None]
    if not medians:
        raise BadInput("The model predicts no depth above zero: there is nothing to scale.")
    return math.exp(median(medians))


def _folds(scenes: Sequence[str]) -> list[list[int]]:
    """Places of images, in folds that keep scenes whole; of one scene, every n-th image."""
    by_scene: dict[str, list[int]] = defaultdict(list)
    for place, scene in enumerate(scenes):
        by_scene[scene].append(place)
    parts = list(by_scene.values()) if len(by_scene) > 1 else [[place] for place in range(len(scenes))]
    count = min(FOLDS, len(parts))
    return [[place for part in parts[number::count] for place in part] for number in range(count)]
