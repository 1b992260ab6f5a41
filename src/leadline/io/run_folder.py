"""Claims: a folder belongs to what it was first made of, and refuses anything else with the difference."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from leadline.core.errors import BadInput
from leadline.io.atomic import atomic_write


def create_or_read(file: Path, about: Mapping[str, Any], beside: Collection[str] = ()) -> dict[str, Any]:
    """What `file` says that its folder is made of: `about`, if nobody had said it yet.

    Args:
        file: where it is said.
        about: what is to be made.
        beside: patterns of what will be written beside it.

    Raises:
        BadInput: it is damaged; or there are such files without it, which are not Leadline's.
    """
    if not file.exists():
        if others := sorted(path.name for pattern in beside for path in file.parent.glob(pattern)):
            raise BadInput(f"{file.parent} holds {others[0]}, which is not of this run: choose another folder.")
        with atomic_write(file) as half:
            half.write_text(json.dumps(about, indent=1))
    return read_configuration(file)


def read_configuration(file: Path) -> dict[str, Any]:
    """What `file` says.

    Raises:
        BadInput: it is damaged.
    """
    cure = "restore it, or delete its folder and start anew"
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as problem:
        raise BadInput(f"{file} is damaged ({problem}): {cure}.") from problem
    if not isinstance(told, dict):
        raise BadInput(f"{file} is damaged (it holds no JSON object): {cure}.")
    return told


def check_same_configuration(before: Mapping[str, Any], now: Mapping[str, Any], holds: str, cure: str) -> None:
    """Refuse a place that is made of something else; `holds` and `cure` are what stands around the difference.

    Raises:
        BadInput: a value differs, or is told by one side only.
    """
    before, now = _flat(before), _flat(json.loads(json.dumps(now)))
    changes = [
        f"  {key}: {before.get(key, 'absent')} → {now.get(key, 'absent')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changes:
        raise BadInput("\n".join([f"{holds}:", *changes, cure]))


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"plan.steps": 300, …}"""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    return {
        key: value for name, part in tree.items() for key, value in _flat(part, f"{prefix}.{name}".strip(".")).items()
    }
