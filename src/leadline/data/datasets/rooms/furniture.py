"""Furniture and small things that may stand in a room, as tables of convex parts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Range = tuple[float, float]
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """A part of a piece of furniture, in fractions of the piece's width, depth and height; its front faces +y."""

    centre: Vector
    size: Vector
    finish: str
    shape: Literal["box", "ball", "cylinder"] = "box"


@dataclass(frozen=True)
class Furniture:
    """A piece of furniture: the sizes it comes in, and its parts."""

    size: tuple[Range, Range, Range]
    """Width, depth and height in metres."""
    parts: tuple[Part, ...]
    is_at_wall: bool = True
    turn: float = 0.3
    """Largest angle to the walls if it does not stand at one, in radians."""
    has_top: bool = False
    """Whether things may stand on it."""
    top: float = 1.0
    """Height at which they stand, as a fraction of its own."""


def _legs(height: float, thickness: float, finish: str) -> tuple[Part, ...]:
    """Make four legs at the corners, up to a fraction of the height."""
    inset = 0.5 - thickness / 2
    return tuple(
        Part((x * inset, y * inset, height / 2), (thickness, thickness, height), finish)
        for x in (-1, 1)
        for y in (-1, 1)
    )


def _boards(count: int, finish: str) -> tuple[Part, ...]:
    """Make shelves between two sides, evenly over the height."""
    return tuple(Part((0, 0, (i + 0.1) / count), (0.96, 0.96, 0.02), finish) for i in range(count))


def _thing(width: Range, depth: Range, height: Range, *parts: Part) -> Furniture:
    """Make something small that stands anywhere, at any angle."""
    return Furniture((width, depth, height), parts, is_at_wall=False, turn=math.pi / 4)


def _block(finish: str, shape: Literal["box", "ball", "cylinder"] = "box") -> Part:
    """Make a part that is all of its piece."""
    return Part((0, 0, 0.5), (1, 1, 1), finish, shape)


