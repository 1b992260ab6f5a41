"""Geometry of a prediction: how its surfaces are turned and bent, and how far its points are from the measured ones.

Depth metrics compare each pixel alone, and hardly notice a flat wall that comes out wavy. These compare the points that
the pixels stand for, so they need intrinsics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree
from scipy.stats import qmc

from leadline.core.camera import unproject
from leadline.core.sample import Depth, Mask

CLOSE = 0.1
"""Metres within which a point is found: that of Spencer et al. 2022."""
_SCALES = (1, 2, 4, 8)
"""Every which pixel of a row and of a column is taken."""
_RADIUS, _LEAST_RADIUS = 32, 3
"""Pixels of the whole map between the two of a pair, and the fewest pixels of a smaller one."""
_PAIRS = 2**14
"""Pairs of each scale."""
_POINTS = 20_000
"""Of a cloud, at most."""
_DEGENERATE = 1e-5
"""Sine of the angle between the sides of a triangle below which it has no normal."""

Points = Float[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class CloudScores:
    """How far two clouds of points are apart."""

    chamfer: float
    """Mean of the mean distances from each cloud to the other, in metres."""
    f_score: float
    """Harmonic mean of the shares of the points of each cloud that are `CLOSE` to the other, 0 to 1."""


def points_of(depth: Depth, camera: Sequence[float]) -> Points:
    """Return the point of each pixel: to the right, down, and along the optical axis, in the depth's unit.

    Args:
        depth: along the optical axis, (1, H, W).
        camera: fx, fy, cx, cy in pixels.
    """
    numbers = depth[0].detach().cpu().numpy().astype(np.float64)
    rows, columns = np.indices(numbers.shape)
    right, down = unproject(columns, rows, camera)
    return np.stack([right * numbers, down * numbers, numbers], axis=-1)


def relative_normal_error(predicted: Depth, target: Depth, valid: Mask, camera: Sequence[float]) -> float:
    """Compute how wrongly surfaces are turned towards each other, in degrees; NaN where no two normals are known.

    Wu et al. 2025 (arXiv 2510.19814): for pairs of nearby pixels, the angle between the prediction's two normals
    against the angle between the target's; the mean absolute difference over pairs, at four scales, and over scales.
    A normal is that of the triangle of a pixel, the second one below it and the second one to its right. The scale of
    the prediction does not matter. Here, smaller maps are every second, fourth and eighth pixel, and the pairs are
    16,384 of a Sobol sequence, the same for all maps of a size.

    Args:
        predicted: depth (1, H, W), positive.
        target: depth of the same shape.
        valid: which pixels are measured.
        camera: fx, fy, cx, cy in pixels, of both.
    """
    ours, theirs, known = points_of(predicted, camera), points_of(target, camera), valid[0].cpu().numpy()
    errors = []
    for scale in _SCALES:
        measured = known[::scale, ::scale]
        if min(measured.shape) < 4:
            continue
        corners = measured[:-2, :-2] & measured[2:, :-2] & measured[:-2, 2:]
        (mine, has_mine), (other, has_other) = (_normals(each[::scale, ::scale]) for each in (ours, theirs))
        usable = corners & has_other
        first, second = _pairs(usable.shape, max(_RADIUS // scale, _LEAST_RADIUS))
        chosen = usable.ravel()[first] & usable.ravel()[second]
        first, second = first[chosen], second[chosen]
        if not len(first):
            continue
        error = np.abs(_angles(mine, first, second) - _angles(other, first, second))
        # A triangle of the prediction that has no normal is as wrong as can be, as in the paper.
        drawn = has_mine.ravel()[first] & has_mine.ravel()[second]
        errors.append(float(np.where(drawn, error, np.pi).mean()))
    return float(np.degrees(np.mean(errors))) if errors else float("nan")


def cloud_scores(predicted: Depth, target: Depth, valid: Mask, camera: Sequence[float]) -> CloudScores:
    """Compare the measured pixels' points with the predicted ones; NaN where nothing is measured.

    Chamfer distance and F-score as Örnek et al. 2022 (arXiv 2203.08122) and Spencer et al. 2022 (Deconstructing
    self-supervised monocular reconstruction) take them: every point against the nearest of the other cloud, whichever
    pixel that is of. Some 20,000 pixels, evenly spread, are compared.

    Args:
        predicted: metres (1, H, W).
        target: metres of the same shape.
        valid: which pixels are measured.
        camera: fx, fy, cx, cy in pixels, of both.
    """
    known = valid[0].cpu().numpy()
    chosen = np.flatnonzero(known)
    chosen = chosen[:: max(1, -(-len(chosen) // _POINTS))]
    if not len(chosen):
        return CloudScores(float("nan"), float("nan"))
    ours, theirs = (points_of(each, camera).reshape(-1, 3)[chosen] for each in (predicted, target))
    there, back = KDTree(theirs).query(ours)[0], KDTree(ours).query(theirs)[0]
    f_score = f1(float((there < CLOSE).mean()), float((back < CLOSE).mean()))
    return CloudScores(float(there.mean() + back.mean()) / 2, f_score)


def f1(precision: float, recall: float) -> float:
    """Return the harmonic mean of precision and recall, each from 0 to 1; 0 where both are."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _normals(points: Points) -> tuple[Float[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Normals of the triangles of each pixel, the second below and the second to its right, and which of them exist."""
    down, right = points[2:, :-2] - points[:-2, :-2], points[:-2, 2:] - points[:-2, :-2]
    normal = np.cross(_unit(down), _unit(right))
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return normal / np.maximum(length, _DEGENERATE), length[..., 0] > _DEGENERATE


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.finfo(np.float64).tiny)


def _angles(normals: Points, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    flat = normals.reshape(-1, 3)
    return np.arccos(np.clip((flat[first] * flat[second]).sum(-1), -1, 1))


@lru_cache(maxsize=32)
def _pairs(shape: tuple[int, int], radius: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Flat indices of two pixels each, at most `radius` rows and columns apart."""
    height, width = shape
    numbers = qmc.Sobol(4, scramble=False).random(_PAIRS)
    row, column = np.floor(numbers[:, 0] * height), np.floor(numbers[:, 1] * width)
    other = np.floor(row + (2 * numbers[:, 2] - 1) * radius), np.floor(column + (2 * numbers[:, 3] - 1) * radius)
    inside = (other[0] >= 0) & (other[0] < height) & (other[1] >= 0) & (other[1] < width)
    first, second = row * width + column, other[0] * width + other[1]
    return first[inside].astype(np.int64), second[inside].astype(np.int64)
