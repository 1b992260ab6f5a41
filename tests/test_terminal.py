"""The terminal: errors are one line unless --debug is given, and --quiet shows no progress."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from leadline.cli.main import main
from leadline.core import progress

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
