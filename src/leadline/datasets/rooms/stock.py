"""What a room may hold: furniture, finishes and domains, as tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Range = tuple[float, float]
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Finish:
    """The materials that a part may be made of."""

    textures: tuple[str, ...]
    hue: Range = (0.0, 1.0)
    saturation: Range = (0.0, 0.3)
    value: Range = (0.5, 0.9)
    """Brightness of the lighter colour, as in HSV."""
    contrast: Range = (0.6, 0.9)
    """Brightness of the darker colour, as a share of the lighter one's."""
    scale: Range = (0.1, 0.2)
    shine: Range = (0.0, 0.1)
    glow: float = 0.0


@dataclass(frozen=True)
class Part:
    """A piece of furniture's part, in shares of the piece's width, depth and height; its front looks along +y."""

    centre: Vector
    size: Vector
    finish: str
    shape: Literal["box", "ball", "cylinder"] = "box"


@dataclass(frozen=True)
class Piece:
    """A piece of furniture: the sizes it comes in, and its parts."""

    size: tuple[Range, Range, Range]
    """Width, depth and height in metres."""
    parts: tuple[Part, ...]
    is_at_wall: bool = True
    has_top: bool = False
    """Things may stand on it."""


@dataclass(frozen=True)
class Domain:
    """The ranges that a kind of rooms is drawn from; metres and degrees."""

    side: Range
    ceiling: Range
    camera_height: Range
    field_of_view: Range
    """Horizontal."""
    pitch: Range
    """Positive is upwards."""
    roll: Range
    walls: tuple[str, ...]
    """What the four walls get, each entry for one wall at most: bare, door, doorway (once), niche, pictures, window."""
    furniture: tuple[str, ...]
    """Names in `FURNITURE`, drawn alike; twice named is twice as likely."""
    pieces: tuple[int, int]
    """How many are tried; fewer find room."""
    finishes: Mapping[str, Finish]
    lamps: tuple[int, int]
    lamp_power: Range
    warmth: Range
    """How much redder than blue the lamps are."""
    ambient: Range
    exposure: Range
    contrast: Range
    noise: Range
    vignetting: Range


def _legs(height: float, thickness: float, finish: str) -> tuple[Part, ...]:
    """Four legs at the corners, up to a share of the height."""
    inset = 0.5 - thickness / 2
    return tuple(
        Part((x * inset, y * inset, height / 2), (thickness, thickness, height), finish)
        for x in (-1, 1)
        for y in (-1, 1)
    )


def _boards(count: int, finish: str) -> tuple[Part, ...]:
    """Shelves between two sides, evenly up the height."""
    return tuple(Part((0, 0, (i + 0.1) / count), (0.96, 0.96, 0.02), finish) for i in range(count))


