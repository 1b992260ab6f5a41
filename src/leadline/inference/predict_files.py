"""Predict many photographs into files: a depth map and a picture in colours for each; what is done is kept."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from leadline.core.camera import fields_of_view, resize_intrinsics
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, FullDisk
from leadline.core.paths import StrPath
from leadline.core.stopwatch import Stopwatch
from leadline.core.threads import map_in_threads, usable_cores
from leadline.inference.backends import ExportedModel, Predictor, scope_words
from leadline.inference.given_camera import GivenCamera
from leadline.inference.predict_plan import Job, photograph_digest, plan
from leadline.io.atomic import clean_stale, make_folder
from leadline.io.colormaps import depth_color_scale, fit_color_scale, render
from leadline.io.depth_maps import DEPTH_SUFFIXES, DepthMap, write_depth
from leadline.io.discovery import FoundFiles, find_by_stem
from leadline.io.exif import Panorama
from leadline.io.images import Photograph, is_of_8_bits, read_photograph, write_image
from leadline.io.locks import file_lock
from leadline.io.outputs import checksum
from leadline.models.names import OUT_OF_SCOPE

if TYPE_CHECKING:
    from leadline.inference.metric_scale import ScaledDepth, Scaler
else:
    # It fits by PyTorch, which takes seconds to import.
    ScaledDepth = Scaler = Any

DepthFormat = Literal["png", "npz", "tiff", "pfm"]
"""Of depth maps: 16-bit PNG, or floats."""


@dataclass(frozen=True)
class PredictOptions:
    """State how photographs are measured, and what is written of them."""

    format: DepthFormat = "png"
    """Of the depth maps."""
    has_pictures: bool = True
    """Draw each depth map in colours, too."""
    overwrite: bool = False
    """Measure again what is measured, and replace depth of other photographs."""
    scale_from: tuple[str, ...] = ()
    """What converts predictions to metres, see `leadline.inference.metric_scale.scaler_from_options`; (): nothing."""
    depth_scale: float | None = None
    """Numbers in sparse depth maps are metres × this, where the files do not say it."""
    camera: GivenCamera = field(default_factory=GivenCamera)
    """The camera of all photographs; unset: what EXIF says of each."""
    panorama: Panorama = "refuse"
    """What is done with a photograph whose metadata calls it a panorama."""
    near: float = 0.5
    """Metres at the near end of the colours."""
    far: float = 10.0
    """Metres at the far end of the colours."""

    def check(self) -> None:
        """Refuse colours and cameras that cannot be, and depth maps that nothing would say the unit of."""
        depth_color_scale(self.near, self.far)
        if self.format == "pfm" and not self.has_pictures:
            raise BadInput(
                "A PFM file has no place for its unit, its camera and the photograph that it is of, which the picture "
                "beside it holds: leave --no-picture out, or give --format npz."
            )
        _ = self.camera.numbers

    def check_metres(self, model: Predictor) -> None:
        """Refuse a model whose output is not in metres, and is not converted to metres either."""
        if model.kind is not DepthKind.METRIC and not self.scale_from:
            from leadline.inference.metric_scale import SCALE_SOURCES

            raise BadInput(
                f"Model {model.name!r} predicts {model.kind.value} depth, not metres. Metres need {SCALE_SOURCES}."
            )

    def scaler(self, photographs: int) -> Scaler | None:
        """Return what converts the predictions of this many photographs to metres; None: nothing does.

        Raises:
            BadInput: `scale_from` cannot be used, or not for so many photographs.
        """
        if not self.scale_from:
            return None
        from leadline.inference.metric_scale import scaler_from_options

        return scaler_from_options(self.scale_from, photographs, depth_scale=self.depth_scale)

    def request(self, job: Job, weights: str) -> str:
        """Return a short hash of all that the files of a photograph depend on.

        Args:
            job: the photograph.
            weights: the model's fingerprint.
        """
        files = [Path(word) for word in self.scale_from if Path(word).is_file()]
        if len(self.scale_from) == 1 and Path(self.scale_from[0]).is_dir():
            files = find_by_stem(Path(self.scale_from[0]), job.place, DEPTH_SUFFIXES)
        given = self.camera
        camera = (given.field_of_view, given.fx, given.fy, given.cx, given.cy)
        told = (
            *(version("leadline"), weights, photograph_digest(job.source), camera, self.near, self.far),
            *(given.intrinsics and checksum(given.intrinsics), self.scale_from, list(map(checksum, files))),
            *(self.depth_scale, self.format, self.panorama),
        )
        return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()[:16]


@dataclass(frozen=True)
class PhotographResult:
    """State what was measured in a photograph, or why it was skipped."""

    about: dict[str, Any]
    """`image`, `depth` and `picture` (the files; None: there is no picture), `height`, `width`, `kind`, `camera`,
    `field_of_view`, `min`, `median` and `max`, and what else there is to say of it; or `image` and `error`."""
    was_done: bool = False
    """Whether an earlier run measured it."""

    @property
    def is_measured(self) -> bool:
        """Whether there is a depth map of it."""
        return "error" not in self.about


@dataclass(frozen=True, eq=False)
class PhotographRun:
    """Measure the photographs of one folder of outputs, which `open_run` locks."""

    model: Predictor
    options: PredictOptions
    scale: Scaler | None
    jobs: Sequence[Job]
    """The photographs to measure, and the files to write."""
    refused: Sequence[PhotographResult]
    """The photographs that nothing may be written for, and why."""
    network: AbstractContextManager[Any] = field(default_factory=Lock)
    """Held while the network computes, by as many threads as may call it at once."""
    scaling: AbstractContextManager[Any] = field(default_factory=Lock)
    """Held while depth is converted to metres."""
    for_large: AbstractContextManager[Any] = field(default_factory=Lock)
    """Held while a large photograph is measured."""

    @cached_property
    def weights(self) -> str:
        """The model's fingerprint."""
        return self.model.fingerprint

    def results(self, stopwatch: Stopwatch | None = None) -> Iterator[PhotographResult]:
        """Measure the photographs, and yield what was measured in each, in order.

        Photographs are read and written while the network computes others.
        """
        measure = partial(self._try, stopwatch=stopwatch or Stopwatch(is_on=False))
        return map_in_threads(measure, self.jobs, threads=min(len(self.jobs), usable_cores() + 1) or 1)

    def _try(self, job: Job, stopwatch: Stopwatch) -> PhotographResult:
        """Measure a photograph unless it was measured before; what cannot be is a result with an error."""
        try:
            with stopwatch.stage("look for what is done"):
                request = self.options.request(job, self.weights)
                stored = None if self.options.overwrite else job.stored(request)
            if stored:
                return PhotographResult(_about(job, *stored), was_done=True)
            # Two large photographs at once would take more memory than users were promised.
            with self.for_large if _is_large(job.source) else nullcontext():
                return PhotographResult(self._measure(job, request, stopwatch))
        except FullDisk:
            raise
        except BadInput as fault:
            return PhotographResult({"image": str(job.source), "error": str(fault)})
        except OSError as fault:
            said = fault.strerror or str(fault)
            error = f"{job.source} cannot be read ({said}): copy it from its source again, or leave it out."
            return PhotographResult({"image": str(job.source), "error": error})
        except (MemoryError, RuntimeError) as fault:
            if not _is_out_of_memory(fault):
                raise
            fix = "make it smaller, or end other programs"
            error = f"{job.source} does not fit into the memory: {fix}."
            return PhotographResult({"image": str(job.source), "error": error})

    def _measure(self, job: Job, request: str, stopwatch: Stopwatch) -> dict[str, Any]:
        """Measure a photograph and write its files; what there is to say of it."""
        model, scale, options, stage = self.model, self.scale, self.options, stopwatch.stage
        with stage("read"):
            photo = read_photograph(job.source, panorama=options.panorama)
        known = options.camera.of_photograph(photo)
        with self.network, stage("network"):
            (depth,), scores = model.measure_scored([photo.pixels], [known.numbers])
        doubts = [*known.doubts, *filter(None, [photo.note]), *_rounding(model, photo)]
        about = {
            "model": model.name,
            "trained_on": model.provenance.training_data or "nothing",
            "camera": known.source,
            **({"doubts": " ".join(doubts)} if doubts else {}),
            **scope_words(scores),
            **({} if known.numbers is not None else _assumed(model, photo)),
        }
        size = photo.size
        del photo  # hundreds of megabytes
        answer = DepthMap(depth, np.ones(depth.shape, bool), model.kind, known.numbers, about)  # pyright: ignore[reportArgumentType]
        with self.scaling:
            scaled = scale(answer, job.place, size) if scale else None
        answer = scaled.depth if scaled else answer
        del depth  # a hundred megabytes, where it was scaled
        with stage("figures"):
            figures = _figures(answer, size)
        words = {**answer.provenance, **job.marks(request), "figures": json.dumps(figures)}
        whole = answer.replace(provenance=words, intrinsics=_camera_at(answer, size))
        with stage("write depth"):
            write_depth(job.depth, whole, depth_scale=_steps(job, answer, options.format), size=size)
        if job.picture is not None:
            colours = (
                depth_color_scale(options.near, options.far)
                if answer.kind is DepthKind.METRIC
                else fit_color_scale(answer.values, answer.mask, answer.kind)  # pyright: ignore[reportArgumentType]
            )
            with stage("colours"):
                picture = render(answer.values, colours, answer.mask)  # pyright: ignore[reportArgumentType]
            with stage("write picture"):
                write_image(job.picture, picture, {**words, **job.picture_marks(), "kind": answer.kind.value})
        return {**_about(job, answer.provenance, figures), **(_said(scaled) if scaled else {})}


