"""Mixtures: datasets of three kinds take turns in one training, each with the loss that its kind allows."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
import torch

from leadline.cli.train import TrainCommand
from leadline.cli.train_arguments import TrainArguments
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.sample import collate
from leadline.data.datasets import Dataset, open_data
from leadline.data.datasets.rooms import RoomsDataset, rooms
from leadline.data.loader import Subset, batches, hold_out
from leadline.data.mixing import AlternatingDatasets
from leadline.data.transforms import resize
from leadline.io.images import write_image
from leadline.models.base import DepthModel
from leadline.models.loading import load, open_model
from leadline.recipes.train_options import TrainOptions
from leadline.training.objectives import Supervised
from leadline.training.trainer import HardwareConfig, TrainConfig

SIDE = 64
NETWORK = "cnn,size=tiny,encoder=test_efficientnet,width=8,input_size=64:64"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Rooms in the published layouts of NYU Depth v2, ReDWeb and FlyingThings3D: words for each."""
    root = tmp_path_factory.mktemp("mixture")
    seen = rooms("train", count=36, height=SIDE, width=SIDE, holes=False)
    _as_nyu(seen, range(12), root / "nyu")
    _as_redweb(seen, range(12, 24), root / "redweb")
    _as_flyingthings(seen, range(24, 36), root / "sceneflow")
    return {
        "metric": f"nyu:{root / 'nyu'},holdout=2",
        "relative": f"redweb:{root / 'redweb'},holdout=4",
        "scale_free": f"sceneflow:{root / 'sceneflow'}",
    }


def _as_nyu(seen: RoomsDataset, indices: range, path: Path) -> None:
    path.mkdir()
    images = np.stack([(seen[i].image * 255).byte().permute(0, 2, 1).numpy() for i in indices])
    depths = np.stack([seen[i].depth[0].T.numpy() for i in indices])
    with h5py.File(path / "nyu_depth_v2_labeled.mat", "w") as file:
        for name, array in (("images", images), ("depths", depths), ("rawDepths", depths)):
            file.create_dataset(name, data=array)
        scenes = [np.array([[ord(letter)] for letter in f"room_{i:04d}a"], np.uint16) for i in indices]
        references = [file.create_dataset(f"#refs#/{i}", data=scene).ref for i, scene in enumerate(scenes)]
        file.create_dataset("scenes", data=np.array([references], h5py.ref_dtype), dtype=h5py.ref_dtype)
    last = len(indices)
    split = {"trainNdxs": np.arange(1, last - 1)[:, None], "testNdxs": np.arange(last - 1, last + 1)[:, None]}
    scipy.io.savemat(path / "splits.mat", split)


def _as_redweb(seen: RoomsDataset, indices: range, path: Path) -> None:
    (path / "RDs").mkdir(parents=True)
    for i in indices:
        inverse = 1 / seen[i].depth[0].numpy()
        steps = np.round(254 * (1 - (inverse - inverse.min()) / np.ptp(inverse))).astype(np.uint8)
        write_image(path / "Imgs" / f"{i:04d}.jpg", seen[i].image)
        cv2.imwrite(str(path / "RDs" / f"{i:04d}.png"), steps)


def _as_flyingthings(seen: RoomsDataset, indices: range, path: Path) -> None:
    for i in indices:
        frame = f"{'TEST' if i % 4 == 3 else 'TRAIN'}/A/{i:04d}/left/0006"
        write_image(path / "flyingthings3d/frames_cleanpass" / f"{frame}.png", seen[i].image)
        file = path / "flyingthings3d/disparity" / f"{frame}.pfm"
        file.parent.mkdir(parents=True)
        disparity = 1050 / (20 * seen[i].depth[0].numpy())
        file.write_bytes(f"Pf\n{SIDE} {SIDE}\n-1.0\n".encode() + disparity[::-1].astype("<f4").tobytes())


