"""Frame statistics: what is kept of a photograph and its depth after reading: sizes, counts and a few small arrays."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from PIL import Image

from leadline.core.camera import explain_unlikely_camera, parse_intrinsics, ray_lengths
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.core.sample import ImageTensor
from leadline.data.datasets.depth_reading import DepthReading
from leadline.data.datasets.folder import follow_size
from leadline.data_quality.image_features import (
    Surface,
    count_planes,
    count_walls,
    depth_edges,
    edge_agreement,
    fingerprint,
    image_edges,
    is_facing_wall,
    shrink,
)
from leadline.data_quality.index import Camera, Collection, Entry
from leadline.io.depth_backgrounds import background_mask
from leadline.io.depth_maps import read_numbers, stated_scale
from leadline.io.depth_units import is_plausible
from leadline.io.exif import read_orientation
from leadline.io.images import read_exif, read_image

BINS_PER_OCTAVE, OCTAVES = 8, (-10, 22)
"""The histogram's bins, in powers of two of the numbers in the file."""
EDGE_FRAMES = 100
"""First frames of each scene whose edges are compared: enough to find a shift, and comparing takes most of the time."""


@dataclass(frozen=True, eq=False)
class DepthStats:
    """Statistics of the numbers of a depth file, whatever they mean."""

    is_integer: bool
    bits: int
    scale: float | None
    """Steps per metre, as the file, the reader's rule or the user states; None where nobody does."""
    source: str
    """Where the scale is from: `as stated`, `by the rule of the reader tum`."""
    is_ours: bool
    """Whether the file states its unit itself, as those that Leadline writes do."""
    is_rule: bool
    """Whether the scale is the rule of a reader of published data, whatever the numbers are."""
    fractions: Mapping[str, float]
    """`zero`, `NaN`, `infinite`, `negative` and `background` → the fraction of all pixels that it is."""
    background: float
    """The highest number that no camera measures, left out of all that follows; 0 where there is none."""
    low: float
    high: float
    median: float
    """`low`, `high` and `median` are of the positive numbers; 0 where there is none."""
    top: float
    """Fraction of the positive numbers that equal the highest."""
    is_cut: bool
    """Whether so many numbers equal the highest that farther ones were probably set to it, and they are no wall."""
    levels: int
    """How many different positive numbers there are."""
    divisor: int
    """The largest whole number that divides them all; 1 for floats."""
    histogram: Int[np.ndarray, " bins"]
    """How many positive numbers lie in each bin, `BINS_PER_OCTAVE` an octave, over `OCTAVES`."""
    planes: tuple[int, int]
    """Numbers of patches that are straight as inverse depth, and as depth."""
    walls: tuple[int, int]
    """Numbers of patches that are flat as depth, and as distances along the ray; zeros without a camera."""

    @property
    def holes(self) -> float:
        """Fraction of pixels that were not measured."""
        return sum(self.fractions.values())


