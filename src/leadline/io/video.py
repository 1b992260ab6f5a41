"""Videos: frames read upright one at a time with their times, and written at the times they were taken."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jaxtyping import UInt8

from leadline.core.errors import BadInput, UnreadableFile, first_line
from leadline.core.paths import StrPath
from leadline.io.atomic import atomic_write
from leadline.io.images import MAX_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = frozenset({".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})
"""What counts as a video; `read_frames` itself goes by the content."""

Frame = UInt8[np.ndarray, "H W 3"]
"""RGB, upright."""


@dataclass(frozen=True)
class VideoInfo:
    """State what a video says of itself."""

    size: tuple[int, int]
    """Height and width of the upright frames."""
    frames: int | None
    """How many there are, about, where the file says it or its duration does."""
    rate: float
    """Mean frames per second."""
    has_sound: bool


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """Hold one frame."""

    pixels: Frame
    index: int
    time: Fraction
    """Seconds since the first frame."""


def read_video_info(path: StrPath) -> VideoInfo:
    """Read a video's size, length and rate; its first frame is decoded, which holds the rotation.

    Raises:
        UnreadableFile: no video, or the extra is not installed.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        first = next(iter(container.decode(stream)), None)
        if first is None:
            raise UnreadableFile(f"{path} has no frame that can be decoded.")
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        seconds = stream.duration * stream.time_base if stream.duration and stream.time_base else None
        if seconds is None and container.duration:
            seconds = Fraction(container.duration, 1_000_000)
        count = stream.frames or (round(float(seconds) * rate) if seconds else None)
        turned = (first.width, first.height) if round(first.rotation) % 180 else (first.height, first.width)
        return VideoInfo(turned, count, rate, bool(container.streams.audio))


def read_frames(path: StrPath, start: int = 0) -> Iterator[VideoFrame]:
    """Yield the frames of a video from the `start`-th on, upright, one in memory at a time.

    Frames that a damaged file has lost are left out; what follows keeps its time.

    Raises:
        UnreadableFile: no video, or damaged so that nothing follows; the extra is not installed; frames too large.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        if stream.width * stream.height > MAX_PIXELS:
            size = f"{stream.width} × {stream.height}"
            raise UnreadableFile(f"{path} has frames of {size}, more than {MAX_PIXELS:,} pixels: make it smaller.")
        began: Fraction | None = None
        latest = Fraction(-1)
        for index, frame in enumerate(container.decode(stream)):
            time = frame.pts * Fraction(frame.time_base or 1) if frame.pts is not None else None
            if began is None:
                began = time or Fraction(0)
            elapsed = time - began if time is not None else latest + 1 / Fraction(stream.average_rate or 25)
            if elapsed <= latest:  # times that stand still or go back cannot be written
                elapsed = latest + Fraction(1, 1000)
            latest = elapsed
            if index >= start:
                pixels = frame.to_ndarray(format="rgb24")
                yield VideoFrame(np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90))), index, elapsed)


class VideoWriter:
    """Write frames as H.264 in an MP4 file that takes its name once it is whole; a context manager.

    Args:
        path: the file.
        size: height and width of the frames; an odd side loses its last row or column.
        rate: mean frames per second, which only the encoder's quality control looks at.
    """

    def __init__(self, path: StrPath, size: tuple[int, int], rate: float) -> None:
        self.path, self.rate = Path(path), rate
        self.height, self.width = size[0] // 2 * 2, size[1] // 2 * 2
        if not self.height or not self.width:
            raise BadInput(f"{path}: a video needs frames of at least 2 × 2 pixels, not {size[1]} × {size[0]}.")
        self.count = 0

    def __enter__(self) -> "VideoWriter":
        import av

        self._whole = atomic_write(self.path)
        self.container: OutputContainer = av.open(str(self._whole.__enter__()), "w", format="mp4")
        # No B-frames: pieces can then be joined by their times. The times themselves are in 1/90000 s.
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        options = {"crf": "20", "preset": "veryfast", "bf": "0"} if codec == "libx264" else {"bf": "0", "q": "4"}
        rate = Fraction(self.rate).limit_denominator(1001) if math.isfinite(self.rate) and self.rate > 0 else 25
        self.stream: Any = self.container.add_stream(codec, rate=rate, options=options)
        self.stream.width, self.stream.height, self.stream.pix_fmt = self.width, self.height, "yuv420p"
        self.stream.codec_context.time_base = _TICK
        return self

    def write(self, pixels: Frame, time: Fraction) -> None:
        """Add a frame.

        Args:
            pixels: RGB of the writer's size.
            time: seconds since the first frame; later than that of the frame before.
        """
        import av

        frame: Any = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[: self.height, : self.width]), "rgb24")
        frame.pts, frame.time_base = round(time / _TICK), _TICK
        self.count += 1
        for packet in self.stream.encode(frame):
            self.container.mux(packet)

    def __exit__(self, kind: Any, problem: Any, trace: Any) -> None:
        try:
            if kind is None:
                for packet in self.stream.encode(None):
                    self.container.mux(packet)
        finally:
            self.container.close()
            self._whole.__exit__(kind, problem, trace)


def record_camera(source: int | str, path: StrPath, seconds: float) -> int:
    """Record what a camera of this machine sees as a video, each frame at the time at which it came.

    Ctrl-C ends the recording, which is kept.

    Args:
        source: the camera's number, from 0; or what else OpenCV opens, as an address.
        path: the MP4 file to write.
        seconds: how long, at most.

    Returns:
        How many frames it has.

    Raises:
        BadInput: no such camera, another program uses it, or it shows nothing.
    """
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # OpenCV prints what each driver says
    capture = cv2.VideoCapture(source)
    cv2.utils.logging.setLogLevel(level)
    try:
        is_read, pixels = capture.read()
        if not is_read:
            raise BadInput(f"Camera {source} shows nothing: is it there, and does no other program use it?")
        began, latest = monotonic(), Fraction(-1)
        with VideoWriter(path, pixels.shape[:2], capture.get(cv2.CAP_PROP_FPS)) as writer, suppress(KeyboardInterrupt):
            while is_read and latest < seconds:
                time = max(Fraction(monotonic() - began).limit_denominator(90_000), latest + Fraction(1, 1000))
                writer.write(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), time)
                latest = time
                is_read, pixels = capture.read()
        return writer.count
    finally:
        capture.release()


def join_videos(
    pieces: Sequence[tuple[StrPath, Fraction]], path: StrPath, sound_of: StrPath | None, metadata: dict[str, str]
) -> None:
    """Join pieces of `VideoWriter` to one file without encoding them again.

    Args:
        pieces: each with the seconds at which it begins.
        path: the MP4 file to write.
        sound_of: a video whose sound is added as it is; None: none.
        metadata: key → text that the file says of itself.

    Raises:
        BadInput: the sound is of a sort that MP4 cannot hold.
    """
    import av
    from av.error import FFmpegError

    with atomic_write(Path(path)) as half, av.open(str(half), "w", format="mp4", options=_KEEP_METADATA) as out:
        out.metadata.update(metadata)
        with av.open(str(pieces[0][0])) as first:
            stream: Any = out.add_stream_from_template(first.streams.video[0])
        sound = av.open(str(sound_of)) if sound_of is not None else None
        try:
            tones: Iterator[Any] = iter(())
            if sound is not None and sound.streams.audio:
                try:
                    track: Any = out.add_stream_from_template(sound.streams.audio[0])
                except (ValueError, FFmpegError) as problem:
                    raise BadInput(f"The sound of {sound_of} cannot be kept in MP4: leave --sound out.") from problem
                tones = _sound(sound, track)
            tone = next(tones, None)
            for piece, offset in pieces:
                with av.open(str(piece)) as container:
                    for packet in container.demux(container.streams.video[0]):
                        if packet.pts is None:
                            continue
                        base = Fraction(packet.time_base)
                        packet.pts = packet.dts = round((packet.pts * base + offset) / _TICK)
                        packet.time_base, packet.stream = _TICK, stream
                        while tone is not None and tone[0] <= packet.pts * _TICK:
                            out.mux(tone[1])
                            tone = next(tones, None)
                        out.mux(packet)
        finally:
            if sound is not None:
                sound.close()


def is_video(path: StrPath) -> bool:
    """Tell whether a file's name is that of a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES and Path(path).is_file()


