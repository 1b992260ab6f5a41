"""Dataset cards for people: a `DatasetCard` as text, and as a report with pictures."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from leadline.core.depth_kind import DepthKind
from leadline.core.sample import Depth, ImageTensor, Mask
from leadline.data_quality.frame_stats import FrameStats
from leadline.data_quality.index import Collection, Entry
from leadline.data_quality.inspect import BAR, EXHIBITS, DatasetCard, SceneCard
from leadline.data_quality.issues import count_files, group_by_scene
from leadline.data_quality.units import Unit
from leadline.evaluation.tables import TextTable
from leadline.io.colormaps import colorize, depth_color_scale, fit_color_scale
from leadline.io.depth_maps import read_numbers, stated_scale
from leadline.io.images import read_image
from leadline.reporting.charts import histogram
from leadline.reporting.report import Chart, Exhibit, Gallery, Report, Section

_CAMERA = ("scene", "fx", "fy", "cx", "cy", "field of view")


def card_text(card: DatasetCard) -> str:
    """Write a card as text: counts, licence, a table of the scenes, and bars of the depths."""
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
            _scenes_table(card).markdown(),
            *(["Depths, from each line's metres to the next one's:", *bars] if bars else []),
        ]
    )


def card_report(card: DatasetCard, collection: Collection, frames: Sequence[FrameStats]) -> Report:
    """Make a report of a card, with a picture of each scene.

    Args:
        card: what is known of the dataset.
        collection: its files.
        frames: the statistics that the card was made from.
    """
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
    tables = (_scenes_table(card), *([TextTable("Cameras, in pixels", _CAMERA, tuple(cameras))] if cameras else []))
    return Report(
        Path(card.data.partition(",")[0]).name or card.data,
        (
            Section("What it holds", tables=tables, figures=tuple(figures)),
            Section("What it looks like", figures=(_gallery(card, collection, frames),)),
        ),
        f"`{card.data}` is {card.layout}: {_counts(card)}, {card.kind} depth.\n\nLicence: "
        f"{card.licence or 'none stated in the folder'}.",
    )


def _counts(card: DatasetCard) -> str:
    """`407 frames of 14 scenes (train 379, val 28), and 2 files without a partner`"""
    splits: dict[str, int] = {}
    for scene in card.scenes:
        splits[scene.split] = splits.get(scene.split, 0) + scene.frames
    each = ", ".join(f"{split} {count}" for split, count in splits.items())
    unpaired = sum(scene.unpaired for scene in card.scenes)
    lone = f", and {count_files(unpaired)} without a partner (leadline data doctor names them)" if unpaired else ""
    return f"{sum(splits.values())} frames of {len(card.scenes)} scenes ({each}){lone}"


def _scenes_table(card: DatasetCard) -> TextTable:
    return TextTable(
        "Scenes",
        ("scene", "frames", "photograph", "depth", "steps / m", "median", "1–99 %", "holes", "field of view"),
        tuple(_line(scene) for scene in card.scenes),
        (*_units(card), *_unread(card)),
    )


def _units(card: DatasetCard) -> list[str]:
    measured = [scene for scene in card.scenes if scene.median or not scene.unreadable]
    return [f"{_name(scene)}: {_unit_text(scene.unit)}" for scene in measured] if card.kind == DepthKind.METRIC else []


def _unread(card: DatasetCard) -> list[str]:
    """How much is not on the card."""
    return [
        *(
            f"{_name(scene)}: {len(scene.unreadable)} with a file that cannot be read: {scene.unreadable[0]}"
            for scene in card.scenes
            if scene.unreadable
        ),
        *(f"not looked at: {reason}" for reason in card.refused),
    ]


def _name(scene: SceneCard) -> str:
    return "/".join(filter(None, (scene.split, scene.scene)))


def _unit_text(unit: Unit | None) -> str:
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


def _gallery(card: DatasetCard, collection: Collection, frames: Sequence[FrameStats]) -> Gallery:
    """The middle frame of each scene."""
    near, far = card.nearest or 0.5, card.farthest or 10.0
    metres = depth_color_scale(near, max(far, 1.01 * near))
    exhibits = []
    for group, scene in list(zip(group_by_scene(frames).values(), card.scenes, strict=True))[:EXHIBITS]:
        whole = [frame for frame in group if frame.image_size and frame.depth_stats and frame.depth_stats.levels]
        if whole:
            middle = whole[len(whole) // 2]
            image, depth, valid = _shown(middle.entry, collection, scene.unit.scale if scene.unit else 1.0)
            colours = metres if scene.unit else fit_color_scale(depth, valid, collection.kind)
            exhibits.append(Exhibit(f"{_name(scene)}: {middle.entry.name}", image, (colorize(depth, colours, valid),)))
    caption = "The middle frame of each scene. Stripes: not measured."
    legends = (metres,) if card.histogram else ()
    return Gallery(("photograph", "depth, with its holes"), tuple(exhibits), legends, caption)


def _shown(entry: Entry, collection: Collection, scale: float) -> tuple[ImageTensor, Depth, Mask]:
    if entry.make:
        sample = entry.make()
        return sample.image, sample.depth, sample.valid
    assert entry.image
    assert entry.depth
    values, words = read_numbers(entry.depth)
    values = collection.reading.decoded(values, stated_scale(entry.depth, words, collection.kind))
    depth = torch.from_numpy(values.astype(np.float32))[None] / scale
    valid = depth.isfinite() & (depth > 0)
    return read_image(entry.image), depth.where(valid, 0), valid
