"""Evaluate a model, or saved predictions, on a dataset under a protocol."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F
from tqdm import tqdm

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.sample import Depth, Mask, collate
from leadline.data.datasets import Dataset
from leadline.data.loader import group_by_size, subsample_evenly
from leadline.evaluation.alignment import check_alignment
from leadline.evaluation.metrics import MetricAccumulator
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.tables import ImageScore, Row, Table
from leadline.inference.predict import predict
from leadline.io.depth_maps import DEPTH_SUFFIXES, DepthMap, read_depth
from leadline.models.base import DepthModel

SPREAD = 256
"""How many images at most the constants of the baselines are taken from, evenly spread over a dataset."""


@dataclass(frozen=True)
class ConstantBaseline:
    """What a predictor knows that has seen depths but no image: metres."""

    mean: float
    median: float
    source: str
    """The truths that they are taken from: `rooms train`."""


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
    """The table of a model on a dataset, with rows for the mean-depth and the median-depth predictors.

    Their constants are those of `training`, or for want of it those of the evaluated truths, as their rows say.

    Raises:
        BadInput: no truth has a pixel that counts, or the protocol cannot compare this kind of depth with metres.
    """
    check_alignment(protocol.alignment, model.kind)
    _must_be_metres(dataset)
    if training is None:
        training = _constants(_truths(dataset), protocol, "these truths")
    elif not isinstance(training, ConstantBaseline):
        training = constant_baseline(training, protocol)
    pairs = _predictions(model, dataset, protocol, batch_size)
    bar = iter(tqdm(pairs, total=len(dataset), unit=" images", desc=dataset.name, disable=not progress))
    return _table(bar, name or model.name, model.kind, protocol, training, title=dataset.name)


def evaluate_metrics(
    model: DepthModel, dataset: Dataset, protocol: EvalProtocol, *, batch_size: int = 8
) -> dict[str, float]:
    """Metric name → the model's score on the dataset: the first row of `evaluate`, without what surrounds it."""
    check_alignment(protocol.alignment, model.kind)
    _must_be_metres(dataset)
    pairs = _predictions(model, dataset, protocol, batch_size)
    scores = MetricAccumulator.merged(_scored(pair, pair.predicted, model.kind, protocol) for pair in pairs)
    _must_count(scores, protocol)
    return scores.averaged(protocol.averaging)


def evaluate_maps(
    predictions: Path,
    truth: Path,
    protocol: EvalProtocol,
    *,
    depth_scale: float | None = None,
    prediction_scale: float | None = None,
    kind: DepthKind | None = None,
    resize: bool = False,
    progress: bool = False,
) -> Table:
    """The table of a folder of predicted depth maps against a folder of measured ones, matched by file name.

    Numbers in the files are metres × `depth_scale`, those of predictions metres × `prediction_scale` if it is given;
    `kind` is what predictions promise whose files do not say it. `resize` brings predictions to their truth's size.

    Raises:
        BadInput: an empty folder, unmatched names, different sizes, an unknown unit, or as `evaluate`.
    """
    pairs = _matched(predictions, truth)
    if protocol.flip:
        raise BadInput("Maps in files cannot be predicted again from mirrored images: leave --flip out.")

    def predicted(path: Path) -> DepthMap:
        return read_depth(path, depth_scale=prediction_scale or depth_scale, kind=kind)

    def measured(path: Path) -> DepthMap:
        return read_depth(path, depth_scale=depth_scale)

    def compared() -> Iterator[_Pair]:
        for name, (guess, fact) in pairs.items():
            yield _pair(name, predicted(guess), measured(fact), promised, resize)

    promised = predicted(next(iter(pairs.values()))[0]).kind
    check_alignment(protocol.alignment, promised)
    facts = (measured(fact) for _, fact in subsample_evenly(list(pairs.values()), SPREAD))
    baseline = _constants(((fact.depth, fact.valid) for fact in facts), protocol, "these truths")
    bar = iter(tqdm(compared(), total=len(pairs), unit=" maps", disable=not progress))
    return _table(bar, predictions.name, promised, protocol, baseline, title=f"{predictions} against {truth}")


def constant_baseline(dataset: Dataset, protocol: EvalProtocol) -> ConstantBaseline:
    """Mean and median depth of a dataset's pixels that count under a protocol, from `SPREAD` images of it."""
    _must_be_metres(dataset)
    return _constants(_truths(dataset), protocol, dataset.name)


@dataclass(frozen=True, eq=False)
class _Pair:
    """A prediction, in the unit of its kind, and the truth of one image, in metres."""

    name: str
    predicted: Depth
    measured: Depth
    valid: Mask


def _must_be_metres(dataset: Dataset) -> None:
    if dataset.kind is not DepthKind.METRIC:
        raise BadInput(f"The truths of {dataset.name} are {dataset.kind.value}: choose a dataset that measures metres.")


def _must_count(scores: MetricAccumulator, protocol: EvalProtocol) -> None:
    if not scores.counted:
        raise BadInput(
            f"None of {len(scores.pixels)} truths has a pixel that counts under {protocol.description}: "
            "check the depth scale, the crop and the cap."
        )


def _truths(dataset: Dataset) -> Iterator[tuple[Depth, Mask]]:
    for index in subsample_evenly(range(len(dataset)), SPREAD):
        sample = dataset[index]
        yield sample.depth, sample.valid


