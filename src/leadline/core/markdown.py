"""Markdown: tables that line up, and text that stays text."""

import re
from collections.abc import Sequence


def markdown_table(
    head: Sequence[str], body: Sequence[Sequence[str]], bold: frozenset[tuple[int, int]] = frozenset()
) -> str:
    """Write a table whose columns line up, numbers to the right, and whose cells show no HTML.

    Args:
        head: the columns' labels.
        body: the cells, one sequence for each row.
        bold: row and column of the cells of `body` to stress.
    """
    stressed = [
        [f"**{cell}**" if (row, column) in bold else cell for column, cell in enumerate(cells)]
        for row, cells in enumerate(body)
    ]
    lines = [list(map(escape_cell, cells)) for cells in (head, *stressed)]
    columns = []
    below = zip(*body, strict=True) if body else ((),) * len(head)
    for column, plain in zip(zip(*lines, strict=True), below, strict=True):
        width = max(3, *map(len, column))
        rule = "-" * (width - 1)
        if is_numeric(plain):
            columns.append([column[0].rjust(width), f"{rule}:", *(cell.rjust(width) for cell in column[1:])])
        else:
            columns.append([column[0].ljust(width), f":{rule}", *(cell.ljust(width) for cell in column[1:])])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in zip(*columns, strict=True))


def is_numeric(column: Sequence[str]) -> bool:
    """Tell whether a column holds numbers, which stand at its right edge."""
    return bool(column) and all(cell[:1].isdigit() or cell[:1] in "–-" for cell in column)


def escape_markdown(text: str) -> str:
    """Escape what a Markdown reader would take for HTML, a link or an image; `**` and backquotes stay."""
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    return text.replace("![", "!&#91;").replace("](", "]&#40;")


def escape_cell(text: str) -> str:
    """Escape a table's cell: as `escape_markdown`, on one line, and without the end of the cell."""
    return escape_markdown(text).replace("\n", " ").replace("|", "\\|")
