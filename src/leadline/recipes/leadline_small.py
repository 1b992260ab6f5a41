"""The small network that comes with the package: trained on published data in three stages.

First at half size, where an hour shows it many pictures, then at its own; then on furnished rooms, where it learns too
how far to follow the camera.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.progress import print_line
from leadline.core.ranges import AtLeastOne, Seed, Within
from leadline.data.datasets import Dataset, open_data
from leadline.data.mixing import as_mixture
from leadline.data.transforms import Augmentation
from leadline.evaluation.evaluate import evaluate, evaluate_metrics
from leadline.evaluation.protocols import protocol
from leadline.evaluation.score_table import scene_of
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.names import LEARNED_CAMERA
from leadline.models.registry import build
from leadline.models.saving import load_folder, save
from leadline.models.scope import without_scope
from leadline.recipes import TrainingRun
from leadline.recipes.scope import fit_scope
from leadline.recipes.train_options import TrainOptions, parse_parts
from leadline.training.trainer import HardwareConfig, TrainConfig

ARGUMENTS: dict[str, Any] = {
    "size": "tiny",
    "encoder": "mobilenetv2_100",
    "encoder_options": {"pad_type": "same"},
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "width": 24,
    "kind": DepthKind.METRIC.value,
    "restore": "guided",
}
"""Of the `cnn` that is trained: 3.6 million parameters, 0.63 billion multiply-adds at 192 × 256."""
_ERROR = "log RMS, mean over scenes,"
BLENDS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Fractions of the weights after the third stage, in the mean with those before it, that the recipe chooses from."""
LIMITS = (
    "metres indoors, roughly: learned from procedural and furnished rooms and a few measured scenes; "
    "do not trust it outdoors, in mirrors and glass, or nearer than half a metre"
)
"""The network's limits, shown wherever it is used by default."""


@dataclass(frozen=True)
class SmallNetworkOptions:
    """What the small network learns from, and for how long."""

    encoder: Path | None = None
    """ImageNet weights of timm's mobilenetv2_100, padded as in TensorFlow, as safetensors."""
    start: str = ""
    """A small network to go on from instead, as `--model` names it: the first two stages are left out. Without
    `furnished` its third stage is the control that has the same steps without furnished rooms."""
    out: Path = Path("runs/small")
    """The run folder; the network will be in `model/` below it, in half precision."""
    measured: str = ""
    """Photographs with measured depth whose licences let weights be published under Apache-2.0, as specifications of
    datasets with their shares, `store:places*3 + store:sequences`; unset: rooms alone."""
    furnished: str = ""
    """Furnished rooms, written by `leadline data render`, likewise; unset: no third stage."""
    validation: str = ""
    """Measured photographs that it does not learn from (split `val`), to choose by: the third stage's best weights, how
    much of them is mixed with those before it, and whether the network follows the camera. Unset: rooms of domain c
    choose the weights, all of them are taken, and it follows."""
    outside: str = ""
    """Photographs of what it must warn of (streets, landscapes, close-ups), as specifications of datasets joined by
    " + ", `photos:streets + photos:flowers`; unset: it warns of nothing. With `start` and without `furnished` nothing
    else is trained."""
    inside: str = ""
    """Photographs that it must not warn of, besides what it learns from, likewise."""
    test: str = ""
    """Measured photographs that it does not learn from, to be scored on at the end; the figures go into the model."""
    measured_fraction: Annotated[float, Within(0, 1, above=True, below=True)] = 0.25
    """Fraction of the images that are measured photographs."""
    furnished_fraction: Annotated[float, Within(0, 1, above=True, below=True)] = 0.6
    """Fraction of the third stage's images that are furnished rooms."""
    rooms: AtLeastOne = 16384
    """How many rooms there are at 96 × 128; a fourth as many at 192 × 256."""
    steps: AtLeastOne = 4800
    """At 96 × 128; a tenth as many at 192 × 256."""
    furnished_steps: AtLeastOne = 1200
    """Of the third stage, at 192 × 256."""
    seed: Seed = 0
    """Of the untrained decoder, the order of the data and the augmentation."""
    hardware: HardwareConfig = field(default_factory=HardwareConfig)


