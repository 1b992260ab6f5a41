"""BTS: planes reproduced exactly, the published files recognised, and answers as the public program's.

`oracles/bts.npz` holds what github.com/cogaplex-bts/bts (653b5d3, pytorch/bts.py) answered with the numbers that
`number` makes; `oracles/bts_layouts.json.gz` holds the names and shapes of its six networks' tensors.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle_numbers import number
from torch import Tensor

from leadline.core.errors import BadInput
from leadline.models.layers.planar_guidance import local_planar_guidance
from leadline.models.loading import load
from leadline.models.pretrained.checkpoints import load_checkpoint
from leadline.models.registry import build, build_on_meta

ORACLES = Path(__file__).parent / "oracles"
LAYOUTS: dict[str, dict[str, list[int]]] = json.loads(gzip.decompress((ORACLES / "bts_layouts.json.gz").read_bytes()))
PUBLISHED_MILLIONS = {
    "densenet121": 21.2,
    "densenet161": 47.0,
    "resnet50": 49.5,
    "resnet101": 68.5,
    "resnext50": 49.0,
    "resnext101": 112.8,
}
"""Parameters, as the README of BTS states them; those of ResNets count a classifier that nothing depends on."""
every_encoder = pytest.mark.parametrize(
    "encoder",
    [
        pytest.param(encoder, marks=() if encoder in ("densenet161", "resnet50") else pytest.mark.long)
        for encoder in LAYOUTS
    ],
)


def publish(encoder: str, folder: Path, tensors: dict[str, Tensor]) -> Path:
    """Write tensors as BTS's training wrote them: beside the optimiser's state and an array of NumPy."""
    folder.mkdir(parents=True)
    file = folder / "model"
    steps = {"global_step": 7, "optimizer": {}, "best_eval_steps": np.zeros(9, dtype=np.int32)}
    torch.save({"model": tensors, **steps}, file)
    return file


def shapes_alone(encoder: str) -> dict[str, Tensor]:
    """Every tensor of a published file, holding one number throughout."""
    return {
        key: torch.tensor(0 if key.endswith("tracked") else 0.5).expand(shape)
        for key, shape in LAYOUTS[encoder].items()
    }


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize("slopes", [(0.0, 0.0), (0.02, -0.01), (-0.03, 0.04)])
def test_a_slanted_plane_is_reproduced(ratio: int, slopes: tuple[float, float]):
    rows, columns, inverse_depth = 6, 8, 0.5
    across, down = (slope / max(rows, columns) / ratio for slope in slopes)
    y, x = torch.meshgrid(torch.arange(rows * ratio).float(), torch.arange(columns * ratio).float(), indexing="ij")
    expected = 1 / (inverse_depth + across * x + down * y)
    # The same plane in the coordinates of each patch, from −½ to ½ around its middle.
    middle_y, middle_x = (
        ratio * grid + (ratio - 1) / 2
        for grid in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    )
    plane = torch.stack(
        [
            torch.full((rows, columns), across * ratio),
            torch.full((rows, columns), down * ratio),
            inverse_depth + across * middle_x + down * middle_y,
        ]
    )
    length = plane.norm(dim=0, keepdim=True)
    planes = torch.cat([plane / length, 1 / length])[None]
    assert (local_planar_guidance(planes, ratio)[0, 0] - expected).abs().max() < 1e-5


@every_encoder
def test_the_paper_sizes_have_the_published_numbers_of_parameters(encoder: str):
    name = {"resnext50": "resnext50_32x4d", "resnext101": "resnext101_32x8d"}.get(encoder, encoder)
    model = build_on_meta("bts", encoder=name)
    classifier = 0 if encoder.startswith("densenet") else 2048 * 1000 + 1000
    millions = (sum(each.numel() for each in model.parameters()) + classifier) / 1e6
    assert round(millions, 1) == PUBLISHED_MILLIONS[encoder]


@every_encoder
def test_every_published_layout_is_recognised(encoder: str, tmp_path: Path):
    file = publish(encoder, tmp_path / f"bts_nyu_v2_pytorch_{encoder}", shapes_alone(encoder))
    model = load(file)
    assert model.name == "bts"
    assert model.arguments["encoder"].startswith(encoder)
    assert model.arguments["camera"] == "any"
    assert "GPL-3.0" in model.provenance.licence


def test_the_folder_or_the_user_says_which_data_a_file_is_of(tmp_path: Path):
    file = publish("resnet50", tmp_path / "unnamed", shapes_alone("resnet50"))
    with pytest.raises(BadInput, match=r"may be bts or bts_kitti: .*--as on the command line"):
        load_checkpoint(file)
    assert load_checkpoint(file, "bts_kitti").arguments["max_depth"] == 80.0
    kitti = publish("resnet50", tmp_path / "bts_eigen_v2_pytorch_resnet50", shapes_alone("resnet50"))
    assert load_checkpoint(kitti).name == "bts_kitti"


def test_a_file_that_lacks_a_tensor_is_refused_with_its_name(tmp_path: Path):
    tensors = shapes_alone("resnet50")
    del tensors["module.decoder.get_depth.0.weight"]
    file = publish("resnet50", tmp_path / "bts_nyu_v2_pytorch_resnet50", tensors)
    with pytest.raises(BadInput, match=r"Nearest is bts, but for 1 missing \(decoder\.get_depth\.0\.weight\)"):
        load_checkpoint(file)


@pytest.mark.parametrize("encoder", [pytest.param("densenet161", marks=pytest.mark.long), pytest.param("resnet50")])
def test_the_answer_is_the_public_programs(encoder: str, tmp_path: Path):
    tensors = {key: number(key, shape) for key, shape in LAYOUTS[encoder].items()}
    file = publish(encoder, tmp_path / encoder, tensors)
    with np.load(ORACLES / "bts.npz") as recorded:
        for data, name in (("nyu", "bts"), ("kitti", "bts_kitti")):
            model = load_checkpoint(file, name)
            for shape, size in enumerate([(64, 96), (96, 64)]):
                key = f"{encoder}_{data}_{shape}"
                if key not in recorded:
                    continue
                normalised = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(shape))
                expected = torch.from_numpy(recorded[key])
                with torch.no_grad():
                    depth = model(normalised * model.std + model.mean, torch.full((1, 4), 500.0))[0, 0]
                assert (depth - expected).abs().max() < 1e-4 * (expected.max() - expected.min())


def test_a_width_that_cannot_be_halved_is_refused():
    with pytest.raises(BadInput, match="width 48 must divide by 32"):
        build("bts", size="tiny", encoder="resnet10t", width=48)