@dataclass(frozen=True, eq=False)
class FrameStats:
    """Statistics of one entry: a photograph, its depth map and its camera, as far as they could be read."""

    entry: Entry
    scene: str
    refusals: Mapping[str, str] = field(default_factory=dict)
    """`unreadable`, `picture` or `camera` → why a file, or the stated camera, was refused."""
    image_size: tuple[int, int] | None = None
    """Height and width, upright."""
    orientation: int = 1
    """As the photograph's EXIF has it: 1 is upright."""
    fingerprint: int = 0
    """The fingerprint's 64 bits."""
    thumbnail: UInt8[np.ndarray, "16 16"] | None = None
    camera: Camera | None = None
    depth_size: tuple[int, int] | None = None
    depth_stats: DepthStats | None = None
    edges: Surface | None = None
    """Correlation of the edges of photograph and depth, over shifts."""
    before: float | None = None
    """Correlation of the edges of the previous frame's photograph and this depth."""
    after: float | None = None
    """The same with the next frame's."""
    stored: float | None = None
    """The same with the photograph as it lies in the file, where its EXIF turns it."""

    @property
    def place(self) -> tuple[str, str]:
        """Split and scene."""
        return self.entry.split, self.scene

    @property
    def centre(self) -> float | None:
        """Correlation of the edges without a shift."""
        return None if self.edges is None else float(self.edges[self.edges.shape[0] // 2, self.edges.shape[1] // 2])


LEAST_AT_TOP = 25
"""Pixels at the highest number that may be a cut: of a sparse map the farthest pixel alone is a large share."""
MIN_TOP = 0.02
"""Fraction of the measured pixels that have the highest number; clean maps have at most 0.0035."""
TOP_RATIO = 2.0
"""Ratio of the pixels with the highest number to those with any number close below: a Kinect's steps at 10 m are 25 cm,
and a wall there has few. Such clean maps and crops of them have at most 0.75 where they have more than 0.5 %."""


def collect_stats(collection: Collection, entries: Iterable[Entry]) -> Iterator[FrameStats]:
    """Read all entries once, in order, and yield their statistics.

    The first `EDGE_FRAMES` frames of a scene are also compared with their neighbours' photographs.
    """
    views = (_read_entry(entry, collection) for entry in entries)
    counts: dict[tuple[str, str], int] = {}
    for before, now, after in _with_neighbours(views):
        place = now.frame.place
        counts[place] = counts.get(place, 0) + 1
        frame = now.frame
        if counts[place] <= EDGE_FRAMES:
            frame = replace(
                frame,
                edges=_edge_surface(now, now, is_shifted=True),
                before=_edge_correlation(before, now),
                after=_edge_correlation(after, now),
                stored=_edge_correlation_as_stored(now),
            )
        yield frame


def collect_photo_stats(entries: Iterable[Entry]) -> Iterator[FrameStats]:
    """Yield fingerprints of the photographs alone, four of each; those that cannot be read are left out.

    The four are the whole photograph and the one without NYU's white frame, which many copies of it lack; and both
    mirrored, as augmentation mirrors.
    """
    for entry in entries:
        try:
            photograph, _ = _photograph(entry)
        except BadInput:
            continue
        if photograph is not None:
            grey = _grey(photograph)
            for cut in (grey, _without_frame(grey)):
                for view in (cut, cut[:, ::-1]):
                    yield _with_fingerprint(FrameStats(entry, entry.scene), np.ascontiguousarray(view))


@dataclass(frozen=True, eq=False)
class _View:
    """Statistics in the making, with the arrays that the neighbours are compared with."""

    frame: FrameStats
    image: Float[np.ndarray, "h w"] | None = None
    """The photograph's edges, upright."""
    stored: Float[np.ndarray, "lying_h lying_w"] | None = None
    """The same as the file holds it, where that differs."""
    depth: tuple[np.ndarray, np.ndarray] | None = None
    """The depth's edges, and the mask of where they are known."""


def _read_entry(entry: Entry, collection: Collection) -> _View:
    refusals = {"camera": entry.camera_fault} if entry.camera_fault else {}
    frame = FrameStats(entry, entry.scene, refusals, camera=entry.camera)
    if entry.make:
        return _read_sample(frame, collection)
    view = _View(frame)
    try:
        photograph, orientation = _photograph(entry)
        if photograph is not None:
            view = _with_photograph(view, photograph, orientation)
    except UnreadableFile as reason:
        view = replace(view, frame=_refused(view.frame, "unreadable", reason))
    try:
        if entry.depth:
            values, metadata = read_numbers(entry.depth)
            view = _with_depth(view, values, metadata, collection)
    except UnreadableFile as reason:
        view = replace(view, frame=_refused(view.frame, "unreadable", reason))
    except BadInput as reason:
        view = replace(view, frame=_refused(view.frame, "picture", reason))
    return view


def _read_sample(frame: FrameStats, collection: Collection) -> _View:
    assert frame.entry.make
    try:
        sample = frame.entry.make()
    except BadInput as reason:
        return _View(_refused(frame, "unreadable", reason))
    name = str(sample.name) or frame.entry.name
    camera = None if sample.intrinsics is None else tuple(sample.intrinsics.tolist())
    entry = replace(frame.entry, name=name)
    view = _with_photograph(_View(FrameStats(entry, name.rpartition("/")[0], camera=camera)), sample.image, 1)
    values = np.where(sample.valid[0].numpy(), sample.depth[0].numpy(), np.float32(0))
    return _with_depth(view, values, {}, replace(collection, reading=DepthReading(1.0)))


def _refused(frame: FrameStats, what: str, reason: BadInput) -> FrameStats:
    reasons = "; ".join(filter(None, [frame.refusals.get(what), str(reason)]))
    return replace(frame, refusals={**frame.refusals, what: reasons})


def _photograph(entry: Entry) -> tuple[ImageTensor | None, int]:
    """Read the photograph, upright, and the EXIF orientation that it had."""
    if entry.make:
        return entry.make().image, 1
    if entry.image is None:
        return None, 1
    return read_image(entry.image), _orientation(entry.image)


def _orientation(path: Path) -> int:
    try:
        with Image.open(path) as picture:
            return read_orientation(read_exif(picture))
    except Image.UnidentifiedImageError:  # a format that only OpenCV reads; it has no EXIF that would be applied
        return 1


def _grey(photograph: ImageTensor) -> Float[np.ndarray, "H W"]:
    """Return luminance in [0, 255] (ITU-R BT.601)."""
    red, green, blue = photograph.numpy()
    return 255 * (0.299 * red + 0.587 * green + 0.114 * blue)


def _without_frame(grey: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "h w"]:
    """Cut to what the NYU toolbox keeps (crop_image.m: rows 45–471, columns 41–601 of 480 × 640), at any size."""
    height, width = grey.shape
    return grey[height * 44 // 480 : height * 471 // 480, width * 40 // 640 : width * 601 // 640]


def _with_fingerprint(frame: FrameStats, grey: Float[np.ndarray, "H W"]) -> FrameStats:
    bits, thumbnail = fingerprint(grey)
    return replace(frame, fingerprint=bits, thumbnail=thumbnail)


def _with_photograph(view: _View, photograph: ImageTensor, orientation: int) -> _View:
    grey = _grey(photograph)
    frame = replace(_with_fingerprint(view.frame, grey), image_size=grey.shape, orientation=orientation)
    if frame.camera:
        frame = replace(frame, camera=follow_size(frame.camera, frame.entry.camera_size, photograph))
    turned = None if orientation == 1 else image_edges(shrink(_as_stored(grey, orientation)))
    return replace(view, frame=frame, image=image_edges(shrink(grey)), stored=turned)


def _as_stored(pixels: Float[np.ndarray, "H W"], orientation: int) -> Float[np.ndarray, "h w"]:
    """Undo what EXIF orientation 2 … 8 does to the pixels of a file."""
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels.T if orientation in (5, 6, 7, 8) else pixels)


def _with_depth(view: _View, values: np.ndarray, metadata: Mapping[str, str], collection: Collection) -> _View:
    view = _with_stated_camera(view, metadata)
    path = view.frame.entry.depth or Path(view.frame.entry.name)
    stated = stated_scale(path, metadata, collection.kind)
    values = collection.reading.decoded(values, stated)
    camera = view.frame.camera
    is_plausible_camera = (
        camera and values.shape == view.frame.image_size and not explain_unlikely_camera(camera, values.shape)
    )
    if camera and is_plausible_camera and collection.reading.along_ray:
        values = values / ray_lengths(camera, values.shape)
    stats = _depth_stats(values, stated, collection, camera if is_plausible_camera else None)
    frame = replace(view.frame, depth_size=values.shape, depth_stats=stats)
    return replace(view, frame=frame, depth=depth_edges(_positive(values)))


def _with_stated_camera(view: _View, metadata: Mapping[str, str]) -> _View:
    """Take the camera that the depth file states, where nothing else does."""
    if "intrinsics" not in metadata or view.frame.camera:
        return view
    try:
        camera = parse_intrinsics(metadata["intrinsics"], "the depth file")
    except BadInput as fault:
        return replace(view, frame=replace(view.frame, refusals={**view.frame.refusals, "camera": str(fault)}))
    return replace(view, frame=replace(view.frame, camera=None if camera is None else tuple(camera.tolist())))


def _positive(values: np.ndarray) -> Float[np.ndarray, "H W"]:
    if values.dtype.kind != "f":
        return values.clip(0).astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values) & (values > 0), values, 0).astype(np.float32)


