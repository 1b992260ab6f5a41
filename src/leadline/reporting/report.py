"""Reports: tables and pictures → one HTML page that needs nothing else, and the same as Markdown and JSON."""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from torch import Tensor
from torch.nn import functional as F

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.markdown import escape_cell, escape_markdown, is_numeric
from leadline.core.paths import StrPath
from leadline.core.sample import ImageTensor
from leadline.core.terminal import print_table
from leadline.data.datasets import Dataset
from leadline.evaluation.evaluate import evaluate, predict_views
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.score_table import ConstantBaseline
from leadline.evaluation.tables import ImageScore, Table, TextTable
from leadline.inference.tensors import predict_tensor
from leadline.io.atomic import atomic_write
from leadline.io.colormaps import (
    ERROR_SCALE,
    ColorScale,
    colorize,
    colorize_error,
    depth_color_scale,
    encode_image,
    fit_color_scale,
)
from leadline.io.discovery import find_images
from leadline.io.images import read_photograph
from leadline.io.outputs import GENERATOR, check_replaceable, printable
from leadline.models.base import DepthModel
from leadline.reporting.charts import colour_legend, metric_bars

PANEL_WIDTH = 360
"""Pixels: larger pictures are shrunk to it in a gallery."""


@dataclass(frozen=True)
class Chart:
    """A drawing, as SVG."""

    svg: str
    caption: str


@dataclass(frozen=True, eq=False)
class Exhibit:
    """One line of a gallery: a photograph, and maps of it."""

    caption: str
    photograph: ImageTensor
    maps: tuple[ImageTensor, ...]


@dataclass(frozen=True)
class Gallery:
    """Photographs with maps of them, side by side."""

    columns: tuple[str, ...]
    """What the photograph and each map are."""
    exhibits: tuple[Exhibit, ...]
    legends: tuple[ColorScale, ...]
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of a report.

    In `prose`, an empty line parts paragraphs, a paragraph of lines that begin with `- ` is a list, **stars** stress
    and `backquotes` quote.
    """

    title: str
    prose: str = ""
    tables: tuple[Table | TextTable, ...] = ()
    figures: tuple[Chart | Gallery, ...] = ()


@dataclass(frozen=True, repr=False)
class Report:
    """What a page says; a notebook shows all of it but the galleries."""

    title: str
    sections: tuple[Section, ...]
    prose: str = ""

    def __repr__(self) -> str:
        return f"Report({self.title!r}: {', '.join(section.title for section in self.sections)})"

    def _repr_html_(self) -> str:
        parts = [f"<h3>{escape(self.title)}</h3>", _prose_html(self.prose)]
        for section in self.sections:
            shown = [table._repr_html_() for table in section.tables]
            shown += [figure.svg for figure in section.figures if isinstance(figure, Chart)]
            if shown or section.prose:
                parts += [f"<h4>{escape(section.title)}</h4>", _prose_html(section.prose), *shown]
        return printable("\n".join(map(str, parts)))


def write_report(report: Report, directory: StrPath) -> Path:
    """Write `report.html`, `report.md` (with its figures in `figures/`) and `report.json`; the page's path.

    The page holds its style and pictures itself, runs no script, and reads light, dark and printed.
    """
    directory = Path(directory)
    # First the file by which the folder is known as a report's: a killed run may then be repeated.
    directory = Path(directory)
    _write(directory / "report.json", json.dumps(_plain(report), indent=1, ensure_ascii=False))
    _write(directory / "report.md", _markdown(report, _Figures(directory)))
    _write(directory / "report.html", page(report))
    return directory / "report.html"


def check_report_folder(directory: StrPath) -> None:
    """Refuse a folder with files that a report would replace, and that no report wrote.

    Raises:
        BadInput: it has such files, or is a file.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise BadInput(f"--out {directory} is a file: choose a folder.")
    data, *others = (directory / name for name in ("report.json", "report.md", "report.html", "figures"))
    check_replaceable(data, "--out", keys=frozenset({"title", "prose", "sections"}))
    taken = [str(path) for path in others if path.exists()]
    if taken and not data.exists():
        raise BadInput(f"{', '.join(taken)} would be replaced, and no report wrote it: choose another --out.")


