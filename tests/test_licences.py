"""Licences of datasets: a constant of each reader, which no way of starting Python takes away."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from leadline.data.datasets import DATASETS, open_data
from leadline.data.datasets.licences import licence_of

ALL_LICENCES = """
import json
from importlib import import_module
from leadline.data.datasets import DATASETS, open_data
from leadline.data.datasets.licences import licence_of
found = {name: import_module(place.partition(":")[0]).LICENCE for name, place in DATASETS.items()}
rooms = open_data("rooms,height=8,width=8,count=1", "train")
print(json.dumps([import_module.__doc__, found, licence_of("kitti:nowhere", rooms)]))
"""


def without_docstrings(module: str) -> dict[str, Any]:
    """Run a module's source as `python -OO` compiles it, and return its names."""
    source = Path(str(import_module(module).__file__))
    names: dict[str, Any] = {"__name__": module, "__file__": str(source)}
    exec(compile(source.read_text(encoding="utf-8"), str(source), "exec", optimize=2), names)
    return names


@pytest.mark.parametrize("name", DATASETS)
def test_every_reader_of_published_data_states_a_licence_and_where_to_read_it(name: str):
    licence = import_module(DATASETS[name].partition(":")[0]).LICENCE
    stated_elsewhere = name in ("folder", "photos", "store")
    assert (licence == "") is stated_elsewhere
    assert stated_elsewhere or name == "rooms" or "://" in licence


@pytest.mark.parametrize("name", DATASETS)
def test_a_licence_is_known_without_docstrings(name: str):
    module = DATASETS[name].partition(":")[0]
    names = without_docstrings(module)
    assert names.get("__doc__") is None
    assert names["LICENCE"] == import_module(module).LICENCE


def test_what_states_licences_reads_no_docstrings():
    names = without_docstrings("leadline.data.datasets.licences")
    rooms = open_data("rooms,height=8,width=8,count=1", "train")
    assert names["licence_of"].__doc__ is None
    assert "CC BY-NC-SA 3.0" in names["licence_of"]("kitti:nowhere", rooms)


@pytest.mark.long
def test_licences_are_known_to_a_python_without_docstrings():
    ended = subprocess.run([sys.executable, "-OO", "-c", ALL_LICENCES], capture_output=True, text=True, check=True)
    docstring, found, of_kitti = json.loads(ended.stdout)
    assert docstring is None
    assert found == {name: import_module(place.partition(":")[0]).LICENCE for name, place in DATASETS.items()}
    assert of_kitti == found["kitti"]
    assert "CC BY-NC-SA 3.0" in of_kitti


def test_rooms_are_under_the_licence_of_the_code():
    rooms = open_data("rooms,height=8,width=8,count=1", "train")
    assert licence_of("rooms,height=8,width=8,count=1", rooms) == "Apache-2.0, as the code"
