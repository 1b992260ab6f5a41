"""How far exported files are from the models they are made of: `python benchmarks/export_parity.py`.

Each model is exported to each format, and the check of `leadline export` run on the example photographs and on rendered
rooms. Networks without weights in the package have random ones, and are as small as their options allow: what differs
is how formats compute the same layers. Only `leadline_small` has an accuracy that INT8 could lose.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from leadline.core.errors import BadInput
from leadline.data.datasets import open_data
from leadline.export.exporting import FORMATS, export_model
from leadline.export.parity import images_of
from leadline.io.discovery import find_images
from leadline.io.images import read_photograph
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.registry import build

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "photos"
MODELS = {
    "leadline_small": load,
    "cnn,size=tiny": lambda: build("cnn", size="tiny"),
    "hybrid,size=tiny": lambda: build("hybrid", size="tiny"),
    "midas_small": lambda: build("midas_small"),
    "dpt_large,vit=vit_tiny_patch16_384": lambda: build("dpt_large", vit="vit_tiny_patch16_384"),
}
KINDS = (
    ("onnx", "fp32"),
    ("onnx", "fp16"),
    ("onnx", "int8"),
    ("openvino", "fp32"),
    ("openvino", "fp16"),
    ("openvino", "int8"),
    ("torch", "fp32"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", choices=tuple(MODELS), default=tuple(MODELS))
    options = parser.parse_args()
    print("| model | format | largest difference | typical | δ1 | MB |\n|:--|:--|--:|--:|--:|--:|")
    photographs = [read_photograph(file).pixels for file, _ in find_images([str(EXAMPLES)]).files]
    for name in options.models:
        torch.manual_seed(0)
        model = MODELS[name]().eval()
        for to, precision in KINDS:
            if precision == "int8" and name != "leadline_small":
                continue
            print("| " + " | ".join(row(name, model, to, precision, photographs)) + " |", flush=True)


def row(name: str, model: DepthModel, to: str, precision: str, photographs: Sequence[np.ndarray]) -> list[str]:
    """Export a model, and return what the check found: differences, of the range, and δ1 before and after."""
    rooms = open_data("rooms,count=16", "test")
    calibration = images_of(open_data("rooms,count=32", "val"), 32) if precision == "int8" else ()
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"model{FORMATS[to].suffix}"
        given = {"images": photographs, "precision": precision, "calibration": calibration, "allow_drift": True}
        try:
            made = export_model(model, file, to, rooms, **given)
        except BadInput as fault:
            return [name, f"{to} {precision}", str(fault).splitlines()[0], "", "", ""]
        size = sum(each.stat().st_size for each in Path(folder).iterdir())
    found = made.parity
    verdict = "" if not found.fault else " (refused)"
    before, after = found.delta1
    return [
        *(name, f"{to} {precision}{verdict}", f"{found.worst:.1e}", f"{found.typical:.1e}"),
        *(f"{before:.4f} → {after:.4f}", f"{size / 1e6:.1f}"),
    ]


if __name__ == "__main__":
    main()
