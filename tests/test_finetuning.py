"""Finetuning: a relative network becomes the start of one in metres, with all its weights but the last layer's."""

import json

import pytest
import torch

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.data.datasets.rooms import rooms
from leadline.data.transforms import Augmentation
from leadline.models.base import Resize
from leadline.models.finetuning import with_metric_head
from leadline.models.loading import load, open_model
from leadline.models.registry import build
from leadline.models.saving import save
from leadline.training.trainer import view

VIT = {"depth": 4, "embed_dim": 32, "num_heads": 2}
RELATIVE = {
    "cnn": {"size": "tiny", "width": 8, "kind": "relative", "input_size": (64, 64)},
    "midas_v21": {"encoder": "mobilenetv3_small_050", "width": 8},
    "midas_small": {"encoder": "mobilenetv3_small_050", "width": 8},
    "dpt_large": {"vit_options": VIT, "width": 8},
}


@pytest.mark.parametrize("name", RELATIVE)
def test_every_relative_network_starts_one_in_metres_with_its_weights(name):
    torch.manual_seed(0)
    relative = build(name, **RELATIVE[name])
    relative.provenance = type(relative.provenance)(training_data="much")
    metric = with_metric_head(relative, max_depth=20.0)
    assert metric.kind is DepthKind.METRIC
    assert metric.pretrained_encoder  # so that its encoder learns at a tenth of the rate
    ours, theirs = metric.state_dict(), relative.state_dict()
    changed = {key.rpartition(".")[0] for key in theirs if not torch.equal(ours[key], theirs[key])}
    assert len(changed) == 1
    assert changed.pop().startswith("head.")
    size = relative.preprocessing.multiple
    depth = metric.eval()(torch.rand(1, 3, 2 * size, 2 * size))
    assert depth.median().item() == pytest.approx(2.5, abs=0.3)


def test_a_saved_relative_network_is_finetuned_to_metres_by_name_and_refused_without(tmp_path, capsys):
    torch.manual_seed(0)
    save(build("midas_v21", **RELATIVE["midas_v21"]), tmp_path / "midas")
    words = ["train", "--data", "rooms,count=4,height=64,width=64", "--steps", "1", "--batch-size", "2"]
    words += ["--validate-every", "1", "--accelerator", "cpu", "--workers", "0", "--size", "64", "64"]
    assert main([*words, "--model", str(tmp_path / "midas"), "--out", str(tmp_path / "refused")]) == 1
    assert "start from trained weights: --model start:MODEL" in capsys.readouterr().err
    assert main([*words, "--model", f"start:{tmp_path / 'midas'},head=softplus", "--out", str(tmp_path / "run")]) == 0
    trained = load(tmp_path / "run" / "model")
    assert trained.kind is DepthKind.METRIC
    assert trained.arguments["head"] == "softplus"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["model"]["kind"] == "metric"


def test_a_network_whose_head_is_fixed_cannot_be_a_start(tmp_path):
    nyu = build("dpt_hybrid_nyu", vit_options={"img_size": 64, "depth": 4, "embed_dim": 24, "num_heads": 2}, width=8)
    save(nyu, tmp_path / "nyu")
    with pytest.raises(BadInput, match="cannot be given a head in metres"):
        open_model(f"start:{tmp_path / 'nyu'}")
    with pytest.raises(BadInput, match="dpt_large answers metres with head=log or head=softplus"):
        build("dpt_large", kind="metric")


def test_a_network_may_squash_photographs_as_the_paper_does_in_training_too():
    squashing, keeping = (
        build("cnn", size="tiny", input_size=(64, 64), resize=each) for each in ("stretch", "same_area")
    )
    assert squashing.preprocessing.resize is Resize.STRETCH
    assert squashing.preprocessing.size_for(64, 128) == (64, 64)
    assert keeping.preprocessing.size_for(64, 128) == (32, 96)
    import numpy as np

    sample = rooms("train", count=1, height=64, width=128)[0]
    plain = Augmentation(flip=0, brightness=0, colour=0)
    views = [
        view(sample, np.random.default_rng(0), augmentation=plain, preprocessing=each.preprocessing)
        for each in (squashing, keeping)
    ]
    assert torch.equal(views[0].depth, sample.depth[..., 1::2]) or torch.equal(views[0].depth, sample.depth[..., ::2])
    assert views[1].depth.shape == (1, 64, 64)
    assert any(torch.equal(views[1].depth, sample.depth[..., left : left + 64]) for left in range(65))
    with pytest.raises(BadInput, match="No resize is called 'crop'"):
        build("cnn", size="tiny", resize="crop")
