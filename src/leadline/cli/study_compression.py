"""`leadline study compression`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.core.ranges import check_fields
from leadline.recipes.study_compression import NETWORK, CompressionStudyOptions, study_compression
from leadline.recipes.study_outputs import check_study_outputs, command_line, write_study


@dataclass(frozen=True)
class StudyCompressionCommand(CompressionStudyOptions):
    """Prune and quantise one network, finetune each result with and without the original as the teacher, over seeds,
    and compare; the same command resumes an interrupted study. Needs `pip install 'leadline[compress]'`."""

    options: Annotated[TrainArguments, tyro.conf.arg(name="")] = field(
        default_factory=lambda: TrainArguments(**NETWORK)
    )
    record: Path | None = None
    """Folder for compression.md and compression.json: every seed's figures, and what follows from them."""

    def run(self) -> int:
        check_fields(self)
        check_study_outputs("compression", self.out, self.record)
        command = command_line("compression", self, StudyCompressionCommand())
        page = write_study(*study_compression(self, command), self.out, self.record)
        print(f"The report is {page}")
        return 0
