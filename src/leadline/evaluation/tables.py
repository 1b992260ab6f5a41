"""Tables: rows of metrics, each of which says its protocol, its kind of depth and how much it was measured on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from leadline.core.errors import BadInput
from leadline.core.markdown import escape_markdown, html_table, markdown_table
from leadline.evaluation.metrics import METRICS

COLUMNS = tuple(name for name in METRICS if name != "silog_loss")
"""The metrics that a table shows."""


@dataclass(frozen=True)
class ImageScore:
    """One image's metrics."""

    name: str
    index: int
    """Its place in the dataset."""
    metrics: Mapping[str, float]
    pixels: int
    """How many counted."""


@dataclass(frozen=True)
class Row:
    """What one predictor scored."""

    name: str
    metrics: Mapping[str, float]
    """Metric name → value; over several runs their mean."""
    protocol: str
    """In words, with every departure from the named one."""
    kind: str
    """What the predictions promise: metric, scale_free or relative."""
    images: int
    """How many had pixels that count."""
    pixels: int
    """How many counted."""
    is_baseline: bool = False
    """It has not seen the images."""
    runs: int = 1
    """Trainings that differ in nothing but the seed."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Metric name → standard error of the mean over the runs."""
    note: str = ""
    per_image: tuple[ImageScore, ...] = ()
    reversed_images: tuple[str, ...] = ()
    """Those that fit their ground truth by a negative factor only, which no kind of depth allows: scored as
    constants."""

    def cell(self, metric: str) -> str:
        """`0.512`, or `0.512 ± 0.004` over several runs."""
        printed = METRICS[metric].printed
        error = f" ± {printed(self.errors[metric])}" if metric in self.errors else ""
        return printed(self.metrics[metric]) + error

    def worst(self, count: int, metric: str = "rmse") -> list[ImageScore]:
        """Return the images with the worst values of a metric, worst first."""
        sign = 1 if METRICS[metric].higher_is_better else -1
        return sorted(self.per_image, key=lambda image: sign * image.metrics[metric])[:count]

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON holds, without the images' own scores; NaN becomes None."""
        values = {key: value for key, value in vars(self).items() if key != "per_image"}
        return {**values, "metrics": _plain(self.metrics), "errors": _plain(self.errors)}


@dataclass(frozen=True)
class Table:
    """Rows on one set of images, and what must be said of them."""

    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """`Protocol.as_dict()` of the rows, where they share one."""

    def best(self, metric: str) -> frozenset[int]:
        """Places of the rows that print the best value among the rows of their protocol, if there are others."""
        better = max if METRICS[metric].higher_is_better else min
        found: set[int] = set()
        for protocol in {row.protocol for row in self.rows}:
            alike = [(place, row.metrics[metric]) for place, row in enumerate(self.rows) if row.protocol == protocol]
            numbers = [(place, METRICS[metric].printed(value)) for place, value in alike if not math.isnan(value)]
            if len(numbers) > 1:
                best = better((number for _, number in numbers), key=float)
                found |= {place for place, number in numbers if number == best}
        return frozenset(found)

    def head(self) -> list[str]:
        """Return the columns' labels: metrics with their unit and an arrow to where better is."""
        return ["", *(METRICS[name].heading for name in COLUMNS), "depth", "protocol", "images", "pixels"]

    def body(self) -> list[list[str]]:
        """Return the cells under `head()`."""
        return [
            [
                row.name + (f" (mean ± standard error, {row.runs} runs)" if row.runs > 1 else ""),
                *(row.cell(name) for name in COLUMNS),
                row.kind,
                row.protocol,
                str(row.images),
                f"{row.pixels:,}",
            ]
            for row in self.rows
        ]

    @property
    def remarks(self) -> list[str]:
        """The notes of the table and of its rows."""
        return [*self.notes, *(f"{row.name}: {row.note}" for row in self.rows if row.note)]

    @property
    def bold(self) -> frozenset[tuple[int, int]]:
        """Row and column of the cells of `body()` that hold a best value."""
        return frozenset(
            (place, column) for column, metric in enumerate(COLUMNS, start=1) for place in self.best(metric)
        )

    def markdown(self) -> str:
        """Return the title, the table with the best values bold, and its remarks, as Markdown."""
        return _markdown(self)

    def _repr_html_(self) -> str:
        return html_table(self.title, self.head(), self.body(), self.remarks, self.bold)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON holds: `metrics` and `per_image` are those of the first row."""
        first = self.rows[0]
        return {
            "title": self.title,
            "metrics": _plain(first.metrics),
            "protocol": dict(self.protocol) or {"words": first.protocol},
            "rows": [row.as_dict() for row in self.rows],
            "notes": list(self.notes),
            "per_image": [{**vars(image), "metrics": _plain(image.metrics)} for image in first.per_image],
        }


@dataclass(frozen=True)
class TextTable:
    """Hold a table of text."""

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()
    bold: frozenset[tuple[int, int]] = frozenset()
    """Row and column of the cells to stress."""

    def head(self) -> list[str]:
        """Return the columns' labels."""
        return list(self.header)

    def body(self) -> list[list[str]]:
        """Return the cells under `head()`."""
        return [list(line) for line in self.lines]

    def markdown(self) -> str:
        """Return the title, the table and its remarks, as Markdown."""
        return _markdown(self)

    def _repr_html_(self) -> str:
        return html_table(self.title, self.head(), self.body(), self.remarks, self.bold)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON holds."""
        return {"title": self.title, "head": self.head(), "body": self.body(), "notes": list(self.remarks)}


def average_runs(name: str, rows: Sequence[Row]) -> Row:
    """Average the rows of several trainings that differ in the seed: mean and standard error of the mean.

    Raises:
        BadInput: the rows differ in protocol or kind.
    """
    for what, values in (("protocol", {row.protocol for row in rows}), ("kind", {row.kind for row in rows})):
        if len(values) != 1:
            raise BadInput(
                f"Runs of {name!r} differ in their {what} ({', '.join(sorted(values))}): evaluate them alike."
            )
    metrics = {metric: [row.metrics[metric] for row in rows] for metric in rows[0].metrics}
    return Row(
        name=name,
        metrics={metric: fmean(values) for metric, values in metrics.items()},
        protocol=rows[0].protocol,
        kind=rows[0].kind,
        images=rows[0].images,
        pixels=rows[0].pixels,
        runs=len(rows),
        errors={}
        if len(rows) == 1
        else {metric: stdev(values) / math.sqrt(len(values)) for metric, values in metrics.items()},
        note="; ".join(dict.fromkeys(row.note for row in rows if row.note)),
    )


def _markdown(table: Table | TextTable) -> str:
    grid = markdown_table(table.head(), table.body(), table.bold)
    remarks = "\n".join(f"- {escape_markdown(remark)}" for remark in table.remarks)
    title = f"**{escape_markdown(table.title)}**" if table.title else ""
    return "\n\n".join(filter(None, [title, grid, remarks])) + "\n"


def _plain(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
