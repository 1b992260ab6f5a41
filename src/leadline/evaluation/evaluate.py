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
from leadline.core.progress import ProgressBar, track
from leadline.core.sample import Depth, Sample, collate
from leadline.core.threads import map_in_threads, usable_cores
from leadline.data.datasets import Dataset, check_dataset
from leadline.data.datasets.depth_reading import DepthReading
from leadline.data.loader import group_by_size, subsample_evenly
from leadline.data.transforms import flip
from leadline.evaluation.alignment import check_alignment
from leadline.evaluation.map_pairs import Pair, match_maps, pair_maps
from leadline.evaluation.metrics import MetricAccumulator, Pixels
from leadline.evaluation.protocols import EvalProtocol, check_protocol
from leadline.evaluation.scoring import CountedTarget, ScoredPair, one_torch_thread, sample_pixels, score_pair
from leadline.evaluation.tables import ImageScore, Row, Table
from leadline.inference.backends import ExportedModel
from leadline.inference.tensors import predict_tensor
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
    check_batch_size(batch_size)
    check_dataset(dataset)
    check_protocol(protocol)
    check_alignment(protocol.alignment, model.kind)
    dataset = _comparable(dataset, protocol)
    if training is None:
        training = _constants(_samples(dataset, protocol), protocol, "the ground truth")
    elif not isinstance(training, ConstantBaseline):
        training = constant_baseline(training, protocol)
    pairs = _predictions(model, dataset, protocol, batch_size)
    bar = track(pairs, len(dataset), "images", dataset.name, is_shown=progress)
    known = (training.mean, training.median)
    scored = (score_pair(pair, model.kind, protocol).with_constants(known, protocol) for pair in bar)
    return _table(scored, name or model.name, model.kind, protocol, training, title=dataset.name)


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
    check_batch_size(batch_size)
    check_dataset(dataset)
    check_protocol(protocol)
    check_alignment(protocol.alignment, model.kind)
    dataset = _comparable(dataset, protocol)
    pairs = _predictions(model, dataset, protocol, batch_size)
    scores = MetricAccumulator.merged(score_pair(pair, model.kind, protocol).scores for pair in pairs)
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
    invalid: Sequence[float] | None = (),
    max_depth: float | None = None,
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
        invalid: numbers in the measured maps that mean "not measured", as a renderer's 1e10; None: none does. Numbers
            that no camera measures are refused until this or `max_depth` says what they are.
        max_depth: metres; what is measured farther away is not measured.
        resize: bring predictions of another size and of the ground truth's aspect to its size.
        progress: draw a bar.

    Raises:
        BadInput: an empty folder, unmatched names, sizes that do not fit, an unknown unit, measured maps with
            numbers that no camera measures, or as `evaluate`.
    """
    for option, scale in (("--depth-scale", depth_scale), ("--prediction-scale", prediction_scale)):
        if scale is not None and not 0 < scale < math.inf:
            raise BadInput(f"{option} {scale:g}: give a positive number, 1000 for millimetres.")
    if protocol.flip:
        raise BadInput("Maps in files cannot be predicted again from mirrored images: leave --flip out.")
    if protocol.scales != (1.0,):
        raise BadInput("Maps in files cannot be predicted again from images of other sizes: leave --scales out.")
    predictions, ground_truth = Path(predictions), Path(ground_truth)
    pairs, ignored = match_maps(predictions, ground_truth)
    reading = DepthReading(depth_scale, None if invalid is None else tuple(invalid), max_depth)

    def read_prediction(path: Path) -> DepthMap:
        own = _stated_kind(path)
        scale = depth_scale if prediction_scale is None else prediction_scale
        return read_depth(path, depth_scale=None if own else scale, kind=kind or own)

    def read_target(path: Path) -> DepthMap:
        own = _stated_kind(path)
        if own and own != DepthKind.METRIC:
            return read_depth(path, kind=own)
        return replace(reading, depth_scale=None if own else depth_scale).read(path, DepthKind.METRIC, None)

    names = list(pairs)
    promised = read_prediction(pairs[names[0]][0]).kind
    check_alignment(protocol.alignment, promised)

    def compare(name: str) -> _ComparedFiles:
        prediction_file, target_file = pairs[name]
        target = read_target(target_file)
        pair = pair_maps(name, read_prediction(prediction_file), target, promised, resize=resize)
        scored = score_pair(pair, promised, protocol)
        assert scored.target is not None
        if pair.valid is target.valid:
            return _ComparedFiles(scored, scored.target.sample, pair.change)
        outside = protocol.counts(target.depth, target.valid & ~pair.valid)
        sample = CountedTarget.of(target.depth[protocol.counts(target.depth, target.valid)]).sample
        return _ComparedFiles(scored, sample, pair.change, int(outside.sum()))

    def compare_all(chosen: Sequence[str], known: tuple[float, ...] | None) -> Iterator[_ComparedFiles]:
        def work(name: str) -> _ComparedFiles:
            each = compare(name)
            if known is None:
                return each
            return replace(each, scored=each.scored.with_constants(known, protocol), sample=None)

        for each in map_in_threads(work, chosen, threads=usable_cores()):
            bar.update()
            yield each

    # The constants are of some maps' depths: these come first, and are then held as few numbers each.
    first = subsample_evenly(names, SPREAD)
    later = sorted(set(names) - set(first))
    with one_torch_thread(), ProgressBar(len(names), "maps", is_shown=progress) as bar:
        done = {each.scored.name: each for each in compare_all(first, None)}  # pyright: ignore[reportArgumentType]
        baseline = _constants(
            (each.sample for each in done.values() if each.sample is not None), protocol, "the ground truth"
        )
        known = (baseline.mean, baseline.median)
        for name, each in done.items():
            done[name] = replace(each, scored=each.scored.with_constants(known, protocol), sample=None)
        done |= {each.scored.name: each for each in compare_all(later, known)}
    ordered = [done[name] for name in names]
    changes = Counter(each.change for each in ordered if each.change)
    outside = sum(each.outside for each in ordered)
    title = f"{predictions} against {ground_truth}"
    table = _table(
        (each.scored for each in ordered),
        predictions.name,
        promised,
        protocol,
        baseline,
        title=title,
        is_from_files=True,
    )
    notes = [f"{count} of {len(pairs)} predictions are {change}." for change, count in changes.items()]
    if outside:
        notes.append(f"{outside:,} measured pixels that the protocol counts lie outside the crops, and are left out.")
    if ignored:
        notes.append(f"Ignored in both folders: {', '.join(f'{n} {what}' for what, n in sorted(ignored.items()))}.")
    return replace(table, notes=(*table.notes, *notes))


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


def constant_baseline(dataset: Dataset, protocol: EvalProtocol) -> ConstantBaseline:
    """Mean and median depth of a dataset's pixels that count under a protocol, from `SPREAD` images of it."""
    check_dataset(dataset)
    check_protocol(protocol)
    dataset = _comparable(dataset, protocol)
    return _constants(_samples(dataset, protocol), protocol, dataset.name)


