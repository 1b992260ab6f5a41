"""Documents: every command that they name exists and takes its options, and every link leads somewhere."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
import tyro
from loopback_hub import TOKEN, hub

from leadline.cli.main import COMMANDS, _renamed
from leadline.evaluation.alignment import ALIGNMENTS
from leadline.evaluation.protocols import protocol
from leadline.models.loading import open_model
from leadline.models.networks.hybrid import HybridConfig
from leadline.models.pretrained.hub import model_card
from leadline.models.registry import build
from leadline.models.saving import save
from leadline.recipes.train_options import TrainOptions

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def commands(document: Path) -> list[str]:
    """The `leadline …` lines of a document's code blocks, with lines that end in a backslash joined to the next."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```\w*\n(.*?)^```|^((?:    .*\n)+)", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for fenced, indented in blocks for line in (fenced or indented).splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.removeprefix("$ ").startswith("leadline ")]


@pytest.mark.parametrize(
    ("document", "line"),
    [pytest.param(each, line, id=f"{each.name}: {line[:60]}") for each in DOCUMENTS for line in commands(each)],
)
def test_a_documented_command_is_one(document, line):
    words = shlex.split(line, comments=True)[1:]
    if words[0] in ("--help", "--version"):
        return
    command = max((name for name in COMMANDS if words[: len(name.split())] == name.split()), key=len)
    module, _, name = COMMANDS[command][0].partition(":")
    options = _renamed(command, words[len(command.split()) :])
    if "--help" in options:
        return
    asked = tyro.cli(getattr(import_module(module), name), args=options, config=(tyro.conf.DisallowNone,))
    training = next((each for each in vars(asked).values() if isinstance(each, TrainOptions)), None)
    if training and "/" not in training.model and "weights=" not in training.model:
        # What learns is scored in metres, or aligned to what was measured.
        kind = open_model(training.model).kind
        assert kind in ALIGNMENTS[protocol(training.protocol).alignment].kinds


RUN_BLOCKS = """
import json, sys, traceback, warnings

warnings.filterwarnings("error", "leadline", DeprecationWarning)  # of our own names; the hub's client has others
for name, block in json.load(sys.stdin):
    try:
        exec(compile(block, name, "exec"), {"__name__": "__main__"})
    except BaseException:
        sys.exit(f"{name}:\\n{block}\\n{traceback.format_exc()}")
"""
"""A process of their own: the hub's client reads its settings once, when it is imported."""


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_every_python_block_of_the_documents_and_of_model_cards_runs(tmp_path):
    model = build("cnn", encoder="mobilenetv3_small_050", width=8, kind="metric")
    for folder in ("runs/mine/model", "FOLDER"):
        save(model, tmp_path / folder)
    for name in ("photo.jpg", "photograph.jpg"):
        shutil.copy(ROOT / "examples" / "photos" / "reception.jpg", tmp_path / name)
    # What CONTRIBUTING.md adds to the package is run by test_contributing.py.
    run_here = [each for each in DOCUMENTS if each.name != "CONTRIBUTING.md"]
    texts = {str(each.relative_to(ROOT)): each.read_text(encoding="utf-8") for each in run_here}
    texts |= {"card of a folder": model_card(model), "card on the hub": model_card(model, "me/rooms")}
    blocks = [(name, block) for name, text in texts.items() for block in python_blocks(text)]
    assert {"README.md", "docs/sharing.md", "card of a folder", "card on the hub"} <= {name for name, _ in blocks}
    with hub() as server:
        settings = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
        done = subprocess.run(
            [sys.executable, "-c", RUN_BLOCKS],
            input=json.dumps(blocks),
            cwd=tmp_path,
            env={**os.environ, **settings, "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_documents_links_lead_to_files_that_exist(document):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


def test_every_option_of_our_own_networks_is_documented():
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert not [each.name for each in fields(HybridConfig) if f"`{each.name}`" not in text]


def test_the_readme_lists_every_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", readme, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == extras.keys()


def test_the_readme_lists_every_module():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    modules = {path.name for path in (ROOT / "src" / "leadline").rglob("*.py")} - {"__init__.py"}
    assert not {name for name in modules if name not in readme}
    _, _, layout = readme.partition("## Layout")
    assert not set(re.findall(r"\w+\.py\b", layout)) - {path.name for path in (ROOT / "src").rglob("*.py")}
