"""Rendering rooms: rays cast at convex bodies, textures and light, and what a depth camera would miss."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from leadline.datasets.rooms_scene import Body, Material, Scene, Sensor

NEAREST = 0.3
"""Metres; of solids nearer than this only what lies behind is seen, as beyond any camera's near plane."""
FARTHEST = 10.0
"""Metres beyond which a depth camera measures nothing."""
BASELINE = 0.075
"""Metres from the depth camera to its projector on the right."""


@dataclass(frozen=True, eq=False)
class View:
    """What a camera sees of a scene."""

    image: np.ndarray
    """(3, H, W) uint8, RGB."""
    depth: np.ndarray
    """(H, W) float32: metres along the optical axis, everywhere."""
    measured: np.ndarray
    """(H, W) bool: where a structured-light depth camera would have measured it."""


def render(scene: Scene, height: int, width: int, rng: np.random.Generator) -> View:
    """Render a scene at any size; `rng` draws the noise of the image and of the depth camera."""
    rays = _rays(scene, height, width)
    # A ray parallel to a face meets it at infinity, and one that misses a ball meets it at NaN: both compare rightly.
    with np.errstate(divide="ignore", invalid="ignore"):
        depth, hit = _cast(scene, rays)
    seen = _look(scene, rays, depth, hit)
    albedo = _albedo(seen)
    image = _develop(scene.sensor, seen, albedo, *_light(scene, seen, rays), rng)
    return View(image=image, depth=depth, measured=_measured(seen, albedo, depth, rng))


def _rays(scene: Scene, height: int, width: int) -> np.ndarray:
    """(3, H, W) directions in the world whose component along the optical axis is 1: a ray's length is its depth."""
    fx, fy, cx, cy = scene.camera.intrinsics(height, width)
    right, down, forward = scene.camera.rotation().T[:, :, None, None]
    across = (np.arange(width) - cx) / fx
    below = (np.arange(height)[:, None] - cy) / fy
    return (right * across + down * below + forward).astype(np.float32)


def _cast(scene: Scene, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W) and the number of the body seen there.

    A ray starts at depth 0 in the main room and goes on through each space that it finds itself in; then the solids
    in its way shorten it.
    """
    depth = np.zeros(rays.shape[1:], np.float32)
    hit = np.zeros(rays.shape[1:], np.intp)
    for number, (body, window) in enumerate(zip(scene.bodies, _windows(scene, *depth.shape), strict=True)):
        if window is None:
            continue
        origin, directions = _into_body(body, scene.camera.eye, rays[:, *window])
        enter, leave = _INTERVALS[body.shape](origin, directions)
        so_far = depth[window]
        if body.shape == "space":
            is_here, reached = (enter <= so_far) & (so_far < leave), leave
        else:
            is_here, reached = (enter <= leave) & (enter < so_far) & (enter > NEAREST), enter
        np.copyto(so_far, reached, where=is_here)
        np.copyto(hit[window], number, where=is_here)
    return depth, hit


def _windows(scene: Scene, height: int, width: int) -> list[tuple[slice, slice] | None]:
    """The rows and columns of the image that each body may cover; None for one behind the camera or beside the image."""
    centre, half, cos, sin = _placement(scene)
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
    x, y, z = np.moveaxis(signs * half[:, None], 2, 0)
    turned = np.stack([cos[:, None] * x - sin[:, None] * y, sin[:, None] * x + cos[:, None] * y, z], axis=2)
    corners = (turned + centre[:, None] - np.array(scene.camera.eye)) @ scene.camera.rotation()
    ahead = corners[..., 2]
    fx, fy, cx, cy = scene.camera.intrinsics(height, width)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns, rows = corners[..., 0] / ahead * fx + cx, corners[..., 1] / ahead * fy + cy
    # What reaches behind the camera may be anywhere.
    is_whole = ahead.min(axis=1) > 0.01
    left, right = np.where(is_whole, (columns.min(axis=1), columns.max(axis=1)), [[0], [width]])
    top, bottom = np.where(is_whole, (rows.min(axis=1), rows.max(axis=1)), [[0], [height]])
    edges = np.stack(
        [
            np.clip(np.floor(top), 0, height),
            np.clip(np.ceil(bottom) + 1, 0, height),
            np.clip(np.floor(left), 0, width),
            np.clip(np.ceil(right) + 1, 0, width),
        ],
        axis=1,
    ).astype(int)
    is_ahead = ahead.max(axis=1) > NEAREST
    return [
        (slice(top, bottom), slice(left, right)) if ahead and top < bottom and left < right else None
        for ahead, (top, bottom, left, right) in zip(is_ahead, edges.tolist(), strict=True)
    ]


def _placement(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of every body: centre and half extent (N, 3), cosine and sine of its turn (N,)."""
    yaw = np.array([body.yaw for body in scene.bodies])
    return (
        np.array([body.centre for body in scene.bodies], np.float32),
        np.array([body.half for body in scene.bodies], np.float32),
        np.cos(yaw).astype(np.float32),
        np.sin(yaw).astype(np.float32),
    )


