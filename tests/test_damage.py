"""Damage and interruptions of a training: never trained on in silence, and never more lost than the last steps."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from leadline.cli.main import main
from leadline.core.errors import BadInput
from leadline.models.loading import load

STEPS = 12
TRAIN = [
    "train",
    "--data",
    "rooms,height=32,width=32,count=8",
    "--model",
    "cnn,size=tiny,encoder=test_efficientnet,input_size=32:32",
]
TRAIN += ["--batch-size", "2", "--validate-every", "6", "--log-every", "2", "--save-every", "0", "--workers", "0"]
TRAIN += ["--accelerator", "cpu"]


ALONE = """
import sys, torch
torch.set_num_threads(1)
from leadline.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def command(out: Path, steps: int = STEPS) -> list[str]:
    return [*TRAIN, "--out", str(out), "--steps", str(steps)]


def started(out: Path, steps: int = 4000, more: Sequence[str] = ()) -> subprocess.Popen:
    """The command in a process of its own, once it has saved something."""
    words = [*command(out, steps), *more]
    process = subprocess.Popen([sys.executable, "-c", ALONE, *words], stderr=subprocess.PIPE, text=True)
    log = out / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.05)
    assert process.poll() is None, process.stderr and process.stderr.read()
    return process


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that was stopped."""
    out = tmp_path_factory.mktemp("half")
    process = started(out)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "is saved. The same command continues." in said
    assert "Traceback" not in said
    return {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}


def lay(files: dict[str, bytes], out: Path) -> Path:
    out.mkdir(exist_ok=True)
    for name, content in files.items():
        (out / name).write_bytes(content)
    return out


def test_a_terminated_run_leaves_a_checkpoint_and_no_lock(half_done: dict[str, bytes]) -> None:
    assert {"run.json", "last.ckpt", "log.jsonl"} <= half_done.keys()
    assert ".lock" not in half_done


@pytest.mark.parametrize("damage", ["zeros", "cut", "empty", "text"])
def test_a_damaged_checkpoint_is_named_and_never_trained_on(
    tmp_path: Path, half_done: dict[str, bytes], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(half_done["last.ckpt"])
    middle = len(content) // 2
    match damage:
        case "zeros":
            content[middle : middle + 2000] = bytes(2000)
        case "cut":
            content = content[:middle]
        case "empty":
            content = bytearray()
        case "text":
            content = bytearray(b"no checkpoint")
    out = lay({**half_done, "last.ckpt": bytes(content)}, tmp_path / "run")
    assert main(command(out, 4000)) == 1
    said = capsys.readouterr().err
    assert f"{out / 'last.ckpt'} is damaged" in said
    assert "delete it to begin this training anew" in said
    assert (out / "last.ckpt").read_bytes() == bytes(content)


def test_a_checkpoint_of_another_run_is_named_and_never_trained_on(
    tmp_path: Path, half_done: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    own, other = lay(half_done, tmp_path / "own"), tmp_path / "other"
    faster = ["--learning-rate", "0.01"]
    process = started(other, more=faster)
    process.terminate()
    process.communicate(timeout=60)
    checkpoint = other / "last.ckpt"
    checkpoint.write_bytes(half_done["last.ckpt"])
    assert main([*command(other, 4000), *faster]) == 1
    said = capsys.readouterr().err
    assert f"{checkpoint} is of a run of another configuration:\n  config.learning_rate: 0.0001 → 0.01\n" in said
    assert "delete it to begin this training anew" in said
    assert checkpoint.read_bytes() == half_done["last.ckpt"] == (own / "last.ckpt").read_bytes()


def test_a_log_with_bytes_that_are_no_text_is_read_around(
    tmp_path: Path, half_done: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    from leadline.training.trainer import _drop_lines_after

    first = half_done["log.jsonl"].splitlines()[0]
    (tmp_path / "log.jsonl").write_bytes(first + b"\n\xff\xfe\n[]\n" + first + b"\n")
    _drop_lines_after(10, tmp_path / "log.jsonl")
    assert (tmp_path / "log.jsonl").read_bytes() == 2 * (first + b"\n")
    assert "2 lines cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b"null", b"[" * 100_000])
def test_a_damaged_run_file_is_named(
    tmp_path: Path, half_done: dict[str, bytes], content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = lay({**half_done, "run.json": content}, tmp_path / "run")
    assert main(command(out, 4000)) == 1
    said = capsys.readouterr().err
    assert "run.json" in said
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    assert main(command(out)) == 0
    return out


def test_damaged_weights_of_a_finished_run_are_named_and_not_handed_on(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = finished / "best" / "weights.safetensors"
    whole = weights.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2 : len(damaged) // 2 + 2000] = bytes(2000)
    weights.write_bytes(bytes(damaged))
    try:
        before = (finished / "model" / "weights.safetensors").read_bytes()
        assert main(command(finished)) == 1
        said = capsys.readouterr().err
        assert f"{weights} is damaged" in said
        assert "copy the model again" in said
        assert (finished / "model" / "weights.safetensors").read_bytes() == before
        with pytest.raises(BadInput, match="is damaged"):
            load(finished / "best")
    finally:
        weights.write_bytes(whole)
    assert main(command(finished)) == 0


@pytest.fixture(scope="module")
def of_another_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a run from another seed."""
    out = tmp_path_factory.mktemp("another") / "run"
    assert main([*command(out, 2), "--seed", "1"]) == 0
    return out / "best"


