"""What compressed networks take in ONNX Runtime, as fp32 and as INT8, and what they score then.

python benchmarks/compressed_exports.py --models runs/pruned/start runs/pruned/model --data rooms,count=64

The files take turns in one process on one thread, so that what else the machine does hits them alike; times are also
given as a fraction of the first model's fp32 file. INT8 is post-training: calibrated on training images, nothing is
trained.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import tyro

from leadline.core.markdown import markdown_table
from leadline.core.stopwatch import time_in_turns
from leadline.data.datasets import open_data, subsample_evenly
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import protocol
from leadline.export.exporting import export_model
from leadline.inference.backends import as_rgb8
from leadline.models.loading import load


@dataclass(frozen=True)
class Options:
    models: tuple[str, ...]
    """Folders of models, the original first."""
    data: str
    """Labelled images: the training split calibrates, the test split is scored."""
    calibrate: int = 64
    """Training images."""
    turns: int = 200
    """How often each file is run."""


def main(options: Options) -> None:
    train, test = (open_data(options.data, split) for split in ("train", "test"))
    indices = subsample_evenly(range(len(train)), options.calibrate)
    calibration = [as_rgb8(train[index].image.permute(1, 2, 0).numpy()) for index in indices]
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    with TemporaryDirectory() as folder:
        files, lines = {}, []
        for number, place in enumerate(options.models):
            model = load(place)
            for precision in ("fp32", "int8"):
                file = Path(folder) / f"{number}-{precision}.onnx"
                images = calibration if precision == "int8" else ()
                made = export_model(
                    model, file, "onnx", test, precision=precision, calibration=images, allow_drift=True
                )
                files[place, precision] = file
                scores = evaluate_metrics(made.model, test, protocol("indoor"))
                size = f"{file.stat().st_size / 1e6:.2f} MB"
                lines.append(
                    [place, precision, size, *(METRICS[name].printed(scores[name]) for name in ("d1", "rmse"))]
                )
        sessions = [onnxruntime.InferenceSession(file, settings) for file in files.values()]
        image = calibration[0][None]
        feed = {"image": image, "focal": np.zeros(1, np.float32)}
        times = time_in_turns([partial(session.run, None, feed) for session in sessions], options.turns)
    for line, seconds in zip(lines, times, strict=True):
        line += [f"{1e3 * seconds:.2f} ms", f"{seconds / times[0]:.2f}"]
    head = ["model", "precision", "file", METRICS["d1"].heading, METRICS["rmse"].heading, "time", "× the first"]
    print(f"{test.name}, images of {image.shape[1]} × {image.shape[2]}, one thread, median of {options.turns} turns:\n")
    print(markdown_table(head, lines))


if __name__ == "__main__":
    main(tyro.cli(Options))
