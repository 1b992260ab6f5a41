"""Licences of datasets: a constant of each reader, which no way of starting Python takes away."""

import json
import subprocess
import sys
from importlib import import_module

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


@pytest.mark.parametrize("name", DATASETS)
def test_every_reader_of_published_data_states_a_licence_and_where_to_read_it(name: str):
    licence = import_module(DATASETS[name].partition(":")[0]).LICENCE
    stated_elsewhere = name in ("folder", "photos", "store")
    assert (licence == "") is stated_elsewhere
    assert stated_elsewhere or name == "rooms" or "://" in licence


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
