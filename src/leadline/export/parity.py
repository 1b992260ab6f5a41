"""The parity gate: how far an exported model is from the original, on photographs and on a labelled set."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from leadline.core.arrays import as_array
from leadline.core.depth_kind import DepthKind
from leadline.data.datasets import Dataset
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.protocols import EvalProtocol, protocol
from leadline.evaluation.tables import TextTable
from leadline.inference.backends import Predictor, as_rgb8

TOLERANCES = {"fp32": 1e-4, "fp16": 2e-3}
"""Precision → the largest difference at any pixel, as a fraction of the range (see `difference`)."""
MOST_OFF = {"fp32": 1e-3, "fp16": 2e-2}
"""Precision → by how much the scores of what is out of scope, between 0 and 1, may differ."""
MOST_LOST = 0.005
"""δ1 that an INT8 model may lose."""
LEAST_RANGE = 0.1
"""A map's range counts as at least this fraction of its largest number: where a network answers nearly one number, what
single precision rounds off is no small part of what varies."""
FOCALS = (0.0, 0.7, 1.6)
"""Focal lengths that images are predicted with, in their widths; 0: unknown."""


@dataclass(frozen=True)
class Parity:
    """How far an exported model is from the original."""

    precision: str
    images: int
    """Photographs, each in several sizes."""
    sizes: tuple[str, ...]
    worst: float
    """The largest difference at any pixel of any image, as a fraction of the image's range."""
    typical: float
    """The median over the images of the mean difference, as the same fraction."""
    data: str
    """The labelled set, and the protocol."""
    delta1: tuple[float, float]
    """δ1 of the original and of the export."""
    rmse: tuple[float, float]
    """RMSE in metres of both."""
    scope: float | None = None
    """The largest difference between the scores of `measure_scored`; None: there are none."""

    @property
    def fault(self) -> str:
        """Why the export is not good enough; empty where it is."""
        if self.precision == "int8":
            lost = self.delta1[0] - self.delta1[1]
            # As a condition that NaN does not meet.
            return "" if lost <= MOST_LOST else f"δ1 falls by {lost:.4f}, and may by {MOST_LOST:g}"
        most = TOLERANCES[self.precision]
        if self.scope is not None and not self.scope <= MOST_OFF[self.precision]:
            allowed = MOST_OFF[self.precision]
            return f"its scores of what is out of scope differ by {self.scope:.2g}, and may by {allowed:g}"
        return "" if self.worst <= most else f"its depth differs by {self.worst:.2g} of the range, and may by {most:g}"

    def record(self) -> dict[str, Any]:
        """Return what the file's metadata keep of it."""
        return {**asdict(self), "within_tolerance": not self.fault}

    def table(self) -> TextTable:
        """Return the figures as a table."""
        rows = (
            ("largest difference, of the range", "", f"{self.worst:.2g}"),
            ("typical difference, of the range", "", f"{self.typical:.2g}"),
            *([] if self.scope is None else [("largest difference of the score of scope", "", f"{self.scope:.2g}")]),
            ("δ1", *(f"{each:.4f}" for each in self.delta1)),
            ("RMSE (m)", *(f"{each:.4f}" for each in self.rmse)),
        )
        return TextTable("", (f"{self.images} images; {self.data}", "original", self.precision), rows)


def compare(
    original: Predictor,
    exported: Predictor,
    images: Sequence[UInt8[np.ndarray, "H W 3"]],
    dataset: Dataset,
    scored: tuple[Any, Any],
    precision: str,
) -> Parity:
    """Run both on the same images in several sizes, and score both on a labelled set.

    Args:
        original: the model that was exported.
        exported: the file.
        images: photographs.
        dataset: a labelled set, in metres.
        scored: both as `leadline.evaluation.evaluate.evaluate` takes them.
        precision: of the export.
    """
    rule = _rule(original.kind)
    differences, sizes, off = [], set(), []
    several = [[image] for image in in_several_sizes(images)]
    # Networks that hold the size of the batch they were traced with fail here, or answer for one image only.
    together = [[image, image[:, ::-1], image[::-1]] for (image,) in several[-1:]]
    for number, batch in enumerate(several + together):
        height, width = batch[0].shape[:2]
        focal = FOCALS[number % len(FOCALS)] * width
        camera = np.array([focal, focal, (width - 1) / 2, (height - 1) / 2], np.float32) if focal else None
        (wanted, wanted_scores), (found, found_scores) = (
            each.measure_scored(batch, [camera] * len(batch)) for each in (original, exported)
        )
        if len(found) != len(wanted):
            found = np.full_like(wanted, np.nan)
        differences += map(difference, wanted, found)
        if wanted_scores is not None:
            off.append(math.inf if found_scores is None else float(np.abs(found_scores - wanted_scores).max()))
        sizes.add(f"{height} × {width}")
    scores = [evaluate_metrics(each, dataset, rule) for each in scored]
    return Parity(
        precision=precision,
        images=len(differences),
        sizes=tuple(sorted(sizes)),
        worst=max(worst for worst, _ in differences),
        typical=float(np.median([mean for _, mean in differences])),
        data=f"{dataset.name} ({rule.words})",
        delta1=(scores[0]["d1"], scores[1]["d1"]),
        rmse=(scores[0]["rmse"], scores[1]["rmse"]),
        scope=max(off, default=None),
    )


def difference(expected: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Return the largest and the mean difference of two maps, as fractions of the range of the first.

    The range is that of the first map, and at least `LEAST_RANGE` of its largest number. What is finite in one only
    differs infinitely.
    """
    if expected.shape != found.shape or (np.isfinite(expected) != np.isfinite(found)).any():
        return np.inf, np.inf
    known = np.isfinite(expected)
    if not known.any():
        return 0.0, 0.0
    wanted, away = expected[known].astype(np.float64), found[known].astype(np.float64)
    extent = max(float(np.ptp(wanted)), LEAST_RANGE * float(np.abs(wanted).max()), float(np.finfo(np.float32).tiny))
    off = np.abs(away - wanted) / extent
    return float(off.max()), float(off.mean())


def in_several_sizes(images: Iterable[np.ndarray]) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Return each photograph as it is, upright out of its middle, and small with odd sides."""
    several = []
    for image in images:
        pixels = as_rgb8(image)
        height, width = pixels.shape[:2]
        narrow = max(min(width, height * 3 // 5), 1)
        left = (width - narrow) // 2
        several += [
            pixels,
            pixels[:, left : left + narrow],
            cv2.resize(pixels, (123, 77), interpolation=cv2.INTER_AREA),
        ]
    return [np.ascontiguousarray(each) for each in several]


def images_of(dataset: Dataset, most: int) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Return the first images of a dataset as RGB of 8 bits."""
    return [as_rgb8(as_array(dataset[index].image).transpose(1, 2, 0)) for index in range(min(len(dataset), most))]


def _rule(kind: DepthKind) -> EvalProtocol:
    alignment = {DepthKind.METRIC: "none", DepthKind.SCALE_FREE: "median", DepthKind.RELATIVE: "inverse_scale_shift"}
    return protocol("indoor", alignment=alignment[kind])
