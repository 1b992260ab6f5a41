"""Check a study's record: compute all its figures again, and the tables of the documents that quote it."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from leadline.core.errors import BadInput, unknown
from leadline.core.paths import StrPath
from leadline.core.specs import parse_spec
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.records import (
    Record,
    answers,
    claims_table,
    derive,
    differences,
    read_record,
    record_markdown,
    rows_table,
)
from leadline.io.atomic import atomic_write

_BLOCK = re.compile(r"(<!-- record (?P<spec>[^\n]+?) -->\n)(?P<text>.*?)(\n<!-- end -->)", re.DOTALL)
"""Its text begins and ends with an empty line, or is one where nothing was quoted yet."""


def check_record(path: StrPath, documents: Sequence[StrPath] = (), *, rewrites: bool = False) -> list[str]:
    """Compute again what a record derives, the page beside it, and the blocks that documents quote of it.

    A block of a document stands between `<!-- record FILE.json:rows,arms=a+b,metrics=rmse+d1 -->` and `<!-- end -->`;
    besides `rows` there are `claims`, of one `family=` or of all, and `answers`.

    Args:
        path: the record, NAME.json; NAME.md beside it is its page.
        documents: Markdown files; blocks of other records, by their path from the document, are passed over.
        rewrites: write pages and blocks as they should be.

    Returns:
        What does not follow from the record's figures of single seeds, a line each.

    Raises:
        BadInput: a file is missing or is no record, or a block asks for what there is not.
    """
    path = Path(path)
    record = read_record(path)
    problems = [f"{path}: {each}" for each in differences(record["derived"], derive(record), "derived")]
    problems += _compared(path.with_suffix(".md"), record_markdown(record), rewrites=rewrites)
    for document in map(Path, documents):
        if not document.is_file():
            raise BadInput(f"No document at {document}.")
        text = document.read_text(encoding="utf-8")
        problems += _compared(document, _with_blocks(text, document, path, record), rewrites=rewrites)
    return problems


def quoted_records(document: StrPath) -> list[str]:
    """Return the file names of the records that a document's blocks quote."""
    text = Path(document).read_text(encoding="utf-8")
    return sorted({_file_name(block["spec"]) for block in _BLOCK.finditer(text)})


def _compared(file: Path, expected: str, *, rewrites: bool) -> list[str]:
    found = file.read_text(encoding="utf-8") if file.is_file() else ""
    if found == expected:
        return []
    if not file.is_file() and not rewrites:
        return [f"{file} is missing: --write writes it."]
    if rewrites:
        with atomic_write(file) as half:
            half.write_text(expected, encoding="utf-8")
        return []
    lines = list(zip([*found.splitlines(), ""], [*expected.splitlines(), ""], strict=False))
    place = next((n for n, (one, other) in enumerate(lines) if one != other), len(lines) - 1)
    return [f"{file}:{place + 1}: {lines[place][0]!r:.200} stands there, and {lines[place][1]!r:.200} follows"]


def _with_blocks(text: str, document: Path, path: Path, record: Record) -> str:
    """Return a document's text with its blocks of this record as they follow from it."""

    def block(found: "re.Match[str]") -> str:
        quoted = document.parent / parse_spec(found["spec"])[0]
        if quoted.resolve() != path.resolve():
            return found[0]
        return f"{found[1]}\n{_rendered(found['spec'], record)}\n{found[4]}"

    return _BLOCK.sub(block, text)


def _file_name(spec: str) -> str:
    return Path(parse_spec(spec)[0]).name


def _rendered(spec: str, record: Record) -> str:
    _, what, options = parse_spec(spec)
    if what not in _BLOCKS:
        raise unknown("block", str(what), _BLOCKS)
    return _BLOCKS[what](record, options)


def _rows(record: Record, options: Mapping[str, str]) -> str:
    arms = options["arms"].split("+") if "arms" in options else []
    metrics = options["metrics"].split("+") if "metrics" in options else []
    for name in arms:
        if name not in record["arms"]:
            raise unknown("arm", name, record["arms"])
    for name in metrics:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
    return rows_table(record, arms, *([metrics] if metrics else []))


_BLOCKS: Mapping[str, Callable[[Record, Mapping[str, str]], str]] = {
    "rows": _rows,
    "claims": lambda record, options: claims_table(record, options.get("family", "")),
    "answers": lambda record, options: answers(record),
}
"""What a document may quote."""