FURNITURE: Mapping[str, Piece] = {
    "table": Piece(
        size=((1.0, 1.8), (0.7, 0.95), (0.72, 0.77)),
        parts=(Part((0, 0, 0.97), (1, 1, 0.06), "wood"), *_legs(0.94, 0.07, "wood")),
        is_at_wall=False,
        has_top=True,
    ),
    "desk": Piece(
        size=((1.1, 1.6), (0.6, 0.8), (0.71, 0.76)),
        parts=(
            Part((0, 0, 0.98), (1, 1, 0.04), "board"),
            Part((0.34, 0, 0.48), (0.3, 0.9, 0.94), "board"),
            Part((-0.48, 0, 0.48), (0.04, 0.9, 0.96), "board"),
            *(Part((0.34, 0.46, z), (0.12, 0.02, 0.02), "metal") for z in (0.25, 0.5, 0.8)),
        ),
        has_top=True,
    ),
    "coffee table": Piece(
        size=((0.7, 1.2), (0.5, 0.7), (0.38, 0.46)),
        parts=(Part((0, 0, 0.95), (1, 1, 0.1), "wood"), *_legs(0.9, 0.08, "metal")),
        is_at_wall=False,
        has_top=True,
    ),
    "round table": Piece(
        size=((0.8, 1.1), (0.8, 1.1), (0.7, 0.76)),
        parts=(
            Part((0, 0, 0.97), (1, 1, 0.05), "wood", "cylinder"),
            Part((0, 0, 0.48), (0.1, 0.1, 0.95), "metal", "cylinder"),
            Part((0, 0, 0.02), (0.5, 0.5, 0.04), "metal", "cylinder"),
        ),
        is_at_wall=False,
        has_top=True,
    ),
    "chair": Piece(
        size=((0.42, 0.48), (0.42, 0.5), (0.82, 0.95)),
        parts=(
            Part((0, 0, 0.5), (1, 1, 0.06), "cloth"),
            Part((0, -0.46, 0.8), (0.94, 0.08, 0.38), "wood"),
            *_legs(0.48, 0.1, "wood"),
        ),
        is_at_wall=False,
    ),
    "office chair": Piece(
        size=((0.5, 0.6), (0.5, 0.6), (0.9, 1.1)),
        parts=(
            Part((0, 0, 0.47), (0.9, 0.9, 0.1), "dark"),
            Part((0, -0.42, 0.78), (0.8, 0.12, 0.44), "dark"),
            Part((0, 0, 0.22), (0.1, 0.1, 0.42), "metal", "cylinder"),
            Part((0, 0, 0.03), (0.9, 0.12, 0.06), "dark"),
            Part((0, 0, 0.03), (0.12, 0.9, 0.06), "dark"),
        ),
        is_at_wall=False,
    ),
    "stool": Piece(
        size=((0.3, 0.4), (0.3, 0.4), (0.42, 0.5)),
        parts=(Part((0, 0, 0.92), (1, 1, 0.16), "cloth", "cylinder"), *_legs(0.84, 0.1, "metal")),
        is_at_wall=False,
        has_top=True,
    ),
    "sofa": Piece(
        size=((1.5, 2.3), (0.8, 0.95), (0.75, 0.9)),
        parts=(
            Part((0, 0, 0.25), (1, 1, 0.4), "cloth"),
            Part((0, -0.38, 0.65), (0.98, 0.24, 0.7), "cloth"),
            *(Part((x, 0, 0.36), (0.1, 1, 0.68), "cloth") for x in (-0.45, 0.45)),
            *(Part((x, 0.08, 0.5), (0.4, 0.7, 0.12), "cloth") for x in (-0.2, 0.21)),
        ),
    ),
    "bed": Piece(
        size=((0.95, 1.8), (2.0, 2.15), (0.8, 1.1)),
        parts=(
            Part((0, -0.48, 0.5), (1, 0.04, 1), "wood"),
            Part((0, 0.02, 0.17), (1, 0.96, 0.22), "wood"),
            Part((0, 0.02, 0.38), (0.96, 0.94, 0.24), "white"),
            Part((0, 0.17, 0.42), (1, 0.66, 0.2), "cloth"),
            *(Part((x, -0.36, 0.53), (0.4, 0.17, 0.12), "white") for x in (-0.23, 0.23)),
        ),
    ),
    "wardrobe": Piece(
        size=((0.9, 1.9), (0.55, 0.65), (1.9, 2.2)),
        parts=(
            Part((0, -0.02, 0.5), (1, 0.96, 1), "board"),
            *(Part((x, 0.47, 0.52), (0.48, 0.06, 0.92), "board") for x in (-0.25, 0.25)),
            *(Part((x, 0.52, 0.5), (0.02, 0.06, 0.1), "metal") for x in (-0.04, 0.04)),
        ),
    ),
    "cupboard": Piece(
        size=((0.8, 1.6), (0.4, 0.55), (0.7, 1.0)),
        parts=(
            Part((0, -0.02, 0.5), (1, 0.96, 1), "wood"),
            *(Part((x, 0.47, 0.5), (0.31, 0.08, 0.86), "board") for x in (-0.325, 0, 0.325)),
        ),
        has_top=True,
    ),
    "shelf": Piece(
        size=((0.7, 1.2), (0.26, 0.36), (1.7, 2.1)),
        parts=(
            *(Part((x, 0, 0.5), (0.04, 1, 1), "wood") for x in (-0.48, 0.48)),
            Part((0, -0.47, 0.5), (0.94, 0.06, 1), "wood"),
            *_boards(5, "wood"),
            *(
                Part((x, -0.05, z), (width, 0.7, height), "books")
                for x, z, width, height in ((-0.2, 0.1, 0.5, 0.14), (0.1, 0.31, 0.6, 0.15), (-0.15, 0.5, 0.6, 0.13))
            ),
            Part((0.1, 0, 0.7), (0.5, 0.6, 0.12), "books"),
        ),
    ),
    "fridge": Piece(
        size=((0.58, 0.7), (0.6, 0.68), (1.5, 1.85)),
        parts=(
            Part((0, -0.03, 0.5), (1, 0.94, 1), "white"),
            Part((0, 0.47, 0.3), (0.98, 0.06, 0.58), "white"),
            Part((0, 0.47, 0.8), (0.98, 0.06, 0.38), "white"),
            *(Part((0.4, 0.53, z), (0.04, 0.06, 0.14), "metal") for z in (0.48, 0.7)),
        ),
    ),
    "counter": Piece(
        size=((1.2, 2.4), (0.58, 0.65), (0.86, 0.92)),
        parts=(
            Part((0, -0.03, 0.52), (1, 0.9, 0.88), "board"),
            Part((0, 0, 0.98), (1.01, 1.02, 0.04), "stone"),
            Part((0, -0.05, 0.04), (0.99, 0.84, 0.08), "dark"),
            *(Part((x, 0.44, 0.52), (0.01, 0.02, 0.8), "dark") for x in (-0.25, 0, 0.25)),
        ),
        has_top=True,
    ),
    "floor lamp": Piece(
        size=((0.3, 0.42), (0.3, 0.42), (1.4, 1.75)),
        parts=(
            Part((0, 0, 0.01), (0.8, 0.8, 0.02), "metal", "cylinder"),
            Part((0, 0, 0.45), (0.08, 0.08, 0.86), "metal", "cylinder"),
            Part((0, 0, 0.91), (1, 1, 0.18), "shade", "cylinder"),
        ),
    ),
    "bin": Piece(
        size=((0.24, 0.36), (0.24, 0.36), (0.3, 0.6)),
        parts=(
            Part((0, 0, 0.5), (1, 1, 1), "metal", "cylinder"),
            Part((0, 0, 0.97), (0.9, 0.9, 0.07), "dark", "cylinder"),
        ),
    ),
    "plant": Piece(
        size=((0.45, 0.8), (0.45, 0.8), (0.9, 1.5)),
        parts=(
            Part((0, 0, 0.14), (0.5, 0.5, 0.28), "clay", "cylinder"),
            Part((0, 0, 0.4), (0.06, 0.06, 0.3), "wood", "cylinder"),
            Part((0, 0, 0.72), (0.9, 0.8, 0.5), "leaves", "ball"),
            Part((0.15, 0.1, 0.6), (0.7, 0.7, 0.35), "leaves", "ball"),
            Part((-0.2, 0.05, 0.84), (0.55, 0.6, 0.3), "leaves", "ball"),
        ),
    ),
    "boxes": Piece(
        size=((0.4, 0.6), (0.35, 0.5), (0.5, 0.9)),
        parts=(Part((0, 0, 0.27), (1, 1, 0.54), "card"), Part((0.06, -0.05, 0.77), (0.8, 0.8, 0.45), "card")),
    ),
    "radiator": Piece(
        size=((0.7, 1.3), (0.1, 0.14), (0.6, 0.75)),
        parts=(Part((0, 0, 0.58), (1, 0.8, 0.84), "ribs"),),
    ),
    "ball": Piece(
        size=((0.22, 0.22), (0.22, 0.22), (0.22, 0.22)),
        parts=(Part((0, 0, 0.5), (1, 1, 1), "bright", "ball"),),
        is_at_wall=False,
    ),
    "pouffe": Piece(
        size=((0.5, 0.8), (0.5, 0.8), (0.35, 0.5)),
        parts=(Part((0, 0, 0.5), (1, 1, 1), "cloth", "ball"),),
        is_at_wall=False,
    ),
    "rug": Piece(
        size=((1.2, 2.4), (0.9, 1.7), (0.01, 0.02)), parts=(Part((0, 0, 0.5), (1, 1, 1), "rug"),), is_at_wall=False
    ),
}