def test_the_best_model_of_another_run_is_named_and_not_handed_on(
    finished: Path, of_another_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(out / "best")
    shutil.copytree(of_another_run, out / "best")
    assert main(command(out)) == 1
    assert f"{out / 'best'} is not the model that this run left" in capsys.readouterr().err
    summary = json.loads((out / "done.json").read_text())
    assert len(summary.pop("best_sha256")) == 64
    (out / "done.json").write_text(json.dumps(summary))  # as an older version wrote it
    assert main(command(out)) == 0


def test_a_folder_started_from_other_weights_is_refused(
    finished: Path, of_another_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    first = [*command(out, 2), "--model", str(finished / "best")]
    assert main(first) == 0
    assert main(first) == 0
    assert main([*command(out, 2), "--model", str(of_another_run)]) == 1
    assert "holds a run of another configuration:\n  start: " in capsys.readouterr().err
    configuration = json.loads((out / "run.json").read_text())
    assert len(configuration.pop("start")) == 64
    (out / "run.json").write_text(json.dumps(configuration))  # as an older version wrote it
    assert main(first) == 0


def test_a_training_leaves_files_and_folders_of_models_alone(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(finished / "best", tmp_path / "model"))
    before = sorted(path.name for path in folder.iterdir())
    assert main(command(folder)) == 1
    assert f"{folder} is the folder of a model, not of a training" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == before
    file = tmp_path / "photo.png"
    file.write_bytes(b"mine")
    assert main(command(file)) == 1
    assert f"Cannot create the folder {file}" in capsys.readouterr().err


def test_a_model_saved_without_a_checksum_is_still_loaded(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    description = json.loads((finished / "model" / "model.json").read_text())
    assert len(description.pop("weights_sha256")) == 64
    (folder / "model.json").write_text(json.dumps(description))
    (folder / "weights.safetensors").write_bytes((finished / "model" / "weights.safetensors").read_bytes())
    assert load(folder).kind == "metric"


def test_a_run_that_was_terminated_ends_with_the_weights_of_one_that_was_not(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for _ in range(40):
        process = subprocess.Popen([sys.executable, "-c", ALONE, *command(out)], stderr=subprocess.DEVNULL)
        while process.poll() is None and not (out / "last.ckpt").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        if (out / "last.ckpt").exists() or (out / "done.json").exists():
            break
    assert main(command(out)) == 0
    for name in ("best", "last"):
        ours, theirs = (folder / name / "weights.safetensors" for folder in (out, finished))
        assert ours.read_bytes() == theirs.read_bytes()
    assert (out / "log.jsonl").read_bytes() == (finished / "log.jsonl").read_bytes()


def test_two_runs_never_share_a_folder_and_an_interruption_saves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    process = started(out)
    try:
        assert main(command(out, 4000)) == 1
        assert "Another process is training in" in capsys.readouterr().err
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted; the same command continues" in said
    assert "Traceback" not in said
    assert (out / "last.ckpt").exists()


def test_a_full_disk_ends_a_training_with_one_line_and_keeps_the_last_checkpoint(
    tmp_path: Path, half_done: dict[str, bytes]
) -> None:
    """A limit on the size of files refuses writes as a full disk does."""
    out = lay(half_done, tmp_path / "run")
    before = half_done["last.ckpt"]
    program = (
        "import resource, sys, torch; torch.set_num_threads(1); from leadline.cli.main import main; import timm; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2}, {resource.RLIM_INFINITY})); "
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command(out, 4000)],
        stderr=subprocess.PIPE, text=True, timeout=120, env={**os.environ}, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "Cannot write" in done.stderr
    assert (out / "last.ckpt").read_bytes() == before


def test_a_run_of_an_older_version_continues(tmp_path: Path, half_done: dict[str, bytes]) -> None:
    """Options that came later were not there to be set, and some had other names."""
    older = json.loads(half_done["run.json"])
    for now, before in {"monitor": "best_by", "ema_decay": "ema", "grad_clip": "clip"}.items():
        older["config"][before] = older["config"].pop(now)
    del older["config"]["augmentation"]["jpeg"]
    del older["protocol"]["scales"]
    older["plan"] = older.pop("config")
    out = lay({**half_done, "run.json": json.dumps(older).encode()}, tmp_path / "run")
    from leadline.training.trainer import _claim

    _claim(out, json.loads(half_done["run.json"]))
    changed = json.loads(half_done["run.json"])
    changed["config"]["batch_size"] = 3
    with pytest.raises(BadInput, match=r"config\.batch_size: 2 → 3"):
        _claim(out, changed)