def read_video_metadata(path: StrPath) -> dict[str, str]:
    """Return what a video says of itself, key → text; empty where it cannot be read."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            return {str(key): str(text) for key, text in container.metadata.items()}
    except (FFmpegError, OSError, ValueError):
        return {}


_TICK = Fraction(1, 90_000)
"""Seconds that times are counted in: 24, 25, 30 and 60 frames per second, and 30000/1001, are whole numbers of it."""


_KEEP_METADATA = {"movflags": "use_metadata_tags"}


def _sound(container: Any, track: Any) -> Iterator[tuple[Fraction, Any]]:
    """Yield packets of sound with their times; they begin when the picture does."""
    began = container.streams.video[0].start_time or 0
    origin = began * (container.streams.video[0].time_base or Fraction(0))
    for packet in container.demux(container.streams.audio[0]):
        if packet.pts is None or packet.dts is None:
            continue
        base = Fraction(packet.time_base)
        time = packet.pts * base - origin
        if time < 0:
            continue
        shift = round(origin / base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = track
        yield time, packet


@contextmanager
def _opened(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    try:
        import av
        from av.error import FFmpegError
    except ImportError as problem:
        raise UnreadableFile(f"{path} needs the library PyAV: pip install 'leadline[video]'.") from problem
    if not path.is_file():
        raise UnreadableFile(f"No file {path}.")
    if not path.stat().st_size:
        raise UnreadableFile(f"{path} is empty.")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                held = ", ".join(filter(None, (stream.type for stream in container.streams)))
                raise UnreadableFile(
                    f"{path} has no picture in it, only {held or 'what cannot be told'}: is it a video, and whole?"
                )
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except (FFmpegError, OverflowError) as problem:
        raise UnreadableFile(f"{path} cannot be read as a video ({_reason(problem)}): is it whole?") from problem


def _reason(problem: BaseException) -> str:
    """Return what a library says of a file, without the number of the error and the file's name."""
    return str(getattr(problem, "strerror", None) or first_line(problem))
