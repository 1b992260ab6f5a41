"""Compression: a trained network with fewer channels or fewer bits, finetuned with the original as its teacher."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from leadline.compression.pruning import check_prunable, check_reach, prune
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit
from leadline.core.ranges import AtLeastOne, OneOf, Within, check_fields
from leadline.data.datasets import Dataset, subsample_evenly
from leadline.data.loader import hold_out, identity
from leadline.data.mixing import as_mixture
from leadline.data.transforms import resize
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.tables import TextTable
from leadline.inference.backends import is_exported
from leadline.io.locks import file_lock
from leadline.io.run_folder import claim_folder
from leadline.models.base import DepthModel
from leadline.models.description import WEIGHT_BITS
from leadline.models.loading import load
from leadline.models.names import SCOPE
from leadline.models.quantisation import quantise
from leadline.models.saving import WEIGHTS, fingerprint, load_folder, save
from leadline.recipes import say_without_scope
from leadline.recipes.distil import METRES, SCALE_FREE, DistillationExperiment, Variant
from leadline.recipes.train_options import TrainOptions, parse_weights
from leadline.reporting.network_counts import multiply_adds
from leadline.training.objectives import check_distillation_term
from leadline.training.trainer import TrainConfig, fixed_parts

FINETUNING: Mapping[str, Any] = {"config": TrainConfig(steps=1000, learning_rate=1e-3, validate_every=250)}
"""Default training options of the finetuning."""
_SHOWN = ("d1", "rmse", "abs_rel")


@dataclass(frozen=True)
class CompressOptions:
    """What is compressed, and how it is finetuned."""

    model: str
    """Folder of a saved model, a checkpoint, or the name of a published model: what is compressed, and the teacher."""
    out: Path
    """The run folder; the compressed model will be in `model/` below it."""
    finetune: bool = True
    """Finetune with the original as the teacher; without, the network is left as the compression makes it."""
    teacher_losses: str = "auto"
    """Loss terms against the original and their weights, as silog=1,l1=1; auto: silog and l1 in log depth for metres,
    scale-and-shift-invariant ones for relative depth; none: finetune on the ground truth alone."""
    options: TrainOptions = field(default_factory=lambda: TrainOptions(**FINETUNING))
    """Its `model` is not used."""


@dataclass(frozen=True)
class PruneOptions(CompressOptions):
    """What is pruned, how much of it, and how it is finetuned."""

    keep: Annotated[float, Within(0, 1, above=True, below=True)] = 0.5
    """Fraction of the multiply-adds that are left."""
    images: AtLeastOne = 64
    """Training images by which the channels are chosen; their ground truth is not used."""


@dataclass(frozen=True)
class QuantiseOptions(CompressOptions):
    """What is quantised, to how many bits, and how it is finetuned."""

    bits: Annotated[int, OneOf(WEIGHT_BITS)] = 8
    """Of each weight of convolutions and linear layers: 8 or 4."""


@dataclass(frozen=True)
class CompressedRow:
    """What one stage of a compression costs, and what it scores on the test data."""

    name: str
    multiply_adds: int
    """Of one image of the native size."""
    parameters: int
    megabytes: float
    """Of the file of weights."""
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class CompressedModel:
    """A compressed model, and each stage's cost and scores."""

    model: DepthModel
    folder: Path
    """Where it is saved."""
    scored_on: str
    """Data and protocol in words."""
    rows: tuple[CompressedRow, ...]

    def table(self) -> TextTable:
        """Return the stages as a table."""
        head = ("", "multiply-adds", "parameters", "weights", *(METRICS[name].heading for name in _SHOWN))
        lines = tuple(
            (
                row.name,
                f"{row.multiply_adds / 1e6:.1f} M",
                f"{row.parameters / 1e6:.2f} M",
                f"{row.megabytes:.2f} MB",
                *(METRICS[name].printed(row.metrics[name]) for name in _SHOWN),
            )
            for row in self.rows
        )
        return TextTable(self.scored_on, head, lines)


def prune_model(options: PruneOptions) -> CompressedModel:
    """Prune a network's channels, finetune it with the unpruned one as the teacher, score it on the test data, save it.

    An interrupted run resumes.

    Raises:
        BadInput: the model cannot be pruned (or is pruned already), an option, the data or the folder cannot be used.
    """
    check_fields(options)
    original = _original(options.model)
    check_prunable(original)
    if not (options.out / "start" / "model.json").is_file():
        check_reach(original, options.keep)
    if SCOPE in original.arguments:
        say_without_scope(options.model)

    def compress(train: Dataset) -> DepthModel:
        return prune(original, calibration_images(original, train, options.images), options.keep)

    method = {"method": "prune", "keep": options.keep, "images": options.images}
    return _compressed(options, original, method, "pruned", compress, str(options.out / "start"))


