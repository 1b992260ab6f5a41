"""The package: its public names, its one direction of imports, and a command line that answers at once."""

import subprocess
import sys
import time

import pytest

import leadline
from leadline.cli.main import COMMANDS, main
from leadline.data.datasets import DATASETS


def test_the_public_names_are_these():
    assert leadline.__all__ == [
        "BadInput", "DepthKind", "DepthMap", "DepthModel", "Sample", "build", "evaluate", "fit", "load", "open_data",
        "predict", "protocol", "read_camera", "read_depth", "read_image", "save", "write_depth",
    ]  # fmt: skip
    assert all(getattr(leadline, name) is not None for name in leadline.__all__)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match="leadline has no 'trane'; its names are BadInput"):
        _ = leadline.trane  # pyright: ignore[reportAttributeAccessIssue]


def test_help_answers_without_torch_in_under_a_third_of_a_second():
    check = "import sys; from leadline.cli.main import main; main(['--help']); sys.exit('torch' in sys.modules)"
    took = []
    for _ in range(3):
        started_at = time.perf_counter()
        subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)
        took.append(time.perf_counter() - started_at)
    assert min(took) < 0.3


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert end.value.code == 0
    assert f"usage: leadline {command}" in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_the_known_ones(capsys):
    assert main(["trian"]) == 2
    printed = capsys.readouterr().err
    assert "No command is called 'trian'" in printed
    assert "train" in printed


def test_bad_input_ends_with_one_line_and_exit_code_1(capsys, tmp_path):
    assert main(["train", "--out", str(tmp_path / "run"), "--data", "romos"]) == 1
    known = ", ".join(sorted(DATASETS))
    assert capsys.readouterr().err == f"leadline train: No dataset is called 'romos'. Known datasets: {known}.\n"
