"""Layouts: from a seed to a furnished room, with the views from which it is photographed.

Coordinates are metres: x to the east, y to the north, z up, the first room's floor from (0, 0). A model turned by 0
degrees has its back to the north.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from leadline.data.furnished_rooms.catalogue import FurnitureModel, Role

Colour = tuple[float, float, float]
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Surface:
    """The material of a wall, floor or ceiling."""

    texture: str
    """plain, planks, tiles, bricks, carpet, stripes or plaster."""
    colour: Colour
    second: Colour
    """Colour of joints, stripes and spots."""
    scale: float
    """Size of a plank, tile or stripe in metres."""
    roughness: float


@dataclass(frozen=True)
class Block:
    """A box along the axes, of one material; metres."""

    low: Vector
    high: Vector
    surface: Surface


@dataclass(frozen=True)
class Placed:
    """A furniture model in its place; metres."""

    archive: str
    path: str
    size: Vector
    """Width, depth and height."""
    foot: Vector
    """Centre of its footprint, and the height of its lowest point."""
    turned: float
    """Degrees, counter-clockwise from above."""
    tint: Colour


@dataclass(frozen=True)
class Lamp:
    """A light: a ball, or a window's pane."""

    kind: str
    """ball or pane."""
    place: Vector
    power: float
    """Watts, as Blender defines them for lights."""
    colour: Colour
    size: tuple[float, float]
    """Metres: of a ball (radius, radius), of a pane (width, height)."""
    turned: float = 0.0


@dataclass(frozen=True)
class View:
    """A camera; angles in degrees."""

    place: Vector
    yaw: float
    """Direction of the optical axis, counter-clockwise from the east."""
    pitch: float
    """Upwards."""
    roll: float
    field_of_view: float
    """Horizontal."""


@dataclass
class Layout:
    """One scene: boxes, furniture, lights and cameras."""

    seed: tuple[int, ...]
    blocks: list[Block] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)
    lamps: list[Lamp] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    ambient: float = 0.1
    """Radiance of the light that comes from everywhere, in watts per square metre and steradian."""

    def as_json(self) -> dict[str, Any]:
        """Return the layout as what JSON can hold, for Blender's Python."""
        return asdict(self)


@dataclass(frozen=True)
class _RoomKind:
    probability: float
    """Of a room being of this kind."""
    sides: tuple[float, float]
    """Shortest and longest, metres."""
    categories: tuple[str, ...]
    """Of the catalogues, that its furniture comes from."""
    needs: Mapping[Role, tuple[int, int]]
    """Role → least and largest number of pieces."""


_HOME = ("Living room", "Office", "Miscellaneous")
_KINDS: Mapping[str, _RoomKind] = {
    "living": _RoomKind(
        0.27, (3.0, 7.0), _HOME, {Role.SOFA: (1, 3), Role.TABLE: (1, 2), Role.WALL: (1, 4), Role.CHAIR: (0, 4)}
    ),
    "bedroom": _RoomKind(
        0.2,
        (2.5, 5.0),
        ("Bedroom", "Living room"),
        {Role.BED: (1, 2), Role.WALL: (1, 3), Role.TABLE: (0, 2), Role.DESK: (0, 1), Role.CHAIR: (0, 1)},
    ),
    "office": _RoomKind(
        0.2, (2.6, 8.0), _HOME, {Role.DESK: (1, 4), Role.WALL: (1, 4), Role.TABLE: (0, 2), Role.CHAIR: (1, 6)}
    ),
    "kitchen": _RoomKind(
        0.15, (2.3, 5.0), ("Kitchen", "Living room"), {Role.WALL: (3, 7), Role.TABLE: (1, 1), Role.CHAIR: (2, 5)}
    ),
    "bathroom": _RoomKind(0.06, (1.7, 3.2), ("Bathroom",), {Role.WALL: (2, 5)}),
    "hall": _RoomKind(
        0.12, (5.0, 12.0), _HOME, {Role.WALL: (2, 6), Role.TABLE: (0, 4), Role.CHAIR: (0, 8), Role.SOFA: (0, 2)}
    ),
}
_TURNS = {"north": 0.0, "east": -90.0, "south": 180.0, "west": 90.0}
_THICKNESS = 0.12