ORNAMENTS: Mapping[str, Piece] = {
    "vase": Piece(
        size=((0.12, 0.2), (0.12, 0.2), (0.2, 0.35)),
        parts=(
            Part((0, 0, 0.35), (1, 1, 0.7), "bright", "ball"),
            Part((0, 0, 0.75), (0.4, 0.4, 0.5), "bright", "cylinder"),
        ),
    ),
    "lamp": Piece(
        size=((0.2, 0.3), (0.2, 0.3), (0.35, 0.5)),
        parts=(
            Part((0, 0, 0.3), (0.3, 0.3, 0.6), "metal", "cylinder"),
            Part((0, 0, 0.8), (1, 1, 0.4), "shade", "cylinder"),
        ),
    ),
    "screen": Piece(
        size=((0.5, 0.7), (0.18, 0.22), (0.4, 0.5)),
        parts=(
            Part((0, 0, 0.02), (0.4, 1, 0.04), "dark"),
            Part((0, -0.1, 0.2), (0.08, 0.1, 0.4), "dark"),
            Part((0, 0, 0.62), (1, 0.12, 0.76), "dark"),
        ),
    ),
    "books": Piece(size=((0.15, 0.3), (0.15, 0.22), (0.06, 0.25)), parts=(Part((0, 0, 0.5), (1, 1, 1), "books"),)),
    "box": Piece(size=((0.15, 0.35), (0.12, 0.3), (0.1, 0.25)), parts=(Part((0, 0, 0.5), (1, 1, 1), "card"),)),
    "mug": Piece(
        size=((0.08, 0.09), (0.08, 0.09), (0.09, 0.11)), parts=(Part((0, 0, 0.5), (1, 1, 1), "bright", "cylinder"),)
    ),
    "fruit": Piece(
        size=((0.08, 0.08), (0.08, 0.08), (0.08, 0.08)), parts=(Part((0, 0, 0.5), (1, 1, 1), "bright", "ball"),)
    ),
}

