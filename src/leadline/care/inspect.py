"""`leadline data inspect`: a card of what a dataset holds: sizes, unit, depths, holes, cameras, licence, pictures."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import tyro
from jaxtyping import Float

from leadline.care.doctor import seen
from leadline.care.entries import Camera, Collection, Entry, collect
from leadline.care.faults import scenes
from leadline.care.looks import BINS_PER_OCTAVE, OCTAVES, Look
from leadline.care.units import Unit, unit_of
from leadline.charts import histogram
from leadline.errors import BadInput
from leadline.files import read_image, read_numbers, swapped
from leadline.pictures import depth_scale, fitted_scale, painted
from leadline.report import Chart, Exhibit, Gallery, Report, Section, page
from leadline.sample import Depth, Image, Kind, Mask
from leadline.tables import Listing

BAR = 40
"""Characters of the longest bar."""
EXHIBITS = 12
"""Scenes at most that the page shows, one frame of each."""
LEAST = 0.0005
"""Share of the depths that a bin at either end must hold to be shown."""


@dataclass(frozen=True)
class CameraCard:
    """Intrinsics in pixels, and what they let in."""

    fx: float
    fy: float
    cx: float
    cy: float
    across: float
    """Degrees from the left edge to the right one."""
    down: float
    """Degrees from the upper edge to the lower one."""

    @property
    def field_of_view(self) -> str:
        return f"{self.across:.0f}° × {self.down:.0f}°"


@dataclass(frozen=True)
class SceneCard:
    """What is known of one scene."""

    split: str
    scene: str
    frames: int
    image_sizes: tuple[str, ...]
    """Width × height in pixels."""
    depth: str
    """Format and depth of the numbers."""
    unit: Unit | None
    """Steps per metre; None where nothing makes metres of the numbers."""
    median: float | None
    """Metres, as the next two."""
    nearest: float | None
    """1st percentile of all that was measured."""
    farthest: float | None
    """99th percentile."""
    holes: float | None
    """Mean share of pixels that were not measured."""
    cameras: tuple[CameraCard, ...]
    """Each once."""
    unreadable: tuple[str, ...]
    """Why frames could not be read; the doctor names them all."""


@dataclass(frozen=True)
class Card:
    """What is known of a dataset."""

    data: str
    layout: str
    kind: str
    licence: str
    scenes: tuple[SceneCard, ...]
    nearest: float | None
    """Metres: 1st percentile of all that was measured."""
    farthest: float | None
    """And the 99th."""
    histogram: Mapping[str, float]
    """Metres where a bin begins → share of what was measured; half an octave each."""
    refused: tuple[str, ...]
    """Splits that could not be opened, and why."""


@dataclass(frozen=True)
class Inspect:
    """Find out what a dataset is, and print a card: counts, sizes, unit, depths, holes, cameras, licence."""

    data: tyro.conf.Positional[str]
    """What a training would take: a folder of rgb/ and depth/, a CSV file, rooms, nyu:DIR, with options as in
    DIR,depth_scale=1000. Where the scale is not stated it is guessed, and the reason said."""
    out: Path | None = None
    """An HTML page to write, with pictures in it."""
    frames: int | None = None
    """Look at no more than this many of each scene, the first; unset: all."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        if self.out and self.out.suffix.lower() != ".html":
            raise BadInput(f"--out {self.out} is to be a page: name it {self.out.with_suffix('.html')}.")
        collection = collect(self.data, frames=self.frames)
        looks = seen(collection)
        made = card(collection, looks)
        print(json.dumps(asdict(made), indent=1, ensure_ascii=False) if self.json else _told(made))
        if self.out:
            text = page(_report(made, collection, looks))
            with swapped(self.out) as half:
                half.write_text(text, encoding="utf-8")
        return 0


def card(collection: Collection, looks: Sequence[Look]) -> Card:
    """What the looks at a dataset come to."""
    by_scene = scenes(looks)
    is_metric = collection.kind is Kind.METRIC
    units = {place: unit_of(group) if is_metric else None for place, group in by_scene.items()}
    total = sum((_in_metres(group, units[place]) for place, group in by_scene.items()), _in_metres([], None))
    return Card(
        collection.words,
        collection.layout,
        str(collection.kind),
        collection.licence,
        tuple(_scene_card(place, group, units[place]) for place, group in by_scene.items()),
        _percentile(total, 0.01),
        _percentile(total, 0.99),
        _half_octaves(total),
        collection.refused,
    )


