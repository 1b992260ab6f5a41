"""Start-up: nothing imports PyTorch before it needs it, and the package's own model needs none for photographs."""

import json
import os
import pickle
import platform
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


POOL = """
import multiprocessing
from functools import partial
import numpy as np, torch
import leadline
from leadline.inference.session import load_predictor

images = [np.random.default_rng(seed).integers(0, 256, (96, 128, 3), np.uint8) for seed in range(4)]

def mean(model, image):
    return float(np.nanmean(leadline.predict(model, image).numpy()))

torch.set_num_threads(2)
for model in (leadline.load(), load_predictor("leadline_small", says=False)):
    before = [mean(model, image) for image in images]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        after = pool.map(partial(mean, model), images)
    np.testing.assert_allclose(after, before, rtol=1e-5)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are spawned here")
def test_forked_processes_measure_after_their_parent_has():
    # OpenMP's threads do not survive a fork: without care the pool waits for them without end.
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", POOL], env=environment, check=True, timeout=120)


def test_an_exported_file_is_opened_again_in_another_process():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    exported = load_predictor("leadline_small", says=False)
    there = pickle.loads(pickle.dumps(exported))
    np.testing.assert_array_equal(predict(there, image).numpy(), predict(exported, image).numpy())


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


def test_a_prediction_leaves_no_identifier_and_no_report_of_its_use(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    places = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary")}
    # Tests may run where the library is told to be silent.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    words = ["predict", str(EXAMPLES / "warehouse.jpg"), "--out", str(tmp_path / "depth"), "--backend", "onnx"]
    subprocess.run([sys.executable, "-m", "leadline", *words], env={**environment, **places}, check=True)
    assert not [path for place in places.values() for path in Path(place).rglob("*") if path.is_file()]


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


@pytest.mark.parametrize("threads", ["2,1", "many", " 1 "])
def test_a_number_of_threads_in_any_form_that_openmp_takes_is_no_error(threads, tmp_path):
    command = [sys.executable, "-m", "leadline", "predict", str(EXAMPLES / "reception.jpg"), "--out", str(tmp_path)]
    ran = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": threads}, capture_output=True, text=True)
    assert "1 of 1 images measured" in ran.stdout + ran.stderr
    assert ran.returncode == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose allocator is told what to keep")
def test_memory_of_freed_arrays_is_used_again():
    script = """
import resource, sys
import numpy as np
from leadline.core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(200):
    np.ones(250_000) + np.ones(250_000)  # 2 MB each
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""
    faults = {
        told: int(subprocess.run([sys.executable, "-c", script, told], capture_output=True, check=True).stdout)
        for told in ("keep", "leave")
    }
    assert faults["keep"] < 0.5 * faults["leave"]
