"""Details of a score: errors by range of depth, and how well edges and surfaces are found."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from leadline.core.sample import Depth, Mask, collate
from leadline.data.datasets import Dataset
from leadline.data.loader import group_by_size
from leadline.evaluation.evaluate import predict_views
from leadline.evaluation.geometry import CLOSE, cloud_scores, f1, relative_normal_error
from leadline.evaluation.metrics import METRICS, MetricAccumulator
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.score_table import OWN_MEDIAN
from leadline.evaluation.tables import TextTable
from leadline.models.base import DepthModel

RANGES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 80.0)
"""Metres at which ranges of depth meet."""
THRESHOLDS = tuple(1.05 + 0.2 * step / 9 for step in range(10))
"""Ratios of neighbouring depths from which on there is an edge: Depth Pro's, from 1.05 to 1.25."""

_COLUMNS = ("abs_rel", "rmse", "d1")
"""Metrics of a range."""


@dataclass(frozen=True, eq=False)
class ComparedImage:
    """One prediction under a protocol."""

    metres: Depth
    target: Depth
    counted: Mask
    camera: tuple[float, ...] | None = None
    """fx, fy, cx, cy in pixels; None: not known."""


def compared_images(
    model: DepthModel, dataset: Dataset, protocol: EvalProtocol, *, batch_size: int = 8
) -> Iterator[ComparedImage]:
    """Predict a dataset, and average, align and clip the predictions as a protocol says.

    Args:
        model: the model, on the device that it computes on.
        dataset: images with depth in metres.
        protocol: which pixels count, and how predictions are aligned.
        batch_size: images that the model sees at once.
    """
    for group in group_by_size((dataset[index] for index in range(len(dataset))), batch_size):
        together = collate(group)
        predicted = predict_views(model, together, protocol)
        for sample, depth in zip(group, predicted, strict=True):
            compared = protocol.compare(depth, sample.depth, sample.valid, model.kind)
            camera = None if sample.intrinsics is None else tuple(sample.intrinsics.tolist())
            yield ComparedImage(compared.metres, sample.depth, compared.counted, camera)


def boundary_f1(predicted: Depth, target: Depth, valid: Mask, thresholds: Sequence[float] = THRESHOLDS) -> float:
    """Compute how well the edges of things are found: 0 to 1, and NaN where the target has none.

    Bochkovskii et al. 2024 (Depth Pro), section 4.2: an edge lies between neighbours whose depths have a ratio above t.
    Precision and recall of the predicted edges, for each of the four directions, give F1; thresholds weigh in
    proportion to themselves. Only ratios matter, so no scale does. Here, pairs of measured pixels alone count, and
    directions without an edge in the target are left out.

    Args:
        predicted: depth (1, H, W), positive.
        target: depth of the same shape.
        valid: which pixels are measured.
        thresholds: t, above 1.
    """
    scores = [_f1(predicted, target, valid, threshold) for threshold in thresholds]
    known = [(score, threshold) for score, threshold in zip(scores, thresholds, strict=True) if score == score]
    if not known:
        return float("nan")
    return sum(score * threshold for score, threshold in known) / sum(threshold for _, threshold in known)


def details(images: Iterable[ComparedImage], ranges: Sequence[float] = RANGES) -> tuple[TextTable, TextTable]:
    """List errors by range of the target depth, pooled over pixels; and how well edges and surfaces are found.

    Beside the model stands a flat predictor, which gives each image its own median depth: what a perfect scale without
    any shape scores.

    Args:
        images: of `compared_images`.
        ranges: metres at which ranges meet.

    Returns:
        The table of ranges, and the table of shape. Relative normals and clouds are of images whose intrinsics are
        known; the table says of how many.
    """
    parts: dict[int, list[MetricAccumulator]] = {number: [] for number in range(len(ranges) - 1)}
    flat: list[MetricAccumulator] = []
    shapes: list[tuple[_Shape, _Shape]] = []
    for image in images:
        for number, (near, far) in enumerate(pairwise(ranges)):
            within = image.counted & (image.target >= near) & (image.target < far)
            parts[number].append(MetricAccumulator.of(image.metres, image.target, within))
        if not image.counted.any():
            continue
        middle = float(np.median(image.target[image.counted].cpu().numpy()))
        constant = replace(image, metres=torch.full_like(image.target, middle))
        flat.append(MetricAccumulator.of(constant.metres, image.target, image.counted))
        shapes.append((_Shape.of(image), _Shape.of(constant)))
    own = MetricAccumulator.merged(flat).averaged()
    figures = ", ".join(f"{METRICS[name].label} {METRICS[name].printed(own[name])}" for name in _COLUMNS)
    median = (
        f"Each image's own median depth, a flat predictor that knows the ground truth, scores, unaligned, {figures}."
    )
    return _range_table(parts, ranges, median), _shape_table(shapes)


