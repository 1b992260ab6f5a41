"""Reports are one page that needs nothing else, and hold the same figures as Markdown and as JSON."""

import json
import os
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from leadline.cli.main import main
from leadline.core.errors import BadInput
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.tables import Row, Table, TextTable, average_runs
from leadline.io.colormaps import ERROR_SCALE, depth_color_scale
from leadline.models.registry import build
from leadline.models.saving import save
from leadline.reporting.charts import colour_legend, metric_bars
from leadline.reporting.report import (
    Chart,
    Exhibit,
    Gallery,
    Report,
    Section,
    check_report_folder,
    photographs,
    reading,
    write_report,
)

SVG = "{http://www.w3.org/2000/svg}"


def _row(name: str, value: float, *, is_baseline: bool = False) -> Row:
    return Row(name, dict.fromkeys(METRICS, value), "indoor", "metric", 3, 900, is_baseline)


@pytest.fixture
def report() -> Report:
    rows = (average_runs("end to end", [_row("", 0.4), _row("", 0.5)]), _row("median <depth>", 0.9, is_baseline=True))
    picture = torch.rand(3, 500, 700, generator=torch.Generator().manual_seed(0))
    gallery = Gallery(
        ("image", "error"),
        (Exhibit('room "7"', picture, (picture,)),),
        (depth_color_scale(), ERROR_SCALE),
        "Worst first.",
    )
    numbers = Section(
        "Numbers", "A **bold** `word`.\n\nx < y", (Table("Rooms", rows),), (Chart(metric_bars(rows), "Bars."),)
    )
    return Report("Seeds & stages", (numbers, Section("Image", figures=(gallery,)), reading()), "Short.")


