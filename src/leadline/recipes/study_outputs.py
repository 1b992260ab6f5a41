"""Outputs of the studies: their report, their record, and the command line that made them."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from leadline.core.paths import StrPath
from leadline.evaluation.records import record_markdown
from leadline.io.atomic import atomic_write
from leadline.io.outputs import check_replaceable
from leadline.reporting.report import Report, check_report_folder, publish


def check_study_outputs(name: str, out: StrPath, record: StrPath | None) -> None:
    """Refuse folders that hold files of these names which no study wrote.

    Args:
        name: of the study.
        out: its folder.
        record: folder of the record beside it, if there is one.
    """
    check_report_folder(out)
    for option, folder in (("--out", out), ("--record", record)):
        if folder:
            keys = frozenset({"command", "arms"})
            check_replaceable(Path(folder) / f"{name}.json", option, keys=keys, beside=[f"{name}.md"])


def write_study(report: Report, record: Mapping[str, Any], out: StrPath, folder: StrPath | None) -> Path:
    """Write the report, and the record in both folders; print the tables.

    Args:
        report: what the page says.
        record: its figures.
        out: the study's folder.
        folder: of the record beside it, if there is one.

    Returns:
        The report's page.
    """
    page = publish(report, out)
    for place in map(Path, (out, *([folder] if folder else []))):
        with atomic_write(place / f"{record['study']}.json") as half:
            half.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        with atomic_write(place / f"{record['study']}.md") as half:
            half.write_text(record_markdown(record), encoding="utf-8")
    return page


def command_line(name: str, options: Any, defaults: Any) -> str:
    """Return the command line of a study: all options that differ from their defaults, but for where it was run.

    Args:
        name: of the study.
        options: of the command.
        defaults: the command without options.
    """
    left_out = {key: getattr(defaults, key) for key in ("out", "train", "jobs")}
    return " ".join([f"leadline study {name}", *_options(replace(options, **left_out), defaults)])


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
