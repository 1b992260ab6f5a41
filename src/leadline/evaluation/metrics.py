"""Metrics: how far predicted depth is from measured depth, each defined once, from means over pixels."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from threading import local
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from leadline.core.sample import Depth, Mask

Averaging = Literal["per_image", "pooled"]
"""Mean over images of each image's metric (Eigen et al. 2014 and all after them), or one metric over all pixels."""


@dataclass(frozen=True)
class Metric:
    """A pure function of (predicted, target, valid): `value` of the means over valid pixels of its `terms`.

    d is the predicted and t the measured depth, both positive; g = ln d − ln t.
    """

    label: str
    """What a table prints: no two metrics share one."""
    formula: str
    source: str
    terms: tuple[Callable[..., Any], ...]
    """Functions (predicted pixels, measured pixels) → one number a pixel."""
    value: Callable[..., Any]
    """Function of the terms' means."""
    unit: str = ""
    """`m`, `×100`, or nothing for a plain number."""
    higher_is_better: bool = False
    digits: int = 3
    """How many a table prints after the point."""

    @property
    def heading(self) -> str:
        """`RMSE (m) ↓`: the label, the unit and where better is."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.label}{unit} {'↑' if self.higher_is_better else '↓'}"

    def printed(self, value: float) -> str:
        """Format a value with the metric's own number of digits; NaN as a dash."""
        return "–" if math.isnan(value) else f"{value:.{self.digits}f}"

    def __call__(self, predicted: Depth, target: Depth, valid: Mask) -> Float[Tensor, ""]:
        """The metric pooled over all valid pixels given; NaN if there are none."""
        pixels = predicted[valid], target[valid]
        return self.value(*(term(*pixels).mean(dtype=torch.float64) for term in self.terms))


Pixels = Float[Tensor, " pixels"]


def absolute_error(predicted: Pixels, target: Pixels) -> Pixels:
    """Return |d − t| of each pixel, in metres."""
    return (predicted - target).abs()


def squared_error(predicted: Pixels, target: Pixels) -> Pixels:
    """Return (d − t)² of each pixel, in square metres."""
    return (predicted - target).square()


def relative_error(predicted: Pixels, target: Pixels) -> Pixels:
    """Return |d − t| / t of each pixel."""
    return (predicted - target).abs() / target


def squared_relative_error(predicted: Pixels, target: Pixels) -> Pixels:
    """Return (d − t)² / t of each pixel, in metres."""
    return (predicted - target).square() / target


