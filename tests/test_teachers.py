"""Teachers: networks of the transformers library answer as the library's own pipeline does, from a folder alone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from loopback_hub import COMMIT, hub
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.data.datasets import open_data
from leadline.export.exporting import export_model
from leadline.inference.tensors import predict_tensor
from leadline.io.depth_maps import read_depth
from leadline.models.base import DepthModel
from leadline.models.finetuning import with_metric_head
from leadline.models.loading import load, open_model
from leadline.models.pretrained.hub_models import HUB_MODELS
from leadline.models.registry import MODELS, build
from leadline.models.saving import save

transformers = pytest.importorskip(
    "transformers", reason="needs the library `transformers`: pip install 'leadline[hub]'"
)

PHOTOGRAPH = Path(__file__).resolve().parents[1] / "examples/photos/reception.jpg"
SIZES = {"square": (150, 150), "oblong": (120, 210)}
"""Height and width of the photographs; neither is any network's own."""


def dinov2(**settings: Any) -> Any:
    return transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, **settings
    )


def depth_anything(**settings: Any) -> tuple[Any, Any]:
    config = transformers.DepthAnythingConfig(
        backbone_config=dinov2(image_size=70, patch_size=14, out_indices=[1, 2, 3, 4], reshape_hidden_states=False),
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 12, 16, 32],
        fusion_hidden_size=16,
        head_hidden_size=8,
        **settings,
    )
    processor = transformers.DPTImageProcessor(
        size={"height": 70, "width": 70},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    return config, processor


def dpt(**settings: Any) -> tuple[Any, Any]:
    config = transformers.DPTConfig(
        **{
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "image_size": 64,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [8, 12, 16, 32],
            "fusion_hidden_size": 16,
            **settings,
        }
    )
    return config, transformers.DPTImageProcessor(size={"height": 64, "width": 64})


def zoedepth() -> tuple[Any, Any]:
    backbone = transformers.BeitConfig(
        image_size=64,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        use_relative_position_bias=True,
        reshape_hidden_states=False,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[8, 12, 16, 32],
        fusion_hidden_size=16,
        bottleneck_features=16,
        num_relative_features=8,
        bin_embedding_dim=8,
        num_attractors=[4, 4, 2, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}],
    )
    return config, transformers.ZoeDepthImageProcessor(size={"height": 64, "width": 96}, ensure_multiple_of=32)


def glpn() -> tuple[Any, Any]:
    config = transformers.GLPNConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=8,
    )
    return config, transformers.GLPNImageProcessor()


def depth_pro(**settings: Any) -> tuple[Any, Any]:
    encoder = dinov2(image_size=64, patch_size=16).to_dict()
    config = transformers.DepthProConfig(
        **{
            "patch_size": 64,
            "fusion_hidden_size": 16,
            "intermediate_hook_ids": [3, 1],
            "intermediate_feature_dims": [8, 8],
            "scaled_images_feature_dims": [16, 16, 8],
            "use_fov_model": True,
            "image_model_config": encoder,
            "patch_model_config": dict(encoder),
            "fov_model_config": dict(encoder),
            **settings,
        }
    )
    return config, transformers.DepthProImageProcessor(size={"height": 256, "width": 256})


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "depth_anything": depth_anything,
    "depth_anything_metric": lambda: depth_anything(depth_estimation_type="metric", max_depth=20),
    "depth_pro": depth_pro,
    "dpt": dpt,
    "glpn": glpn,
    "zoedepth": zoedepth,
}


