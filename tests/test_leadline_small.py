"""The network that comes with the package: small, free to use, there without a network, and in metres."""

import json
from pathlib import Path

import pytest
import torch

import leadline
from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.evaluation.evaluate import constant_baseline, evaluate
from leadline.evaluation.protocols import protocol
from leadline.inference.tensors import predict_tensor
from leadline.io.images import read_camera, read_image
from leadline.models.base import DepthModel
from leadline.models.registry import DEFAULT
from leadline.reporting.model_table import entry

PHOTOS = sorted(Path("examples/photos").glob("*.jpg"))


@pytest.fixture(scope="module")
def model() -> DepthModel:
    return leadline.load()  # pyright: ignore[reportReturnType]


def test_it_weighs_less_than_10_megabytes_and_costs_less_than_1_5_billion_multiply_adds(model: DepthModel):
    folder = Path(leadline.__file__).parent / "models" / "pretrained" / DEFAULT
    assert (folder / "weights.safetensors").stat().st_size < 10e6
    assert sum(file.stat().st_size for file in folder.iterdir()) < 25e6, "with the same network as an exported file"
    assert entry(DEFAULT)["multiply_adds"] < 1.5e9
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


def test_it_says_its_kind_its_licence_its_data_and_its_limits(model: DepthModel):
    about = model.provenance
    assert (model.kind, about.licence) == (DepthKind.METRIC, "Apache-2.0")
    assert "rooms-c" in about.training_data
    assert "outdoors" in about.notes
    assert len(about.figures) == 2


@pytest.mark.parametrize("command", ["predict", "report", "evaluate"])
def test_a_command_that_is_told_no_model_takes_it_and_says_what_it_is(command: str, tmp_path: Path, capsys):
    rooms = ["--data", "rooms,count=1,height=48,width=64"]
    told = {
        "predict": [str(PHOTOS[0]), "--json", "--out", str(tmp_path / "depth")],
        "report": [*rooms, "--photos", str(PHOTOS[0]), "--out", str(tmp_path / "report")],
        "evaluate": [*rooms, "--json", str(tmp_path / "numbers.json")],
    }
    assert main([command, *told[command]]) == 0
    said = capsys.readouterr()
    assert said.err.startswith(f"{DEFAULT}: metres indoors")
    if command == "predict":
        assert json.loads(said.out)["kind"] == "metric"
    if command == "report":
        page = (tmp_path / "report" / "report.html").read_text()
        assert "do not trust it outdoors" in page
        assert PHOTOS[0].name in page


@pytest.mark.parametrize("size", [(90, 360), (360, 90), (121, 163)])
def test_a_photograph_of_any_shape_is_measured(model: DepthModel, size: tuple[int, int]):
    image = torch.nn.functional.interpolate(read_image(PHOTOS[0])[None], size=size, mode="area")[0]
    depth = predict_tensor(model, image)
    assert depth.shape == (1, *size)
    assert 0.1 < depth.min() < depth.max() < 30


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda path: path.stem)
def test_what_lies_at_the_foot_of_a_photograph_is_nearer_than_its_middle(model: DepthModel, photo: Path):
    image = read_image(photo)
    depth = predict_tensor(model, image, read_camera(photo, image))[0]
    height, width = depth.shape
    foot = depth[-height // 10 :, width // 3 : -width // 3].median()
    middle = depth[height * 2 // 5 : height * 3 // 5, width // 3 : -width // 3].median()
    assert foot < 0.8 * middle


def test_it_measures_rooms_that_nobody_showed_it_better_than_one_depth_for_all(shared: Path, model: DepthModel):
    scenes = leadline.open_data(f"{shared}/data/rgbd,depth_scale=1000,exclude=kitti", "val")
    taught = leadline.open_data(f"{shared}/data/rgbd,depth_scale=1000,exclude=kitti", "train")
    known = constant_baseline(taught, protocol("indoor"))
    network, _, median, scene, own = evaluate(model, scenes, protocol("indoor"), training=known).rows
    assert network.metrics["rmse"] < 0.8 * median.metrics["rmse"]
    assert network.metrics["d1"] > 1.3 * median.metrics["d1"]
    # Flat predictors that are told the right distance of each scene, and of each image.
    assert network.metrics["rmse"] < 0.9 * scene.metrics["rmse"]
    assert network.metrics["rmse"] < 0.9 * own.metrics["rmse"]
    # What it says of itself is what it does.
    said = model.provenance.figures[f"{scenes.name} ({protocol('indoor').words})"]
    assert said["rmse"] == pytest.approx(network.metrics["rmse"], rel=1e-2)


def test_the_camera_changes_no_depth_as_its_card_says(model: DepthModel):
    image = read_image(PHOTOS[0])
    height, width = image.shape[-2:]
    told = torch.tensor([2.0 * width, 2.0 * width, width / 2, height / 2])
    torch.testing.assert_close(predict_tensor(model, image, told), predict_tensor(model, image))
    assert "ignores the camera" in model.provenance.notes
