"""The small network that comes with the package: trained on published data, first at half size, then at its own.

Its encoder keeps ImageNet's weights: with few measured places, one that learns remembers how far each of them is.
"""

from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.progress import print_line
from leadline.core.ranges import AtLeastOne, NotNegative, Seed, Within
from leadline.data.datasets import Dataset, open_data
from leadline.data.mixing import Mixture
from leadline.data.transforms import Augmentation
from leadline.evaluation.evaluate import evaluate, evaluate_metrics
from leadline.evaluation.protocols import protocol
from leadline.evaluation.score_table import scene_of
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.registry import build
from leadline.models.saving import load_folder, save
from leadline.models.scope import without_scope
from leadline.recipes import TrainingRun
from leadline.recipes.scope import fit_scope
from leadline.recipes.train_options import TrainOptions, parse_parts
from leadline.training.pseudo_labels import MeanLabelledDataset, label
from leadline.training.trainer import HardwareConfig, TrainConfig

ARGUMENTS: dict[str, Any] = {
    "size": "tiny",
    "encoder": "tf_efficientnet_lite1",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "width": 18,
    "kind": DepthKind.METRIC.value,
    "camera": "any",
}
"""Of the `cnn` that is trained: 4.9 million parameters, 0.69 billion multiply-adds at 192 × 256."""
HALF_SIZE, FULL_SIZE = (96, 128), (192, 256)
_ERROR = "log RMS, mean over scenes,"
BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Fractions of the weights after training, in the mean with those of the network it started from, to choose from."""
LIMITS = (
    "metres indoors, roughly: learned from procedural and furnished rooms and a few measured scenes; "
    "do not trust it outdoors, in mirrors and glass, or nearer than half a metre; it ignores the camera"
)
"""The network's limits, shown wherever it is used by default."""


@dataclass(frozen=True)
class SmallNetworkOptions:
    """What the small network learns from, and for how long."""

    encoder: Path | None = None
    """ImageNet weights of timm's tf_efficientnet_lite1 (Tan & Le 2019), as safetensors."""
    start: str = ""
    """A small network to go on from instead, as `--model` names it, at full size only."""
    out: Path = Path("runs/small")
    """The run folder; the network will be in `model/` below it, in half precision."""
    measured: str = ""
    """Photographs with measured depth whose licences let weights be published under Apache-2.0, as specifications of
    datasets with their shares, `store:places*3 + store:sequences`; unset: rooms alone."""
    furnished: str = ""
    """Furnished rooms, written by `leadline data render`, likewise; unset: rooms of domain c in their place."""
    unlabelled: str = ""
    """Photographs without depth whose licences let weights be published, as `photos:FOLDER`, likewise; at full size the
    network learns from the mean depth that `teachers` see in them."""
    teachers: str = ""
    """Networks in metres that label them, as `--model` names them, joined by " + "."""
    validation: str = ""
    """Measured photographs that it does not learn from (split `val`), to choose each stage's best weights by and, with
    `start`, how much of them is mixed with those before. Unset: rooms of domain c choose, and all of them are taken."""
    outside: str = ""
    """Photographs of what it must warn of (streets, landscapes, close-ups), as specifications of datasets joined by
    " + ", `photos:streets + photos:flowers`; unset: it warns of nothing."""
    inside: str = ""
    """Photographs that it must not warn of, besides what it learns from, likewise."""
    test: str = ""
    """Measured photographs that it does not learn from, to be scored on at the end; the figures go into the model."""
    measured_fraction: Annotated[float, Within(0, 1, above=True, below=True)] = 0.7
    """Fraction of the images that are measured photographs."""
    furnished_fraction: Annotated[float, Within(0, 1, above=True, below=True)] = 0.15
    """Fraction of the images that are furnished rooms."""
    unlabelled_fraction: Annotated[float, Within(0, 1, above=True, below=True)] = 0.35
    """Fraction of the images at full size that are photographs without depth; the others share the rest as before."""
    rooms: AtLeastOne = 4096
    """How many rooms of domain c there are."""
    steps: AtLeastOne = 800
    """At 96 × 128."""
    full_size_steps: NotNegative = 1600
    """At 192 × 256; 0: the network stays as it was before them."""
    seed: Seed = 0
    """Of the untrained decoder, the order of the data and the augmentation."""
    hardware: HardwareConfig = field(default_factory=HardwareConfig)


