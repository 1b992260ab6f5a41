"""The terminal: errors are one line unless --debug is given, and --quiet shows no progress."""

import subprocess
import sys

import pytest

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