_HOME: Mapping[str, Finish] = {
    # textures, hue, saturation, value, contrast, scale, shine
    "floor": Finish(("planks", "planks", "tiles", "checks", "carpet"),
        (0.04, 0.12), (0.15, 0.6), (0.45, 0.85), (0.45, 0.8), (0.12, 0.2), (0.0, 0.35)),
    "wall": Finish(("plain", "plain", "plaster", "stripes", "paper"),
        (0.0, 1.0), (0.0, 0.3), (0.65, 0.95), (0.8, 0.95), (0.15, 0.3), (0.0, 0.05)),
    "ceiling": Finish(("plain", "plaster"), (0.05, 0.15), (0.0, 0.08), (0.85, 0.97), (0.92, 0.98), (0.2, 0.4)),
    "skirting": Finish(("plain",), (0.05, 0.12), (0.0, 0.4), (0.3, 0.95)),
    "wood": Finish(("grain",), (0.04, 0.1), (0.35, 0.7), (0.3, 0.85), (0.5, 0.8), (0.12, 0.25), (0.0, 0.3)),
    "board": Finish(("grain", "plain", "plain"),
        (0.02, 0.14), (0.0, 0.5), (0.4, 0.95), (0.7, 0.9), (0.15, 0.3), (0.0, 0.4)),
    "cloth": Finish(("fabric", "fabric", "stripes", "checks", "plain"),
        (0.0, 1.0), (0.1, 0.7), (0.15, 0.85), (0.5, 0.85), (0.06, 0.15)),
    "rug": Finish(("paper", "stripes", "checks", "carpet", "fabric"),
        (0.0, 1.0), (0.2, 0.7), (0.3, 0.85), (0.3, 0.7), (0.15, 0.35)),
    "curtain": Finish(("stripes",), (0.0, 1.0), (0.1, 0.5), (0.4, 0.9), (0.6, 0.85), (0.08, 0.14)),
    "white": Finish(("plain", "fabric"), (0.0, 1.0), (0.0, 0.1), (0.8, 0.97), (0.85, 0.95), (0.05, 0.1), (0.0, 0.3)),
    "metal": Finish(("plain",), (0.5, 0.7), (0.0, 0.1), (0.15, 0.7), (0.8, 0.95), (0.1, 0.2), (0.4, 0.8)),
    "dark": Finish(("plain",), (0.0, 1.0), (0.0, 0.3), (0.05, 0.2), (0.7, 0.9), (0.1, 0.2), (0.1, 0.5)),
    "stone": Finish(("plaster",), (0.0, 0.2), (0.0, 0.2), (0.2, 0.8), (0.5, 0.8), (0.1, 0.3), (0.2, 0.6)),
    "bright": Finish(("plain", "stripes", "plaster"),
        (0.0, 1.0), (0.3, 0.9), (0.3, 0.95), (0.5, 0.9), (0.03, 0.1), (0.1, 0.7)),
    "books": Finish(("books",), (0.0, 1.0), (0.3, 0.8), (0.5, 0.9), (0.1, 0.4), (0.035, 0.05)),
    "clay": Finish(("plaster",), (0.02, 0.08), (0.4, 0.7), (0.4, 0.8), (0.7, 0.9), (0.1, 0.3)),
    "leaves": Finish(("leaves",), (0.22, 0.38), (0.4, 0.8), (0.3, 0.6), (0.1, 0.3), (0.08, 0.14)),
    "card": Finish(("plain", "plaster"), (0.06, 0.1), (0.3, 0.55), (0.5, 0.8), (0.85, 0.95), (0.1, 0.3)),
    "ribs": Finish(("stripes",), (0.05, 0.15), (0.0, 0.1), (0.8, 0.95), (0.4, 0.6), (0.05, 0.07), (0.1, 0.3)),
    "picture": Finish(("picture",), (0.0, 1.0), (0.2, 0.8), (0.5, 0.95), (0.1, 0.5), (0.3, 0.8), (0.0, 0.5)),
    "shade": Finish(("plain",), (0.08, 0.14), (0.1, 0.4), (0.9, 1.0), (0.9, 1.0), glow=0.9),
    "sky": Finish(("sky",), (0.52, 0.64), (0.05, 0.35), (0.9, 1.0), (0.1, 0.5), (1.0, 1.6), glow=1.1),
    "door": Finish(("plain", "grain"), (0.04, 0.12), (0.0, 0.6), (0.4, 0.95), (0.7, 0.9), (0.15, 0.3), (0.0, 0.3)),
}  # fmt: skip

