"""Calibration: one scale for a metric model from a few ground truths, kept only if it helps on those left out."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch

from leadline.core.errors import BadInput
from leadline.data.datasets import Dataset, check_dataset
from leadline.evaluation.evaluate import check_batch_size, predict_views
from leadline.evaluation.protocols import EvalProtocol, check_protocol
from leadline.evaluation.score_table import scene_of
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
    """RMSE in metres, mean over images, of the model as it is."""
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
        protocol: which pixels count; its alignment must be none.
        batch_size: images that the model sees at once.

    Raises:
        BadInput: fewer than two images that count, or a protocol that aligns.
    """
    check_batch_size(batch_size)
    check_dataset(dataset)
    check_protocol(protocol)
    if protocol.alignment != "none":
        raise BadInput(f"Alignment {protocol.alignment!r} takes the scale out that is looked for: use none.")
    pairs: list[tuple[str, torch.Tensor, torch.Tensor]] = []
    for index in range(len(dataset)):
        sample = dataset[index]
        depth = predict_views(model, sample, protocol)
        counted = protocol.counts(sample.depth, sample.valid) & (depth > 0)
        if counted.any():
            pairs.append((scene_of(str(sample.name)), depth[counted], sample.depth[counted]))
    if len(pairs) < 2:
        raise BadInput(f"{len(pairs)} images of {dataset.name} count: a scale needs 2, one of which is left out.")
    logs = [(target.log() - depth.log()).median().item() for _, depth, target in pairs]
    folds = _folds([scene for scene, _, _ in pairs])
    before, after, better = [0.0] * len(pairs), [0.0] * len(pairs), 0
    for fold in folds:
        held = set(fold)
        scale = math.exp(median(logs[place] for place in range(len(pairs)) if place not in held))
        for place in fold:
            _, depth, target = pairs[place]
            before[place], after[place] = (
                (factor * depth - target).square().mean().sqrt().item() for factor in (1.0, scale)
            )
        better += fmean(after[place] for place in fold) < fmean(before[place] for place in fold)
    return Calibration(math.exp(median(logs)), len(pairs), len(folds), fmean(before), fmean(after), better)


def _folds(scenes: Sequence[str]) -> list[list[int]]:
    """Places of images, in folds that keep scenes whole; of one scene, every n-th image."""
    by_scene: dict[str, list[int]] = defaultdict(list)
    for place, scene in enumerate(scenes):
        by_scene[scene].append(place)
    parts = list(by_scene.values()) if len(by_scene) > 1 else [[place] for place in range(len(scenes))]
    count = min(FOLDS, len(parts))
    return [[place for part in parts[number::count] for place in part] for number in range(count)]
