"""The peer of evaluate_maps.py: nine metrics of predicted maps in plain NumPy, an image at a time.

python benchmarks/evaluate_maps_numpy.py PREDICTED MEASURED
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np


def main(predicted: str, measured: str) -> None:
    cv2.setNumThreads(1)
    rows = []
    for path in sorted(Path(measured).glob("*.png")):
        truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000  # pyright: ignore[reportOptionalMemberAccess]
        guess = cv2.imread(str(Path(predicted) / path.name), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000  # pyright: ignore[reportOptionalMemberAccess]
        counted = (truth > 1e-3) & (truth < 10)
        inside = np.zeros_like(counted)
        inside[45:471, 41:601] = True
        counted &= inside
        guess = guess.clip(1e-3, 10)
        rows.append(metrics(guess[counted], truth[counted]))
    print(json.dumps({name: float(np.mean([row[name] for row in rows])) for name in rows[0]}))


def metrics(guess: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    ratio = np.maximum(truth / guess, guess / truth)
    logs = np.log(guess) - np.log(truth)
    return {  # pyright: ignore[reportReturnType]
        "abs_rel": np.mean(np.abs(truth - guess) / truth),
        "sq_rel": np.mean((truth - guess) ** 2 / truth),
        "rmse": np.sqrt(np.mean((truth - guess) ** 2)),
        "log_rms": np.sqrt(np.mean(logs**2)),
        "log10": np.mean(np.abs(np.log10(guess) - np.log10(truth))),
        "silog": np.sqrt(np.mean(logs**2) - np.mean(logs) ** 2) * 100,
        "d1": np.mean(ratio < 1.25),
        "d2": np.mean(ratio < 1.25**2),
        "d3": np.mean(ratio < 1.25**3),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
