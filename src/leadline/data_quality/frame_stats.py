"""Looks: what is kept of a photograph and its depth once both were read: sizes, counts and a few small arrays."""

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
from leadline.io.images import read_image

BINS_PER_OCTAVE, OCTAVES = 8, (-10, 22)
"""The histogram's bins, in powers of two of the numbers in the file."""
EDGE_FRAMES = 100
"""Of each scene, the first: so many are enough to find a shift, and comparing edges is the dearest part."""


@dataclass(frozen=True, eq=False)
class DepthStats:
    """What the numbers of a depth file come to, whatever they mean."""

    is_integer: bool
    bits: int
    scale: float | None
    """Steps that make a metre, as the file, the reader's rule or the user says."""
    source: str
    """Who says so: `as stated`, `by the rule of the reader tum`."""
    is_ours: bool
    """The file says itself what its numbers are."""
    is_rule: bool
    """A reader of published data says so, whatever the numbers are."""
    shares: Mapping[str, float]
    """Of all pixels: `zero`, `NaN`, `infinite`, `negative`, `background`."""
    background: float
    """The highest number that no camera measures, left out of all that follows; 0 where there is none."""
    low: float
    high: float
    median: float
    """These three of the positive numbers; 0 where there is none."""
    top: float
    """Share of the positive numbers that equal the highest."""
    is_cut: bool
    """So many numbers equal the highest that what was farther seems cut to it, and they are no wall."""
    levels: int
    """How many different positive numbers there are."""
    divisor: int
    """The largest whole number that divides them all; 1 for floats."""
    histogram: Int[np.ndarray, " bins"]
    planes: tuple[int, int]
    """Patches that are straight as inverse depth, and those that are as depth."""
    walls: tuple[int, int]
    """Patches that are flat as depth, and those that are as distances along the ray; none without a camera."""

    @property
    def holes(self) -> float:
        """Share of pixels that were not measured."""
        return sum(self.shares.values())


