"""`leadline predict`."""

import hashlib
import json
import math
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro
from PIL import Image

from leadline.cli.predict_plan import Job, photograph_digest, plan
from leadline.cli.predict_video import VideoRequest, predict_videos, split_videos
from leadline.core.camera import (
    centered_camera,
    explain_impossible_camera,
    explain_unlikely_camera,
    fields_of_view,
    focal_length,
    resize_intrinsics,
)
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.progress import print_line, track
from leadline.core.stopwatch import Stopwatch
from leadline.core.threads import map_in_threads, usable_cores
from leadline.inference.backends import Predictor
from leadline.inference.session import Backend, load_predictor
from leadline.inference.video import VideoConfig
from leadline.io.atomic import clean_stale, make_folder
from leadline.io.colormaps import depth_color_scale, fit_color_scale, render
from leadline.io.depth_maps import DEPTH_SUFFIXES, DepthMap, read_depth, write_depth
from leadline.io.discovery import find_by_stem, find_images
from leadline.io.exif import CameraInfo, Panorama
from leadline.io.images import Photograph, read_photograph, write_image
from leadline.io.intrinsics import read_intrinsics
from leadline.io.locks import file_lock
from leadline.io.outputs import checksum, read_leadline_metadata
from leadline.models.names import DEFAULT

if TYPE_CHECKING:
    from leadline.inference.metric_scale import ScaledDepth, Scaler
else:
    # It fits by PyTorch, which takes seconds to import.
    ScaledDepth = Scaler = Any


