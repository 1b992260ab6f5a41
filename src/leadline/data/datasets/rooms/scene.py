"""Scenes of rooms: random but plausible indoor scenes, as convex bodies in metres."""

import colorsys
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from leadline.core.camera import centered_camera
from leadline.data.datasets.rooms.domains import Domain, Viewpoint
from leadline.data.datasets.rooms.furniture import ALL_FURNITURE, Furniture, Range, Vector

# Named tuples rather than dataclasses: an image takes hundreds of them.


class Material(NamedTuple):
    """Appearance of a face: two colours that a texture mixes, and how it reflects light."""

    texture: str
    colours: tuple[Vector, Vector]
    """Linear RGB where the texture is 0 and where it is 1."""
    scale: float
    """Metres of one period of the texture."""
    shine: float
    """Fraction of the light that is mirrored rather than scattered."""
    glow: float
    """Light that the face emits."""
    phase: float
    """Shifts the texture, so that no two rooms have the same floor."""


class Body(NamedTuple):
    """A convex solid, or a box-shaped empty space seen from inside."""

    shape: Literal["space", "box", "ball", "cylinder"]
    centre: Vector
    half: Vector
    """Half the extent along the body's own axes; of a cylinder (which stands) and a ball, the radii."""
    yaw: float
    """Turn about the vertical in radians."""
    faces: tuple[Material, ...]
    """Materials of the faces −x, +x, −y, +y, −z, +z; or one for all of them."""


class Light(NamedTuple):
    """A point light."""

    position: Vector
    colour: Vector
    """Linear RGB of its light on a face one metre away."""


