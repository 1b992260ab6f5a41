"""`leadline study distillation`."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from leadline.cli.train_arguments import TrainArguments
from leadline.core.ranges import check_fields
from leadline.io.atomic import atomic_write
from leadline.io.outputs import check_replaceable
from leadline.recipes.study_distillation import STUDENT, DistillationStudyOptions, study_distillation, training_time
from leadline.reporting.report import check_report_folder, publish


@dataclass(frozen=True)
class StudyDistillationCommand(DistillationStudyOptions):
    """Find out why the paper's distillation failed, and what fixes it: one change a row, against a control without a
    teacher.

    Without options: rooms of domain a teach a hybrid, which 64 rooms of domain b fine-tune; the student is a small
    network that has those 64, and 2000 rooms of domain b without a target depth. With the published teacher:
    --data nyu --labelled 0 --unlabelled none --teacher dpt_hybrid_nyu --relative-teacher dpt_hybrid
    --student midas_small,kind=metric,head=log. The same command resumes an interrupted study.
    """

    options: Annotated[TrainArguments, tyro.conf.arg(name="")] = field(
        default_factory=lambda: TrainArguments(**STUDENT)
    )
    record: Path | None = None
    """Folder for distillation.md and distillation.json, the table alone."""

    def run(self) -> int:
        check_fields(self)
        check_report_folder(self.out)
        folders = [folder for folder in (self.out, self.record) if folder]
        for folder in folders:
            check_replaceable(
                folder / "distillation.json",
                "--out" if folder == self.out else "--record",
                keys=frozenset({"command", "rows"}),
                beside=["distillation.md"],
            )
        report, record = study_distillation(self)
        page = publish(report, self.out)
        tables = [table.markdown() for table in report.sections[0].tables]
        parts = [f"# {report.title}", f"    {self.command()}", report.prose, *tables, training_time(self)]
        for folder in folders:
            with atomic_write(folder / "distillation.json") as half:
                text = json.dumps({"command": self.command(), **record}, indent=1, ensure_ascii=False)
                half.write_text(text + "\n", encoding="utf-8")
            with atomic_write(folder / "distillation.md") as half:
                half.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        print(f"The report is {page}")
        return 0

    def command(self) -> str:
        """Return the command line of this study: all options that differ from their defaults."""
        options = _options(replace(self, out=StudyDistillationCommand.out), StudyDistillationCommand())
        return " ".join(["leadline study distillation", *options])


def _options(options: Any, defaults: Any, prefix: str = "") -> Iterator[str]:
    """Yield the options of a dataclass that differ from the defaults, as they are typed."""
    for each in fields(options):
        value, default = getattr(options, each.name), getattr(defaults, each.name)
        name = prefix + each.name.replace("_", "-")
        if value == default:
            continue
        if is_dataclass(value):
            yield from _options(value, default, "augmentation." if each.name == "augmentation" else "")
        elif isinstance(value, bool):
            yield f"--{name}" if value else f"--no-{name}"
        else:
            yield f"--{name} {shlex.join(map(str, value if isinstance(value, tuple) else (value,)))}"
