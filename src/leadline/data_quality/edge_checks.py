"""Checks of the contents: whether depth has the photograph's edges, in their place, and planes that are straight."""

from collections.abc import Callable, Sequence

import numpy as np

from leadline.core.depth_kind import DepthKind
from leadline.data_quality.frame_stats import DepthStats, FrameStats
from leadline.data_quality.image_features import WORKING_SIDE, Surface
from leadline.data_quality.issues import Issue, describe_count, group_small_scenes, significance

GAIN = 0.05
"""Correlation by which another fit must be better. Of 520 runs of 5–40 correctly paired frames from real and rendered
scenes none was reported as mispaired; of those shifted by a frame 4 of 5 were (8 % of HoloLens, none of a dark robot).
"""
SIGNIFICANCE = 2.0
"""Standard errors, over the frames, that the gain must have: some pictures have far clearer edges than others."""


def turned(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find photographs that EXIF turns and whose depth map lies as the file does.

    Sides decide where they differ; for half turns and mirrors, which of the two fits the depth's edges better.
    """
    found = []
    for group in group_small_scenes(
        [frame for frame in frames if frame.orientation != 1 and frame.image_size and frame.depth_size]
    ):
        gains = [
            frame.stored - frame.centre for frame in group if frame.stored is not None and frame.centre is not None
        ]
        is_lying = significance(gains) > SIGNIFICANCE and np.mean(gains) > GAIN
        wrong = [frame for frame in group if is_lying or _is_sideways(frame)]
        if wrong:
            message = (
                f"{describe_count(wrong, 'photograph')} turned by EXIF (orientation {wrong[0].orientation}), but not "
                "their depth: turn it likewise, or turn the photographs' pixels and take the tag out."
            )
            found.append(Issue("turned", message, tuple(wrong)))
    return found


def inverse(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find scenes whose numbers are inverse depth: most of their planes are straight only then (see `count_planes`)."""
    meaning = (
        "planes are straight only if the numbers are inverse depth: state kind=relative, or convert them (focal length "
        "× baseline ∕ disparity)."
    )
    return [] if kind is DepthKind.RELATIVE else _by_majority("inverse", frames, lambda stats: stats.planes, meaning)


def along_ray(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find scenes whose numbers are distances along the ray: most of their walls are flat only then (`count_walls`)."""
    meaning = (
        "walls bulge, and are flat only if the numbers are distances along the ray: state along_ray=yes, or convert "
        "them to depth along the axis."
    )
    return [] if kind is DepthKind.RELATIVE else _by_majority("along_ray", frames, lambda stats: stats.walls, meaning)


def _by_majority(
    check: str, frames: Sequence[FrameStats], votes: Callable[[DepthStats], tuple[int, int]], meaning: str
) -> list[Issue]:
    """Find scenes in which most surfaces are wrong, by the `votes` (right, wrong) of each depth map."""
    found = []
    for group in group_small_scenes([frame for frame in frames if frame.depth_stats]):
        counts = np.sum([votes(frame.depth_stats) for frame in group if frame.depth_stats], axis=0)
        right, wrong = map(int, counts)
        if _is_majority(right, wrong):
            message = f"{describe_count(group, 'depth map')}: {wrong} of {right + wrong} {meaning}"
            found.append(Issue(check, message, tuple(group)))
    return found


def _is_majority(right: int, wrong: int) -> bool:
    """Return whether the wrong ones are so many that it is not chance."""
    total = right + wrong
    return wrong > MAJORITY * total and (wrong - total / 2) / (total / 4) ** 0.5 > SIGMAS


MAJORITY = 0.6
"""Fraction of the planes that must be wrong, as inverse depth or as distances along the ray."""
SIGMAS = 3.0
"""Standard deviations of a fair coin's count that the wrong ones must be above half."""


def mispaired(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find scenes whose depth maps have the edges of the photograph before or after, rather than those of their own."""
    found = []
    for group in group_small_scenes([frame for frame in frames if frame.edges is not None]):
        surfaces = _surfaces(group)
        own = np.mean(surfaces, axis=0).max()
        for where in ("before", "after"):
            pairs = [(fit, frame.centre) for frame in group if (fit := getattr(frame, where)) is not None]
            gains = [fit - centre for fit, centre in pairs if centre is not None]
            neighbours = np.mean([fit for fit, _ in pairs]) if pairs else 0.0
            # Compared with their own at its best shift, as the camera's motion between two frames is a shift as well.
            if significance(gains) > SIGNIFICANCE and neighbours > own + GAIN:
                message = (
                    f"{describe_count(group, 'depth map')} fit the photograph {where} better than their own (edges "
                    f"correlate {neighbours:.2f} against {own:.2f}): pair each with that one."
                )
                found.append(Issue("mispaired", message, tuple(group)))
    return found


def misaligned(frames: Sequence[FrameStats], kind: DepthKind) -> list[Issue]:
    """Find scenes whose depth maps fit their photographs better after one shift, the same for all frames."""
    found = []
    for group in group_small_scenes([frame for frame in frames if frame.edges is not None and frame.image_size]):
        surfaces = _surfaces(group)
        mean = np.mean(surfaces, axis=0)
        reach = mean.shape[0] // 2
        row, column = np.unravel_index(mean.argmax(), mean.shape)
        longest = max(max(frame.image_size) for frame in group if frame.image_size)
        pixels = max(1.0, longest / WORKING_SIDE)
        down, right = (row - reach) * pixels, (column - reach) * pixels
        gains = [float(surface[row, column] - surface[reach, reach]) for surface in surfaces]
        is_better = np.mean(gains) > MIN_SHIFT_GAIN and significance(gains) > SIGNIFICANCE
        is_clear = is_better and mean.max() > MIN_CORRELATION and _stands_out(mean) > MIN_PEAK
        if np.hypot(down, right) > MIN_SHIFT * longest and is_clear:
            message = (
                f"{describe_count(group, 'depth map')} beside their photographs: move them by about {right:+.0f} "
                f"columns and {down:+.0f} rows, or better, register them by the calibration of the cameras."
            )
            found.append(Issue("misaligned", message, tuple(group)))
    return found


MIN_SHIFT = 0.025
"""Fraction of the longer side: 16 pixels of 640. TUM's own registration is off by up to 0.023 in a few frames."""
MIN_SHIFT_GAIN = 0.07
"""Correlation that the shift must add: with the two bounds below, none of 536 clean runs of 5–40 frames was reported as
misaligned. Moved by 4 %, three of four were: all of seven scenes, few of HoloLens, hardly any of a dark robot."""
MIN_CORRELATION = 0.11
"""Correlation that the best fit must have: below, in blurred or dark pictures, the best fit is chance."""
MIN_PEAK = 3.5
"""Robust standard deviations of all shifts' correlations that the best fit must be above their median."""


def _is_sideways(frame: FrameStats) -> bool:
    """Return whether the photograph has the depth map's sides only before EXIF exchanges them."""
    return (
        frame.orientation >= 5
        and frame.image_size != frame.depth_size
        and frame.image_size == (frame.depth_size or ())[::-1]
    )


def _surfaces(group: Sequence[FrameStats]) -> list[Surface]:
    """Return the surfaces of the most common size: only those of one size can be averaged."""
    surfaces = [frame.edges for frame in group if frame.edges is not None]
    sizes = [surface.shape for surface in surfaces]
    commonest = max(set(sizes), key=sizes.count)
    return [surface for surface in surfaces if surface.shape == commonest]


def _stands_out(mean: Surface) -> float:
    middle = np.median(mean)
    return float((mean.max() - middle) / (1.4826 * np.median(np.abs(mean - middle)) + 1e-9))
