"""`leadline study stages`."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.core.ranges import check_fields
from leadline.recipes.study_stages import StagesStudyOptions, study_stages
from leadline.reporting.report import check_report_folder, publish


@dataclass(frozen=True)
class StudyStagesCommand(StagesStudyOptions):
    """Compare multi-stage with end-to-end training over seeds, with equal steps and images; the same command resumes an
    interrupted study."""

    options: Annotated[TrainArguments, tyro.conf.arg(name="")] = field(default_factory=TrainArguments)

    def run(self) -> int:
        check_fields(self)
        check_report_folder(self.out)
        print(f"The report is {publish(study_stages(self), self.out)}")
        return 0