@dataclass(frozen=True, eq=False)
class FrameStats:
    """What was seen of one entry."""

    entry: Entry
    scene: str
    refusals: Mapping[str, str] = field(default_factory=dict)
    """`unreadable`, `picture` or `camera` → why a file, or what is said of the camera, could not be taken."""
    image_size: tuple[int, int] | None = None
    """Height and width, upright."""
    orientation: int = 1
    """As the photograph's EXIF has it: 1 is upright."""
    print: int = 0
    """The fingerprint's 64 bits."""
    thumbnail: UInt8[np.ndarray, "16 16"] | None = None
    camera: Camera | None = None
    depth_size: tuple[int, int] | None = None
    tally: DepthStats | None = None
    edges: Surface | None = None
    """How alike the edges of photograph and depth are, over shifts."""
    before: float | None = None
    """How alike the edges of the previous frame's photograph and this depth are."""
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
        """How alike the edges are as the files lie."""
        return None if self.edges is None else float(self.edges[self.edges.shape[0] // 2, self.edges.shape[1] // 2])


TOP = 0.02
"""Share of the measured pixels that have the highest number; clean maps have at most 0.0035."""
HEAP = 2.0
"""And so many times more of them than have any number close below: a Kinect's steps at 10 m are 25 cm, and a wall there
has few. Such clean maps and crops of them have at most 0.75 where they have more than 0.5 %."""


def collect_stats(collection: Collection, entries: Iterable[Entry]) -> Iterator[FrameStats]:
    """Read all entries once, in their order; of a scene's first frames also how its neighbours fit."""
    views = (_seen(entry, collection) for entry in entries)
    counts: dict[tuple[str, str], int] = {}
    for before, now, after in _with_neighbours(views):
        place = now.look.place
        counts[place] = counts.get(place, 0) + 1
        look = now.look
        if counts[place] <= EDGE_FRAMES:
            look = replace(
                look,
                edges=_compared(now, now, is_shifted=True),
                before=_alike(before, now),
                after=_alike(after, now),
                stored=_alike_as_stored(now),
            )
        yield look


def collect_photo_stats(entries: Iterable[Entry]) -> Iterator[FrameStats]:
    """The photographs alone, four times each, for their fingerprints; what cannot be read is left out.

    Whole and without NYU's white frame, as many copies of it are cut; and both mirrored, as training mirrors.
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
                    yield _recognisable(FrameStats(entry, entry.scene), np.ascontiguousarray(view))


@dataclass(frozen=True, eq=False)
class _View:
    """A look on its way, with the arrays that its neighbours need."""

    look: FrameStats
    image: Float[np.ndarray, "h w"] | None = None
    """The photograph's edges, upright."""
    stored: Float[np.ndarray, "lying_h lying_w"] | None = None
    """The same as the file holds it, where that differs."""
    depth: tuple[np.ndarray, np.ndarray] | None = None
    """The depth's edges, and where they are known."""


def _seen(entry: Entry, collection: Collection) -> _View:
    refusals = {"camera": entry.camera_fault} if entry.camera_fault else {}
    look = FrameStats(entry, entry.scene, refusals, camera=entry.camera)
    if entry.make:
        return _seen_sample(look, collection)
    view = _View(look)
    try:
        photograph, orientation = _photograph(entry)
        if photograph is not None:
            view = _with_photograph(view, photograph, orientation)
    except UnreadableFile as reason:
        view = replace(view, look=_refused(view.look, "unreadable", reason))
    try:
        if entry.depth:
            values, words = read_numbers(entry.depth)
            view = _with_depth(view, values, words, collection)
    except UnreadableFile as reason:
        view = replace(view, look=_refused(view.look, "unreadable", reason))
    except BadInput as reason:
        view = replace(view, look=_refused(view.look, "picture", reason))
    return view


def _seen_sample(look: FrameStats, collection: Collection) -> _View:
    assert look.entry.make
    try:
        sample = look.entry.make()
    except BadInput as reason:
        return _View(_refused(look, "unreadable", reason))
    name = str(sample.name) or look.entry.name
    camera = None if sample.intrinsics is None else tuple(sample.intrinsics.tolist())
    entry = replace(look.entry, name=name)
    view = _with_photograph(_View(FrameStats(entry, name.rpartition("/")[0], camera=camera)), sample.image, 1)
    values = np.where(sample.valid[0].numpy(), sample.depth[0].numpy(), np.float32(0))
    return _with_depth(view, values, {}, replace(collection, reading=DepthReading(1.0)))


def _refused(look: FrameStats, what: str, reason: BadInput) -> FrameStats:
    said = "; ".join(filter(None, [look.refusals.get(what), str(reason)]))
    return replace(look, refusals={**look.refusals, what: said})


def _photograph(entry: Entry) -> tuple[ImageTensor | None, int]:
    """The photograph upright, and the EXIF orientation that it had."""
    if entry.make:
        return entry.make().image, 1
    if entry.image is None:
        return None, 1
    return read_image(entry.image), _orientation(entry.image)


def _orientation(path: Path) -> int:
    try:
        with Image.open(path) as picture:
            return picture.getexif().get(274, 1)
    except Image.UnidentifiedImageError:  # a format that only OpenCV knows; it holds no EXIF that we would obey
        return 1


def _grey(photograph: ImageTensor) -> Float[np.ndarray, "H W"]:
    """Luminance in [0, 255] (ITU-R BT.601)."""
    red, green, blue = photograph.numpy()
    return 255 * (0.299 * red + 0.587 * green + 0.114 * blue)


def _without_frame(grey: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "h w"]:
    """The part that the NYU toolbox keeps (crop_image.m: rows 45–471, columns 41–601 of 480 × 640), in shares."""
    height, width = grey.shape
    return grey[height * 44 // 480 : height * 471 // 480, width * 40 // 640 : width * 601 // 640]


def _recognisable(look: FrameStats, grey: Float[np.ndarray, "H W"]) -> FrameStats:
    bits, thumbnail = fingerprint(grey)
    return replace(look, print=bits, thumbnail=thumbnail)


def _with_photograph(view: _View, photograph: ImageTensor, orientation: int) -> _View:
    grey = _grey(photograph)
    look = replace(_recognisable(view.look, grey), image_size=grey.shape, orientation=orientation)
    if look.camera:
        look = replace(look, camera=follow_size(look.camera, look.entry.camera_size, photograph))
    turned = None if orientation == 1 else image_edges(shrink(_as_stored(grey, orientation)))
    return replace(view, look=look, image=image_edges(shrink(grey)), stored=turned)


def _as_stored(pixels: Float[np.ndarray, "H W"], orientation: int) -> Float[np.ndarray, "h w"]:
    """Undo what EXIF orientation 2 … 8 does to the pixels of a file."""
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels.T if orientation in (5, 6, 7, 8) else pixels)


def _with_depth(view: _View, values: np.ndarray, words: Mapping[str, str], collection: Collection) -> _View:
    view = _with_stated_camera(view, words)
    path = view.look.entry.depth or Path(view.look.entry.name)
    stated = stated_scale(path, words, collection.kind)
    values = collection.reading.decoded(values, stated)
    camera = view.look.camera
    is_believed = camera and values.shape == view.look.image_size and not explain_unlikely_camera(camera, values.shape)
    if camera and is_believed and collection.reading.along_ray:
        values = values / ray_lengths(camera, values.shape)
    tally = _tally(values, stated, collection, camera if is_believed else None)
    look = replace(view.look, depth_size=values.shape, tally=tally)
    return replace(view, look=look, depth=depth_edges(_positive(values)))


def _with_stated_camera(view: _View, words: Mapping[str, str]) -> _View:
    """The camera that the depth file states, where nothing else does."""
    if "intrinsics" not in words or view.look.camera:
        return view
    try:
        camera = parse_intrinsics(words["intrinsics"], "the depth file")
    except BadInput as fault:
        return replace(view, look=replace(view.look, refusals={**view.look.refusals, "camera": str(fault)}))
    return replace(view, look=replace(view.look, camera=None if camera is None else tuple(camera.tolist())))


def _positive(values: np.ndarray) -> Float[np.ndarray, "H W"]:
    if values.dtype.kind != "f":
        return values.clip(0).astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values) & (values > 0), values, 0).astype(np.float32)


