"""`leadline study distillation`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.core.ranges import check_fields
from leadline.recipes.study_distillation import STUDENT, DistillationStudyOptions, study_distillation
from leadline.recipes.study_outputs import check_study_outputs, command_line, write_study


@dataclass(frozen=True)
class StudyDistillationCommand(DistillationStudyOptions):
    """Find out why the paper's distillation failed, and what a teacher adds: each cause varied alone, against controls.

    Without options: rooms of domain a teach a hybrid, which 64 rooms of domain b fine-tune; the student is a small
    network that has those 64, and 1024 rooms of domain b without a target depth. With the published teacher:
    --data nyu --labelled 0 --unlabelled none --teacher dpt_hybrid_nyu --relative-teacher dpt_hybrid
    --student midas_small,kind=metric,head=log. The same command resumes an interrupted study.
    """

    options: Annotated[TrainArguments, tyro.conf.arg(name="")] = field(
        default_factory=lambda: TrainArguments(**STUDENT)
    )
    record: Path | None = None
    """Folder for distillation.md and distillation.json: every seed's figures, and what follows from them."""

    def run(self) -> int:
        check_fields(self)
        check_study_outputs("distillation", self.out, self.record)
        command = command_line("distillation", self, StudyDistillationCommand())
        page = write_study(*study_distillation(self, command), self.out, self.record)
        print(f"The report is {page}")
        return 0