def _depth_stats(values: np.ndarray, stated: float | None, collection: Collection, camera: Camera | None) -> DepthStats:
    is_ours = stated is not None
    scale = stated if is_ours else collection.reading.scale
    fractions, background = dict(_fractions(values)), 0.0
    if (
        collection.kind is DepthKind.METRIC
        and values.dtype.itemsize > 1
        and not (is_ours or collection.reading.keeps_background)
    ):
        values, background, fractions["background"] = _without_background(values, scale)
    positive = _positive(values)
    measured = values[positive > 0]
    levels, counts = _levels(measured)
    is_integer = values.dtype.kind != "f"
    low, high, median, top, below_top = 0.0, 0.0, 0.0, 0.0, 0.0
    if measured.size:
        low, high = float(levels[0]), float(levels[-1])
        median = float(levels[np.searchsorted(counts.cumsum(), measured.size / 2)])
        top = float(counts[-1] / measured.size)
        below_top = float(counts[:-1][levels[:-1] > 0.9 * high].max(initial=0) / measured.size)
    height, width = values.shape
    principal_point = (camera[2], camera[3]) if camera else ((width - 1) / 2, (height - 1) / 2)
    return DepthStats(
        is_integer=is_integer,
        bits=values.dtype.itemsize * 8,
        scale=scale,
        source=_source(collection, is_ours=is_ours),
        is_ours=is_ours,
        is_rule=bool(collection.reader) and not is_ours,
        fractions=fractions,
        background=background,
        low=low,
        high=high,
        median=median,
        top=top,
        is_cut=top > max(MIN_TOP, TOP_RATIO * below_top)
        and top * measured.size >= LEAST_AT_TOP
        and not is_facing_wall(positive, principal_point),
        levels=levels.size,
        divisor=int(np.gcd.reduce(levels.astype(np.int64))) if is_integer and levels.size else 1,
        histogram=_histogram(levels, counts),
        planes=count_planes(positive),
        walls=count_walls(positive, camera) if camera else (0, 0),
    )


