"""Start-up: nothing imports PyTorch before it needs it, and the package's own model needs none for photographs."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from leadline.inference.predict import predict
from leadline.inference.session import embedded_file, load_predictor
from leadline.inference.tensors import predict_tensor
from leadline.io.depth_maps import DepthMap, write_depth
from leadline.io.images import read_camera, read_image, read_photograph
from leadline.models.loading import load
from leadline.models.saving import fingerprint

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "photos"
HEAVY = ("torch", "timm", "torchvision", "matplotlib", "scipy", "transformers")


def _imported(script: str, folder: Path) -> set[str]:
    """Return which of the slow libraries a fresh process has imported after a script."""
    code = f"import sys\n{script}\nprint('imported', *(name for name in {HEAVY} if name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return set(ran.stdout.splitlines()[-1].split()[1:])


def test_predict_measures_a_photograph_without_importing_pytorch(tmp_path):
    photo = EXAMPLES / "reception.jpg"
    command = f"from leadline.cli.main import main\nassert main(['predict', {str(photo)!r}, '--out', 'out']) == 0"
    assert _imported(command, tmp_path) == set()
    assert (tmp_path / "out" / "reception.png").is_file()
    assert (tmp_path / "out" / "reception.colour.png").is_file()


def test_the_api_measures_saves_and_draws_a_photograph_without_importing_pytorch(tmp_path):
    photo = EXAMPLES / "warehouse.jpg"
    script = f"""
import leadline
depth = leadline.predict("leadline_small", {str(photo)!r})
depth.save("depth.png")
depth.colorize(legend=True).save("colours.png")
assert abs(leadline.read_depth("depth.png").numpy() - depth.numpy()).max() < 0.001
"""
    assert _imported(script, tmp_path) == set()


def test_maps_in_files_are_evaluated_without_importing_pytorch(tmp_path):
    depth = np.linspace(1, 6, 48, dtype=np.float32).reshape(1, 6, 8)
    for folder, factor in (("predicted", 1.1), ("measured", 1)):
        (tmp_path / folder).mkdir()
        write_depth(tmp_path / folder / "0.png", DepthMap(depth * factor, depth > 0))  # pyright: ignore[reportArgumentType]
    words = ["evaluate", "--predictions", "predicted", "--ground-truth", "measured", "--json", "figures.json"]
    assert _imported(f"from leadline.cli.main import main\nassert main({words}) == 0", tmp_path) == set()
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["metrics"]["abs_rel"] == pytest.approx(0.1, rel=1e-2)


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs OpenVINO: pip install 'leadline[cpu]'")
def test_openvino_is_imported_without_a_word_to_its_makers(tmp_path):
    script = """
import sys, threading
from leadline.inference.openvino_runner import import_openvino
assert import_openvino().Core().available_devices
assert import_openvino() is sys.modules["openvino"]
assert "openvino_telemetry" not in sys.modules
assert threading.active_count() == 1, threading.enumerate()
"""
    # Outside automatic tests, where the library would be silent by itself; its identifier goes into the home directory.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    subprocess.run([sys.executable, "-c", script], env={**environment, "HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_depth_map_becomes_tensors_when_they_are_asked_for(tmp_path):
    depth = predict("leadline_small", EXAMPLES / "warehouse.jpg")
    assert isinstance(depth.depth, torch.Tensor)
    assert depth.depth is depth.depth
    assert depth.valid.dtype == torch.bool
    np.testing.assert_array_equal(depth.depth[0].numpy(), depth.numpy())


@pytest.fixture(scope="module")
def original():
    return load()


def test_the_exported_file_in_the_package_is_of_the_weights_beside_it(original):
    exported = load_predictor("leadline_small", says=False)
    advice = "run: leadline export leadline_small --photos examples/photos --out " + str(embedded_file())
    assert exported.backend == "onnx"  # pyright: ignore[reportAttributeAccessIssue]
    assert exported.export["original"] == fingerprint(original), advice  # pyright: ignore[reportAttributeAccessIssue]
    assert exported.export["checked"]["within_tolerance"]  # pyright: ignore[reportAttributeAccessIssue]
    assert exported.kind is original.kind
    assert exported.preprocessing == original.preprocessing
    assert exported.provenance == original.provenance


@pytest.mark.parametrize("name", ["reception.jpg", "warehouse.jpg"])
@pytest.mark.parametrize("focal", [None, 300.0])
def test_the_exported_file_measures_what_the_weights_measure(original, name, focal):
    image = read_image(EXAMPLES / name)
    height, width = image.shape[-2:]
    camera = None if focal is None else torch.tensor([focal, focal, width / 2, height / 2])
    expected = predict_tensor(original, image, camera)[0].numpy()
    photo = read_photograph(EXAMPLES / name)
    exported = load_predictor("leadline_small", says=False)
    found = exported.measure([photo.pixels], [None if camera is None else camera.numpy()])[0, 0]
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(expected)
    assert read_camera(EXAMPLES / name, image) is None
