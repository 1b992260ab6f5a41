"""How well a network measures real scenes: `python benchmarks/small_network.py --data DIR,depth_scale=1000`.

Per scene and over all images, unaligned and with each prediction's median moved to its truth's, next to the predictor
that answers the median depth of what it was given to learn from (`--median-of`, a dataset's train split). Then whether
the middle of each photograph, cut out, keeps its metres: where the camera is known, and where it is not.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from leadline.data.datasets import Dataset, open_data
from leadline.data.transforms import crop
from leadline.evaluation.evaluate import constant_baseline, evaluate
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import protocol
from leadline.evaluation.tables import ImageScore, TextTable
from leadline.inference.tensors import predict_tensor
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.registry import DEFAULT

CROP = 0.6
"""Of the width and of the height."""
SHOWN = ("rmse", "mae", "d1", "log_rms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT, help="a saved model, or the name of a published one")
    parser.add_argument("--data", required=True, action="append", help="measured photographs; may be repeated")
    parser.add_argument("--split", default="val")
    parser.add_argument("--median-of", help="a dataset whose train split gives the median predictor's depth")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model, plain = load(options.model), protocol("indoor")
    known = constant_baseline(open_data(options.median_of, "train"), plain) if options.median_of else None
    scenes: dict[str, dict[str, list[ImageScore]]] = defaultdict(dict)
    datasets = [open_data(words, options.split) for words in options.data]
    rulings = {"the network": plain, "the network, median-aligned": plain.changed(alignment="median")}
    for data in datasets:
        for who, ruling in rulings.items():
            network, _, median = evaluate(model, data, ruling, training=known, name=who).rows
            for row in (network, median) if ruling is plain else (network,):
                for image in row.per_image:
                    scenes[image.name.rpartition("/")[0]].setdefault(row.name, []).append(image)
    everything: dict[str, list[ImageScore]] = defaultdict(list)
    for predictors in scenes.values():
        for who, images in predictors.items():
            everything[who] += images
    rows = {**dict(sorted(scenes.items())), "all": dict(everything)}
    print(error_table(rows, f"{plain.words}, mean of images").markdown())
    crops = [ratio for data in datasets for ratio in crop_ratios(model, data)]
    if crops:
        known_camera, unknown_camera = np.array(crops).T
        print(f"Depth of the middle {CROP:.0%} of a photograph, predicted alone, over that in the whole photograph:")
        print(f"  the camera known:   {_spread(known_camera)}")
        print(f"  the camera unknown: {_spread(unknown_camera)}")
    if options.json:
        options.json.write_text(json.dumps(figures(rows), indent=1) + "\n", encoding="utf-8")


def crop_ratios(model: DepthModel, data: Dataset) -> Iterator[tuple[float, float]]:
    """Median ratio of the metres in a crop to the same pixels' in the whole photograph, for each whose camera is known:
    when the camera is told, and when it is not."""
    for sample in (data[index] for index in range(len(data))):
        if sample.intrinsics is None:
            continue
        height, width = (round(CROP * side) for side in sample.size)
        top, left = (sample.size[0] - height) // 2, (sample.size[1] - width) // 2
        part = crop(sample, top, left, height, width)
        told, untold = (
            (
                predict_tensor(model, part.image, camera and camera[1])
                / predict_tensor(model, sample.image, camera and camera[0])[:, top : top + height, left : left + width]
            )
            for camera in ((sample.intrinsics, part.intrinsics), None)
        )
        yield float(told.median()), float(untold.median())


def figures(rows: Mapping[str, Mapping[str, Sequence[ImageScore]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Scene → predictor → metric → mean over the scene's images."""
    return {
        scene: {who: {metric: _mean(images, metric) for metric in METRICS} for who, images in predictors.items()}
        for scene, predictors in rows.items()
    }


def error_table(rows: Mapping[str, Mapping[str, Sequence[ImageScore]]], title: str) -> TextTable:
    """A row a scene and predictor, under `title`."""
    return TextTable(
        title=title,
        header=("scene", "images", "predictor", *(METRICS[metric].heading for metric in SHOWN)),
        lines=tuple(
            (scene, str(len(images)), who, *(METRICS[metric].printed(_mean(images, metric)) for metric in SHOWN))
            for scene, predictors in rows.items()
            for who, images in predictors.items()
        ),
    )


def _spread(ratios: np.ndarray) -> str:
    low, middle, high = np.percentile(ratios, [10, 50, 90])
    return f"median {middle:.2f}, 10th to 90th percentile {low:.2f} to {high:.2f}, {len(ratios)} photographs"


def _mean(images: Sequence[ImageScore], metric: str) -> float:
    return float(np.mean([image.metrics[metric] for image in images]))


if __name__ == "__main__":
    main()