@torch.no_grad()
def written(folder: Path, config: Any, processor: Any) -> Path:
    """The library's own folder of a network with random weights, large enough that its answer varies with the image."""
    torch.manual_seed(0)
    network = transformers.AutoModelForDepthEstimation.from_config(config)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, nonlinearity="linear")
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.out_channels == 1 and module.bias is not None:
            module.weight *= 0.2
            nn.init.constant_(module.bias, 1.0)  # A closed ReLU answers nothing.
    if config.model_type == "depth_pro" and config.use_fov_model:
        *hidden, last = (layer for layer in network.fov_model.head.layers if isinstance(layer, nn.Conv2d))
        for layer in hidden:
            nn.init.constant_(layer.get_parameter("bias"), 1.0)
        nn.init.constant_(last.get_parameter("bias"), 50.0)  # Degrees.
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family → a folder of the library's own, written once."""
    root = tmp_path_factory.mktemp("hub")
    return cache(lambda family: written(root / family, *FAMILIES[family]()))


@pytest.fixture(scope="module")
def teachers(folders: Callable[[str], Path]) -> Callable[[str], DepthModel]:
    """Family → the teacher loaded from its folder, for tests that leave it as it is."""
    return cache(lambda family: load(f"hub:{folders(family)}"))


@cache
def photograph(height: int, width: int) -> Image.Image:
    return Image.open(PHOTOGRAPH).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255


