"""Tables stress the best of what is comparable, and averages over runs carry their standard error."""

import json
import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from leadline.core.errors import BadInput
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.tables import COLUMNS, ImageScore, Row, Table, TextTable, average_runs


def _row(name: str, value: float, protocol: str = "indoor") -> Row:
    return Row(name, dict.fromkeys(METRICS, value), protocol, "metric", images=3, pixels=1200)


def test_lower_errors_and_higher_shares_are_best():
    table = Table("two", (_row("a", 0.2), _row("b", 0.3)))
    assert table.best("rmse") == {0}
    assert table.best("d1") == {1}
    assert (0, 1 + COLUMNS.index("rmse")) in table.bold


def test_what_prints_alike_is_equally_good():
    assert Table("ties", (_row("a", 0.20001), _row("b", 0.20002), _row("c", 0.3))).best("rmse") == {0, 1}


def test_rows_of_different_protocols_are_not_compared():
    rows = (_row("a", 0.2), _row("b", 0.3), _row("c", 0.1, "indoor, cap 5 m"))
    assert Table("mixed", rows).best("rmse") == {0}


def test_a_metric_that_is_no_number_is_never_best_and_null_in_json():
    table = Table("holes", (_row("a", math.nan), _row("b", 0.3), _row("c", 0.4)))
    assert table.best("rmse") == {1}
    assert table.as_dict()["metrics"]["rmse"] is None
    json.dumps(table.as_dict(), allow_nan=False)


def test_several_runs_give_scipys_mean_and_standard_error():
    values = [0.31, 0.35, 0.28, 0.40]
    row = average_runs("four", [_row("seed", value) for value in values])
    assert row.metrics["rmse"] == pytest.approx(np.mean(values))
    assert row.errors["rmse"] == pytest.approx(stats.sem(values))
    assert row.cell("rmse") == "0.335 ± 0.026"
    assert (row.name, row.runs, row.images) == ("four", 4, 3)
    assert "four (mean ± standard error, 4 runs)" in Table("runs", (row,)).markdown()


def test_one_run_has_no_standard_error():
    assert average_runs("one", [_row("seed", 0.5)]).cell("rmse") == "0.500"


def test_runs_measured_differently_are_not_averaged():
    with pytest.raises(BadInput, match="differ in their protocol"):
        average_runs("two", [_row("a", 0.1), _row("b", 0.1, "nyu_eigen")])


def test_markdown_is_a_table_whose_rows_say_everything():
    row = replace(_row("a|b", 0.2, "nyu_eigen, cap 50 m"), note="two were empty")
    lines = Table("Title", (row, _row("c", 0.3)), ("A note.",)).markdown().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    assert r"| a\|b" in table[2]
    assert "nyu_eigen, cap 50 m" in table[2]
    assert lines[0] == "**Title**"
    assert lines[-2:] == ["- A note.", "- a|b: two were empty"]


def test_worst_images_come_first_in_either_direction():
    images = tuple(ImageScore(str(i), i, {"rmse": i / 10, "d1": i / 10}, 5) for i in (2, 1, 3))
    row = replace(_row("a", 0.2), per_image=images)
    assert [image.name for image in row.worst(2)] == ["3", "2"]
    assert [image.name for image in row.worst(2, "d1")] == ["1", "2"]


def test_a_table_is_a_table_of_words():
    table = TextTable("Words", ("name", "count"), (("a", "12"), ("b", "3")), bold=frozenset({(1, 0)}))
    assert table.markdown().splitlines()[2:] == [
        "| name  | count |",
        "| :---- | ----: |",
        "| a     |    12 |",
        "| **b** |     3 |",
    ]


@pytest.mark.parametrize("body", [(("<b>a</b>", "12"), ("c & d", "3")), ()])
def test_a_notebook_shows_a_table_as_html(body):
    table = TextTable("Words <i>", ("name", "count"), body, ("a <remark>",), frozenset({(1, 0)}))
    tree = ElementTree.fromstring(f"<div>{table._repr_html_()}</div>")
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]
    assert rows == [["name", "count"], *map(list, body)]
    assert [each.text for tag in ("caption", "li", "b") for each in tree.iter(tag)] == [
        *("Words <i>", "a <remark>"),
        *(["c & d"] if body else []),
    ]
    if body:
        assert [cell.get("style") for cell in tree.iter("td")][:2] == ["text-align: left", "text-align: right"]


def test_a_notebook_shows_scores_as_html():
    shown = Table("Title", (replace(_row("a", 0.2), note="it is small"), _row("b", 0.3)))._repr_html_()
    rows = [
        ["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(f"<div>{shown}</div>").iter("tr")
    ]
    assert [row[0] for row in rows] == ["", "a", "b"]
    assert rows[1][1 + COLUMNS.index("rmse")] == "0.200"
    assert "<li>a: it is small</li>" in shown
