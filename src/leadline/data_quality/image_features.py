"""Image features that the checks compare: edges, planes, walls and fingerprints, as pure functions of arrays."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from leadline.core.camera import ray_lengths

Grey = Float[np.ndarray, "h w"]
"""Luminance in [0, 255], at most `WORKING_SIDE` pixels along the longer side."""
Numbers = Float[np.ndarray, "H W"]
"""Depth in any unit, 0 where not measured."""
Surface = Float[np.ndarray, "side side"]
"""Correlation of edges for shifts of −reach … reach rows and columns; 1 is the same."""

WORKING_SIDE = 256
"""Pixels of the longer side at which edges are compared: sensor noise is averaged out there, and a pixel is 0.4 %."""
REACH = 0.08
"""Largest shift that is tried, as a fraction of the longer side: an unregistered Kinect is off by 3–7 %."""


def shrink(picture: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "h w"]:
    """Shrink a picture (H, W) to a longer side of `WORKING_SIDE`, averaging pixels; smaller ones keep their size."""
    height, width = picture.shape
    factor = min(1.0, WORKING_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def image_edges(grey: Grey) -> Float[np.ndarray, "h w"]:
    """Compute the gradient magnitude relative to its surroundings, so that dark and bright parts count alike.

    The input is luminance in [0, 255], (h, w).
    """
    # The root makes shot noise even; 4 grey levels keep the noise of dark parts small.
    root = np.sqrt(grey + 4)
    steep = np.hypot(cv2.Sobel(root, cv2.CV_32F, 1, 0), cv2.Sobel(root, cv2.CV_32F, 0, 1))
    around = cv2.blur(steep, (31, 31)) + 0.5 * steep.mean() + 1e-6
    return np.minimum(steep / around, 4)


def depth_edges(depth: Numbers) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Compute jumps in the ratio of neighbouring depths (h, w), at the working size, and the mask of known depth.

    Slanted surfaces (ratios under 4 % over two working pixels) are no edge; jumps of more than a third count alike.
    Holes make no edge: their borders follow the sensor, not the picture.
    """
    known = depth > 0
    share = shrink(known.astype(np.float32))
    inverse = shrink(np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32))
    valid = share > 0.02  # a LiDAR's scan lines are some 5 % dense
    logarithm = np.log(np.where(valid, inverse / np.maximum(share, 1e-9), 1).clip(1e-12))
    steps = np.zeros((2, *valid.shape), np.float32)
    steps[0, :, 1:-1] = np.where(valid[:, 2:] & valid[:, :-2], np.abs(logarithm[:, 2:] - logarithm[:, :-2]), 0)
    steps[1, 1:-1] = np.where(valid[2:] & valid[:-2], np.abs(logarithm[2:] - logarithm[:-2]), 0)
    return np.clip(np.hypot(steps[0], steps[1]) - 0.04, 0, 0.3), valid


