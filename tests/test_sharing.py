"""Sharing: a model goes to a folder or to a hub with a card that says what it is, and comes back as it was."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard, constants
from loopback_hub import TOKEN, hub
from torch import Tensor

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.inference.tensors import predict_tensor
from leadline.models.base import DepthModel, Provenance
from leadline.models.loading import load
from leadline.models.pretrained.hub import load_pretrained, model_card, read_figures, save_pretrained
from leadline.models.registry import build
from leadline.models.saving import save

FIGURES = {"rooms val (indoor)": {"rmse": 0.71234, "d1": 0.8, "silog_bts": float("nan")}}

TABLE = {"title": "nyu test", "protocol": {"words": "nyu_eigen"}, "metrics": {"rmse": 0.4, "d1": None}}
"""What is read of a file that `leadline evaluate --json` writes."""


def small(kind: DepthKind = DepthKind.METRIC) -> DepthModel:
    torch.manual_seed(0)
    model = build("cnn", encoder="mobilenetv3_small_050", width=8, kind=kind).eval()
    model.provenance = Provenance("rooms train", licence="CC-BY-4.0", figures=FIGURES)
    return model


def photograph() -> Tensor:
    return torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(1))


def test_a_model_comes_back_from_a_folder_as_it_was(tmp_path: Path):
    model = small()
    save_pretrained(model, tmp_path / "shared")
    again = load_pretrained(tmp_path / "shared")
    assert torch.equal(predict_tensor(again, photograph()), predict_tensor(model, photograph()))
    assert again.kind is model.kind
    assert again.provenance.training_data == "rooms train"
    assert again.provenance.figures["rooms val (indoor)"]["rmse"] == 0.71234


def test_the_card_is_filled_in_for_people():
    text = re.sub(" +", " ", model_card(small(), "me/rooms"))  # columns line up
    assert "| Kind of depth | metric: metres along the optical axis |" in text
    assert "| Trained on | rooms train |" in text
    assert "| Licence | CC-BY-4.0 |" in text
    assert "| measured on (protocol) | rooms val (indoor) |" in text
    assert "| `rmse` | 0.7123 |" in text
    assert "| `silog_bts` | – |" in text
    assert 'leadline.load("hub:me/rooms")' in text
    assert "larger is nearer" in model_card(small(DepthKind.RELATIVE))


def test_the_card_is_filled_in_for_the_hub():
    data: Any = ModelCard(model_card(small(), "me/rooms")).data
    assert (data.library_name, data.pipeline_tag, data.license) == ("leadline", "depth-estimation", "cc-by-4.0")
    assert "metric-depth" in data.tags
    scored = {(result.dataset_name, result.metric_type): result.metric_value for result in data.eval_results}
    assert scored == {("rooms val (indoor)", "rmse"): 0.71234, ("rooms val (indoor)", "d1"): 0.8}


def test_a_licence_that_the_hub_has_no_word_for_is_written_out():
    model = small()
    model.provenance = replace(model.provenance, licence="unknown: see the model's page", figures={})
    data: Any = ModelCard(model_card(model)).data
    assert (data.license, data.license_name) == ("other", "unknown-see-the-model-s-page")
    assert "None were recorded" in model_card(model)


def test_an_edited_card_is_kept(tmp_path: Path):
    save_pretrained(small(), tmp_path / "shared")
    (tmp_path / "shared" / "README.md").write_text("mine")
    save_pretrained(small(), tmp_path / "shared")
    assert (tmp_path / "shared" / "README.md").read_text() == "mine"
    assert load(tmp_path / "shared").name == "cnn"


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(BadInput, match="holds other files"):
        save_pretrained(small(), tmp_path)


def test_a_saved_model_says_its_kind_itself(tmp_path: Path):
    save(small(), tmp_path / "model")
    with pytest.raises(BadInput, match="leave kind=relative out"):
        load(f"hub:{tmp_path / 'model'},kind=relative")


SHARE_AND_FETCH = """
import sys, torch, leadline
from leadline.cli.main import main
folder, scores, weights = sys.argv[1:]
assert main(["share", folder, "me/rooms"]) == 0
assert main(["share", folder, "me/rooms", "--figures", scores]) == 0  # What is there is brought up to date.
torch.save(leadline.load("hub:me/rooms").state_dict(), weights)
for wrong in ("me/absent", "a//b"):
    try:
        leadline.load(f"hub:{wrong}")
    except leadline.BadInput as problem:
        print(wrong, "→", problem)
"""


def test_a_model_goes_to_a_hub_and_comes_back_and_then_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = small()
    save(model, tmp_path / "model")
    (tmp_path / "scores.json").write_text(json.dumps(TABLE))
    weights = tmp_path / "weights.pt"
    with hub() as server:
        # The hub's client reads these once, when it is imported: hence a process of its own.
        settings = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
        done = subprocess.run(
            [sys.executable, "-c", SHARE_AND_FETCH, tmp_path / "model", tmp_path / "scores.json", weights],
            env={**os.environ, **settings, "HF_HUB_DISABLE_XET": "1"},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert server.repos["me/rooms"].keys() == {"README.md", "model.json", "weights.safetensors"}
    assert "nyu test (nyu_eigen) |" in server.repos["me/rooms"]["README.md"].decode()
    assert f"{server.address}/me/rooms/commit/" in done.stdout
    assert "me/absent → No folder and no repository of the hub is called 'me/absent'" in done.stdout
    assert "a//b → The hub and 'a//b': Repo id" in done.stdout
    assert_equal(torch.load(weights), model.state_dict())

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load_pretrained("me/rooms")
    assert_equal(again.state_dict(), model.state_dict())
    assert again.provenance.licence == "CC-BY-4.0"
    with pytest.raises(BadInput, match="me/absent is not whole on this machine"):
        load("hub:me/absent")


def test_the_figures_of_an_evaluation_go_into_the_card(tmp_path: Path):
    (tmp_path / "scores.json").write_text(json.dumps(TABLE))
    assert read_figures(tmp_path / "scores.json") == {"nyu test (nyu_eigen)": {"rmse": 0.4}}
    (tmp_path / "scores.json").write_text("[]")
    with pytest.raises(BadInput, match="no table of `leadline evaluate --json`"):
        read_figures(tmp_path / "scores.json")


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
