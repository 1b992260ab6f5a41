"""Evaluate a model, or saved predictions, on a dataset under a protocol."""

from collections.abc import Iterator

import torch

from leadline.core.arrays import as_array
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.progress import track
from leadline.core.ranges import Within, check_value
from leadline.core.sample import Depth, Sample, collate
from leadline.data.datasets import Dataset, check_samples, subsample_evenly
from leadline.data.loader import group_by_size
from leadline.data.transforms import flip
from leadline.evaluation.alignment_kinds import check_alignment
from leadline.evaluation.map_pairs import Pair
from leadline.evaluation.metrics import MetricAccumulator, Pixels
from leadline.evaluation.protocols import EvalProtocol, check_protocol
from leadline.evaluation.score_table import SPREAD, ConstantBaseline, check_counted, constants_of, score_table
from leadline.evaluation.scoring import sample_pixels, score_pair
from leadline.evaluation.tables import Table
from leadline.inference.backends import ExportedModel
from leadline.inference.tensors import check_predictor, predict_tensor
from leadline.models.base import DepthModel


def evaluate(
    model: DepthModel | ExportedModel,
    dataset: Dataset,
    protocol: EvalProtocol,
    *,
    training: Dataset | ConstantBaseline | None = None,
    name: str = "",
    batch_size: int = 8,
    progress: bool = False,
) -> Table:
    """Evaluate a model on a dataset, beside predictors of one constant depth.

    Args:
        model: the model, on the device that it computes on.
        dataset: images with measured depth in metres; where the protocol aligns, scale-free depth does as well, and
            each truth is divided by its median.
        protocol: which pixels count, how predictions are aligned, and how they are averaged.
        training: where the constants of the mean-depth and median-depth rows come from; unset: the evaluated depths
            themselves, as those rows then say.
        name: what the table calls the model; empty: its own name.
        batch_size: images that the model sees at once.
        progress: show a progress bar on standard error.

    Returns:
        A table with a row for the model and one for each constant, with the scores of each image.

    Raises:
        BadInput: no measured pixel counts, or the protocol cannot compare this kind of depth with metres.
    """
    check_predictor(model)
    check_batch_size(batch_size)
    check_samples(dataset)
    check_protocol(protocol)
    check_alignment(protocol.alignment, model.kind)
    dataset = _comparable(dataset, protocol)
    if training is None:
        training = constants_of(_samples(dataset, protocol), protocol, "the ground truth")
    elif not isinstance(training, ConstantBaseline):
        training = constant_baseline(training, protocol)
    pairs = predict_pairs(model, dataset, protocol, batch_size)
    bar = track(pairs, len(dataset), "images", dataset.name, is_shown=progress)
    known = (training.mean, training.median)
    scored = (score_pair(pair, model.kind, protocol).with_constants(known, protocol) for pair in bar)
    return score_table(scored, name or model.name, model.kind, protocol, training, title=dataset.name)


def evaluate_metrics(
    model: DepthModel | ExportedModel, dataset: Dataset, protocol: EvalProtocol, *, batch_size: int = 8
) -> dict[str, float]:
    """Evaluate a model without baselines: the first row of `evaluate` as a mapping from metric names to values.

    Args:
        model: the model, on the device that it computes on.
        dataset: images with measured depth in metres; where the protocol aligns, scale-free depth does as well, and
            each truth is divided by its median.
        protocol: which pixels count, how predictions are aligned, and how they are averaged.
        batch_size: images that the model sees at once.

    Raises:
        BadInput: as `evaluate`.
    """
    check_predictor(model)
    check_batch_size(batch_size)
    check_samples(dataset)
    check_protocol(protocol)
    check_alignment(protocol.alignment, model.kind)
    dataset = _comparable(dataset, protocol)
    pairs = predict_pairs(model, dataset, protocol, batch_size)
    scores = MetricAccumulator.merged(score_pair(pair, model.kind, protocol).scores for pair in pairs)
    check_counted(scores, protocol)
    return scores.averaged(protocol.averaging)


def predict_views(model: DepthModel | ExportedModel, sample: Sample, protocol: EvalProtocol) -> Depth:
    """Predict a sample or a batch as a protocol says: the mean over its scales, and over the mirror image.

    Args:
        model: the model, on the device that it computes on.
        sample: the images.
        protocol: `flip` and `scales` say what is averaged.

    Returns:
        Depth in the unit of `model.kind`, of the shape of the sample's depth.
    """
    views = [predict_tensor(model, sample.image, sample.intrinsics, scale=scale) for scale in protocol.scales]
    if protocol.flip:
        mirror = flip(sample)
        views += [
            predict_tensor(model, mirror.image, mirror.intrinsics, scale=scale).flip(-1) for scale in protocol.scales
        ]
    return torch.stack(views).mean(0) if len(views) > 1 else views[0]


def predict_pairs(
    model: DepthModel | ExportedModel, dataset: Dataset, protocol: EvalProtocol, batch_size: int
) -> Iterator[Pair]:
    """Predict all images of a dataset as a protocol says, and yield each prediction beside its ground truth.

    Args:
        model: the model, on the device that it computes on.
        dataset: images with measured depth.
        protocol: `flip` and `scales` say what is averaged.
        batch_size: images that the model sees at once.
    """
    for group in group_by_size((dataset[index] for index in range(len(dataset))), batch_size):
        together = collate(group)
        predicted = predict_views(model, together, protocol)
        for sample, depth in zip(group, predicted, strict=True):
            yield Pair(str(sample.name), depth, sample.depth, sample.valid)


def constant_baseline(dataset: Dataset, protocol: EvalProtocol) -> ConstantBaseline:
    """Mean and median depth of a dataset's pixels that count under a protocol, from `SPREAD` images of it."""
    check_samples(dataset)
    check_protocol(protocol)
    dataset = _comparable(dataset, protocol)
    return constants_of(_samples(dataset, protocol), protocol, dataset.name)


def check_batch_size(batch_size: int) -> None:
    """Refuse a batch without images."""
    check_value("batch_size", batch_size, [Within(1)], is_whole=True)


def _comparable(dataset: Dataset, protocol: EvalProtocol) -> Dataset:
    """Return the dataset with ground truth that a protocol can compare: metres, or what each is relative to its median.

    Raises:
        BadInput: it is neither metres, nor scale-free under a protocol that aligns.
    """
    if dataset.kind is DepthKind.METRIC:
        return dataset
    if dataset.kind is DepthKind.SCALE_FREE and protocol.alignment != "none":
        return _ByMedian(dataset)
    aligned = ", or align predictions to them: --protocol scale_free" if dataset.kind is DepthKind.SCALE_FREE else ""
    raise BadInput(
        f"The ground truth of {dataset.name} is {dataset.kind.value}: choose a dataset that measures metres{aligned}."
    )


class _ByMedian:
    """A dataset of scale-free depth, each map divided by the median of its valid pixels."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.kind = dataset, dataset.kind
        self.name = f"{dataset.name}, each map by its median"

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        if not sample.valid.any():
            return sample
        return sample.replace(depth=sample.depth / sample.depth[sample.valid].median())


def _samples(dataset: Dataset, protocol: EvalProtocol) -> Iterator[Pixels]:
    for index in subsample_evenly(range(len(dataset)), SPREAD):
        sample = dataset[index]
        yield sample_pixels(as_array(sample.depth[protocol.counts(sample.depth, sample.valid)]))