def _constants(truths: Iterable[tuple[Depth, Mask]], protocol: EvalProtocol, source: str) -> ConstantBaseline:
    images = 0
    depths = []
    for measured, valid in truths:
        counted = measured[protocol.counts(measured, valid)]
        # Some ten thousand pixels of an image tell its distribution.
        depths.append(counted[:: max(1, len(counted) // 10_000)].double())
        images += 1
    every = torch.cat(depths) if depths else torch.zeros(0)
    if not len(every):
        raise BadInput(
            f"{images} truths of {source} have no pixel that counts under {protocol.description}: "
            "check the depth scale, the crop and the cap."
        )
    return ConstantBaseline(every.mean().item(), every.quantile(0.5).item(), source)


def _predictions(model: DepthModel, dataset: Dataset, protocol: EvalProtocol, batch_size: int) -> Iterator[_Pair]:
    for group in group_by_size((dataset[index] for index in range(len(dataset))), batch_size):
        together = collate(group)
        predicted = predict(model, together.image, together.intrinsics)
        if protocol.flip:
            predicted = (predicted + predict(model, together.image.flip(-1), together.intrinsics).flip(-1)) / 2
        for sample, depth in zip(group, predicted, strict=True):
            yield _Pair(str(sample.name), depth, sample.depth, sample.valid)


def _matched(predictions: Path, truth: Path) -> dict[str, tuple[Path, Path]]:
    """Name → the files of that name in both folders, subfolders included."""
    guesses, facts = _maps(predictions), _maps(truth)
    if guesses.keys() != facts.keys():
        lacking = [
            f"{len(names)} in {folder} only ({', '.join(sorted(names)[:3])}{', …' if len(names) > 3 else ''})"
            for folder, names in ((predictions, guesses.keys() - facts.keys()), (truth, facts.keys() - guesses.keys()))
            if names
        ]
        raise BadInput(f"Predictions and truths must have the same names, and differ: {'; '.join(lacking)}.")
    return {name: (guesses[name], facts[name]) for name in sorted(facts)}


def _maps(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise BadInput(f"No folder {folder}.")
    files = [path for path in sorted(folder.rglob("[!.]*")) if path.suffix.lower() in DEPTH_SUFFIXES]
    if not files:
        raise BadInput(f"No depth maps in {folder}: the known formats are {', '.join(sorted(DEPTH_SUFFIXES))}.")
    named: dict[str, Path] = {}
    for path in files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in named:
            raise BadInput(f"{named[name]} and {path} have the same name: leave one out.")
        named[name] = path
    return named


def _pair(name: str, guess: DepthMap, fact: DepthMap, kind: DepthKind, resize: bool) -> _Pair:
    if guess.kind is not kind or fact.kind is not DepthKind.METRIC:
        raise BadInput(
            f"{name}: the prediction is {guess.kind.value} and the truth {fact.kind.value} depth; "
            f"all predictions must be of one kind ({kind.value}, as the first), and all truths metric."
        )
    # A zero in a prediction is a prediction of nothing, and no hole; relative depth may be zero, and marks none by it.
    predicted = guess.depth if kind is not DepthKind.RELATIVE else torch.where(guess.valid, guess.depth, torch.nan)
    size = fact.depth.shape[-2:]
    if predicted.shape[-2:] != size:
        if not resize:
            raise BadInput(
                f"{name}: the prediction is {_by(predicted)} and the truth {_by(fact.depth)} pixels: "
                "predict at the truth's size, or let --resize bring the predictions to it."
            )
        predicted = F.interpolate(predicted[None], size, mode="bilinear", antialias=True)[0]
    return _Pair(name, predicted, fact.depth, fact.valid)


def _by(depth: Depth) -> str:
    return " × ".join(map(str, depth.shape[-2:]))


def _table(
    pairs: Iterable[_Pair], name: str, kind: DepthKind, protocol: EvalProtocol, known: ConstantBaseline, *, title: str
) -> Table:
    rivals = {
        f"mean depth of {known.source} ({known.mean:.2f} m)": known.mean,
        f"median depth of {known.source} ({known.median:.2f} m)": known.median,
    }
    names: list[str] = []
    parts: dict[str, list[MetricAccumulator]] = {each: [] for each in (name, *rivals)}
    unusable = 0
    for pair in pairs:
        names.append(pair.name)
        parts[name].append(_scored(pair, pair.predicted, kind, protocol))
        unusable += _unusable(pair, kind, protocol)
        for rival, depth in rivals.items():
            flat = torch.full_like(pair.measured, depth)
            parts[rival].append(_scored(pair, flat, DepthKind.METRIC, protocol))
    scores = MetricAccumulator.merged(parts.pop(name))
    _must_count(scores, protocol)
    note = (
        f"{unusable:,} counted pixels are predicted as zero, less or no number: held to the protocol's range"
        if unusable
        else ""
    )
    left_out = [each for each, pixels in zip(names, scores.pixels.tolist(), strict=True) if not pixels]
    return Table(
        title=title,
        rows=(
            _row(name, scores, names, kind, protocol, note=note),
            *(
                _row(each, MetricAccumulator.merged(some), names, DepthKind.METRIC, protocol, is_baseline=True)
                for each, some in parts.items()
            ),
        ),
        notes=(_left_out(left_out, len(names)),) if left_out else (),
        protocol=protocol.as_dict(),
    )


def _scored(pair: _Pair, predicted: Depth, kind: DepthKind, protocol: EvalProtocol) -> MetricAccumulator:
    metres, counted = protocol.compared(predicted, pair.measured, pair.valid, kind)
    return MetricAccumulator.of(metres, pair.measured, counted)


def _unusable(pair: _Pair, kind: DepthKind, protocol: EvalProtocol) -> int:
    """How many pixels that count are predicted as no depth at all: not finite, or zero and less."""
    wrong = ~pair.predicted.isfinite()
    if kind is not DepthKind.RELATIVE:
        wrong |= pair.predicted <= 0
    return int((wrong & protocol.counts(pair.measured, pair.valid)).sum())


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


def _left_out(names: Sequence[str], among: int) -> str:
    some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} of {among} images have no truth that counts and are left out ({some})."