def _tally(values: np.ndarray, stated: float | None, collection: Collection, camera: Camera | None) -> DepthStats:
    is_ours = stated is not None
    scale = stated if is_ours else collection.reading.scale
    shares, background = dict(_shares(values)), 0.0
    if (
        collection.kind is DepthKind.METRIC
        and values.dtype.itemsize > 1
        and not (is_ours or collection.reading.keeps_background)
    ):
        values, background, shares["background"] = _without_background(values, scale)
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
        shares=shares,
        background=background,
        low=low,
        high=high,
        median=median,
        top=top,
        is_cut=top > max(TOP, HEAP * below_top) and not is_facing_wall(positive, principal_point),
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
    """The numbers with 0 where no camera measures, the highest of those, and their share."""
    if scale is None:
        middle = float(np.median(values[values > 0])) if (values > 0).any() else 0.0
        scale = 1.0 if is_plausible(middle) else 1000.0
    nothing = background_mask(values, scale)
    highest = float(values[nothing].max(initial=0))
    return (np.where(nothing, np.zeros_like(values), values) if highest else values), highest, float(nothing.mean())


def _levels(measured: Shaped[np.ndarray, " n"]) -> tuple[Shaped[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """The different numbers, from the lowest up, and how often each occurs."""
    if measured.dtype.kind == "f" or (measured.size and measured.max() > 65535):
        return np.unique(measured, return_counts=True)
    counts = np.bincount(measured)  # ten times as fast as sorting
    levels = np.flatnonzero(counts)
    return levels, counts[levels]


def _shares(values: np.ndarray) -> Mapping[str, float]:
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
    """Each view between those before and after it in its scene."""
    before: _View | None = None
    now: _View | None = None
    for after in views:
        if now:
            yield _same_place(before, now), now, _same_place(after, now)
        before, now = now, after
    if now:
        yield _same_place(before, now), now, None


def _same_place(view: _View | None, now: _View) -> _View | None:
    return view if view and view.look.place == now.look.place else None


def _compared(photographed: _View, measured: _View, *, is_shifted: bool = False) -> Surface | None:
    """The likeness of one view's photograph, as it lies in the file if only so its size fits, and another's depth."""
    if measured.depth is None:
        return None
    for edges in (photographed.image, photographed.stored):
        if edges is not None and edges.shape == measured.depth[0].shape:
            return edge_agreement(edges, *measured.depth, is_shifted=is_shifted)
    return None


def _alike(photographed: _View | None, measured: _View) -> float | None:
    surface = _compared(photographed, measured) if photographed else None
    return None if surface is None else float(surface[0, 0])


def _alike_as_stored(view: _View) -> float | None:
    if view.stored is None or view.depth is None or view.stored.shape != view.depth[0].shape:
        return None
    surface = edge_agreement(view.stored, *view.depth, is_shifted=False)
    return None if surface is None else float(surface[0, 0])