@dataclass(frozen=True)
class PredictCommand:
    """Measure the depth of photographs of any size: a depth map and a colour picture for each.

    A 16-bit PNG holds millimetres along the optical axis (of what is far, fewer steps a metre), and says so in its own
    text; the picture's colours mean the same metres in every picture. What cannot be read is skipped and named, and
    the exit code is then 1. The same command again resumes, and measures only what is new or changed.
    """

    images: tyro.conf.Positional[tuple[str, ...]]
    """Files, folders (with all below them) or patterns like 'holiday/*.jpg'; ** stands for any number of folders."""
    model: Annotated[str, tyro.conf.arg(aliases=["--weights"])] = DEFAULT
    """Folder of a saved model, an official checkpoint file, the name of a published model, a file of `leadline export`,
    or hub:USER/NAME; unset: the small one that comes with the package."""
    as_name: Annotated[str | None, tyro.conf.arg(name="as")] = None
    """The model that a checkpoint file is, where neither its keys nor its name tell: dpt_hybrid, dpt_hybrid_nyu …"""
    out: Path = Path("depth")
    """Folder for NAME.png and NAME.colour.png; folders below a given folder are kept."""
    format: Literal["png", "npz", "tiff", "pfm"] = "png"
    """Of the depth maps: 16-bit PNG, or floats."""
    overwrite: bool = False
    """Measure again what is measured, and replace depth of other photographs; files of your own are never replaced."""
    metres: bool = False
    """Refuse a model whose output is not in metres, unless --scale-from converts it to metres."""
    scale_from: tuple[str, ...] = ()
    """Converts any prediction to metres: measured points X,Y,METRES … (pixels from the top left, metres along the
    optical axis), a sparse depth map of the photograph's size, a folder of them named as the photographs, or a camera's
    height as floor:1.45,field_of_view=60 with options pitch=DEGREES down (for relative depth) and box=X0:Y0:X1:Y1 of
    the floor."""
    depth_scale: float | None = None
    """Numbers in sparse depth maps are metres × this, where the files do not say it: 1000 for millimetres."""
    field_of_view: float | None = None
    """Degrees from the left edge of the photographs to the right one; unset: as their EXIF says, where it does.
    A zoomed picture looks nearer than it is: a model with a canonical camera measures better with it."""
    fx: float | None = None
    """Focal length in pixels of the photographs, instead of --field-of-view."""
    fy: float | None = None
    """The same along the columns; unset: as --fx."""
    cx: float | None = None
    """Column of the principal point in pixels, 0 in the middle of the first; unset: the middle of the photograph."""
    cy: float | None = None
    """Row of the principal point."""
    intrinsics: Path | None = None
    """File of fx, fy, cx and cy, or of a 3 × 3 matrix, in pixels of the photographs: text, JSON, NPY or NPZ."""
    panorama: Panorama = "refuse"
    """What is done with a photograph whose metadata calls it a panorama: refuse it, or measure it as if it were flat,
    whose depth is wrong away from the middle."""
    near: float = 0.5
    """Metres at the near end of the colours."""
    far: float = 10.0
    """Metres at the far end of the colours."""
    json: bool = False
    """Print one JSON object a line for each image, and nothing else, to standard output."""
    backend: Backend = "auto"
    """What runs the model: torch or compile for a model of PyTorch, onnx or openvino for an exported file, auto: the
    fastest that is installed. The package's own model comes as both, and auto is onnx. Exported files see 8 bits a
    channel."""
    profile: bool = False
    """Print how long reading, the network, and writing take in all, and which takes longest."""
    device: str = "auto"
    """cpu, cuda, mps, or auto: for a model of PyTorch a GPU if there is one, for exported files the CPU."""
    video: VideoConfig = field(default_factory=VideoConfig)
    """How videos are predicted: NAME.depth.mp4 for each, on one scale of colours from its first frame to its last."""

    def run(self) -> int:
        depth_color_scale(self.near, self.far)
        camera = self._camera_options()
        model = load_predictor(self.model, self.device, self.as_name, self.backend)
        if self.metres and model.kind is not DepthKind.METRIC and not self.scale_from:
            from leadline.inference.metric_scale import SCALE_SOURCES

            raise BadInput(
                f"Model {model.name!r} answers {model.kind.value} depth, not metres. Metres need {SCALE_SOURCES}."
            )
        videos, photographs = split_videos(self.images)
        with _terminable():
            code = predict_videos(model, videos, self._video_request()) if videos else 0
        if videos and not photographs:
            return code
        found = find_images(photographs)
        scale = self._scaler(len(found.files))
        for fault in found.faults:
            self._say({"error": fault})
        make_folder(self.out)
        with _terminable(), file_lock(self.out / ".lock", f"writing to {self.out}", waits=False):
            jobs, refused = plan(found.files, self.out, f".{self.format}", overwrite=self.overwrite)
            for source, fault in refused:
                self._say({"image": str(source), "error": fault})
            for folder in {job.depth.parent for job in jobs}:
                clean_stale(folder)
            measured, before = self._measure_all(jobs, model, camera, scale)
        if not self.json:
            everything = len(found.files) + len(found.faults)
            known = f" ({before} of them before)" if before else ""
            print(
                f"{measured} of {everything} images measured{known}, {everything - measured} skipped. See {self.out}."
            )
            if found.left_out:
                print(f"Left out: {found.describe_left_out()}.")
        return 1 if measured < len(found.files) or found.faults or code else 0

    def _scaler(self, photographs: int) -> Scaler | None:
        if not self.scale_from:
            return None
        from leadline.inference.metric_scale import scaler_from_options

        return scaler_from_options(self.scale_from, photographs, depth_scale=self.depth_scale)

    def _camera_options(self) -> tuple[float | None, ...] | None:
        """fx, fy, cx and cy as far as they are given; None: none of them.

        Raises:
            BadInput: cameras that cannot be, or given in two ways.
        """
        if self.field_of_view is not None and not 0 < self.field_of_view < 180:
            raise BadInput(f"--field-of-view {self.field_of_view:g}: give the degrees between the edges, 0 to 180.")
        numbers = (self.fx, self.fy, self.cx, self.cy)
        is_numbers = any(number is not None for number in numbers)
        if is_numbers + (self.field_of_view is not None) + (self.intrinsics is not None) > 1:
            raise BadInput("Give the camera by one of --field-of-view, --fx … and --intrinsics.")
        if self.intrinsics is not None:
            return read_intrinsics(self.intrinsics)
        if not is_numbers:
            return None
        if self.fx is None:
            raise BadInput("--fy, --cx and --cy need --fx, the focal length in pixels.")
        for name, number in zip(("fx", "fy"), numbers, strict=False):
            if number is not None and not 0 < number < math.inf:
                raise BadInput(f"--{name} {number:g}: give the focal length in pixels, a positive number.")
        return numbers

    def _video_request(self) -> VideoRequest:
        if self.scale_from or self.fx is not None or self.metres:
            raise BadInput("--scale-from, --fx and --metres are for photographs: leave them out for videos.")
        return VideoRequest(
            self.out, self.video, self.field_of_view, self.intrinsics, self.near, self.far, is_json=self.json
        )

    def _measure_all(
        self, jobs: list[Job], model: Predictor, camera: tuple[float | None, ...] | None, scale: Scaler | None
    ) -> tuple[int, int]:
        """How many photographs are measured, and how many of them were before."""
        work = _Work(model, camera, scale, Stopwatch(is_on=self.profile))
        measured = before = 0
        # One photograph is read and another written while the network computes.
        answers = map_in_threads(partial(self._try, work=work), jobs, threads=min(len(jobs), usable_cores() + 1) or 1)
        for about, was_there in answers if self.json or len(jobs) < 2 else track(answers, len(jobs), "images"):
            measured += "error" not in about
            before += was_there
            self._say(about)
        if self.profile:
            print_line(work.stopwatch.table())
        return measured, before

    def _try(self, job: Job, work: "_Work") -> tuple[dict[str, Any], bool]:
        """Measure a photograph; what there is to say of it, or its error, and whether it was measured before."""
        try:
            with work.stopwatch.stage("look for what is done"):
                request = self._request(job, work.weights)
                stored = None if self.overwrite else _stored(job, request)
            if stored:
                return self._about(job, *stored), True
            # Two large photographs at once would take more memory than users were promised.
            with work.for_large if _is_large(job.source) else nullcontext():
                return self._measure(job, request, work), False
        except BadInput as fault:
            return {"image": str(job.source), "error": str(fault)}, False
        except (MemoryError, RuntimeError) as fault:
            if not _is_out_of_memory(fault):
                raise
            fix = "make it smaller, or end other programs"
            return {"image": str(job.source), "error": f"{job.source} does not fit into the memory: {fix}."}, False

    def _request(self, job: Job, weights: str) -> str:
        """All that the two files depend on, as one short word."""
        files = [Path(word) for word in self.scale_from if Path(word).is_file()]
        if len(self.scale_from) == 1 and Path(self.scale_from[0]).is_dir():
            files = find_by_stem(Path(self.scale_from[0]), job.place, DEPTH_SUFFIXES)
        camera = (self.field_of_view, self.fx, self.fy, self.cx, self.cy)
        told = (
            *(version("leadline"), weights, photograph_digest(job.source), camera, self.near, self.far),
            *(self.intrinsics and checksum(self.intrinsics), self.scale_from, list(map(checksum, files))),
            *(self.depth_scale, self.format, self.panorama),
        )
        return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def _measure(
        self,
        job: Job,
        request: str,
        work: "_Work",
    ) -> dict[str, Any]:
        """Measure a photograph and write both files; what there is to say of it."""
        model, scale, stage = work.model, work.scale, work.stopwatch.stage
        with stage("read"):
            photo = read_photograph(job.source, panorama=self.panorama)
        known = self._camera(photo, work.camera)
        # The network takes all cores: two at once would only get into each other's way.
        with work.network, stage("network"):
            depth = model.measure([photo.pixels], [known.numbers])[0]
        about = {
            "model": model.name,
            "trained_on": model.provenance.training_data or "nothing",
            "camera": known.source,
            **({"doubts": " ".join(known.doubts)} if known.doubts else {}),
            **({} if known.numbers is not None else _assumed(model, photo)),
        }
        size = photo.size
        del photo  # hundreds of megabytes
        answer = DepthMap(depth, np.ones(depth.shape, bool), model.kind, known.numbers, about)
        with work.network:
            scaled = scale(answer, job.place, size) if scale else None
        answer = scaled.depth if scaled else answer
        del depth  # a hundred megabytes, where it was scaled
        marks = job.marks(request)
        words = {**answer.provenance, **marks}
        whole = answer.replace(provenance=words, intrinsics=_camera_at(answer, size))
        with stage("write depth"):
            write_depth(job.depth, whole, depth_scale=self._steps(job, answer), size=size)
        colours = (
            depth_color_scale(self.near, self.far)
            if answer.kind is DepthKind.METRIC
            else fit_color_scale(answer.values, answer.mask, answer.kind)
        )
        with stage("figures and colours"):
            figures = _figures(answer, size)
            picture = render(answer.values, colours, answer.mask)
        marks = {**job.picture_marks, "kind": answer.kind.value, "figures": json.dumps(figures)}
        with stage("write picture"):
            write_image(job.picture, picture, {**words, **marks})
        return {**self._about(job, answer.provenance, figures), **(_said(scaled) if scaled else {})}

    def _camera(self, photo: Photograph, given: tuple[float | None, ...] | None) -> CameraInfo:
        """The camera in pixels of the image as it was read, and where it comes from.

        Raises:
            BadInput: a given one that cannot have taken this photograph.
        """
        if self.field_of_view is not None:
            focal = focal_length(self.field_of_view, photo.shape[1])
            return photo.camera.given(np.array(centered_camera(focal, photo.shape), np.float32))
        if given is None:
            return photo.camera
        fx, fy, cx, cy = given
        assert fx is not None
        whole = (
            *(fx, fx if fy is None else fy),
            *((photo.size[1] - 1) / 2 if cx is None else cx, (photo.size[0] - 1) / 2 if cy is None else cy),
        )
        if fault := explain_impossible_camera(whole, photo.size):
            raise BadInput(f"{fault[0].upper()}{fault[1:]}.")
        doubt = explain_unlikely_camera(whole, photo.size)
        inside = resize_intrinsics(np.array(whole, np.float32), photo.size, photo.shape)
        return photo.camera.given(inside, (f"{doubt[0].upper()}{doubt[1:]}.",) if doubt else ())

    def _steps(self, job: Job, answer: DepthMap) -> float:
        """The steps a metre that 16 bits take: millimetres end at 65 m, KITTI's 256 steps reach 255 m.

        Raises:
            BadInput: metres that no PNG holds.
        """
        high = float(answer.values.max())
        if self.format == "png" and answer.kind is DepthKind.METRIC and high > 65_535:
            raise BadInput(f"{job.source} has depth of {high:g} m, too far for a 16-bit PNG: give --format npz.")
        return next((steps for steps in (1000.0, 256.0, 100.0, 10.0) if high * steps < 65_000), 1.0)

    def _about(self, job: Job, told: Mapping[str, str], figures: Mapping[str, Any]) -> dict[str, Any]:
        """Return what there is to say of a measured photograph."""
        return {
            "image": str(job.source),
            "depth": str(job.depth),
            "picture": str(job.picture),
            "height": figures["height"],
            "width": figures["width"],
            "kind": figures["kind"],
            "camera": told.get("camera", "unknown"),
            "field_of_view": figures["field_of_view"],
            **({"assumed_camera": told["assumed_camera"]} if "assumed_camera" in told else {}),
            **({"doubts": told["doubts"]} if "doubts" in told else {}),
            **({"scaled_from": told["scaled_from"]} if "scaled_from" in told else {}),
            **{name: figures[name] for name in ("min", "median", "max")},
        }

    def _say(self, about: dict[str, Any]) -> None:
        if self.json:
            print(json.dumps(about, ensure_ascii=False), flush=True)
        elif "error" in about:
            is_named = about.get("image", "") in about["error"]
            print_line(f"skipped: {'' if is_named else about['image'] + ': '}{about['error']}")
        else:
            print_line(_line(about))


