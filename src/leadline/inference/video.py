"""Depth of videos: frame by frame in constant memory, smoothed along the motion, and resumable."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from jaxtyping import UInt8

from leadline.core.camera import UNKNOWN_CAMERA, CameraOption, resize_intrinsics
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.core.ranges import AtLeastOne, Probability, check_fields
from leadline.core.stopping import StopRequest
from leadline.inference.backends import Predictor, scope_words
from leadline.inference.predict_plan import source_digest
from leadline.inference.session import as_predictor
from leadline.inference.temporal import SMOOTHING, Smoother
from leadline.io.atomic import atomic_write, clean_stale, make_folder
from leadline.io.colormaps import ColorScale, depth_color_scale, fit_color_scale, legend_strip, render
from leadline.io.depth_maps import DepthMap, write_depth
from leadline.io.outputs import PREFIX, file_sha256, read_leadline_metadata
from leadline.io.video import (
    VideoFrame,
    VideoInfo,
    VideoWriter,
    join_videos,
    read_frames,
    read_video_info,
    read_video_metadata,
)

if TYPE_CHECKING:
    from leadline.models.base import DepthModel
else:
    DepthModel = Any

VIDEO_NAME = "{stem}.depth.mp4"
"""What is written for a video of that stem; the maps of its frames go into a folder STEM."""


@dataclass(frozen=True)
class VideoConfig:
    """State how the depth of a video is predicted and written."""

    frames: Literal["none", "png", "npz"] = "none"
    """Maps of all frames beside the video: NAME/000000.png of 16 bits, or .npz; NAME/times.csv has their seconds."""
    smoothing: Probability = SMOOTHING
    """Share of what is known from the frames before, moved along the motion; 0: each frame by itself."""
    sound: bool = False
    """Keep the sound."""
    side: AtLeastOne = 640
    """Pixels of the longer side at which frames are measured, smoothed and shown; maps have the frames' own size."""


@dataclass(frozen=True)
class VideoResult:
    """State what was written for a video."""

    video: Path
    frames: int
    resumed_at: int
    """Frames that an earlier, interrupted run had finished; all of them: nothing was to do."""
    cuts: int
    outside: int | None = None
    """Frames that look outside of what the network learnt from; None: it has no scope head to tell."""

    @property
    def warning(self) -> str:
        """What is to be said of frames outside; empty if there are none."""
        if not self.outside:
            return ""
        frames = "1 frame looks" if self.outside == 1 else f"{self.outside} frames look"
        return f"{frames} outside of what this network learnt from: do not trust their depth."


def predict_video(
    model: "Predictor | DepthModel",
    path: StrPath,
    out: StrPath,
    config: VideoConfig | None = None,
    *,
    camera: CameraOption = UNKNOWN_CAMERA,
    near: float = 0.5,
    far: float = 10.0,
    overwrite: bool = False,
    on_frame: Callable[[int, int | None], None] = lambda done, total: None,
) -> VideoResult:
    """Write a video of a video's frames beside their depth in colours, on one scale from its first frame to its last.

    Memory does not grow with the length. The video is written in pieces of some seconds, and after each the state is
    stored: the same call after a kill resumes with the next piece, and ends with the same frames.

    Args:
        model: predicts each frame; it is used on the device that it is on.
        path: the video.
        out: folder for NAME.depth.mp4 and, if asked for, the maps of the frames.
        config: how; unset: the defaults.
        camera: of all frames; unset: the canonical one, as a video states none.
        near: metres at the near end of the colours.
        far: metres at the far end. Depth without unit has the range of the first frame.
        overwrite: replace the depth of another video of this name.
        on_frame: called with the frames done and how many there are, about, or None.

    Raises:
        BadInput: a file that Leadline did not write, or the depth of another video, is in the way; or an option out of
            its range.
        UnreadableFile: no video.
    """
    config = config or VideoConfig()
    check_fields(config)
    if config.smoothing == 1:
        raise BadInput("smoothing=1 would keep the first frame's depth: give less than 1.")
    path, out, model = Path(path), Path(out), as_predictor(model)
    make_folder(out)
    info = read_video_info(path)
    target = out / VIDEO_NAME.format(stem=path.stem)
    request = _request(model, path, config, camera, near, far)
    held = read_video_metadata(target) if target.is_file() else {}
    if target.exists() and not held.get(_REQUEST):
        raise BadInput(f"{target} is there, and Leadline did not write it: choose another --out, or remove it.")
    if held.get(_REQUEST) == request and not overwrite:
        count = int(held.get(PREFIX + "frames", 0))
        outside = held.get(PREFIX + "outside")
        return VideoResult(
            target, count, count, int(held.get(PREFIX + "cuts", 0)), None if outside is None else int(outside)
        )
    work = out / f".{path.stem}.video"
    origin = {_SOURCE: source_digest(path), _CONTENT: file_sha256(path)[:16]}
    if not overwrite:
        for place, marks in ((target, held), (work, _State.origin_in(work))):
            if any(key in marks for key in origin) and not any(marks.get(key) == origin[key] for key in origin):
                raise BadInput(
                    f"{place} is not of {path}: choose another --out, or --overwrite what Leadline wrote there."
                )
    job = _Job(model, config, camera, info, near, far, out / path.stem)
    state = _State.load(work, request) or _State.new(work, request, model.kind, config, origin)
    if job.maps.is_dir():
        clean_stale(job.maps)
    resumed_at = state.done
    frames = read_frames(path, state.done)
    while batch := list(islice(frames, 1)):
        _write_piece(job, state, batch[0], frames, lambda: on_frame(state.done, info.frames))
    if not state.pieces:
        raise BadInput(f"{path} has no frames.")
    pieces = [(work / name, Fraction(begin)) for name, begin, _ in state.pieces]
    marks = {**origin, _REQUEST: request, PREFIX + "frames": str(state.done), PREFIX + "cuts": str(state.smoother.cuts)}
    if state.outside is not None:
        marks[PREFIX + "outside"] = str(state.outside)
    join_videos(pieces, target, path if config.sound else None, marks)
    shutil.rmtree(work)
    return VideoResult(target, state.done, resumed_at, state.smoother.cuts, state.outside)