def detail_tables(
    model: DepthModel, dataset: Dataset, protocol: EvalProtocol, *, batch_size: int = 8
) -> tuple[TextTable, TextTable]:
    """Predict a dataset and list `details`.

    Args:
        model: the model, on the device that it computes on.
        dataset: images with depth in metres.
        protocol: which pixels count, and how predictions are aligned.
        batch_size: images that the model sees at once.
    """
    return details(compared_images(model, dataset, protocol, batch_size=batch_size))


@dataclass(frozen=True)
class _Shape:
    """How well the edges and surfaces of one image are found; NaN: not known."""

    edges: float
    normals: float = math.nan
    chamfer: float = math.nan
    f_score: float = math.nan

    @classmethod
    def of(cls, image: ComparedImage) -> "_Shape":
        # Pixels that were not measured are never read: any positive number may stand there.
        target = torch.where(image.counted, image.target, 1.0)
        edges = boundary_f1(image.metres, target, image.counted)
        if image.camera is None:
            return cls(edges)
        both = (image.metres, target, image.counted, image.camera)
        clouds = cloud_scores(*both)
        return cls(edges, relative_normal_error(*both), clouds.chamfer, clouds.f_score)


def _range_table(parts: Mapping[int, Sequence[MetricAccumulator]], ranges: Sequence[float], remark: str) -> TextTable:
    merged = {number: MetricAccumulator.merged(some) for number, some in parts.items()}
    total = sum(int(some.pixels.sum()) for some in merged.values())
    lines = tuple(
        (
            f"{ranges[number]:g} to {ranges[number + 1]:g} m",
            f"{int(some.pixels.sum()) / total:.1%}",
            *(METRICS[name].printed(some.averaged("pooled")[name]) for name in _COLUMNS),
        )
        for number, some in merged.items()
        if some.counted
    )
    head = ("target depth", "pixels", *(METRICS[name].heading for name in _COLUMNS))
    return TextTable("Errors by range of depth, pooled over pixels", head, lines, (remark,))


def _shape_table(shapes: Sequence[tuple[_Shape, _Shape]]) -> TextTable:
    columns = (
        ("edges", "boundary F1 ↑", 3),
        ("normals", "relative normals (°) ↓", 1),
        ("chamfer", "Chamfer distance (m) ↓", 3),
        ("f_score", f"F-score at {CLOSE:g} m ↑", 3),
    )
    lines = []
    for number, name in enumerate(("the model", OWN_MEDIAN)):
        line = [name]
        for part, _, digits in columns:
            known = [value for each in shapes if (value := getattr(each[number], part)) == value]
            line.append(f"{sum(known) / len(known):.{digits}f}" if known else "–")
        lines.append(tuple(line))
    edged = sum(each.edges == each.edges for each, _ in shapes)
    placed = sum(each.chamfer == each.chamfer for each, _ in shapes)
    remarks = (
        "Means over images. Boundary F1: Depth Pro's. Relative normals: Wu et al. 2025. Distances are between the "
        "points of predicted and of measured pixels.",
        f"Of {len(shapes)} images, {edged} have edges and {placed} have intrinsics, which normals and points need.",
    )
    return TextTable("Edges and surfaces", ("", *(heading for _, heading, _ in columns)), tuple(lines), remarks)


def _f1(predicted: Depth, target: Depth, valid: Mask, threshold: float) -> float:
    """F1 at one threshold, NaN where the target has no edge."""
    precisions, recalls = [], []
    for axis in (-1, -2):
        pairs = _before(valid, axis) & _after(valid, axis)
        for swaps in (False, True):
            ours, theirs = (_edges(each, axis, threshold, swaps=swaps) & pairs for each in (predicted, target))
            if not theirs.any():
                continue
            hits = int((ours & theirs).sum())
            precisions.append(hits / max(int(ours.sum()), 1))
            recalls.append(hits / int(theirs.sum()))
    if not recalls:
        return float("nan")
    return f1(sum(precisions) / len(precisions), sum(recalls) / len(recalls))


def _edges(depth: Depth, axis: int, threshold: float, *, swaps: bool) -> Tensor:
    near, far = _before(depth, axis), _after(depth, axis)
    near, far = (far, near) if swaps else (near, far)
    return far > threshold * near


def _before(maps: Tensor, axis: int) -> Tensor:
    return maps.narrow(axis, 0, maps.shape[axis] - 1)


def _after(maps: Tensor, axis: int) -> Tensor:
    return maps.narrow(axis, 1, maps.shape[axis] - 1)