def edge_agreement(
    image: Float[np.ndarray, "h w"],
    depth: Float[np.ndarray, "h w"],
    valid: Bool[np.ndarray, "h w"],
    *,
    is_shifted: bool = True,
) -> Surface | None:
    """Correlate a photograph's edges with a depth map's, for every shift within `REACH`.

    Args:
        image: edges of the photograph, by `image_edges`.
        depth: edges of the depth map, by `depth_edges`.
        valid: where they are known.
        is_shifted: without it the surface is the one value of no shift, (1, 1).

    Returns:
        (2 reach + 1, 2 reach + 1): the value in row r, column c is the correlation after moving the depth map by
        r − reach pixels down and c − reach to the right. None where either has no edges.
    """
    height, width = image.shape
    reach = min(round(REACH * max(height, width)), min(height, width) // 4)
    inner = (slice(reach, height - reach), slice(reach, width - reach))
    known = valid[inner]
    if reach < 1 or known.sum() < 100:
        return None
    template = np.where(known, depth[inner] - depth[inner][known].mean(), 0).astype(np.float32)
    size = np.sqrt((template**2).sum() * known.sum()) * image.std()
    if size < 1e-6:
        return None
    searched = (image - image.mean()).astype(np.float32)
    return cv2.matchTemplate(searched if is_shifted else searched[inner], template, cv2.TM_CCORR) / size


TILES = 5
"""Patches along each side in which a plane is fitted."""
SLANT = 0.15
"""Fraction by which a plane's depth must change within its patch, or depth and inverse depth are both straight."""
PLANARITY = 0.04
"""Mean distance of its points from it, as a fraction of that change, above which it is no plane."""
STRAIGHTER_RATIO = 0.9
"""Ratio of the two distances, as depth and as inverse depth, that must be undercut, or the difference may be noise."""


def count_planes(depth: Numbers) -> tuple[int, int]:
    """Count the patches that are straighter as inverse depth (true of depth), and those straighter as the numbers.

    Of a plane, inverse depth is linear in the pixels and depth is not (Hartley and Zisserman 2004, 13.1), whatever the
    camera, the unit and a shift of the inverse. `depth` is (H, W) in any unit, 0 where not measured.
    """
    depth = _strided(depth)
    patches, rows, columns = _patches(depth)
    if not len(patches):
        return 0, 0
    patches = patches[(patches > 0).mean(1) > 0.15]
    known = patches > 0
    metres = np.where(known, patches, 1)
    bent, slant = _off_plane(metres, known, rows, columns)
    straight, inverse_slant = _off_plane(1 / metres, known, rows, columns)
    bent, straight = bent / slant, straight / inverse_slant
    is_plane = (np.minimum(slant, inverse_slant) > SLANT) & (np.minimum(bent, straight) < PLANARITY)
    return (
        int((is_plane & (straight < STRAIGHTER_RATIO * bent)).sum()),
        int((is_plane & (bent < STRAIGHTER_RATIO * straight)).sum()),
    )


FLATNESS = 0.01
"""Relative distance from its plane that a patch may have on average to be part of a wall."""
FLATTER_RATIO = 0.8
"""Ratio of the two distances, as depth and as distance along the ray, that must be undercut. Of 300 walls of eight
sensors and renders, 296 were flatter as depth; of the same as distances along the ray, 3 of 255."""


def count_walls(depth: Numbers, camera: tuple[float, ...]) -> tuple[int, int]:
    """Count the patches that are flatter if the numbers are depth, and those flatter if distances along the ray.

    Of a plane, inverse depth is linear in the pixels; distances along the ray are depth × √(1 + x² + y²).

    Args:
        depth: numbers in any unit, 0 where not measured.
        camera: fx, fy, cx, cy in pixels of the map.
    """
    patches, rows, columns = _patches(_strided(depth))
    lengths, _, _ = _patches(_strided(ray_lengths(camera, depth.shape)))
    if not len(patches):
        return 0, 0
    known = patches > 0
    enough = known.mean(1) > 0.5
    patches, lengths, known = patches[enough], lengths[enough], known[enough]
    numbers = np.where(known, patches, 1)
    as_depth, _ = _off_plane(1 / numbers, known, rows, columns)
    as_distance, _ = _off_plane(lengths / numbers, known, rows, columns)
    is_wall = np.minimum(as_depth, as_distance) < FLATNESS
    return (
        int((is_wall & (as_depth < FLATTER_RATIO * as_distance)).sum()),
        int((is_wall & (as_distance < FLATTER_RATIO * as_depth)).sum()),
    )


def _strided(numbers: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "h w"]:
    """Take every n-th pixel, so that some 160 are left along the longer side."""
    stride = max(1, round(max(numbers.shape) / 160))
    return numbers[::stride, ::stride]


def _patches(numbers: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "n p"], int, int]:
    """Cut `TILES` × `TILES` patches, each a row of pixels; return them and their sides; none of a small map."""
    rows, columns = numbers.shape[0] // TILES, numbers.shape[1] // TILES
    if min(rows, columns) < 3:
        return np.zeros((0, 1)), rows, columns
    patches = numbers[: rows * TILES, : columns * TILES].reshape(TILES, rows, TILES, columns).swapaxes(1, 2)
    return patches.reshape(TILES * TILES, rows * columns).astype(np.float64), rows, columns