def _shared(term: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Let terms share what another function computes of the same pixels, while `_sharing`."""

    @wraps(term)
    def call(predicted: Tensor, target: Tensor) -> Tensor:
        known = getattr(_KNOWN, "results", None)
        if known is None:
            return term(predicted, target)
        if term not in known:
            known[term] = term(predicted, target)
        return known[term]

    return call


_KNOWN = local()
"""Per thread, `results`: function → what it returned for the pixels that are summed now."""


@contextmanager
def _sharing() -> Iterator[None]:
    """Compute each `_shared` function once; all calls must be about the same pixels."""
    _KNOWN.results = {}
    try:
        yield
    finally:
        _KNOWN.results = None


@_shared
def log_ratio(predicted: Pixels, target: Pixels) -> Pixels:
    """Return g = ln d − ln t of each pixel."""
    return predicted.log() - target.log()


def squared_log_ratio(predicted: Pixels, target: Pixels) -> Pixels:
    """Return g² = (ln d − ln t)² of each pixel."""
    return log_ratio(predicted, target).square()


def absolute_log10_ratio(predicted: Pixels, target: Pixels) -> Pixels:
    """Return |log₁₀ d − log₁₀ t| of each pixel (Saxena et al. 2009)."""
    return log_ratio(predicted, target).abs() / math.log(10)


def within_1(predicted: Pixels, target: Pixels) -> Pixels:
    """Return 1 where max(d / t, t / d) < 1.25, else 0 (Eigen et al. 2014, table 1: δ < 1.25)."""
    return _within(predicted, target, 1.25)


def within_2(predicted: Pixels, target: Pixels) -> Pixels:
    """Return 1 where max(d / t, t / d) < 1.25², else 0 (Eigen et al. 2014, table 1: δ < 1.25²)."""
    return _within(predicted, target, 1.25**2)


def within_3(predicted: Pixels, target: Pixels) -> Pixels:
    """Return 1 where max(d / t, t / d) < 1.25³, else 0 (Eigen et al. 2014, table 1: δ < 1.25³)."""
    return _within(predicted, target, 1.25**3)


def _within(predicted: Pixels, target: Pixels, ratio: float) -> Pixels:
    return (_larger_ratio(predicted, target) < ratio).to(predicted.dtype)


@_shared
def _larger_ratio(predicted: Pixels, target: Pixels) -> Pixels:
    # In the depths' own precision: 1.25 m against 1 m is a ratio of 1.25, and not below it, in float32 alone.
    return torch.maximum(predicted / target, target / predicted)


def _same(mean: Tensor) -> Tensor:
    return mean


def _log_variance(mean_g: Tensor, mean_squared_g: Tensor, held: float = 1.0) -> Tensor:
    """mean g² − λ (mean g)², which rounding alone could make negative."""
    return (mean_squared_g - held * mean_g.square()).clamp(min=0)


def _root_log_variance(mean_g: Tensor, mean_squared_g: Tensor) -> Tensor:
    return 100 * _log_variance(mean_g, mean_squared_g).sqrt()


def _training_form(mean_g: Tensor, mean_squared_g: Tensor) -> Tensor:
    return 10 * _log_variance(mean_g, mean_squared_g, held=0.85).sqrt()


_EIGEN = "Eigen et al. 2014, table 1"

METRICS: Mapping[str, Metric] = {
    "abs_rel": Metric("AbsRel", "mean |d − t| / t", _EIGEN, (relative_error,), _same),
    "sq_rel": Metric("SqRel", "mean (d − t)² / t", _EIGEN, (squared_relative_error,), _same, "m"),
    "rmse": Metric("RMSE", "√ mean (d − t)²", _EIGEN, (squared_error,), torch.sqrt, "m"),
    "mae": Metric("MAE", "mean |d − t|", "the mean absolute error", (absolute_error,), _same, "m"),
    "log_rms": Metric("RMSE log", "√ mean g²", _EIGEN, (squared_log_ratio,), torch.sqrt),
    "log10": Metric("log10", "mean |log₁₀ d − log₁₀ t|", "Saxena et al. 2009", (absolute_log10_ratio,), _same),
    "d1": Metric("δ < 1.25", "share with max(d/t, t/d) < 1.25", _EIGEN, (within_1,), _same, higher_is_better=True),
    "d2": Metric("δ < 1.25²", "share with max(d/t, t/d) < 1.25²", _EIGEN, (within_2,), _same, higher_is_better=True),
    "d3": Metric("δ < 1.25³", "share with max(d/t, t/d) < 1.25³", _EIGEN, (within_3,), _same, higher_is_better=True),
    "silog": Metric(
        "SILog",
        "mean g² − (mean g)²",
        "Eigen et al. 2014, eq. 1",
        (log_ratio, squared_log_ratio),
        _log_variance,
        digits=4,
    ),
    "silog_bts": Metric(
        "SILog √",
        "100 √(mean g² − (mean g)²)",
        "the KITTI depth benchmark; Lee et al. 2019 (BTS)",
        (log_ratio, squared_log_ratio),
        _root_log_variance,
        "×100",
    ),
    "silog_loss": Metric(
        "SILog loss",
        "10 √(mean g² − 0.85 (mean g)²)",
        "Lee et al. 2019 (BTS), training loss",
        (log_ratio, squared_log_ratio),
        _training_form,
        "×10",
    ),
}
"""Name → metric. Three different numbers are called SILog in the literature: each has its own name here."""

abs_rel, sq_rel, rmse, mae = METRICS["abs_rel"], METRICS["sq_rel"], METRICS["rmse"], METRICS["mae"]
log_rms, log10 = METRICS["log_rms"], METRICS["log10"]
d1, d2, d3 = METRICS["d1"], METRICS["d2"], METRICS["d3"]
silog, silog_bts, silog_loss = METRICS["silog"], METRICS["silog_bts"], METRICS["silog_loss"]

TERMS = tuple(dict.fromkeys(term for metric in METRICS.values() for term in metric.terms))
"""Every per-pixel term that a metric needs, once: the columns of `Scores.sums`."""


@dataclass(frozen=True, eq=False)
class MetricAccumulator:
    """The sums and counts of some images, from which every metric follows under either averaging.

    One row an image, so that `+` is exact: no split into batches or processes changes a digit of any metric.
    """

    sums: Float[Tensor, "images terms"]
    """Sums over the valid pixels of each of `TERMS`, in float64."""
    pixels: Int[Tensor, " images"]
    """How many pixels were valid; an image without any is kept here and left out of every metric."""

    @classmethod
    def of(cls, predicted: Depth, target: Depth, valid: Mask) -> "MetricAccumulator":
        """Accumulate an image or a batch of them.

        Args:
            predicted: metres (*batch, 1, H, W), positive where valid.
            target: metres, of the same shape.
            valid: the pixels that count.
        """
        images = [selected(*each) for each in zip(*map(flat_images, (predicted.detach(), target, valid)), strict=True)]
        return cls(
            torch.stack([_sums(d, t) for d, t in images]).cpu(),
            torch.tensor([t.numel() for _, t in images]),
        )

    @classmethod
    def of_pixels(cls, predicted: Pixels, target: Pixels) -> "MetricAccumulator":
        """Accumulate the valid pixels of one image, in metres."""
        return cls(_sums(predicted, target).cpu()[None], torch.tensor([target.numel()]))

    @classmethod
    def of_counted(
        cls, predicted: Float[Tensor, " values"], target: Float[Tensor, " values"], counts: Int[Tensor, " values"]
    ) -> "MetricAccumulator":
        """Accumulate an image whose pixels have few different pairs of values.

        Args:
            predicted: metres of each pair of values.
            target: metres of each pair of values.
            counts: how many valid pixels have these values.
        """
        return cls(_sums(predicted, target, counts)[None], counts.sum()[None])

    @classmethod
    def merged(cls, parts: Iterable["MetricAccumulator"]) -> "MetricAccumulator":
        """Concatenate the images of several accumulators, in order."""
        parts = list(parts)
        none = cls(torch.zeros(0, len(TERMS), dtype=torch.float64), torch.zeros(0, dtype=torch.int64))
        return cls(*(torch.cat([getattr(each, field) for each in [none, *parts]]) for field in ("sums", "pixels")))

    def __add__(self, other: "MetricAccumulator") -> "MetricAccumulator":
        return self.merged([self, other])

    @property
    def counted(self) -> int:
        """How many images have valid pixels."""
        return int((self.pixels > 0).sum())

    def per_image(self) -> dict[str, list[float]]:
        """Return every metric of every image; NaN for an image without valid pixels."""
        means = self.sums / self.pixels[:, None]
        return {name: _value(metric, means).tolist() for name, metric in METRICS.items()}

    def averaged(self, averaging: Averaging = "per_image") -> dict[str, float]:
        """Return every metric over all images that have valid pixels; NaN if none has."""
        if not self.counted:
            return dict.fromkeys(METRICS, math.nan)
        if averaging == "pooled":
            # fsum rounds once, so neither the order of the images nor the order of merging shows.
            sums = torch.tensor([[math.fsum(column) for column in self.sums.T.tolist()]], dtype=torch.float64)
            return {name: _value(metric, sums / self.pixels.sum()).item() for name, metric in METRICS.items()}
        return {
            name: math.fsum(value for value, pixels in zip(values, self.pixels, strict=True) if pixels) / self.counted
            for name, values in self.per_image().items()
        }


def flat_images(maps: Tensor) -> Tensor:
    """(*batch, 1, H, W) → (images, H × W)."""
    return maps.reshape(-1, maps.shape[-2] * maps.shape[-1])


def selected(
    predicted: Float[Tensor, " all"], target: Float[Tensor, " all"], valid: Bool[Tensor, " all"]
) -> tuple[Pixels, Pixels]:
    """Return the valid pixels of both maps; several times as fast as indexing by a mask.

    Args:
        predicted: a map as a flat tensor.
        target: likewise.
        valid: likewise.
    """
    place = valid.nonzero()[:, 0]
    return predicted.index_select(0, place), target.index_select(0, place)


def _sums(predicted: Pixels, target: Pixels, counts: Int[Tensor, " pixels"] | None = None) -> Float[Tensor, " terms"]:
    if predicted.device.type == "mps":  # which has no float64
        predicted, target = predicted.cpu(), target.cpu()
    with _sharing():
        if counts is None:
            return torch.stack([term(predicted, target).sum(dtype=torch.float64) for term in TERMS])
        weights = counts.double()
        return torch.stack([term(predicted, target).double() @ weights for term in TERMS])


def _value(metric: Metric, means: Float[Tensor, "images terms"]) -> Float[Tensor, " images"]:
    return metric.value(*(means[:, TERMS.index(term)] for term in metric.terms))