def _stated_kind(path: Path) -> str | None:
    """The kind that a depth map of Leadline's states; a PFM file does so in the colour picture beside it."""
    return read_leadline_metadata(path).get("kind")


def check_batch_size(batch_size: int) -> None:
    """Refuse a batch without images."""
    if batch_size < 1:
        raise BadInput(f"--batch-size {batch_size}: give 1 or more images that are predicted at once.")


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


def _must_count(scores: MetricAccumulator, protocol: EvalProtocol) -> None:
    if not scores.counted:
        raise BadInput(
            f"None of {len(scores.pixels)} depth maps has a pixel that counts under {protocol.description}: "
            "check the depth scale, the crop and the cap."
        )


def _samples(dataset: Dataset, protocol: EvalProtocol) -> Iterator[Pixels]:
    for index in subsample_evenly(range(len(dataset)), SPREAD):
        sample = dataset[index]
        yield sample_pixels(sample.depth[protocol.counts(sample.depth, sample.valid)])


def _constants(samples: Iterable[Pixels], protocol: EvalProtocol, source: str) -> ConstantBaseline:
    """Mean and median of the depths of some images, of which each gave some pixels."""
    depths = [sample.double() for sample in samples]
    every = torch.cat(depths) if depths else torch.zeros(0)
    if not len(every):
        raise BadInput(
            f"{len(depths)} depth maps of {source} have no pixel that counts under {protocol.description}: "
            "check the depth scale, the crop and the cap."
        )
    return ConstantBaseline(every.mean().item(), every.quantile(0.5).item(), source)


@dataclass(frozen=True, eq=False)
class _ComparedFiles:
    """Hold what is known of two files once they were compared."""

    scored: ScoredPair
    sample: Pixels | None
    """Some of the measured depths that count."""
    change: str = ""
    """As `Pair.change`."""
    outside: int = 0
    """Measured pixels that count, and for which nothing was predicted because they lie outside a crop."""


def _predictions(
    model: DepthModel | ExportedModel, dataset: Dataset, protocol: EvalProtocol, batch_size: int
) -> Iterator[Pair]:
    for group in group_by_size((dataset[index] for index in range(len(dataset))), batch_size):
        together = collate(group)
        predicted = predict_views(model, together, protocol)
        for sample, depth in zip(group, predicted, strict=True):
            yield Pair(str(sample.name), depth, sample.depth, sample.valid)


def _table(
    scored: Iterable[ScoredPair],
    name: str,
    kind: DepthKind,
    protocol: EvalProtocol,
    known: ConstantBaseline,
    *,
    title: str,
    is_from_files: bool = False,
) -> Table:
    rivals = (
        f"mean depth of {known.source} ({known.mean:.2f} m)",
        f"median depth of {known.source} ({known.median:.2f} m)",
    )
    names: list[str] = []
    turned: list[str] = []
    parts: dict[str, list[MetricAccumulator]] = {each: [] for each in (name, *rivals)}
    unusable = 0
    for pair in scored:
        names.append(pair.name)
        turned += [pair.name] if pair.is_reversed else []
        unusable += pair.unusable
        for each, part in zip(parts, (pair.scores, *pair.constants), strict=True):
            parts[each].append(part)
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
    row = row_of(name, scores, names, kind, protocol, note="; ".join(notes))
    return Table(
        title=title,
        rows=(
            replace(row, reversed_images=tuple(turned)),
            *(
                row_of(each, MetricAccumulator.merged(some), names, DepthKind.METRIC, protocol, is_baseline=True)
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


def row_of(
    name: str,
    scores: MetricAccumulator,
    names: Sequence[str],
    kind: DepthKind,
    protocol: EvalProtocol,
    *,
    is_baseline: bool = False,
    note: str = "",
) -> Row:
    """Make the row of a predictor from its scores.

    Args:
        name: what the table calls it.
        scores: one of each image.
        names: of the images, in the same order.
        kind: what the predictor guarantees.
        protocol: how it was scored.
        is_baseline: whether it knows no image.
        note: what the table says of it.
    """
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
