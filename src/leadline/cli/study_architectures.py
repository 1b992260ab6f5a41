"""`leadline study architectures`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.core.ranges import check_fields
from leadline.recipes.study_architectures import TRAINING, ArchitecturesStudyOptions, study_architectures
from leadline.recipes.study_outputs import check_study_outputs, command_line, write_study


@dataclass(frozen=True)
class StudyArchitecturesCommand(ArchitecturesStudyOptions):
    """Compare a CNN, a transformer and both together over seeds and sizes of the training set; the same command resumes
    an interrupted study."""

    options: Annotated[TrainArguments, tyro.conf.arg(name="")] = field(
        default_factory=lambda: TrainArguments(**TRAINING)
    )
    record: Path | None = None
    """Folder for architectures.md and architectures.json: every seed's figures, and what follows from them."""

    def run(self) -> int:
        check_fields(self)
        check_study_outputs("architectures", self.out, self.record)
        command = command_line("architectures", self, StudyArchitecturesCommand())
        page = write_study(*study_architectures(self, command), self.out, self.record)
        print(f"The report is {page}")
        return 0
