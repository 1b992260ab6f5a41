"""Rendering of rooms: ray casting of convex bodies, textures, light, and the holes of a depth camera."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from leadline.data.datasets.rooms.furniture import Vector
from leadline.data.datasets.rooms.scene import Body, Material, Scene, Sensor
from leadline.data.datasets.rooms.textures import TEXTURES, noise

SENSOR_MIN_DEPTH = 0.3
"""Metres: the depth camera measures nothing nearer."""
SENSOR_MAX_DEPTH = 10.0
"""Metres: the depth camera measures nothing farther."""
SENSOR_BASELINE = 0.075
"""Metres from the depth camera to its projector on the right."""


@dataclass(frozen=True, eq=False)
class View:
    """Image and depth of a scene from its camera."""

    image: np.ndarray
    """(3, H, W) uint8, RGB."""
    depth: np.ndarray
    """(H, W) float32: metres along the optical axis, everywhere."""
    measured: np.ndarray
    """(H, W) bool: where a structured-light depth camera would have measured it."""


def render(scene: Scene, height: int, width: int, rng: np.random.Generator) -> View:
    """Render a scene at any size.

    Args:
        scene: bodies, lights, camera and sensor.
        height: of the image, in pixels.
        width: of the image, in pixels.
        rng: draws the noise of the image and of the depth camera.
    """
    rays = _rays(scene, height, width)
    # A ray parallel to a face meets it at infinity, and one that misses a ball at NaN: both compare as a miss.
    with np.errstate(divide="ignore", invalid="ignore"):
        depth, hit = _cast(scene, rays)
    seen = _surfaces(scene, rays, depth, hit)
    albedo = _albedo(seen)
    image = _develop(scene.sensor, seen, albedo, *_light(scene, seen, rays), rng)
    return View(image=image, depth=depth, measured=_measured(seen, albedo, depth, rng))


def _rays(scene: Scene, height: int, width: int) -> np.ndarray:
    """Compute (3, H, W) directions in the world of length 1 along the optical axis: a multiple of one is its depth."""
    fx, fy, cx, cy = scene.camera.intrinsics(height, width)
    right, down, forward = scene.camera.rotation().T[:, :, None, None]
    across = (np.arange(width) - cx) / fx
    below = (np.arange(height)[:, None] - cy) / fy
    return (right * across + down * below + forward).astype(np.float32)


def _cast(scene: Scene, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute depth (H, W) and the number of the body that is seen there.

    A ray starts at depth 0 in the main room and is extended through each space that it enters; then solids shorten it.
    """
    _, height, width = rays.shape
    depth = np.zeros((height, width), np.float32)
    hit = np.zeros((height, width), np.intp)
    for number, (body, window) in enumerate(zip(scene.bodies, _windows(scene, height, width), strict=True)):
        if window is None:
            continue
        origin, directions = _into_body(body, scene.camera.eye, rays[:, *window])
        enter, leave = _INTERVALS[body.shape](origin, directions)
        so_far = depth[window]
        if body.shape == "space":
            is_here, reached = (enter <= so_far) & (so_far < leave), leave
        else:
            is_here, reached = (enter <= leave) & (enter < so_far) & (enter > scene.camera.near), enter
        np.copyto(so_far, reached, where=is_here)
        np.copyto(hit[window], number, where=is_here)
    return depth, hit


def _windows(scene: Scene, height: int, width: int) -> list[tuple[slice, slice] | None]:
    """Return the rows and columns of the image that each body may cover; None for a body out of sight."""
    corners = (_corners(scene) - np.array(scene.camera.eye)) @ scene.camera.rotation()
    start, end = corners[:, _EDGES[0]], corners[:, _EDGES[1]]
    # Only the part of an edge that lies ahead of the camera is seen.
    x, y, z = np.moveaxis(np.concatenate([_clip_behind(start, end), _clip_behind(end, start)], axis=1), 2, 0)
    is_ahead = z > 0.99 * _AHEAD
    fx, fy, cx, cy = scene.camera.intrinsics(height, width)
    sides = []
    for place, size in ((y / z * fy + cy, height), (x / z * fx + cx, width)):
        first = np.floor(np.where(is_ahead, place, np.inf).min(axis=1)).clip(0, size)
        last = np.ceil(np.where(is_ahead, place, -np.inf).max(axis=1)).clip(-1, size - 1)
        sides.append([slice(a, b + 1) if a <= b else None for a, b in np.stack([first, last], 1).astype(int).tolist()])
    return [(rows, columns) if rows and columns else None for rows, columns in zip(*sides, strict=True)]