def make_layout(models: Sequence[FurnitureModel], seed: tuple[int, ...], views: int) -> Layout:
    """Furnish one room, and often a second one behind a doorway.

    Args:
        models: furniture to choose from, as `read_catalogues` returns it.
        seed: the same seed and models give the same layout.
        views: number of cameras to propose, more than needed: the renderer rejects those that face a near wall.
    """
    return _Builder(models, seed).build(views)


@dataclass(frozen=True)
class _Area:
    """A rectangle of floor that is taken, up to a height."""

    x0: float
    y0: float
    x1: float
    y1: float
    height: float

    def meets(self, other: "_Area", gap: float) -> bool:
        is_apart = (
            self.x0 >= other.x1 + gap
            or other.x0 >= self.x1 + gap
            or self.y0 >= other.y1 + gap
            or other.y0 >= self.y1 + gap
        )
        return not is_apart


class _Builder:
    def __init__(self, models: Sequence[FurnitureModel], seed: tuple[int, ...]) -> None:
        self.rng = np.random.default_rng(seed)
        self.models = models
        self.layout = Layout(seed)
        self.taken: list[_Area] = []
        self.surfaces: list[tuple[Placed, float]] = []
        """Furniture that things may lie on, and the height of its top above the floor."""

    def build(self, views: int) -> Layout:
        rng = self.rng
        kind = str(rng.choice(list(_KINDS), p=[each.probability for each in _KINDS.values()]))
        about = _KINDS[kind]
        low, high = about.sides
        width, depth = rng.uniform(low, high, 2)
        if kind == "hall" and rng.random() < 0.5:
            width = rng.uniform(1.4, 2.6)
        height = rng.uniform(2.3, 3.0) + (rng.uniform(0, 1.2) if max(width, depth) > 6 else 0)
        doorway = self._shell((0.0, 0.0, width, depth), height, opening=rng.random() < 0.45)
        self._fill((0.0, 0.0, width, depth), height, about)
        if doorway:
            self._second_room(doorway, height)
        self._light((0.0, 0.0, width, depth), height)
        self._propose_views((0.0, 0.0, width, depth), height, views)
        self.layout.ambient = float(rng.uniform(0.5, 1.5)) * self._mean_radiance((width, depth, height))
        return self.layout

    def _shell(
        self, floor: tuple[float, float, float, float], height: float, *, opening: bool
    ) -> tuple[float, float] | None:
        """Build floor, ceiling and walls; return where a doorway in the northern wall is, from x to x."""
        x0, y0, x1, y1 = floor
        rng, t = self.rng, _THICKNESS
        walls, ground, above = self._wall_surface(), self._floor_surface(), _plain(_near_white(rng))
        accent = self._wall_surface() if rng.random() < 0.2 else walls
        blocks = self.layout.blocks
        blocks.append(Block((x0 - t, y0 - t, -t), (x1 + t, y1 + t, 0.0), ground))
        blocks.append(Block((x0 - t, y0 - t, height), (x1 + t, y1 + t, height + t), above))
        blocks.append(Block((x0 - t, y0, 0.0), (x0, y1, height), walls))
        blocks.append(Block((x1, y0, 0.0), (x1 + t, y1, height), accent))
        blocks.append(Block((x0 - t, y0 - t, 0.0), (x1 + t, y0, height), walls))
        gap = None
        if opening and x1 - x0 > 1.6:
            wide = rng.uniform(0.75, min(1.8, x1 - x0 - 0.6))
            start = rng.uniform(x0 + 0.2, x1 - 0.2 - wide)
            top = min(rng.uniform(1.95, 2.2), height - 0.1)
            gap = (float(start), float(start + wide))
            blocks.append(Block((x0 - t, y1, 0.0), (gap[0], y1 + t, height), walls))
            blocks.append(Block((gap[1], y1, 0.0), (x1 + t, y1 + t, height), walls))
            blocks.append(Block((gap[0], y1, top), (gap[1], y1 + t, height), walls))
            # Nothing stands in a doorway.
            self.taken.append(_Area(gap[0], y1 - 0.8, gap[1], y1, 2.0))
        else:
            blocks.append(Block((x0 - t, y1, 0.0), (x1 + t, y1 + t, height), walls))
        if rng.random() < 0.6:
            self._skirting(floor, gap)
        return gap

    def _skirting(self, floor: tuple[float, float, float, float], gap: tuple[float, float] | None) -> None:
        x0, y0, x1, y1 = floor
        tall, deep = self.rng.uniform(0.05, 0.14), 0.015
        surface = _plain(_near_white(self.rng))
        strips = [(x0, y0, x0 + deep, y1), (x1 - deep, y0, x1, y1), (x0, y0, x1, y0 + deep)]
        strips += (
            [(x0, y1 - deep, x1, y1)] if gap is None else [(x0, y1 - deep, gap[0], y1), (gap[1], y1 - deep, x1, y1)]
        )
        for a, b, c, d in strips:
            self.layout.blocks.append(Block((a, b, 0.0), (c, d, tall), surface))

    def _second_room(self, doorway: tuple[float, float], height: float) -> None:
        """Build a room behind the northern wall, which is its southern wall as well."""
        rng, t = self.rng, _THICKNESS
        wide, deep = rng.uniform(2.0, 5.0), rng.uniform(1.5, 5.0)
        middle = sum(doorway) / 2
        y0 = max(block.high[1] for block in self.layout.blocks)
        x0, x1, y1 = middle - wide * rng.uniform(0.35, 0.65), 0.0, y0 + deep
        x0 = min(x0, doorway[0])
        x1 = max(x0 + wide, doorway[1])
        walls = self._wall_surface()
        blocks = self.layout.blocks
        blocks.append(Block((x0 - t, y0, -t), (x1 + t, y1 + t, 0.0), self._floor_surface()))
        blocks.append(Block((x0 - t, y0, height), (x1 + t, y1 + t, height + t), _plain(_near_white(rng))))
        blocks.append(Block((x0 - t, y0, 0.0), (x0, y1, height), walls))
        blocks.append(Block((x1, y0, 0.0), (x1 + t, y1, height), walls))
        blocks.append(Block((x0 - t, y1, 0.0), (x1 + t, y1 + t, height), walls))
        self._along_walls((x0, y0, x1, y1), int(rng.integers(1, 4)), None, sides=("north", "east", "west"))
        self._ball(((x0 + x1) / 2, (y0 + y1) / 2, height - 0.3))

    def _fill(self, floor: tuple[float, float, float, float], height: float, about: _RoomKind) -> None:
        rng, categories = self.rng, about.categories
        self._openings(floor, height)
        crowded = rng.uniform(0.8, 2.2)
        for role, (least, most) in about.needs.items():
            count = round(float(rng.integers(least, most + 1)) * crowded) or least
            if role in (Role.BED, Role.SOFA, Role.WALL, Role.DESK):
                for _ in range(count):
                    self._along_walls(floor, 1, categories, role=role)
            elif role is Role.TABLE:
                for _ in range(count):
                    self._in_the_middle(floor, role, categories)
            else:
                self._chairs(floor, count)
        for _ in range(int(rng.integers(0, 6))):
            self._in_the_middle(floor, Role.FLOOR, None)
        if rng.random() < 0.35:
            self._in_the_middle(floor, Role.RUG, None)
        if rng.random() < 0.2:
            self._in_the_middle(floor, Role.PERSON, None)
        for _ in range(int(rng.integers(0, 4))):
            self._hang(floor)
        for _ in range(int(rng.integers(0, 4))):
            self._picture(floor, height)
        self._clutter()

    def _openings(self, floor: tuple[float, float, float, float], height: float) -> None:
        """Add doors and windows to the walls; the sky behind a window lights the room."""
        rng = self.rng
        for role, most in ((Role.WINDOW, 3), (Role.DOOR, 2)):
            for _ in range(int(rng.integers(0, most))):
                model = self._choose(role, None)
                if model is None or model.elevation + model.height > height - 0.05:
                    continue
                side = str(rng.choice(["east", "south", "west"]))
                foot = self._against(floor, side, model, depth=0.0)
                if foot is None:
                    continue
                self._put(model, foot, _TURNS[side], reserve=0.7 if role is Role.DOOR else 0.0)
                if role is Role.WINDOW:
                    inward = {"east": (-1, 0), "south": (0, 1), "west": (1, 0)}[side]
                    place = (foot[0] + 0.08 * inward[0], foot[1] + 0.08 * inward[1], foot[2] + model.height / 2)
                    power = float(rng.uniform(10, 120) * model.width * model.height)
                    day = (0.8 + 0.2 * rng.random(), 0.9, 1.0)
                    self.layout.lamps.append(
                        Lamp("pane", place, power, day, (model.width * 0.85, model.height * 0.85), _TURNS[side])
                    )

    def _along_walls(
        self,
        floor: tuple[float, float, float, float],
        count: int,
        categories: Sequence[str] | None,
        *,
        role: Role = Role.WALL,
        sides: Sequence[str] = ("north", "east", "south", "west"),
    ) -> None:
        for _ in range(count * 4):
            if count == 0:
                return
            model = self._choose(role, categories)
            if model is None:
                return
            side = str(self.rng.choice(sides))
            foot = self._against(floor, side, model, depth=model.depth)
            if foot is not None and self._put(model, foot, _TURNS[side]):
                count -= 1

    def _against(
        self, floor: tuple[float, float, float, float], side: str, model: FurnitureModel, *, depth: float
    ) -> Vector | None:
        """Draw a place with the back to a wall; None if the wall is too short."""
        x0, y0, x1, y1 = floor
        half, off = model.width / 2, depth / 2 + (0.02 if depth else 0.0)
        low, high = (x0, x1) if side in ("north", "south") else (y0, y1)
        if high - low < model.width + 0.04:
            return None
        along = float(self.rng.uniform(low + half, high - half))
        match side:
            case "north":
                return along, y1 - off, model.elevation
            case "south":
                return along, y0 + off, model.elevation
            case "east":
                return x1 - off, along, model.elevation
            case _:
                return x0 + off, along, model.elevation

    def _in_the_middle(
        self, floor: tuple[float, float, float, float], role: Role, categories: Sequence[str] | None
    ) -> None:
        x0, y0, x1, y1 = floor
        model = self._choose(role, categories) or self._choose(role, None)
        if model is None:
            return
        reach = math.hypot(model.width, model.depth) / 2 + 0.05
        if min(x1 - x0, y1 - y0) < 2 * reach + 0.1:
            return
        for _ in range(6):
            foot = (
                float(self.rng.uniform(x0 + reach, x1 - reach)),
                float(self.rng.uniform(y0 + reach, y1 - reach)),
                0.0,
            )
            turned = float(
                self.rng.choice([0, 90, 180, 270]) + self.rng.normal(0, 4 if self.rng.random() < 0.7 else 40)
            )
            if self._put(model, foot, turned):
                return

    def _chairs(self, floor: tuple[float, float, float, float], count: int) -> None:
        """Place most chairs at tables and desks, facing them, and the others anywhere."""
        tables = [placed for placed, top in self.surfaces if 0.6 < top < 1.0]
        model = self._choose(Role.CHAIR, None)
        if model is None:
            return
        for _ in range(count):
            if self.rng.random() < 0.2:
                model = self._choose(Role.CHAIR, None) or model
            if tables and self.rng.random() < 0.85 and self._chair_at(floor, tables, model):
                continue
            self._in_the_middle(floor, Role.CHAIR, None)

    def _chair_at(
        self, floor: tuple[float, float, float, float], tables: Sequence[Placed], model: FurnitureModel
    ) -> bool:
        table = tables[int(self.rng.integers(len(tables)))]
        side = int(self.rng.integers(4))
        out = (table.size[1] if side % 2 == 0 else table.size[0]) / 2 + model.depth * self.rng.uniform(0.15, 0.5)
        along = self.rng.uniform(-0.3, 0.3) * (table.size[0] if side % 2 == 0 else table.size[1])
        angle = math.radians(table.turned + 90.0 * side)
        # Seen from the table, a chair at its southern side (0) has its back to the south.
        x = table.foot[0] + math.sin(angle) * out + math.cos(angle) * along
        y = table.foot[1] - math.cos(angle) * out + math.sin(angle) * along
        x0, y0, x1, y1 = floor
        if not (x0 + 0.25 < x < x1 - 0.25 and y0 + 0.25 < y < y1 - 0.25):
            return False
        turned = table.turned + 90.0 * side + 180.0 + self.rng.normal(0, 10)
        return self._put(model, (x, y, 0.0), float(turned), gap=-0.3)

    def _hang(self, floor: tuple[float, float, float, float]) -> None:
        model = self._choose(Role.HUNG, None)
        if model is None:
            return
        side = str(self.rng.choice(["east", "south", "west"]))
        foot = self._against(floor, side, model, depth=model.depth)
        if foot is not None:
            self._put(model, foot, _TURNS[side], is_on_floor=False)

    def _picture(self, floor: tuple[float, float, float, float], height: float) -> None:
        """Hang a flat coloured board on a wall."""
        rng = self.rng
        x0, y0, x1, y1 = floor
        wide, tall = rng.uniform(0.2, 1.2, 2)
        foot = rng.uniform(1.0, max(1.05, height - tall - 0.2))
        surface = Surface("plaster", _any_colour(rng), _any_colour(rng), float(rng.uniform(0.05, 0.4)), 0.4)
        side = int(rng.integers(3))
        if side == 0 and x1 - x0 > wide + 0.2:
            at = rng.uniform(x0 + 0.1, x1 - wide - 0.1)
            self.layout.blocks.append(Block((at, y0, foot), (at + wide, y0 + 0.03, foot + tall), surface))
        elif side and y1 - y0 > wide + 0.2:
            at = rng.uniform(y0 + 0.1, y1 - wide - 0.1)
            low, high = ((x0, x0 + 0.03), (x1 - 0.03, x1))[side - 1]
            self.layout.blocks.append(Block((low, at, foot), (high, at + wide, foot + tall), surface))

    def _clutter(self) -> None:
        """Put things on tables, desks and the like."""
        for placed, top in list(self.surfaces):
            low_is_bare = 0.3 if top > 0.55 else 0.75
            if self.rng.random() < low_is_bare:
                continue
            there: list[_Area] = []
            for _ in range(int(self.rng.integers(1, 8))):
                model = self._choose(Role.ITEM, None)
                if model is None or model.width > placed.size[0] * 0.8 or model.depth > placed.size[1] * 0.8:
                    continue
                angle = math.radians(placed.turned)
                right = self.rng.uniform(-1, 1) * (placed.size[0] - model.width) / 2
                back = self.rng.uniform(-1, 1) * (placed.size[1] - model.depth) / 2
                x = placed.foot[0] + math.cos(angle) * right - math.sin(angle) * back
                y = placed.foot[1] + math.sin(angle) * right + math.cos(angle) * back
                reach = max(model.width, model.depth) / 2
                area = _Area(x - reach, y - reach, x + reach, y + reach, top)
                if any(area.meets(other, 0.0) for other in there):
                    continue
                there.append(area)
                self._add(model, (x, y, top), placed.turned + float(self.rng.normal(0, 30)))

    def _put(
        self,
        model: FurnitureModel,
        foot: Vector,
        turned: float,
        *,
        gap: float = 0.03,
        reserve: float = 0.0,
        is_on_floor: bool = True,
    ) -> bool:
        """Place a model unless something stands there; `reserve` keeps metres in front of it free."""
        angle = math.radians(turned)
        across = (abs(math.cos(angle)) * model.width + abs(math.sin(angle)) * model.depth) / 2
        along = (abs(math.sin(angle)) * model.width + abs(math.cos(angle)) * model.depth) / 2
        area = _Area(foot[0] - across, foot[1] - along, foot[0] + across, foot[1] + along, foot[2] + model.height)
        if model.role is not Role.RUG:
            clash = [other for other in self.taken if area.meets(other, gap)]
            if any(other.height > foot[2] + 0.02 for other in clash):
                return False
            if is_on_floor and model.elevation < 1.2:
                grown = _Area(area.x0 - reserve, area.y0 - reserve, area.x1 + reserve, area.y1 + reserve, area.height)
                self.taken.append(grown)
        self._add(model, foot, turned)
        if model.top is not None:
            self.surfaces.append((self.layout.placed[-1], foot[2] + model.top))
        return True

    def _add(self, model: FurnitureModel, foot: Vector, turned: float) -> None:
        tint = (1.0, 1.0, 1.0)
        if self.rng.random() < 0.4:
            tint = _colour(self.rng.uniform(0.8, 1.1, 3) * self.rng.uniform(0.5, 1.1))
        size = (model.width, model.depth, model.height)
        self.layout.placed.append(Placed(model.archive, model.path, size, foot, turned, tint))

    def _choose(self, role: Role, categories: Sequence[str] | None) -> FurnitureModel | None:
        fitting = [
            model
            for model in self.models
            if model.role is role and (categories is None or model.category in categories)
        ]
        return fitting[int(self.rng.integers(len(fitting)))] if fitting else None

    def _light(self, floor: tuple[float, float, float, float], height: float) -> None:
        x0, y0, x1, y1 = floor
        rng = self.rng
        for _ in range(int(rng.integers(1, 4)) if not self.layout.lamps else int(rng.integers(0, 3))):
            x, y = rng.uniform(x0 + 0.3, x1 - 0.3), rng.uniform(y0 + 0.3, y1 - 0.3)
            self._ball((float(x), float(y), float(rng.uniform(0.75, 0.93) * height)))

    def _mean_radiance(self, room: Vector) -> float:
        """Radiance of walls that reflect half of what the lamps shine, everywhere alike."""
        x, y, z = room
        return sum(lamp.power for lamp in self.layout.lamps) / (2 * (x * y + y * z + x * z)) / math.pi

    def _ball(self, place: Vector) -> None:
        warm = self.rng.uniform(0, 1)
        colour = (1.0, 1.0 - 0.25 * warm, 1.0 - 0.55 * warm)
        radius = float(self.rng.uniform(0.04, 0.2))
        self.layout.lamps.append(Lamp("ball", place, float(self.rng.uniform(15, 120)), colour, (radius, radius)))

    def _propose_views(self, floor: tuple[float, float, float, float], height: float, count: int) -> None:
        """Propose views from eye height, from near the floor and down at tables, from 0.3 m to the far wall."""
        rng = self.rng
        x0, y0, x1, y1 = floor
        tables = [(placed, top) for placed, top in self.surfaces if 0.35 < top < 1.1]
        while len(self.layout.views) < count:
            fov = float(rng.uniform(40, 80) if rng.random() < 0.8 else rng.uniform(35, 100))
            roll = float(rng.normal(0, 2 if rng.random() < 0.85 else 12))
            style = rng.random()
            if style < 0.2 and tables:
                placed, top = tables[int(rng.integers(len(tables)))]
                distance = rng.uniform(0.35, 1.3)
                pitch = -rng.uniform(12, 75)
                yaw = rng.uniform(0, 360)
                away = distance * math.cos(math.radians(pitch))
                x = placed.foot[0] - math.cos(math.radians(yaw)) * away
                y = placed.foot[1] - math.sin(math.radians(yaw)) * away
                z = top - distance * math.sin(math.radians(pitch))
            else:
                x, y = rng.uniform(x0 + 0.15, x1 - 0.15), rng.uniform(y0 + 0.15, y1 - 0.15)
                inside = (rng.uniform(x0, x1), rng.uniform(y0, y1))
                if style > 0.7:
                    # From one end of the room to the other, which a place drawn at random seldom sees.
                    x, y, inside = self._across((x0, y0, x1, y1))
                if style < 0.4:
                    z, pitch = rng.uniform(0.15, 0.55), rng.normal(-6, 10)
                elif style < 0.5:
                    z, pitch = rng.uniform(0.5, 1.6), -rng.uniform(30, 70)
                else:
                    z, pitch = rng.uniform(0.9, 1.8), rng.normal(-10, 9)
                # Towards the inside, so that far walls are seen as often as near ones.
                yaw = math.degrees(math.atan2(inside[1] - y, inside[0] - x)) + rng.normal(0, 10)
            if x0 + 0.1 < x < x1 - 0.1 and y0 + 0.1 < y < y1 - 0.1 and 0.1 < z < height - 0.15:
                self.layout.views.append(View((float(x), float(y), float(z)), float(yaw), float(pitch), roll, fov))

    def _across(self, floor: tuple[float, float, float, float]) -> tuple[float, float, tuple[float, float]]:
        """Draw a place near one end of the longer side, and one near the other end to look at."""
        low, high = np.array(floor[:2]), np.array(floor[2:])
        long = int(np.argmax(high - low))
        here, there = self.rng.uniform(low, high), self.rng.uniform(low, high)
        ends = (low[long], high[long]) if self.rng.random() < 0.5 else (high[long], low[long])
        here[long], there[long] = (
            0.85 * end + 0.15 * each for end, each in zip(ends, (here[long], there[long]), strict=True)
        )
        return float(here[0]), float(here[1]), (float(there[0]), float(there[1]))

    def _wall_surface(self) -> Surface:
        rng = self.rng
        texture = str(rng.choice(["plain", "plaster", "stripes", "bricks", "tiles"], p=[0.45, 0.35, 0.08, 0.05, 0.07]))
        colour = _near_white(rng) if rng.random() < 0.6 else _any_colour(rng)
        second = _shade(rng, colour, 0.25)
        scale = {"stripes": 0.12, "bricks": 0.22, "tiles": 0.2}.get(texture, 0.6) * float(rng.uniform(0.6, 1.6))
        return Surface(texture, colour, second, scale, float(rng.uniform(0.3, 0.9)))

    def _floor_surface(self) -> Surface:
        rng = self.rng
        texture = str(rng.choice(["planks", "tiles", "carpet", "plaster"], p=[0.45, 0.25, 0.2, 0.1]))
        if texture == "planks":
            light = rng.uniform(0.05, 0.5)
            colour = (float(light), float(light * rng.uniform(0.55, 0.8)), float(light * rng.uniform(0.25, 0.6)))
        else:
            colour = _any_colour(rng) if rng.random() < 0.5 else _grey(rng)
        scale = {"planks": 1.0, "tiles": 0.4}.get(texture, 0.05) * float(rng.uniform(0.5, 1.5))
        return Surface(texture, colour, _shade(rng, colour, 0.5), scale, float(rng.uniform(0.1, 0.8)))


def _plain(colour: Colour) -> Surface:
    return Surface("plain", colour, colour, 1.0, 0.8)


def _near_white(rng: np.random.Generator) -> Colour:
    light = rng.uniform(0.55, 0.9)
    return _colour(light * rng.uniform(0.88, 1.0, 3))


def _grey(rng: np.random.Generator) -> Colour:
    light = rng.uniform(0.04, 0.6)
    return _colour(light * rng.uniform(0.9, 1.0, 3))


def _any_colour(rng: np.random.Generator) -> Colour:
    """Draw a colour, mostly a muted one: strong colours are rare in rooms."""
    strength = rng.beta(1.2, 3.0)
    grey = rng.uniform(0.04, 0.75)
    return _colour(grey * (1 - strength) + strength * rng.uniform(0.03, 0.8, 3))


def _shade(rng: np.random.Generator, colour: Colour, most: float) -> Colour:
    return _colour(np.array(colour) * (1 + rng.uniform(-most, most, 3)))


def _colour(parts: np.ndarray) -> Colour:
    red, green, blue = (float(part) for part in parts)
    return red, green, blue
