"""How fast photographs are measured, against the transformers library: `python benchmarks/depth_pipeline.py`.

One network of the size of Depth Anything V2 Small, with random weights, is run by `transformers.pipeline` and by
Leadline, as it is and as exported files, on the same photographs in turn, from the file to depth of its size. What the
weights are changes no time; with `--model FOLDER` those of a folder of the library are taken. The depth is compared on
photographs of the network's own size: others are rounded to 8 bits by the library after it has resized them.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
import transformers
from PIL import Image

import leadline
from leadline.data.datasets import open_data
from leadline.export.exporting import FORMATS, export_model
from leadline.export.parity import difference
from leadline.io.discovery import find_images
from leadline.io.images import read_photograph
from leadline.models.base import DepthModel

Run = Callable[[str | Image.Image], np.ndarray]
"""A photograph or its file → depth (H, W) of its size."""
EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "photos"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", default=str(EXAMPLES))
    parser.add_argument("--model", type=Path, help="a folder of the library, unset: random weights")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--export", nargs="*", choices=("onnx", "openvino"), default=(), help="run these files, too")
    parser.add_argument("--precision", nargs="*", choices=("fp32", "int8"), default=("fp32",), help="of those files")
    options = parser.parse_args()
    photographs = [str(file) for file, _ in find_images([options.photos]).files]
    with TemporaryDirectory() as name:
        folder = options.model or write_network(Path(name) / "network")
        pipe = transformers.pipeline("depth-estimation", model=str(folder), device="cpu")
        model = leadline.load(f"hub:{folder}")
        assert isinstance(model, DepthModel)
        runs: dict[str, Run] = {
            "transformers.pipeline": lambda photo: pipe(photo)["predicted_depth"].numpy(),  # pyright: ignore[reportArgumentType, reportIndexIssue]
            "leadline, torch": lambda photo: leadline.predict(model, photo).numpy(),
        }
        calibration = [read_photograph(photo).pixels for photo in photographs]
        for to, precision in product(options.export, options.precision):
            file = Path(name) / precision / f"network{FORMATS[to].suffix}"
            made = export_model(
                model,
                file,
                to,
                open_data("rooms,count=2", "test"),
                precision=precision,
                calibration=calibration,
                # Random weights have no accuracy that 8 bits could lose; of others it is printed.
                allow_drift=precision == "int8",
            )
            if precision == "int8":
                print(f"{to} int8: {made.parity.fault or 'within the tolerance'}")
            runs[f"leadline, {to} {precision}"] = lambda photo, exported=made.model: leadline.predict(
                exported, photo
            ).numpy()
        compare(runs, photographs, list(map(fitted, photographs, [model] * len(photographs))), options.turns)


def write_network(folder: Path) -> Path:
    """Write a Depth Anything V2 Small with random weights as the library saves it."""
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=384,
        num_attention_heads=6,
        image_size=518,
        patch_size=14,
        out_indices=[3, 6, 9, 12],  # pyright: ignore[reportCallIssue]
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(backbone_config=backbone)
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    transformers.DPTImageProcessor(
        size={"height": 518, "width": 518},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)
    return folder


def fitted(photo: str, model: DepthModel) -> Image.Image:
    """Return a photograph at the size at which a network sees it."""
    with Image.open(photo) as picture:
        height, width = model.preprocessing.size_for(picture.height, picture.width)
        return picture.convert("RGB").resize((width, height))


def compare(runs: dict[str, Run], photographs: Sequence[str], same_size: Sequence[Image.Image], turns: int) -> None:
    """Print images a second, ratios of each turn to the first run, and how far the depth is from the first run's."""
    answers = {name: [run(photo) for photo in same_size] for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            start = perf_counter()
            for photo in photographs:
                run(photo)
            if turn:  # the first warms up
                seconds[name].append(perf_counter() - start)
    first, *_ = runs
    print(f"{len(photographs)} photographs, {turns} turns, {torch.get_num_threads()} threads")
    for name, taken in seconds.items():
        ratios = [before / now for before, now in zip(seconds[first], taken, strict=True)]
        apart = max(difference(*pair)[0] for pair in zip(answers[first], answers[name], strict=True))
        print(
            f"{name:22} {len(photographs) / median(taken):5.2f} images/s, {median(ratios):.2f} x ({min(ratios):.2f} to "
            f"{max(ratios):.2f}), depth differs by {apart:.1e} of its range"
        )


if __name__ == "__main__":
    main()
