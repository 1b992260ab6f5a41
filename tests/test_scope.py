"""Scope: a network says of each photograph whether it learnt from anything like it, through every door."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import leadline
from leadline.cli.main import main
from leadline.core.errors import BadInput
from leadline.data.datasets import open_data
from leadline.export.exporting import export_model
from leadline.export.parity import compare, images_of
from leadline.inference.backends import OUTSIDE, ExportedModel
from leadline.inference.predict import predict
from leadline.inference.tensors import predict_scored, predict_tensor
from leadline.inference.torch_backend import TorchPredictor
from leadline.io.depth_maps import read_depth
from leadline.io.video import VideoWriter
from leadline.models.base import DepthModel
from leadline.models.loading import open_model
from leadline.models.names import MOST_IN_SCOPE, OUT_OF_SCOPE, SCOPE
from leadline.models.registry import build
from leadline.models.saving import load_folder, save
from leadline.models.scope import with_scope, without_scope
from leadline.recipes import TrainingRun
from leadline.recipes.scope import fit_scope

ROOMS = "rooms,count=8,height=64,width=64"


def photograph(path: Path, *, is_outside: bool, seed: int = 0) -> Path:
    """Write a picture of blue above green, or of smooth greys as in a room."""
    rng = np.random.default_rng(seed)
    if is_outside:
        pixels = np.repeat(np.array([[90, 150, 240], [60, 140, 40]])[:, None], 64, 1).repeat(32, 0)
    else:
        pixels = np.repeat(np.linspace(90, 190, 64)[:, None, None], 64, 1).repeat(3, 2)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.clip(pixels + rng.normal(0, 8, (64, 64, 3)), 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Eight photographs inside of the scope, and eight outside."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(8):
        photograph(folder / "in" / f"{number}.png", is_outside=False, seed=number)
        photograph(folder / "out" / f"{number}.png", is_outside=True, seed=number)
    return folder / "in", folder / "out"


@pytest.fixture(scope="module")
def plain() -> DepthModel:
    torch.manual_seed(0)
    return build("cnn", size="tiny", encoder="resnet10t", width=8, input_size=(64, 64)).eval()


@pytest.fixture(scope="module")
def model(plain: DepthModel, folders: tuple[Path, Path]) -> DepthModel:
    inside, outside = (open_data(f"photos:{folder}", "train") for folder in folders)
    return fit_scope(plain, [inside], [outside])


@pytest.fixture(scope="module")
def exported(model: DepthModel, tmp_path_factory) -> ExportedModel:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    return export_model(model, path, "onnx", open_data("rooms,count=2,height=64,width=64", "val")).model


def test_the_head_tells_new_photographs_outside_from_those_inside(model: DepthModel, tmp_path: Path):
    for is_outside in (True, False):
        photo = photograph(tmp_path / "new.png", is_outside=is_outside, seed=99)
        said = predict(model, photo).provenance
        assert (float(said[OUT_OF_SCOPE]) > MOST_IN_SCOPE) == is_outside
        assert (said.get("warning") == OUTSIDE) == is_outside


def test_the_head_changes_no_depth_and_a_network_without_one_says_nothing(
    plain: DepthModel, model: DepthModel, folders: tuple[Path, Path]
):
    photo = folders[1] / "0.png"
    before, after = predict(plain, photo), predict(model, photo)
    np.testing.assert_array_equal(before.values, after.values)
    assert OUT_OF_SCOPE not in before.provenance
    assert "warning" not in before.provenance
    assert SCOPE not in plain.arguments


def test_a_saved_network_keeps_its_head_and_older_versions_are_told_to_upgrade(model: DepthModel, tmp_path: Path):
    save(model, tmp_path / "model")
    again = load_folder(tmp_path / "model")
    image = torch.rand(2, 3, 50, 70)
    for expected, found in zip(predict_scored(model, image), predict_scored(again, image), strict=True):
        torch.testing.assert_close(expected, found)
    described = json.loads((tmp_path / "model" / "model.json").read_text())
    assert (described["format"], described["arguments"][SCOPE]) == (3, 512)


def test_a_folder_of_an_older_version_loads_and_says_nothing(plain: DepthModel, folders: tuple[Path, Path], tmp_path):
    save(plain, tmp_path / "model")
    described = json.loads((tmp_path / "model" / "model.json").read_text())
    assert described["format"] == 1
    assert SCOPE not in described["arguments"]
    assert OUT_OF_SCOPE not in predict(tmp_path / "model", folders[0] / "0.png").provenance


def test_an_exported_file_gives_the_same_scores(model: DepthModel, exported: ExportedModel, folders: tuple[Path, Path]):
    for photo in (folders[0] / "0.png", folders[1] / "0.png"):
        pixels = [np.asarray(Image.open(photo))]
        (depth, scores), (wanted, expected) = (
            each.measure_scored(pixels, [None]) for each in (exported, TorchPredictor(model))
        )
        assert scores is not None
        assert expected is not None
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        np.testing.assert_allclose(depth, wanted, rtol=1e-4)
    checked = exported.export["checked"]
    assert checked["scope"] < 1e-4


@pytest.mark.long
@pytest.mark.parametrize(("to", "file"), [("torch", "model.pt2"), ("openvino", "model.xml")])
def test_files_of_pytorch_and_openvino_give_the_same_scores(
    to: str, file: str, model: DepthModel, folders: tuple[Path, Path], tmp_path: Path
):
    pytest.importorskip(to)
    converted = export_model(model, tmp_path / file, to, open_data("rooms,count=2,height=64,width=64", "val")).model
    pixels = [np.asarray(Image.open(folders[1] / "0.png"))]
    _, scores = converted.measure_scored(pixels, [None])
    _, expected = TorchPredictor(model).measure_scored(pixels, [None])
    assert scores is not None
    assert expected is not None
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_an_export_of_other_scores_is_refused(model: DepthModel, exported: ExportedModel):
    rooms = open_data("rooms,count=2,height=64,width=64", "val")
    other = replace(
        exported, run=lambda images, focals: (exported.run(images, focals)[0], np.zeros(len(images), np.float32))
    )
    mute = replace(exported, run=lambda images, focals: (exported.run(images, focals)[0], None))
    for wrong in (other, mute):
        parity = compare(TorchPredictor(model), wrong, images_of(rooms, 1), rooms, (model, wrong), "fp32")
        assert "scores of what is out of scope differ" in parity.fault


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_predict_says_it_in_text_in_json_and_in_the_files(
    backend: str, model: DepthModel, exported: ExportedModel, folders: tuple[Path, Path], tmp_path: Path, capsys
):
    place = exported.path
    if backend == "torch":
        place = tmp_path / "model"
        save(model, place)
    photos = [str(folders[0] / "0.png"), str(folders[1] / "1.png")]
    words = ["predict", *photos, "--model", str(place), "--format", "npz", "--out", str(tmp_path / "depth")]
    assert main([*words, "--json"]) == 0
    inside, outside = map(json.loads, capsys.readouterr().out.splitlines())
    assert inside[OUT_OF_SCOPE] < MOST_IN_SCOPE < outside[OUT_OF_SCOPE]
    assert outside["warning"] == OUTSIDE
    assert "warning" not in inside
    written = [read_depth(tmp_path / "depth" / f"{number}.npz").provenance for number in (0, 1)]
    assert [float(each[OUT_OF_SCOPE]) for each in written] == [inside[OUT_OF_SCOPE], outside[OUT_OF_SCOPE]]
    assert written[1]["warning"] == OUTSIDE
    # The second time it is read from the files.
    assert main(words) == 0
    first, second = (line for line in capsys.readouterr().err.splitlines() if ".png: " in line)
    assert OUTSIDE not in first
    assert second.endswith(OUTSIDE)


def test_training_pruning_and_a_network_of_another_kind_take_no_head(model: DepthModel, plain: DepthModel, tmp_path):
    assert SCOPE not in without_scope(model).arguments
    save(model, tmp_path / "model")
    rooms = open_data(ROOMS, "train")
    start = TrainingRun(str(tmp_path / "model"), rooms, rooms).build()
    assert SCOPE not in start.arguments
    expected, found = plain.state_dict(), start.state_dict()
    assert expected.keys() == found.keys()
    with pytest.raises(BadInput, match="takes no scope head"):
        build("eigen", scope=4)
    with pytest.raises(BadInput, match="whole number"):
        build("cnn", size="tiny", encoder="resnet10t", scope=0)
    with pytest.raises(BadInput, match="give both"):
        fit_scope(plain, [rooms], [])


def test_a_quantised_network_to_be_trained_goes_without_its_head_and_says_so(model: DepthModel, tmp_path, capsys):
    save(model, tmp_path / "model")
    rooms = open_data(ROOMS, "train")
    run = TrainingRun(f"quantised:{tmp_path / 'model'},bits=4", rooms, rooms)
    made = run.build()
    assert SCOPE not in made.arguments
    assert "what is made of it here does not" in capsys.readouterr().err
    image = torch.rand(1, 3, *model.preprocessing.size)
    kept = open_model(run.network)
    torch.testing.assert_close(predict_tensor(made, image), predict_tensor(kept, image), rtol=0, atol=0)
    assert made.weight_bits == 4


def test_the_small_network_gets_its_head_from_a_folder_of_photographs(folders: tuple[Path, Path], tmp_path: Path):
    save(build("cnn", size="tiny", encoder="resnet10t", width=8, input_size=(64, 64)), tmp_path / "start")
    inside, outside = (f"photos:{folder}" for folder in folders)
    words = ["train", "small", "--start", str(tmp_path / "start"), "--rooms", "32", "--out", str(tmp_path / "run")]
    assert main([*words, "--inside", inside, "--outside", f"{outside} + {outside}"]) == 0
    fitted = leadline.load(tmp_path / "run" / "model")
    photo = photograph(tmp_path / "new.png", is_outside=True, seed=7)
    assert predict(fitted, photo).provenance["warning"] == OUTSIDE


def test_a_head_of_given_numbers_scores_as_a_logistic_regression(plain: DepthModel):
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        means = plain.features(image)[-1].mean((2, 3))
        weight = torch.linspace(-1, 1, means.shape[1])
        _, scores = with_scope(plain, weight, 0.3).forward_scored(image)
    assert scores is not None
    torch.testing.assert_close(scores, torch.sigmoid(means @ weight + 0.3))


def test_a_video_says_how_many_of_its_frames_look_outside(model: DepthModel, tmp_path: Path, capsys):
    save(model, tmp_path / "model")
    with VideoWriter(tmp_path / "walk.mp4", (64, 64), 30) as writer:
        for number in range(5):
            photo = photograph(tmp_path / "frame.png", is_outside=number > 1, seed=number)
            writer.write(np.asarray(Image.open(photo)), Fraction(number, 30))
    words = ["predict", str(tmp_path / "walk.mp4"), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    for _ in range(2):  # the second finds all done
        assert main([*words, "--video.frames", "png"]) == 0
        assert "3 frames look outside of what this network learnt from" in capsys.readouterr().out
    scores = [read_depth(path).provenance for path in sorted((tmp_path / "out" / "walk").glob("*.png"))]
    assert ["warning" in said for said in scores] == [False, False, True, True, True]
    assert main([*words, "--video.frames", "png", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["out_of_scope"] == 3
