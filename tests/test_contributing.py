"""Contributing: the examples of CONTRIBUTING.md work when they are followed to the letter."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n# src/(\S+\.py)(?:, in (\w+))?\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = [
    shlex.split(line)[1:]
    for line in TEXT.replace("\\\n", " ").splitlines()
    if line.startswith("    .venv/bin/leadline ")
]
RUN_COMMANDS = """
import json, sys
from leadline.cli.main import main

for words in json.load(sys.stdin):
    if code := main(words):
        sys.exit(code)
"""


def apply(source: Path, table: str, code: str) -> None:
    """Write a block into the file that it names: a new file, or code and an entry of a table in one that exists."""
    if not source.exists():
        source.write_text(code, encoding="utf-8")
        return
    text = source.read_text(encoding="utf-8")
    if not table:
        source.write_text(f"{text}\n\n{code}", encoding="utf-8")
        return
    entry = code.rstrip("\n").rpartition("\n")[2]
    opening = re.search(rf"^{table}: [^\n]*= (MappingProxyType\(\n    )?\{{\n", text, re.MULTILINE)
    assert opening, f"{source} has no table {table}"
    before = code.rstrip("\n").removesuffix(entry)
    source.write_text(
        f"{text[: opening.start()]}{before}{opening[0]}{entry}\n{text[opening.end() :]}", encoding="utf-8"
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """Apply all blocks to a copy of the package, run the commands there, and return the folder they ran in."""
    folder = tmp_path_factory.mktemp("contributing")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for path, table, code in BLOCKS:
        apply(folder / "src" / path, table, code)
    done = subprocess.run(
        [sys.executable, "-c", RUN_COMMANDS],
        input=json.dumps(COMMANDS),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_each_table_has_an_example():
    assert {table for _, table, _ in BLOCKS if table} == {"DATASETS", "MODELS", "TERMS", "METRICS", "RECIPES"}


def test_the_new_dataset_and_model_and_metric_are_in_the_figures(ran):
    figures = json.loads((ran / "plain.json").read_text(encoding="utf-8"))
    assert "planes test" in json.dumps(figures)
    assert 0 < figures["rows"][0]["metrics"]["log_mae"] < 5
    assert json.loads((ran / "runs/plain/model/model.json").read_text(encoding="utf-8"))["name"] == "plain"


def test_the_new_loss_is_what_the_training_minimises(ran):
    log = (ran / "runs/plain/log.jsonl").read_text(encoding="utf-8")
    assert '"huber"' in log


def test_the_paths_of_the_table_exist():
    named = re.findall(r"`((?:data|models|training|evaluation|recipes)/[a-z_/]+\.py)`", TEXT)
    assert len(named) > 5
    assert not [path for path in named if not (ROOT / "src" / "leadline" / path).exists()]