@contextmanager
def open_run(
    model: Predictor, found: FoundFiles, out: StrPath, options: PredictOptions, scale: Scaler | None = None
) -> Iterator[PhotographRun]:
    """Plan what is written for each photograph, and lock the folder of outputs until the block ends.

    Args:
        model: measures the photographs.
        found: the photographs with their places, which are kept in the folder.
        out: the folder to write to.
        options: how they are measured and what is written.
        scale: of `options.scaler`.

    Raises:
        BadInput: colours or a camera that cannot be, or another process writes to the folder.
    """
    options.check()
    out = Path(out)
    make_folder(out)
    with file_lock(out / ".lock", f"writing to {out}", waits=False):
        jobs, refused = plan(
            found, out, f".{options.format}", overwrite=options.overwrite, has_pictures=options.has_pictures
        )
        faults = [PhotographResult({"image": str(source), "error": fault}) for source, fault in refused]
        for folder in {job.depth.parent for job in jobs}:
            clean_stale(folder)
        several = model.for_callers() if len(jobs) >= _SEVERAL else model
        yield PhotographRun(several, options, scale, jobs, faults, network=BoundedSemaphore(several.callers))


_SEVERAL = 4
"""Photographs from which on a model is set up for several callers, which takes a tenth of a second."""
_LARGE = 4_000_000
"""Pixels of a photograph beyond which only one is measured at a time."""


