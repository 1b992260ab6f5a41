"""Evidence: what pixels alone tell of a photograph and its depth, as pure functions of arrays."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from leadline.core.camera import ray_lengths

Grey = Float[np.ndarray, "h w"]
"""Luminance in [0, 255], at most `WORKING_SIDE` pixels long."""
Numbers = Float[np.ndarray, "H W"]
"""Depth in any unit, 0 where not measured."""
Surface = Float[np.ndarray, "side side"]
"""How alike the edges are, for shifts of −reach … reach rows and columns; 1 is the same."""

WORKING_SIDE = 256
"""Pixels: edges are compared at this length of the longer side, where a sensor's noise is gone and a pixel is 0.4 %."""
REACH = 0.08
"""Shifts that are tried, as a share of the longer side: an unregistered Kinect is off by 3–7 %."""


def shrink(picture: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "h w"]:
    """The mean of the pixels that fall together when the longer side becomes `WORKING_SIDE`; never larger."""
    height, width = picture.shape
    factor = min(1.0, WORKING_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def image_edges(grey: Grey) -> Float[np.ndarray, "h w"]:
    """How steep a photograph is, relative to its surroundings, so that shade and light count alike."""
    # The root evens out shot noise; 4 grey levels keep the dark from counting.
    root = np.sqrt(grey + 4)
    steep = np.hypot(cv2.Sobel(root, cv2.CV_32F, 1, 0), cv2.Sobel(root, cv2.CV_32F, 0, 1))
    around = cv2.blur(steep, (31, 31)) + 0.5 * steep.mean() + 1e-6
    return np.minimum(steep / around, 4)


def depth_edges(depth: Numbers) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Jumps in the ratio of neighbouring depths, at the working size, and where depth is known.

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
    """Correlation of a photograph's edges with a depth map's, for every shift within `REACH`; None: no edges.

    The value in row r, column c belongs to depth that must move (r − reach) down and (c − reach) to the right to fit.
    Without shifts it is the one value in the middle.
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
"""Patches along each side in which a plane is looked for."""
SLANT = 0.15
"""A plane's depth must change by this share within its patch, or depth and inverse depth are both straight."""
FLAT = 0.04
"""And its points lie off it by this share of that change at most (on average), or it is no plane."""
STRAIGHTER = 0.9
"""And as the other of the two it must be off by more than 1 ∕ this, or the sensor's noise has decided."""


def count_planes(depth: Numbers) -> tuple[int, int]:
    """How many patches are straighter as inverse depth (as they must be), and how many as the numbers themselves.

    Of a plane, inverse depth is linear in the pixels and depth is not (Hartley and Zisserman 2004, 13.1), whatever the
    camera, the unit and a shift of the inverse.
    """
    depth = _strided(depth)
    patches, rows, columns = _patches(depth)
    patches = patches[(patches > 0).mean(1) > 0.15]
    known = patches > 0
    metres = np.where(known, patches, 1)
    bent, slant = _off_plane(metres, known, rows, columns)
    straight, inverse_slant = _off_plane(1 / metres, known, rows, columns)
    bent, straight = bent / slant, straight / inverse_slant
    is_plane = (np.minimum(slant, inverse_slant) > SLANT) & (np.minimum(bent, straight) < FLAT)
    return (
        int((is_plane & (straight < STRAIGHTER * bent)).sum()),
        int((is_plane & (bent < STRAIGHTER * straight)).sum()),
    )


EVEN = 0.01
"""Relative distance from its plane that a patch may have on average to be part of a wall."""
FLATTER = 0.8
"""A wall must be flatter by this factor as depth or as distance along the ray. Of 300 walls of eight sensors and
renders, 296 were so as depth; of the same as distances along the ray, 3 of 255."""


def count_walls(depth: Numbers, camera: tuple[float, ...]) -> tuple[int, int]:
    """How many patches are flatter if the numbers are depth, and how many if they are distances along the ray.

    Of a plane, inverse depth is linear in the pixels; distances along the ray are depth × √(1 + x² + y²).

    Args:
        depth: numbers in any unit, 0 where not measured.
        camera: fx, fy, cx, cy in pixels of the map.
    """
    patches, rows, columns = _patches(_strided(depth))
    lengths, _, _ = _patches(_strided(ray_lengths(camera, depth.shape)))
    known = patches > 0
    enough = known.mean(1) > 0.5
    patches, lengths, known = patches[enough], lengths[enough], known[enough]
    numbers = np.where(known, patches, 1)
    as_depth, _ = _off_plane(1 / numbers, known, rows, columns)
    as_distance, _ = _off_plane(lengths / numbers, known, rows, columns)
    is_wall = np.minimum(as_depth, as_distance) < EVEN
    return (
        int((is_wall & (as_depth < FLATTER * as_distance)).sum()),
        int((is_wall & (as_distance < FLATTER * as_depth)).sum()),
    )


def _strided(numbers: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "h w"]:
    """Every so many-th pixel, so that some 160 are left along the longer side."""
    stride = max(1, round(max(numbers.shape) / 160))
    return numbers[::stride, ::stride]


def _patches(numbers: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "n p"], int, int]:
    """`TILES` × `TILES` patches, a row each, and their height and width; none of a map that is too small."""
    rows, columns = numbers.shape[0] // TILES, numbers.shape[1] // TILES
    if min(rows, columns) < 3:
        return np.zeros((0, rows * columns)), rows, columns
    patches = numbers[: rows * TILES, : columns * TILES].reshape(TILES, rows, TILES, columns).swapaxes(1, 2)
    return patches.reshape(TILES * TILES, rows * columns).astype(np.float64), rows, columns


