"""Predict many videos one after the other into one folder, which no other process writes to meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from leadline.core.camera import UNKNOWN_CAMERA, CameraOption
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.inference.backends import Predictor
from leadline.inference.video import VideoConfig, VideoResult, predict_video
from leadline.io.atomic import make_folder
from leadline.io.locks import file_lock
from leadline.io.video import is_video


@dataclass(frozen=True)
class VideoFault:
    """State why a video was skipped."""

    reason: str


def split_videos(paths: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the videos among the given files, and the others."""
    videos = tuple(path for path in paths if is_video(path))
    return videos, tuple(path for path in paths if path not in videos)


def predict_videos(
    model: Predictor,
    videos: Sequence[str],
    out: StrPath,
    config: VideoConfig | None = None,
    *,
    camera: CameraOption = UNKNOWN_CAMERA,
    near: float = 0.5,
    far: float = 10.0,
    overwrite: bool = False,
    on_frame: Callable[[str, int, int | None], None] = lambda video, done, total: None,
) -> Iterator[tuple[str, VideoResult | VideoFault]]:
    """Predict videos one after the other, and yield each with its result, or why it was skipped.

    Args:
        model: predicts their frames.
        videos: their files.
        out: the folder to write to, which is locked meanwhile.
        config: how they are predicted; unset: the defaults.
        camera: of all frames.
        near: metres at the near end of the colours.
        far: metres at the far end.
        overwrite: replace the depth of other videos of these names.
        on_frame: called with a video, its frames done and how many there are, about, or None.

    Raises:
        BadInput: two videos of one name, or another process writes to the folder.
    """
    names = [Path(video).stem for video in videos]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(
            f"Two videos are called {double}: their depth would have one name; give each an --out of its own."
        )
    out = Path(out)
    make_folder(out)
    with file_lock(out / ".lock", f"writing to {out}", waits=False):
        for video in videos:
            tell = partial(on_frame, video)
            result: VideoResult | VideoFault
            try:
                result = predict_video(
                    model, video, out, config, camera=camera, near=near, far=far, overwrite=overwrite, on_frame=tell
                )
            except BadInput as fault:
                result = VideoFault(str(fault))
            yield video, result
