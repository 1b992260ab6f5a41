"""`leadline study losses`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.core.ranges import check_fields
from leadline.recipes.study_losses import NETWORK, LossesStudyOptions, study_losses
from leadline.recipes.study_outputs import check_study_outputs, command_line, write_study


@dataclass(frozen=True)
class StudyLossesCommand(LossesStudyOptions):
    """Compare losses against ground truth over seeds: λ and α of silog, l1, berHu, and a gradient term; the same
    command resumes an interrupted study."""

    options: Annotated[TrainArguments, tyro.conf.arg(name="")] = field(
        default_factory=lambda: TrainArguments(**NETWORK)
    )
    record: Path | None = None
    """Folder for losses.md and losses.json: every seed's figures, and what follows from them."""

    def run(self) -> int:
        check_fields(self)
        check_study_outputs("losses", self.out, self.record)
        command = command_line("losses", self, StudyLossesCommand())
        page = write_study(*study_losses(self, command), self.out, self.record)
        print(f"The report is {page}")
        return 0