class Camera(NamedTuple):
    """A pinhole camera; its horizontal field of view is the same for an image of any size."""

    eye: Vector
    yaw: float
    pitch: float
    roll: float
    field_of_view: float
    """Horizontal; this and the angles in radians."""
    near: float = 0.3
    """Metres: solids nearer than this are not rendered."""

    def rotation(self) -> np.ndarray:
        """Return (3, 3): columns are the image's right, down and forward in the world."""
        cos_yaw, sin_yaw = math.cos(self.yaw), math.sin(self.yaw)
        cos_pitch, sin_pitch = math.cos(self.pitch), math.sin(self.pitch)
        forward = np.array([cos_pitch * cos_yaw, cos_pitch * sin_yaw, sin_pitch])
        right = np.array([sin_yaw, -cos_yaw, 0.0])
        down = np.cross(forward, right)
        cos_roll, sin_roll = math.cos(self.roll), math.sin(self.roll)
        return np.stack([cos_roll * right + sin_roll * down, cos_roll * down - sin_roll * right, forward], axis=1)

    def moved_right(self, metres: float) -> "Camera":
        """Return this camera moved along its image's rows."""
        eye = np.array(self.eye) + metres * self.rotation()[:, 0]
        return self._replace(eye=(float(eye[0]), float(eye[1]), float(eye[2])))

    def intrinsics(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Return fx, fy, cx, cy in pixels; the centre of the top left pixel is (0, 0)."""
        return centered_camera(width / 2 / math.tan(self.field_of_view / 2), (height, width))


class Sensor(NamedTuple):
    """How the camera turns light into an image."""

    exposure: float
    """Mean brightness of the image."""
    white_balance: Vector
    contrast: float
    noise: float
    """Standard deviation of a mid-grey pixel, in units of the image's [0, 1]."""
    vignetting: float
    """Fraction of the light that the corners lose."""


class Scene(NamedTuple):
    """A room with its lights, and the camera in it."""

    bodies: tuple[Body, ...]
    """Spaces first, each reached through those before it, the main room first of all; then the solids."""
    lights: tuple[Light, ...]
    ambient: Vector
    camera: Camera
    sensor: Sensor


def furnish(domain: Domain, rng: np.random.Generator) -> Scene:
    """Draw a room, the camera in it, what its walls have, its lights, and the furniture.

    The camera is placed first and furniture only where it is not, so that no scene has to be drawn again.
    """
    room = _Room(domain, rng)
    camera = _camera(room)
    for wall, feature in enumerate(rng.permutation(np.array(domain.walls))[:4]):
        _FEATURES[str(feature)](room, wall)
    for _ in range(room.count(domain.lamps)):
        _lamp(room)
    for _ in range(room.count(domain.furniture_count)):
        _try_to_place(room, ALL_FURNITURE[room.pick(domain.furniture)])
    for _ in range(room.count(domain.clutter_count) if domain.clutter else 0):
        _try_to_place(room, ALL_FURNITURE[room.pick(domain.clutter)])
    return Scene(
        bodies=(*room.spaces, *room.solids),
        lights=tuple(room.lights),
        ambient=room.lamplight(room.draw(domain.ambient)),
        camera=camera,
        sensor=Sensor(
            exposure=room.draw(domain.exposure),
            white_balance=(room.draw((0.93, 1.07)), 1.0, room.draw((0.93, 1.07))),
            contrast=room.draw(domain.contrast),
            noise=room.draw(domain.noise),
            vignetting=room.draw(domain.vignetting),
        ),
    )


T = TypeVar("T")


class _Room:
    """A room while it is being furnished."""

    def __init__(self, domain: Domain, rng: np.random.Generator) -> None:
        self.domain, self.rng = domain, rng
        self.width, self.length = (self.draw(self.one_of(domain.sides)) for _ in range(2))
        self.height = self.draw(domain.ceiling)
        self.finishes = self.one_of(domain.finishes)
        floor, ceiling, wall = self.material("floor"), self.material("ceiling"), self.material("wall")
        accent = self.pick((wall, wall, self.material("wall")))
        self.faces = (wall, wall, accent, wall, floor, ceiling)
        self.trim = self.material("skirting")
        self.spaces = [
            Body("space", (0, 0, self.height / 2), (self.width / 2, self.length / 2, self.height / 2), 0.0, self.faces)
        ]
        self.solids: list[Body] = []
        self.lights: list[Light] = []
        self.taken: list[tuple[float, float, float, float]] = []
        """Occupied rectangles of floor: left, right, near and far end."""

    def draw(self, of: Range) -> float:
        return of[0] + (of[1] - of[0]) * self.rng.random()

    def count(self, of: tuple[int, int]) -> int:
        return int(self.rng.integers(of[0], of[1] + 1))

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.random() * len(options))]

    def one_of(self, options: Sequence[T]) -> T:
        """Pick one of several options; of a single one draw nothing, so that rooms of such domains stay the same."""
        return options[0] if len(options) == 1 else self.pick(options)

    def chance(self, of: float) -> bool:
        return self.rng.random() < of

    def lamplight(self, power: float) -> Vector:
        warmth = self.draw(self.domain.warmth)
        return power * (1 + warmth / 2), power, power * (1 - warmth / 2)

    def size(self, piece: Furniture) -> Vector:
        width, depth, height = piece.size
        return self.draw(width), self.draw(depth), self.draw(height)

    def material(self, name: str) -> Material:
        finish = self.finishes[name]
        hue, saturation, value = self.draw(finish.hue), self.draw(finish.saturation), self.draw(finish.value)
        contrast = self.draw(finish.contrast)
        # The more two colours differ in brightness, the more they may differ in hue.
        other_hue = hue + (1 - contrast) * self.draw((-0.3, 0.3))
        return Material(
            texture=self.pick(finish.textures),
            colours=(_linear(other_hue, saturation, value * contrast), _linear(hue, saturation, value)),
            scale=self.draw(finish.scale),
            shine=self.draw(finish.shine),
            glow=finish.glow,
            phase=self.draw((0, 100)),
        )

    def span(self, wall: int) -> float:
        """Return a wall's length."""
        return self.length if wall % 2 else self.width

    def at(self, wall: int, along: float, inward: float, z: float) -> Vector:
        """Return a point relative to the middle of a wall's foot; wall 0 is at −y, the next ones counter-clockwise."""
        across, ahead = math.sin(wall * math.pi / 2), math.cos(wall * math.pi / 2)
        inward -= self.span(wall + 1) / 2
        return along * ahead - inward * across, along * across + inward * ahead, z

    def fix(self, wall: int, along: float, inward: float, z: float, size: Vector, material: Material) -> None:
        """Hang a box on a wall: `size` along, inward and upwards around the point given."""
        half = (size[0] / 2, size[1] / 2, size[2] / 2)
        self.solids.append(Body("box", self.at(wall, along, inward, z), half, wall * math.pi / 2, (material,)))

    def hollow(self, wall: int, along: float, outward: Range, height: Range, width: float, *faces: Material) -> None:
        """Open a space in a wall or behind it, from one distance outward to another and from one height to another."""
        inward, z = -(outward[0] + outward[1]) / 2, (height[0] + height[1]) / 2
        half = (width / 2, (outward[1] - outward[0]) / 2 + _OVERLAP, (height[1] - height[0]) / 2)
        self.spaces.append(Body("space", self.at(wall, along, inward, z), half, wall * math.pi / 2, faces))

    def keep_free(self, x: float, y: float, half_x: float, half_y: float) -> None:
        self.taken.append((x - half_x, x + half_x, y - half_y, y + half_y))

    def is_free(self, x: float, y: float, half_x: float, half_y: float) -> bool:
        """Return whether this rectangle of floor is inside the room and free of everything placed before."""
        if abs(x) + half_x > self.width / 2 or abs(y) + half_y > self.length / 2:
            return False
        return all(
            x + half_x < left or x - half_x > right or y + half_y < near or y - half_y > far
            for left, right, near, far in self.taken
        )


