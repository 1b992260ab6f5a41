"""`leadline data inspect`: a card of what a dataset holds: sizes, unit, depths, holes, cameras, licence, pictures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from jaxtyping import Float

from leadline.core.camera import fields_of_view
from leadline.core.depth_kind import DepthKind
from leadline.data_quality.frame_stats import BINS_PER_OCTAVE, OCTAVES, FrameStats
from leadline.data_quality.index import Camera, Collection
from leadline.data_quality.issues import group_by_scene
from leadline.data_quality.units import Unit, unit_of

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
class DatasetCard:
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


def dataset_card(collection: Collection, looks: Sequence[FrameStats]) -> DatasetCard:
    """What the looks at a dataset come to."""
    by_scene = group_by_scene(looks)
    is_metric = collection.kind is DepthKind.METRIC
    units = {place: unit_of(group) if is_metric else None for place, group in by_scene.items()}
    total = sum((_in_metres(group, units[place]) for place, group in by_scene.items()), _in_metres([], None))
    return DatasetCard(
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


def _in_metres(group: Sequence[FrameStats], unit: Unit | None) -> Float[np.ndarray, " bins"]:
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


def _scene_card(place: tuple[str, str], group: Sequence[FrameStats], unit: Unit | None) -> SceneCard:
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


def _format(look: FrameStats) -> str:
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
    across, down = fields_of_view(camera, size)
    return CameraCard(fx, fy, cx, cy, across, down)
