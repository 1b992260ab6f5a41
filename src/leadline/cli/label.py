"""`leadline label`."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from leadline.core.ranges import AtLeastOne, Side, check_fields
from leadline.data.datasets import open_data
from leadline.inference.session import Backend, load_for_command
from leadline.training.pseudo_labels import CACHE, label


@dataclass(frozen=True)
class LabelCommand:
    """Run a teacher once over images and keep its depth and confidence; the same command resumes."""

    teacher: str
    """Folder of a saved model, a checkpoint, the name of a published model, or hub:USER/NAME."""
    data: str
    """Images: photos:DIR, or any dataset, whose measured depth then may align the predictions."""
    out: Path
    """Folder of the store."""
    split: str = "train"
    """Of the dataset."""
    alignment: str = "auto"
    """How predictions become metres: none, truth (each by its own image's measured depth), or auto: `truth` for a
    teacher that does not output metres, on data that has some."""
    size: tuple[Side, Side] | None = None
    """Height and width of the labels; unset: those of the first image."""
    batch_size: AtLeastOne = 8
    """Images that the teacher predicts at once."""
    repair: bool = False
    """Read what is there, and make damaged shards again."""
    backend: Backend = "auto"
    """What runs the teacher: torch or compile, onnx or openvino for an exported file, auto: the fastest installed."""
    device: str = "auto"
    """What the teacher computes on: cpu, cuda, mps, or auto: a GPU if there is one."""

    def run(self) -> int:
        check_fields(self)
        dataset = open_data(self.data, self.split, cache=self.out / CACHE)
        for line in getattr(dataset, "left_out", ()):
            print(line, file=sys.stderr)
        store = label(
            load_for_command(self.teacher, self.device, backend=self.backend),
            dataset,
            self.out,
            alignment=self.alignment,
            size=self.size,
            batch_size=self.batch_size,
            repair=self.repair,
            progress=True,
        )
        print(f"{len(store)} {store.kind.value} labels in {self.out}")
        if store.manifest["alignment"] == "truth":
            without = sum(math.isnan(scale) for scale, _ in store.alignments())
            if without:
                print(f"{without} of them have too little measured depth to be aligned to: their confidence is 0")
        return 0
