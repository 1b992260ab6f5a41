"""`leadline report`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.protocol_options import ProtocolOptions
from leadline.core.errors import BadInput
from leadline.core.terminal import print_table
from leadline.data.datasets import open_data, open_for_evaluation
from leadline.evaluation.evaluate import check_batch_size
from leadline.inference.backends import is_exported
from leadline.inference.session import find_device, load_for_command
from leadline.io.atomic import make_folder
from leadline.models.registry import DEFAULT
from leadline.reporting.report import check_report_folder, model_report, photo_files, write_report


@dataclass(frozen=True)
class ReportCommand:
    """Evaluate a model on a dataset and write tables, bars and its worst images as one page."""

    options: Annotated[ProtocolOptions, tyro.conf.arg(name="")] = field(default_factory=ProtocolOptions)
    model: Annotated[str, tyro.conf.arg(aliases=["--weights"])] = DEFAULT
    """Folder of a saved model, an official checkpoint file, the name of a published model, or hub:USER/NAME; unset: the
    small one that comes with the package."""
    data: str = tyro.MISSING
    """Dataset to score it on: rooms, nyu:DIR or a folder, with options as in DIR,depth_scale=1000."""
    split: str = "test"
    """Of the dataset: train, val or test."""
    train_data: str | None = None
    """Dataset whose train split the mean-depth and median-depth rows take their constants from; unset: the measured
    depth that is scored on."""
    photos: tuple[str, ...] = ()
    """Files, folders or patterns of photographs without measured depth, to be shown with the model's predictions."""
    out: Path = Path("report")
    """Folder for report.html, report.md and report.json."""
    worst: int = 8
    """How many images to show."""
    batch_size: int = 8
    """Images that are predicted at once."""
    device: str = "auto"
    """What the model computes on: cpu, cuda, mps, or auto: a GPU if there is one."""

    def run(self) -> int:
        rules = self.options.chosen()
        check_batch_size(self.batch_size)
        if is_exported(self.model):
            raise BadInput(f"{self.model} is an exported file: report the model it was made of, or use `evaluate`.")
        find_device(self.device)
        if self.worst < 0:
            raise BadInput(f"--worst {self.worst}: give how many images to show, 0 or more.")
        check_report_folder(self.out)
        photos = photo_files(self.photos)
        dataset = open_for_evaluation(self.data, self.split)
        training = open_data(self.train_data, "train") if self.train_data else None
        model = load_for_command(self.model, self.device)
        make_folder(self.out)
        report = model_report(
            model,  # pyright: ignore[reportArgumentType]
            dataset,
            rules,
            training=training,
            name=f"{model.name} ({self.model})",
            worst=self.worst,
            photos=photos,
            batch_size=self.batch_size,
            progress=True,
        )
        page = write_report(report, self.out)
        print_table(report.sections[0].tables[0])
        print(f"The report is {page}.")
        return 0