def _linear(hue: float, saturation: float, value: float) -> Vector:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return red * red, green * green, blue * blue


def _camera(room: _Room) -> Camera:
    """Place a camera that looks down at a table or around in the room."""
    domain, view = room.domain, room.one_of(room.domain.views)
    eye, yaw, pitch = (view.distance and _at_a_table(room, view, view.distance)) or _in_the_room(room, view)
    return Camera(
        eye=eye,
        yaw=yaw,
        pitch=pitch,
        roll=math.radians(room.draw(domain.roll)),
        field_of_view=math.radians(room.draw(domain.field_of_view)),
        near=domain.near,
    )


def _in_the_room(room: _Room, view: Viewpoint) -> tuple[Vector, float, float]:
    """Draw eye, yaw and pitch of a camera away from the walls that looks more often along the room than at a wall."""
    margin = view.clearance - 0.1
    free_x, free_y = room.width / 2 - margin, room.length / 2 - margin
    x, y = room.draw((-free_x, free_x)), room.draw((-free_y, free_y))
    room.keep_free(x, y, view.clearance, view.clearance)

    def depth(yaw: float) -> float:
        """Return the distance to the opposite wall."""
        ahead, across = math.cos(yaw), math.sin(yaw)
        return min(
            (math.copysign(room.width / 2, ahead) - x) / ahead, (math.copysign(room.length / 2, across) - y) / across
        )

    height = room.draw(view.height)
    yaw = max((room.draw((-math.pi, math.pi)) for _ in range(view.directions)), key=depth)
    return (x, y, height), yaw, math.radians(room.draw(view.pitch))


def _at_a_table(room: _Room, view: Viewpoint, distance: Range) -> tuple[Vector, float, float] | None:
    """Draw eye, yaw and pitch of a camera before a table that is placed for it; None if there is no room for both."""
    piece = ALL_FURNITURE[room.pick([name for name in room.domain.furniture if ALL_FURNITURE[name].has_top])]
    size = room.size(piece)
    margin = view.clearance - 0.1
    for _ in range(10):
        table = _somewhere(room, piece, size)
        x, y, z = table.at(room.draw((-0.35, 0.35)), room.draw((-0.25, 0.25)), piece.top)
        # From its front, or if it stands free from any side.
        side = table.yaw + math.pi / 2 + room.draw((-1, 1) if piece.is_at_wall else (-math.pi, math.pi))
        pitch, away = math.radians(room.draw(view.pitch)), room.draw(distance)
        across, up = away * math.cos(pitch), -away * math.sin(pitch)
        eye = x + across * math.cos(side), y + across * math.sin(side), z + up
        is_inside = abs(eye[0]) < room.width / 2 - margin and abs(eye[1]) < room.length / 2 - margin
        if is_inside and eye[2] < room.height - 0.1 and room.is_free(table.foot[0], table.foot[1], *table.footprint()):
            half = view.clearance / 2
            room.keep_free((x + eye[0]) / 2, (y + eye[1]) / 2, abs(x - eye[0]) / 2 + half, abs(y - eye[1]) / 2 + half)
            room.keep_free(table.foot[0], table.foot[1], *table.footprint())
            _place(room, piece, table, room.domain.on_top_seen)
            return eye, side + math.pi, pitch
    return None


def _bare(room: _Room, wall: int) -> None:
    """Add a skirting board and nothing else."""
    room.fix(wall, 0, 0.006, 0.04, (room.span(wall), 0.012, 0.08), room.trim)


