"""Run folders: a folder belongs to one configuration, and any other is refused with the difference."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from leadline.core.errors import BadInput
from leadline.io.atomic import atomic_write
from leadline.io.json_text import as_json, parse_json


def claim_folder(file: Path, configuration: Mapping[str, Any], problem: str, beside: Collection[str] = ()) -> None:
    """Write the configuration of a new folder, or check that an old folder has the same one.

    Args:
        file: the JSON file in the folder that holds its configuration.
        configuration: what is asked for, as JSON.
        problem: what the error says of a folder of another configuration.
        beside: glob patterns of the files that will be written beside it.

    Raises:
        BadInput: the folder is of another configuration, the file is damaged, or files of these patterns exist without
            it, which are not Leadline's.
    """
    before = create_or_read(file, configuration, beside)
    check_same_configuration(before, configuration, problem, "Give another folder, or delete this one to start anew.")


def create_or_read(
    file: Path, configuration: Mapping[str, Any], beside: Collection[str] = (), allowed: Collection[str] = ()
) -> dict[str, Any]:
    """Return the configuration that `file` holds; write it first, if the file does not exist.

    Args:
        file: the JSON file in the folder that the configuration is of.
        configuration: what is written, as JSON.
        beside: glob patterns of the files that will be written beside it.
        allowed: names that may be there already.

    Returns:
        The configuration in the file, which may be another.

    Raises:
        BadInput: the file is damaged; or files of these patterns exist without it, which are not Leadline's.
    """
    if not file.exists():
        found = {path.name for pattern in beside for path in file.parent.glob(pattern)}
        if others := sorted(found - set(allowed)):
            raise BadInput(f"{file.parent} holds {others[0]}, which is not of this run: choose another folder.")
        with atomic_write(file) as half:
            half.write_text(json.dumps(as_json(configuration), indent=1))
    return read_configuration(file)


def read_configuration(file: Path, advice: str = "restore it, or delete its folder and start again") -> dict[str, Any]:
    """Return the JSON object in `file`.

    Args:
        file: a JSON file.
        advice: what to do about a damaged one.

    Raises:
        BadInput: it is damaged.
    """
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as problem:
        raise BadInput(f"{file} is damaged ({problem}): {advice}.") from problem
    if not isinstance(content, dict):
        raise BadInput(f"{file} is damaged (it holds no JSON object): {advice}.")
    return content


def check_same_configuration(before: Mapping[str, Any], now: Mapping[str, Any], problem: str, advice: str) -> None:
    """Refuse a folder of another configuration, with the differences line by line.

    Args:
        before: the configuration of the folder.
        now: the configuration that is asked for.
        problem: what the error says before the differences, without a colon.
        advice: what the error says after them.

    Raises:
        BadInput: a value differs, or is in one of them only.
    """
    if changes := differences(before, now):
        raise BadInput("\n".join([f"{problem}:", *(f"  {each}" for each in changes), advice]))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two configurations, a line for each value.

    Args:
        before: a configuration that was written; one of an earlier version may lack `SPREAD_SAMPLES`.
        now: another.
    """
    before, now = _flat(before), _flat(as_json(now))
    return [
        f"{key}: {before.get(key, 'absent')} → {now.get(key, 'absent')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and (key in before or key.rpartition(".")[2] != SPREAD_SAMPLES)
    ]


SPREAD_SAMPLES = "samples spread over it"
"""Key of a dataset's checksum of more samples than the first, which versions before 0.2 did not write."""


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as one level: {"plan.steps": 300, …}."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    return {
        key: value for name, part in tree.items() for key, value in _flat(part, f"{prefix}.{name}".strip(".")).items()
    }
