"""Flat baselines: what one constant depth scores that knows the training depths, the scene, or the image itself."""

from collections.abc import Callable

from leadline.core.depth_kind import DepthKind
from leadline.data.datasets import Dataset
from leadline.evaluation.map_pairs import Pair
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.score_table import ConstantBaseline, scene_of, score_table
from leadline.evaluation.scoring import score_pair
from leadline.evaluation.tables import Row


def flat_rows(
    dataset: Dataset,
    protocol: EvalProtocol,
    known: ConstantBaseline,
    *,
    scene: Callable[[str], str] = scene_of,
) -> list[Row]:
    """Score predictors of one depth an image on a dataset: the rows of `leadline.evaluate` without a model's.

    The first two know training depths. The others know the truth that they are scored on: each image's own median is
    what a network with a perfect scale and no shape would reach, each scene's own median one that knows the place.

    Args:
        dataset: samples with depth in metres.
        protocol: which pixels count, and how images are averaged.
        known: mean and median of the training depths.
        scene: a sample's name → its scene. Where every image is a scene of its own, or all are one, there is no such
            row.

    Returns:
        Rows of: the training depths' mean, their median, each scene's median, each image's median.
    """
    samples = (dataset[index] for index in range(len(dataset)))
    truths = (Pair(str(each.name), each.depth, each.depth, each.valid) for each in samples)
    constants = (known.mean, known.median)
    scored = (score_pair(each, DepthKind.METRIC, protocol).with_constants(constants, protocol) for each in truths)
    table = score_table(scored, "the truth", DepthKind.METRIC, protocol, known, title=dataset.name, scene=scene)
    return list(table.rows[1:])