def _window(room: _Room, wall: int) -> None:
    """Add a window: daylight through a recess with glazing bars, perhaps between curtains."""
    _bare(room, wall)
    width = room.draw((0.7, min(2.0, room.span(wall) - 0.6)))
    height, sill, recess = room.draw((0.9, 1.3)), room.draw((0.75, 1.0)), room.draw((0.06, 0.2))
    along = _along(room, wall, width)
    frame = room.material("white")
    faces = (frame, frame, room.material("sky"), frame, frame, frame)
    middle = sill + height / 2
    room.hollow(wall, along, (0, recess), (sill, sill + height), width, *faces)
    room.fix(wall, along, 0.02 - recess, middle, (0.05, 0.04, height), frame)
    if room.chance(0.5):
        room.fix(wall, along, 0.02 - recess, sill + 0.65 * height, (width, 0.03, 0.04), frame)
    room.fix(wall, along, 0.05, sill - 0.02, (width + 0.1, 0.1, 0.03), frame)
    if room.chance(0.5):
        curtain, wide, top = room.material("curtain"), room.draw((0.2, 0.45)), sill + height + 0.15
        for side in (-1, 1):
            room.fix(wall, along + side * (width + wide) / 2, 0.08, top / 2 + 0.03, (wide, 0.06, top), curtain)
    power = room.draw((1.0, 3.0)) * width * height
    room.lights.append(Light(room.at(wall, along, 0.3, middle), (0.92 * power, power, 1.08 * power)))


def _door(room: _Room, wall: int) -> None:
    """Add a closed door in its frame."""
    width, height = room.draw((0.75, 0.95)), room.draw((1.98, 2.08))
    along = _along(room, wall, width + 0.2)
    room.fix(wall, along, 0.01, height / 2, (width, 0.04, height), room.material("door"))
    room.fix(wall, along + 0.42 * width, 0.05, 1.05, (0.1, 0.05, 0.03), room.material("metal"))
    _frame(room, wall, along, width, height)


def _doorway(room: _Room, wall: int) -> None:
    """Add an open door and the room behind it."""
    width, height, thickness = room.draw((0.8, 1.1)), room.draw((1.98, 2.08)), room.draw((0.1, 0.2))
    along = _along(room, wall, width + 0.2)
    *_, floor, ceiling = room.faces
    other = room.material("wall")
    faces = (other, other, other, other, room.pick((floor, room.material("floor"))), ceiling)
    room.hollow(wall, along, (0, thickness), (0, height), width, *faces)
    wide, deep = room.draw((1.6, 5.0)), room.draw((1.2, 4.0))
    shift = room.draw((-0.5, 0.5)) * (wide - width - 0.2)
    room.hollow(wall, along + shift, (thickness, thickness + deep), (0, room.height), wide, *faces)
    _frame(room, wall, along, width, height)


def _frame(room: _Room, wall: int, along: float, width: float, height: float) -> None:
    """Add the trim around a door, and keep the floor before it free."""
    for side in (-1, 1):
        room.fix(wall, along + side * (width / 2 + 0.035), 0.015, height / 2, (0.07, 0.03, height), room.trim)
    room.fix(wall, along, 0.015, height + 0.035, (width + 0.14, 0.03, 0.07), room.trim)
    x, y, _ = room.at(wall, along, 0.3, 0)
    room.keep_free(x, y, 0.45, 0.45)


def _niche(room: _Room, wall: int) -> None:
    """Extend the room beside a corner, to an L-shaped floor plan."""
    width, depth = room.draw((0.3, 0.7)) * room.span(wall), room.draw((0.3, 1.8))
    height = room.pick((room.height, room.draw((2.0, 2.3))))
    along = _along(room, wall, width)
    room.hollow(wall, along, (0, depth), (0, height), width, *room.faces)


def _pictures(room: _Room, wall: int) -> None:
    _bare(room, wall)
    for _ in range(room.count((1, 3))):
        width, height, border = room.draw((0.3, 0.9)), room.draw((0.3, 0.8)), room.draw((0.015, 0.05))
        along, z = _along(room, wall, width), room.draw((1.35, 1.65))
        room.fix(wall, along, 0.0125, z, (width, 0.025, height), room.material("dark"))
        inner = (width - 2 * border, 0.02, height - 2 * border)
        room.fix(wall, along, 0.02, z, inner, room.material("picture"))


_FEATURES: Mapping[str, Callable[[_Room, int], None]] = {
    "bare": _bare,
    "door": _door,
    "doorway": _doorway,
    "niche": _niche,
    "pictures": _pictures,
    "window": _window,
}
_OVERLAP = 0.001
"""Metres that a space reaches into the one before it, so that no ray falls between the two."""


