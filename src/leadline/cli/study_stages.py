"""`leadline study stages`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.core.ranges import check_fields
from leadline.recipes.study_outputs import check_study_outputs, command_line, write_study
from leadline.recipes.study_stages import StagesStudyOptions, study_stages


@dataclass(frozen=True)
class StudyStagesCommand(StagesStudyOptions):
    """Compare multi-stage with end-to-end training over seeds, at equal steps in all and in each part; the same command
    resumes an interrupted study."""

    options: Annotated[TrainArguments, tyro.conf.arg(name="")] = field(default_factory=TrainArguments)
    record: Path | None = None
    """Folder for stages.md and stages.json: every seed's figures, and what follows from them."""

    def run(self) -> int:
        check_fields(self)
        check_study_outputs("stages", self.out, self.record)
        command = command_line("stages", self, StudyStagesCommand())
        page = write_study(*study_stages(self, command), self.out, self.record)
        print(f"The report is {page}")
        return 0
