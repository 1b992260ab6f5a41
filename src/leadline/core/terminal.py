"""What commands print: JSON, and tables for the terminal's width, which go as Markdown into a file or a pipe."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from leadline.core.markdown import is_numeric

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text
else:
    Console = RenderableType = Table = Text = Any

LARGEST_WIDTH = 180
"""Characters that a table's lines have at most: the eye loses longer ones."""
_GAP = 3
"""Characters between two columns."""


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON, at once; in ASCII where the output cannot hold all letters.

    Args:
        value: what JSON can hold.
        indent: spaces for each level; None: one line.
    """
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    print(json.dumps(value, indent=indent, ensure_ascii=not is_unicode), flush=True)


@runtime_checkable
class PrintableTable(Protocol):
    """Describe what can be printed: a title, labels above cells, and remarks."""

    @property
    def title(self) -> str:
        """Printed above the table; empty: none."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """Printed below it."""
        ...

    @property
    def bold(self) -> frozenset[tuple[int, int]]:
        """Row and column of the cells of `body()` to stress."""
        ...

    def head(self) -> list[str]:
        """Return the columns' labels."""
        ...

    def body(self) -> list[list[str]]:
        """Return the cells under `head()`."""
        ...

    def markdown(self) -> str:
        """Return all of it as Markdown."""
        ...


def print_table(table: PrintableTable) -> None:
    """Print a table on standard output.

    A terminal gets it in as few lines as its width allows: as it is, with rows and columns exchanged, or with a block
    for each row. A file or a pipe gets Markdown.
    """
    if not sys.stdout.isatty():
        print(table.markdown())
        return
    from rich.console import Console, Group
    from rich.table import Table

    console = Console(highlight=False)
    console.width = min(console.width, LARGEST_WIDTH)
    remarks = Table.grid(padding=(0, 1))
    for remark in table.remarks:
        remarks.add_row("-", _text(remark))
    title = [_text(table.title, is_bold=True)] if table.title else []
    console.print(Group(*title, *_layout(console, table.head(), table.body(), table.bold), "", remarks))


def _layout(
    console: Console, head: Sequence[str], body: Sequence[Sequence[str]], bold: frozenset[tuple[int, int]]
) -> list[RenderableType]:
    """Return what all rows have alike, and the rest in the layout of the fewest lines that breaks no word."""
    is_alike = [len(body) > 1 and place > 0 and len({row[place] for row in body}) == 1 for place in range(len(head))]
    alike = [f"{label}: {body[0][place]}" for place, label in enumerate(head) if is_alike[place]]
    kept = [place for place in range(len(head)) if not is_alike[place]]
    columns = [[label, *cells] for label, *cells in zip(head, *body, strict=True)]
    rows = list(zip(*(columns[place] for place in kept), strict=True))
    stressed = frozenset((row, kept.index(column)) for row, column in bold if column in kept)
    exchanged = list(zip(*rows, strict=True))
    turned = frozenset((column - 1, row + 1) for row, column in stressed)
    blocks = _blocks(rows[0], rows[1:], stressed)
    grids = [*_grids(console.width, rows, stressed), *_grids(console.width, exchanged, turned)]
    least = min([*grids, blocks], key=lambda each: len(console.render_lines(each)))
    return [*([_text(" · ".join(alike)), ""] if alike else []), least]


def _grids(width: int, rows: Sequence[Sequence[str]], bold: frozenset[tuple[int, int]]) -> Iterator[Table]:
    """Yield tables of the rows, the first of which holds the labels; none if the words have no room in the width."""
    from rich.cells import cell_len

    columns = list(zip(*rows, strict=True))
    whole = [max(map(cell_len, column)) for column in columns]
    least = [max(cell_len(part) for cell in column for part in _unbroken(cell)) for column in columns]
    wanted, room = sum(whole) - sum(least), width - _GAP * len(columns) - sum(least)
    if room < 0:
        return
    # Either as many columns as can be get all they want, or each the same part of it.
    greedy, spare = list(least), room
    for place in sorted(range(len(columns)), key=lambda each: whole[each] - least[each]):
        greedy[place] += min(whole[place] - least[place], spare)
        spare -= greedy[place] - least[place]
    yield _grid(greedy, columns, bold)
    if wanted > room:
        even = [few + room * (most - few) // wanted for few, most in zip(least, whole, strict=True)]
        yield _grid(even, columns, bold)


def _grid(widths: Sequence[int], columns: Sequence[Sequence[str]], bold: frozenset[tuple[int, int]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for width, (label, *cells) in zip(widths, columns, strict=True):
        side = "right" if is_numeric(cells) else "left"
        table.add_column(_text(label), justify=side, vertical="bottom", width=width)
    for number, cells in enumerate(zip(*(column[1:] for column in columns), strict=True)):
        table.add_row(*(_text(cell, (number, place) in bold) for place, cell in enumerate(cells)))
    return table


def _unbroken(cell: str) -> list[str]:
    """Return what stays on one line of a cell: a word of a text, and a number with its error, 0.512 ± 0.004."""
    return cell.split() or [""] if any(letter.isalpha() for letter in cell) else [cell]


def _blocks(head: Sequence[str], body: Sequence[Sequence[str]], bold: frozenset[tuple[int, int]]) -> RenderableType:
    """Return for each row its first cell, and below it a line for each other one, with its label."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table

    blocks: list[RenderableType] = [] if body else [_text(" · ".join(head))]
    for number, (first, *others) in enumerate(body):
        lines = Table.grid(padding=(0, 2))
        for place, cell in enumerate(others, 1):
            lines.add_row(_text(head[place]), _text(cell, (number, place) in bold))
        blocks += [_text(first, is_bold=True), Padding(lines, (0, 0, 1, 2))]
    return Group(*blocks)


def _text(cell: str, is_bold: bool = False) -> Text:
    """Return text as it is, without rich's own marks in brackets."""
    from rich.text import Text

    return Text(cell, style="bold" if is_bold else "")