def test_a_training_on_three_kinds_of_truth_improves_on_each(places, tmp_path, capsys):
    words = f"{places['metric']}*2 + {places['relative']} + {places['scale_free']}"
    run = TrainCommand(tmp_path / "run", options=TrainArguments(words, NETWORK))
    config = {"steps": 80, "batch_size": 4, "learning_rate": 5e-3, "validate_every": 80}
    assert trained(run, config) == 0
    assert "nyu val" in capsys.readouterr().out
    before, after = open_model(NETWORK), load(tmp_path / "run" / "model")
    held_out = {"metric": "test", "relative": "val", "scale_free": "test"}
    for kind, split in held_out.items():
        data = open_data(places[kind], split)
        assert data.kind == DepthKind(kind)
        assert loss(after, data) < 0.9 * loss(before, data), kind
    logged = {name for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines() for name in json.loads(line)}
    assert {"silog", "relative ssi", "relative ssi_gradient", "scale_free ssi", "scale_free ssi_gradient"} <= logged


def trained(run: TrainCommand, config: dict) -> int:
    hardware = HardwareConfig(accelerator="cpu", workers=0)
    return replace(run, options=replace(run.options, config=TrainConfig(**config), hardware=hardware)).run()


@torch.no_grad()
def loss(model: DepthModel, data: Dataset) -> float:
    together = collate([resize(data[index], (SIDE, SIDE)) for index in range(len(data))])
    return float(sum(Supervised()(model.eval(), together, torch.nn.Module()).values()))


def test_turns_keep_to_their_shares_at_every_step_and_do_not_depend_on_how_long_it_goes_on():
    parts = [(rooms("train", count=count, height=8, width=8), share) for count, share in ((3, 2), (5, 1), (2, 1))]
    turns = AlternatingDatasets(parts)
    owners, earlier = turns.schedule(400)
    for stop in range(1, 400):
        had = np.bincount(owners[:stop], minlength=3)
        assert (abs(had - stop * np.array([0.5, 0.25, 0.25])) < 1).all()
    for owner in range(3):
        assert earlier[owners == owner].tolist() == list(range((owners == owner).sum()))
    assert np.array_equal(turns.schedule(100)[0], owners[:100])


def test_every_step_is_of_one_dataset_and_an_interrupted_order_goes_on(places):
    parts = [(open_data(words, "train"), 1.0) for words in places.values()]

    def drawn(first: int) -> list[tuple[DepthKind, tuple[str, ...]]]:
        order = batches(
            AlternatingDatasets(parts),
            lambda sample, _: resize(sample, (8, 8)),
            seed=1,
            batch_size=3,
            first_step=first,
            last_step=9,
        )
        return [(each.kind, tuple(each.name)) for each in order]

    whole = drawn(0)
    assert [kind for kind, _ in whole] == [DepthKind.METRIC, DepthKind.RELATIVE, DepthKind.SCALE_FREE] * 3
    assert drawn(4) == whole[4:]


def test_a_tenth_of_the_first_metric_part_is_held_out():
    metric = rooms("train", count=20, height=8, width=8)
    relative = Subset(metric, range(4))
    relative.kind = DepthKind.RELATIVE
    less, held = hold_out(AlternatingDatasets([(relative, 1.0), (metric, 3.0)]))
    assert isinstance(less, AlternatingDatasets)
    assert [len(part) for part in less.parts] == [4, 18]
    assert less.weights == (0.25, 0.75)
    assert (len(held), held.kind) == (2, DepthKind.METRIC)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rooms*0 + rooms", "the weight of rooms=0.*: give more than 0"),
        ("rooms*much + rooms", r"write the weight of a dataset as NAME\*0\.5"),
    ],
)
def test_shares_that_are_none_are_refused(words: str, message: str, tmp_path: Path):
    with pytest.raises(BadInput, match=message):
        TrainOptions(words).open("train", tmp_path)


def test_a_mixture_without_metres_is_refused_before_it_is_trained_and_a_lone_share_changes_nothing(places, tmp_path):
    with pytest.raises(BadInput, match="has metric depth, which validation needs: add one that has"):
        TrainOptions(f"{places['relative']} + {places['scale_free']}*2").open("train", tmp_path)
    assert TrainOptions("rooms,count=2*3").open("train", tmp_path).name == "rooms-a train"


def test_terms_that_need_metres_are_refused_for_truth_without():
    with pytest.raises(BadInput, match="'l1' needs metres, which such a target does not have: use ssi, ssi_gradient"):
        Supervised(unscaled={"l1": 1.0})
