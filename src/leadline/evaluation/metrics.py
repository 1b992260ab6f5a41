"""Metrics: how far predicted depth is from measured depth, each defined once, from means over pixels."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from threading import local
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from leadline.core.arrays import Depth, Mask, Tensor, as_array, as_tensor

Averaging = Literal["per_image", "pooled"]
"""Mean over images of each image's metric (Eigen et al. 2014 and all after them), or one metric over all pixels."""


@dataclass(frozen=True)
class Metric:
    """A function of (predicted, target, valid): `value` of the means over valid pixels of its `terms`.

    d is the predicted and t the measured depth, both positive; g = ln d − ln t.
    """

    label: str
    """What a table prints: no two metrics share one."""
    formula: str
    source: str
    terms: tuple[Callable[..., Any], ...]
    """Functions (predicted pixels, measured pixels) → one number, or True or False, a pixel; arrays of NumPy."""
    value: Callable[..., Any]
    """Function of the terms' means, which are numbers or arrays of NumPy."""
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
        pixels = selected(*(as_array(each).reshape(-1) for each in (predicted, target, valid)))
        with _sharing(), np.errstate(invalid="ignore"):
            means = (np.divide(_sum(term(*pixels)), len(pixels[0])) for term in self.terms)
            return as_tensor(np.asarray(self.value(*means)))


Pixels = Float[np.ndarray, " pixels"]
"""Metres."""
PixelTerms = Float[np.ndarray, " pixels"] | Bool[np.ndarray, " pixels"]
"""What a metric takes the mean of; True counts as 1."""