def _is_large(source: Path) -> bool:
    """Return whether a photograph has more than `_LARGE` pixels, or its header does not say how many."""
    try:
        with warnings.catch_warnings(), Image.open(source) as picture:
            warnings.simplefilter("ignore")
            return picture.width * picture.height > _LARGE
    # Whatever cannot be opened so is read with care by itself, or refused there.
    except Exception:
        return True


def _rounding(model: Predictor, photo: Photograph) -> list[str]:
    """What an exported file leaves of the photograph's colours, where that is less than all."""
    if not isinstance(model, ExportedModel) or is_of_8_bits(photo.pixels):
        return []
    return [
        "Its colours are finer than 8 bits (16-bit ones, or transparent ones on white) and were rounded to 8 for this "
        "exported file; --backend torch takes all."
    ]


def _assumed(model: Predictor, photo: Photograph) -> dict[str, str]:
    """The camera that a model takes an unknown one for, if it has one."""
    focal = model.preprocessing.focal_for(*photo.shape)
    if focal is None:
        return {}
    across, _ = fields_of_view((focal, focal), photo.shape)
    return {"assumed_camera": f"{across:.0f} degrees across"}


def _camera_at(answer: DepthMap, size: tuple[int, int]) -> np.ndarray | None:
    """The camera in pixels of the same photograph at another size."""
    return None if answer.camera is None else resize_intrinsics(answer.camera, answer.shape, size)


