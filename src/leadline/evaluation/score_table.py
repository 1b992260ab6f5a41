"""Tables of scores: predictions beside predictors of one constant depth, with the scores of each image."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.evaluation.alignment_kinds import WITH_SHIFT
from leadline.evaluation.metrics import MetricAccumulator, Pixels
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.scoring import CountedTarget, ScoredPair, score_constant
from leadline.evaluation.tables import ImageScore, Row, Table

SPREAD = 256
"""How many images at most the constants of the baselines are taken from, evenly spread over a dataset."""

OWN_MEDIAN = "each image's own median depth (knows the truth)"
"""A flat predictor with a perfect scale for each image: what shape is worth shows against it."""
SCENE_MEDIAN = "each scene's own median depth (knows the truth)"
"""A flat predictor that knows the place and no image of it."""
MOST_SCENE_IMAGES = 4096
"""How many images at most the medians of scenes are taken from: some of the pixels of each are held until the end."""


@dataclass(frozen=True)
class ConstantBaseline:
    """What a predictor knows that has seen depths but no image: metres."""

    mean: float
    median: float
    source: str
    """The ground truth that they are taken from: `rooms train`."""


def score_table(
    scored: Iterable[ScoredPair],
    name: str,
    kind: DepthKind,
    protocol: EvalProtocol,
    known: ConstantBaseline,
    *,
    title: str,
    is_from_files: bool = False,
    scene: Callable[[str], str] | None = None,
) -> Table:
    """Return a table with a row for predictions, one for each flat predictor, and the scores of each image.

    The flat predictors answer one of two constant depths, the median of each scene (the part of a name before its last
    `/`) where there are scenes of several images, or each image's own median. Medians, and the scores of those of
    scenes, are of some ten thousand pixels of each image.

    Args:
        scored: what each prediction scored, with its `constants`.
        name: what the table calls the predictions.
        kind: what they guarantee.
        protocol: how they were compared.
        known: the constants.
        title: of the table.
        is_from_files: whether the predictions' kind can be stated otherwise.
        scene: an image's name → its scene; None: `scene_of`.

    Raises:
        BadInput: no pixel counts.
    """
    rivals = (
        f"mean depth of {known.source} ({known.mean:.2f} m)",
        f"median depth of {known.source} ({known.median:.2f} m)",
        OWN_MEDIAN,
    )
    names: list[str] = []
    turned: list[str] = []
    parts: dict[str, list[MetricAccumulator]] = {each: [] for each in (name, *rivals)}
    samples: list[Pixels | None] = []
    empty: list[str] = []
    unusable = outside = 0
    for pair in scored:
        names.append(pair.name)
        turned += [pair.name] if pair.is_reversed else []
        empty += [pair.name] if pair.is_empty else []
        unusable += pair.unusable
        outside += pair.outside
        for each, part in zip(parts, (pair.scores, *pair.constants), strict=True):
            parts[each].append(part)
        samples.append(pair.sample if len(samples) < MOST_SCENE_IMAGES else None)
    scores = MetricAccumulator.merged(parts.pop(name))
    check_counted(scores, protocol)
    notes = []
    if unusable:
        fate = "zeros take part in its fit" if protocol.alignment in WITH_SHIFT else "held to the protocol's range"
        notes.append(f"{unusable:,} counted pixels are predicted as zero, less or no number: {fate}")
    if empty:
        notes.append(
            f"{len(empty)} of {scores.counted} images have no predicted depth at all: scored as "
            f"{protocol.min_depth:g} m everywhere ({_some(empty)})"
        )
    if outside > _MUCH_OUTSIDE * scores.pixels.sum():
        notes.append(
            f"{outside / scores.pixels.sum():.0%} of the counted pixels are predicted nearer than "
            f"{protocol.min_depth:g} m or farther than {protocol.cap:g} m: held to this range"
        )
    if turned:
        notes.append(_turned(turned, scores.counted, kind, protocol, is_from_files=is_from_files))
    left_out = [each for each, pixels in zip(names, scores.pixels.tolist(), strict=True) if not pixels]
    row = row_of(name, scores, names, kind, protocol, note="; ".join(notes))
    own = parts.pop(OWN_MEDIAN)
    if len(names) <= MOST_SCENE_IMAGES and (
        by_scenes := _score_scenes([*map(scene or scene_of, names)], samples, scores.pixels.tolist(), protocol)
    ):
        parts[SCENE_MEDIAN] = by_scenes
    parts[OWN_MEDIAN] = own
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


_MUCH_OUTSIDE = 0.01
"""Share of the pixels that may be predicted outside of the protocol's range without a note."""


def scene_of(name: str) -> str:
    """Return the scene of an image: the part of its name before the last `/`."""
    return name.rpartition("/")[0]


def _score_scenes(
    scenes: list[str], samples: list[Float[np.ndarray, " _"] | None], counted: list[int], protocol: EvalProtocol
) -> list[MetricAccumulator]:
    """Score each scene's median against some pixels of each image, weighted to how many it has.

    Nothing where every image is a scene of its own, or all are one.

    Args:
        scenes: the scene of each image.
        samples: some of the measured depths of each image.
        counted: how many pixels of each image count.
        protocol: how they are compared.
    """
    held = [np.zeros(0, np.float32) if sample is None else sample for sample in samples]
    by_scene: dict[str, list[Pixels]] = defaultdict(list)
    for scene, sample in zip(scenes, held, strict=True):
        by_scene[scene].append(sample)
    if not 1 < len(by_scene) < len(scenes):
        return []
    medians = {
        scene: CountedTarget(np.concatenate(some)).median(protocol.min_depth) for scene, some in by_scene.items()
    }
    scored = []
    for scene, sample, pixels in zip(scenes, held, counted, strict=True):
        weight = round(pixels / len(sample)) if len(sample) else 1
        target = CountedTarget(sample, np.full(len(sample), weight))
        scored.append(score_constant(medians[scene], target, protocol))
    return scored


def check_counted(scores: MetricAccumulator, protocol: EvalProtocol) -> None:
    """Refuse scores of images of which no pixel counts."""
    if not scores.counted:
        raise BadInput(
            f"None of {len(scores.pixels)} depth maps has a pixel that counts under {protocol.description}: "
            "check the depth scale, the crop and the cap."
        )


def constants_of(samples: Iterable[Pixels], protocol: EvalProtocol, source: str) -> ConstantBaseline:
    """Return mean and median of the depths of some images, of which each gave some pixels.

    Args:
        samples: depths of each image, in metres.
        protocol: what chose them.
        source: what they are from, for the table.

    Raises:
        BadInput: there are none.
    """
    depths = [sample.astype(np.float64) for sample in samples]
    every = np.concatenate(depths) if depths else np.zeros(0)
    if not len(every):
        raise BadInput(
            f"{len(depths)} depth maps of {source} have no pixel that counts under {protocol.description}: "
            "check the depth scale, the crop and the cap."
        )
    return ConstantBaseline(float(every.mean()), float(np.median(every)), source)


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
