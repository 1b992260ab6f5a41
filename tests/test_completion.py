"""The shells complete commands, options and values by the scripts that `leadline completion` prints."""

import os
import pty
import re
import select
import shutil
import subprocess
from time import monotonic

import pytest

from leadline.cli import completion
from leadline.cli.main import COMMANDS, main

ASKED = {
    "leadline pre": {"predict"},
    "leadline study l": {"literature", "losses"},
    "leadline train sm": {"small"},
    "leadline predict --video.fr": {"--video.frames"},
    "leadline train small --sta": {"--start"},
    "leadline models --qu": {"--quiet"},
    "leadline export model --to o": {"onnx", "openvino"},
}
"""What is typed → what completes its last word."""


SOME = ("predict", "models", "train", "train small", "study literature", "study losses", "export")
"""Each command takes a fifth of a second."""


@pytest.fixture
def script(request, capsys, tmp_path, monkeypatch):
    if shutil.which(request.param) is None:
        pytest.skip(f"needs {request.param}")
    monkeypatch.setattr(completion, "COMMANDS", {name: COMMANDS[name] for name in SOME})
    assert main(["completion", request.param]) == 0
    path = tmp_path / "script"
    path.write_text(capsys.readouterr().out)
    return path


def completed(program: str, *words: str, **options) -> set[str]:
    done = subprocess.run([program, *words], capture_output=True, text=True, check=True, timeout=60, **options)
    assert not done.stderr
    return set(done.stdout.split("\n")) - {""}


CALL = """
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _leadline; printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes(script):
    for typed, expected in ASKED.items():
        assert completed("bash", "-c", f"source {script}; {CALL}", "bash", *typed.split()) == expected
    every = completed("bash", "-c", f"source {script}; {CALL}", "bash", "leadline", "")
    assert every == {name.split()[0] for name in SOME}
    assert not completed("bash", "-c", f"source {script}; {CALL}", "bash", "leadline", "predict", "photo")
    assert "-o default" in completed("bash", "-c", f"source {script}; complete -p leadline").pop()  # then files are


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_completes(script, tmp_path):
    (tmp_path / ".zshrc").write_text(f"source {script}\n")
    terminal, line = pty.openpty()
    environment = {**os.environ, "ZDOTDIR": str(tmp_path), "HOME": str(tmp_path)}
    shell = subprocess.Popen(
        ["zsh", "-i"], stdin=line, stdout=line, stderr=line, env=environment, start_new_session=True
    )
    try:
        for typed, expected in ASKED.items():
            os.write(terminal, f"{typed}\t".encode())
            text, until = "", monotonic() + 30
            while not all(word in text for word in expected) and monotonic() < until:
                if select.select([terminal], [], [], 0.1)[0]:
                    text += os.read(terminal, 65536).decode(errors="replace")
            assert all(word in text for word in expected), (typed, text)
            os.write(terminal, b"\x15")  # an empty line again
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)
        os.close(line)


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes(script):
    for typed, expected in ASKED.items():
        lines = completed("fish", "--no-config", "-c", f"source {script}; complete -C '{typed}'")
        assert {line.partition("\t")[0] for line in lines} == expected


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["completion", "tcsh"])
    assert "bash" in capsys.readouterr().err


@pytest.mark.long
def test_every_command_is_completed(capsys):
    assert main(["completion", "bash"]) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^ *'?{name}'?\) words='[^']*--quiet", text, re.MULTILINE)
