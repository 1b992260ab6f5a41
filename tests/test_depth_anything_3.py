"""Depth Anything 3: the authors' own class answers the same behind a depth model, fetched, saved and loaded again."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback_hub import COMMIT, hub
from PIL import Image
from safetensors.torch import save, save_file

import leadline
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.inference.tensors import predict_tensor
from leadline.models.base import DepthModel
from leadline.models.pretrained import depth_anything_3 as adapter
from leadline.models.pretrained.hub_models import HUB_MODELS
from leadline.models.saving import load_folder

PHOTOGRAPH = str(Path(__file__).resolve().parents[1] / "examples" / "photos" / "reception.jpg")
CONFIG = {
    "model_name": adapter.METRIC,
    "config": {"net": {"name": "vits", "out_layers": [2, 5, 8, 11]}, "head": {"features": 8}},
}


@pytest.fixture(scope="module")
def package() -> Any:
    """The authors' class, with random weights and some sky."""
    reason = f"needs the authors' package: {adapter.INSTALL}"
    for name in ("addict", "einops", "omegaconf", "depth_anything_3.model.da3"):
        pytest.importorskip(name, reason=reason, exc_type=ImportError)
    torch.manual_seed(0)
    network = adapter.depth_anything_3(backbone="vits", features=8).network.eval()
    bias = network.head.scratch.sky_output_conv2[-1].bias
    with torch.no_grad():
        bias.fill_(1)
        sky = network(torch.zeros(1, 1, 3, 56, 84)).sky
        bias.add_(adapter.SKY - sky.median())
    return network


@pytest.fixture(scope="module")
def files(package: Any) -> dict[str, bytes]:
    weights = {f"model.{key}": tensor for key, tensor in package.state_dict().items()}
    return {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": save(weights)}


@pytest.fixture(scope="module")
def model(files: dict[str, bytes], tmp_path_factory) -> DepthModel:
    folder = tmp_path_factory.mktemp("da3")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return leadline.load(f"hub:{folder}")  # pyright: ignore[reportReturnType]


def test_it_answers_as_the_package_with_the_packages_own_factor_for_metres(package: Any, model: DepthModel):
    image = torch.rand(2, 3, 56, 84, generator=torch.Generator().manual_seed(0))
    camera = torch.tensor([[420.0, 420.0, 41.5, 27.5]]).expand(2, 4)
    with torch.no_grad():
        found = model(image, camera)
        for each, depth in zip(image, found, strict=True):
            answer = package(((each - model.mean) / model.std)[None, None])
            assert 10 < (answer.sky < adapter.SKY).sum() < answer.sky.numel() - 10, "both sky and ground"
            torch.testing.assert_close(depth[None], answer.depth * 420 / 300)
    assert model.kind is DepthKind.METRIC


def test_it_measures_a_photograph_of_any_shape_and_has_features(model: DepthModel):
    depth = predict_tensor(model, torch.rand(3, 30, 47))
    assert depth.shape == (1, 30, 47)
    with torch.no_grad():
        assert [tuple(each.shape) for each in model.features(torch.rand(2, 3, 28, 42))] == [(2, 384, 2, 3)] * 4


def test_it_is_saved_and_loaded_as_any_model(model: DepthModel, tmp_path: Path):
    leadline.save(model, tmp_path / "model")
    again = load_folder(tmp_path / "model")
    image = torch.rand(1, 3, 42, 56)
    with torch.no_grad():
        torch.testing.assert_close(again(image), model(image))


def test_it_is_fetched_from_the_hub_by_its_short_name(files: dict[str, bytes], tmp_path: Path):
    repository = HUB_MODELS["depth_anything_3_metric"].repository
    with hub() as server:
        server.repos[repository] = dict(files)
        settings = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        # The hub's client reads these once, when it is imported: hence a process of its own.
        command = ["-m", "leadline", "predict", PHOTOGRAPH, "--model", "depth_anything_3_metric", "--json"]
        done = subprocess.run(
            [sys.executable, *command, "--out", tmp_path],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "metric"
    with Image.open(tmp_path / "reception.png") as depth:
        assert f"{repository}@{COMMIT}" in str(depth.info)


def test_its_other_networks_and_other_weights_are_refused(tmp_path: Path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"model_name": "da3-small"}))
    with pytest.raises(BadInput, match="only da3metric-large"):
        leadline.load(f"hub:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps({"model_name": adapter.METRIC}))
    with pytest.raises(BadInput, match=r"no whole model\.safetensors"):
        leadline.load(f"hub:{tmp_path}")
    save_file({"model.head": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "config": {"net": {}, "head": {}}}))
    with pytest.raises(BadInput, match="describes no network"):
        leadline.load(f"hub:{tmp_path}")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.setitem(sys.modules, "depth_anything_3.model.da3", None)
    with pytest.raises(BadInput, match="pip install --no-deps git"):
        leadline.load(f"hub:{tmp_path}")