def publish(report: Report, directory: StrPath) -> Path:
    """`write_report`, and print the tables of its first section and its prose."""
    path = write_report(report, directory)
    for table in report.sections[0].tables:
        print_table(table)
    print(report.prose)
    return path


def page(report: Report) -> str:
    """Render the report as one HTML page that needs no other file."""
    place = files("leadline.reporting")
    template = _environment().from_string(place.joinpath("report.html.j2").read_text(encoding="utf-8"))
    style = place.joinpath("report.css").read_text(encoding="utf-8")
    return printable(template.render(report=report, style=Markup(style), generator=Markup(GENERATOR)))


def model_report(
    model: DepthModel,
    dataset: Dataset,
    protocol: EvalProtocol,
    *,
    training: Dataset | ConstantBaseline | None = None,
    name: str = "",
    worst: int = 8,
    photos: Sequence[StrPath] = (),
    batch_size: int = 8,
    progress: bool = False,
) -> Report:
    """Evaluate a model and report it: table, bars, its worst images, and photographs without measured depth.

    Args:
        model: the model, on the device that it computes on.
        dataset: images with measured depth in metres.
        protocol: how predictions are compared with them.
        training: where the baselines' constants come from, as for `evaluate`.
        name: what the table calls the model.
        worst: images to show, those with the largest RMSE first.
        photos: photographs without measured depth, to show with their predictions.
        batch_size: images that the model sees at once.
        progress: show a progress bar on standard error.

    Raises:
        BadInput: as `evaluate`.
    """
    table = evaluate(model, dataset, protocol, training=training, name=name, batch_size=batch_size, progress=progress)
    numbers = Section(
        "Numbers",
        f"Protocol {protocol.description}. The grey rows have seen depths but no image: they say what a number is "
        "worth.",
        (table,),
        (Chart(metric_bars(table.rows), "The same numbers as bars from zero; arrows point to where better is."),),
    )
    return Report(
        f"{table.rows[0].name} on {dataset.name}",
        (
            numbers,
            worst_images(model, dataset, protocol, table.rows[0].worst(worst)),
            *([photographs(model, photos)] if photos else []),
            reading(),
        ),
        _introduced(model),
    )


def worst_images(model: DepthModel, dataset: Dataset, protocol: EvalProtocol, scores: Sequence[ImageScore]) -> Section:
    """Show images of a dataset with their measured depth, the predictions and their errors.

    Args:
        model: the model.
        dataset: what the scores were measured on.
        protocol: how predictions are compared.
        scores: images to show, as `Row.worst` orders them.
    """
    scale = depth_color_scale(protocol.cap / 20, protocol.cap)
    exhibits = []
    for score in scores:
        sample = dataset[score.index]
        depth = predict_views(model, sample, protocol)
        compared = protocol.compare(depth, sample.depth, sample.valid, model.kind)
        figures = ", ".join(
            f"{METRICS[each].label} = {METRICS[each].printed(score.metrics[each])}" for each in ("rmse", "d1")
        )
        maps = (
            colorize(sample.depth, scale, sample.valid),
            colorize(compared.metres, scale),
            colorize_error(compared.metres, sample.depth, compared.counted),
        )
        exhibits.append(Exhibit(f"{score.name}: {figures}", sample.image, maps))
    caption = (
        "Largest RMSE first. Stripes: not measured, or not counted. Colours mean the same metres in every picture."
    )
    columns = ("image", "measured, with its holes", "predicted", "error")
    return Section("Worst images first", figures=(Gallery(columns, tuple(exhibits), (scale, ERROR_SCALE), caption),))