def _off_plane(
    values: Float[np.ndarray, "n p"], known: Bool[np.ndarray, "n p"], rows: int, columns: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Mean distance of each patch's values from their plane, and how far that plane rises, in units of the mean."""
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
    """Whether the pixels of the highest number may be one wall that faces the camera, rather than a cut.

    What reaches up to such a wall (floor, ceiling, side walls, furniture along them) meets it at a right angle, and so
    contains the direction of the optical axis: its inverse depth is linear and 0 at the principal point. A cut goes
    through surfaces of any slant. Where only things far before it border on it, it is taken for a wall.

    Args:
        depth: numbers in any unit, 0 where not measured.
        principal_point: column and row.
    """
    highest = depth.max()
    plateau = depth == highest
    beside = (depth > 0.9 * highest) & ~plateau
    around = cv2.dilate(plateau.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    reaching = around & (cv2.erode(beside.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0)
    if reaching.sum() <= REACHING * (around & ~plateau).sum():
        return bool((depth > 0).mean() > 0.5)  # neighbours of a sparse map tell nothing
    inverse = np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0).astype(np.float64)
    rows, columns = np.nonzero(reaching)
    rise = (columns - principal_point[0]) * cv2.Sobel(inverse, cv2.CV_64F, 1, 0)[reaching]
    rise += (rows - principal_point[1]) * cv2.Sobel(inverse, cv2.CV_64F, 0, 1)[reaching]
    return bool(np.mean(np.abs(rise / 8 / inverse[reaching] - 1) < FACING) > 0.5)


REACHING = 0.02
"""Share of the pixels around a plateau that belong to surfaces that reach up to it, or else nothing does."""


def fingerprint(grey: Float[np.ndarray, "H W"]) -> tuple[int, UInt8[np.ndarray, "16 16"]]:
    """64 bits that survive JPEG, resizing and brightness, and a thumbnail to confirm by.

    The signs, about their median, of the 64 lowest waves (but the mean) of the cosine transform of 32 × 32 means.
    """
    means = cv2.resize(grey.astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA)
    waves = cv2.dct(means)[:9, :8].ravel()[1:65]
    bits = np.packbits(waves > np.median(waves))
    thumbnail = cv2.resize(means, (16, 16), interpolation=cv2.INTER_AREA).round().astype(np.uint8)
    return int.from_bytes(bits.tobytes(), "big"), thumbnail