def _along(room: _Room, wall: int, width: float) -> float:
    """Draw where on a wall something of this width hangs."""
    reach = max(room.span(wall) - width - 0.1, 0.0) / 2
    return room.draw((-reach, reach))


def _lamp(room: _Room) -> None:
    """Add a lamp on the ceiling or hanging from it."""
    x, y = room.draw((-0.3, 0.3)) * room.width, room.draw((-0.3, 0.3)) * room.length
    drop = room.pick((0.0, 0.0, room.draw((0.2, 0.7))))
    radius, z, shade = room.draw((0.1, 0.25)), room.height - drop - 0.05, room.material("shade")
    if drop:
        room.solids.append(Body("ball", (x, y, z), (radius, radius, radius), 0.0, (shade,)))
        cord = (room.material("dark"),)
        room.solids.append(Body("box", (x, y, room.height - drop / 2), (0.008, 0.008, drop / 2), 0.0, cord))
    else:
        room.solids.append(Body("cylinder", (x, y, z), (radius, radius, 0.05), 0.0, (shade,)))
    room.lights.append(Light((x, y, z - 0.1), room.lamplight(room.draw(room.domain.lamp_power) * room.height)))


class _Standing(NamedTuple):
    """Where a piece of furniture stands, and how large it is."""

    size: Vector
    foot: Vector
    yaw: float

    def at(self, x: float, y: float, z: float) -> Vector:
        """Return a point of the piece, given in fractions of its size."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        x, y = x * self.size[0], y * self.size[1]
        return self.foot[0] + cos * x - sin * y, self.foot[1] + sin * x + cos * y, self.foot[2] + z * self.size[2]

    def footprint(self) -> tuple[float, float]:
        """Return half the sides of the axis-aligned rectangle around it."""
        cos, sin = abs(math.cos(self.yaw)), abs(math.sin(self.yaw))
        width, depth, _ = self.size
        return (cos * width + sin * depth) / 2, (sin * width + cos * depth) / 2


def _try_to_place(room: _Room, piece: Furniture, tries: int = 5) -> None:
    """Place a piece of furniture where the floor is free; give up after some tries."""
    size = room.size(piece)
    for _ in range(tries):
        standing = _somewhere(room, piece, size)
        x, y, _ = standing.foot
        is_rug = size[2] < 0.05
        if is_rug or room.is_free(x, y, *standing.footprint()):
            if not is_rug:
                room.keep_free(x, y, *standing.footprint())
            _place(room, piece, standing, room.domain.on_top)
            break


def _somewhere(room: _Room, piece: Furniture, size: Vector) -> _Standing:
    """Draw a place against a wall or anywhere, as the piece needs, whether or not it is free."""
    if piece.is_at_wall:
        wall = room.count((0, 3))
        yaw, reach = wall * math.pi / 2, (room.span(wall) - size[0]) / 2
        x, y, _ = room.at(wall, room.draw((-reach, reach)), size[1] / 2 + 0.02, 0)
    else:
        yaw = room.count((0, 3)) * math.pi / 2 + room.draw((-piece.turn, piece.turn))
        x, y = room.draw((-0.5, 0.5)) * room.width, room.draw((-0.5, 0.5)) * room.length
    return _Standing(size, (x, y, 0.0), yaw)


def _place(room: _Room, piece: Furniture, standing: _Standing, on_top: tuple[int, int]) -> None:
    """Build a piece of furniture, and place things on it."""
    size = standing.size
    materials = {name: (room.material(name),) for name in {part.finish: None for part in piece.parts}}
    for part in piece.parts:
        half = (part.size[0] * size[0] / 2, part.size[1] * size[1] / 2, part.size[2] * size[2] / 2)
        room.solids.append(Body(part.shape, standing.at(*part.centre), half, standing.yaw, materials[part.finish]))
    for _ in range(room.count(on_top) if piece.has_top else 0):
        ornament = ALL_FURNITURE[room.pick(room.domain.ornaments)]
        top = standing.at(room.draw((-0.35, 0.35)), room.draw((-0.25, 0.25)), piece.top)
        ornament_size = room.size(ornament)
        yaw = standing.yaw + room.draw((-ornament.turn, ornament.turn))
        _place(room, ornament, _Standing(ornament_size, top, yaw), on_top)