def train_small_network(options: SmallNetworkOptions) -> DepthModel:
    """Train the small network at 96 × 128, then at its own 192 × 256, or another one on from there.

    Last, where there are photographs of what it must warn of, its scope head is fitted.

    It is saved in half precision in `model/` below the run folder; an interrupted training resumes.

    Returns:
        The network as it was saved.

    Raises:
        BadInput: an option, the data or the run folder cannot be used.
    """
    if (options.encoder is None) == (not options.start):
        raise BadInput("Give --encoder FILE to train from the beginning, or --start MODEL to go on from a network.")
    if options.start and not options.full_size_steps and not options.outside:
        raise BadInput("--start with --full-size-steps 0 leaves nothing to do but to fit a scope head: give --outside.")
    if bool(options.unlabelled) != bool(options.teachers):
        raise BadInput("Photographs without depth need teachers, and teachers these: give --unlabelled and --teachers.")
    if options.furnished and options.measured and options.measured_fraction + options.furnished_fraction >= 1:
        raise BadInput("The fractions of the data leave nothing of the images for rooms of domain c.")
    test = open_data(options.test, "test") if options.test else None
    start = _without_camera(without_scope(load(options.start))) if options.start else None
    network = start or _train_at_half_size(options)
    if options.full_size_steps:
        network = _train_at_full_size(options, network)
        if start and options.validation:
            network = _blend(start, network, open_data(options.validation, "val"))
    if options.outside:
        network = _fit_scope(options, network)
    network.provenance = replace(network.provenance, licence="Apache-2.0", notes=LIMITS)
    save(network, options.out / "model", half=True)
    # Half precision is what users get, so that is what is scored.
    shipped = load_folder(options.out / "model")
    if test:
        shipped.provenance = replace(shipped.provenance, figures=_figures(shipped, test))
        save(shipped, options.out / "model", half=True)
    return shipped


def _train_at_half_size(options: SmallNetworkOptions) -> DepthModel:
    """Train from ImageNet's weights, and return the network at its own size."""
    training_run = _training_run(options, _parts(options, has_labels=False), options.steps, learning_rate=2e-3)
    network = training_run.build("cnn", **ARGUMENTS, input_size=HALF_SIZE, weights=options.encoder)
    trained = training_run.fit(network, options.out / "1-half-size")
    network = build("cnn", **ARGUMENTS, input_size=FULL_SIZE)
    network.load_state_dict(trained.state_dict())
    network.provenance = trained.provenance
    return network


def _train_at_full_size(options: SmallNetworkOptions, network: DepthModel) -> DepthModel:
    parts = _parts(options, has_labels=True)
    training_run = _training_run(options, parts, options.full_size_steps, learning_rate=1e-3)
    return training_run.fit(deepcopy(network), options.out / "2-full-size")


def _blend(start: DepthModel, trained: DepthModel, validation: Dataset) -> DepthModel:
    """Return the mean of the weights before and after training, weighted as scores best on validation photographs.

    What was learnt from other data shifts less in the mean than in the network itself: Wortsman et al. 2022, "Robust
    fine-tuning of zero-shot models".
    """
    scores = {fraction: _error(_mean_of(start, trained, fraction), validation) for fraction in BLENDS}
    best = min(scores, key=scores.__getitem__)
    rows = ", ".join(f"{fraction:g}: {error:.3f}" for fraction, error in scores.items())
    print_line(f"{validation.name}: {_ERROR} by the fraction of the trained weights: {rows}; {best:g} is kept")
    return _mean_of(start, trained, best)


def _mean_of(start: DepthModel, trained: DepthModel, fraction: float) -> DepthModel:
    """The network whose weights are those of `trained`, times `fraction`, and those of `start`, times the rest."""
    mean, before = deepcopy(trained), start.state_dict()
    mean.load_state_dict(
        {
            key: before[key].lerp(value, fraction) if value.is_floating_point() else value
            for key, value in trained.state_dict().items()
        }
    )
    return mean


