"""`leadline calibrate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.protocol_options import ProtocolOptions
from leadline.core.errors import BadInput
from leadline.data.datasets import open_for_evaluation
from leadline.inference.backends import is_exported
from leadline.inference.session import load_for_command
from leadline.models.rescaling import rescale
from leadline.models.saving import save
from leadline.recipes.calibration import calibrate


@dataclass(frozen=True)
class CalibrateCommand:
    """Correct the scale of a metric model by a few images with ground truth, if that helps on images left out.

    Each part of the images is scaled by what the others say. If the error falls there, on average and in most parts,
    the model with its metres multiplied by the scale of all is saved; otherwise nothing is.
    """

    model: Annotated[str, tyro.conf.Positional]
    """Folder of a saved model, an official checkpoint file, or the name of a published model."""
    data: str
    """A few images with depth: a dataset or a folder, with options as in DIR,depth_scale=1000."""
    out: Path
    """Folder for the calibrated model."""
    split: str = "test"
    """Of the dataset."""
    options: Annotated[ProtocolOptions, tyro.conf.arg(name="")] = field(default_factory=ProtocolOptions)
    device: str = "auto"
    """What the model computes on: cpu, cuda, mps, or auto: a GPU if there is one."""

    def run(self) -> int:
        rules = self.options.chosen()
        if self.out.exists() and any(self.out.iterdir()):
            raise BadInput(f"--out {self.out} is not empty: choose a new folder.")
        if is_exported(self.model):
            raise BadInput(f"{self.model} is exported and cannot be changed: give the model that it was made of.")
        model = load_for_command(self.model, self.device)
        # What cannot be scaled is refused before anything is predicted.
        rescale(model, 1.0)  # pyright: ignore[reportArgumentType]
        found = calibrate(model, open_for_evaluation(self.data, self.split), rules)  # pyright: ignore[reportArgumentType]
        print(found)
        if not found.helps:
            print("It does not help, and nothing is saved.")
            return 1
        save(rescale(model, found.scale), self.out)  # pyright: ignore[reportArgumentType]
        print(f"The calibrated model is {self.out}")
        return 0