_OFFICE: Mapping[str, Finish] = {
    **_HOME,
    "floor": Finish(("carpet", "tiles", "tiles", "concrete", "checks"),
        (0.5, 0.7), (0.0, 0.25), (0.25, 0.7), (0.4, 0.85), (0.3, 0.5), (0.1, 0.6)),
    "wall": Finish(("bricks", "concrete", "plain", "tiles"),
        (0.0, 1.0), (0.0, 0.15), (0.4, 0.95), (0.6, 0.9), (0.2, 0.3), (0.0, 0.3)),
    "ceiling": Finish(("tiles", "concrete"), (0.5, 0.7), (0.0, 0.06), (0.6, 0.95), (0.6, 0.9), (0.55, 0.65)),
    "wood": Finish(("grain", "plain"), (0.03, 0.6), (0.0, 0.4), (0.2, 0.9), (0.6, 0.9), (0.2, 0.4), (0.1, 0.5)),
    "board": Finish(("plain",), (0.5, 0.7), (0.0, 0.3), (0.3, 0.9), (0.8, 0.95), (0.2, 0.3), (0.1, 0.6)),
    "cloth": Finish(("plain", "fabric"), (0.5, 1.0), (0.1, 0.9), (0.1, 0.6), (0.6, 0.9), (0.05, 0.1)),
    "door": Finish(("plain",), (0.5, 0.7), (0.0, 0.6), (0.2, 0.7), (0.8, 0.95), (0.2, 0.3), (0.1, 0.5)),
}  # fmt: skip

DOMAINS: Mapping[str, Domain] = {
    # Homes: warm, by daylight and lamps, seen from a standing person's eyes.
    "a": Domain(
        side=(3.0, 8.0),
        ceiling=(2.4, 3.2),
        camera_height=(1.0, 1.8),
        field_of_view=(55.0, 75.0),
        pitch=(-20.0, -2.0),
        roll=(-3.0, 3.0),
        walls=("window", "window", "pictures", "pictures", "door", "doorway", "niche", "bare"),
        furniture=(*FURNITURE, "table", "chair", "chair", "sofa", "bed", "shelf", "cupboard", "rug"),
        pieces=(8, 18),
        finishes=_HOME,
        lamps=(1, 2),
        lamp_power=(0.8, 2.0),
        warmth=(0.0, 0.35),
        ambient=(0.25, 0.5),
        exposure=(0.4, 0.56),
        contrast=(0.0, 0.4),
        noise=(0.005, 0.02),
        vignetting=(0.0, 0.3),
    ),
    # Offices, cellars and corridors: small, cool, hard light, seen from a cart by a wider and noisier camera.
    "b": Domain(
        side=(2.0, 4.5),
        ceiling=(2.2, 2.7),
        camera_height=(0.6, 1.4),
        field_of_view=(60.0, 85.0),
        pitch=(-15.0, 8.0),
        roll=(-2.0, 2.0),
        walls=("door", "doorway", "pictures", "window", "bare", "bare"),
        furniture=(
            "bin", "boxes", "boxes", "counter", "desk", "desk", "fridge", "office chair", "office chair", "plant",
            "radiator", "shelf", "stool", "wardrobe",
        ),
        pieces=(3, 9),
        finishes=_OFFICE,
        lamps=(1, 3),
        lamp_power=(1.0, 3.0),
        warmth=(-0.2, 0.1),
        ambient=(0.2, 0.5),
        exposure=(0.36, 0.64),
        contrast=(0.3, 0.9),
        noise=(0.015, 0.04),
        vignetting=(0.1, 0.5),
    ),
}  # fmt: skip
