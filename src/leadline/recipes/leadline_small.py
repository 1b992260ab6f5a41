"""Small: a network for photographs that weighs little, from the published data to the file, in one command."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from leadline.core.depth_kind import DepthKind
from leadline.core.ranges import AtLeastOne, Seed, Within, check_fields
from leadline.data.datasets import Dataset, open_data
from leadline.data.mixing import as_mixture
from leadline.data.transforms import Augmentation
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.protocols import protocol
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.saving import save
from leadline.recipes import TrainingRun
from leadline.recipes.train_options import TrainOptions
from leadline.training.trainer import HardwareConfig, TrainConfig

ARGUMENTS: dict[str, Any] = {
    "size": "tiny",
    "encoder": "mobilenetv2_100",
    "encoder_options": {"pad_type": "same"},
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "width": 24,
    "kind": DepthKind.METRIC.value,
}
"""Of the `cnn` that is trained: 3.6 million parameters, 0.63 billion multiply-adds at 192 × 256."""
LIMITS = (
    "metres indoors, roughly: learned from procedural rooms and a few measured scenes; "
    "do not trust it outdoors, in mirrors and glass, or nearer than half a metre"
)
"""What the network says of itself wherever it is used unasked."""


@dataclass(frozen=True)
class TrainSmallCommand:
    """Train a small network for photographs; run the same command again to continue.

    It learns from procedural rooms of domain c and from measured photographs: first at 96 × 128, where an hour shows it
    many pictures, then at its own 192 × 256.
    """

    encoder: Path
    """ImageNet weights of timm's mobilenetv2_100, padded as in TensorFlow, as safetensors."""
    out: Path = Path("runs/small")
    """The run folder; the network will be in `model/` below it, in half precision."""
    measured: str = ""
    """Photographs with measured depth whose licences let weights be published under Apache-2.0, in the words of a
    dataset; none: rooms alone."""
    test: str = ""
    """Measured photographs that it does not learn from, to be scored on at the end; the figures go into the model."""
    share: Annotated[float, Within(0, 1, above=True, below=True)] = 0.25
    """Of the images, that are measured photographs."""
    rooms: AtLeastOne = 16384
    """How many rooms there are at 96 × 128; a fourth as many at 192 × 256."""
    steps: AtLeastOne = 4800
    """At 96 × 128; a tenth as many at 192 × 256."""
    seed: Seed = 0
    """Of the untrained decoder, the order of the data and the augmentation."""
    hardware: Annotated[HardwareConfig, tyro.conf.arg(name="")] = field(default_factory=HardwareConfig)

    def run(self) -> int:
        check_fields(self)
        test = open_data(self.test, "test") if self.test else None
        training_run = self._training_run((96, 128), self.rooms, self.steps, learning_rate=2e-3)
        network = training_run.build("cnn", **ARGUMENTS, input_size=(96, 128), weights=self.encoder)
        small = training_run.fit(network, self.out / "1-half-size")
        training_run = self._training_run(
            (192, 256), max(self.rooms // 4, 1), max(self.steps // 10, 1), learning_rate=5e-4
        )
        network = training_run.build("cnn", **ARGUMENTS, input_size=(192, 256))
        network.load_state_dict(small.state_dict())
        network.provenance = small.provenance
        full = training_run.fit(network, self.out / "2-full-size")
        full.provenance = replace(full.provenance, licence="Apache-2.0", notes=LIMITS)
        save(full, self.out / "model", half=True)
        if test:
            # Read back, for half precision is what is shipped.
            shipped = load(self.out / "model")
            shipped.provenance = replace(shipped.provenance, figures=_figures(shipped, test))
            save(shipped, self.out / "model", half=True)
        print(f"The network is in {self.out / 'model'}")
        return 0

    def _training_run(self, size: tuple[int, int], rooms: int, steps: int, *, learning_rate: float) -> TrainingRun:
        data = f"rooms,domain=c,holes=no,count={rooms},height={size[0]},width={size[1]}"
        if self.measured:
            data += f" + {self.measured}*{self.share / (1 - self.share):g}"
        config = TrainConfig(
            steps=steps,
            learning_rate=learning_rate,
            validate_every=max(steps // 8, 1),
            augmentation=Augmentation(crop=0.5, brightness=0.3, colour=0.15, blur=0.3, noise=0.04, jpeg=0.3),
            seed=self.seed,
        )
        options = TrainOptions(data=data, loss="silog=1,l1=1,gradient=0.5", config=config, hardware=self.hardware)
        cache = self.out / "cache"
        # Rooms and photographs in every batch: batch normalisation would tell the two apart if they took turns.
        return options.training_run(
            as_mixture(options.open("train", cache)), options.open("val", cache), seed=self.seed
        )


def _figures(model: DepthModel, dataset: Dataset) -> dict[str, dict[str, float]]:
    """What it scores unaligned and, where it errs in nothing but the scale of an image, median-aligned."""
    rules = [protocol("indoor"), protocol("indoor", alignment="median")]
    return {f"{dataset.name} ({each.words})": evaluate_metrics(model, dataset, each) for each in rules}
