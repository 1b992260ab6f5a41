"""Domains of rooms: the ranges that their sizes, finishes, lights and cameras are drawn from, as tables."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from leadline.data.datasets.rooms.furniture import CLUTTER, FURNITURE, MORE_FURNITURE, MORE_ORNAMENTS, ORNAMENTS, Range


@dataclass(frozen=True)
class Finish:
    """The materials that a part may be made of: ranges to draw from."""

    textures: tuple[str, ...]
    hue: Range = (0.0, 1.0)
    saturation: Range = (0.0, 0.3)
    value: Range = (0.5, 0.9)
    """Brightness of the lighter colour, as in HSV."""
    contrast: Range = (0.6, 0.9)
    """Brightness of the darker colour, as a fraction of the lighter one's."""
    scale: Range = (0.1, 0.2)
    shine: Range = (0.0, 0.1)
    glow: float = 0.0


@dataclass(frozen=True)
class Viewpoint:
    """How a camera is held; metres and degrees."""

    height: Range
    pitch: Range
    """Positive is upwards."""
    directions: int = 6
    """How many directions are tried; the one with the farthest wall is taken."""
    clearance: float = 0.6
    """Half the side, in metres, of the square around the camera where nothing stands."""
    distance: Range | None = None
    """Metres from a table top that it looks down at, at its `pitch` and from whatever height that gives; with None, and
    where no table fits, it looks at the room."""


@dataclass(frozen=True)
class Domain:
    """The ranges that rooms of one kind are drawn from; metres and degrees."""

    version: int
    """Part of the key of the cache: raise it with every change after which a seed no longer gives the same pixels."""
    sides: tuple[Range, ...]
    """Each of a room's two sides is drawn from one of these."""
    ceiling: Range
    views: tuple[Viewpoint, ...]
    """Drawn with equal probability, as are the finishes; an entry that is there twice is twice as likely."""
    field_of_view: Range
    """Horizontal."""
    roll: Range
    walls: tuple[str, ...]
    """What the four walls get, each entry for one wall at most: bare, door, doorway (once), niche, pictures, window."""
    furniture: tuple[str, ...]
    """Names in `ALL_FURNITURE`, drawn with equal probability; one that is there twice is twice as likely."""
    furniture_count: tuple[int, int]
    """How many pieces are tried; not all of them fit."""
    finishes: tuple[Mapping[str, Finish], ...]
    lamps: tuple[int, int]
    lamp_power: Range
    warmth: Range
    """How much redder than blue the lamps are."""
    ambient: Range
    exposure: Range
    contrast: Range
    noise: Range
    vignetting: Range
    ornaments: tuple[str, ...] = tuple(ORNAMENTS)
    """Names in `ALL_FURNITURE` of what stands on table tops and the like."""
    on_top: tuple[int, int] = (0, 3)
    """How many stand on one top."""
    on_top_seen: tuple[int, int] = (0, 3)
    """How many stand on the one that a camera looks down at."""
    clutter: tuple[str, ...] = ()
    """Names in `ALL_FURNITURE` of what lies about on the floor."""
    clutter_count: tuple[int, int] = (0, 0)
    """How many things on the floor are tried."""
    near: float = 0.3
    """Solids nearer to the camera than this are not rendered."""


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


def _either(one: Finish, other: Finish) -> Finish:
    """Return the finish whose ranges span those of two finishes."""
    ranges = ("hue", "saturation", "value", "contrast", "scale", "shine")
    spans = {name: _span(getattr(one, name), getattr(other, name)) for name in ranges}
    return replace(one, textures=(*one.textures, *other.textures), **spans)


def _span(one: Range, other: Range) -> Range:
    return min(one[0], other[0]), max(one[1], other[1])


_MIXED: Mapping[str, Finish] = {
    **{name: _either(_HOME[name], _OFFICE[name]) for name in _HOME},
    "floor": Finish(("planks", "tiles", "checks", "carpet", "concrete", "plain", "grain", "fabric"),
        (0.0, 1.0), (0.0, 0.5), (0.1, 0.95), (0.3, 0.95), (0.08, 0.6), (0.0, 0.6)),
    "wall": Finish(("plain", "plain", "plaster", "stripes", "paper", "bricks", "concrete", "tiles", "grain"),
        (0.0, 1.0), (0.0, 0.6), (0.25, 0.97), (0.6, 0.97), (0.1, 0.4), (0.0, 0.3)),
    "board": Finish(("plain", "plain", "grain"),
        (0.0, 1.0), (0.0, 0.6), (0.1, 0.97), (0.6, 0.95), (0.1, 0.4), (0.0, 0.6)),
    "card": Finish(("plain", "plaster", "stripes", "checks"),
        (0.0, 1.0), (0.1, 0.7), (0.2, 0.9), (0.5, 0.95), (0.05, 0.3)),
    "bright": Finish(("plain", "plain", "stripes", "plaster", "checks", "paper", "picture"),
        (0.0, 1.0), (0.1, 0.9), (0.1, 0.95), (0.3, 0.95), (0.02, 0.2), (0.0, 0.7)),
    "sky": Finish(("sky", "plain"), (0.5, 0.68), (0.0, 0.4), (0.2, 1.0), (0.1, 0.6), (1.0, 1.6), glow=1.1),
}  # fmt: skip

