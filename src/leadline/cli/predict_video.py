"""What `leadline predict` prints of videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leadline.core.progress import ProgressBar, print_line
from leadline.core.terminal import print_json
from leadline.inference.backends import Predictor
from leadline.inference.predict_videos import VideoFault, predict_videos


def print_videos(model: Predictor, videos: Sequence[str], out: Path, *, is_json: bool, **options: Any) -> int:
    """Predict videos one after the other, with a bar for each, and print what was made of each.

    Args:
        model: predicts their frames.
        videos: their files.
        out: the folder to write to.
        is_json: whether to print JSON objects, and nothing else.
        options: the other ones of `predict_videos`.

    Returns:
        The exit code: 1 if one cannot be read.
    """
    bars: dict[str, ProgressBar] = {}

    def tell(video: str, done: int, total: int | None) -> None:
        if video not in bars:  # now it is known how many an earlier run has done
            bars[video] = ProgressBar(total, "frames", Path(video).name, done=done - 1, is_shown=not is_json)
        bars[video].update()

    failed = 0
    try:
        for video, result in predict_videos(model, videos, out, on_frame=tell, **options):
            if video in bars:
                bars.pop(video).close()
            if isinstance(result, VideoFault):
                failed += 1
                _say({"image": video, "error": result.reason}, f"skipped: {result.reason}", is_json=is_json)
                continue
            about = {"image": video, "video": str(result.video), "frames": result.frames, "cuts": result.cuts}
            before = f" ({result.resumed_at} of them before)" if result.resumed_at else ""
            where = f"{video}: {result.frames} frames{before}, {result.cuts} cuts. See {result.video}."
            if result.outside is not None:
                about["out_of_scope"] = result.outside
            if result.warning:
                where += f" {result.warning}"
            _say({**about, "kind": model.kind.value}, where, is_json=is_json)
    finally:
        for bar in bars.values():
            bar.close()
    return 1 if failed else 0


def _say(about: dict[str, object], text: str, *, is_json: bool) -> None:
    if is_json:
        print_json(about)
    elif "error" in about:
        print_line(text)
    else:
        print(text)