def _steps(job: Job, answer: DepthMap, suffix: DepthFormat) -> float:
    """The steps a metre that 16 bits take: millimetres end at 65 m, KITTI's 256 steps reach 255 m.

    Raises:
        BadInput: metres that no PNG holds.
    """
    high = float(answer.values.max())
    if suffix == "png" and answer.kind is DepthKind.METRIC and high > 65_535:
        raise BadInput(f"{job.source} has depth of {high:g} m, too far for a 16-bit PNG: give --format npz.")
    return next((steps for steps in (1000.0, 256.0, 100.0, 10.0) if high * steps < 65_000), 1.0)


def _figures(answer: DepthMap, size: tuple[int, int]) -> dict[str, Any]:
    """Return the numbers that are said of a depth map, which was or will be written at `size`."""
    known = answer.values[answer.mask]
    half = (len(known) - 1) // 2
    known.partition(half)  # in place: a large photograph's depth takes a hundred megabytes
    low, middle, high = (round(float(number), 4) for number in (known.min(), known[half], known.max()))
    height, width = answer.shape
    across = None
    if answer.camera is not None:
        across = round(fields_of_view(answer.camera.tolist(), (height, width))[0], 1)
    return {
        "height": size[0],
        "width": size[1],
        "kind": answer.kind.value,
        "field_of_view": across,
        "min": low,
        "median": middle,
        "max": high,
    }


def _about(job: Job, told: Mapping[str, str], figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return what there is to say of a measured photograph."""
    return {
        "image": str(job.source),
        "depth": str(job.depth),
        "picture": None if job.picture is None else str(job.picture),
        "height": figures["height"],
        "width": figures["width"],
        "kind": figures["kind"],
        "camera": told.get("camera", "unknown"),
        "field_of_view": figures["field_of_view"],
        **({"assumed_camera": told["assumed_camera"]} if "assumed_camera" in told else {}),
        **({"doubts": told["doubts"]} if "doubts" in told else {}),
        **({OUT_OF_SCOPE: float(told[OUT_OF_SCOPE])} if OUT_OF_SCOPE in told else {}),
        **({"warning": told["warning"]} if "warning" in told else {}),
        **({"scaled_from": told["scaled_from"]} if "scaled_from" in told else {}),
        **{name: figures[name] for name in ("min", "median", "max")},
    }


def _said(scaled: ScaledDepth) -> dict[str, Any]:
    """How metres were made, for the JSON output."""
    numbers = {
        key: getattr(scaled, key) for key in ("scale", "shift", "used", "rejected", "residual", "relative_residual")
    }
    return {"scaled_from": str(scaled), **numbers}


def _is_out_of_memory(fault: BaseException) -> bool:
    """Whether Python or a backend could not get the memory that it asked for."""
    words = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate memory")
    return isinstance(fault, MemoryError) or any(each in str(fault).lower() for each in words)