def _into_body(body: Body, eye: tuple[float, float, float], rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eye (3, 1, 1) and the rays (3, h, w) seen from a body that is turned straight and scaled to half extent 1."""
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
    """Three slabs, each −1 … 1."""
    inverse = 1 / directions
    middle, reach = -origin * inverse, np.abs(inverse)
    return (middle - reach).max(axis=0), (middle + reach).min(axis=0)


def _through_ball(origin: np.ndarray, directions: np.ndarray) -> Interval:
    """The unit ball (or in two dimensions the disc), from the point of the ray that is nearest to its centre."""
    square = (directions * directions).sum(axis=0)
    middle = -(origin * directions).sum(axis=0) / square
    nearest = origin + directions * middle
    reach = np.sqrt((1 - (nearest * nearest).sum(axis=0)) / square)
    return middle - reach, middle + reach


def _through_cylinder(origin: np.ndarray, directions: np.ndarray) -> Interval:
    enter, leave = _through_ball(origin[:2], directions[:2])
    bottom, top = _through_box(origin[2:], directions[2:])
    return np.maximum(enter, bottom), np.minimum(leave, top)


_INTERVALS: Mapping[str, Callable[[np.ndarray, np.ndarray], Interval]] = {
    "space": _through_box,
    "box": _through_box,
    "ball": _through_ball,
    "cylinder": _through_cylinder,
}


@dataclass(frozen=True, eq=False)
class _Seen:
    """The surface behind every pixel."""

    size: tuple[int, int]
    disparity: np.ndarray
    """(H, W): pixels between where the depth camera and its projector see a point."""
    points: np.ndarray
    """(3, N) metres in the world."""
    normals: np.ndarray
    """(3, N), towards the viewer."""
    facing: np.ndarray
    """(N,) cosine between normal and line of sight."""
    across: np.ndarray
    along: np.ndarray
    """(N,) metres on the surface, from the middle of its face."""
    pixel: np.ndarray
    """(N,) metres of surface that a pixel covers."""
    materials: tuple[Material, ...]
    material: np.ndarray
    """(N,) which of the materials."""

    def each(self, field: str) -> np.ndarray:
        """A field of the material behind every pixel: (N,), or (…, N) of a field of vectors."""
        return _spread(np.array([getattr(material, field) for material in self.materials], np.float32), self.material)


def _look(scene: Scene, rays: np.ndarray, depth: np.ndarray, hit: np.ndarray) -> _Seen:
    """Where, on what and at which angle every ray ends."""
    height, width = depth.shape
    focal, *_ = scene.camera.intrinsics(height, width)
    rays, flat, body = rays.reshape(3, -1), depth.reshape(-1), hit.reshape(-1)
    points = rays * flat + np.array(scene.camera.eye, np.float32)[:, None]

    centre, half, cos, sin = (_spread(table, body) for table in _placement(scene))
    x, y, z = points - centre
    local = np.stack([cos * x + sin * y, cos * y - sin * x, z])
    share = local / half
    size_x, size_y, size_z = np.abs(share)
    axis = np.where((size_x >= size_y) & (size_x >= size_z), 0, np.where(size_y >= size_z, 1, 2))
    sign = np.sign(share)
    normal = np.where(axis == np.arange(3)[:, None], sign, 0)
    across = np.where(axis == 0, local[1], local[0])
    along = np.where(axis == 2, local[1], local[2])
    is_upper = np.where(axis == 0, sign[0], np.where(axis == 1, sign[1], sign[2])) > 0

    shapes = np.array([body.shape for body in scene.bodies])
    curved = np.flatnonzero(np.isin(shapes, ("ball", "cylinder"))[body])
    if len(curved):
        outward, around = _round(share[:, curved], half[:, curved], (shapes == "cylinder")[body[curved]])
        normal[:, curved] = outward
        across[curved] = around

    x, y, z = normal
    normals = np.stack([cos * x - sin * y, sin * x + cos * y, z])
    towards = -(normals * rays).sum(axis=0)
    normals *= np.sign(towards)
    facing = np.abs(towards) / np.sqrt((rays * rays).sum(axis=0))
    materials, faces = _faces(scene)
    return _Seen(
        size=(height, width),
        disparity=BASELINE * focal / depth,
        points=points,
        normals=normals,
        facing=facing,
        across=across,
        along=along,
        # Between the pixel's extent along and across the slope: sharp enough, and it hardly flickers.
        pixel=flat / focal / np.sqrt(np.maximum(facing, 0.02)),
        materials=materials,
        material=faces[body, 2 * axis + is_upper],
    )


def _spread(table: np.ndarray, row: np.ndarray) -> np.ndarray:
    """(…, N) the row of a table (rows, …) for every pixel; several times faster than indexing all columns at once."""
    columns = table.reshape(len(table), -1).T
    spread = np.empty((len(columns), len(row)), table.dtype)
    for column, target in zip(columns, spread, strict=True):
        target[:] = np.ascontiguousarray(column)[row]
    return spread.reshape(*table.shape[1:], len(row))


def _round(share: np.ndarray, half: np.ndarray, stands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outward normals (3, n) and metres around the vertical (n,) on balls and standing cylinders."""
    outward = share / half
    is_end = stands & (np.abs(share[2]) >= np.hypot(share[0], share[1]))
    outward[2, stands] = 0
    outward[:, is_end] = np.sign(share[:, is_end]) * [[0], [0], [1]]
    around = np.where(is_end, share[0], np.arctan2(share[1], share[0])) * half[0]
    return outward / np.sqrt((outward * outward).sum(axis=0)), around


def _faces(scene: Scene) -> tuple[tuple[Material, ...], np.ndarray]:
    """All materials, and (bodies, 6) which of them each face has."""
    number = {id(material): material for body in scene.bodies for material in body.faces}
    places = {key: place for place, key in enumerate(number)}
    faces = [[places[id(material)] for material in body.faces] * (6 // len(body.faces)) for body in scene.bodies]
    return tuple(number.values()), np.array(faces)


def _albedo(seen: _Seen) -> np.ndarray:
    """(3, N) the share of red, green and blue light that every pixel's surface throws back."""
    scale = seen.each("scale")
    across, along, blur = (seen.across + seen.each("phase")) / scale, seen.along / scale, seen.pixel / scale
    mixture = np.empty_like(across)
    names = np.array([list(_TEXTURES).index(material.texture) for material in seen.materials])[seen.material]
    for number, texture in enumerate(_TEXTURES.values()):
        at = np.flatnonzero(names == number)
        if len(at):
            mixture[at] = texture(across[at], along[at], blur[at])
    dark, light = seen.each("colours")
    wear = 0.85 + 0.3 * _noise(seen.across / 3, seen.along / 3)
    return (dark + (light - dark) * mixture) * wear


# Textures: (across, along, blur) in periods -> how much of the lighter colour, 0 … 1. Where a pixel covers as much as
# a period (blur near 1) each fades to its mean, so that nothing flickers in the distance.


def _plain(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return np.full_like(across, 0.8)


def _plaster(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return _fade(_noise(across, along), blur / 4)


def _paper(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Rows of dots, each second row shifted."""
    x, y = _from_whole(across + 0.5 * (np.floor(along) % 2)), along - np.floor(along) - 0.5
    return _fade(_edge(0.28 - np.hypot(x, y), blur), blur)


def _stripes(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return _fade(_edge(_from_whole(across) - 0.25, blur), blur)


def _checks(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    x, y = (_edge(_from_whole(side / 2) * 2 - 0.5, blur) for side in (across, along))
    return _fade(x + y - 2 * x * y, blur / 2)


def _tiles(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    shade = 0.7 + 0.3 * _fade(_any(np.floor(across), np.floor(along)), blur)
    return shade * (1 - np.maximum(_line(across, 0.04, blur), _line(along, 0.04, blur)))


def _bricks(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Bricks are one period long, and three rows high."""
    row = np.floor(3 * along)
    across = across + 0.5 * (row % 2)
    shade = 0.35 + 0.4 * _fade(_any(np.floor(across), row), blur)
    joint = np.maximum(_line(across, 0.05, blur), _line(3 * along, 0.15, 3 * blur))
    return shade + (1 - shade) * joint


def _planks(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Floor boards one period wide and eight long."""
    row = np.floor(across)
    place = along / 8 + _any(row, row)
    shade = _fade(_any(row, np.floor(place)), blur)
    wood = 0.25 + 0.45 * shade + 0.3 * _fade(_noise(across * 2, along / 6), blur)
    return wood * (1 - np.maximum(_line(across, 0.06, blur), _line(place, 0.008, blur / 8)))


def _grain(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return _fade(_noise(across / 8, along * 1.5), blur / 2)


def _carpet(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return 0.6 * _fade(_noise(across * 3, along * 3), blur * 2) + 0.4 * _noise(across / 4, along / 4)


def _fabric(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    weave = np.sin(40 * across) * np.sin(40 * along)
    return 0.4 * _fade(0.5 + 0.5 * weave, blur * 8) + 0.6 * _noise(across / 2, along / 2)


def _concrete(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return 0.7 * _noise(across / 4, along / 4) + 0.3 * _fade(_noise(across * 2, along * 2), blur)


def _books(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Backs of books, one a period."""
    return _fade(_any(np.floor(across), np.floor(across)), blur) * (1 - _line(across, 0.15, blur))


def _leaves(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return _fade(_edge(_noise(across, along) - 0.5, blur / 4), blur)


def _picture(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Something abstract: the contour lines of a hilly country."""
    hills = 4 * _noise(across, along)
    return hills - np.floor(hills)


def _sky(across: np.ndarray, along: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """Sky above roofs; a period is the window's height."""
    roofs = 0.35 * _any(np.floor(across * 5), np.floor(across * 5)) - 0.35
    return np.where(along > roofs, 0.75 + 0.5 * along, 0.15 + 0.2 * _noise(across * 2, along * 2))


_TEXTURES: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "books": _books,
    "bricks": _bricks,
    "carpet": _carpet,
    "checks": _checks,
    "concrete": _concrete,
    "fabric": _fabric,
    "grain": _grain,
    "leaves": _leaves,
    "paper": _paper,
    "picture": _picture,
    "plain": _plain,
    "planks": _planks,
    "plaster": _plaster,
    "sky": _sky,
    "stripes": _stripes,
    "tiles": _tiles,
}


def _from_whole(x: np.ndarray) -> np.ndarray:
    """The distance to the nearest whole number, 0 … 0.5."""
    return np.abs(x - np.rint(x))


def _edge(inside: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """How much of a pixel lies inside, by its distance to the edge."""
    return np.clip(inside / blur + 0.5, 0, 1)


def _line(x: np.ndarray, width: float, blur: np.ndarray) -> np.ndarray:
    """How much of a pixel a line at every whole number covers."""
    return np.clip(((width + blur) / 2 - _from_whole(x)) / blur, 0, np.minimum(1, width / blur))


def _fade(mixture: np.ndarray, blur: np.ndarray) -> np.ndarray:
    return 0.5 + (mixture - 0.5) * np.clip(2 - 2.5 * blur, 0, 1)


def _any(column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """A number in [0, 1] that looks random, for each whole column and row."""
    return _noise_tile()[(column * 9473 + row * 30727).astype(np.intp) & 0xFFFF]


def _noise(across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Cloudy noise in [0, 1] with some sixteen details a unit."""
    row, column = (along * 16).astype(np.intp) & 255, (across * 16).astype(np.intp) & 255
    return _noise_tile()[(row << 8) + column]


@cache
def _noise_tile() -> np.ndarray:
    """256 rows of 256: noise in [0, 1] whose power falls with frequency, and which repeats without a seam."""
    white = np.fft.rfft2(np.random.default_rng(0).standard_normal((256, 256)))
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    frequency[0, 0] = np.inf
    waves = np.fft.irfft2(white / frequency**1.2)
    return np.clip(0.5 + 0.22 * waves / waves.std(), 0, 1).astype(np.float32).ravel()


def _light(scene: Scene, seen: _Seen, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Light that falls on every pixel's surface, and light that it mirrors: each (3, N)."""
    heights = _Heights(scene)
    crevice = _open_sky(scene, seen, heights)
    tilt = np.array([[0.08], [0.05], [0.1]], np.float32)
    off_surface = seen.points + 0.06 * seen.normals
    falling = np.array(scene.ambient, np.float32)[:, None] * (crevice * (1 + (seen.normals * tilt).sum(axis=0)))
    mirrored = np.zeros_like(falling)
    view = -rays.reshape(3, -1)
    view /= np.sqrt((view * view).sum(axis=0))
    shiny = np.flatnonzero(seen.each("shine") > 0.05)
    for light in scene.lights:
        colour = np.array(light.colour, np.float32)[:, None]
        ray = np.array(light.position, np.float32)[:, None] - seen.points
        square = (ray * ray).sum(axis=0)
        to_light = ray / np.sqrt(square)
        arriving = heights.unshadowed(off_surface, ray) / np.maximum(square, 0.5)
        falling += colour * (arriving * np.maximum((seen.normals * to_light).sum(axis=0), 0))
        middle = to_light[:, shiny] + view[:, shiny]
        middle /= np.sqrt((middle * middle).sum(axis=0))
        # Not down to 0: powers too small for a normal float take a hundred times as long.
        glint = np.maximum((seen.normals[:, shiny] * middle).sum(axis=0), 0.1)
        for _ in range(5):  # to the 32nd power
            glint *= glint
        mirrored[:, shiny] += colour * (4 * glint * arriving[shiny])
    return falling, mirrored * seen.each("shine")


def _open_sky(scene: Scene, seen: _Seen, heights: "_Heights") -> np.ndarray:
    """(N,) what share of the ambient light gets into the corners of the room and between the furniture."""
    room = scene.bodies[0]
    off_surface = seen.points + 0.1 * seen.normals
    offset = np.abs(off_surface - np.array(room.centre, np.float32)[:, None])
    gap = np.maximum(np.array(room.half, np.float32)[:, None] - offset, 0)
    corner = (1 - 0.4 * np.exp(-4 * gap)).prod(axis=0)
    return corner * (1 - 0.5 * np.clip(2 * (heights.around(off_surface) - off_surface[2]), 0, 1))


class _Heights:
    """The furniture as a map of heights over the floor, which is enough for soft shadows."""

    cell = 0.05
    """Metres."""
    steps = 10
    """How often the way to a light is looked at."""

    def __init__(self, scene: Scene) -> None:
        half_x, half_y, _ = scene.bodies[0].half
        self.corner = np.array([half_x, half_y, 0], np.float32)
        self.per_metre = np.array([[1 / self.cell], [1 / self.cell], [1]], np.float32)
        self.heights = np.zeros((int(2 * half_y / self.cell) + 1, int(2 * half_x / self.cell) + 1), np.float32)
        solids = [body for body in scene.bodies if body.shape != "space" and body.centre[2] - body.half[2] < 1]
        for body in sorted(solids, key=lambda body: body.centre[2] + body.half[2]):
            self._draw(body)
        self.blurred = cv2.blur(self.heights, (9, 9))

    def _draw(self, body: Body) -> None:
        along, across = math.cos(body.yaw), math.sin(body.yaw)
        x, y, z = body.centre
        half_x, half_y, half_z = body.half
        corners = [
            (x + a * along * half_x - b * across * half_y, y + a * across * half_x + b * along * half_y)
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        cells = ((np.array(corners) + self.corner[:2]) / self.cell).astype(np.int32)
        cv2.fillConvexPoly(self.heights, cells, z + half_z)

    def around(self, points: np.ndarray) -> np.ndarray:
        """Mean height within some 20 cm of (3, N) points; nothing stands outside the main room."""
        return _nearest(self.blurred, *self._cells(points)[:2])

    def unshadowed(self, points: np.ndarray, ray: np.ndarray) -> np.ndarray:
        """(N,) share of a light that gets past the furniture; `ray` goes from the points all the way to it."""
        start, way = self._cells(points), ray * self.per_metre
        blocked = np.zeros_like(start[0])
        for step in range(self.steps):
            # Closer steps near the surface keep chair legs and the feet of cupboards on the floor.
            x, y, z = start + way * ((step + 0.5) / self.steps) ** 1.5
            np.maximum(blocked, _nearest(self.heights, x, y) - z, out=blocked)
        return 1 - 0.8 * np.clip(blocked * 8, 0, 1)

    def _cells(self, points: np.ndarray) -> np.ndarray:
        """(3, N) columns, rows and metres above the floor."""
        return (points + self.corner[:, None]) * self.per_metre


def _nearest(map: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(N,) the cell at each place, and 0 outside the map."""
    return cv2.remap(map, columns, rows, cv2.INTER_NEAREST).ravel()


def _develop(
    sensor: Sensor, seen: _Seen, albedo: np.ndarray, falling: np.ndarray, mirrored: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Light → (3, H, W) uint8: exposure, tone, lens and noise."""
    reflected = albedo * falling + mirrored
    gain = sensor.exposure**2 / reflected.mean()
    picture = (gain * reflected + seen.each("glow") * albedo) * np.array(sensor.white_balance, np.float32)[:, None]
    # A square root for the display's gamma, after a shoulder that keeps lamps and windows from clipping at once.
    picture = np.sqrt(1.15 * picture / (1 + 0.3 * picture)).reshape(3, *seen.size)
    picture = np.clip(picture, 0, 1)
    picture += sensor.contrast * (picture * picture * (3 - 2 * picture) - picture)
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in seen.size)
    picture *= 1 - sensor.vignetting / 2 * (x * x + y[:, None] * y[:, None])
    picture = np.stack([cv2.GaussianBlur(channel, (3, 3), 0.6) for channel in picture])
    picture += _sensor_noise(rng, picture.shape) * (sensor.noise * (0.6 + 0.8 * picture))
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _sensor_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Noise of mean 0 and deviation 1: the sum of three bytes is near enough to normal, and far sooner drawn."""
    sums = np.frombuffer(rng.bytes(3 * math.prod(shape)), np.uint8).reshape(3, *shape).sum(axis=0, dtype=np.uint16)
    return (sums - np.float32(1.5 * 255)) / np.float32(128)


def _measured(seen: _Seen, albedo: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W) where a structured-light camera would have measured depth.

    It misses what its projector, to its right, cannot see; what returns too little infrared light (dark, slanting, far
    or mirroring surfaces, windows, lamps); what is too far; and a few pixels for no reason.
    """
    projected = np.arange(depth.shape[1], dtype=np.float32) - seen.disparity
    nearest = np.minimum.accumulate(projected[:, ::-1], axis=1)[:, ::-1]
    is_lit = cv2.erode((projected <= nearest).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    patch = 0.5 + _noise(seen.across, seen.along)
    reflectance = albedo.mean(axis=0) * (1 - 0.9 * seen.each("shine")) * (seen.each("glow") == 0)
    power = reflectance * seen.facing * patch / depth.reshape(-1) ** 2
    is_strong = (power > _FAINTEST).reshape(depth.shape)
    is_speckle = np.frombuffer(rng.bytes(depth.size), np.uint8).reshape(depth.shape) == 0
    return is_lit & is_strong & (depth < FARTHEST) & ~is_speckle


_FAINTEST = 0.004
"""Power that still counts; a white wall, seen straight on from one metre, returns 1."""