_EDGES = np.array([(a, a + b) for a in range(8) for b in (1, 2, 4) if not a & b]).T
"""Numbers of the corners at both ends of a box's twelve edges."""
_AHEAD = 0.05
"""Metres before the eye where edges are cut."""


def _clip_behind(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Move starting points of edges along them until they lie ahead of the camera, if the edge ever does."""
    behind, ahead = start[..., 2:], end[..., 2:]
    share = np.where(behind < _AHEAD, (_AHEAD - behind) / np.where(ahead > behind, ahead - behind, 1), 0)
    return start + np.clip(share, 0, 1) * (end - start)


def _corners(scene: Scene) -> np.ndarray:
    """Compute (N, 8, 3) the corners of every body's box; bits 4, 2 and 1 of a corner's number: far in x, y and z."""
    centre, half, cos, sin = _placement(scene)
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
    x, y, z = np.moveaxis(signs * half[:, None], 2, 0)
    turned = np.stack([cos[:, None] * x - sin[:, None] * y, sin[:, None] * x + cos[:, None] * y, z], axis=2)
    return turned + centre[:, None]


def _placement(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return of every body the centre and half extent (N, 3), and the cosine and sine of its yaw (N,)."""
    yaw = np.array([body.yaw for body in scene.bodies])
    return (
        np.array([body.centre for body in scene.bodies], np.float32),
        np.array([body.half for body in scene.bodies], np.float32),
        np.cos(yaw).astype(np.float32),
        np.sin(yaw).astype(np.float32),
    )


def _into_body(body: Body, eye: Vector, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transform the eye (3, 1, 1) and the rays (3, h, w) to where the body has yaw 0 and half extent 1."""
    cos, sin = math.cos(body.yaw), math.sin(body.yaw)
    x, y, z = (point - centre for point, centre in zip(eye, body.centre, strict=True))
    half_x, half_y, half_z = body.half
    origin = np.array([(cos * x + sin * y) / half_x, (cos * y - sin * x) / half_y, z / half_z], np.float32)
    directions = np.empty_like(rays)
    directions[0] = rays[0] * (cos / half_x) + rays[1] * (sin / half_x)
    directions[1] = rays[1] * (cos / half_y) - rays[0] * (sin / half_y)
    directions[2] = rays[2] * (1 / half_z)
    return origin[:, None, None], directions


Interval = tuple[np.ndarray, np.ndarray]
"""Depths where rays enter and leave a body; where they miss it, the one is not below the other."""


def _through_box(origin: np.ndarray, directions: np.ndarray) -> Interval:
    """Intersect rays with three slabs, each −1 … 1."""
    inverse = 1 / directions
    middle, reach = -origin * inverse, np.abs(inverse)
    return (middle - reach).max(axis=0), (middle + reach).min(axis=0)


def _through_ball(origin: np.ndarray, directions: np.ndarray) -> Interval:
    """Intersect rays with the unit ball (or in two dimensions the disc), from their points nearest to its centre."""
    square = _dot(directions, directions)
    middle = -_dot(origin, directions) / square
    nearest = origin + directions * middle
    reach = np.sqrt((1 - _dot(nearest, nearest)) / square)
    return middle - reach, middle + reach


def _through_cylinder(origin: np.ndarray, directions: np.ndarray) -> Interval:
    enter, leave = _through_ball(origin[:2], directions[:2])
    bottom, top = _through_box(origin[2:], directions[2:])
    return np.maximum(enter, bottom), np.minimum(leave, top)


def _dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return scalar products of vectors along the first axis."""
    return np.einsum("i...,i...->...", one, other)


_INTERVALS: Mapping[str, Callable[[np.ndarray, np.ndarray], Interval]] = {
    "space": _through_box,
    "box": _through_box,
    "ball": _through_ball,
    "cylinder": _through_cylinder,
}


@dataclass(frozen=True, eq=False)
class _Seen:
    """The surface behind every pixel."""

    points: np.ndarray
    """(3, H, W) metres in the world."""
    normals: np.ndarray
    """(3, H, W), towards the viewer."""
    facing: np.ndarray
    """(H, W) cosine between normal and line of sight."""
    across: np.ndarray
    along: np.ndarray
    """(H, W) metres on the surface, from the middle of its face."""
    pixel: np.ndarray
    """(H, W) metres of surface that a pixel covers."""
    disparity: np.ndarray
    """(H, W) pixels between where the depth camera and its projector see a point."""
    materials: tuple[Material, ...]
    material: np.ndarray
    """(H, W) which of the materials."""

    def each(self, field: str) -> np.ndarray:
        """Return a field of the material behind every pixel: (H, W), or (…, H, W) of a field of vectors."""
        return _spread(np.array([getattr(material, field) for material in self.materials], np.float32), self.material)


def _surfaces(scene: Scene, rays: np.ndarray, depth: np.ndarray, hit: np.ndarray) -> _Seen:
    """Find where, on what and at which angle every ray ends."""
    focal, *_ = scene.camera.intrinsics(*depth.shape)
    points = rays * depth + _vector(scene.camera.eye)

    centre, half, cos, sin = (_spread(table, hit) for table in _placement(scene))
    x, y, z = points - centre
    local = np.stack([cos * x + sin * y, cos * y - sin * x, z])
    share = local / half
    size_x, size_y, size_z = np.abs(share)
    on_x = (size_x >= size_y) & (size_x >= size_z)
    on_y = ~on_x & (size_y >= size_z)
    on_z = ~(on_x | on_y)
    normal = np.sign(share) * np.stack([on_x, on_y, on_z])
    face = 2 * on_y.view(np.int8) + 4 * on_z.view(np.int8) + (normal.sum(axis=0) > 0)
    across = np.where(on_x, local[1], local[0])
    along = np.where(on_z, local[1], local[2])

    shapes = np.array([body.shape for body in scene.bodies])
    curved = np.isin(shapes, ("ball", "cylinder"))[hit]
    if curved.any():
        stands = (shapes == "cylinder")[hit[curved]]
        normal[:, curved], across[curved] = _round(share[:, curved], half[:, curved], stands)

    x, y, z = normal
    normals = np.stack([cos * x - sin * y, sin * x + cos * y, z])
    towards = -_dot(normals, rays)
    normals *= np.sign(towards)
    facing = np.abs(towards) / np.sqrt(_dot(rays, rays))
    materials, faces = _faces(scene)
    return _Seen(
        points=points,
        normals=normals,
        facing=facing,
        across=across,
        along=along,
        # Between the pixel's extent along and across the slope: sharp enough, and it hardly flickers.
        pixel=depth / focal / np.sqrt(np.maximum(facing, 0.02)),
        disparity=SENSOR_BASELINE * focal / depth,
        materials=materials,
        material=faces.ravel()[6 * hit + face],
    )


def _vector(values: Vector) -> np.ndarray:
    """Return (3, 1, 1), which broadcasts with (3, H, W)."""
    return np.array(values, np.float32)[:, None, None]


def _spread(table: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return (…, H, W) the row of a table (rows, …) for every pixel; far faster than indexing all columns at once."""
    columns = np.ascontiguousarray(table.reshape(len(table), -1).T)
    return np.stack([column[row] for column in columns]).reshape(*table.shape[1:], *row.shape)


def _round(share: np.ndarray, half: np.ndarray, stands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute outward normals (3, n) and metres around the vertical (n,) on balls and standing cylinders."""
    outward = share / half
    is_end = stands & (np.abs(share[2]) >= np.hypot(share[0], share[1]))
    outward[2, stands] = 0
    outward[:, is_end] = np.sign(share[:, is_end]) * [[0], [0], [1]]
    around = np.where(is_end, share[0], np.arctan2(share[1], share[0])) * half[0]
    return outward / np.sqrt(_dot(outward, outward)), around


def _faces(scene: Scene) -> tuple[tuple[Material, ...], np.ndarray]:
    """Return all materials, and (bodies, 6) which of them each face has."""
    number = {id(material): material for body in scene.bodies for material in body.faces}
    places = {key: place for place, key in enumerate(number)}
    faces = [[places[id(material)] for material in body.faces] * (6 // len(body.faces)) for body in scene.bodies]
    return tuple(number.values()), np.array(faces)


def _albedo(seen: _Seen) -> np.ndarray:
    """Compute (3, H, W) the fraction of red, green and blue light that every pixel's surface reflects."""
    scale = seen.each("scale")
    places = seen.across + seen.each("phase"), seen.along, seen.pixel
    across, along, blur = ((metres / scale).ravel() for metres in places)
    mixture = np.empty_like(across)
    names = [material.texture for material in seen.materials]
    textures = np.array([list(TEXTURES).index(name) for name in names])[seen.material.ravel()]
    for number, texture in enumerate(TEXTURES.values()):
        at = np.flatnonzero(textures == number)
        mixture[at] = texture(across[at], along[at], blur[at])
    dark, light = seen.each("colours")
    wear = 0.85 + 0.3 * noise(seen.across / 3, seen.along / 3)
    return (dark + (light - dark) * mixture.reshape(wear.shape)) * wear


def _light(scene: Scene, seen: _Seen, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the light that falls on every pixel's surface, and the light that it mirrors: each (3, H, W)."""
    heights = _height_map(scene)
    off_surface = seen.points + 0.06 * seen.normals
    # Ambient light comes a little more from some sides, so that walls of one colour differ.
    tilt = 1 + _dot(seen.normals, _vector((0.08, 0.05, 0.1)))
    falling = _vector(scene.ambient) * (tilt * _openness(scene, heights, off_surface))
    mirrored = np.zeros_like(falling)
    view = -rays / np.sqrt(_dot(rays, rays))
    for light in scene.lights:
        to_light = _vector(light.position) - seen.points
        square = _dot(to_light, to_light)
        direction = to_light / np.sqrt(square)
        arriving = _vector(light.colour) * (
            _unshadowed(scene, heights, off_surface, to_light) / np.maximum(square, 0.5)
        )
        falling += arriving * np.maximum(_dot(seen.normals, direction), 0)
        # Blinn 1977: the light is mirrored where the normal lies midway between the light and the viewer.
        midway = direction + view
        # Not down to 0: powers too small for a normal float take a hundred times as long.
        glint = np.maximum(_dot(seen.normals, midway) / np.sqrt(_dot(midway, midway)), 0.1)
        for _ in range(5):  # to the 32nd power
            glint *= glint
        mirrored += 4 * glint * arriving
    return falling, mirrored * seen.each("shine")


def _height_map(scene: Scene) -> np.ndarray:
    """Compute the height of things over each cell of the main room's floor: enough for soft shadows."""
    half_x, half_y, _ = scene.bodies[0].half
    heights = np.zeros((int(2 * half_y / _CELL) + 1, int(2 * half_x / _CELL) + 1), np.float32)
    corners = _corners(scene)
    cells = _cells(scene, corners.T).T.astype(np.int32)
    bottom, top = corners[:, 0, 2], corners[:, 1, 2]
    stands = np.array([body.shape != "space" for body in scene.bodies]) & (bottom < 1)
    for body in np.argsort(top):
        if stands[body]:
            cv2.fillConvexPoly(heights, cells[body, _FOOTPRINT, :2], float(top[body]))
    return heights


_CELL = 0.05
"""Width of a cell of the height map in metres."""
_FOOTPRINT = [0, 2, 6, 4]
"""Corners of a box, once around its bottom."""


def _cells(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Convert points (3, …) to columns and rows of the height map, and metres above the floor."""
    half_x, half_y, _ = scene.bodies[0].half
    return (points + _vector((half_x, half_y, 0))) * _vector((1 / _CELL, 1 / _CELL, 1))


def _height(heights: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Read (H, W) the height map below every point, and 0 beside it."""
    return cv2.remap(heights, cells[0], cells[1], cv2.INTER_NEAREST)


def _openness(scene: Scene, heights: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Compute (H, W) the fraction of ambient light that reaches the corners of the room and between the furniture."""
    room = scene.bodies[0]
    gap = np.maximum(_vector(room.half) - np.abs(points - _vector(room.centre)), 0)
    corners = (1 - 0.4 * np.exp(-4 * gap)).prod(axis=0)
    around = _height(cv2.blur(heights, (9, 9)), _cells(scene, points))
    return corners * (1 - 0.5 * np.clip(2 * (around - points[2]), 0, 1))


def _unshadowed(scene: Scene, heights: np.ndarray, points: np.ndarray, to_light: np.ndarray) -> np.ndarray:
    """Compute (H, W) the fraction of a light that the furniture lets through, at half the resolution, interpolated."""
    _, height, width = points.shape
    points, to_light = np.ascontiguousarray(points[:, ::2, ::2]), to_light[:, ::2, ::2]
    # Above the tallest thing nothing is in the way, so that part of the ray is skipped.
    low = np.clip((heights.max() - points[2]) / np.maximum(to_light[2], 0.01), 0, 1)
    step = to_light * (low / _SHADOW_STEPS)
    step[:2] /= _CELL
    place = _cells(scene, points) + 0.5 * step
    blocked = np.zeros_like(low)
    for _ in range(_SHADOW_STEPS):
        np.maximum(blocked, _height(heights, place) - place[2], out=blocked)
        place += step
    return 1 - 0.8 * np.clip(8 * cv2.resize(blocked, (width, height)), 0, 1)


_SHADOW_STEPS = 8


def _develop(
    sensor: Sensor, seen: _Seen, albedo: np.ndarray, falling: np.ndarray, mirrored: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Convert light to (3, H, W) uint8: exposure, tone curve, lens and noise."""
    reflected = albedo * falling + mirrored
    gain = sensor.exposure**2 / reflected.mean()
    picture = (gain * reflected + seen.each("glow") * albedo) * _vector(sensor.white_balance)
    # A square root for the display's gamma, after a shoulder that keeps lamps and windows from clipping at once.
    picture = np.sqrt(1.15 * picture / (1 + 0.3 * picture))
    picture = np.clip(picture, 0, 1)
    picture += sensor.contrast * (picture * picture * (3 - 2 * picture) - picture)
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in picture.shape[1:])
    picture *= 1 - sensor.vignetting / 2 * (x * x + y[:, None] * y[:, None])
    picture = np.stack([cv2.GaussianBlur(channel, (3, 3), 0.6) for channel in picture])
    picture += _sensor_noise(rng, picture.shape) * (sensor.noise * (0.6 + 0.8 * picture))
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _sensor_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw noise of mean 0 and deviation 1: the sum of three bytes is nearly normal, and much faster to draw."""
    sums = np.frombuffer(rng.bytes(3 * math.prod(shape)), np.uint8).reshape(3, *shape).sum(axis=0, dtype=np.uint16)
    return (sums - np.float32(1.5 * 255)) / np.float32(128)


def _measured(seen: _Seen, albedo: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (H, W) where a structured-light camera would have measured depth.

    It misses what its projector, to its right, cannot see; what returns too little infrared light (dark, slanting, far
    or mirroring surfaces, windows, lamps); what is too near or too far; and a few pixels for no reason.
    """
    projected = np.arange(depth.shape[1], dtype=np.float32) - seen.disparity
    nearest = np.minimum.accumulate(projected[:, ::-1], axis=1)[:, ::-1]
    is_lit = cv2.erode((projected <= nearest).astype(np.uint8), np.ones((3, 5), np.uint8)) > 0
    patch = 0.5 + noise(seen.across, seen.along)
    reflectance = albedo.mean(axis=0) * (1 - 0.9 * seen.each("shine")) * (seen.each("glow") == 0)
    power = reflectance * seen.facing * patch / depth**2
    is_strong = power > _MIN_POWER
    is_speckle = np.frombuffer(rng.bytes(depth.size), np.uint8).reshape(depth.shape) == 0
    return is_lit & is_strong & (depth > SENSOR_MIN_DEPTH) & (depth < SENSOR_MAX_DEPTH) & ~is_speckle


_MIN_POWER = 0.007
"""Smallest power that is measured; a white wall, seen straight on from one metre, returns 1."""
