"""How fast maps are evaluated, against a plain script: `python benchmarks/evaluate_maps.py`.

The script reads each pair with OpenCV and computes nine metrics in NumPy, one image after another, as the evaluation
scripts of published networks do. `leadline evaluate --predictions` computes twelve, and those of two constant depths.
Both are whole processes, start-up and decoding included, and take turns; the files lie in the memory already.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import cv2
import numpy as np

HEIGHT, WIDTH = 480, 640
SCRIPT = Path(__file__).with_name("evaluate_maps_numpy.py")
THEIR_NAMES = {"silog": "silog_bts"}
"""Where the script calls a metric otherwise than Leadline."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=int, default=654, help="as many as NYU's test split has")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_maps(folder, options.maps)
        figures = folder / "leadline.json"
        pair = [str(folder / "predicted"), str(folder / "measured")]
        ours = [sys.executable, "-m", "leadline", "evaluate", "--predictions", pair[0], "--ground-truth", pair[1]]
        commands = {
            "plain script": [sys.executable, str(SCRIPT), *pair],
            "leadline": [*ours, "--depth-scale", "1000", "--protocol", "nyu_eigen", "--json", str(figures)],
        }
        seconds: dict[str, list[float]] = {each: [] for each in commands}
        printed = ""
        for _ in range(options.turns):
            for each, command in commands.items():
                start = perf_counter()
                answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                seconds[each].append(perf_counter() - start)
                printed = answer if each == "plain script" else printed
        theirs, own = json.loads(printed), json.loads(figures.read_text())["metrics"]
    apart = max(abs(own[THEIR_NAMES.get(each, each)] / value - 1) for each, value in theirs.items())
    print(f"{options.maps} maps of {HEIGHT} × {WIDTH}; {options.turns} turns; metrics differ by {apart:.1e} at most.")
    for each, taken in seconds.items():
        rates = ", ".join(f"{options.maps / which(taken):.1f}" for which in (median, min))
        print(f"{each:12}  maps/s, median and best: {rates}")
    ratios = [plain / fast for plain, fast in zip(*seconds.values(), strict=True)]
    print(f"ratio of each turn: median {median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


def write_maps(folder: Path, count: int) -> None:
    """Write smooth depths with edges and holes in millimetres, and predictions that err by some tenth."""
    for name in ("predicted", "measured"):
        (folder / name).mkdir()
    for index in range(count):
        generator = np.random.default_rng(index)
        coarse = generator.uniform(0.8, 6, (12, 16)).astype(np.float32)
        depth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).clip(0.5, 9)
        depth += generator.normal(0, 0.004, depth.shape)
        error = cv2.resize(generator.uniform(0.8, 1.25, (6, 8)), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        holes = cv2.resize(generator.uniform(0, 1, (24, 32)), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) < 0.15
        cv2.imwrite(str(folder / "predicted" / f"{index:04}.png"), (depth * error * 1000).astype(np.uint16))
        cv2.imwrite(str(folder / "measured" / f"{index:04}.png"), np.where(holes, 0, depth * 1000).astype(np.uint16))


if __name__ == "__main__":
    main()
