"""The terminal: errors are one line unless --debug is given, and --quiet shows no progress."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from leadline.cli.main import main
from leadline.core import progress
from leadline.core.terminal import print_table
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.tables import COLUMNS, Row, Table, TextTable

FAULTY = """
import sys
from leadline.cli import cloud, main
def fail(self):
    raise ZeroDivisionError("no such thing")
cloud.CloudCommand.run = fail
sys.argv = ["leadline", "cloud", "a.png", *sys.argv[1:]]
sys.exit(main.main())
"""


@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_a_fault_of_ours_is_one_line_and_its_place_is_shown_on_request(options):
    done = subprocess.run([sys.executable, "-c", FAULTY, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == bool(options)
    assert "ZeroDivisionError: no such thing" in done.stderr
    assert options or len(done.stderr.strip().splitlines()) == 1


def test_an_error_of_the_user_shows_its_place_with_debug_only(capsys, tmp_path):
    words = ["cloud", str(tmp_path / "absent.npz"), "--out", str(tmp_path / "a.ply")]
    for options in ([], ["--debug"]):
        assert main([*words, *options]) == 1
        said = capsys.readouterr().err
        assert "absent.npz" in said
        assert ("Traceback" in said) == bool(options)


def test_quiet_draws_no_bar_and_prints_no_line(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_place", {})
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.0)
    list(progress.track([1, 2], 2, "images"))
    assert "images" in capsys.readouterr().err
    progress.hide_progress()
    list(progress.track([1, 2], 2, "images"))
    assert not capsys.readouterr().err


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&- <&-"])
def test_closed_streams_end_no_command_and_move_no_line_to_the_output(closed, tmp_path):
    Image.new("RGB", (64, 48), (90, 60, 30)).save(tmp_path / "a.png")
    words = f"{sys.executable} -m leadline predict {tmp_path}/a.png --out {tmp_path}/maps {closed}"
    done = subprocess.run(words, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout == ("" if "<" in closed else f"1 of 1 images measured, 0 skipped. See {tmp_path}/maps.\n")
    assert (tmp_path / "maps" / "a.png").is_file()


def test_a_program_without_standard_error_draws_no_bar_and_prints_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_place", {})
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.0)
    monkeypatch.setattr(sys, "stderr", None)
    assert list(progress.track([1, 2], 2, "images")) == [1, 2]
    progress.print_line("said")
    assert not capsys.readouterr().out


def test_a_reader_that_has_enough_is_no_error():
    words = f"({sys.executable} -m leadline models; echo $? >&2) | true"
    done = subprocess.run(words, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "141"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_output_that_cannot_be_written_is_an_error_in_one_line():
    words = f"{sys.executable} -m leadline models > /dev/full"
    done = subprocess.run(words, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "leadline models: No space left on device")


def test_json_is_json_where_the_output_cannot_hold_all_letters(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "übung.png")
    words = [sys.executable, "-m", "leadline", "predict", str(tmp_path), "--out", str(tmp_path / "out"), "--json"]
    printed = {
        encoding: subprocess.run(
            words, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": encoding}
        ).stdout.decode(encoding)
        for encoding in ("ascii", "utf-8")
    }
    assert "übung.png" in printed["utf-8"]
    assert json.loads(printed["ascii"]) == json.loads(printed["utf-8"])


def test_a_page_whose_port_is_taken_says_so_before_it_prints_an_address(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["app", "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert f"Port {port} is taken: choose another --port." in said
    assert "http://" not in said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch, table: Table | TextTable, width: int) -> str:
    """What a terminal of a width shows, without its colours."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stdout", Terminal())
    print_table(table)
    return re.sub(r"\x1b\[[0-9;]*m", "", sys.stdout.getvalue())  # pyright: ignore[reportAttributeAccessIssue]


PROTOCOL = "nyu_eigen: rows 45 to 470, columns 41 to 600, cap 10 m"
SCORES = Table(
    "nyu test",
    tuple(
        Row(name, dict.fromkeys(METRICS, value), PROTOCOL, "metric", images=654, pixels=123_456_789)
        for name, value in (("leadline_small (runs/mine/model)", 0.2), ("mean [bold] depth", 0.3), ("median", 0.4))
    ),
    ("A remark of so many words that it takes more than one line of a terminal that is not wide at all, by far.",),
)


@pytest.mark.parametrize("width", [30, 50, 80, 120, 200])
def test_a_table_fits_the_terminal_and_breaks_no_word(monkeypatch, width):
    text = shown(monkeypatch, SCORES, width)
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    for cell in ("0.200", "0.300", "0.400"):
        assert words.count(cell) == len(COLUMNS) - 1  # SILog has a decimal more
    for word in f"{PROTOCOL} leadline_small (runs/mine/model) [bold] median 123,456,789 AbsRel (×100) far.".split():
        assert word in words
    assert words.count("nyu_eigen:") == 1  # what all rows have alike is said once


def test_a_wide_terminal_shows_a_row_for_each_entry_and_a_narrow_one_a_line_for_each_figure(monkeypatch):
    wide, narrow = (shown(monkeypatch, SCORES, width).splitlines() for width in (200, 80))
    assert [line.split()[0] for line in wide if "0.200" in line or "0.300" in line] == ["leadline_small", "mean"]
    assert next(line for line in narrow if line.startswith("RMSE (m)")).split()[-3:] == ["0.200", "0.300", "0.400"]


def test_the_best_is_bold_and_nothing_has_a_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stdout", Terminal())
    print_table(SCORES)
    text = sys.stdout.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert re.search(r"\x1b\[1m *0\.200", text)
    assert not re.search(r"\x1b\[1m *0\.300", text)
    assert set(re.findall(r"\x1b\[[0-9;]*m", text)) == {"\x1b[1m", "\x1b[0m"}


def test_a_file_gets_markdown(capsys):
    print_table(SCORES)
    assert capsys.readouterr().out == SCORES.markdown() + "\n"


@pytest.mark.parametrize("table", [TextTable("empty", ("a", "b"), ()), TextTable("", ("only",), (("one",),))])
def test_small_tables_are_shown(monkeypatch, table):
    text = shown(monkeypatch, table, 40)
    assert all(word in text for word in [*table.head(), *(cell for row in table.body() for cell in row)])
