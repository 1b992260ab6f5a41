"""Markdown: tables that line up, and text that stays text; and the same tables as HTML."""

import html
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


def html_table(
    title: str,
    head: Sequence[str],
    body: Sequence[Sequence[str]],
    remarks: Sequence[str] = (),
    bold: frozenset[tuple[int, int]] = frozenset(),
) -> str:
    """Write a table as HTML, as a notebook shows it.

    Args:
        title: above it; empty: none.
        head: the columns' labels.
        body: the cells, one sequence for each row.
        remarks: sentences below it.
        bold: row and column of the cells of `body` to stress.
    """
    sides = ["right" if is_numeric(column) else "left" for column in zip(*body, strict=True)] or ["left"] * len(head)

    def cell(tag: str, text: str, side: str, is_bold: bool = False) -> str:
        shown = f"<b>{html.escape(text)}</b>" if is_bold else html.escape(text)
        return f'<{tag} style="text-align: {side}">{shown}</{tag}>'

    rows = ["".join(cell("th", label, side) for label, side in zip(head, sides, strict=True))]
    for number, cells in enumerate(body):
        places = enumerate(zip(cells, sides, strict=True))
        rows.append("".join(cell("td", text, side, (number, place) in bold) for place, (text, side) in places))
    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    below = "".join(f"<li>{html.escape(remark)}</li>" for remark in remarks)
    lines = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>{caption}\n{lines}\n</table>" + (f"\n<ul>{below}</ul>" if below else "")


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