def _off_plane(
    values: Float[np.ndarray, "n p"], known: Bool[np.ndarray, "n p"], rows: int, columns: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Fit a plane to each patch; return the values' mean distance and the plane's rise, in units of their mean."""
    values = values / (values * known).sum(1, keepdims=True) * known.sum(1, keepdims=True)
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    basis = np.stack([np.ones(x.size), x / columns - 0.5, y / rows - 0.5], 1)
    weighted = known[:, :, None] * basis
    # The small number keeps patches whose points lie in one line solvable.
    matrix = weighted.swapaxes(1, 2) @ basis + 1e-6 * np.eye(3)
    plane = np.linalg.solve(matrix, (weighted * values[:, :, None]).sum(1)[:, :, None])[:, :, 0]
    off = (np.abs(values - plane @ basis.T) * known).sum(1) / known.sum(1)
    return off, np.abs(plane[:, 1:]).sum(1) + 1e-9


FACING = 0.08
"""Relative error up to which a surface's inverse depth may vanish at the principal point: planes that meet a wall at
right angles have all of theirs within 0.02 in renders, and cuts of rooms and photographs hardly any (28 % at most)."""


def is_facing_wall(depth: Numbers, principal_point: tuple[float, float]) -> bool:
    """Return whether the pixels of the highest number may be one wall that faces the camera, rather than a cut.

    Surfaces that end at such a wall (floor, ceiling, side walls, furniture along them) meet it at a right angle, and so
    contain the direction of the optical axis: their inverse depth is linear and 0 at the principal point. A cut goes
    through surfaces of any slant. Where only things far in front of it border on it, it counts as a wall.

    Args:
        depth: numbers in any unit, 0 where not measured.
        principal_point: column and row.
    """
    highest = depth.max()
    plateau = depth == highest
    beside = (depth > 0.9 * highest) & ~plateau
    around = cv2.dilate(plateau.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    reaching = around & (cv2.erode(beside.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0)
    if reaching.sum() <= MIN_BORDER * (around & ~plateau).sum():
        return bool((depth > 0).mean() > 0.5)  # in a sparse map neighbours say nothing
    inverse = np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0).astype(np.float64)
    rows, columns = np.nonzero(reaching)
    rise = (columns - principal_point[0]) * cv2.Sobel(inverse, cv2.CV_64F, 1, 0)[reaching]
    rise += (rows - principal_point[1]) * cv2.Sobel(inverse, cv2.CV_64F, 0, 1)[reaching]
    return bool(np.mean(np.abs(rise / 8 / inverse[reaching] - 1) < FACING) > 0.5)


MIN_BORDER = 0.02
"""Fraction of the pixels around a plateau that must belong to surfaces that end at it, or none is taken to."""


def fingerprint(grey: Float[np.ndarray, "H W"]) -> tuple[int, UInt8[np.ndarray, "16 16"]]:
    """Compute a perceptual hash of 64 bits that survives JPEG, resizing and brightness, and a 16 × 16 thumbnail.

    The bits are the signs, about their median, of the 64 lowest coefficients (but the mean) of the cosine transform of
    32 × 32 means; the thumbnail confirms a match.
    """
    means = cv2.resize(grey.astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA)
    waves = cv2.dct(means)[:9, :8].ravel()[1:65]
    bits = np.packbits(waves > np.median(waves))
    thumbnail = cv2.resize(means, (16, 16), interpolation=cv2.INTER_AREA).round().astype(np.uint8)
    return int.from_bytes(bits.tobytes(), "big"), thumbnail