def quantise_model(options: QuantiseOptions) -> CompressedModel:
    """Round a network's weights to few bits, finetune it so with the original as the teacher, score it and save it.

    Quantised distillation: Polino et al. 2018, §3. The floats behind the rounded weights learn; the folder has the
    rounded ones as whole numbers. Without the finetuning it is post-training quantisation. An interrupted run resumes.

    Raises:
        BadInput: other bits, the model is quantised already, or an option, the data or the folder cannot be used.
    """
    check_fields(options)
    original = _original(options.model)
    quantised = quantise(deepcopy(original), bits=options.bits)
    method = {"method": "quantise", "bits": options.bits}
    network = f"quantised:{options.model},bits={options.bits}"
    return _compressed(options, original, method, f"{options.bits} bits", lambda _: quantised, network)


def calibration_images(model: DepthModel, dataset: Dataset, count: int) -> Tensor:
    """Return images of a dataset, evenly spread, at the model's own size, (N, 3, H, W).

    Args:
        model: whose size they get.
        dataset: where they are from.
        count: at most how many.

    Raises:
        BadInput: the dataset is empty, or an image cannot be read.
    """
    indices = subsample_evenly(range(len(dataset)), count)
    if not indices:
        raise BadInput(f"{dataset.name} has no images to calibrate on.")
    return torch.stack([resize(dataset[index], model.preprocessing.size).image for index in indices])


def _original(words: str) -> DepthModel:
    if is_exported(words):
        raise BadInput(f"{words} is exported and cannot be compressed: give the model that it was made of.")
    return load(words)


def _compressed(
    options: CompressOptions,
    original: DepthModel,
    method: Mapping[str, Any],
    word: str,
    compress: Callable[[Dataset], DepthModel],
    network: str,
) -> CompressedModel:
    """Compress, finetune `network` from there, score and save; what is there already is kept."""
    out = options.out
    fixed_parts(original, options.options.frozen)
    variant = _variant(options, original.kind)
    train, validation, test = _splits(options.options, out / "cache")
    training_run = options.options.training_run(train, validation, seed=options.options.config.seed)
    with file_lock(out / ".lock", f"compressing in {out}", waits=False):
        _claim(out, {**method, "model": fingerprint(original), "data": identity(train)})
        device = training_run.hardware.device
        before = evaluate_metrics(original.to(device), test, training_run.protocol)
        original.cpu()
        if not (out / "start" / "model.json").is_file():
            save(compress(train), out / "start")
        start = load_folder(out / "start")
        stages = [(f"{word}, not finetuned", start)]
        if options.finetune:
            experiment = DistillationExperiment(
                replace(training_run, network=network), original.to(device), options.model, out
            )
            run = experiment.run_of(variant)
            stages.append((f"{word}, {variant.name}", run.fit(run.build(), out / "finetuning")))
        scores = [evaluate_metrics(model.to(device), test, training_run.protocol) for _, model in stages]
        scored_on = f"{test.name} ({training_run.protocol.words})"
        model = stages[-1][1].cpu()
        model.provenance = replace(model.provenance, figures={scored_on: scores[-1]})
        save(model, out / "model")
    folders = [out / "start", out / "model"] if options.finetune else [out / "model"]
    costs = [_row("original", original, before, _bytes_of(original))]
    costs += [
        _row(name, each, scored, (folder / WEIGHTS).stat().st_size)
        for (name, each), scored, folder in zip(stages, scores, folders, strict=True)
    ]
    return CompressedModel(load_folder(out / "model"), out / "model", scored_on, tuple(costs))


def _splits(options: TrainOptions, cache: Path) -> tuple[Dataset, Dataset, Dataset]:
    """As `options.splits`; data without a test split are scored on what is held out of the training samples."""
    try:
        train, validation, test = options.splits(cache)
    except NoSplit:
        train, validation = hold_out(options.open("train", cache))
        test = validation
    return as_mixture(train), validation, test


def _variant(options: CompressOptions, kind: DepthKind) -> Variant:
    """How the compressed network learns from the original, whose kind of depth is its own."""
    if options.teacher_losses == "none":
        return Variant("finetuned without a teacher")
    if options.teacher_losses == "auto":
        losses = METRES if kind is DepthKind.METRIC else SCALE_FREE
    else:
        losses = parse_weights(options.teacher_losses)
    for term in losses:
        check_distillation_term(term, kind)
    return Variant("finetuned with the original as its teacher", losses, alignment="none")


def _claim(out: Path, configuration: Mapping[str, Any]) -> None:
    beside = ("start", "finetuning", "model", "model.json", "labels")
    claim_folder(out / "compression.json", configuration, f"{out} holds another compression", beside)


def _row(name: str, model: DepthModel, metrics: Mapping[str, float], size: int) -> CompressedRow:
    cost = multiply_adds(deepcopy(model).to("meta").eval())
    return CompressedRow(name, cost, sum(each.numel() for each in model.parameters()), size / 1e6, metrics)


def _bytes_of(model: DepthModel) -> int:
    return sum(each.numel() * each.element_size() for each in model.state_dict().values())
