"""Furnished rooms: catalogues of true sizes, layouts from a seed, frames developed into pairs of a dataset."""

import json
import math
import os
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from leadline.cli.main import main
from leadline.core.errors import BadInput
from leadline.data.datasets import open_data
from leadline.data.furnished_rooms.catalogue import FurnitureModel, Role, list_credits, read_catalogues
from leadline.data.furnished_rooms.layout import Placed, make_layout

PROPERTIES = """
id=Test
{0}
"""
CUBE = "o cube\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1\n" + "".join(
    f"f {face}\n" for face in ("4 3 2 1", "5 6 7 8", "1 2 6 5", "2 3 7 6", "3 4 8 7", "4 1 5 8")
)
PIECES = [
    ("Sofa", "Living room", 200, 90, 80, {}),
    ("Table", "Living room", 120, 80, 75, {}),
    ("Chair", "Living room", 45, 45, 90, {}),
    ("Bookcase", "Living room", 90, 35, 180, {"dropOnTopElevation": "-1"}),
    ("Desk", "Office", 140, 70, 74, {}),
    ("Bed", "Bedroom", 160, 210, 90, {"dropOnTopElevation": "50"}),
    ("Cup", "Kitchen", 8, 8, 10, {}),
    ("Lower cabinet", "Kitchen", 60, 60, 85, {}),
    ("Washbasin", "Bathroom", 60, 45, 80, {}),
    ("Window", "Doors and windows", 90, 20, 120, {"elevation": "90", "doorOrWindow": "true"}),
    ("Ficus", "Living room", 60, 60, 150, {}),
    ("Bus", "Vehicles", 900, 250, 300, {}),
]