@dataclass(frozen=True, eq=False)
class _Work:
    """Hold what all photographs of one command share."""

    model: Predictor
    camera: tuple[float | None, ...] | None
    scale: Scaler | None
    stopwatch: Stopwatch
    network: AbstractContextManager[Any] = field(default_factory=Lock)
    """Held while the network computes."""
    for_large: AbstractContextManager[Any] = field(default_factory=Lock)
    """Held while a large photograph is measured."""

    @cached_property
    def weights(self) -> str:
        """The model's fingerprint."""
        return self.model.fingerprint


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


def _line(about: dict[str, Any]) -> str:
    """What was measured in one photograph, in a line of text."""
    depth = (
        f"{about['min']:.2f} to {about['max']:.2f} m, median {about['median']:.2f} m"
        if about["kind"] == DepthKind.METRIC
        else f"{about['kind']} depth, which has no unit"
    )
    camera = f"camera {about['camera']}"
    if about["field_of_view"] is not None:
        camera += f", {about['field_of_view']:.1f} degrees across"
    if "assumed_camera" in about:
        camera += f", taken for one of {about['assumed_camera']}"
    scaled = f"scaled from {about['scaled_from']}: " if "scaled_from" in about else ""
    doubts = f" {about['doubts']}" if "doubts" in about else ""
    return f"{about['image']}: {scaled}{depth}; {camera}.{doubts}"


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