class _Page(HTMLParser):
    """The tags that are open and the texts and pictures between them; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.images: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag in ("img", "image"):
            self.images.append(dict(attrs).get("src") or dict(attrs)["href"] or "")

    def handle_startendtag(self, tag, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.texts.append(data)


def test_the_page_needs_nothing_else(report, tmp_path):
    text = write_report(report, tmp_path / "out").read_text()
    page = _Page(text)
    assert not page.tags & {"script", "link", "iframe"}
    assert not re.findall(r"(?:src|href)=\"(?!data:)|url\(|@import", text)
    for source in page.images:
        picture = Image.open(BytesIO(b64decode(source.partition("base64,")[2])))
        assert picture.width <= 360
    assert len(page.images) == 2 + 2  # the exhibit's and the legends'


def test_the_page_holds_every_figure_and_escapes_what_it_is_told(report, tmp_path):
    text = write_report(report, tmp_path).read_text()
    said = " ".join("".join(_Page(text).texts).split())
    for words in ("Seeds & stages", "median <depth>", "0.450 ± 0.050", "indoor", 'room "7"', "x < y", "A bold word."):
        assert words in said
    for metric in METRICS.values():
        assert metric.formula in said


def test_the_rows_of_baselines_are_grey_in_the_table_as_in_the_bars(report, tmp_path):
    text = write_report(report, tmp_path).read_text()
    shown = re.findall(r'<tr class="baseline"><td>(.*?)</td>', text)
    assert shown == ["median &lt;depth&gt;"]
    assert re.search(r"\.baseline td \{ color: var\(--soft\)", text)


def test_markdown_shows_the_same_with_figures_that_exist(report, tmp_path):
    write_report(report, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "0.450 ± 0.050" in text
    figures = re.findall(r"!\[[^]]*\]\((.+?)\)", text)
    assert len(figures) == 1 + 2 + 2
    for name in figures:
        content = (tmp_path / name).read_bytes()
        if name.endswith(".svg"):
            ElementTree.fromstring(content)
        else:
            Image.open(BytesIO(content)).verify()


def test_json_holds_the_numbers(report, tmp_path):
    write_report(report, tmp_path)
    said = json.loads((tmp_path / "report.json").read_text())
    row = said["sections"][0]["tables"][0]["rows"][0]
    assert row["metrics"]["rmse"] == pytest.approx(0.45)
    assert row["errors"]["rmse"] == pytest.approx(0.05)
    assert said["sections"][1]["figures"][0]["exhibits"] == ['room "7"']


def test_writing_again_replaces_and_leaves_nothing_half_done(report, tmp_path):
    write_report(report, tmp_path)
    write_report(replace(report, title="Anew"), tmp_path)
    assert "Anew" in (tmp_path / "report.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "report.html", "report.json", "report.md"]


def test_a_report_of_words_alone_is_a_page(tmp_path):
    differences = TextTable("Differences", ("metric", "difference"), (("RMSE", "-0.1 ± 0.2"),))
    text = write_report(Report("Words", (Section("Only", tables=(differences,)),)), tmp_path).read_text()
    assert "Differences" in "".join(_Page(text).texts)


def test_a_folder_that_cannot_be_written_to_is_refused(report, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput):
        write_report(report, tmp_path / "file")


def test_bars_are_as_high_as_their_numbers_and_whiskers_as_long_as_their_errors():
    rows = (average_runs("a", [_row("", 0.4), _row("", 0.6)]), _row("b", 0.25, is_baseline=True))
    drawing = ElementTree.fromstring(metric_bars(rows, ("rmse",)))
    first, second = (rect for rect in drawing.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None)
    assert float(first.attrib["height"]) / float(second.attrib["height"]) == pytest.approx(0.5 / 0.25, rel=0.01)
    assert first.attrib["fill"] != second.attrib["fill"]
    paths = [path.attrib["d"] for path in drawing.iter(f"{SVG}path")]
    (whisker,) = (found for path in paths if (found := re.fullmatch(r"M[\d.]+ ([\d.]+)h8m-4 0V([\d.]+)m-4 0h8", path)))
    up, down = map(float, whisker.groups())
    assert (down - up) / float(first.attrib["height"]) == pytest.approx(2 * rows[0].errors["rmse"] / 0.5, rel=0.02)
    assert "a: 0.500 ± 0.100" in "".join(drawing.itertext())


@pytest.mark.parametrize("count", [2, 4, 6, 12])
@pytest.mark.parametrize("metric", ["rmse", "silog"])  # three and four digits behind the point
def test_the_numbers_above_neighbouring_bars_do_not_touch(count, metric):
    rows = [_row(f"row {place}", 0.0398) for place in range(count)]
    drawing = ElementTree.fromstring(metric_bars(rows, (metric,)))
    labels = [text for text in drawing.iter(f"{SVG}text") if text.text and text.text.startswith("0.0")]
    assert len(labels) == count
    upright = [re.match(r"translate\(([\d.]+) .*rotate", text.get("transform", "")) for text in labels]
    across = 7.7 * len(labels[0].text or "")  # DejaVu Sans, 12 pixels
    places = [float(turned[1] if turned else text.attrib["x"]) for text, turned in zip(labels, upright, strict=True)]
    room = 12 if upright[0] else across
    assert all(after - before > room for before, after in pairwise(places))


def test_lines_with_dashes_are_a_list_however_many(tmp_path):
    prose = "**One?**\n\n- a against b: **better**.\n\n**Two?**\n\n- c <d\n- e - f\n\n- not\na list"
    text = write_report(Report("Claims", (Section("Empty"),), prose), tmp_path).read_text()
    assert "<ul><li>a against b: <strong>better</strong>.</li></ul>" in text
    assert "<ul><li>c &lt;d</li><li>e - f</li></ul>" in text
    assert "<p>- not\na list</p>" in text


def test_a_notebook_shows_a_report_with_its_tables_and_charts(report):
    shown = report._repr_html_()
    said = " ".join("".join(_Page(shown).texts).split())
    for words in ("Seeds & stages", "Short.", "median <depth>", "0.450 ± 0.050", "x < y", "How to read this"):
        assert words in said
    assert shown.count("<svg") == 1
    assert repr(report) == "Report('Seeds & stages': Numbers, Image, How to read this)"


def test_a_bar_for_no_number_is_left_out():
    rows = (_row("a", float("nan")), _row("b", 0.0))
    drawing = ElementTree.fromstring(metric_bars(rows))
    assert "nan" not in ElementTree.tostring(drawing).decode()


def test_a_legend_is_drawn_with_its_numbers():
    said = "".join(ElementTree.fromstring(colour_legend(depth_color_scale())).itertext())
    for words in ("depth in metres", "≤ 0.5", "≥ 10"):
        assert words in said


def test_the_command_reports_a_saved_model_on_rooms(tmp_path, capsys):
    save(build("hybrid", size="tiny", encoder="test_efficientnet"), tmp_path / "model")
    rooms = "rooms,count=3,height=64,width=96"
    command = ["report", "--model", str(tmp_path / "model"), "--data", rooms, "--train-data", rooms]
    assert main([*command, "--out", str(tmp_path / "out"), "--worst", "2", "--cap", "8"]) == 0
    assert "report.html" in capsys.readouterr().out
    said = json.loads((tmp_path / "out" / "report.json").read_text())
    (table,) = said["sections"][0]["tables"]
    assert {row["protocol"] for row in table["rows"]} == {"indoor, cap 8 m"}
    assert "rooms" in table["rows"][1]["name"]
    shown = said["sections"][1]["figures"][0]["exhibits"]
    scores = sorted((image["metrics"]["rmse"], image["name"]) for image in table["per_image"])
    assert [caption.partition(":")[0] for caption in shown] == [name for _, name in scores[:-3:-1]]


def test_photographs_of_a_relative_model_have_no_metres_and_unreadable_ones_are_named(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    photo = Path(__file__).resolve().parents[1] / "examples/photos/reception.jpg"
    section = photographs(build("cnn", size="tiny", encoder="test_efficientnet", kind="relative"), [broken, photo])
    (gallery,) = section.figures
    assert isinstance(gallery, Gallery)
    assert [each.caption for each in gallery.exhibits] == ["reception.jpg"]
    assert gallery.legends == ()
    assert "relative depth" in gallery.caption
    assert "Not shown" in section.prose
    assert "broken.jpg" in section.prose
    (gallery,) = photographs(build("cnn", size="tiny", encoder="test_efficientnet"), [photo]).figures
    assert isinstance(gallery, Gallery)
    assert [legend.label for legend in gallery.legends] == ["depth in metres"]


def test_photographs_that_are_not_there_are_refused_before_anything_is_evaluated(tmp_path, capsys):
    photo = Path(__file__).resolve().parents[1] / "examples/photos/reception.jpg"
    command = ["report", "--data", "rooms,count=1,height=48,width=64", "--photos", str(photo), "nothing.jpg"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 1
    assert "nothing.jpg: no photograph there." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_markdown_and_page_show_names_and_provenance_as_text(tmp_path):
    evil = '<script>alert("x")</script><img src=x> ![spy](http://x.invalid/a.png) [click](javascript:x) a|b'
    rows = (_row(evil, 0.4), replace(_row("b", 0.5), note=evil))
    picture = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    gallery = Gallery(("image", "error"), (Exhibit(f"{evil}\nrmse = 1", picture, (picture,)),), (), evil)
    section = Section(evil, evil, (Table(evil, rows, (evil,)),), (gallery, Chart(metric_bars(rows), evil)))
    write_report(Report(evil, (section,), evil), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert not re.search(r"<[A-Za-z/!?]", text)
    assert "alert(" in text
    links = re.findall(r"(?<!!)\[[^]]*\]\(", text) + re.findall(r"!\[[^]]*\]\((?!figures/)", text)
    assert links == []
    grid = [line for line in text.splitlines() if line.startswith("|")]
    # Cells end where they should, in the table of four lines and in the gallery of three.
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in grid[:4]}) == 1
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in grid[4:]}) == 1
    page = _Page((tmp_path / "report.html").read_text())
    assert not page.tags & {"script"}
    assert all(source.startswith("data:") for source in page.images)
    assert evil in "".join(page.texts)


def test_names_that_are_no_text_do_not_end_a_report(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    rows = (_row(name, 0.4), _row("b", 0.5))
    report = Report(name, (Section(name, name, (Table(name, rows),), (Chart(metric_bars(rows), name),)),), name)
    text = write_report(report, tmp_path).read_text(encoding="utf-8")
    assert r"caf\udce9" in text
    assert r"caf\udce9" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["title"] == name


def test_the_command_reports_photographs_whose_names_are_no_text(tmp_path, capsys):
    photo = tmp_path / os.fsdecode(b"caf\xe9 <b>.jpg")
    photo.write_bytes((Path(__file__).resolve().parents[1] / "examples/photos/reception.jpg").read_bytes())
    save(build("cnn", size="tiny", encoder="test_efficientnet"), tmp_path / "model")
    command = ["report", "--model", str(tmp_path / "model"), "--data", "rooms,count=1,height=48,width=64"]
    assert main([*command, "--photos", str(photo), "--worst", "0", "--out", str(tmp_path / "out")]) == 0
    assert r"caf\udce9 &lt;b>.jpg" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_a_report_replaces_a_report_and_no_other_files(report, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    command = ["report", "--data", "rooms,count=1,height=48,width=64", "--out", str(out)]
    (out / "report.md").write_text("my own")
    assert main(command) == 1
    assert "report.md would be replaced, and no report wrote it" in capsys.readouterr().err
    (out / "report.json").write_text('{"mine": 1}')
    assert main(command) == 1
    assert "Leadline did not write it" in capsys.readouterr().err
    assert (out / "report.md").read_text() == "my own"
    assert main(["report", "--data", "rooms,count=1", "--out", str(out / "report.md")]) == 1
    assert "is a file: choose a folder" in capsys.readouterr().err
    (out / "report.json").unlink()
    (out / "report.md").unlink()
    write_report(report, out)
    check_report_folder(out)


def test_a_negative_count_of_worst_images_is_refused(tmp_path, capsys):
    assert main(["report", "--data", str(tmp_path / "none"), "--worst", "-1"]) == 1
    assert "--worst -1: give how many images to show" in capsys.readouterr().err
