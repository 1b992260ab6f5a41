"""Models: one contract over all of them, then what is particular to each part."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.models.base import DepthModel, ModelSpec, Preprocessing, Resize
from leadline.models.decoders import FusionModel
from leadline.models.heads import output_activation
from leadline.models.loading import load, open_model
from leadline.models.networks.hybrid import Transformer
from leadline.models.networks.presets import SIZES
from leadline.models.registry import MODELS, build
from leadline.models.saving import load_folder, save

VIT = {"img_size": 64, "depth": 4, "embed_dim": 24, "num_heads": 2}
SMALLEST = {
    "acan": {"size": "tiny", "encoder": "resnet10t", "width": 8, "keys": 4, "pooled": 4, "levels": 8},
    "bts": {"size": "tiny", "encoder": "resnet10t", "width": 32},
    "bts_kitti": {"size": "tiny", "encoder": "resnet10t", "width": 32},
    "cnn": {"size": "tiny", "encoder": "resnet10t", "width": 8},
    "continuous_crf": {"size": "tiny", "encoder": "test_efficientnet", "width": 8},
    "dpt_hybrid": {"vit_options": VIT, "width": 8},
    "dpt_hybrid_kitti": {"vit_options": VIT, "width": 8},
    "dpt_hybrid_nyu": {"vit_options": VIT, "width": 8},
    "dpt_large": {"vit_options": VIT, "width": 8},
    "eigen": {"size": "tiny", "widths": (4, 4, 4, 4, 4), "hidden": 8, "fine": 4, "input_size": (64, 64)},
    "hierarchical_crf": {"size": "tiny", "encoder": "test_efficientnet", "width": 8, "superpixels": 40},
    "hybrid": {"size": "tiny", "encoder": "resnet10t", "width": 8, "dim": 24, "heads": 2, "blocks": 1},
    "midas_small": {"encoder": "resnet10t", "width": 8},
    "midas_v21": {"encoder": "resnet10t", "width": 8},
    "pilzer": {"size": "tiny", "encoder": "test_efficientnet", "widths": (8, 8, 4, 4, 4)},
    "structured_attention": {"size": "tiny", "encoder": "test_efficientnet", "width": 8},
    "transdepth": {"size": "tiny", "encoder": "resnet10t", "dim": 24, "heads": 2, "blocks": 1, "gate": 4, "width": 32},
}
MAPS = {"acan": [(16, 32), (8, 16), (8, 16), (8, 16)], "eigen": [(14, 30), (7, 15), (3, 7)]}
"""Rows and columns of the feature maps of an image of 64 × 128, where they are not at 1/4, 1/8, 1/16 and 1/32."""
every_model = pytest.mark.parametrize("name", MODELS)


@cache
def made(name: str, **arguments: str) -> DepthModel:
    """The smallest model of this name, for tests that leave it as it is."""
    torch.manual_seed(0)
    return build(name, **SMALLEST[name], **arguments).eval()


def photograph(height: int, width: int, count: int = 1) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def depth_of(model: DepthModel, image: Tensor) -> Tensor:
    return model(image)


@every_model
@pytest.mark.parametrize("size", [(64, 64), (64, 128), (96, 32)])
def test_every_model_answers_at_the_images_size_whatever_its_shape(name: str, size: tuple[int, int]):
    depth = depth_of(made(name), photograph(*size, count=2))
    assert depth.shape == (2, 1, *size)
    assert depth.isfinite().all()


@every_model
def test_every_model_keeps_the_promise_of_its_kind(name: str):
    model = made(name)
    depth = depth_of(model, photograph(64, 64))
    assert (depth > 0).all() if model.kind is DepthKind.METRIC else (depth >= 0).all()


@every_model
def test_every_model_refuses_sides_that_do_not_divide_and_says_the_cure(name: str):
    model = made(name)
    with pytest.raises(BadInput, match=rf"divide by {model.preprocessing.multiple}, not 65 × 64.*predict resizes"):
        model(photograph(65, 64))


@every_model
def test_learning_reaches_every_parameter(name: str):
    model = build(name, **SMALLEST[name])
    last = [module for module in model.modules() if isinstance(module, nn.Conv2d) and module.out_channels == 1][-1:]
    for bias in (each.bias for each in last if each.bias is not None):
        nn.init.constant_(bias, 1.0)  # A closed ReLU, which some end in, lets nothing through.
    depth, sides = model.forward_with_sides(photograph(64, 64, count=2))
    # Some parameters serve a side output only, which has a loss of its own.
    sum((each.mean() for each in sides.values()), depth.log().mean()).backward()
    untouched = [key for key, each in model.named_parameters() if each.grad is None or not each.grad.isfinite().all()]
    assert untouched == []


@every_model
def test_features_are_a_pyramid_from_a_quarter_down_finest_first(name: str):
    with torch.no_grad():
        features = made(name).features(photograph(64, 128))
    pyramid = [(16, 32), (8, 16), (4, 8), (2, 4)]
    assert [tuple(each.shape[-2:]) for each in features] == MAPS.get(name, pyramid)


@every_model
def test_saved_and_loaded_a_model_is_the_same_to_the_bit(name: str, tmp_path: Path):
    model = made(name)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert torch.equal(depth_of(model, photograph(64, 96)), depth_of(again, photograph(64, 96)))
    for fact in ("name", "arguments", "kind", "preprocessing", "provenance"):
        assert getattr(again, fact) == getattr(model, fact)


def test_half_precision_halves_the_file_and_comes_back_as_floats_that_answer_the_same(tmp_path):
    model = made("cnn").eval()
    save(model, tmp_path / "whole")
    save(model, tmp_path / "half", half=True)
    whole, half = (tmp_path / name / "weights.safetensors" for name in ("whole", "half"))
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    again = load(tmp_path / "half")
    assert {tensor.dtype for tensor in again.parameters()} == {torch.float32}
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(again(image), model(image), rtol=5e-3)


@every_model
def test_an_encoder_is_frozen_by_its_own_parameters(name: str):
    model = made(name)
    inside = {key for key, _ in model.named_parameters() if key.startswith("encoder.")}
    assert {f"encoder.{key}" for key, _ in model.encoder.named_parameters()} == inside
    assert inside


def test_the_contract_covers_every_model():
    assert SMALLEST.keys() == MODELS.keys()


def test_a_native_size_divides():
    for name in MODELS:
        rule = made(name).preprocessing
        assert all(side % rule.multiple == 0 for side in rule.size)


# ── build ──


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(BadInput, match=r"No model is called 'dtp'. Known models: acan, bts, .*dpt_hybrid, "):
        build("dtp")


def test_a_command_names_the_model_of_the_package_too():
    with pytest.raises(BadInput, match=r"No model is called 'nope'. Known models: acan, .*leadline_small, .*zoedepth"):
        open_model("nope")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decodr": "light"}, "No cnn option is called 'decodr'. Known cnn options: camera, decoder, encoder, "),
        ({"decoder": "lite"}, "No decoder is called 'lite'. Known decoders: full, light"),
        ({"size": "huge"}, "No size is called 'huge'. Known sizes: paper, tiny"),
        ({"head": "exp"}, "No head is called 'exp'. Known heads: log, softplus"),
        ({"kind": "scale_free"}, "kind=scale_free: an own network answers metric or relative"),
        ({"min_depth": 0.0}, "min_depth 0.0 and max_depth 100.0 must be metres"),
        ({"input_size": (100, 160)}, r"input_size \(100, 160\) must be a height and a width that divide by 32"),
        ({"encoder": "mobilenetv3_smal"}, "timm has no network called 'mobilenetv3_smal'. Near: mobilenetv3_small_"),
        ({"encoder_options": {"output_stride": 8}}, "gives maps at 1/2, 1/4, 1/8, .* an encoder needs 1/4, 1/8"),
        ({"encoder": "mixer_s16_224"}, "'mixer_s16_224' is no encoder: it takes images of one"),
        ({"encoder_options": {"pad": "same"}}, "gives no pyramid of features: .*pad"),
        ({"mean": (0.5, 0.5)}, r"mean \(0.5, 0.5\) and std .* must be three numbers each"),
    ],
)
def test_what_a_builder_cannot_use_is_refused_with_the_cure(arguments: dict, message: str):
    with pytest.raises(BadInput, match=message):
        build("cnn", **{"size": "tiny", "encoder": "resnet10t", **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vit": "vit_enormous"}, "timm has no vision transformer called 'vit_enormous'; DPT's are vit_large"),
        ({"vit": "vit_small_patch8_224"}, "no vision transformer of 16 × 16 patches"),
        ({"vit": "resnet10t"}, "no vision transformer of 16 × 16 patches"),
    ],
)
def test_dpt_refuses_what_is_no_transformer_of_its_patches(arguments: dict, message: str):
    with pytest.raises(BadInput, match=message):
        build("dpt_large", **arguments)


def test_the_small_midas_refuses_metres_from_a_relu():
    with pytest.raises(BadInput, match="head=log or head=softplus"):
        build("midas_small", kind="metric")


def test_words_build_what_values_build():
    words = open_model(
        "hybrid,size=tiny,encoder=resnet10t,width=8,dim=24,heads=2,blocks=1,input_size=64:96,max_depth=20"
    )
    values = build("hybrid", **SMALLEST["hybrid"], input_size=(64, 96), max_depth=20.0)
    assert words.arguments == values.arguments
    assert words.preprocessing == values.preprocessing


def test_what_a_model_is_built_from_does_not_change():
    model = made("cnn")
    with pytest.raises(ValueError, match="does not change"):
        model.set_spec(ModelSpec("hybrid"))
    with pytest.raises(AttributeError):
        model.name = "hybrid"  # pyright: ignore[reportAttributeAccessIssue]
    assert model.name == model.spec.name == "cnn"


def test_a_saved_model_says_all_that_its_size_stood_for():
    arguments = build("hybrid", **{**SMALLEST["hybrid"], "encoder": None, "size": "tiny"}).arguments
    assert not [name for name in SIZES["tiny"].__dataclass_fields__ if arguments[name] is None]


def test_words_that_name_a_saved_model_load_it(tmp_path: Path):
    save(made("cnn"), tmp_path / "mine")
    assert open_model(str(tmp_path / "mine")).arguments == made("cnn").arguments
    with pytest.raises(BadInput, match="No model at"):
        open_model(str(tmp_path / "none"))


def test_the_papers_sizes_are_the_defaults():
    with torch.device("meta"):
        model = build("hybrid")
    assert isinstance(model, FusionModel)
    assert isinstance(model.transformer, Transformer)
    assert model.preprocessing.size == (224, 224)
    assert len(model.transformer.blocks) == 12
    assert model.transformer.position.shape == (1, 768, 7, 7)
    with torch.device("meta"):
        resnext = timm.create_model("resnext101_32x8d", features_only=True)
    assert model.encoder.state_dict().keys() == resnext.state_dict().keys()


# ── encoders ──


def test_an_encoder_takes_the_weights_of_a_whole_network_in_timms_layout(tmp_path: Path):
    whole = timm.create_model("resnet10t")
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    model = build("cnn", encoder="resnet10t", decoder="light", width=8, weights=tmp_path / "whole.safetensors")
    held = whole.state_dict()
    assert all(torch.equal(tensor, held[key]) for key, tensor in model.encoder.state_dict().items())
    assert model.pretrained_encoder
    assert "whole.safetensors" in model.provenance.encoder


def test_flattened_names_find_their_weights(tmp_path: Path):
    thin: dict[str, Any] = {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 16)}
    whole = timm.create_model("convnext_atto", num_classes=0, **thin)
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    model = build(
        "cnn",
        encoder="convnext_atto",
        encoder_options=thin,
        decoder="light",
        width=8,
        weights=tmp_path / "whole.safetensors",
    )
    held = whole.state_dict()
    assert torch.equal(
        model.encoder.get_parameter("stages_0.blocks.0.conv_dw.weight"), held["stages.0.blocks.0.conv_dw.weight"]
    )


def test_a_saved_model_does_not_need_its_encoders_file_again(tmp_path: Path):
    save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "whole.safetensors")
    model = build("cnn", encoder="resnet10t", decoder="light", width=8, weights=tmp_path / "whole.safetensors")
    save(model, tmp_path / "model")
    (tmp_path / "whole.safetensors").unlink()
    again = load(tmp_path / "model")
    assert torch.equal(again.encoder.state_dict()["conv1.0.weight"], model.encoder.state_dict()["conv1.0.weight"])
    assert again.pretrained_encoder


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path):
    save_file(timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match=r"does not hold the weights of timm's 'resnet10t': .* missing .* surplus \("):
        build("cnn", encoder="resnet10t", weights=tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="No encoder weights at"):
        build("cnn", encoder="resnet10t", weights=tmp_path / "none.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:1000])
    with pytest.raises(BadInput, match="is not a whole safetensors file"):
        build("cnn", encoder="resnet10t", weights=tmp_path / "torn.safetensors")


def test_the_pretrained_mobilenet_sees_what_it_was_trained_on(shared: Path):
    file = shared / "weights" / "mobilenetv2_100_same_imagenet.safetensors"
    half = (0.5, 0.5, 0.5)
    options = {"pad_type": "same"}
    model = build("cnn", encoder="mobilenetv2_100", encoder_options=options, weights=file, mean=half, std=half).eval()
    whole = timm.create_model("mobilenetv2_100", pad_type="same").eval()
    whole.load_state_dict(load_file(file), strict=False)
    image = photograph(96, 96)
    with torch.no_grad():
        ours = model.features(image)
        theirs = whole.get_submodule("blocks.0")(
            whole.get_submodule("bn1")(whole.get_submodule("conv_stem")(image * 2 - 1))
        )
        theirs = whole.get_submodule("blocks.1")(theirs)  # The file says: RGB in [-1, 1].
    assert torch.allclose(ours[0], theirs, atol=1e-5)


def test_an_encoder_trained_alone_fits_under_a_transformer():
    hybrid, cnn = build("hybrid", **SMALLEST["hybrid"]), build("cnn", **SMALLEST["cnn"])
    hybrid.encoder.load_state_dict(cnn.encoder.state_dict())


# ── transformer ──


def test_the_native_grid_uses_the_position_embedding_as_it_was_learnt():
    grid = Transformer(8, (3, 4), dim=16, blocks=1, heads=2, patch=1)
    assert grid._position(3, 4) is grid.position


def test_another_grid_resamples_the_position_embedding_smoothly():
    transformer = Transformer(8, (4, 6), dim=4, blocks=1, heads=2, patch=1)
    ramp = torch.linspace(0, 1, 6).expand(1, 4, 4, 6)
    transformer.position.data.copy_(ramp)
    finer = transformer._position(8, 12)[0, 0]
    assert finer.shape == (8, 12)
    assert (finer.diff(dim=1) > 0).all()
    assert torch.allclose(finer.mean(), ramp.mean(), atol=1e-6)


def test_patches_of_two_halve_the_tokens_per_side_and_double_the_multiple():
    model = build("hybrid", **SMALLEST["hybrid"], patch=2, input_size=(128, 192))
    assert model.preprocessing.multiple == 64
    assert depth_of(model.eval(), photograph(128, 192)).shape == (1, 1, 128, 192)
    with torch.no_grad():
        assert model.features(photograph(128, 192))[-1].shape[-2:] == (2, 3)
    with pytest.raises(BadInput, match="divide by 64, not 96 × 64"):
        model(photograph(96, 64))


# ── the camera ──


@pytest.mark.parametrize("name", ["cnn", "hybrid"])
def test_a_lens_twice_as_long_puts_the_same_picture_twice_as_far(name: str):
    model = made(name).eval()
    canonical = model.preprocessing.focal
    assert canonical is not None
    image = photograph(64, 64).expand(3, -1, -1, -1)
    focal = torch.tensor([canonical, 2 * canonical, torch.nan])
    with torch.no_grad():
        depth = model(image, torch.stack([focal, focal, focal, focal], dim=1))
        unknown = model(image)
    torch.testing.assert_close(depth[0], unknown[0])
    torch.testing.assert_close(depth[1], 2 * unknown[1])
    torch.testing.assert_close(depth[2], unknown[2])


def test_the_power_of_the_focal_length_is_learned_and_kept(tmp_path):
    model = made("cnn", camera="learned").eval()
    canonical = model.preprocessing.focal
    assert canonical is not None
    image = photograph(64, 64)
    depth = model(image, torch.full((1, 4), 4 * canonical))
    torch.testing.assert_close(depth, 2 * model(image))
    depth.sum().backward()
    assert model.focal_power is not None
    assert model.focal_power.grad is not None
    with torch.no_grad():
        model.focal_power.fill_(0.25)
    save(model, tmp_path / "model")
    with torch.no_grad():
        again = load_folder(tmp_path / "model")(image, torch.full((1, 4), 16 * canonical))
        torch.testing.assert_close(again, 2 * model(image))


def test_a_network_may_take_every_camera_for_what_it_shows():
    model = made("cnn", camera="any").eval()
    with torch.no_grad():
        zoomed = model(photograph(64, 64), torch.full((1, 4), 500.0))
        assert torch.equal(zoomed, model(photograph(64, 64)))


def test_inverse_depth_without_a_unit_does_not_depend_on_the_lens():
    model = made("cnn", kind="relative").eval()
    with torch.no_grad():
        zoomed = model(photograph(64, 64), torch.full((1, 4), 500.0))
        assert torch.equal(zoomed, model(photograph(64, 64)))


# ── heads ──

extremes = pytest.mark.parametrize(
    "activation", [-1e30, -1e4, -90.0, 0.0, 90.0, 1e4, 1e30, float("inf"), float("-inf")]
)
heads = pytest.mark.parametrize("head", ["log", "softplus"])


@heads
@extremes
def test_no_activation_makes_a_head_leave_its_bounds(head: str, activation: float):
    depth = output_activation(head, DepthKind.METRIC, 0.1, 50.0)(torch.full((1, 1, 2, 2), activation))
    assert ((depth >= 0.0999) & (depth <= 50.001)).all()


@heads
@extremes
def test_no_activation_makes_inverse_depth_leave_its_bounds(head: str, activation: float):
    inverse = output_activation(head, DepthKind.RELATIVE, 0.1, 50.0)(torch.full((1, 1, 2, 2), activation))
    assert ((inverse >= 0.0199) & (inverse <= 10.001)).all()


@heads
def test_a_head_rises_with_metres_and_falls_with_their_inverse(head: str):
    ramp = torch.linspace(-3, 3, 50).view(1, 1, 5, 10)
    depth = output_activation(head, DepthKind.METRIC, 0.1, 50.0)(ramp)
    assert (depth.flatten().diff() > 0).all()
    assert output_activation(head, DepthKind.RELATIVE, 0.1, 50.0)(ramp).flatten().diff().abs().min() > 0


@heads
@pytest.mark.parametrize("name", ["cnn", "hybrid"])
def test_an_untrained_network_answers_an_indoor_depth(name: str, head: str):
    depth = depth_of(build(name, **SMALLEST[name], head=head).eval(), photograph(64, 64))
    assert ((depth > 2.0) & (depth < 3.0)).all()


@heads
def test_a_network_can_answer_inverse_depth(head: str):
    model = build("hybrid", **SMALLEST["hybrid"], head=head, kind="relative").eval()
    assert model.kind is DepthKind.RELATIVE
    assert (depth_of(model, photograph(64, 64)) > 0).all()


def test_bounds_that_leave_the_typical_depth_out_still_make_a_head():
    depth = output_activation("log", DepthKind.METRIC, 5.0, 80.0)(torch.zeros(1, 1, 1, 1))
    assert torch.allclose(depth, torch.tensor(20.0))


# ── preprocessing ──


@pytest.mark.parametrize("photo", [(480, 640), (640, 480), (3000, 4000), (1, 1), (10, 4000), (97, 31)])
@pytest.mark.parametrize("resize", Resize)
def test_every_rule_gives_sides_that_divide(resize: Resize, photo: tuple[int, int]):
    height, width = Preprocessing((128, 160), resize=resize).size_for(*photo)
    assert height % 32 == width % 32 == 0
    assert min(height, width) >= 32


def test_the_same_area_bounds_the_work_for_any_photograph():
    rule = Preprocessing((128, 160))
    assert rule.size_for(480, 640) == (128, 160)
    assert rule.size_for(640, 480) == (160, 128)
    for photo in [(6000, 8000), (1, 1), (40, 4000)]:
        height, width = rule.size_for(*photo)
        assert height * width < 4 * 128 * 160


# ── saved folders ──


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(made("cnn"), tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_is_two_readable_files(folder: Path):
    assert sorted(file.name for file in folder.iterdir()) == ["model.json", "weights.safetensors"]
    told = json.loads((folder / "model.json").read_text())
    assert told["name"] == "cnn"
    assert told["kind"] == "metric"
    assert told["preprocessing"]["size"] == [128, 160]
    assert told["provenance"]["licence"] == "Apache-2.0"


def test_whoever_may_read_the_description_may_read_the_weights(folder: Path):
    description, weights = ((folder / name).stat().st_mode for name in ("model.json", "weights.safetensors"))
    assert weights == description


def test_saving_again_replaces_the_model(folder: Path):
    other = build("cnn", **SMALLEST["cnn"], max_depth=10.0)
    save(other, folder)
    assert load(folder).arguments["max_depth"] == 10.0


def test_saving_never_replaces_a_folder_of_other_files(folder: Path):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"notes\.txt"):
        save(made("cnn"), folder)
    assert (folder / "notes.txt").read_text() == "mine"


def test_loading_draws_no_random_numbers(folder: Path):
    before = torch.random.get_rng_state()
    load(folder)
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_was_told_of_the_training_comes_back(tmp_path: Path):
    model = build("cnn", **SMALLEST["cnn"])
    model.provenance = replace(model.provenance, training_data="rooms train", notes="three steps")
    model.set_preprocessing(replace(model.preprocessing, size=(64, 96), interpolation="area"))
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.provenance.training_data == "rooms train"
    assert again.preprocessing.size == (64, 96)


def test_encoders_with_tables_and_channels_last_are_the_same_after_loading(tmp_path: Path):
    thin = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "strict_img_size": False}
    swin = {"encoder": "swin_tiny_patch4_window7_224", "encoder_options": thin}
    model = build("cnn", **swin, decoder="light", width=8).eval()
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert torch.equal(depth_of(model, photograph(64, 96)), depth_of(again, photograph(64, 96)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.update(format=99), "of format 99, newer than this leadline"),
        (lambda told: told.pop("format"), "does not describe a model"),
        (lambda told: told.pop("kind"), "does not describe a model .*kind"),
        (lambda told: told.update(kind="relative"), "says relative, and 'cnn' so built is metric"),
        (lambda told: told.update(name="dtp"), "No model is called 'dtp'"),
        (lambda told: told["arguments"].update(pretrained=True), "names pretrained: a saved model has its own weights"),
        (
            lambda told: told["arguments"].update(encoder_options={"checkpoint_path": "evil.pt"}),
            "weights come by weights=FILE .* not by 'checkpoint_path'",
        ),
        (lambda told: told["arguments"].update(decodr=1), "No cnn option is called 'decodr'"),
        (lambda told: told["provenance"].update(colour="red"), "does not describe a model"),
        (lambda told: told["preprocessing"].update(resize="crop"), "does not describe a model"),
        (lambda told: told["arguments"].update(width=16), "does not fit 'cnn': .* misshapen .*save or copy"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(folder: Path, change, message: str):
    told = json.loads((folder / "model.json").read_text())
    change(told)
    (folder / "model.json").write_text(json.dumps(told))
    with pytest.raises(BadInput, match=f"(?i){message}"):
        load(folder)


def test_missing_and_surplus_weights_are_named(folder: Path):
    weights = load_file(folder / "weights.safetensors")
    weights["head.9.weight"] = weights.pop("head.0.weight")
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(BadInput, match=r"1 missing \(head.0.weight\); 1 surplus \(head.9.weight\)"):
        load(folder)


@pytest.mark.parametrize("size", [0, 100, -1000])
def test_a_torn_weights_file_is_refused(folder: Path, size: int):
    file = folder / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(BadInput, match=r"cannot be read .*save or copy the model again"):
        load(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_a_torn_description_is_refused(folder: Path, text: str):
    (folder / "model.json").write_text(text)
    with pytest.raises(BadInput, match=r"model.json (is not JSON|does not describe a model)"):
        load(folder)


@pytest.mark.parametrize("file", ["model.json", "weights.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, file: str):
    (folder / file).unlink()
    with pytest.raises(BadInput, match=file):
        load(folder)
