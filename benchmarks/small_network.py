"""How well a network measures real scenes: `python benchmarks/small_network.py --data DIR,depth_scale=1000`.

Per scene and over all images: unaligned, told the camera and not, and with each prediction's median moved to its
truth's. Beside it three flat predictors: the median depth of what it was given to learn from (`--median-of`, a
dataset's train split), each scene's own median, and each image's own median, which is also a median-aligned plane. Then
where the error comes from (an image's scale, its scale and shift, or its shape; by distance; by field of view), edges
and surfaces, and whether the middle of each photograph, cut out, keeps its metres.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from leadline.core.camera import fields_of_view
from leadline.core.sample import Sample
from leadline.data.datasets import Dataset, open_data
from leadline.data.transforms import crop
from leadline.evaluation.details import detail_tables
from leadline.evaluation.evaluate import constant_baseline, evaluate
from leadline.evaluation.flat_baselines import flat_rows
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import EvalProtocol, protocol
from leadline.evaluation.score_table import scene_of
from leadline.evaluation.tables import ImageScore, TextTable
from leadline.inference.tensors import predict_tensor
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.registry import DEFAULT

CROP = 0.6
"""Of the width and of the height."""
BANDS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Metres between which errors are told apart."""
FIELDS_OF_VIEW = (0, 50, 60, 70, 80, 180)
"""Degrees between which errors are told apart."""
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
    scenes: dict[str, dict[str, list[ImageScore]]] = defaultdict(dict)
    datasets = [open_data(words, options.split) for words in options.data]
    aligned, shifted = (plain.changed(alignment=each) for each in ("median", "scale_shift"))
    for data in datasets:
        known = constant_baseline(open_data(options.median_of, "train") if options.median_of else data, plain)
        network = [
            evaluate(model, given, rules, training=known, name=who).rows[0]
            for who, given, rules in (
                ("the network, told the camera", data, plain),
                ("the network, untold", Untold(data), plain),
                ("the network, told, median-aligned", data, aligned),
                ("the network, told, scale- and shift-aligned", data, shifted),
            )
        ]
        for row in (*network, *flat_rows(data, plain, known)[1:]):
            for image in row.per_image:
                scenes[scene_of(image.name)].setdefault(row.name, []).append(image)
    everything: dict[str, list[ImageScore]] = defaultdict(list)
    for predictors in scenes.values():
        for who, images in predictors.items():
            everything[who] += images
    rows = {**dict(sorted(scenes.items())), "all": dict(everything)}
    print(error_table(rows, f"{plain.words}, mean of images").markdown())
    print(better_scenes(scenes))
    print(ratio_table([ratio for data in datasets for ratio in image_ratios(model, data, plain)]))
    for data in datasets:
        print(detail_tables(model, data, plain)[1].markdown())
    crops = [ratio for data in datasets for ratio in crop_ratios(model, data)]
    if crops:
        known_camera, unknown_camera = np.array(crops).T
        print(f"Depth of the middle {CROP:.0%} of a photograph, predicted alone, over that in the whole photograph:")
        print(f"  the camera known:   {_spread(known_camera)}")
        print(f"  the camera unknown: {_spread(unknown_camera)}")
    if options.json:
        options.json.write_text(json.dumps(figures(rows), indent=1) + "\n", encoding="utf-8")


class Untold:
    """A dataset that does not tell the camera."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.name, self.kind = dataset, f"{dataset.name}, no camera", dataset.kind

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[index].replace(intrinsics=None)


def better_scenes(scenes: Mapping[str, Mapping[str, Sequence[ImageScore]]]) -> str:
    """Say on how many scenes the network, told the camera, beats each flat predictor in RMSE."""
    rivals = list(dict.fromkeys(who for each in scenes.values() for who in each if not who.startswith("the network")))
    won = {
        rival: sum(
            _mean(each["the network, told the camera"], "rmse") < _mean(each[rival], "rmse")
            for each in scenes.values()
            if rival in each
        )
        for rival in rivals
    }
    among = {rival: sum(rival in each for each in scenes.values()) for rival in rivals}
    return "Scenes with a smaller RMSE than " + "; ".join(f"{each}: {won[each]} of {among[each]}" for each in rivals)


@dataclass(frozen=True)
class ImageRatios:
    """How far one image's prediction is from its truth."""

    truth: float
    """Median, metres."""
    predicted: float
    """Median of the same pixels, metres."""
    field_of_view: float | None
    """Across, in degrees; None: the camera is not known."""
    bands: Mapping[int, np.ndarray]
    """Number of the band of `BANDS` → predicted over true depth of the pixels in it."""


def image_ratios(model: DepthModel, data: Dataset, rules: EvalProtocol) -> Iterator[ImageRatios]:
    """Compare predictions, told the camera, with what was measured."""
    for sample in (data[index] for index in range(len(data))):
        counted = rules.counts(sample.depth, sample.valid)
        if not counted.any():
            continue
        truth = sample.depth[counted].numpy()
        predicted = predict_tensor(model, sample.image, sample.intrinsics)[counted].numpy()
        band = np.digitize(truth, BANDS)
        camera = None if sample.intrinsics is None else sample.intrinsics.tolist()
        yield ImageRatios(
            float(np.median(truth)),
            float(np.median(predicted)),
            None if camera is None else fields_of_view(camera, sample.size)[0],
            {number: (predicted / truth)[band == number] for number in np.unique(band)},
        )


def ratio_table(images: Sequence[ImageRatios]) -> str:
    """Print how the prediction follows the truth from image to image, and by distance and field of view."""
    logs = np.log([[each.truth, each.predicted] for each in images])
    slope = np.polyfit(logs[:, 0], logs[:, 1], 1)[0]
    lines = [f"log of the predicted median on log of the true median: slope {slope:.2f}, {len(images)} images"]
    for number, (low, high) in enumerate(pairwise((0.0, *BANDS, np.inf))):
        ratios = [each.bands[number] for each in images if number in each.bands]
        if ratios:
            middle = np.median(np.concatenate(ratios))
            lines.append(f"predicted over true depth at {low:g} to {high:g} m: median {middle:.2f}")
    for low, high in pairwise(FIELDS_OF_VIEW):
        seen = [each for each in images if each.field_of_view is not None and low <= each.field_of_view < high]
        if seen:
            middle = np.median([each.predicted / each.truth for each in seen])
            lines.append(f"predicted over true median at {low:g} to {high:g} degrees: {middle:.2f}, {len(seen)} images")
    return "\n".join(lines)


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