_REQUEST, _SOURCE, _CONTENT = PREFIX + "request", PREFIX + "source", PREFIX + "content"


_PIECE = 100
"""Frames after which the state is stored."""


@dataclass(frozen=True, eq=False)
class _Job:
    """What stays the same for all frames."""

    model: Predictor
    config: VideoConfig
    camera: CameraOption
    info: VideoInfo
    near: float
    far: float
    maps: Path

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at which frames are measured and shown."""
        height, width = self.info.size
        factor = min(1.0, self.config.side / max(height, width))
        return max(2, round(height * factor)), max(2, round(width * factor))


@dataclass(eq=False)
class _State:
    """What a later frame depends on; it is stored after each piece."""

    folder: Path
    request: str
    smoother: Smoother
    scale: ColorScale | None = None
    done: int = 0
    pieces: list[tuple[str, str, str]] | None = None
    """Name of each, the seconds at which it begins, as a fraction, and the SHA-256 of its file."""
    outside: int | None = None
    """As `VideoResult.outside`, of the frames that are done."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """Which video it is of."""

    @classmethod
    def new(
        cls, folder: Path, request: str, kind: DepthKind, config: VideoConfig, origin: Mapping[str, str]
    ) -> "_State":
        if folder.exists():
            shutil.rmtree(folder)
        make_folder(folder)
        return cls(folder, request, Smoother(kind, config.smoothing), pieces=[], origin=origin)

    @staticmethod
    def origin_in(folder: Path) -> Mapping[str, str]:
        """Return which video an interrupted run in the folder is of; nothing where that is not known."""
        try:
            return dict(json.loads((folder / "state.json").read_bytes())["origin"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    @classmethod
    def load(cls, folder: Path, request: str) -> "_State | None":
        """Load what an interrupted run of the same request stored; None: there is none."""
        try:
            about = json.loads((folder / "state.json").read_bytes())
            if about["request"] != request:
                return None
            with np.load(folder / about["arrays"]) as arrays:
                known, grey = arrays["known"], arrays["grey"]
            pieces = [(str(name), str(begin), str(content)) for name, begin, content in about["pieces"]]
            # What was damaged, exchanged or is missing is made again, with all that depends on it.
            if not all(file_sha256(folder / name) == content for name, _, content in pieces):
                return None
            clean_stale(folder)
            smoother = Smoother(DepthKind(about["kind"]), about["smoothing"], known, grey, about["cuts"])
            scale = ColorScale(**{**about["scale"], "marks": tuple(about["scale"]["marks"])})
            origin = dict(about.get("origin", {}))
            return cls(folder, request, smoother, scale, about["done"], pieces, about["outside"], origin)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self) -> None:
        assert self.scale is not None
        assert self.smoother.known is not None
        assert self.smoother.grey is not None
        arrays = f"{self.done:07}.npz"
        with atomic_write(self.folder / arrays) as half:
            np.savez(half, known=self.smoother.known, grey=self.smoother.grey)
        about = {
            "request": self.request,
            "arrays": arrays,
            "kind": self.smoother.kind.value,
            "smoothing": self.smoother.smoothing,
            "cuts": self.smoother.cuts,
            "scale": asdict(self.scale),
            "done": self.done,
            "pieces": self.pieces,
            "outside": self.outside,
            "origin": dict(self.origin),
        }
        with atomic_write(self.folder / "state.json") as half:
            half.write_text(json.dumps(about), encoding="utf-8")
        for old in self.folder.glob("*.npz"):
            if old.name != arrays:
                old.unlink()


def _write_piece(
    job: _Job, state: _State, first: VideoFrame, frames: Iterator[VideoFrame], tell: Callable[[], None]
) -> None:
    """Measure and write up to `_PIECE` frames, and store the state; so too where Ctrl-C or SIGTERM ends it early."""
    assert state.pieces is not None
    name, frame = f"{first.index:07}.mp4", first
    writer, times = None, []
    ended: BaseException | None = None
    # A frame is whole or was never begun: the smoother has taken it as soon as it is measured.
    with StopRequest() as stop:
        try:
            while True:
                depth = _measured(job, state, frame)
                picture = _shown(job, state, frame, depth)
                if writer is None:
                    writer = VideoWriter(state.folder / name, picture.shape[:2], job.info.rate).__enter__()
                _write_map(job, frame, depth)
                writer.write(picture, frame.time - first.time)
                times.append(f"{frame.index},{float(frame.time):.6f}\n")
                state.done = frame.index + 1
                try:
                    tell()
                except (KeyboardInterrupt, SystemExit) as end:
                    ended = end
                if len(times) == _PIECE or stop.signal or ended:
                    break
                following = next(frames, None)
                if following is None:
                    break
                frame = following
        except BaseException as fault:
            if writer is not None:
                writer.__exit__(type(fault), fault, fault.__traceback__)
            raise
        writer.__exit__(None, None, None)
        state.pieces.append((name, str(first.time), file_sha256(state.folder / name)))
        _note_times(job, first.index, times)
        state.save()
        if ended:
            raise ended
        if stop.signal:
            stop.end(f"{job.maps.name}: stopped after {state.done} frames, which are saved.")


def _measured(job: _Job, state: _State, frame: VideoFrame) -> DepthMap:
    """Predict the depth of a frame, smoothed, at the size of `_Job.size`."""
    size = job.size
    pixels = cv2.resize(frame.pixels, size[::-1], interpolation=cv2.INTER_AREA)
    given = job.camera.at(job.info.size)
    inside = None if given is None else np.array(resize_intrinsics(given, job.info.size, size), np.float32)
    (depth,), scores = job.model.measure_scored([pixels], [inside])
    told = scope_words(scores)
    if scores is not None:
        state.outside = (state.outside or 0) + ("warning" in told)
    values = state.smoother.next(pixels, depth[0])[None]
    valid = np.isfinite(values) if job.model.kind is DepthKind.RELATIVE else np.isfinite(values) & (values > 0)
    return DepthMap(
        values,  # pyright: ignore[reportArgumentType]
        valid,  # pyright: ignore[reportArgumentType]
        job.model.kind,
        inside,  # pyright: ignore[reportArgumentType]
        {"model": job.model.name, "second": f"{float(frame.time):.6f}", **told},
    )


def _shown(job: _Job, state: _State, frame: VideoFrame, depth: DepthMap) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a frame beside its depth, above the legend."""
    if state.scale is None:
        is_metric = depth.kind is DepthKind.METRIC
        scale = (
            depth_color_scale(job.near, job.far) if is_metric else fit_color_scale(depth.values, depth.mask, depth.kind)  # pyright: ignore[reportArgumentType]
        )
        state.scale = scale
    height, width = job.size
    strip = legend_strip(state.scale, 2 * width)
    canvas = np.full((height + len(strip), strip.shape[1], 3), 255, np.uint8)
    left = (strip.shape[1] - 2 * width) // 2
    canvas[:height, left : left + width] = cv2.resize(frame.pixels, (width, height), interpolation=cv2.INTER_AREA)
    canvas[:height, left + width : left + 2 * width] = np.asarray(
        render(depth.values, state.scale, depth.mask, legend=False)  # pyright: ignore[reportArgumentType]
    )
    canvas[height:] = strip
    return canvas


