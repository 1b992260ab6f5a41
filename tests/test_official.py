"""The published MiDaS and DPT files: recognised, converted, and answering what the original programs answered."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

from leadline.cli.convert import ConvertCommand
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.inference.tensors import predict_tensor
from leadline.io.images import read_image
from leadline.models.base import DepthModel, Preprocessing, Resize
from leadline.models.decoders import FusionModel
from leadline.models.loading import load
from leadline.models.pretrained.checkpoints import convert
from leadline.models.registry import build

RELEASES = {
    "midas_v21-f6b98070": "midas_v21",
    "midas_v21_small-70d6b9c8": "midas_small",
    "dpt_large-midas-2f21e586": "dpt_large",
    "dpt_hybrid-midas-501f0c75": "dpt_hybrid",
    "dpt_hybrid_nyu-2ce69ec7": "dpt_hybrid_nyu",
    "dpt_hybrid_kitti-cb926ef4": "dpt_hybrid_kitti",
}
METRIC = {"dpt_hybrid_nyu", "dpt_hybrid_kitti"}
IDLE = ("pretrained.model.norm.", "pretrained.model.head.", "scratch.refinenet4.resConfUnit1.")
every_release = pytest.mark.parametrize("release", RELEASES)


def numbered(shared: Path, release: str) -> dict[str, Tensor]:
    """Every key of the release with its shape, holding its own number throughout; on disk that is a few bytes a key."""
    layout = json.loads((shared / "oracles" / "official" / f"{release}.json").read_text())
    return {
        key: torch.tensor(number, dtype=getattr(torch, dtype)).expand(shape)
        for number, (key, (shape, dtype, *_)) in enumerate(layout.items())
    }


@pytest.fixture
def hybrid(shared: Path) -> dict[str, Tensor]:
    return numbered(shared, "dpt_hybrid-midas-501f0c75")


# ── what they answer ──


@pytest.fixture(scope="module")
def oracle(shared: Path) -> ModuleType:
    """The program that rebuilds two of the files, with its inputs and the originals' outputs."""
    spec = importlib.util.spec_from_file_location("rebuild", shared / "oracles" / "official" / "rebuild.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["midas_v21_small-70d6b9c8", "dpt_hybrid_nyu-2ce69ec7"])
def rebuilt(request: pytest.FixtureRequest, oracle: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("official") / f"{request.param}.pt"
    torch.save({key: torch.as_tensor(value) for key, value in oracle.state_dict(request.param).items()}, file)
    return file


@pytest.fixture(scope="module")
def official(rebuilt: Path) -> DepthModel:
    return load(rebuilt)


@pytest.mark.parametrize("shape", [0, 1], ids=["square", "oblong"])
def test_the_answer_is_the_originals(oracle: ModuleType, rebuilt: Path, official: DepthModel, shape: int):
    normalised = torch.from_numpy(oracle.inputs(rebuilt.stem)[shape])
    expected = torch.from_numpy(oracle.outputs(rebuilt.stem)[shape])
    with torch.no_grad():
        depth = official(normalised * official.std + official.mean)[0, 0]
    assert (depth - expected).abs().max() < 5e-4 * (expected.max() - expected.min())


@pytest.mark.parametrize("rebuilt", ["midas_v21_small-70d6b9c8"], indirect=True)
def test_prediction_is_the_original_pipeline_on_a_photograph(shared: Path, official: DepthModel):
    photo = shared / "data" / "photos" / "houses" / "0036.jpg"
    stored = cv2.imread(str(photo))
    assert stored is not None
    assert stored.shape == (342, 512, 3)
    pixels = np.asarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB), np.float64) / 255
    fitted = cv2.resize(pixels, (256, 160), interpolation=cv2.INTER_CUBIC)  # What MiDaS's own Resize makes of it.
    normalised = (fitted - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    assert isinstance(official, FusionModel)
    with torch.no_grad():
        small = official.head(
            official.decoder(official.encoder(torch.tensor(normalised).float().permute(2, 0, 1)[None]))
        )
    expected = F.interpolate(small, (342, 512), mode="bicubic", align_corners=False)[0]
    depth = predict_tensor(official, read_image(photo))
    assert (depth - expected).abs().max() < 2e-3 * (expected.max() - expected.min())


# Photograph (height, width) → what Resize of MiDaS and of DPT, run on these sizes, gives with each release's settings.
SIZES = {
    "midas_small": {(480, 640): (192, 256), (375, 1242): (64, 256), (500, 333): (256, 160), (97, 1300): (32, 256)},
    "midas_v21": {(480, 640): (288, 384), (375, 1242): (128, 384), (1000, 300): (384, 128), (100, 100): (384, 384)},
    "dpt_large": {(480, 640): (384, 512), (1080, 1920): (384, 672), (500, 333): (576, 384), (97, 1300): (32, 384)},
    "dpt_hybrid_nyu": {(480, 640): (480, 640), (640, 480): (480, 352), (1080, 1920): (480, 864)},
    "dpt_hybrid_kitti": {(375, 1242): (352, 1216), (1080, 1920): (672, 1216), (500, 333): (352, 224)},
}


@pytest.mark.parametrize("name", SIZES)
def test_photographs_are_resized_as_the_originals_do(name: str):
    with torch.device("meta"):
        rule = build(name).preprocessing
    assert {photo: rule.size_for(*photo) for photo in SIZES[name]} == SIZES[name]
    assert rule.interpolation == rule.restore == "cubic"


def test_a_lower_bound_is_kept_as_depth_anything_keeps_it():
    rule = Preprocessing((518, 518), multiple=14, resize=Resize.LOWER_BOUND)
    assert rule.size_for(480, 640) == (518, 686)
    assert rule.size_for(500, 333) == (784, 518)


# ── what they are ──


@every_release
def test_every_tensor_of_a_release_finds_its_place_or_is_known_to_be_idle(shared: Path, tmp_path: Path, release: str):
    tensors = numbered(shared, release)
    torch.save(tensors, tmp_path / f"{release}.pt")
    model = load(tmp_path / f"{release}.pt")
    used = [int(tensor.flatten()[0]) for tensor in model.state_dict().values()]
    needed = [number for number, key in enumerate(tensors) if not key.startswith(IDLE)]
    assert sorted(used) == needed
    assert model.name == RELEASES[release]
    assert model.kind is (DepthKind.METRIC if model.name in METRIC else DepthKind.RELATIVE)
    assert model.provenance.licence == "MIT"
    assert release in model.provenance.notes
    assert model.pretrained_encoder
    assert not model.training


def test_hybrids_under_another_name_are_refused_not_guessed(hybrid: dict[str, Tensor], tmp_path: Path):
    torch.save(hybrid, tmp_path / "mine.pt")
    with pytest.raises(BadInput, match=r"dpt_hybrid or dpt_hybrid_nyu or dpt_hybrid_kitti: .* say which: as_name"):
        load(tmp_path / "mine.pt")
    assert load(tmp_path / "mine.pt", as_name="dpt_hybrid_kitti").kind is DepthKind.METRIC
    assert load(tmp_path / "mine.pt", as_name="dpt_hybrid").kind is DepthKind.RELATIVE


def test_a_name_that_the_keys_contradict_is_refused(hybrid: dict[str, Tensor], tmp_path: Path):
    torch.save(hybrid, tmp_path / "mine.pt")
    with pytest.raises(BadInput, match=r"cannot be dpt_large: it has the layout of dpt_hybrid or"):
        load(tmp_path / "mine.pt", as_name="dpt_large")
    with pytest.raises(BadInput, match=r"No model is called 'dpt'"):
        load(tmp_path / "mine.pt", as_name="dpt")
    with pytest.raises(BadInput, match=r"no checkpoint file, so it cannot be read as 'dpt_hybrid'"):
        load(tmp_path, as_name="dpt_hybrid")


def test_idle_tensors_may_be_missing(hybrid: dict[str, Tensor], tmp_path: Path):
    torch.save(
        {key: tensor for key, tensor in hybrid.items() if not key.startswith(IDLE)}, tmp_path / "dpt_hybrid_384.pt"
    )
    assert load(tmp_path / "dpt_hybrid_384.pt").name == "dpt_hybrid"


def test_missing_surplus_and_misshapen_keys_are_named_with_the_nearest_layout(
    hybrid: dict[str, Tensor], tmp_path: Path
):
    hybrid["scratch.extra"] = hybrid.pop("scratch.layer1_rn.weight")
    hybrid["scratch.output_conv.4.bias"] = torch.zeros(3)
    torch.save(hybrid, tmp_path / "mine.pt")
    with pytest.raises(
        BadInput,
        match=r"Nearest is dpt_hybrid, but for 1 missing \(scratch.layer1_rn.weight\); 1 surplus \(scratch.extra\); "
        r"1 misshapen \(scratch.output_conv.4.bias \(3,\) for \(1,\)\)",
    ):
        load(tmp_path / "mine.pt")


def test_a_checkpoint_of_a_training_is_read_like_its_model(hybrid: dict[str, Tensor], tmp_path: Path):
    torch.save({"optimizer": {}, "model": hybrid}, tmp_path / "dpt_hybrid_384.pt")
    assert load(tmp_path / "dpt_hybrid_384.pt").name == "dpt_hybrid"


def test_files_of_the_oldest_format_and_of_half_precision_are_read(shared: Path, tmp_path: Path):
    halved = {key: tensor.half() for key, tensor in numbered(shared, "midas_v21_small-70d6b9c8").items()}
    torch.save(halved, tmp_path / "small.pt", _use_new_zipfile_serialization=False)
    model = load(tmp_path / "small.pt")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_what_is_no_checkpoint_is_refused(hybrid: dict[str, Tensor], tmp_path: Path):
    file = tmp_path / "dpt_hybrid_384.pt"
    with pytest.raises(BadInput, match=r"No model at .*dpt_hybrid_384.pt"):
        load(file)
    torch.save(hybrid, file)
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(UnreadableFile, match=r"damaged, or holds more than tensors .* download it again"):
        load(file)
    torch.save({"weights": Path("a pickled object")}, file)
    with pytest.raises(UnreadableFile, match=r"damaged, or holds more than tensors"):
        load(file)
    file.write_text("<html>Not Found</html>")
    with pytest.raises(UnreadableFile, match=r"damaged") as told:
        load(file)
    assert "\n" not in str(told.value)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 a photograph")
    with pytest.raises(UnreadableFile, match=r"photo\.jpg is no model: a saved one is a folder"):
        load(tmp_path / "photo.jpg")
    for suffix in ("onnx", "xml", "pt2"):
        exported = tmp_path / f"a.{suffix}"
        exported.write_bytes(b"any")
        with pytest.raises(BadInput, match="give the model that it was made of"):
            load(exported)
    torch.save([torch.zeros(1)], file)
    with pytest.raises(BadInput, match=r"holds no names with a tensor each"):
        load(file)


def test_a_converted_folder_is_the_same_model(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.save(numbered(shared, "midas_v21_small-70d6b9c8"), tmp_path / "small.pt")
    command = tyro.cli(ConvertCommand, args=[str(tmp_path / "small.pt"), str(tmp_path / "small")])
    assert command.run() == 0
    assert "midas_small, relative depth, MIT. Converted from small.pt" in capsys.readouterr().out
    ours, theirs = load(tmp_path / "small"), load(tmp_path / "small.pt")
    assert ours.provenance == theirs.provenance
    held = theirs.state_dict()
    assert all(torch.equal(tensor, held[key]) for key, tensor in ours.state_dict().items())


@pytest.mark.long
def test_the_largest_file_loads_within_twice_its_memory_and_ten_seconds(shared: Path, tmp_path: Path):
    file = tmp_path / "dpt_large-midas-2f21e586.pt"
    torch.save({key: tensor.contiguous() for key, tensor in numbered(shared, file.stem).items()}, file)
    convert(file, tmp_path / "folder")
    for path in (file, tmp_path / "folder"):
        told = subprocess.run([sys.executable, "-c", _MEASURED, path], check=True, capture_output=True, text=True)
        seconds, grown = map(float, told.stdout.split())
        assert seconds < 10
        assert grown < 2 * file.stat().st_size


_MEASURED = """
import sys, time
import leadline.models.loading, leadline.models.pretrained.checkpoints, leadline.models.networks.dpt
def peak():
    # Of this process alone: what getrusage says begins with that of the process that started it.
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
before, start = peak(), time.perf_counter()
model = leadline.models.loading.load(sys.argv[1])
total = sum(parameter.sum().item() for parameter in model.parameters())  # Reads every page.
print(time.perf_counter() - start, peak() - before)
"""