FURNITURE: Mapping[str, Furniture] = {
    "table": Furniture(
        size=((1.0, 1.8), (0.7, 0.95), (0.72, 0.77)),
        parts=(Part((0, 0, 0.97), (1, 1, 0.06), "wood"), *_legs(0.94, 0.07, "wood")),
        is_at_wall=False,
        has_top=True,
    ),
    "desk": Furniture(
        size=((1.1, 1.6), (0.6, 0.8), (0.71, 0.76)),
        parts=(
            Part((0, 0, 0.98), (1, 1, 0.04), "board"),
            Part((0.34, 0, 0.48), (0.3, 0.9, 0.94), "board"),
            Part((-0.48, 0, 0.48), (0.04, 0.9, 0.96), "board"),
            *(Part((0.34, 0.46, z), (0.12, 0.02, 0.02), "metal") for z in (0.25, 0.5, 0.8)),
        ),
        has_top=True,
    ),
    "coffee table": Furniture(
        size=((0.7, 1.2), (0.5, 0.7), (0.38, 0.46)),
        parts=(Part((0, 0, 0.95), (1, 1, 0.1), "wood"), *_legs(0.9, 0.08, "metal")),
        is_at_wall=False,
        has_top=True,
    ),
    "round table": Furniture(
        size=((0.8, 1.1), (0.8, 1.1), (0.7, 0.76)),
        parts=(
            Part((0, 0, 0.97), (1, 1, 0.05), "wood", "cylinder"),
            Part((0, 0, 0.48), (0.1, 0.1, 0.95), "metal", "cylinder"),
            Part((0, 0, 0.02), (0.5, 0.5, 0.04), "metal", "cylinder"),
        ),
        is_at_wall=False,
        has_top=True,
    ),
    "chair": Furniture(
        size=((0.42, 0.48), (0.42, 0.5), (0.82, 0.95)),
        parts=(
            Part((0, 0, 0.5), (1, 1, 0.06), "cloth"),
            Part((0, -0.46, 0.8), (0.94, 0.08, 0.38), "wood"),
            *_legs(0.48, 0.1, "wood"),
        ),
        is_at_wall=False,
    ),
    "office chair": Furniture(
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
    "stool": Furniture(
        size=((0.3, 0.4), (0.3, 0.4), (0.42, 0.5)),
        parts=(Part((0, 0, 0.92), (1, 1, 0.16), "cloth", "cylinder"), *_legs(0.84, 0.1, "metal")),
        is_at_wall=False,
        has_top=True,
    ),
    "sofa": Furniture(
        size=((1.5, 2.3), (0.8, 0.95), (0.75, 0.9)),
        parts=(
            Part((0, 0, 0.25), (1, 1, 0.4), "cloth"),
            Part((0, -0.38, 0.65), (0.98, 0.24, 0.7), "cloth"),
            *(Part((x, 0, 0.36), (0.1, 1, 0.68), "cloth") for x in (-0.45, 0.45)),
            *(Part((x, 0.08, 0.5), (0.4, 0.7, 0.12), "cloth") for x in (-0.2, 0.21)),
        ),
    ),
    "bed": Furniture(
        size=((0.95, 1.8), (2.0, 2.15), (0.8, 1.1)),
        parts=(
            Part((0, -0.48, 0.5), (1, 0.04, 1), "wood"),
            Part((0, 0.02, 0.17), (1, 0.96, 0.22), "wood"),
            Part((0, 0.02, 0.38), (0.96, 0.94, 0.24), "white"),
            Part((0, 0.17, 0.42), (1, 0.66, 0.2), "cloth"),
            *(Part((x, -0.36, 0.53), (0.4, 0.17, 0.12), "white") for x in (-0.23, 0.23)),
        ),
    ),
    "wardrobe": Furniture(
        size=((0.9, 1.9), (0.55, 0.65), (1.9, 2.2)),
        parts=(
            Part((0, -0.02, 0.5), (1, 0.96, 1), "board"),
            *(Part((x, 0.47, 0.52), (0.48, 0.06, 0.92), "board") for x in (-0.25, 0.25)),
            *(Part((x, 0.52, 0.5), (0.02, 0.06, 0.1), "metal") for x in (-0.04, 0.04)),
        ),
    ),
    "cupboard": Furniture(
        size=((0.8, 1.6), (0.4, 0.55), (0.7, 1.0)),
        parts=(
            Part((0, -0.02, 0.5), (1, 0.96, 1), "wood"),
            *(Part((x, 0.47, 0.5), (0.31, 0.08, 0.86), "board") for x in (-0.325, 0, 0.325)),
        ),
        has_top=True,
    ),
    "shelf": Furniture(
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
    "fridge": Furniture(
        size=((0.58, 0.7), (0.6, 0.68), (1.5, 1.85)),
        parts=(
            Part((0, -0.03, 0.5), (1, 0.94, 1), "white"),
            Part((0, 0.47, 0.3), (0.98, 0.06, 0.58), "white"),
            Part((0, 0.47, 0.8), (0.98, 0.06, 0.38), "white"),
            *(Part((0.4, 0.53, z), (0.04, 0.06, 0.14), "metal") for z in (0.48, 0.7)),
        ),
    ),
    "counter": Furniture(
        size=((1.2, 2.4), (0.58, 0.65), (0.86, 0.92)),
        parts=(
            Part((0, -0.03, 0.52), (1, 0.9, 0.88), "board"),
            Part((0, 0, 0.98), (1.01, 1.02, 0.04), "stone"),
            Part((0, -0.05, 0.04), (0.99, 0.84, 0.08), "dark"),
            *(Part((x, 0.44, 0.52), (0.01, 0.02, 0.8), "dark") for x in (-0.25, 0, 0.25)),
        ),
        has_top=True,
    ),
    "floor lamp": Furniture(
        size=((0.3, 0.42), (0.3, 0.42), (1.4, 1.75)),
        parts=(
            Part((0, 0, 0.01), (0.8, 0.8, 0.02), "metal", "cylinder"),
            Part((0, 0, 0.45), (0.08, 0.08, 0.86), "metal", "cylinder"),
            Part((0, 0, 0.91), (1, 1, 0.18), "shade", "cylinder"),
        ),
    ),
    "bin": Furniture(
        size=((0.24, 0.36), (0.24, 0.36), (0.3, 0.6)),
        parts=(
            Part((0, 0, 0.5), (1, 1, 1), "metal", "cylinder"),
            Part((0, 0, 0.97), (0.9, 0.9, 0.07), "dark", "cylinder"),
        ),
    ),
    "plant": Furniture(
        size=((0.45, 0.8), (0.45, 0.8), (0.9, 1.5)),
        parts=(
            Part((0, 0, 0.14), (0.5, 0.5, 0.28), "clay", "cylinder"),
            Part((0, 0, 0.4), (0.06, 0.06, 0.3), "wood", "cylinder"),
            Part((0, 0, 0.72), (0.9, 0.8, 0.5), "leaves", "ball"),
            Part((0.15, 0.1, 0.6), (0.7, 0.7, 0.35), "leaves", "ball"),
            Part((-0.2, 0.05, 0.84), (0.55, 0.6, 0.3), "leaves", "ball"),
        ),
    ),
    "boxes": Furniture(
        size=((0.4, 0.6), (0.35, 0.5), (0.5, 0.9)),
        parts=(Part((0, 0, 0.27), (1, 1, 0.54), "card"), Part((0.06, -0.05, 0.77), (0.8, 0.8, 0.45), "card")),
    ),
    "radiator": Furniture(
        size=((0.7, 1.3), (0.1, 0.14), (0.6, 0.75)),
        parts=(Part((0, 0, 0.58), (1, 0.8, 0.84), "ribs"),),
    ),
    "ball": Furniture(
        size=((0.22, 0.22), (0.22, 0.22), (0.22, 0.22)),
        parts=(Part((0, 0, 0.5), (1, 1, 1), "bright", "ball"),),
        is_at_wall=False,
    ),
    "pouffe": Furniture(
        size=((0.5, 0.8), (0.5, 0.8), (0.35, 0.5)),
        parts=(Part((0, 0, 0.5), (1, 1, 1), "cloth", "ball"),),
        is_at_wall=False,
    ),
    "rug": Furniture(
        size=((1.2, 2.4), (0.9, 1.7), (0.01, 0.02)), parts=(Part((0, 0, 0.5), (1, 1, 1), "rug"),), is_at_wall=False
    ),
}

ORNAMENTS: Mapping[str, Furniture] = {
    "vase": Furniture(
        size=((0.12, 0.2), (0.12, 0.2), (0.2, 0.35)),
        parts=(
            Part((0, 0, 0.35), (1, 1, 0.7), "bright", "ball"),
            Part((0, 0, 0.75), (0.4, 0.4, 0.5), "bright", "cylinder"),
        ),
    ),
    "lamp": Furniture(
        size=((0.2, 0.3), (0.2, 0.3), (0.35, 0.5)),
        parts=(
            Part((0, 0, 0.3), (0.3, 0.3, 0.6), "metal", "cylinder"),
            Part((0, 0, 0.8), (1, 1, 0.4), "shade", "cylinder"),
        ),
    ),
    "screen": Furniture(
        size=((0.5, 0.7), (0.18, 0.22), (0.4, 0.5)),
        parts=(
            Part((0, 0, 0.02), (0.4, 1, 0.04), "dark"),
            Part((0, -0.1, 0.2), (0.08, 0.1, 0.4), "dark"),
            Part((0, 0, 0.62), (1, 0.12, 0.76), "dark"),
        ),
    ),
    "books": Furniture(size=((0.15, 0.3), (0.15, 0.22), (0.06, 0.25)), parts=(Part((0, 0, 0.5), (1, 1, 1), "books"),)),
    "box": Furniture(size=((0.15, 0.35), (0.12, 0.3), (0.1, 0.25)), parts=(Part((0, 0, 0.5), (1, 1, 1), "card"),)),
    "mug": Furniture(
        size=((0.08, 0.09), (0.08, 0.09), (0.09, 0.11)), parts=(Part((0, 0, 0.5), (1, 1, 1), "bright", "cylinder"),)
    ),
    "fruit": Furniture(
        size=((0.08, 0.08), (0.08, 0.08), (0.08, 0.08)), parts=(Part((0, 0, 0.5), (1, 1, 1), "bright", "ball"),)
    ),
}

MORE_FURNITURE: Mapping[str, Furniture] = {
    "armchair": Furniture(
        size=((0.7, 0.95), (0.7, 0.9), (0.75, 1.05)),
        parts=(
            Part((0, 0.05, 0.22), (0.8, 0.85, 0.36), "cloth"),
            Part((0, -0.4, 0.6), (0.9, 0.2, 0.8), "cloth"),
            *(Part((x, 0, 0.36), (0.14, 0.95, 0.6), "cloth") for x in (-0.43, 0.43)),
        ),
        is_at_wall=False,
        turn=0.7,
    ),
    "bedside table": Furniture(
        size=((0.35, 0.55), (0.35, 0.45), (0.4, 0.65)),
        parts=(
            Part((0, -0.02, 0.55), (1, 0.96, 0.9), "wood"),
            *(Part((0, 0.48, z), (0.92, 0.04, 0.38), "board") for z in (0.34, 0.77)),
            *(Part((0, 0.52, z), (0.15, 0.05, 0.04), "metal") for z in (0.34, 0.77)),
        ),
        has_top=True,
    ),
    "drawers": Furniture(
        size=((0.6, 1.3), (0.4, 0.55), (0.7, 1.3)),
        parts=(
            Part((0, -0.02, 0.5), (1, 0.96, 1), "board"),
            *(Part((0, 0.48, z), (0.95, 0.04, 0.22), "board") for z in (0.14, 0.38, 0.62, 0.86)),
            *(Part((x, 0.52, z), (0.1, 0.05, 0.02), "metal") for x in (-0.25, 0.25) for z in (0.14, 0.38, 0.62, 0.86)),
        ),
        has_top=True,
    ),
    "television": Furniture(
        size=((1.0, 1.7), (0.35, 0.5), (1.1, 1.5)),
        parts=(
            Part((0, 0, 0.17), (1, 1, 0.34), "board"),
            Part((0, 0.51, 0.17), (0.01, 0.02, 0.32), "dark"),
            Part((0, -0.1, 0.36), (0.4, 0.5, 0.03), "dark"),
            Part((0, -0.1, 0.7), (0.8, 0.12, 0.6), "dark"),
        ),
    ),
    "long desk": Furniture(
        size=((1.4, 2.6), (0.7, 0.9), (0.7, 0.78)),
        parts=(
            Part((0, 0, 0.98), (1, 1, 0.04), "board"),
            *(Part((x, 0, 0.48), (0.03, 0.85, 0.96), "metal") for x in (-0.46, 0.46)),
            Part((0, -0.42, 0.7), (0.9, 0.02, 0.4), "metal"),
        ),
        has_top=True,
    ),
    "workbench": Furniture(
        size=((1.2, 2.2), (0.6, 0.8), (1.4, 1.9)),
        parts=(
            Part((0, 0, 0.47), (1, 1, 0.03), "wood"),
            *(Part((x, y, 0.23), (0.05, 0.08, 0.46), "metal") for x in (-0.46, 0.46) for y in (-0.44, 0.44)),
            *(Part((x, -0.46, 0.74), (0.04, 0.06, 0.52), "metal") for x in (-0.47, 0, 0.47)),
            *(Part((0, -0.35, z), (1, 0.3, 0.02), "board") for z in (0.78, 0.98)),
            Part((-0.2, -0.36, 0.86), (0.45, 0.24, 0.14), "books"),
            Part((0.25, -0.36, 0.84), (0.2, 0.24, 0.1), "card"),
            Part((0, 0, 0.12), (0.9, 0.8, 0.02), "board"),
        ),
        has_top=True,
        top=0.485,
    ),
    "kitchen": Furniture(
        size=((1.2, 2.6), (0.6, 0.65), (2.1, 2.25)),
        parts=(
            Part((0, -0.03, 0.22), (1, 0.9, 0.37), "board"),
            Part((0, 0, 0.415), (1.01, 1.02, 0.02), "stone"),
            Part((0, -0.05, 0.02), (0.99, 0.84, 0.04), "dark"),
            *(Part((x, 0.43, 0.22), (0.008, 0.02, 0.34), "dark") for x in (-0.25, 0, 0.25)),
            Part((0, -0.49, 0.53), (1, 0.02, 0.22), "stone"),
            Part((0.25, 0.45, 0.22), (0.24, 0.04, 0.3), "dark"),
            *(Part((x, -0.22, 0.82), (0.245, 0.56, 0.34), "board") for x in (-0.375, -0.125, 0.375)),
            Part((0.125, -0.2, 0.68), (0.245, 0.6, 0.06), "metal"),
        ),
        has_top=True,
        top=0.425,
    ),
    "low shelf": Furniture(
        size=((0.8, 1.6), (0.3, 0.4), (0.75, 1.1)),
        parts=(
            *(Part((x, 0, 0.5), (0.03, 1, 1), "board") for x in (-0.485, 0, 0.485)),
            Part((0, -0.47, 0.5), (0.97, 0.06, 1), "board"),
            *(Part((0, 0, z), (1, 1, 0.03), "board") for z in (0.015, 0.5, 0.985)),
            Part((-0.3, -0.1, 0.2), (0.3, 0.7, 0.34), "books"),
            Part((0.2, -0.1, 0.68), (0.35, 0.7, 0.32), "books"),
            Part((-0.25, 0, 0.62), (0.25, 0.6, 0.2), "card"),
            Part((0.3, 0, 0.15), (0.2, 0.6, 0.24), "bright"),
        ),
        has_top=True,
    ),
    "bench": Furniture(
        size=((0.9, 1.8), (0.3, 0.45), (0.42, 0.5)),
        parts=(Part((0, 0, 0.94), (1, 1, 0.12), "wood"), *_legs(0.88, 0.06, "wood")),
        is_at_wall=False,
        has_top=True,
    ),
    "washing machine": Furniture(
        size=((0.58, 0.62), (0.55, 0.65), (0.83, 0.88)),
        parts=(
            Part((0, -0.02, 0.5), (1, 0.96, 1), "white"),
            Part((0, 0.48, 0.45), (0.6, 0.06, 0.42), "dark", "ball"),
            Part((0.2, 0.47, 0.9), (0.4, 0.04, 0.1), "dark"),
        ),
        has_top=True,
    ),
    "crates": Furniture(
        size=((0.4, 1.0), (0.4, 0.7), (0.4, 1.6)),
        parts=(
            Part((-0.2, 0, 0.2), (0.58, 0.9, 0.4), "card"),
            Part((0.28, 0.05, 0.15), (0.4, 0.8, 0.3), "bright"),
            Part((-0.15, -0.05, 0.55), (0.5, 0.8, 0.3), "card"),
            Part((-0.2, 0, 0.85), (0.45, 0.7, 0.3), "board"),
        ),
        is_at_wall=False,
        turn=0.6,
    ),
    "rack": Furniture(
        size=((0.5, 1.0), (0.5, 0.9), (1.0, 2.1)),
        parts=(
            *(Part((x, y, 0.5), (0.06, 0.06, 1), "metal") for x in (-0.46, 0.46) for y in (-0.46, 0.46)),
            Part((0, 0, 0.2), (0.88, 0.9, 0.3), "dark"),
            Part((0, 0, 0.55), (0.88, 0.85, 0.2), "metal"),
            Part((0, 0, 0.82), (0.9, 0.9, 0.05), "dark"),
        ),
    ),
    "partition": Furniture(
        size=((0.9, 1.8), (0.05, 0.08), (1.2, 1.9)),
        parts=(
            Part((0, 0, 0.52), (1, 1, 0.96), "cloth"),
            *(Part((x, 0, 0.5), (0.03, 1.2, 1), "metal") for x in (-0.5, 0.5)),
        ),
        is_at_wall=False,
        turn=0.1,
    ),
    "column": Furniture(((0.3, 0.6), (0.3, 0.6), (3.8, 3.8)), (_block("wall"),), is_at_wall=False, turn=0.0),
    "clothes stand": Furniture(
        size=((0.4, 0.6), (0.4, 0.6), (1.6, 1.8)),
        parts=(
            Part((0, 0, 0.01), (0.8, 0.8, 0.02), "wood", "cylinder"),
            Part((0, 0, 0.5), (0.08, 0.08, 1), "wood", "cylinder"),
            Part((0.15, 0, 0.68), (0.5, 0.4, 0.5), "cloth", "ball"),
            Part((-0.15, 0.1, 0.72), (0.45, 0.5, 0.36), "cloth"),
        ),
        is_at_wall=False,
    ),
}  # fmt: skip
"""Furniture of domain c only."""

MORE_ORNAMENTS: Mapping[str, Furniture] = {
    "bottle": _thing((0.06, 0.1), (0.06, 0.1), (0.2, 0.34),
        Part((0, 0, 0.35), (1, 1, 0.7), "bright", "cylinder"),
        Part((0, 0, 0.82), (0.35, 0.35, 0.36), "bright", "cylinder")),
    "can": _thing((0.06, 0.12), (0.06, 0.12), (0.1, 0.2), _block("metal", "cylinder")),
    "bowl": _thing((0.14, 0.3), (0.14, 0.3), (0.06, 0.14), Part((0, 0, 0.5), (1, 1, 1), "bright", "cylinder")),
    "laptop": _thing((0.3, 0.4), (0.24, 0.3), (0.2, 0.26),
        Part((0, 0.05, 0.04), (1, 0.9, 0.08), "metal"), Part((0, 0.12, 0.085), (0.9, 0.4, 0.02), "dark"),
        Part((0, -0.44, 0.52), (1, 0.06, 0.95), "dark")),
    "keyboard": _thing((0.36, 0.46), (0.12, 0.16), (0.02, 0.035),
        Part((0, 0, 0.3), (1, 1, 0.6), "dark"), Part((0, 0, 0.75), (0.95, 0.85, 0.5), "books")),
    "paper": _thing((0.2, 0.45), (0.2, 0.35), (0.003, 0.02), _block("picture")),
    "sheets": _thing((0.2, 0.32), (0.2, 0.3), (0.004, 0.05), _block("white")),
    "flat books": _thing((0.18, 0.3), (0.15, 0.24), (0.03, 0.16),
        Part((0, 0, 0.25), (1, 1, 0.5), "bright"), Part((0.04, 0, 0.65), (0.85, 0.9, 0.3), "cloth"),
        Part((-0.03, 0.03, 0.9), (0.7, 0.8, 0.2), "card")),
    "speaker": _thing((0.12, 0.22), (0.14, 0.25), (0.2, 0.4), _block("dark"),
        Part((0, 0.5, 0.4), (0.7, 0.06, 0.4), "metal", "ball")),
    "pot plant": _thing((0.16, 0.32), (0.16, 0.32), (0.25, 0.5),
        Part((0, 0, 0.2), (0.6, 0.6, 0.4), "clay", "cylinder"), Part((0, 0, 0.68), (1, 1, 0.64), "leaves", "ball")),
    "printer": _thing((0.38, 0.5), (0.35, 0.45), (0.18, 0.32), Part((0, 0, 0.5), (1, 1, 1), "white"),
        Part((0, 0.2, 0.98), (0.8, 0.5, 0.1), "dark")),
    "globe": _thing((0.1, 0.3), (0.1, 0.3), (0.1, 0.3), _block("picture", "ball")),
    "jar": _thing((0.08, 0.16), (0.08, 0.16), (0.1, 0.22), Part((0, 0, 0.42), (1, 1, 0.84), "bright", "cylinder"),
        Part((0, 0, 0.92), (0.9, 0.9, 0.16), "metal", "cylinder")),
    "block": _thing((0.04, 0.2), (0.04, 0.2), (0.03, 0.3), _block("bright")),
}  # fmt: skip
"""Things that stand on tops in domain c only."""

CLUTTER: Mapping[str, Furniture] = {
    "carton": _thing((0.2, 0.6), (0.15, 0.5), (0.1, 0.5), _block("card")),
    "parcel": _thing((0.15, 0.5), (0.1, 0.4), (0.05, 0.35), _block("picture")),
    "toy ball": _thing((0.2, 0.2), (0.2, 0.2), (0.2, 0.2), _block("bright", "ball")),
    "large ball": _thing((0.6, 0.6), (0.6, 0.6), (0.6, 0.6), _block("bright", "ball")),
    "basket": _thing((0.22, 0.45), (0.22, 0.45), (0.25, 0.6),
        Part((0, 0, 0.5), (1, 1, 1), "bright", "cylinder"), Part((0, 0, 0.97), (0.9, 0.9, 0.07), "dark", "cylinder")),
    "bucket": _thing((0.22, 0.32), (0.22, 0.32), (0.22, 0.35), _block("metal", "cylinder")),
    "stack": _thing((0.2, 0.32), (0.16, 0.26), (0.05, 0.4), Part((0, 0, 0.25), (1, 1, 0.5), "bright"),
        Part((0.05, 0, 0.62), (0.85, 0.95, 0.24), "cloth"), Part((-0.04, 0.02, 0.87), (0.9, 0.8, 0.26), "card")),
    "bag": _thing((0.3, 0.5), (0.2, 0.32), (0.3, 0.5),
        Part((0, 0, 0.4), (1, 1, 0.8), "cloth", "ball"), Part((0, 0, 0.3), (0.8, 0.75, 0.6), "cloth"),
        Part((0, 0, 0.9), (0.3, 0.1, 0.16), "dark")),
    "shoes": _thing((0.22, 0.28), (0.26, 0.32), (0.09, 0.14),
        *(Part((x, 0, 0.3), (0.42, 1, 0.6), "dark") for x in (-0.27, 0.27)),
        *(Part((x, -0.25, 0.6), (0.4, 0.5, 0.8), "dark", "ball") for x in (-0.27, 0.27))),
    "cushion": _thing((0.4, 0.7), (0.4, 0.7), (0.12, 0.25), _block("cloth", "ball")),
    "clothes": _thing((0.3, 0.8), (0.3, 0.6), (0.08, 0.25), Part((0, 0, 0.4), (1, 0.8, 0.8), "cloth", "ball"),
        Part((0.2, 0.1, 0.5), (0.5, 0.7, 1), "cloth", "ball")),
    "flask": _thing((0.07, 0.1), (0.07, 0.1), (0.2, 0.35), _block("bright", "cylinder")),
    "bricks": _thing((0.15, 0.4), (0.15, 0.4), (0.06, 0.2), Part((-0.25, 0.2, 0.4), (0.4, 0.4, 0.8), "bright"),
        Part((0.25, 0.25, 0.3), (0.35, 0.3, 0.6), "bright", "cylinder"),
        Part((0.1, -0.3, 0.5), (0.5, 0.3, 1), "cloth")),
    "computer": _thing((0.18, 0.22), (0.4, 0.5), (0.38, 0.48), _block("dark"),
        Part((0, 0.5, 0.7), (0.8, 0.02, 0.3), "metal")),
    "suitcase": _thing((0.4, 0.55), (0.22, 0.32), (0.5, 0.75), Part((0, 0, 0.47), (1, 1, 0.86), "bright"),
        Part((0, -0.3, 0.95), (0.4, 0.08, 0.1), "dark")),
    "mat": _thing((0.4, 0.9), (0.3, 0.6), (0.005, 0.015), _block("rug")),
    "traffic post": _thing((0.3, 0.36), (0.3, 0.36), (0.45, 0.75), Part((0, 0, 0.03), (1, 1, 0.06), "dark"),
        Part((0, 0, 0.3), (0.6, 0.6, 0.5), "bright", "cylinder"),
        Part((0, 0, 0.75), (0.35, 0.35, 0.5), "bright", "cylinder")),
}  # fmt: skip
"""Things that lie on the floors of domain c."""

ALL_FURNITURE: Mapping[str, Furniture] = {**FURNITURE, **MORE_FURNITURE, **ORNAMENTS, **MORE_ORNAMENTS, **CLUTTER}