def _write_map(job: _Job, frame: VideoFrame, depth: DepthMap) -> None:
    if job.config.frames == "none":
        return
    path = job.maps / f"{frame.index:06}.{job.config.frames}"
    if path.exists() and not read_leadline_metadata(path):
        raise BadInput(f"{path} is there, and Leadline did not write it: choose another --out, or remove it.")
    whole = depth
    if depth.camera is not None:
        camera = resize_intrinsics(depth.camera, depth.shape, job.info.size)
        whole = depth.replace(intrinsics=camera)
    write_depth(path, whole, size=job.info.size)


def _note_times(job: _Job, first: int, lines: list[str]) -> None:
    """Write the seconds of all frames up to now beside their maps."""
    if job.config.frames == "none":
        return
    path = job.maps / "times.csv"
    before = path.read_text(encoding="utf-8").splitlines(keepends=True)[: first + 1] if first and path.is_file() else []
    with atomic_write(path) as half:
        half.write_text("".join([*(before or ["frame,seconds\n"]), *lines]), encoding="utf-8")


def _request(model: Predictor, path: Path, config: VideoConfig, camera: CameraOption, near: float, far: float) -> str:
    """Return all that the video depends on, as one short word."""
    told = (version("leadline"), model.fingerprint, file_sha256(path), config, camera, near, far)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
