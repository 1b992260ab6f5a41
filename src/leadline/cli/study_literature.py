"""`leadline study literature`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.core.ranges import check_fields
from leadline.recipes.study_literature import TRAINING, LiteratureStudyOptions, study_literature
from leadline.recipes.study_outputs import check_study_outputs, command_line, write_study


@dataclass(frozen=True)
class StudyLiteratureCommand(LiteratureStudyOptions):
    """Train the literature's networks side by side over seeds: equal images, equal steps, one encoder where it is free.

    The networks are those of docs/literature.md at their tiny size; --model is not used. The same command resumes an
    interrupted study.
    """

    options: Annotated[TrainArguments, tyro.conf.arg(name="")] = field(
        default_factory=lambda: TrainArguments(**TRAINING)
    )
    record: Path | None = None
    """Folder for literature.md and literature.json: every seed's figures, and what follows from them."""

    def run(self) -> int:
        check_fields(self)
        check_study_outputs("literature", self.out, self.record)
        command = command_line("literature", self, StudyLiteratureCommand())
        page = write_study(*study_literature(self, command), self.out, self.record)
        print(f"The report is {page}")
        return 0
