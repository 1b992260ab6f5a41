"""Flicker of predicted video: frames by themselves against frames smoothed along the motion, on clips of exact depth.

    python benchmarks/flicker.py --rooms 0 1 2 --frames 90

The same predictions go into every row; only the smoothing differs. Flicker is the rms change of the log error between
frames, along the exact motion, where the surface was visible in both; RMSE is unaligned, over all pixels.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from leadline.data.datasets.rooms.clips import room_clip
from leadline.evaluation.flicker import FlickerMeter, exact_flow, flicker_table
from leadline.inference.backends import Predictor
from leadline.inference.session import load_predictor
from leadline.inference.temporal import Smoother


def measure(
    model: Predictor, rooms: Sequence[int], smoothings: Sequence[float], **options: Any
) -> dict[str, FlickerMeter]:
    """Predict the clips of some rooms, and return the meters of each way of smoothing."""
    meters = {f"smoothing {each:g}" if each else "by themselves": FlickerMeter() for each in smoothings}
    for index in rooms:
        smoothers = [Smoother(model.kind, each) for each in smoothings]
        before: list[np.ndarray | None] = [None] * len(smoothings)
        truth_before = None
        for frame in room_clip(index, **options):
            depth = model.measure([frame.image], [np.array(frame.camera, np.float32)])[0, 0]
            flow = exact_flow(frame.columns, frame.rows, frame.is_seen)
            for number, (smoother, meter) in enumerate(zip(smoothers, meters.values(), strict=True)):
                smooth = smoother.next(frame.image, depth)
                meter.add(smooth, before[number], flow, frame.depth, truth_before)
                before[number] = smooth
            truth_before = frame.depth
    return meters


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="leadline_small")
    parser.add_argument("--rooms", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--smoothing", type=float, nargs="+", default=[0.0, 0.5, 0.8, 0.9, 0.95])
    given = parser.parse_args()
    model = load_predictor(given.model)
    options = {"frames": given.frames, "height": given.height, "width": given.width}
    print(flicker_table(measure(model, given.rooms, given.smoothing, **options)).markdown())


if __name__ == "__main__":
    main()