def _error(network: DepthModel, validation: Dataset) -> float:
    """Mean over scenes of the mean over their images of log RMS: a scene of many images counts as one of few."""
    scenes: dict[str, list[float]] = defaultdict(list)
    for image in evaluate(network, validation, protocol("indoor")).rows[0].per_image:
        scenes[scene_of(image.name)].append(image.metrics["log_rms"])
    return fmean(map(fmean, scenes.values()))


def _without_camera(network: DepthModel) -> DepthModel:
    """Return the network as one that ignores the camera, and else with the same weights."""
    changed = build(network.name, **{**network.arguments, "camera": "any"})
    changed.load_state_dict({key: network.state_dict()[key] for key in changed.state_dict()})
    changed.provenance = network.provenance
    return changed.eval()


def _fit_scope(options: SmallNetworkOptions, network: DepthModel) -> DepthModel:
    """Fit the scope head by what the network learnt from, and by the photographs that are given for it."""
    learnt = [_rooms(options), *filter(None, (options.measured, options.furnished, options.inside))]
    inside, outside = (
        [data for spec in specs for data, _ in _opened(options, spec)] for specs in (learnt, [options.outside])
    )
    return fit_scope(network, inside, outside, seed=options.seed)


def _rooms(options: SmallNetworkOptions) -> str:
    height, width = FULL_SIZE
    return f"rooms,domain=c,holes=no,count={options.rooms},height={height},width={width}"


def _opened(options: SmallNetworkOptions, sources: str) -> list[tuple[Dataset, float]]:
    """Open the datasets of a specification, each with its share."""
    return [(open_data(words, "train", cache=options.out / "cache"), share) for words, share in parse_parts(sources)]


def _parts(options: SmallNetworkOptions, *, has_labels: bool) -> list[tuple[Dataset, float]]:
    """Open all that it learns from, each dataset with its fraction of the images."""
    shares = ((options.measured, options.measured_fraction), (options.furnished, options.furnished_fraction))
    groups = [(_opened(options, sources), fraction) for sources, fraction in shares if sources]
    groups.append((_opened(options, _rooms(options)), 1 - sum(fraction for _, fraction in groups)))
    if has_labels and options.unlabelled:
        photographs = enumerate(_opened(options, options.unlabelled))
        labelled = [(_labelled(options, number, data), share) for number, (data, share) in photographs]
        rest = 1 - options.unlabelled_fraction
        groups = [(labelled, options.unlabelled_fraction), *((data, rest * fraction) for data, fraction in groups)]
    return [
        (data, fraction * share / sum(share for _, share in group))
        for group, fraction in groups
        for data, share in group
    ]


def _labelled(options: SmallNetworkOptions, number: int, photographs: Dataset) -> Dataset:
    """Give photographs the mean depth of the teachers, which are run for them once."""
    stores = [
        label(load(teacher), photographs, options.out / "labels" / f"{number}-{place}", size=FULL_SIZE, progress=True)
        for place, teacher in enumerate(options.teachers.split(" + "))
    ]
    return MeanLabelledDataset(photographs, stores)


def _training_run(
    options: SmallNetworkOptions, parts: list[tuple[Dataset, float]], steps: int, *, learning_rate: float
) -> TrainingRun:
    config = TrainConfig(
        steps=steps,
        learning_rate=learning_rate,
        validate_every=max(steps // 8, 1),
        # A network that ignores the camera should not take small crops for photographs of rooms.
        augmentation=Augmentation(crop=0.7, brightness=0.3, colour=0.15, blur=0.3, noise=0.04, jpeg=0.3),
        seed=options.seed,
    )
    learning = TrainOptions(
        loss="silog=1,l1=1,gradient=0.5", frozen=("encoder",), config=config, hardware=options.hardware
    )
    # Rooms and photographs in every batch: batch normalisation would tell the two apart if they alternated.
    validation = open_data(options.validation or _rooms(options), "val", cache=options.out / "cache")
    return learning.training_run(Mixture(parts), validation, seed=options.seed)


def _figures(model: DepthModel, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Score it unaligned and, to see its errors other than in an image's scale, median-aligned."""
    rules = [protocol("indoor"), protocol("indoor", alignment="median")]
    return {f"{dataset.name} ({each.words})": evaluate_metrics(model, dataset, each) for each in rules}
