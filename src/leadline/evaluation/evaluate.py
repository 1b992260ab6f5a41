"""Evaluate a model, or saved predictions, on a dataset under a protocol."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.core.progress import track
from leadline.core.sample import Depth, Mask, collate
from leadline.data.datasets import Dataset
from leadline.data.loader import group_by_size, subsample_evenly
from leadline.evaluation.alignment import check_alignment
from leadline.evaluation.map_pairs import Pair, match_maps, pair_maps
from leadline.evaluation.metrics import MetricAccumulator
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.tables import ImageScore, Row, Table
from leadline.inference.predict import predict_tensor
from leadline.io.depth_maps import DepthMap, read_depth
from leadline.io.outputs import read_leadline_metadata
from leadline.models.base import DepthModel

SPREAD = 256
"""How many images at most the constants of the baselines are taken from, evenly spread over a dataset."""


@dataclass(frozen=True)
class ConstantBaseline:
    """What a predictor knows that has seen depths but no image: metres."""

    mean: float
    median: float
    source: str
    """The ground truth that they are taken from: `rooms train`."""


def evaluate(
    model: DepthModel,
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
        dataset: images with measured depth in metres.
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
    check_batch_size(batch_size)
    check_alignment(protocol.alignment, model.kind)
    _must_be_metres(dataset)
    if training is None:
        training = _constants(_targets(dataset), protocol, "the ground truth")
    elif not isinstance(training, ConstantBaseline):
        training = constant_baseline(training, protocol)
    pairs = _predictions(model, dataset, protocol, batch_size)
    bar = track(pairs, len(dataset), "images", dataset.name, is_shown=progress)
    return _table(bar, name or model.name, model.kind, protocol, training, title=dataset.name)


def evaluate_metrics(
    model: DepthModel, dataset: Dataset, protocol: EvalProtocol, *, batch_size: int = 8
) -> dict[str, float]:
    """Evaluate a model without baselines: the first row of `evaluate` as a mapping from metric names to values.

    Args:
        model: the model, on the device that it computes on.
        dataset: images with measured depth in metres.
        protocol: which pixels count, how predictions are aligned, and how they are averaged.
        batch_size: images that the model sees at once.

    Raises:
        BadInput: as `evaluate`.
    """
    check_batch_size(batch_size)
    check_alignment(protocol.alignment, model.kind)
    _must_be_metres(dataset)
    pairs = _predictions(model, dataset, protocol, batch_size)
    scores = MetricAccumulator.merged(_scored(pair, pair.predicted, model.kind, protocol) for pair in pairs)
    _must_count(scores, protocol)
    return scores.averaged(protocol.averaging)


def evaluate_maps(
    predictions: StrPath,
    ground_truth: StrPath,
    protocol: EvalProtocol,
    *,
    depth_scale: float | None = None,
    prediction_scale: float | None = None,
    kind: DepthKind | None = None,
    resize: bool = False,
    progress: bool = False,
) -> Table:
    """Evaluate a folder of predicted depth maps against a folder of measured ones, matched by file name.

    What a file states itself about its numbers holds, whatever is given here. The pictures NAME.colour.png that
    `leadline predict` draws beside its maps are ignored. A prediction for a published crop of the image is placed back
    where it was cut out, and counts there only. What was ignored, placed or resized is a note of the table.

    Args:
        predictions: a folder of predicted maps.
        ground_truth: a folder of measured maps.
        protocol: how they are compared.
        depth_scale: numbers in the files are metres × this, where they do not state their own unit; None: they do, or
            are floats: ground truth in metres, predictions in the unit of `kind`.
        prediction_scale: the same of the predictions, where it is another.
        kind: what predictions guarantee whose files do not state it; None: metres.
        resize: bring predictions of another size and of the ground truth's aspect to its size.
        progress: draw a bar.

    Raises:
        BadInput: an empty folder, unmatched names, sizes that do not fit, an unknown unit, or as `evaluate`.
    """
    for option, scale in (("--depth-scale", depth_scale), ("--prediction-scale", prediction_scale)):
        if scale is not None and not 0 < scale < math.inf:
            raise BadInput(f"{option} {scale:g}: give a positive number, 1000 for millimetres.")
    if protocol.flip:
        raise BadInput("Maps in files cannot be predicted again from mirrored images: leave --flip out.")
    predictions, ground_truth = Path(predictions), Path(ground_truth)
    pairs, ignored = match_maps(predictions, ground_truth)
    changes: Counter[str] = Counter()
    outside = 0

    def read_prediction(path: Path) -> DepthMap:
        own = _stated_kind(path)
        scale = depth_scale if prediction_scale is None else prediction_scale
        return read_depth(path, depth_scale=None if own else scale, kind=kind or own)

    def read_target(path: Path) -> DepthMap:
        own = _stated_kind(path)
        return read_depth(path, depth_scale=None if own else depth_scale, kind=own or DepthKind.METRIC)

    def compared() -> Iterator[Pair]:
        nonlocal outside
        for name, (prediction_file, target_file) in pairs.items():
            target = read_target(target_file)
            pair = pair_maps(name, read_prediction(prediction_file), target, promised, resize=resize)
            changes.update([pair.change] if pair.change else [])
            outside += int(protocol.counts(target.depth, target.valid & ~pair.valid).sum())
            yield pair

    promised = read_prediction(next(iter(pairs.values()))[0]).kind
    check_alignment(protocol.alignment, promised)
    targets = (read_target(file) for _, file in subsample_evenly(list(pairs.values()), SPREAD))
    baseline = _constants(((target.depth, target.valid) for target in targets), protocol, "the ground truth")
    bar = track(compared(), len(pairs), "maps", is_shown=progress)
    title = f"{predictions} against {ground_truth}"
    table = _table(bar, predictions.name, promised, protocol, baseline, title=title, is_from_files=True)
    notes = [f"{count} of {len(pairs)} predictions are {change}." for change, count in changes.items()]
    if outside:
        notes.append(f"{outside:,} measured pixels that the protocol counts lie outside the crops, and are left out.")
    if ignored:
        notes.append(f"Ignored in both folders: {', '.join(f'{n} {what}' for what, n in sorted(ignored.items()))}.")
    return replace(table, notes=(*table.notes, *notes))


def constant_baseline(dataset: Dataset, protocol: EvalProtocol) -> ConstantBaseline:
    """Mean and median depth of a dataset's pixels that count under a protocol, from `SPREAD` images of it."""
    _must_be_metres(dataset)
    return _constants(_targets(dataset), protocol, dataset.name)