def train_small_network(options: SmallNetworkOptions) -> DepthModel:
    """Train the small network: at 96 × 128, then at its own 192 × 256, then on furnished rooms if there are any.

    Last, where there are photographs of what it must warn of, its scope head is fitted.

    It is saved in half precision in `model/` below the run folder; an interrupted training resumes.

    Returns:
        The network as it was saved.

    Raises:
        BadInput: an option, the data or the run folder cannot be used.
    """
    if (options.encoder is None) == (not options.start):
        raise BadInput("Give --encoder FILE to train from the beginning, or --start MODEL to go on from a network.")
    if options.furnished and options.measured and options.measured_fraction + options.furnished_fraction >= 1:
        raise BadInput("measured_fraction and furnished_fraction leave nothing of the images for rooms of domain c.")
    test = open_data(options.test, "test") if options.test else None
    network = without_scope(load(options.start)) if options.start else _train_on_rooms(options)
    before = None
    if options.furnished or (options.start and not options.outside):
        before, network = network, _train_on_furnished_rooms(options, network)
    if options.validation:
        validation = open_data(options.validation, "val")
        network = _choose_camera(network, validation)
        network = _blend(before, network, validation) if before else network
    if options.outside:
        network = _fit_scope(options, network)
    ignores = "; it ignores the camera" if network.preprocessing.focal is None else ""
    network.provenance = replace(network.provenance, licence="Apache-2.0", notes=LIMITS + ignores)
    save(network, options.out / "model", half=True)
    # Half precision is what users get, so that is what is scored.
    shipped = load_folder(options.out / "model")
    if test:
        shipped.provenance = replace(shipped.provenance, figures=_figures(shipped, test))
        save(shipped, options.out / "model", half=True)
    return shipped


