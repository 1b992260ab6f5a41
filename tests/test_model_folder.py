"""A stranger's model folder: whatever its files say, it is loaded or refused in one line, without large allocations."""

import json
import resource
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from leadline.core.errors import BadInput
from leadline.inference.tensors import predict_tensor
from leadline.models.loading import load
from leadline.models.pretrained.checkpoints import load_checkpoint
from leadline.models.registry import build
from leadline.models.saving import save

Told = dict[str, Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("good") / "model"
    save(build("hybrid", size="tiny", encoder="resnet10t", width=8, dim=24, heads=2, blocks=1), folder)
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy, whose weights are a link to the same file, and which states no checksum of them."""
    copy = tmp_path / "model"
    copy.mkdir()
    told = json.loads((good / "model.json").read_text())
    del told["weights_sha256"]
    (copy / "model.json").write_text(json.dumps(told))
    (copy / "weights.safetensors").symlink_to(good / "weights.safetensors")
    return copy


def rewrite(folder: Path, change: Callable[[Told], Any]) -> None:
    told = json.loads((folder / "model.json").read_text())
    change(told)
    (folder / "model.json").write_text(json.dumps(told))


def refused(folder: Path) -> str:
    """Load the folder, which must fail with a `BadInput`, in little time and memory; its message."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(BadInput) as caught:
        load(folder)
    assert time.monotonic() - started < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    return str(caught.value)


def at(path: str, value: object) -> Callable[[Told], None]:
    """Set the field at this path."""

    def change(told: Told) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            told = told[parent]
        told[last] = value

    return change


NAN, INF = float("nan"), float("inf")
HOSTILE = [
    *(("format", value) for value in (0, -1, True, "1", 1.0, None, [])),
    *(("name", value) for value in (7, None, ["cnn"], {}, "", "../cnn", "os:system", "hub")),
    *(("kind", value) for value in (0, None, "metres", [], {})),
    *(("arguments", value) for value in (None, [], "size=tiny", 3)),
    *(("preprocessing", value) for value in (None, [], "same_area", 0)),
    *(("provenance", value) for value in (None, [], "mine")),
    *(
        ("preprocessing.size", value)
        for value in (0, [128], [0, 0], [-128, 160], [1e9, 1e9], [10**9, 10**9], ["a", "b"], [1.5, 2], [True, True])
    ),
    *(("preprocessing.multiple", value) for value in (0, -32, 1, 16, 32.0, NAN, "32", None, 10**30, [32])),
    *(("preprocessing.resize", value) for value in ("crop", 3, None, [])),
    *(("preprocessing.interpolation", value) for value in ("nearest", 2, None, {})),
    *(("preprocessing.restore", value) for value in ("", [], None)),
    *(("preprocessing.mean", value) for value in ("0.5", [0.5], [NAN] * 3, [INF] * 3, ["a"] * 3, None, [[0] * 3] * 3)),
    *(("preprocessing.std", value) for value in ([0, 1, 1], [-1] * 3, [NAN] * 3, [10**400] * 3, [True] * 3, "1", {})),
    *(("preprocessing.focal", value) for value in (0, -5, NAN, INF, "200", [], 10**400, False)),
    *(("preprocessing.margin", value) for value in (-1, NAN, INF, 1e9, "3", None)),
    ("preprocessing.colour", "red"),
    *(("provenance.notes", value) for value in (None, 3, ["x"], {})),
    *(("provenance.licence", value) for value in (None, 0)),
    *(("provenance.figures", value) for value in (None, [], {"a": 1}, {"a": {"rmse": NAN}}, {"a": {"rmse": "low"}})),
    ("provenance.colour", "red"),
    ("surprise", 1),
    *(("weight_bits", value) for value in (0, 1, 2, 16, -8, "4", True, None, 4.0, [4], NAN, 10**30, 4, 8)),
    *(("weights_sha256", value) for value in (None, 0, "", "0" * 64)),
    *(
        ("arguments.width", value)
        for value in (0, -3, 8.0, NAN, 10**9, 10**30, "wide", "8.5", True, [8], {}, 1e400, 7, 9)
    ),
    *(("arguments.dim", value) for value in (0, -24, 10**9, 24.5, "x", 25, 48)),
    *(("arguments.heads", value) for value in (0, -1, 10**9, 5, 1.0)),
    *(("arguments.blocks", value) for value in (0, -1, 10**9, 2, 1.0)),
    *(("arguments.patch", value) for value in (0, -1, 10**6, 1.5)),
    *(("arguments.input_size", value) for value in ([0, 0], [-128, 160], [10**9] * 2, [1.5, 2], 128, "x", [NAN] * 2)),
    *(("arguments.encoder", value) for value in ("", 3, "vit_enormous", "hf-hub:someone/evil", "vgg16", [])),
    *(
        ("arguments.encoder_options", value)
        for value in (
            3,
            [1],
            {"depths": 3},
            {"checkpoint_path": "evil.pt"},
            {"pretrained_cfg": {"url": "http://127.0.0.1/evil"}},
            {"layers": [10**9] * 4},
            {"channels": [10**9] * 4},
            {"stem_width": -1},
            {"features_only": False},
            {"in_chans": 0},
            {"a": "b"},
        )
    ),
    *(("arguments.mean", value) for value in ("x", [0.5], [NAN] * 3, ["0"] * 3, {})),
    *(("arguments.std", value) for value in ([0] * 3, [-1] * 3, [NAN] * 3)),
    *(("arguments.min_depth", value) for value in (0, -1, NAN, "near", 200, [])),
    *(("arguments.max_depth", value) for value in (0, NAN, INF, None)),
    *(("arguments.head", value) for value in ("exp", 1, None, [])),
    *(("arguments.decoder", value) for value in ("huge", 1, [])),
    *(("arguments.camera", value) for value in ("pinhole", 1, None)),
    *(
        ("arguments.pruned", value)
        for value in (
            3,
            "encoder.conv1",
            [],
            {"encoder": [3, 8]},
            {"nothing": [3, 8]},
            {"": [1, 1]},
            {"decoder.bring.0": 4},
            {"decoder.bring.0": []},
            {"decoder.bring.0": [1]},
            {"decoder.bring.0": [10**9, 1]},
            {"decoder.bring.0": [64, 10**30]},
            {"decoder.bring.0": [0, 1]},
            {"decoder.bring.0": [-1, 1]},
            {"decoder.bring.0": [1.5, 1]},
            {"decoder.bring.0": [True, True]},
            {"decoder.bring.0": [NAN, 1]},
            {"decoder.bring.0": ["a", "b"]},
            {"decoder.bring.0": {"in": 1}},
            {"decoder.bring.0": [1, 1]},
            {"transformer.norm": [1]},
            {f"layer{number}": [1] for number in range(5000)},
        )
    ),
    ("arguments.kind", "relative"),
    ("arguments.weights", "/etc/passwd"),
    ("arguments.pretrained", True),
    ("arguments.surprise", 1),
    ("arguments.split", "train"),
]


@pytest.mark.parametrize(("path", "value"), HOSTILE, ids=lambda part: repr(part)[:40])
def test_a_hostile_field_is_refused_and_the_file_named(path: str, value: object, folder: Path):
    rewrite(folder, at(path, value))
    message = refused(folder)
    assert str(folder) in message


@pytest.mark.parametrize(
    ("path", "value"), [(path, value) for path, value in HOSTILE if path.startswith(("preprocessing.", "provenance."))]
)
def test_the_message_names_the_field(path: str, value: object, folder: Path):
    rewrite(folder, at(path, value))
    assert path.split(".")[-1] in refused(folder)


@pytest.mark.parametrize("field", ["format", "name", "kind", "arguments", "preprocessing", "provenance"])
def test_a_missing_field_is_named(field: str, folder: Path):
    rewrite(folder, lambda told: told.pop(field))
    assert field in refused(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"format": 1, "arguments": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
        b"\xff\xfe\x00",
        b" " * 5_000_000,
        b'{"format": 1' + b"0" * 5000 + b"}",
        b'"text"',
        b"NaN",
        b"\x00" * 100,
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_description_that_is_no_object_of_moderate_size_is_refused(content: bytes, folder: Path):
    (folder / "model.json").write_bytes(content)
    assert "model.json" in refused(folder)


@pytest.mark.parametrize("file", ["model.json", "weights.safetensors"])
def test_a_folder_in_the_place_of_a_file_is_refused(file: str, folder: Path):
    (folder / file).unlink()
    (folder / file).mkdir()
    refused(folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_any_place_is_loaded_or_refused(data: st.DataObject, good: Path, folder: Path):
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    told = json.loads((good / "model.json").read_text())
    where = told
    while True:
        key = data.draw(st.sampled_from(sorted(where)))
        if not isinstance(where[key], dict) or not where[key] or data.draw(st.booleans()):
            break
        where = where[key]
    where[key] = data.draw(scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=3), scalars))
    (folder / "model.json").write_text(json.dumps(told))
    with suppress(BadInput):
        load(folder)


# ── weights ──


def with_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    file = folder / "weights.safetensors"
    weights = load_file(file)
    file.unlink()
    save_file(change(weights) or weights, file)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_predict(dtype: torch.dtype, folder: Path, good: Path):
    with_weights(folder, lambda held: {key: tensor.to(dtype) for key, tensor in held.items()})
    model, original = load(folder), load(good)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    image = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    depth = predict_tensor(model, image)
    torch.testing.assert_close(depth, predict_tensor(original, image), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_weights_that_are_no_floats_are_refused(dtype: torch.dtype, folder: Path):
    with_weights(folder, lambda held: held.update({"head.0.weight": held["head.0.weight"].to(dtype)}))
    assert "head.0.weight" in refused(folder)


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b"[]",
        b"{",
        b"\xff" * 8,
        b'{"head.0.weight":{"dtype":"F32","shape":[1000000000,1000000],"data_offsets":[0,4000000000000000]}}',
        b'{"head.0.weight":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"head.0.weight":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}',
    ],
)
def test_a_forged_header_is_refused(header: bytes, folder: Path):
    (folder / "weights.safetensors").unlink()
    (folder / "weights.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert "weights.safetensors" in refused(folder)


def test_a_header_that_claims_to_be_huge_is_refused(folder: Path):
    (folder / "weights.safetensors").unlink()
    (folder / "weights.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    refused(folder)


def test_tables_of_many_gigabytes_are_not_computed(folder: Path):
    huge = {"encoder": "swin_tiny_patch4_window7_224", "encoder_options": {"window_size": 4096, "img_size": 16384}}
    rewrite(folder, lambda told: told["arguments"].update(huge))
    refused(folder)


def test_a_vision_transformer_cannot_bring_weights_by_an_option(tmp_path: Path):
    with pytest.raises(BadInput, match="checkpoint_path"):
        build("dpt_large", vit_options={"checkpoint_path": str(tmp_path / "evil.pt")})


# ── official checkpoints ──


@pytest.mark.parametrize(
    "held",
    [
        {1: torch.zeros(1)},
        {"a": torch.zeros(1, device="meta")},
        {"a": torch.eye(2).to_sparse()},
        {"a": [1]},
        {"optimizer": {}, "model": None},
        [torch.zeros(1)],
        torch.zeros(3),
        {},
        None,
    ],
    ids=repr,
)
def test_a_checkpoint_of_other_things_is_refused(held: object, tmp_path: Path):
    torch.save(held, tmp_path / "official.pt")
    with pytest.raises(BadInput, match=r"official\.pt"):
        load_checkpoint(tmp_path / "official.pt")


def test_a_full_disk_is_told_by_the_name_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fill(*_: object, **__: object) -> None:
        # What safetensors 0.8 says on a disk of two megabytes.
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("leadline.models.saving.save_file", fill)
    with pytest.raises(BadInput, match=r"Cannot write .*model: No space left on device\. .*free some space there"):
        save(build("cnn", size="tiny"), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
