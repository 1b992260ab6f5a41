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
MIN_BIN = 0.0005
"""Fraction of the depths that a bin at either end must hold to be shown."""


@dataclass(frozen=True)
class CameraCard:
    """Intrinsics in pixels, and the field of view in degrees."""

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
        """`62° × 49°`: across and down."""
        return f"{self.across:.0f}° × {self.down:.0f}°"


@dataclass(frozen=True)
class SceneCard:
    """What is known of one scene."""

    split: str
    scene: str
    frames: int
    """Photographs with their depth."""
    unpaired: int
    """Files without a partner, which are no frames; the doctor names them."""
    image_sizes: tuple[str, ...]
    """Width × height in pixels."""
    depth: str
    """File format and type of the numbers."""
    unit: Unit | None
    """Steps per metre; None where nothing makes metres of the numbers."""
    median: float | None
    """Metres, as are the next two."""
    nearest: float | None
    """1st percentile of all that was measured."""
    farthest: float | None
    """99th percentile."""
    holes: float | None
    """Mean fraction of pixels that were not measured."""
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
    """Metres: 99th percentile."""
    histogram: Mapping[str, float]
    """Metres where a bin of half an octave begins → fraction of what was measured."""
    refused: tuple[str, ...]
    """Splits that could not be opened, and why."""


def dataset_card(collection: Collection, frames: Sequence[FrameStats]) -> DatasetCard:
    """Summarise a dataset, scene by scene, from the statistics of its frames."""
    by_scene = group_by_scene(frames)
    is_metric = collection.kind is DepthKind.METRIC
    units = {place: unit_of(group) if is_metric else None for place, group in by_scene.items()}
    total = sum((_in_metres(group, units[place]) for place, group in by_scene.items()), _in_metres([], None))
    return DatasetCard(
        collection.spec,
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
    """Count the pixels in each bin of metres, over all frames."""
    counts = np.zeros((OCTAVES[1] - OCTAVES[0]) * BINS_PER_OCTAVE)
    for frame in group:
        if frame.depth_stats and unit:
            counts += np.roll(frame.depth_stats.histogram, -round(math.log2(unit.scale) * BINS_PER_OCTAVE))
    return counts


def _half_octaves(counts: Float[np.ndarray, " bins"]) -> Mapping[str, float]:
    merged = counts.reshape(-1, BINS_PER_OCTAVE // 2).sum(1) / max(counts.sum(), 1)
    shown = np.flatnonzero(merged > MIN_BIN)
    if not shown.size:
        return {}
    return {f"{2 ** (OCTAVES[0] + place / 2):.2g}": float(merged[place]) for place in range(shown[0], shown[-1] + 1)}


def _scene_card(place: tuple[str, str], group: Sequence[FrameStats], unit: Unit | None) -> SceneCard:
    all_stats = [frame.depth_stats for frame in group if frame.depth_stats and frame.depth_stats.median]
    counts = _in_metres(group, unit)
    sizes = dict.fromkeys(frame.image_size for frame in group if frame.image_size)
    cameras = dict.fromkeys((frame.camera, frame.image_size) for frame in group if frame.camera and frame.image_size)
    return SceneCard(
        *place,
        frames=sum(frame.entry.is_frame for frame in group),
        unpaired=sum(not frame.entry.is_frame for frame in group),
        image_sizes=tuple(f"{width} × {height}" for height, width in sizes),
        depth=", ".join(dict.fromkeys(_format(frame) for frame in group if frame.depth_stats)),
        unit=unit,
        median=median(stats.median for stats in all_stats) / unit.scale if all_stats and unit else None,
        nearest=_percentile(counts, 0.01),
        farthest=_percentile(counts, 0.99),
        holes=float(np.mean([stats.holes for stats in all_stats])) if all_stats else None,
        cameras=tuple(_camera_card(camera, size) for camera, size in cameras),
        unreadable=tuple("; ".join(frame.refusals.values()) for frame in group if frame.refusals),
    )


def _format(frame: FrameStats) -> str:
    assert frame.depth_stats
    suffix = frame.entry.depth.suffix if frame.entry.depth and not frame.entry.make else "sample"
    return f"{suffix} {frame.depth_stats.bits}-bit {'integers' if frame.depth_stats.is_integer else 'floats'}"


def _percentile(counts: Float[np.ndarray, " bins"], fraction: float) -> float | None:
    """Return the metres below which this fraction lies, to 9 %."""
    if not counts.sum():
        return None
    place = int(np.searchsorted(counts.cumsum(), fraction * counts.sum()))
    return float(2 ** (OCTAVES[0] + (place + 0.5) / BINS_PER_OCTAVE))


def _camera_card(camera: Camera, size: tuple[int, int]) -> CameraCard:
    fx, fy, cx, cy = camera
    across, down = fields_of_view(camera, size)
    return CameraCard(fx, fy, cx, cy, across, down)
