"""`leadline benchmark`: rows for what runs, reasons for what does not, and files of both."""

import json
from multiprocessing import Pipe
from time import sleep
from xml.etree import ElementTree

import pytest

from leadline.cli.main import main
from leadline.core.stopwatch import time_in_turns
from leadline.evaluation.metrics import METRICS
from leadline.inference import timing
from leadline.reporting.benchmark import BenchmarkRow, accuracy_chart
from leadline.reporting.charts import scatter


def test_a_benchmark_measures_what_runs_and_names_what_does_not(tmp_path, capsys):
    # A name that stands twice is measured once; the exit status tells of the file that nothing runs.
    words = ["benchmark", "--models", *["leadline_small"] * 2, str(tmp_path / "none.onnx"), "--backends", "onnx"]
    assert main([*words, "--seconds", "0.01", "--json", str(tmp_path / "rates.json")]) == 1
    said = capsys.readouterr().out
    assert "| leadline_small | onnx " in said
    content = json.loads((tmp_path / "rates.json").read_text())
    (row,) = content["benchmark"]
    assert row["runs"] >= 5
    assert row["quartiles_ms"][0] <= row["median_ms"] <= row["quartiles_ms"][1]
    # Without PyTorch, whose import alone takes more.
    assert 20 < row["peak_mb"] < 400
    assert row["gflops"] > 0
    assert content["left_out"] == [
        f"{tmp_path}/none.onnx with onnx: No file {tmp_path}/none.onnx: `leadline export` writes it."
    ]


def test_accuracy_is_drawn_for_the_dataset_that_most_models_were_scored_on():
    def row(name: str, **figures: dict[str, float]) -> BenchmarkRow:
        return BenchmarkRow(name, "onnx", "fp32", (4, 4), 1, 5, 10.0, (9.0, 11.0), 100.0, None, None, 1.0, 1.0, figures)

    rows = [row("a", one={"d1": 0.5}, two={"d1": 0.9}), row("b", two={"d1": 0.8}), row("c")]
    drawn = accuracy_chart(rows)
    assert drawn == scatter([("a, onnx fp32", 10.0, 0.9), ("b, onnx fp32", 10.0, 0.8)], "d1", "ms an image", "two")
    assert drawn
    assert METRICS["d1"].label.replace("<", "&lt;") in drawn
    assert accuracy_chart(rows[2:]) is None


def test_a_benchmark_of_nothing_that_runs_is_an_empty_table_with_the_reason(tmp_path, capsys):
    assert main(["benchmark", "--models", str(tmp_path / "none.onnx"), "--backends", "onnx", "--seconds", "0.01"]) == 1
    assert f"No file {tmp_path}/none.onnx" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models"], "--models: give at least one"),
        (["--backends"], "--backends: give at least one"),
        (["--seconds", "inf"], "seconds=inf: give a finite number, more than 0"),
        (["--seconds", "nan"], "seconds=nan: give a finite number, more than 0"),
        (["--batch", "0"], "batch=0: give at least 1"),
        (["--chart", "{photo}"], "a chart is SVG"),
        (["--chart", "{drawing}"], "Leadline did not write it"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_measured(options, message, tmp_path, capsys):
    places = {"photo": tmp_path / "a.jpg", "drawing": tmp_path / "a.svg"}
    for place in places.values():
        place.write_text("mine")
    assert main(["benchmark", "--backends", "onnx", *(option.format(**places) for option in options)]) == 1
    assert message in capsys.readouterr().err
    assert all(place.read_text() == "mine" for place in places.values())


def test_a_chart_is_replaced_by_the_same_command(tmp_path):
    words = ["benchmark", "--backends", "onnx", "--seconds", "0.01", "--chart", str(tmp_path / "chart.svg")]
    for _ in range(2):
        assert main(words) == 0
        assert ElementTree.parse(tmp_path / "chart.svg").getroot().tag.endswith("svg")


def test_images_that_the_memory_does_not_hold_are_a_reason_and_no_traceback(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(timing, "load_predictor", fail)
    receiver, sender = Pipe(duplex=False)
    timing.time_predictor(sender, "leadline_small", "onnx", 4096, 0.01)
    assert "give a smaller --batch" in receiver.recv()


def test_functions_that_are_compared_are_timed_in_turns():
    calls: list[str] = []

    def slow() -> None:
        sleep(0.01)
        calls.append("slow")

    quick_seconds, slow_seconds = time_in_turns([lambda: calls.append("quick"), slow], 3)
    assert calls == ["quick", "slow"] * 5
    assert quick_seconds < 0.01 <= slow_seconds