def _shared(term: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Let terms share what another function computes of the same pixels, while `_sharing`."""

    @wraps(term)
    def call(predicted: Any, target: Any) -> Any:
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
def _difference(predicted: Pixels, target: Pixels) -> Pixels:
    return predicted - target


@_shared
def _ratio(predicted: Pixels, target: Pixels) -> Pixels:
    return predicted / target


@_shared
def absolute_error(predicted: Pixels, target: Pixels) -> Pixels:
    """Return |d − t| of each pixel, in metres."""
    return np.abs(_difference(predicted, target))


@_shared
def squared_error(predicted: Pixels, target: Pixels) -> Pixels:
    """Return (d − t)² of each pixel, in square metres."""
    return np.square(_difference(predicted, target))


def relative_error(predicted: Pixels, target: Pixels) -> Pixels:
    """Return |d − t| / t of each pixel."""
    return absolute_error(predicted, target) / target


def squared_relative_error(predicted: Pixels, target: Pixels) -> Pixels:
    """Return (d − t)² / t of each pixel, in metres."""
    return squared_error(predicted, target) / target


@_shared
def log_ratio(predicted: Pixels, target: Pixels) -> Pixels:
    """Return g = ln d − ln t of each pixel."""
    return np.log(_ratio(predicted, target))


def squared_log_ratio(predicted: Pixels, target: Pixels) -> Pixels:
    """Return g² = (ln d − ln t)² of each pixel."""
    # In float64: the variance of g is the small difference of this mean and the square of g's own.
    return np.square(log_ratio(predicted, target), dtype=np.float64)


def absolute_log10_ratio(predicted: Pixels, target: Pixels) -> Pixels:
    """Return |log₁₀ d − log₁₀ t| of each pixel (Saxena et al. 2009)."""
    return np.abs(log_ratio(predicted, target)) / math.log(10)


def within_1(predicted: Pixels, target: Pixels) -> Bool[np.ndarray, " pixels"]:
    """Return where max(d / t, t / d) < 1.25 (Eigen et al. 2014, table 1: δ < 1.25)."""
    return _within(predicted, target, 1.25)


def within_2(predicted: Pixels, target: Pixels) -> Bool[np.ndarray, " pixels"]:
    """Return where max(d / t, t / d) < 1.25² (Eigen et al. 2014, table 1: δ < 1.25²)."""
    return _within(predicted, target, 1.25**2)


def within_3(predicted: Pixels, target: Pixels) -> Bool[np.ndarray, " pixels"]:
    """Return where max(d / t, t / d) < 1.25³ (Eigen et al. 2014, table 1: δ < 1.25³)."""
    return _within(predicted, target, 1.25**3)


def _within(predicted: Pixels, target: Pixels, ratio: float) -> Bool[np.ndarray, " pixels"]:
    return _larger_ratio(predicted, target) < ratio


@_shared
def _larger_ratio(predicted: Pixels, target: Pixels) -> Pixels:
    # In the depths' own precision: 1.25 m against 1 m is a ratio of 1.25, and not below it, in float32 alone.
    return np.maximum(_ratio(predicted, target), target / predicted)


def _same(mean: Any) -> Any:
    return mean


def _log_variance(mean_g: Any, mean_squared_g: Any, held: float = 1.0) -> Any:
    """mean g² − λ (mean g)², which rounding alone could make negative."""
    return np.maximum(mean_squared_g - held * np.square(mean_g), 0)


def _root_log_variance(mean_g: Any, mean_squared_g: Any) -> Any:
    return 100 * np.sqrt(_log_variance(mean_g, mean_squared_g))


def _training_form(mean_g: Any, mean_squared_g: Any) -> Any:
    return 10 * np.sqrt(_log_variance(mean_g, mean_squared_g, held=0.85))


_EIGEN = "Eigen et al. 2014, table 1"

METRICS: Mapping[str, Metric] = {
    "abs_rel": Metric("AbsRel", "mean |d − t| / t", _EIGEN, (relative_error,), _same),
    "sq_rel": Metric("SqRel", "mean (d − t)² / t", _EIGEN, (squared_relative_error,), _same, "m"),
    "rmse": Metric("RMSE", "√ mean (d − t)²", _EIGEN, (squared_error,), np.sqrt, "m"),
    "mae": Metric("MAE", "mean |d − t|", "the mean absolute error", (absolute_error,), _same, "m"),
    "log_rms": Metric("RMSE log", "√ mean g²", _EIGEN, (squared_log_ratio,), np.sqrt),
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

    sums: Float[np.ndarray, "images terms"]
    """Sums over the valid pixels of each of `TERMS`, in float64."""
    pixels: Int[np.ndarray, " images"]
    """How many pixels were valid; an image without any is kept here and left out of every metric."""

    @classmethod
    def of(cls, predicted: Depth, target: Depth, valid: Mask) -> "MetricAccumulator":
        """Accumulate an image or a batch of them.

        Args:
            predicted: metres (*batch, 1, H, W), positive where valid.
            target: metres, of the same shape.
            valid: the pixels that count.
        """
        maps = (flat_images(as_array(each)) for each in (predicted, target, valid))
        images = [selected(*each) for each in zip(*maps, strict=True)]
        return cls(np.stack([_sums(d, t) for d, t in images]), np.array([len(t) for _, t in images]))

    @classmethod
    def of_pixels(cls, predicted: Pixels, target: Pixels) -> "MetricAccumulator":
        """Accumulate the valid pixels of one image, in metres."""
        return cls(_sums(predicted, target)[None], np.array([len(target)]))

    @classmethod
    def of_counted(
        cls,
        predicted: Float[np.ndarray, " values"],
        target: Float[np.ndarray, " values"],
        counts: Int[np.ndarray, " values"],
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
        none = cls(np.zeros((0, len(TERMS))), np.zeros(0, np.int64))
        return cls(*(np.concatenate([getattr(e, field) for e in [none, *parts]]) for field in ("sums", "pixels")))

    def __add__(self, other: "MetricAccumulator") -> "MetricAccumulator":
        return self.merged([self, other])

    @property
    def counted(self) -> int:
        """How many images have valid pixels."""
        return int((self.pixels > 0).sum())

    def per_image(self) -> dict[str, list[float]]:
        """Return every metric of every image; NaN for an image without valid pixels."""
        with np.errstate(invalid="ignore"):
            means = self.sums / self.pixels[:, None]
        return {name: _value(metric, means).tolist() for name, metric in METRICS.items()}

    def averaged(self, averaging: Averaging = "per_image") -> dict[str, float]:
        """Return every metric over all images that have valid pixels; NaN if none has."""
        if not self.counted:
            return dict.fromkeys(METRICS, math.nan)
        if averaging == "pooled":
            # fsum rounds once, so neither the order of the images nor the order of merging shows.
            sums = np.array([[math.fsum(column) for column in self.sums.T.tolist()]])
            return {name: _value(metric, sums / self.pixels.sum()).item() for name, metric in METRICS.items()}
        return {
            name: math.fsum(value for value, pixels in zip(values, self.pixels, strict=True) if pixels) / self.counted
            for name, values in self.per_image().items()
        }


def flat_images(maps: Any) -> Any:
    """(*batch, 1, H, W) → (images, H × W)."""
    return maps.reshape(-1, maps.shape[-2] * maps.shape[-1])


def selected(
    predicted: Float[np.ndarray, " all"], target: Float[np.ndarray, " all"], valid: Bool[np.ndarray, " all"]
) -> tuple[Pixels, Pixels]:
    """Return the valid pixels of both maps; several times as fast as indexing by a mask.

    Args:
        predicted: a map as a flat array.
        target: likewise.
        valid: likewise.
    """
    place = np.flatnonzero(valid)
    return predicted.take(place), target.take(place)


def _sums(
    predicted: Pixels, target: Pixels, counts: Int[np.ndarray, " pixels"] | None = None
) -> Float[np.ndarray, " terms"]:
    sums = np.zeros(len(TERMS))
    weights = None if counts is None else counts.astype(np.float64)
    for start in range(0, len(target), _BLOCK):
        block = slice(start, start + _BLOCK)
        with _sharing():
            terms = (term(predicted[block], target[block]) for term in TERMS)
            sums += [_sum(each) if weights is None else np.dot(each, weights[block]) for each in terms]
    return sums


_BLOCK = 1 << 15
"""Pixels that are summed at once: what is computed of them stays in a core's own cache."""


def _sum(numbers: PixelTerms) -> Any:
    if numbers.dtype == bool:
        return np.count_nonzero(numbers)
    # Adds in float64 as NumPy can, which would copy the numbers into float64 first.
    return cv2.sumElems(numbers)[0] if numbers.size else 0.0


def _value(metric: Metric, means: Float[np.ndarray, "images terms"]) -> Float[np.ndarray, " images"]:
    return metric.value(*(means[:, TERMS.index(term)] for term in metric.terms))