def _source(collection: Collection, *, is_ours: bool) -> str:
    if is_ours:
        return "the files say so"
    return f"by the rule of the reader {collection.reader}" if collection.reader else "as stated"


def _without_background(values: np.ndarray, scale: float | None) -> tuple[np.ndarray, float, float]:
    """Return the numbers with 0 where no camera measures, the highest number replaced, and the fraction replaced."""
    if scale is None:
        middle = float(np.median(values[values > 0])) if (values > 0).any() else 0.0
        scale = 1.0 if is_plausible(middle) else 1000.0
    nothing = background_mask(values, scale)
    highest = float(values[nothing].max(initial=0))
    return (np.where(nothing, np.zeros_like(values), values) if highest else values), highest, float(nothing.mean())


def _levels(measured: Shaped[np.ndarray, " n"]) -> tuple[Shaped[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Return the different numbers, in ascending order, and how often each occurs."""
    if measured.dtype.kind == "f" or (measured.size and measured.max() > 65535):
        return np.unique(measured, return_counts=True)
    counts = np.bincount(measured)  # ten times as fast as sorting
    levels = np.flatnonzero(counts)
    return levels, counts[levels]


def _fractions(values: np.ndarray) -> Mapping[str, float]:
    if values.dtype.kind != "f":
        return {"zero": float((values <= 0).mean())}
    return {
        "zero": float((values == 0).mean()),
        "NaN": float(np.isnan(values).mean()),
        "infinite": float(np.isinf(values).mean()),
        "negative": float((np.isfinite(values) & (values < 0)).mean()),
    }


def _histogram(levels: Shaped[np.ndarray, " n"], counts: Int[np.ndarray, " n"]) -> Int[np.ndarray, " bins"]:
    lowest, highest = OCTAVES
    bins = np.floor((np.log2(levels.astype(np.float64)) - lowest) * BINS_PER_OCTAVE).astype(np.int64)
    size = (highest - lowest) * BINS_PER_OCTAVE
    return np.bincount(bins.clip(0, size - 1), weights=counts, minlength=size).astype(np.int64)


def _with_neighbours(views: Iterable[_View]) -> Iterator[tuple[_View | None, _View, _View | None]]:
    """Yield each view between those before and after it in its scene."""
    before: _View | None = None
    now: _View | None = None
    for after in views:
        if now:
            yield _same_place(before, now), now, _same_place(after, now)
        before, now = now, after
    if now:
        yield _same_place(before, now), now, None


def _same_place(view: _View | None, now: _View) -> _View | None:
    return view if view and view.frame.place == now.frame.place else None


def _edge_surface(photographed: _View, measured: _View, *, is_shifted: bool = False) -> Surface | None:
    """Correlate the edges of one view's photograph, as stored if only that fits in size, with another's depth."""
    if measured.depth is None:
        return None
    for edges in (photographed.image, photographed.stored):
        if edges is not None and edges.shape == measured.depth[0].shape:
            return edge_agreement(edges, *measured.depth, is_shifted=is_shifted)
    return None


def _edge_correlation(photographed: _View | None, measured: _View) -> float | None:
    surface = _edge_surface(photographed, measured) if photographed else None
    return None if surface is None else float(surface[0, 0])


def _edge_correlation_as_stored(view: _View) -> float | None:
    if view.stored is None or view.depth is None or view.stored.shape != view.depth[0].shape:
        return None
    surface = edge_agreement(view.stored, *view.depth, is_shifted=False)
    return None if surface is None else float(surface[0, 0])
