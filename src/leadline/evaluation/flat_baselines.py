"""Flat baselines: what one constant depth scores that knows the training depths, the scene, or the image itself."""

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.sample import Sample
from leadline.data.datasets import Dataset
from leadline.evaluation.metrics import MetricAccumulator
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.score_table import OWN_MEDIAN, SCENE_MEDIAN, ConstantBaseline, row_of, scene_of
from leadline.evaluation.tables import Row

_PIXELS = 10_000
"""Measured depths of an image that its median is taken from, at most."""


def flat_rows(
    dataset: Dataset,
    protocol: EvalProtocol,
    known: ConstantBaseline,
    *,
    scene: Callable[[str], str] | None = None,
) -> list[Row]:
    """Score predictors of one depth an image on a dataset.

    The first two know training depths. The others know the truth that they are scored on: each image's own median is
    what a network with a perfect scale and no shape would reach, each scene's own median one that knows the place.

    Args:
        dataset: samples with depth in metres.
        protocol: which pixels count, and how images are averaged.
        known: mean and median of the training depths.
        scene: a sample's name → its scene; None: the part of the name before its last `/`. Where every image is a scene
            of its own, or all are one, there is no such row.

    Returns:
        Rows of: the training depths' mean, their median, each scene's median, each image's median.
    """
    scene = scene or scene_of
    medians: list[float] = []
    by_scene: dict[str, list[torch.Tensor]] = defaultdict(list)
    names: list[str] = []
    scenes: list[str] = []
    for sample in _samples(dataset):
        depths = _counted(sample, protocol)
        names.append(str(sample.name))
        scenes.append(scene(names[-1]))
        by_scene[scenes[-1]].append(depths)
        medians.append(_median([depths]))
    constants = {
        f"mean depth of {known.source} ({known.mean:.2f} m)": [known.mean] * len(names),
        f"median depth of {known.source} ({known.median:.2f} m)": [known.median] * len(names),
    }
    if 1 < len(by_scene) < len(names):
        of_scene = {name: _median(depths) for name, depths in by_scene.items()}
        constants[SCENE_MEDIAN] = [of_scene[name] for name in scenes]
    constants[OWN_MEDIAN] = medians
    parts: dict[str, list[MetricAccumulator]] = {name: [] for name in constants}
    for number, sample in enumerate(_samples(dataset)):
        for name, depths in constants.items():
            flat = torch.full_like(sample.depth, depths[number])
            compared = protocol.compare(flat, sample.depth, sample.valid, DepthKind.METRIC)
            parts[name].append(MetricAccumulator.of(compared.metres, sample.depth, compared.counted))
    return [
        row_of(name, MetricAccumulator.merged(some), names, DepthKind.METRIC, protocol, is_baseline=True)
        for name, some in parts.items()
    ]


def _samples(dataset: Dataset) -> Iterator[Sample]:
    for index in range(len(dataset)):
        yield dataset[index]


def _counted(sample: Sample, protocol: EvalProtocol) -> torch.Tensor:
    depths = sample.depth[protocol.counts(sample.depth, sample.valid)]
    return depths[:: max(1, len(depths) // _PIXELS)].double()


def _median(depths: list[torch.Tensor]) -> float:
    """The median of all; 1 m where nothing was measured, which no metric counts."""
    every = torch.cat(depths)
    return float(np.median(every.numpy())) if len(every) else 1.0