def _stated_kind(path: Path) -> str | None:
    """The kind that a depth map of Leadline's states; a PFM file does so in the colour picture beside it."""
    return read_leadline_metadata(path).get("kind")


def check_batch_size(batch_size: int) -> None:
    """Refuse a batch without images."""
    if batch_size < 1:
        raise BadInput(f"--batch-size {batch_size}: give 1 or more images that are predicted at once.")


def _must_be_metres(dataset: Dataset) -> None:
    if dataset.kind is not DepthKind.METRIC:
        raise BadInput(
            f"The ground truth of {dataset.name} is {dataset.kind.value}: choose a dataset that measures metres."
        )


def _must_count(scores: MetricAccumulator, protocol: EvalProtocol) -> None:
    if not scores.counted:
        raise BadInput(
            f"None of {len(scores.pixels)} depth maps has a pixel that counts under {protocol.description}: "
            "check the depth scale, the crop and the cap."
        )


def _targets(dataset: Dataset) -> Iterator[tuple[Depth, Mask]]:
    for index in subsample_evenly(range(len(dataset)), SPREAD):
        sample = dataset[index]
        yield sample.depth, sample.valid


def _constants(targets: Iterable[tuple[Depth, Mask]], protocol: EvalProtocol, source: str) -> ConstantBaseline:
    images = 0
    depths = []
    for target, valid in targets:
        counted = target[protocol.counts(target, valid)]
        # Some ten thousand pixels of an image tell its distribution.
        depths.append(counted[:: max(1, len(counted) // 10_000)].double())
        images += 1
    every = torch.cat(depths) if depths else torch.zeros(0)
    if not len(every):
        raise BadInput(
            f"{images} depth maps of {source} have no pixel that counts under {protocol.description}: "
            "check the depth scale, the crop and the cap."
        )
    return ConstantBaseline(every.mean().item(), every.quantile(0.5).item(), source)


def _predictions(model: DepthModel, dataset: Dataset, protocol: EvalProtocol, batch_size: int) -> Iterator[Pair]:
    for group in group_by_size((dataset[index] for index in range(len(dataset))), batch_size):
        together = collate(group)
        predicted = predict_tensor(model, together.image, together.intrinsics)
        if protocol.flip:
            predicted = (predicted + predict_tensor(model, together.image.flip(-1), together.intrinsics).flip(-1)) / 2
        for sample, depth in zip(group, predicted, strict=True):
            yield Pair(str(sample.name), depth, sample.depth, sample.valid)


def _table(
    pairs: Iterable[Pair],
    name: str,
    kind: DepthKind,
    protocol: EvalProtocol,
    known: ConstantBaseline,
    *,
    title: str,
    is_from_files: bool = False,
) -> Table:
    rivals = {
        f"mean depth of {known.source} ({known.mean:.2f} m)": known.mean,
        f"median depth of {known.source} ({known.median:.2f} m)": known.median,
    }
    names: list[str] = []
    turned: list[str] = []
    parts: dict[str, list[MetricAccumulator]] = {each: [] for each in (name, *rivals)}
    unusable = 0
    for pair in pairs:
        names.append(pair.name)
        compared = protocol.compare(pair.predicted, pair.target, pair.valid, kind)
        parts[name].append(MetricAccumulator.of(compared.metres, pair.target, compared.counted))
        turned += [pair.name] if compared.is_reversed else []
        unusable += _unusable(pair, kind, protocol)
        for rival, depth in rivals.items():
            flat = torch.full_like(pair.target, depth)
            parts[rival].append(_scored(pair, flat, DepthKind.METRIC, protocol))
    scores = MetricAccumulator.merged(parts.pop(name))
    _must_count(scores, protocol)
    notes = []
    if unusable:
        notes.append(
            f"{unusable:,} counted pixels are predicted as zero, less or no number: held to the protocol's range"
        )
    if turned:
        notes.append(_turned(turned, scores.counted, kind, protocol, is_from_files=is_from_files))
    left_out = [each for each, pixels in zip(names, scores.pixels.tolist(), strict=True) if not pixels]
    row = _row(name, scores, names, kind, protocol, note="; ".join(notes))
    return Table(
        title=title,
        rows=(
            replace(row, reversed_images=tuple(turned)),
            *(
                _row(each, MetricAccumulator.merged(some), names, DepthKind.METRIC, protocol, is_baseline=True)
                for each, some in parts.items()
            ),
        ),
        notes=(
            f"{len(left_out)} of {len(names)} images have no ground truth that counts and are left out "
            f"({_some(left_out)}).",
        )
        if left_out
        else (),
        protocol=protocol.as_dict(),
    )


def _turned(names: Sequence[str], among: int, kind: DepthKind, protocol: EvalProtocol, *, is_from_files: bool) -> str:
    """What is said of the images that only a negative factor would fit, and the kind that would fit most of them."""
    scored = {"median": "as they are", "scale": f"as {protocol.min_depth:g} m everywhere"}
    note = (
        f"{len(names)} of {among} images fit their ground truth by a negative factor only, which {kind.value} depth "
        f"rules out: they are scored {scored.get(protocol.alignment, 'as one constant depth')} ({_some(names)})"
    )
    if 2 * len(names) < among:
        return note
    if kind is DepthKind.RELATIVE:
        fitting, options = "depth (larger is farther)", "--kind scale_free --alignment scale_shift, or --kind metric"
    else:
        fitting, options = "inverse depth (larger is nearer)", "--kind relative --alignment inverse_scale_shift"
    return f"{note}; the predictions look like {fitting}" + (f": try {options}" if is_from_files else "")


def _scored(pair: Pair, predicted: Depth, kind: DepthKind, protocol: EvalProtocol) -> MetricAccumulator:
    compared = protocol.compare(predicted, pair.target, pair.valid, kind)
    return MetricAccumulator.of(compared.metres, pair.target, compared.counted)


def _unusable(pair: Pair, kind: DepthKind, protocol: EvalProtocol) -> int:
    """How many pixels that count are predicted as no depth at all: not finite, or zero and less."""
    wrong = ~pair.predicted.isfinite()
    if kind is not DepthKind.RELATIVE:
        wrong |= pair.predicted <= 0
    return int((wrong & protocol.counts(pair.target, pair.valid)).sum())


def _row(
    name: str,
    scores: MetricAccumulator,
    names: Sequence[str],
    kind: DepthKind,
    protocol: EvalProtocol,
    *,
    is_baseline: bool = False,
    note: str = "",
) -> Row:
    figures = scores.per_image()
    return Row(
        name=name,
        metrics=scores.averaged(protocol.averaging),
        protocol=protocol.words,
        kind=kind.value,
        images=scores.counted,
        pixels=int(scores.pixels.sum()),
        is_baseline=is_baseline,
        note=note,
        per_image=tuple(
            ImageScore(names[i], i, {metric: values[i] for metric, values in figures.items()}, pixels)
            for i, pixels in enumerate(scores.pixels.tolist())
            if pixels
        ),
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
