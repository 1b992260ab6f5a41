"""`leadline study literature`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.core.ranges import check_fields
from leadline.io.atomic import atomic_write
from leadline.io.outputs import check_replaceable
from leadline.recipes.study_literature import TRAINING, LiteratureStudyOptions, study_literature
from leadline.reporting.report import check_report_folder, publish


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
    """Folder for literature.md and literature.json, the tables alone."""

    def run(self) -> int:
        check_fields(self)
        check_report_folder(self.out)
        folders = [folder for folder in (self.out, self.record) if folder]
        for folder in folders:
            check_replaceable(
                folder / "literature.json",
                "--out" if folder == self.out else "--record",
                keys=frozenset({"options", "rows"}),
                beside=["literature.md"],
            )
        report, record = study_literature(self)
        page = publish(report, self.out)
        tables = [table.markdown() for table in report.sections[0].tables]
        for folder in folders:
            with atomic_write(folder / "literature.json") as half:
                half.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            with atomic_write(folder / "literature.md") as half:
                half.write_text("\n\n".join([f"# {report.title}", report.prose, *tables]) + "\n", encoding="utf-8")
        print(f"The report is {page}")
        return 0