def _train_on_rooms(options: SmallNetworkOptions) -> DepthModel:
    """Train at half size from ImageNet's weights, then at the network's own size."""
    training_run = _training_run(options, (96, 128), options.steps, learning_rate=2e-3)
    network = training_run.build("cnn", **ARGUMENTS, input_size=(96, 128), weights=options.encoder)
    half_size = training_run.fit(network, options.out / "1-half-size")
    training_run = _training_run(options, (192, 256), max(options.steps // 10, 1), learning_rate=5e-4)
    network = training_run.build("cnn", **ARGUMENTS, input_size=(192, 256))
    network.load_state_dict(half_size.state_dict())
    network.provenance = half_size.provenance
    return training_run.fit(network, options.out / "2-full-size")


def _train_on_furnished_rooms(options: SmallNetworkOptions, network: DepthModel) -> DepthModel:
    """Train at the network's own size; it learns how far to follow the camera, which some photographs hide."""
    training_run = _training_run(
        options,
        (192, 256),
        options.furnished_steps,
        learning_rate=1e-3,
        encoder_lr_scale=0.3,
        is_third=True,
    )
    return training_run.fit(_with_camera(network, LEARNED_CAMERA), options.out / "3-furnished")


def _blend(start: DepthModel, trained: DepthModel, validation: Dataset) -> DepthModel:
    """Return the mean of the weights before and after a stage, weighted as scores best on the validation photographs.

    What was learnt from other data shifts less in the mean than in the network itself: Wortsman et al. 2022, "Robust
    fine-tuning of zero-shot models".
    """
    scores = {fraction: _error(_mean_of(start, trained, fraction), validation) for fraction in BLENDS}
    best = min(scores, key=scores.__getitem__)
    rows = ", ".join(f"{fraction:g}: {error:.3f}" for fraction, error in scores.items())
    print_line(f"{validation.name}: {_ERROR} by the fraction of the trained weights: {rows}; {best:g} is kept")
    return _mean_of(start, trained, best)


def _mean_of(start: DepthModel, trained: DepthModel, fraction: float) -> DepthModel:
    """The network whose weights are those of `trained`, times `fraction`, and those of `start`, times the rest.

    How far to follow the camera, which `start` does not know, is as trained.
    """
    camera = trained.arguments["camera"]
    mean, before = _with_camera(trained, camera), _with_camera(start, camera).state_dict()
    mean.load_state_dict(
        {
            key: before[key].lerp(value, fraction) if value.is_floating_point() and key != "focal_power" else value
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


def _choose_camera(network: DepthModel, validation: Dataset) -> DepthModel:
    """Return the network that ignores cameras, if telling it those of the validation photographs makes it worse."""
    ignoring = _with_camera(network, "any")
    told, untold = (_error(each, validation) for each in (network, ignoring))
    print_line(f"{validation.name}: {_ERROR} {told:.3f} with the photographs' cameras, {untold:.3f} without them")
    return network if told <= untold else ignoring


def _with_camera(network: DepthModel, camera: str) -> DepthModel:
    """Return the network with another use of the focal length and, but for that, the same weights."""
    changed = build(network.name, **{**network.arguments, "camera": camera})
    kept = {**changed.state_dict(), **network.state_dict()}
    changed.load_state_dict({key: kept[key] for key in changed.state_dict()})
    changed.provenance = network.provenance
    return changed.eval()


def _fit_scope(options: SmallNetworkOptions, network: DepthModel) -> DepthModel:
    """Fit the scope head by what the network learnt from, and by the photographs that are given for it."""
    learnt = [
        _rooms(options, (192, 256)),
        *filter(None, (options.measured, options.furnished, options.inside)),
    ]
    opened = [
        [open_data(words, "train", cache=options.out / "cache") for spec in specs for words, _ in parse_parts(spec)]
        for specs in (learnt, [options.outside])
    ]
    return fit_scope(network, *opened, seed=options.seed)


def _rooms(options: SmallNetworkOptions, size: tuple[int, int]) -> str:
    """Return the specification of the rooms of domain c at a size: a fourth as many where they are larger."""
    count = options.rooms if size == (96, 128) else max(options.rooms // 4, 1)
    return f"rooms,domain=c,holes=no,count={count},height={size[0]},width={size[1]}"


def _training_run(
    options: SmallNetworkOptions,
    size: tuple[int, int],
    steps: int,
    *,
    learning_rate: float,
    encoder_lr_scale: float | None = None,
    is_third: bool = False,
) -> TrainingRun:
    fractions = {options.measured: options.measured_fraction} if options.measured else {}
    if is_third and options.furnished:
        fractions[options.furnished] = options.furnished_fraction
    data = _rooms(options, size)
    for sources, fraction in fractions.items():
        parts = parse_parts(sources)
        of_rooms = fraction / (1 - sum(fractions.values())) / sum(weight for _, weight in parts)
        data += "".join(f" + {source}*{weight * of_rooms:g}" for source, weight in parts)
    config = TrainConfig(
        steps=steps,
        learning_rate=learning_rate,
        encoder_lr_scale=encoder_lr_scale,
        validate_every=max(steps // 8, 1),
        augmentation=Augmentation(
            # A network that does not know the camera should not take crops for photographs of rooms.
            crop=0.7 if is_third else 0.5,
            brightness=0.3,
            colour=0.15,
            blur=0.3,
            noise=0.04,
            jpeg=0.3,
            unknown_camera=0.3 if is_third else 0.0,
        ),
        seed=options.seed,
    )
    learning = TrainOptions(data=data, loss="silog=1,l1=1,gradient=0.5", config=config, hardware=options.hardware)
    cache = options.out / "cache"
    # Rooms and photographs in every batch: batch normalisation would tell the two apart if they alternated.
    train = as_mixture(learning.open("train", cache))
    chosen_by = options.validation if is_third else ""
    validation = open_data(chosen_by, "val") if chosen_by else learning.open("val", cache)
    return learning.training_run(train, validation, seed=options.seed)


def _figures(model: DepthModel, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Score it unaligned and, to see its errors other than in an image's scale, median-aligned."""
    rules = [protocol("indoor"), protocol("indoor", alignment="median")]
    return {f"{dataset.name} ({each.words})": evaluate_metrics(model, dataset, each) for each in rules}