DOMAINS: Mapping[str, Domain] = {
    # Homes: warm, by daylight and lamps, seen from a standing person's eyes.
    "a": Domain(
        version=1,
        sides=((3.0, 8.0),),
        ceiling=(2.4, 3.2),
        views=(Viewpoint(height=(1.0, 1.8), pitch=(-20.0, -2.0)),),
        field_of_view=(55.0, 75.0),
        roll=(-3.0, 3.0),
        walls=("window", "window", "pictures", "pictures", "door", "doorway", "niche", "bare"),
        furniture=(*FURNITURE, "table", "chair", "chair", "sofa", "bed", "shelf", "cupboard", "rug"),
        furniture_count=(8, 18),
        finishes=(_HOME,),
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
        version=1,
        sides=((2.0, 4.5),),
        ceiling=(2.2, 2.7),
        views=(Viewpoint(height=(0.6, 1.4), pitch=(-15.0, 8.0)),),
        field_of_view=(60.0, 85.0),
        roll=(-2.0, 2.0),
        walls=("door", "doorway", "pictures", "window", "bare", "bare"),
        furniture=(
            "bin", "boxes", "boxes", "counter", "desk", "desk", "fridge", "office chair", "office chair", "plant",
            "radiator", "shelf", "stool", "wardrobe",
        ),
        furniture_count=(3, 9),
        finishes=(_OFFICE,),
        lamps=(1, 3),
        lamp_power=(1.0, 3.0),
        warmth=(-0.2, 0.1),
        ambient=(0.2, 0.5),
        exposure=(0.36, 0.64),
        contrast=(0.3, 0.9),
        noise=(0.015, 0.04),
        vignetting=(0.1, 0.5),
    ),
    # Anything indoors, from corridors to halls, as seen by people, by robots and by hand-held scanners of desks.
    "c": Domain(
        version=1,
        sides=((1.5, 3.0), (3.0, 6.0), (3.0, 6.0), (4.0, 8.0), (4.0, 12.0)),
        ceiling=(2.3, 3.6),
        views=(
            *4 * (Viewpoint(height=(1.1, 1.9), pitch=(-30.0, 3.0), directions=7, clearance=0.5),),
            *2 * (Viewpoint(height=(0.5, 2.1), pitch=(-45.0, 15.0), directions=4, clearance=0.4),),
            # Low ones look ahead: from there a steep look down shows a carpet and nothing else.
            *2 * (Viewpoint(height=(0.12, 0.5), pitch=(-15.0, 15.0), directions=3, clearance=0.35),),
            Viewpoint(height=(0.8, 1.6), pitch=(-45.0, -18.0), directions=3, clearance=0.45, distance=(0.5, 1.5)),
            Viewpoint(height=(0.8, 1.6), pitch=(-75.0, -20.0), directions=3, clearance=0.3, distance=(0.2, 0.6)),
        ),
        field_of_view=(45.0, 90.0),
        roll=(-6.0, 6.0),
        walls=("window", "window", "pictures", "pictures", "pictures", "door", "door", "doorway", "niche", "bare"),
        furniture=(
            *FURNITURE, *MORE_FURNITURE, *MORE_FURNITURE,
            "table", "chair", "chair", "office chair", "desk", "sofa", "bed", "shelf", "cupboard", "rug",
        ),
        furniture_count=(3, 28),
        finishes=(_HOME, _OFFICE, _MIXED),
        lamps=(1, 3),
        lamp_power=(0.5, 3.0),
        warmth=(-0.2, 0.4),
        ambient=(0.12, 0.6),
        exposure=(0.32, 0.7),
        contrast=(0.0, 0.9),
        noise=(0.003, 0.035),
        vignetting=(0.0, 0.5),
        ornaments=(*ORNAMENTS, *MORE_ORNAMENTS),
        on_top=(0, 6),
        on_top_seen=(4, 14),
        clutter=tuple(CLUTTER),
        clutter_count=(0, 14),
        near=0.1,
    ),
}  # fmt: skip