def share_of_range(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the range of theirs."""
    return ((ours - theirs).abs().max() / (theirs.max() - theirs.min())).item()


every_family = pytest.mark.parametrize("family", FAMILIES)
every_shape = pytest.mark.parametrize("shape", SIZES)


def _is_plain_cubic(resize: Any) -> bool:
    found = {each.name: onnx.helper.get_attribute_value(each) for each in resize.attribute}
    return found.get("mode") == b"cubic" and not found.get("antialias")


@pytest.mark.long
@pytest.mark.parametrize("family", ["depth_anything", "depth_anything_metric", "dpt", "glpn"])
def test_a_teacher_is_exported_for_images_of_any_size(
    family: str, folders: Callable[[str], Path], teachers: Callable[[str], DepthModel], tmp_path: Path
) -> None:
    rooms = open_data("rooms,count=2,height=96,width=128", "test")
    made = export_model(teachers(family), tmp_path / "model.onnx", "onnx", rooms)
    # What a runtime computes slowly and none of these networks needs.
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert not {"IsNaN"} & {node.op_type for node in graph.node}
    assert not [node for node in graph.node if node.op_type == "Resize" and _is_plain_cubic(node)]
    assert not made.parity.fault
    assert len(made.parity.sizes) > 2


@every_shape
@every_family
def test_a_teacher_answers_as_the_librarys_own_pipeline(
    family: str, shape: str, folders: Callable[[str], Path], teachers: Callable[[str], DepthModel]
):
    picture = photograph(*SIZES[shape])
    pipeline = transformers.pipeline("depth-estimation", model=str(folders(family)), device="cpu")
    theirs = pipeline(picture)["predicted_depth"]
    ours = predict_tensor(teachers(family), tensor(picture))[0]
    # Half of the families resize 8-bit pictures, in two passes that each round to one of 255 steps; ours never round.
    assert share_of_range(ours, theirs) < (1e-3 if family in ("depth_pro", "zoedepth") else 2e-2)


@every_shape
@every_family
def test_nothing_but_that_rounding_is_between_them(
    family: str, shape: str, folders: Callable[[str], Path], teachers: Callable[[str], DepthModel]
):
    # Greyer than black and white: where cubic interpolation overshoots, only the 8-bit way holds it to [0, 1].
    size, image = SIZES[shape], 0.25 + tensor(photograph(*SIZES[shape])) / 2
    processor = transformers.AutoImageProcessor.from_pretrained(folders(family))
    model: Any = teachers(family)
    with torch.no_grad():
        answer = model.network(**processor(images=image, do_rescale=False, return_tensors="pt"))
    theirs = processor.post_process_depth_estimation(answer, [size])[0]["predicted_depth"]
    if model.kind is DepthKind.METRIC and family != "depth_pro":
        # `predict` lets no interpolation overshoot into what is nearer than the network's nearest.
        theirs = theirs.clamp_min(answer.predicted_depth.min())
    assert share_of_range(predict_tensor(model, image)[0], theirs) < 5e-6


@every_family
def test_a_batch_is_answered_as_its_images_are(family: str, teachers: Callable[[str], DepthModel]):
    model = teachers(family)
    images = torch.stack([tensor(photograph(96, 96)), tensor(photograph(96, 96)).flip(0)])
    single = torch.stack([predict_tensor(model, image) for image in images])
    assert not torch.equal(single[0], single[1])
    assert share_of_range(predict_tensor(model, images), single) < 1e-3


@every_family
def test_photographs_of_a_few_pixels_have_depth_too(family: str, teachers: Callable[[str], DepthModel]):
    for height, width in ((1, 1), (1, 40), (3, 2)):
        depth = predict_tensor(teachers(family), torch.rand(3, height, width))
        assert depth.shape == (1, height, width)
        assert depth.isfinite().all()


def test_a_teacher_has_the_kind_that_its_configuration_leaves_no_doubt_about(teachers: Callable[[str], DepthModel]):
    assert {family: teachers(family).kind for family in FAMILIES} == {
        "depth_anything": DepthKind.RELATIVE,
        "depth_anything_metric": DepthKind.METRIC,
        "depth_pro": DepthKind.METRIC,
        "dpt": DepthKind.RELATIVE,
        "glpn": DepthKind.METRIC,
        "zoedepth": DepthKind.METRIC,
    }


def test_depth_in_units_of_an_unknown_focal_length_is_not_called_metres(tmp_path: Path):
    model = load(f"hub:{written(tmp_path / 'pro', *depth_pro(use_fov_model=False))}")
    assert model.kind is DepthKind.SCALE_FREE
    assert predict_tensor(model, tensor(photograph(64, 64))).isfinite().all()


def test_a_kind_left_open_is_asked_for_and_then_kept(tmp_path: Path):
    backbone = dinov2(image_size=64, patch_size=16, out_indices=[1, 2, 3, 4], reshape_hidden_states=False)
    folder = written(tmp_path / "dinov2", *dpt(backbone_config=backbone))
    with pytest.raises(BadInput, match="not guessed: kind=metric, kind=relative"):
        load(f"hub:{folder}")
    assert load(f"hub:{folder},kind=metric").kind is DepthKind.METRIC
    with pytest.raises(BadInput, match="No kind is called 'meters'"):
        load(f"hub:{folder},kind=meters")
    with pytest.raises(BadInput, match="No hub option is called 'sort'"):
        load(f"hub:{folder},sort=metric")


@every_family
def test_features_are_the_maps_that_the_network_decodes(family: str, teachers: Callable[[str], DepthModel]):
    model = teachers(family)
    size = model.preprocessing.size if family != "glpn" else (64, 96)
    maps = model.features(torch.rand(2, 3, *size))
    assert len(maps) >= 4
    assert all(each.ndim == 4 and len(each) == 2 for each in maps)
    assert [each.shape[-1] for each in maps] == sorted((each.shape[-1] for each in maps), reverse=True)
    assert (
        0 < sum(each.numel() for each in model.encoder.parameters()) < sum(each.numel() for each in model.parameters())
    )


def test_tokens_are_laid_out_as_the_patches_lie(teachers: Callable[[str], DepthModel]):
    torch.manual_seed(0)
    image = torch.rand(1, 3, 70, 112)
    changed = image.clone()
    changed[..., 14:28, 84:98] += 1.0
    model = teachers("depth_anything")
    (first, *_), (other, *_) = model.features(image), model.features(changed)
    assert first.shape[-2:] == (5, 8)
    row, column = divmod(int((first - other).square().sum((0, 1)).argmax()), 8)
    assert (row, column) == (1, 6)


def test_a_network_that_takes_one_size_says_so(teachers: Callable[[str], DepthModel]):
    with pytest.raises(BadInput, match=r"takes 64 × 64 pixels only, not 64 × 96.*predict resizes"):
        teachers("dpt")(torch.rand(1, 3, 64, 96))
    with pytest.raises(BadInput, match=r"divide by 14, not 70 × 71"):
        teachers("depth_anything")(torch.rand(1, 3, 70, 71))


@every_family
def test_a_saved_teacher_loads_without_the_folder_it_came_from(
    family: str, tmp_path: Path, teachers: Callable[[str], DepthModel]
):
    model = teachers(family)
    save(model, tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.kind is model.kind
    assert again.preprocessing == model.preprocessing
    assert again.provenance == model.provenance
    image = tensor(photograph(64, 80))
    assert torch.equal(predict_tensor(again, image), predict_tensor(model, image))


def test_the_command_line_takes_a_teacher_by_its_place(folders: Callable[[str], Path], tmp_path: Path):
    place = f"hub:{folders('dpt')},kind=relative"
    assert main(["predict", str(PHOTOGRAPH), "--model", place, "--out", str(tmp_path)]) == 0
    assert read_depth(tmp_path / "reception.png").kind is DepthKind.RELATIVE


def test_a_teacher_can_learn(folders: Callable[[str], Path]):
    model = load(f"hub:{folders('depth_anything_metric')}").train()
    model(torch.rand(2, 3, 70, 70)).log().mean().backward()
    gradients = [each.grad for each in model.encoder.parameters() if each.grad is not None]
    assert sum(gradient.abs().sum() for gradient in gradients) > 0


def test_the_card_says_data_and_licence(tmp_path: Path, teachers: Callable[[str], DepthModel]):
    assert teachers("dpt").provenance.licence == "unknown: see the model's page"
    folder = written(tmp_path / "carded", *dpt())
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\ndatasets: [a/rooms, b/streets]\n---\n# Depth\n")
    provenance = load(f"hub:{folder}").provenance
    said = f"a/rooms, b/streets; see the page of {folder}"
    assert (provenance.licence, provenance.training_data) == ("cc-by-nc-4.0", said)
    (folder / "README.md").write_text("---\nlicense: [\n---\n")
    assert load(f"hub:{folder}").provenance.licence == "unknown: see the model's page"


def test_nothing_is_read_but_json_and_safetensors(tmp_path: Path):
    folder = written(tmp_path / "pickled", *dpt())
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    with pytest.raises(BadInput, match=r"no weights that fit.*safetensors.*never read"):
        load(f"hub:{folder}")


def test_code_that_a_configuration_names_is_never_fetched(tmp_path: Path):
    folder = written(tmp_path / "coded", *dpt())
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "evil.Config"}, "attn_implementation": "someone/kernel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('run')")
    model: Any = load(f"hub:{folder}")
    assert model.network.config._attn_implementation in ("eager", "sdpa")


def test_weights_that_are_not_all_there_are_refused(tmp_path: Path):
    folder = written(tmp_path / "torn", *dpt())
    weights = load_file(folder / "model.safetensors")
    kept = {key: tensor for key, tensor in weights.items() if not key.startswith("head.")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"lacks 6 of its weights \(head\.head\.0\.bias"):
        load(f"hub:{folder}")


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"do_pad": True}, "do_pad=True"),
        ({"do_resize": False}, "do_resize=False"),
        ({"resample": 0}, "resample=0"),
        ({"ensure_multiple_of": 0.03125}, "must be a whole number"),
        ({"size": {"shortest_edge": 64}}, "lacks a setting"),
    ],
)
def test_preprocessing_without_a_counterpart_is_refused(setting: dict[str, Any], complaint: str):
    config, processor = dpt()
    with pytest.raises(BadInput, match=complaint):
        build("hub", config=config.to_dict(), processor={**processor.to_dict(), **setting})


def test_what_is_no_depth_network_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match=r"no depth network of the transformers library.*config\.json"):
        load(f"hub:{tmp_path}")
    _, processor = dpt()
    with pytest.raises(BadInput, match="No depth network is called 'vit'"):
        build("hub", config=transformers.ViTConfig().to_dict(), processor=processor.to_dict())
    with pytest.raises(BadInput, match="knows no such network"):
        build("hub", config={"model_type": "depth_everything"}, processor=processor.to_dict())
    with pytest.raises(BadInput, match="hub:USER/NAME"):
        open_model("hub")


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("config.json", {"num_hidden_layers": 10**9}),
        ("config.json", {"hidden_size": 10**12}),
        ("config.json", {"hidden_size": 10**5, "num_attention_heads": 2}),
        ("config.json", {"hidden_size": "wide"}),
        ("config.json", {"hidden_size": -32}),
        ("config.json", {"fusion_hidden_size": 10**6}),
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"patch_size": 0}),
        ("config.json", {"image_size": None}),
        ("config.json", {"neck_hidden_sizes": "8"}),
        ("config.json", {"model_type": 3}),
        ("preprocessor_config.json", {"size": {"height": -1, "width": 64}}),
        ("preprocessor_config.json", {"size": {"height": "tall", "width": 64}}),
        ("preprocessor_config.json", {"size": {"height": 64}}),
        ("preprocessor_config.json", {"image_mean": ["a", "b", "c"]}),
        ("preprocessor_config.json", {"image_mean": [0.5]}),
        ("preprocessor_config.json", {"image_std": [0, 0, 0]}),
        ("preprocessor_config.json", {"rescale_factor": 0}),
        ("preprocessor_config.json", {"rescale_factor": "x"}),
        ("preprocessor_config.json", {"ensure_multiple_of": "x"}),
        ("preprocessor_config.json", {"ensure_multiple_of": 0}),
        ("preprocessor_config.json", {"image_processor_type": 3}),
    ],
    ids=repr,
)
def test_a_hostile_folder_of_the_library_is_refused(file: str, setting: dict[str, Any], tmp_path: Path):
    folder = written(tmp_path / "hostile", *dpt())
    held = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**held, **setting}))
    with pytest.raises(BadInput):
        load(f"hub:{folder}")


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "3", ""], ids=lambda text: text[:3])
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_hostile_file_of_the_library_is_refused(file: str, text: str, tmp_path: Path):
    folder = written(tmp_path / "hostile", *dpt())
    (folder / file).write_text(text)
    with pytest.raises(BadInput):
        load(f"hub:{folder}")


def test_the_missing_library_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BadInput, match=r"pip install 'leadline\[hub\]'"):
        load(f"hub:{tmp_path}")


def test_a_relative_network_of_the_hub_starts_one_that_reads_metres_off_it(teachers, tmp_path):
    relative = teachers("depth_anything")
    assert relative.kind is DepthKind.RELATIVE
    metric = with_metric_head(relative)
    image = torch.rand(1, 3, 70, 70)
    depth = metric.eval()(image)
    assert 0.5 < depth.median() < 10
    depth.mean().backward()
    assert all(each.grad is not None for each in metric.get_submodule("readout").parameters())
    save(metric, tmp_path / "metric")
    again = load(tmp_path / "metric")
    assert again.kind is DepthKind.METRIC
    assert torch.equal(again(image), depth)


def test_a_short_name_fetches_a_network_of_the_hub_and_the_depth_says_which_commit(
    tmp_path: Path, folders: Callable[[str], Path]
):
    repository = HUB_MODELS["depth_anything_v2_small"].repository
    with hub() as server:
        server.repos[repository] = {file.name: file.read_bytes() for file in folders("depth_anything").iterdir()}
        settings = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        # The hub's client reads these once, when it is imported: hence a process of its own.
        command = ["-m", "leadline", "predict", PHOTOGRAPH, "--model", "depth_anything_v2_small", "--out", tmp_path]
        done = subprocess.run(
            [sys.executable, *command], env={**os.environ, **settings}, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "reception.png") as depth:
        assert f"{repository}@{COMMIT}" in str(depth.info)


def test_every_short_name_names_a_repository_and_its_licence():
    for name, model in HUB_MODELS.items():
        assert name not in MODELS
        assert model.spec.startswith(f"hub:{model.repository}")
        assert model.licence
        assert model.terms