def _in_metres(group: Sequence[Look], unit: Unit | None) -> Float[np.ndarray, " bins"]:
    """How many pixels lie in each bin of metres; a scene weighs as much as it has pixels."""
    counts = np.zeros((OCTAVES[1] - OCTAVES[0]) * BINS_PER_OCTAVE)
    for look in group:
        if look.tally and unit:
            counts += np.roll(look.tally.histogram, -round(math.log2(unit.scale) * BINS_PER_OCTAVE))
    return counts


def _half_octaves(counts: Float[np.ndarray, " bins"]) -> Mapping[str, float]:
    merged = counts.reshape(-1, BINS_PER_OCTAVE // 2).sum(1) / max(counts.sum(), 1)
    shown = np.flatnonzero(merged > LEAST)
    if not shown.size:
        return {}
    return {f"{2 ** (OCTAVES[0] + place / 2):.2g}": float(merged[place]) for place in range(shown[0], shown[-1] + 1)}


def _scene_card(place: tuple[str, str], group: Sequence[Look], unit: Unit | None) -> SceneCard:
    tallies = [look.tally for look in group if look.tally and look.tally.median]
    counts = _in_metres(group, unit)
    sizes = dict.fromkeys(look.image_size for look in group if look.image_size)
    cameras = dict.fromkeys((look.camera, look.image_size) for look in group if look.camera and look.image_size)
    return SceneCard(
        *place,
        frames=len(group),
        image_sizes=tuple(f"{width} × {height}" for height, width in sizes),
        depth=", ".join(dict.fromkeys(_format(look) for look in group if look.tally)),
        unit=unit,
        median=median(tally.median for tally in tallies) / unit.scale if tallies and unit else None,
        nearest=_percentile(counts, 0.01),
        farthest=_percentile(counts, 0.99),
        holes=float(np.mean([tally.holes for tally in tallies])) if tallies else None,
        cameras=tuple(_camera_card(camera, size) for camera, size in cameras),
        unreadable=tuple("; ".join(look.refusals.values()) for look in group if look.refusals),
    )


def _format(look: Look) -> str:
    assert look.tally
    suffix = look.entry.depth.suffix if look.entry.depth and not look.entry.make else "sample"
    return f"{suffix} {look.tally.bits}-bit {'integers' if look.tally.is_integer else 'floats'}"


def _percentile(counts: Float[np.ndarray, " bins"], share: float) -> float | None:
    """Metres below which this share lies, to 9 %."""
    if not counts.sum():
        return None
    place = int(np.searchsorted(counts.cumsum(), share * counts.sum()))
    return float(2 ** (OCTAVES[0] + (place + 0.5) / BINS_PER_OCTAVE))


def _camera_card(camera: Camera, size: tuple[int, int]) -> CameraCard:
    fx, fy, cx, cy = camera
    height, width = size
    across, down = (math.degrees(2 * math.atan(side / 2 / focal)) for side, focal in ((width, fx), (height, fy)))
    return CameraCard(fx, fy, cx, cy, across, down)


def _told(card: Card) -> str:
    """The card as text."""
    longest = max(card.histogram.values(), default=1.0)
    bars = [
        f"{start:>6} m  {share:6.1%}  {'█' * math.ceil(BAR * share / longest)}"
        for start, share in card.histogram.items()
    ]
    return "\n".join(
        [
            f"{card.data}: {card.layout}, {_counts(card)}",
            f"Licence: {card.licence or 'none stated in the folder'}",
            "",
            _listing(card).markdown(),
            *(["Depths, from each line's metres to the next one's:", *bars] if bars else []),
        ]
    )


def _counts(card: Card) -> str:
    """`407 frames of 14 scenes (train 379, val 28)`"""
    splits: dict[str, int] = {}
    for scene in card.scenes:
        splits[scene.split] = splits.get(scene.split, 0) + scene.frames
    each = ", ".join(f"{split} {count}" for split, count in splits.items())
    return f"{sum(splits.values())} frames of {len(card.scenes)} scenes ({each})"


def _listing(card: Card) -> Listing:
    return Listing(
        "Scenes",
        ("scene", "frames", "photograph", "depth", "steps / m", "median", "1–99 %", "holes", "field of view"),
        tuple(_line(scene) for scene in card.scenes),
        (*_units(card), *_unread(card)),
    )


def _units(card: Card) -> list[str]:
    measured = [scene for scene in card.scenes if scene.median or not scene.unreadable]
    return [f"{_name(scene)}: {_unit_told(scene.unit)}" for scene in measured] if card.kind == Kind.METRIC else []


def _unread(card: Card) -> list[str]:
    """How much is not on the card."""
    return [
        *(
            f"{_name(scene)}: {len(scene.unreadable)} of {scene.frames} could not be read: {scene.unreadable[0]}"
            for scene in card.scenes
            if scene.unreadable
        ),
        *(f"not looked at: {reason}" for reason in card.refused),
    ]


def _name(scene: SceneCard) -> str:
    return "/".join(filter(None, (scene.split, scene.scene)))


def _unit_told(unit: Unit | None) -> str:
    return f"{unit.scale:g} steps a metre, {unit.reason}" if unit else "no unit in use makes metres of its numbers"


def _line(scene: SceneCard) -> tuple[str, ...]:
    known = scene.nearest is not None and scene.farthest is not None
    return (
        _name(scene),
        str(scene.frames),
        ", ".join(scene.image_sizes) or "–",
        scene.depth or "–",
        f"{scene.unit.scale:g}" if scene.unit else "–",
        f"{scene.median:.2f} m" if scene.median else "–",
        f"{scene.nearest:.2g}–{scene.farthest:.2g} m" if known else "–",
        f"{scene.holes:.0%}" if scene.holes is not None else "–",
        ", ".join(dict.fromkeys(camera.field_of_view for camera in scene.cameras)) or "unknown",
    )


def _report(card: Card, collection: Collection, looks: Sequence[Look]) -> Report:
    figures: list[Chart | Gallery] = []
    if card.histogram:
        starts = [float(start) for start in card.histogram]
        labels = [*card.histogram, f"{starts[-1] * 2**0.5:.2g}"]
        drawing = histogram(labels, list(card.histogram.values()), "Share of what was measured, by metres")
        figures.append(Chart(drawing, "Bins of half an octave; every measured pixel of every frame counts alike."))
    cameras = [
        (_name(scene), *(f"{number:.1f}" for number in (each.fx, each.fy, each.cx, each.cy)), each.field_of_view)
        for scene in card.scenes
        for each in scene.cameras
    ]
    tables = (_listing(card), *([Listing("Cameras, in pixels", _CAMERA, tuple(cameras))] if cameras else []))
    return Report(
        Path(card.data.partition(",")[0]).name or card.data,
        (
            Section("What it holds", tables=tables, figures=tuple(figures)),
            Section("What it looks like", figures=(_gallery(card, collection, looks),)),
        ),
        f"`{card.data}` is {card.layout}: {_counts(card)}, {card.kind} depth.\n\nLicence: "
        f"{card.licence or 'none stated in the folder'}.",
    )


_CAMERA = ("scene", "fx", "fy", "cx", "cy", "field of view")


def _gallery(card: Card, collection: Collection, looks: Sequence[Look]) -> Gallery:
    """The middle frame of each scene."""
    near, far = card.nearest or 0.5, card.farthest or 10.0
    metres = depth_scale(near, max(far, 1.01 * near))
    exhibits = []
    for group, scene in list(zip(scenes(looks).values(), card.scenes, strict=True))[:EXHIBITS]:
        whole = [look for look in group if look.image_size and look.tally and look.tally.levels]
        if whole:
            middle = whole[len(whole) // 2]
            image, depth, valid = _shown(middle.entry, scene.unit.scale if scene.unit else 1.0)
            colours = metres if scene.unit else fitted_scale(depth, valid, collection.kind)
            exhibits.append(Exhibit(f"{_name(scene)}: {middle.entry.name}", image, (painted(depth, colours, valid),)))
    caption = "The middle frame of each scene. Stripes: not measured."
    legends = (metres,) if card.histogram else ()
    return Gallery(("photograph", "depth, with its holes"), tuple(exhibits), legends, caption)


def _shown(entry: Entry, scale: float) -> tuple[Image, Depth, Mask]:
    if entry.make:
        sample = entry.make()
        return sample.image, sample.depth, sample.valid
    assert entry.image
    assert entry.depth
    values, _ = read_numbers(entry.depth)
    depth = torch.from_numpy(values.astype(np.float32))[None] / scale
    valid = depth.isfinite() & (depth > 0)
    return read_image(entry.image), depth.where(valid, 0), valid
