"""Outputs: no command replaces a file that Leadline did not write, each may replace its own, and all documented run."""

import json
import shlex
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_documents import DOCUMENTS, ROOT, commands

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.io.atomic import atomic_folder, atomic_write, clean_stale
from leadline.io.depth_maps import DepthMap, write_depth
from leadline.io.outputs import read_leadline_metadata
from leadline.io.video import VideoWriter
from leadline.models.registry import build
from leadline.models.saving import save


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """Where a small model is saved."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("models") / "tiny"
    save(build("cnn", size="tiny", encoder="test_efficientnet", input_size=(64, 64)), place)
    return str(place)


ROOMS = "rooms,count=2,height=64,width=64"
COMMANDS = {
    "report.html": "report --model {model} --data {rooms} --worst 1 --out {out}",
    "report.md": "report --model {model} --data {rooms} --worst 1 --out {out}",
    "report.json": "report --model {model} --data {rooms} --worst 1 --out {out}",
    "figures/01.jpg": "report --model {model} --data {rooms} --worst 1 --out {out}",
    "table.json": "evaluate --model {model} --data {rooms} --json {out}/table.json",
    "card.html": "data inspect {data} --out {out}/card.html",
    "model/model.json (compress)": "compress quantise {model} --data {rooms} --out {out}",
    "log.jsonl": "train --data {rooms} --steps 1 --out {out}",
    "last.ckpt": "train --data {rooms} --steps 1 --out {out}",
    "model/model.json": "train --data {rooms} --steps 1 --out {out}",
    "00000.npy": "label --teacher {model} --data {rooms} --out {out}",
    "train/00000.arrow": "data prepare {rooms} --size 64:64 --out {out}",
    "a.png": "predict {data}/rgb/a.png --model {model} --out {out}",
    "room.ply": "cloud {data}/rgb/a.png --model {model} --out {out}/room.ply",
    "weights.safetensors": "convert dpt_hybrid_nyu-2ce69ec7.pt {out}",
    "distillation.json": "study distillation --quick --record {out} --out {out}/runs",
    "distillation.md": "study distillation --quick --record {out} --out {out}/runs",
    "report.html (stages)": "study stages --seeds 1 --out {out}",
    "report.html (distil)": "distil --teacher {model} --student cnn,size=tiny --data {rooms} --out {out}",
}
"""A file of a user's → a command that would write one of this name."""


@pytest.fixture
def data(tmp_path) -> Path:
    """One pair of a photograph and depth in millimetres."""
    for part, pixels in (("rgb", np.full((64, 64, 3), 99, np.uint8)), ("depth", np.full((64, 64), 2000, np.uint16))):
        (tmp_path / "data" / part).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "data" / part / "a.png")
    return tmp_path / "data"


def test_figures_into_a_device_are_refused_without_reading_it(data, capsys):
    """`--json /dev/full` was read to its end, which it does not have, until the memory was full."""
    maps = ["--predictions", str(data / "depth"), "--truth", str(data / "depth"), "--depth-scale", "1000"]
    for device in ("/dev/full", "/dev/zero"):
        if Path(device).exists():
            assert main(["evaluate", *maps, "--json", device]) == 1
            assert f"{device} is there, and Leadline did not write it" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_replaces_a_file_that_leadline_did_not_write(folder, data, tmp_path, capsys, name):
    mine = tmp_path / "out" / name.partition(" ")[0]
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine, and nowhere else")
    words = COMMANDS[name].format(model=folder, rooms=ROOMS, data=data, out=tmp_path / "out").split()
    assert main(words) == 1
    assert mine.read_bytes() == b"mine, and nowhere else"
    said = capsys.readouterr()
    assert "choose a" in said.err
    assert "Traceback" not in said.err
    beside = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and "cache" not in path.parts]
    assert [path for path in beside if path.name != ".lock"] == [mine]


@pytest.mark.parametrize("name", ["report.html", "table.json", "card.html", "a.png"])
def test_the_same_command_may_replace_what_it_wrote(folder, data, tmp_path, name):
    words = COMMANDS[name].format(model=folder, rooms=ROOMS, data=data, out=tmp_path / "out").split()
    for _ in range(2):
        assert main(words) == 0
    assert (tmp_path / "out" / name).is_file()


def test_a_table_is_not_written_over_a_photograph_or_a_folder(folder, data, tmp_path, capsys):
    photo = data / "rgb" / "a.png"
    before = photo.read_bytes()
    words = ["evaluate", "--model", folder, "--data", ROOMS, "--json"]
    assert main([*words, str(photo)]) == 1
    assert main([*words, str(data)]) == 1
    assert photo.read_bytes() == before
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["png", "tiff", "npz"])
def test_a_depth_map_is_known_by_its_own_words(tmp_path, suffix):
    depth = torch.full((1, 4, 5), 2.0)
    path = tmp_path / f"a.{suffix}"
    write_depth(path, DepthMap(depth, depth > 0, DepthKind.METRIC, None, {"model": "some"}))
    assert read_leadline_metadata(path)["model"] == "some"
    assert read_leadline_metadata(path)["kind"] == "metric"
    path.write_bytes(path.read_bytes()[:20])
    assert not read_leadline_metadata(path)


def test_what_others_wrote_has_no_marks(tmp_path, shared):
    np.savez(tmp_path / "a.npz", depth=np.ones((3, 4)))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.pfm").write_bytes(b"Pf\n1 1\n-1.0\n0000")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.png").mkdir()
    assert not any(read_leadline_metadata(path) for path in (*tmp_path.iterdir(), tmp_path / "absent.png"))
    for path in (shared / "cases" / "fuzz").iterdir():
        read_leadline_metadata(path)  # whatever it is, without an error


