"""`leadline study check`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from leadline.evaluation.record_check import check_record


@dataclass(frozen=True)
class StudyCheckCommand:
    """Compute every figure of a study's record again from its single seeds, and the page and documents that quote it.

    The exit code is 1 if anything differs.
    """

    record: Annotated[Path, tyro.conf.Positional]
    """NAME.json as `leadline study` wrote it; its page NAME.md lies beside it."""
    documents: tuple[Path, ...] = ()
    """Markdown files with blocks <!-- record NAME.json:rows --> … <!-- end -->."""
    write: bool = False
    """Write page and blocks as they follow from the record; figures that the record itself derives are not changed."""

    def run(self) -> int:
        problems = check_record(self.record, self.documents, rewrites=self.write)
        for problem in problems:
            print(problem)
        print(f"{self.record}: {f'{len(problems)} things do not follow' if problems else 'everything follows'}")
        return 1 if problems else 0
