"""`leadline distil`."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.core.errors import BadInput
from leadline.core.ranges import check_fields
from leadline.recipes.distil import DistilOptions, distil
from leadline.reporting.report import check_report_folder, publish
from leadline.training.pseudo_labels import load_pseudo_labels


@dataclass(frozen=True)
class DistilCommand(DistilOptions):
    """Teach a small network by a large one, and report whether it helped: against a control that had no teacher.

    The control has the same student, steps, images per step and seeds. The student is --model, or --student, which is
    the same. Run the same command again to resume.
    """

    options: Annotated[TrainArguments, tyro.conf.arg(name="")] = field(default_factory=TrainArguments)

    def run(self) -> int:
        check_fields(self)
        if self.labels and not self.unlabelled:
            raise BadInput(f"--labels {self.labels} are of unlabelled images: name these with --unlabelled.")
        if self.labels:
            load_pseudo_labels(self.labels)
        check_report_folder(self.out)
        page = publish(distil(self), self.out)
        print(f"The student is in {self.out / 'model'}, the report is {page}")
        return 0