@pytest.mark.parametrize("name", ["x" * 250 + ".png", "é" * 120 + ".json", "x" * 255])
def test_the_longest_names_can_be_written(tmp_path, name):
    with atomic_write(tmp_path / name) as half:
        half.write_text("whole")
        assert half.name.startswith(".")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    (tmp_path / name).unlink()
    with atomic_folder(tmp_path / name) as half:
        (half / "a").write_text("whole")
    assert (tmp_path / name / "a").is_file()


def test_only_what_a_kill_left_is_swept(tmp_path):
    left = [".a.12.half.png", ".b.12.half", ".c.12.before"]
    kept = [".a.half.png", ".halfway", "a.12.half.png", ".gitignore", ".before"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("")
    clean_stale(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_each_error_of_a_disk_has_its_own_cure(tmp_path):
    (tmp_path / "file").write_text("")
    cures = {tmp_path / "file" / "a.png": "choose another folder", tmp_path / ("x" * 300): "shorter name"}
    for path, cure in cures.items():
        with pytest.raises(BadInput, match=cure), atomic_write(path) as half:
            half.write_text("")


ELSEWHERE = (
    "leadline app",
    "--camera",
    "nyu:",
    "dpt_hybrid",
    "hub:",
    "me/rooms",
    "redweb:",
    "mobilenetv2",
    "study ",
    "stores/",
    "leadline models",
)
"""Marks of commands that need weights, data or a camera, or run for hours; test_documents holds their options."""
DOCUMENTED = [
    pytest.param(document, lines, id=document.name)
    for document in DOCUMENTS
    if document.name != "experiments.md"  # a record of what was run
    and (lines := [line for line in commands(document) if not any(mark in line for mark in ELSEWHERE)])
]


def grow(path: Path, size: tuple[int, int], *, depth: bool) -> None:
    """Write a photograph, or depth in millimetres, of a floor."""
    height, width = size
    rows = np.linspace(0, 1, height)[:, None] + np.zeros((1, width))
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = (4000 - 2500 * rows).astype(np.uint16) if depth else (255 * rows).astype(np.uint8)
    Image.fromarray(numbers).save(path)


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


RUN_EACH = """
import json, sys, warnings
import torch
from leadline.cli.main import main

torch.set_num_threads(1)
warnings.simplefilter("error")
for words in json.loads(sys.argv[1]):
    if (code := main(words)) != 0:
        sys.exit(f"leadline {' '.join(words)}: exit code {code}")
"""
"""Runs commands one after another, in a process of their own: some load libraries that start threads."""


@pytest.mark.parametrize(("document", "lines"), DOCUMENTED)
def test_every_documented_command_runs_as_it_is_printed(folder, tmp_path, monkeypatch, document, lines):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shutil.copy(ROOT / "examples/photos/reception.jpg", tmp_path / "photo.jpg")
    for number in range(4):
        grow(tmp_path / f"holiday/{number}.png", (48, 64), depth=False)
        Image.effect_noise((64, 48), 20 + 10 * number).convert("RGB").save(
            _folder(tmp_path / "photos") / f"{number}.png"
        )
        grow(tmp_path / f"data/mine/rgb/{number}.png", (64, 96), depth=False)
        grow(tmp_path / f"data/mine/depth/{number}.png", (64, 96), depth=True)
    grow(tmp_path / "seen/0.png", (480, 640), depth=False)
    grow(tmp_path / "truth/0.png", (480, 640), depth=True)
    assert main(["predict", "seen", "--model", folder, "--out", "maps"]) == 0
    if not any("--out runs/mine" in line for line in lines):
        shutil.copytree(folder, "runs/mine/model")
    run: list[list[str]] = []
    for line in lines:
        if "clip.mp4" in line and not (tmp_path / "clip.mp4").is_file():
            grown = torch.linspace(0, 255, 64).expand(48, 64)[..., None].expand(-1, -1, 3).byte().numpy()
            with VideoWriter(tmp_path / "clip.mp4", (48, 64), 30) as writer:
                for number in range(2):
                    writer.write(grown, Fraction(number, 30))
        if "data/furnished" in line:
            continue  # rendering takes Blender and a furniture package: tests/test_furnished_rooms.py runs it
        if "photo.heic" in line:
            continue  # tests/test_photographs.py writes a photograph that carries depth, and runs it
        if line.startswith("leadline train small"):
            continue  # tests/test_recipes.py and tests/test_scope.py run it
        if line.startswith("leadline benchmark"):
            continue  # tests/test_benchmark.py runs it
        if "depth_anything" in line:
            continue  # it is downloaded from the hub: tests/test_teachers.py predicts by its short name
        # The small network stands in for the large one, one step for a training, and a few rooms for thousands.
        line = line.replace("--model dpt_large", "").replace("export leadline_small", f"export {folder}")
        words = shlex.split(line, comments=True)[1:]
        steps = "2" if "--recipe" in words else "1"  # a recipe of two stages gives each half
        learns = words[0] in ("train", "compress")
        short = ["--steps", steps, "--batch-size", "2", "--validate-every", "1"] if learns else []
        if words[0] == "train" and "--data" not in words:
            short += ["--data", "rooms,count=4"]
        run.append([word + ",count=4" if word == "rooms,baseline=0.2" else word for word in [*words, *short]])
    done = subprocess.run(
        [sys.executable, "-c", RUN_EACH, json.dumps(run)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
