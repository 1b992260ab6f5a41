"""Score one prediction, and predictions of one constant depth, against the pixels that count, in one pass each."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from leadline.core.arrays import as_array
from leadline.core.depth_kind import DepthKind
from leadline.evaluation.map_pairs import Pair
from leadline.evaluation.metrics import MetricAccumulator, Pixels, selected
from leadline.evaluation.protocols import EvalProtocol


@dataclass(frozen=True, eq=False)
class CountedTarget:
    """Hold the measured depths of one image that count, in metres."""

    values: Pixels
    counts: Int[np.ndarray, " pixels"] | None = None
    """How many pixels have each value, where the values differ; None: one each."""
    sample: Float[np.ndarray, " some"] | None = None
    """Some ten thousand of the pixels, which tell their distribution."""

    @classmethod
    def of(cls, target: Pixels, steps: float | None = None) -> "CountedTarget":
        """Merge pixels of equal depth, where there are many: measured maps have few different depths.

        Args:
            target: measured depths, in metres.
            steps: how many steps of 16-bit integers make a metre, if the depths were made of such: these are counted,
                and others sorted, which takes ten times as long.
        """
        sample = sample_pixels(target)
        if target.size < _FEWEST_MERGED:
            return cls(target, sample=sample)
        values, counts = _counted_steps(target, steps) or _counted_by_order(target)
        if 4 * len(values) > target.size:
            return cls(target, sample=sample)
        return cls(values, counts, sample)

    def pixels(self) -> Float[np.ndarray, " all"]:
        """Return the depth of every pixel, in whatever order."""
        return self.values if self.counts is None else self.values.repeat(self.counts)

    def median(self, unknown: float) -> float:
        """Return the median depth, of `sample` where that is known; `unknown` of no pixels."""
        pixels = self.pixels() if self.sample is None else self.sample
        return float(np.median(pixels)) if pixels.size else unknown


_FEWEST_MERGED = 4096


def _counted_steps(
    target: Pixels, steps: float | None
) -> tuple[Float[np.ndarray, " values"], Int[np.ndarray, " values"]] | None:
    """Return the different depths in order and how many pixels have each; None: they are not whole steps."""
    if steps is None or target.dtype != np.float32:
        return None
    numbers = np.rint(target * np.float32(steps))
    if numbers.max() > np.iinfo(np.uint16).max or not np.array_equal(numbers / np.float32(steps), target):
        return None
    counts = np.bincount(numbers.astype(np.uint16))
    found = np.flatnonzero(counts)
    return found.astype(np.float32) / np.float32(steps), counts.take(found)


def _counted_by_order(target: Pixels) -> tuple[Float[np.ndarray, " values"], Int[np.ndarray, " values"]]:
    ordered = np.sort(target)
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered.take(starts), np.diff(starts, append=target.size)


def sample_pixels(pixels: Pixels) -> Float[np.ndarray, " some"]:
    """Return some ten thousand pixels of an image, evenly spread, which tell the distribution of its depths."""
    return pixels[:: max(1, pixels.size // 10_000)].copy()


@dataclass(frozen=True, eq=False)
class ScoredPair:
    """Hold what is known of one prediction after its pixels were compared."""

    name: str
    scores: MetricAccumulator
    is_reversed: bool
    """Whether it fits its ground truth by a negative factor only."""
    unusable: int
    """How many pixels that count are predicted as no depth: not finite or, except in relative depth, zero and less."""
    is_empty: bool
    """Whether none of the pixels that count is predicted as a depth."""
    outside: int
    """How many pixels that count are predicted as a depth in metres outside of the protocol's range, and held to it."""
    target: CountedTarget | None
    """What it was compared with, for the scores of constants; None: no longer held."""
    constants: tuple[MetricAccumulator, ...] = ()
    """Scores of the constant predictions: of those given, and of the image's own median depth."""
    sample: Float[np.ndarray, " some"] | None = None
    """Some of the measured depths that count, for the score of its scene's median, which is known after all images."""

    def with_constants(self, depths: tuple[float, ...], protocol: EvalProtocol) -> "ScoredPair":
        """Score constant depths, in metres, and the median of these pixels, against them; they are then dropped."""
        assert self.target is not None
        constants = tuple(
            score_constant(depth, self.target, protocol) for depth in (*depths, self.target.median(protocol.min_depth))
        )
        return replace(self, target=None, constants=constants, sample=self.target.sample)


def score_pair(pair: Pair, kind: DepthKind, protocol: EvalProtocol, *, steps: float | None = None) -> ScoredPair:
    """Score a prediction against its ground truth.

    Args:
        pair: both maps.
        kind: what the prediction guarantees.
        protocol: which pixels count, and how the prediction is aligned.
        steps: see `CountedTarget.of`.

    Raises:
        BadInput: the alignment cannot make metres of this kind.
    """
    inside = protocol.window(pair.target.shape)
    predicted, target, valid = (as_array(each)[inside] for each in (pair.predicted, pair.target, pair.valid))
    counted = protocol.counts_inside(target, valid)  # pyright: ignore[reportArgumentType]
    # All that follows is about the pixels that count: alignment uses no others.
    predicted, target = selected(*(each.reshape(-1) for each in (predicted, target, as_array(counted))))
    finite = np.isfinite(predicted)
    is_depth = finite if kind is DepthKind.RELATIVE else finite & (predicted > 0)
    # Numbers below zero are depth the wrong way round, which alignments find.
    is_empty = bool(predicted.size) and not (is_depth.any() or (finite & (predicted < 0)).any())
    if is_empty:
        # A fit with a shift would make the best constant of it.
        metres, is_reversed = np.full_like(target, protocol.min_depth), False
    else:
        metres, is_reversed = protocol.compare_pixels(predicted, target, kind)
    scores = MetricAccumulator.of_pixels(metres, target)
    unusable = int(predicted.size - np.count_nonzero(is_depth))
    # What is no depth is held to the range as well.
    held = np.count_nonzero(metres != predicted) if protocol.alignment == "none" else unusable
    return ScoredPair(
        pair.name,
        scores,
        is_reversed,
        unusable=unusable,
        is_empty=is_empty,
        outside=int(held - unusable),
        target=CountedTarget.of(target, steps),
    )


def score_constant(depth: float, target: CountedTarget, protocol: EvalProtocol) -> MetricAccumulator:
    """Score a constant depth, as if each pixel were predicted so.

    Args:
        depth: the constant, in metres.
        target: the pixels that count.
        protocol: how they are compared.
    """
    if protocol.alignment != "none":
        pixels = target.pixels()
        return MetricAccumulator.of_pixels(_aligned(np.full_like(pixels, depth), pixels, protocol), pixels)
    predicted = _aligned(np.full_like(target.values, depth), target.values, protocol)
    if target.counts is None:
        return MetricAccumulator.of_pixels(predicted, target.values)
    return MetricAccumulator.of_counted(predicted, target.values, target.counts)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let PyTorch compute with one thread, where many images are worked on at once."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _aligned(constant: Pixels, target: Pixels, protocol: EvalProtocol) -> Pixels:
    metres, _ = protocol.compare_pixels(constant, target, DepthKind.METRIC)
    return metres