@pytest.fixture(scope="module")
def catalogues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of cubes with the sizes of furniture."""
    folder = tmp_path_factory.mktemp("furniture")
    lines = []
    for number, (name, category, width, depth, height, more) in enumerate(PIECES, start=1):
        entry = {"name": name, "category": category, "width": width, "depth": depth, "height": height}
        entry |= {"model": f"/test/{number}.obj", "creator": "A. Maker", **more}
        lines += [f"{key}#{number}={value}" for key, value in entry.items()]
    with zipfile.ZipFile(folder / "Test.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", PROPERTIES.format("\n".join(lines)).encode("latin-1"))
        for number in range(1, len(PIECES) + 1):
            archive.writestr(f"test/{number}.obj", CUBE)
    return folder


@pytest.fixture(scope="module")
def models(catalogues: Path) -> list[FurnitureModel]:
    return read_catalogues(str(catalogues))


def test_a_catalogue_gives_true_sizes_and_what_a_model_is_for(models: list[FurnitureModel]) -> None:
    by_name = {model.name: model for model in models}
    assert by_name.keys() == {name for name, *_ in PIECES} - {"Bus"}
    sofa = by_name["Sofa"]
    assert (sofa.width, sofa.depth, sofa.height, sofa.role) == (2.0, 0.9, 0.8, Role.SOFA)
    assert by_name["Bookcase"].top is None
    assert by_name["Bed"].top == 0.5
    assert by_name["Window"].elevation == 0.9
    assert list_credits(models) == ["A. Maker (Test, CC-BY-3.0): 11 models"]


def test_a_folder_without_catalogues_says_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="apt-get download sweethome3d-furniture"):
        read_catalogues(tmp_path)
    (tmp_path / "broken.sh3f").write_bytes(b"no archive")
    with pytest.raises(BadInput, match=r"broken\.sh3f is no furniture catalogue"):
        read_catalogues(tmp_path)


def test_a_seed_gives_one_layout_and_another_seed_another(models: list[FurnitureModel]) -> None:
    first = make_layout(models, (1, 2), 6).as_json()
    assert first == make_layout(models, (1, 2), 6).as_json()
    assert first != make_layout(models, (1, 3), 6).as_json()
    assert json.loads(json.dumps(first))["views"]


@pytest.mark.parametrize("seed", range(40))
def test_large_furniture_stands_inside_and_apart(models: list[FurnitureModel], seed: int) -> None:
    layout = make_layout(models, (9, seed), 6)
    floor = layout.blocks[0]
    large = [each for each in layout.placed if each.size[2] > 0.7 and each.size[0] > 0.55 and each.foot[2] == 0]
    areas = [_area(each) for each in large]
    lowest = min(block.low[0] for block in layout.blocks), min(block.low[1] for block in layout.blocks)
    highest = max(block.high[0] for block in layout.blocks), max(block.high[1] for block in layout.blocks)
    assert floor.high[2] == 0
    for x0, y0, x1, y1 in areas:
        assert lowest[0] <= x0 < x1 <= highest[0]
        assert lowest[1] <= y0 < y1 <= highest[1]
    for one in range(len(areas)):
        for other in range(one):
            a, b = areas[one], areas[other]
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]
    assert all(30 < view.field_of_view < 105 and 0.1 < view.place[2] < 4 for view in layout.views)


def _area(placed: Placed) -> tuple[float, float, float, float]:
    angle = math.radians(placed.turned)
    across = (abs(math.cos(angle)) * placed.size[0] + abs(math.sin(angle)) * placed.size[1]) / 2
    along = (abs(math.sin(angle)) * placed.size[0] + abs(math.cos(angle)) * placed.size[1]) / 2
    return placed.foot[0] - across, placed.foot[1] - along, placed.foot[0] + across, placed.foot[1] + along


def test_a_python_without_blender_is_refused_with_the_way_to_get_it(catalogues: Path, tmp_path: Path, capsys) -> None:
    command = ["data", "render", "--catalogues", str(catalogues), "--out", str(tmp_path / "rooms")]
    assert main([*command, "--python", str(tmp_path / "python")]) == 1
    assert "pip install 'bpy==4.2.0' 'numpy<2'" in capsys.readouterr().err
    assert not (tmp_path / "rooms").exists()


def test_a_missing_reader_of_blenders_files_is_named_before_anything_is_rendered(
    catalogues: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    command = ["data", "render", "--catalogues", str(catalogues), "--out", str(tmp_path / "rooms")]
    assert main([*command, "--python", sys.executable]) == 1
    assert "pip install 'leadline[exr]'" in capsys.readouterr().err
    assert not (tmp_path / "rooms").exists()


STAND_IN = """#!{python}
import json, sys
from pathlib import Path
if "-c" not in sys.argv:
    import numpy as np
    import OpenEXR
    for line in Path(sys.argv[2]).read_text().splitlines():
        job = json.loads(line)
        height, width = job["size"]
        out = Path(job["out"])
        out.mkdir(parents=True)
        depth = np.full((height, width), 2.5, np.float32)
        depth[0] = 1e10
        index = np.zeros((height, width), np.float32)
        index[1] = job["pane_index"]
        planes = {{f"ViewLayer.Combined.{{name}}": np.full((height, width), 0.2, np.float32) for name in "RGBA"}}
        planes |= {{"ViewLayer.Depth.Z": depth, "ViewLayer.IndexOB.X": index}}
        views = job["layout"]["views"][: job["views"]]
        for number in range(len(views)):
            header = {{"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}}
            OpenEXR.File(header, planes).write(str(out / f"{{number:04d}}.exr"))
        (out / "views.json").write_text(json.dumps(views))
        print("Fra:1 Mem:12M", flush=True)
        print(f"done {{out}} {{len(views)}}", flush=True)
"""


def test_finished_scenes_become_a_dataset_and_missing_ones_are_made_again(catalogues: Path, tmp_path: Path) -> None:
    """With a program in the place of Blender that writes the frames it would: grey walls 2.5 m away, sky and a pane."""
    pytest.importorskip("OpenEXR")
    blender = tmp_path / "python"
    blender.write_text(STAND_IN.format(python=sys.executable))
    blender.chmod(0o755)
    out = tmp_path / "my rooms"
    command = ["data", "render", "--catalogues", str(catalogues), "--out", str(out), "--python", str(blender)]
    command += ["--scenes", "3", "--views", "2", "--size", "48", "64"]
    assert main(command) == 0
    before = {path: path.read_bytes() for path in sorted(out.rglob("*.jpg"))}
    assert len(before) == 6
    assert (out / "CREDITS.txt").read_text() == "A. Maker (Test, CC-BY-3.0): 11 models\n"
    shutil.rmtree(out / "train" / "room_00002")
    assert main(command) == 0
    assert {path: path.read_bytes() for path in before} == before
    assert not list(out.glob(".frames.*"))
    data = open_data(f"{out},depth_scale=1000", "train")
    sample = data[1]
    assert len(data) == 2
    assert sample.intrinsics is not None
    assert sample.intrinsics[2:].tolist() == [31.5, 23.5]
    assert not sample.valid[:, :2].any()
    assert sample.valid[:, 2:].all()
    assert (sample.depth[:, 2:] == 2.5).all()
    assert main([*command, "--seed", "1"]) == 1


def test_two_catalogues_of_one_name_are_refused(catalogues: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(catalogues / "Test.sh3f", tmp_path / folder)
    with pytest.raises(BadInput, match=r"Test\.sh3f and .*Test\.sh3f have one name"):
        read_catalogues(tmp_path)


@pytest.mark.long
def test_blender_renders_rooms_whose_depth_is_the_distance_to_their_walls(catalogues: Path, tmp_path: Path) -> None:
    python = os.environ.get("LEADLINE_BLENDER_PYTHON")
    if not python:
        pytest.skip("needs LEADLINE_BLENDER_PYTHON, a Python with Blender's module bpy")
    command = ["data", "render", "--catalogues", str(catalogues), "--out", str(tmp_path / "rooms"), "--python", python]
    command += ["--scenes", "3", "--views", "2", "--size", "48", "64", "--samples", "1"]
    assert main(command) == 0
    first = {path: path.read_bytes() for path in sorted((tmp_path / "rooms").rglob("*.png"))}
    assert len(first) == 6
    # The same command has nothing left to do, and a scene that is lost comes back as it was.
    lost = tmp_path / "rooms" / "train" / "room_00002"
    for file in sorted(lost.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    lost.rmdir()
    assert main(command) == 0
    assert {path: path.read_bytes() for path in first} == first
    data = open_data(f"{tmp_path / 'rooms'},depth_scale=1000", "train")
    sample = data[0]
    assert sample.intrinsics is not None
    # Walls, floors and ceilings are planes: along rows and columns of one, inverse depth is linear.
    inverse = np.where(sample.valid[0], 1 / sample.depth[0].clamp_min(0.01), np.nan)
    bend = np.abs(np.diff(inverse, 2, axis=1))
    assert np.nanmedian(bend) < 2e-3 * np.nanmedian(inverse)
