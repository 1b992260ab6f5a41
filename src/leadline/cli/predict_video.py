"""What `leadline predict` does with videos."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leadline.core.camera import CameraOption
from leadline.core.errors import BadInput
from leadline.core.progress import ProgressBar, print_line
from leadline.inference.backends import Predictor
from leadline.inference.video import VideoConfig, VideoResult, predict_video
from leadline.io.atomic import make_folder
from leadline.io.intrinsics import read_intrinsics
from leadline.io.locks import file_lock
from leadline.io.video import is_video


@dataclass(frozen=True)
class VideoRequest:
    """Hold the options of `leadline predict` that count for videos."""

    out: Path
    config: VideoConfig
    field_of_view: float | None
    intrinsics: Path | None
    near: float
    far: float
    is_json: bool


def split_videos(paths: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the videos among the given files, and the others."""
    videos = tuple(path for path in paths if is_video(path))
    return videos, tuple(path for path in paths if path not in videos)


def predict_videos(model: Predictor, videos: Sequence[str], request: VideoRequest) -> int:
    """Predict videos one after the other.

    Args:
        model: predicts their frames.
        videos: their files.
        request: the options that count for them.

    Returns:
        The exit code: 1 if one cannot be read.

    Raises:
        BadInput: two videos of one name, or an impossible camera.
    """
    names = [Path(video).stem for video in videos]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"Two videos are called {double}: their depth would have one name; give them one at a time.")
    camera = CameraOption(
        request.field_of_view, None if request.intrinsics is None else read_intrinsics(request.intrinsics)
    )
    make_folder(request.out)
    failed = 0
    with file_lock(request.out / ".lock", f"writing to {request.out}", waits=False):
        for video in videos:
            try:
                result = _predicted(model, video, camera, request)
            except BadInput as fault:
                failed += 1
                _say(request, {"image": video, "error": str(fault)}, f"skipped: {fault}")
                continue
            about = {"image": video, "video": str(result.video), "frames": result.frames, "cuts": result.cuts}
            before = f" ({result.resumed_at} of them before)" if result.resumed_at else ""
            where = f"{video}: {result.frames} frames{before}, {result.cuts} cuts. See {result.video}."
            _say(request, {**about, "kind": model.kind.value}, where)
    return 1 if failed else 0


def _predicted(model: Predictor, video: str, camera: CameraOption, request: VideoRequest) -> VideoResult:
    bars: list[ProgressBar] = []

    def tell(done: int, total: int | None) -> None:
        if not bars:  # now it is known how many an earlier run has done
            bars.append(ProgressBar(total, "frames", Path(video).name, done=done - 1, is_shown=not request.is_json))
        bars[0].update()

    try:
        return predict_video(
            model,
            video,
            request.out,
            request.config,
            camera=camera,
            near=request.near,
            far=request.far,
            on_frame=tell,
        )
    finally:
        for bar in bars:
            bar.close()


def _say(request: VideoRequest, about: dict[str, object], text: str) -> None:
    if request.is_json:
        print(json.dumps(about, ensure_ascii=False), flush=True)
    elif "error" in about:
        print_line(text)
    else:
        print(text, file=sys.stdout)