def photo_files(words: Sequence[str]) -> list[Path]:
    """Find the photographs that files, folders and patterns name; none for no words.

    Raises:
        BadInput: one of the words names nothing.
    """
    if not words:
        return []
    found = find_images(words)
    if found.faults:
        raise BadInput(" ".join(found.faults))
    return [source for source, _ in found.files]


def photographs(model: DepthModel, sources: Sequence[StrPath], *, near: float = 0.5, far: float = 10.0) -> Section:
    """Show predictions for photographs without measured depth; those that cannot be read are named instead.

    Args:
        model: the model.
        sources: files.
        near: metres at the near end of the colours.
        far: metres at the far end.
    """
    scale, is_metric = depth_color_scale(near, far), model.kind is DepthKind.METRIC
    exhibits, remarks = [], []
    for source in map(Path, sources):
        try:
            photo = read_photograph(source)
        except BadInput as fault:
            remarks.append(f"Not shown: {fault}")
            continue
        if doubts := " ".join(filter(None, [*photo.camera.doubts, photo.note])):
            remarks.append(f"{source.name}: {doubts}")
        depth = predict_tensor(model, photo.image, photo.camera.intrinsics)
        shown = scale if is_metric else fit_color_scale(depth, torch.ones_like(depth).bool(), model.kind)
        exhibits.append(Exhibit(source.name, photo.image, (colorize(depth, shown),)))
    caption = "Nobody measured these: look whether planes are planes and nearer things are nearer."
    if not is_metric:
        caption += f" The model outputs {model.kind.value} depth: each picture has colours of its own."
    gallery = Gallery(("photograph", "predicted"), tuple(exhibits), (scale,) if is_metric else (), caption)
    return Section("Photographs", "\n\n".join(remarks), figures=(gallery,))


def reading() -> Section:
    """Explain what every column of a table means, for the end of a report."""
    lines = tuple((metric.heading, metric.formula, metric.source) for metric in METRICS.values())
    return Section(
        "How to read this",
        "d is the predicted and t the measured depth of a pixel, g = ln d − ln t; means are over the pixels that count "
        "under the row's protocol, and then over images unless it says pooled. Bold is the best of the rows under one "
        "protocol.",
        (TextTable("Metrics", ("metric", "formula", "source"), lines),),
    )


def _introduced(model: DepthModel) -> str:
    millions = sum(each.numel() for each in model.parameters()) / 1e6
    trained, notes = model.provenance.training_data, model.provenance.notes
    return (
        f"The model is a `{model.name}` of {millions:.1f} million parameters with {model.kind.value} depth"
        + (f", trained on {trained}" if trained else "")
        + (f" ({notes})." if notes else ".")
    )


def _write(path: Path, content: str | bytes) -> None:
    with atomic_write(path) as half:
        half.write_bytes(printable(content).encode() if isinstance(content, str) else content)


@dataclass
class _Figures:
    """The files that the Markdown shows, numbered in the order of their first use."""

    directory: Path
    count: int = 0

    def add(self, content: str | bytes, suffix: str) -> str:
        """Write one and return its path as the Markdown names it."""
        self.count += 1
        name = f"figures/{self.count:02}{suffix}"
        _write(self.directory / name, content)
        return name


def _markdown(report: Report, figures: _Figures) -> str:
    parts = [f"# {escape_markdown(report.title)}", escape_markdown(report.prose)]
    for section in report.sections:
        parts += [f"## {escape_markdown(section.title)}", escape_markdown(section.prose)]
        parts += [table.markdown().rstrip() for table in section.tables]
        for figure in section.figures:
            caption = escape_markdown(figure.caption)
            if isinstance(figure, Chart):
                parts += [f"![{caption}]({figures.add(figure.svg, '.svg')})", caption]
            else:
                parts += [_gallery_markdown(figure, figures), caption]
    return "\n\n".join(filter(None, parts)) + "\n"


