"""Docstrings: every public object says what it does, what it takes, what it gives and what it raises."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "leadline"
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))
NO_VERBS = frozenset(
    [
        "a",
        "all",
        "an",
        "any",
        "anything",
        "as",
        "at",
        "by",
        "each",
        "every",
        "everything",
        "for",
        "from",
        "how",
        "in",
        "its",
        "no",
        "none",
        "nothing",
        "of",
        "on",
        "one",
        "our",
        "so",
        "some",
        "that",
        "the",
        "these",
        "this",
        "those",
        "two",
        "what",
        "whatever",
        "when",
        "where",
        "whether",
        "which",
        "who",
        "with",
        "without",
    ]
)
"""First words of sentences that do not begin with a verb."""
INHERITED = ("forward", "forward_canonical", "forward_canonical_scored", "forward_with_sides", "features", "run")
"""Methods that their base class or interface documents."""

Documented = ast.FunctionDef | ast.ClassDef


def public(tree: ast.Module) -> Iterator[tuple[str, Documented, bool]]:
    """Functions, classes and methods whose names do not begin with an underscore, and whether they are methods."""
    for node in tree.body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield node.name, node, False
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}", inner, True


def parameters(function: ast.FunctionDef, *, is_method: bool) -> list[str]:
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    is_static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in function.decorator_list)
    return [name for name in (names[1:] if is_method and not is_static else names) if not name.startswith("_")]


def decorations(function: ast.FunctionDef) -> set[str]:
    names = {each.id for each in function.decorator_list if isinstance(each, ast.Name)}
    return names | {each.attr for each in function.decorator_list if isinstance(each, ast.Attribute)}


def faults(name: str, node: Documented, *, is_method: bool) -> Iterator[str]:
    text = ast.get_docstring(node) or ""
    where = f"{name} (line {node.lineno})"
    if isinstance(node, ast.FunctionDef):
        decorated = decorations(node)
        # What an interface or a base class says is not said again.
        if decorated & {"property", "setter", "cached_property", "override", "overload"}:
            return
        if is_method and not text and node.name in INHERITED:
            return
    if not text:
        yield f"{where} has no docstring"
        return
    if not re.match(r"[A-Z`\"'0-9(|αδ]", text):
        yield f"{where} does not begin with a capital letter"
    if not isinstance(node, ast.FunctionDef):
        return
    first = re.sub(r"\W", "", text.split()[0]).lower()
    if first in NO_VERBS:
        yield f"{where} does not begin with a verb: {text.splitlines()[0]!r}"
    taken = parameters(node, is_method=is_method)
    if len(taken) >= 3:
        if "Args:" not in text:
            yield f"{where} takes {len(taken)} parameters and has no Args"
        else:
            missing = [
                each for each in taken if not re.search(rf"^\s+\*{{0,2}}{re.escape(each)}\b.*:", text, re.MULTILINE)
            ]
            if missing:
                yield f"{where} does not describe {', '.join(missing)}"
    raised = {
        each.exc.func.id
        for each in ast.walk(node)
        if isinstance(each, ast.Raise) and isinstance(each.exc, ast.Call) and isinstance(each.exc.func, ast.Name)
    } & {"BadInput", "UnreadableFile", "NoSplit", "DivergedError"}
    if raised and "Raises:" not in text and not re.match(r"(Raise|Refuse|Check)\b", text):
        yield f"{where} raises {', '.join(sorted(raised))} and has no Raises"


@pytest.mark.parametrize("module", MODULES)
def test_every_public_object_is_documented(module: str) -> None:
    tree = ast.parse((SOURCE / module).read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{module} does not open with a sentence"
    found = [fault for name, node, is_method in public(tree) for fault in faults(name, node, is_method=is_method)]
    assert not found, "\n".join(found)
