"""`leadline predict`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import tyro

from leadline.cli.predict_video import print_videos
from leadline.core.camera import CameraOption
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.progress import print_line, track
from leadline.core.ranges import Within, check_fields
from leadline.core.stopwatch import Stopwatch
from leadline.core.terminal import print_json
from leadline.inference.backends import Predictor
from leadline.inference.given_camera import GivenCamera
from leadline.inference.predict_files import DepthFormat, PhotographRun, PredictOptions, open_run
from leadline.inference.predict_videos import split_videos
from leadline.inference.session import Backend, load_predictor
from leadline.inference.video import VideoConfig
from leadline.io.atomic import make_folder
from leadline.io.discovery import find_images
from leadline.io.exif import Panorama
from leadline.io.intrinsics import read_intrinsics
from leadline.io.video import record_camera
from leadline.models.names import DEFAULT


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
    format: DepthFormat = "png"
    """Of the depth maps: 16-bit PNG, or floats."""
    picture: bool = True
    """Draw each depth map in colours, too: a picture to look at, which takes a third of the time of a small model."""
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
    camera: Annotated[int | None, Within(0, 99)] = None
    """Instead of files: record this webcam (0 is the first one) to OUT/camera-DATE-TIME.mp4, and measure that."""
    seconds: Annotated[float, Within(0, 3600, above=True)] = 10.0
    """How long --camera records; Ctrl-C ends it before."""
    video: VideoConfig = field(default_factory=VideoConfig)
    """How videos are predicted: NAME.depth.mp4 for each, on one scale of colours from its first frame to its last."""

    def run(self) -> int:
        check_fields(self)
        if self.depth_scale is not None and not self.scale_from:
            raise BadInput("--depth-scale is of the sparse depth maps that --scale-from names: leave it out.")
        if not self.images and self.camera is None:
            raise BadInput("No photograph is given: name files, folders or patterns; --help shows the options.")
        options = self._options()
        options.check()
        if self.camera is not None and self.images:
            raise BadInput("Give either --camera or files.")
        model = load_predictor(self.model, self.device, self.as_name, self.backend)
        if self.metres:
            options.check_metres(model)
        if self.camera is not None:
            return self._predict_videos(model, (str(self._recorded(self.camera)),))
        videos, photographs = split_videos(self.images)
        if videos and not photographs and (self.format != "png" or not self.picture):
            raise BadInput("--format and --no-picture are for photographs: --video.frames writes maps of a video.")
        with _terminable():
            code = self._predict_videos(model, videos) if videos else 0
        if videos and not photographs:
            return code
        found = find_images(photographs)
        scale = options.scaler(len(found.files))
        for fault in found.faults:
            self._say({"error": fault})
        with _terminable(), open_run(model, found, self.out, options, scale) as run:
            measured, before = self._measure_all(run)
        if not self.json:
            everything = len(found.files) + len(found.faults)
            known = f" ({before} of them before)" if before else ""
            print(
                f"{measured} of {everything} images measured{known}, {everything - measured} skipped. See {self.out}."
            )
            if found.left_out:
                print(f"Left out: {found.describe_left_out()}.")
        return 1 if measured < len(found.files) or found.faults or code else 0

    def _options(self) -> PredictOptions:
        camera = GivenCamera(self.field_of_view, self.fx, self.fy, self.cx, self.cy, self.intrinsics)
        return PredictOptions(
            format=self.format,
            has_pictures=self.picture,
            overwrite=self.overwrite,
            scale_from=self.scale_from,
            depth_scale=self.depth_scale,
            camera=camera,
            panorama=self.panorama,
            near=self.near,
            far=self.far,
        )

    def _predict_videos(self, model: Predictor, videos: tuple[str, ...]) -> int:
        if self.scale_from or self.fx is not None or self.metres:
            raise BadInput("--scale-from, --fx and --metres are for photographs: leave them out for videos.")
        camera = CameraOption(self.field_of_view, None if self.intrinsics is None else read_intrinsics(self.intrinsics))
        options = {"config": self.video, "camera": camera, "near": self.near, "far": self.far}
        options["overwrite"] = self.overwrite
        return print_videos(model, videos, self.out, is_json=self.json, **options)

    def _recorded(self, camera: int) -> Path:
        make_folder(self.out)
        path = self.out / f"camera-{datetime.now():%Y%m%d-%H%M%S}.mp4"
        print_line(f"Recording camera {camera} for {self.seconds:g} seconds; Ctrl-C ends it.")
        frames = record_camera(camera, path, self.seconds)
        print_line(f"{frames} frames are in {path}.")
        return path

    def _measure_all(self, run: PhotographRun) -> tuple[int, int]:
        """How many photographs are measured, and how many of them were before."""
        for refusal in run.refused:
            self._say(refusal.about)
        measured = before = 0
        stopwatch = Stopwatch(is_on=self.profile)
        results, total = run.results(stopwatch), len(run.jobs)
        for result in results if self.json or total < 2 else track(results, total, "images"):
            measured += result.is_measured
            before += result.was_done
            self._say(result.about)
        if self.profile:
            print_line(stopwatch.table())
        return measured, before

    def _say(self, about: dict[str, Any]) -> None:
        if self.json:
            print_json(about)
        elif "error" in about:
            is_named = about.get("image", "") in about["error"]
            print_line(f"skipped: {'' if is_named else about['image'] + ': '}{about['error']}")
        else:
            print_line(_line(about))


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
    warning = f" {about['warning']}" if "warning" in about else ""
    return f"{about['image']}: {scaled}{depth}; {camera}.{doubts}{warning}"


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