def _gallery_markdown(gallery: Gallery, figures: _Figures) -> str:
    lines = [("", *gallery.columns), (":--",) * (len(gallery.columns) + 1)]
    for exhibit in gallery.exhibits:
        pictures = [figures.add(content, suffix) for content, suffix in _pictures(exhibit)]
        shown = (f"![{column}]({path})" for column, path in zip(gallery.columns, pictures, strict=True))
        lines.append((escape_cell(exhibit.caption), *shown))
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    legends = " ".join(f"![{scale.label}]({figures.add(colour_legend(scale), '.svg')})" for scale in gallery.legends)
    return f"{table}\n\n{legends}"


def _pictures(exhibit: Exhibit) -> list[tuple[bytes, str]]:
    """The photograph as JPEG and the maps as PNG, which keeps the edges of holes."""
    shrunk = [_shrunk(each) for each in (exhibit.photograph, *exhibit.maps)]
    return [(encode_image(shrunk[0], ".jpg"), ".jpg"), *((encode_image(each, ".png"), ".png") for each in shrunk[1:])]


def _shrunk(picture: ImageTensor) -> Float[Tensor, "3 h w"]:
    height, width = picture.shape[-2:]
    if width <= PANEL_WIDTH:
        return picture
    return F.interpolate(picture[None], (max(1, height * PANEL_WIDTH // width), PANEL_WIDTH), mode="area")[0]


def _plain(report: Report) -> dict[str, Any]:
    """What JSON holds: everything but the pictures."""
    return {
        "title": report.title,
        "prose": report.prose,
        "sections": [
            {
                "title": section.title,
                "prose": section.prose,
                "tables": [table.as_dict() for table in section.tables],
                "figures": [
                    {"caption": figure.caption}
                    if isinstance(figure, Chart)
                    else {"caption": figure.caption, "exhibits": [each.caption for each in figure.exhibits]}
                    for figure in section.figures
                ],
            }
            for section in report.sections
        ],
    }


def _environment() -> Environment:
    """What the page's template is filled by; whatever is not `Markup` is escaped."""
    environment = Environment(autoescape=True, trim_blocks=True, undefined=StrictUndefined)
    environment.globals["number"] = Markup(' class="number"')
    environment.globals["baseline"] = Markup(' class="baseline"')
    environment.filters |= {
        "prose": _prose_html,
        "numeric_columns": lambda table: [is_numeric(column) for column in zip(*table.body(), strict=True)],
        "heading": _head_html,
        "cell": _cell_html,
        "legend": colour_legend,
        "sources": lambda exhibit: [
            f"data:image/{_TYPES[suffix]};base64,{b64encode(content).decode()}"
            for content, suffix in _pictures(exhibit)
        ],
    }
    return environment


def _data_address(content: bytes, suffix: str) -> str:
    return f"data:image/{_TYPES[suffix]};base64,{b64encode(content).decode()}"


def _prose_html(prose: str) -> Markup:
    text = str(escape(prose.strip()))
    text = re.sub(r"`(.+?)`", r"<code>\1</code>", text)
    text = re.sub(r"[*]{2}(.+?)[*]{2}", r"<strong>\1</strong>", text)
    return Markup("\n".join(_paragraph(part) for part in text.split("\n\n") if part))


def _paragraph(part: str) -> str:
    """A paragraph, or the list that lines with a dash each are."""
    lines = part.split("\n")
    if all(line.startswith("- ") for line in lines):
        return f"<ul>{''.join(f'<li>{line[2:]}</li>' for line in lines)}</ul>"
    return f"<p>{part}</p>"


def _head_html(text: str) -> str:
    """A label that breaks only before its unit or its arrow."""
    return re.sub(r" (?![(↑↓])", "\u00a0", text)


def _cell_html(text: str, is_bold: bool) -> Markup:
    value, sign, error = text.partition(" ± ")
    stressed = Markup("<strong>{}</strong>").format(value) if is_bold else escape(value)
    if sign and error[:1].isdigit():
        return Markup("{} <small>± {}</small>").format(stressed, error)
    return Markup("{}{}{}").format(stressed, sign, error)


_TYPES = {".jpg": "jpeg", ".png": "png"}