def _stored(job: Job, request: str) -> tuple[dict[str, str], dict[str, Any]] | None:
    """Return the words and the numbers of what the same request measured before; None: nothing, or it is damaged.

    They lie in the picture's text: to read a large depth map back would take more memory than to measure it.
    """
    if not job.is_done(request):
        return None
    words = read_leadline_metadata(job.picture)
    if not _is_whole(job.depth, words.get("kind")):
        return None
    try:
        return words, json.loads(words["figures"])
    except (KeyError, ValueError):
        return None


def _is_whole(depth: Path, kind: str | None) -> bool:
    """Return whether a file of ours can be read; a PNG by its checksums, without its numbers."""
    try:
        if depth.suffix.lower() != ".png":
            read_depth(depth, kind=kind)
        else:
            with warnings.catch_warnings(), Image.open(depth) as picture:
                warnings.simplefilter("ignore")
                picture.verify()
    except (BadInput, OSError, SyntaxError, ValueError):
        return False
    return True


def _camera_at(answer: DepthMap, size: tuple[int, int]) -> np.ndarray | None:
    """The camera in pixels of the same photograph at another size."""
    return None if answer.camera is None else resize_intrinsics(answer.camera, answer.shape, size)


def _assumed(model: Predictor, photo: Photograph) -> dict[str, str]:
    """The camera that a model takes an unknown one for, if it has one."""
    focal = model.preprocessing.focal_for(*photo.shape)
    if focal is None:
        return {}
    across, _ = fields_of_view((focal, focal), photo.shape)
    return {"assumed_camera": f"{across:.0f} degrees across"}


def _is_out_of_memory(fault: BaseException) -> bool:
    """Whether Python or a backend could not get the memory that it asked for."""
    words = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate memory")
    return isinstance(fault, MemoryError) or any(each in str(fault).lower() for each in words)


def _said(scaled: ScaledDepth) -> dict[str, Any]:
    """How metres were made, for the JSON output."""
    numbers = {
        key: getattr(scaled, key) for key in ("scale", "shift", "used", "rejected", "residual", "relative_residual")
    }
    return {"scaled_from": str(scaled), **numbers}


@contextmanager
def _terminable() -> Iterator[None]:
    """Make of SIGTERM an exit like any other, which leaves no half-written file."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # signals belong to the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
