"""Documents: every command that they name exists and takes its options, and every link leads somewhere."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import tyro

from leadline.cli.main import COMMANDS
from leadline.core.depth_kind import DepthKind
from leadline.models.loading import open_model

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
    options = words[len(command.split()) :]
    if "--help" in options:
        return
    asked = tyro.cli(getattr(import_module(module), name), args=options, config=(tyro.conf.DisallowNone,))
    if (lesson := getattr(asked, "lesson", None)) and "/" not in lesson.model and "weights=" not in lesson.model:
        # What learns is scored in metres.
        assert open_model(lesson.model).kind is DepthKind.METRIC


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_documents_links_lead_to_files_that_exist(document):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


def test_the_readme_lists_every_module():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    modules = {path.name for path in (ROOT / "src" / "leadline").rglob("*.py")} - {"__init__.py"}
    assert not {name for name in modules if name not in readme}
