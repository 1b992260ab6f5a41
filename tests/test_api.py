"""The Python API as its users call it: any image in, a depth map out, and a `str` wherever a path is named."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import leadline
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.data.datasets import open_data
from leadline.data.datasets.store import MANIFEST
from leadline.data.prepare import prepare
from leadline.data_quality.index import index_data
from leadline.evaluation.evaluate_maps import evaluate_maps
from leadline.evaluation.protocols import protocol
from leadline.inference.predict import predict
from leadline.inference.tensors import predict_tensor
from leadline.io.colormaps import depth_color_scale
from leadline.io.depth_maps import DepthMap, read_depth, write_depth
from leadline.io.images import read_camera, read_image, write_image
from leadline.io.intrinsics import read_intrinsics
from leadline.models.base import DepthModel
from leadline.models.loading import list_models, load, open_model
from leadline.models.pretrained.hub import load_pretrained, save_pretrained
from leadline.models.pretrained.hub_models import HUB_MODELS
from leadline.models.registry import DEFAULT, MODELS, build
from leadline.models.saving import save
from leadline.reporting.report import Report, Section, photographs, write_report
from leadline.training.objectives import Supervised
from leadline.training.pseudo_labels import label, load_pseudo_labels
from leadline.training.trainer import TrainConfig, fit

SOURCES = Path(leadline.__file__).parent

GIVEN_PATHS_BY_OURSELVES = {
    *("io/atomic.py", "io/discovery.py", "io/download.py", "io/locks.py", "io/outputs.py", "io/run_folder.py"),
    *("data/datasets/licences.py", "data/datasets/pair_files.py", "data/datasets/pairs.py"),
    *("data/furnished_rooms/blender.py", "models/description.py"),
    *("evaluation/map_pairs.py", "recipes/train_options.py", "serve/app.py"),
    *("export/onnx_file.py", "export/openvino_file.py", "export/torch_file.py"),
}
"""Helpers that no user calls: they take a `Path` from a function that takes any path."""


class Place:
    """A path that is neither a `str` nor a `Path`."""

    def __init__(self, path: Path):
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.fixture(scope="module")
def model() -> DepthModel:
    torch.manual_seed(0)
    return build("cnn", size="tiny", encoder="test_efficientnet", input_size=(64, 64)).eval()


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)


def test_numpy_takes_a_depth_map_for_its_numbers():
    valid = torch.tensor([[[True, False], [True, True]]])
    depth = DepthMap(torch.tensor([[[1.0, 2.0], [3.0, 5.0]]]), valid)
    np.testing.assert_array_equal(np.asarray(depth), [[1, np.nan], [3, 5]])
    assert np.asarray(depth).dtype == np.float32
    assert np.array(depth, dtype=np.float64).dtype == np.float64
    assert np.nanmax(depth) == 5
    np.testing.assert_array_equal(depth + np.ones((2, 2)), [[2, np.nan], [4, 6]])
    with pytest.raises(ValueError, match="leave copy=False out"):
        np.asarray(depth, copy=False)


def test_a_masked_array_is_refused_where_its_mask_would_be_lost(model):
    pixels = np.zeros((8, 9, 3), np.uint8)
    expected = predict(model, pixels).numpy()
    np.testing.assert_array_equal(predict(model, np.ma.array(pixels)).numpy(), expected)
    with pytest.raises(BadInput, match=r"The image is a masked array, .* give image\.filled\(0\)"):
        predict(model, np.ma.masked_equal(pixels, 0))
    with pytest.raises(BadInput, match=r"depth is a masked array, .* give depth\.filled\(0\), and ~mask as `valid`"):
        DepthMap(np.ma.masked_less(np.arange(4, dtype=np.float32).reshape(1, 2, 2), 2), np.ones((1, 2, 2), bool))  # pyright: ignore[reportArgumentType]


REFUSALS = """
import numpy as np
import torch
import leadline

image = np.zeros((8, 9, 3), np.uint8)
whole = {"depth": np.ones((1, 2, 3), np.float32), "valid": np.ones((1, 2, 3), bool)}
assert leadline.DepthMap(**whole, kind="relative").kind is leadline.DepthKind.RELATIVE

def depth_map(**changes):
    return lambda: leadline.DepthMap(**{**whole, **changes})

def prediction(image=image, **changes):
    return lambda: leadline.predict("leadline_small", image, **changes)

def of_tensor(image, camera=None):
    return lambda: leadline.predict_tensor(leadline.load("leadline_small"), image, camera)

def mesh(field_of_view):
    return lambda: leadline.DepthMap(**whole).mesh(field_of_view=field_of_view)

for make, message in (
    (depth_map(depth=np.ones((2, 3), np.float32)), "an array (1, H, W), and where it is valid another: not (2, 3) and"),
    (depth_map(depth=[[[1.0]]]), "A depth map is a tensor or an array (1, H, W)"),
    (depth_map(valid=np.ones((1, 3, 2), bool)), "not (1, 2, 3) and (1, 3, 2)"),
    (depth_map(valid=np.ones((1, 2, 3), np.uint8)), "`valid` holds uint8: give booleans"),
    (depth_map(kind="metres"), "No depth kind is called 'metres'"),
    (depth_map(intrinsics=np.eye(3)), "an array (4,) of fx, fy, cx and cy"),
    (depth_map(provenance={"steps": 3}), "convert 'steps' by str()"),
    (prediction(intrinsics=np.array([[90, 0, 0], [0, 90, 0], [4, 4, 1.0]])), "no pinhole camera's matrix without skew"),
    (prediction(intrinsics=[[90, 9, 4], [0, 90, 4], [0, 0, 1.0]]), "no pinhole camera's matrix without skew"),
    (prediction(intrinsics=[90j, 90, 4, 4]), "are no numbers"),
    (prediction(intrinsics=[1e9, 1e9, 4, 4]), "as no telescope does"),
    (prediction(panorama=None), "No panorama option is called None"),
    (prediction(np.full((8, 9, 3), 1.0000001)), "must be in [0, 1]: if resizing overshot"),
    (of_tensor(image), "What is of type ndarray is no tensor: leadline.predict takes"),
    (of_tensor([[[0.5]]]), "What is of type list is no tensor"),
    (of_tensor(torch.zeros(3, 8, 9), "90,90,4,4"), "Intrinsics '90,90,4,4' are no numbers: give fx, fy, cx, cy"),
    (lambda: leadline.predict_tensor("leadline_small", torch.zeros(3, 8, 9)), "'leadline_small' is no model"),
    (mesh("65"), "field_of_view='65': give the degrees between the edges"),
    (lambda: leadline.DepthMap(**whole).point_cloud(torch.zeros(3, 2, 3), field_of_view=60), "Tensor is no photograph"),
    (lambda: leadline.load(None), "is no place or name of a model"),
    (prediction(torch.zeros(3, 8, 9, device="meta")), "holds no pixels"),
):
    try:
        made = make()
    except leadline.BadInput as refusal:
        assert message in str(refusal), refusal
    else:
        raise AssertionError(f"{made} instead of: {message}")
"""


def test_what_does_not_fit_together_is_refused_where_nothing_else_checks_types():
    """The tests check the types of all arguments; users have no such help."""
    subprocess.run([sys.executable, "-c", REFUSALS], check=True, timeout=100)


def test_a_provenance_that_an_archive_has_no_room_for_is_refused(tmp_path):
    valid = np.ones((1, 2, 3), bool)
    for key in ("depth", "file"):
        with pytest.raises(BadInput, match=rf"cannot be called '{key}' in an NPZ"):
            DepthMap(np.ones((1, 2, 3), np.float32), valid, provenance={key: "any"}).save(tmp_path / "a.npz")  # pyright: ignore[reportArgumentType]


def test_an_empty_path_is_told_as_one(model):
    for read in (read_image, lambda path: predict(model, path)):
        with pytest.raises(BadInput, match=r"An empty path, .* not a file: give the path of one"):
            read("")


def test_every_sort_of_image_gives_the_depth_that_the_file_gives(model, pixels, tmp_path):
    file = tmp_path / "photo.png"
    Image.fromarray(pixels).save(file)
    locked = pixels.copy()
    locked.setflags(write=False)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = predict_tensor(model, read_image(file))
    opened = Image.open(file)
    same = {
        "str": str(file),
        "Path": file,
        "PathLike": Place(file),
        "opened picture": opened,
        "picture": Image.fromarray(pixels),
        "transparent picture": Image.fromarray(pixels).convert("RGBA"),
        "uint8": pixels,
        "read-only": locked,
        "turned twice": pixels[..., ::-1].copy()[..., ::-1],
        "uint16": pixels.astype(np.uint16) * 257,
        "big-endian": (pixels.astype(np.uint16) * 257).astype(">u2"),
        "float32": pixels.astype(np.float32) / np.float32(255),
        "tensor": tensor.float() / 255,
        "uint8 tensor": tensor,
        "learning tensor": (tensor.float() / 255).requires_grad_(),
    }
    for sort, image in same.items():
        depth = predict(model, image)
        assert torch.equal(depth.depth, expected), sort
        assert depth.valid.all(), sort
        assert depth.shape == (30, 50), sort
    np.testing.assert_allclose(predict(model, pixels / 255).numpy(), expected[0], rtol=1e-4)
    np.testing.assert_allclose(predict(model, (tensor / 255).half()).numpy(), expected[0], rtol=0.02)
    assert opened.size == (50, 30)
    assert opened.getpixel((0, 0)) == tuple(pixels[0, 0])


def test_a_grey_array_is_a_grey_photograph(model, pixels, tmp_path):
    grey = pixels[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert torch.equal(predict(model, grey).depth, predict(model, tmp_path / "grey.png").depth)


def test_a_model_answers_alike_again_and_again_by_name_and_in_training(model, pixels, tmp_path):
    save(model, str(tmp_path / "model"))
    first = predict(model, pixels).depth
    for _ in range(3):
        assert torch.equal(predict(model, pixels).depth, first)
    assert torch.equal(predict(model.train(), pixels).depth, first)
    assert model.training
    model.eval()
    for place in (str(tmp_path / "model"), tmp_path / "model"):
        torch.testing.assert_close(predict(place, pixels).depth, first)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_any_precision_answer(model, pixels, dtype):
    other = build("cnn", size="tiny", encoder="test_efficientnet", input_size=(64, 64)).eval()
    other.load_state_dict(model.state_dict())
    depth = predict(other.to(dtype), pixels)
    assert depth.depth.dtype == torch.float32
    np.testing.assert_allclose(depth.numpy(), predict(model, pixels).numpy(), rtol=0.1)


def test_the_camera_is_the_given_one_or_the_files_or_unknown(model, pixels, tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[41989] = 26
    file = tmp_path / "photo.jpg"
    Image.fromarray(pixels).save(file, exif=exif)
    camera = read_camera(file, read_image(file))
    assert camera is not None
    by_file = predict(model, str(file))
    assert by_file.provenance["camera"] == "from EXIF"
    torch.testing.assert_close(by_file.intrinsics, camera)
    picture = Image.open(file)
    assert torch.equal(predict(model, picture).depth, by_file.depth)
    # What was edited in memory kept the EXIF of what it was.
    assert predict(model, picture.crop((0, 0, 25, 30))).provenance["camera"] == "unknown"
    assert predict(model, pixels).intrinsics is None
    fx, fy, cx, cy = numbers = camera.tolist()
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    for sort in (numbers, tuple(numbers), np.array(numbers), camera, camera.double(), matrix):
        told = predict(model, read_image(file), sort)
        assert told.provenance["camera"] == "given"
        torch.testing.assert_close(told.depth, by_file.depth)
    for unlikely in ([fx, fy, 0, 0], [1e4, 1e4, cx, cy]):
        assert predict(model, str(file), unlikely).provenance["doubts"].startswith("The camera fx=")
    zoomed = predict(model, str(file), [2 * fx, 2 * fy, cx, cy])
    torch.testing.assert_close(zoomed.depth, 2 * by_file.depth)


def test_what_leadline_wrote_is_no_photograph(model, pixels, tmp_path):
    depth = predict(model, pixels)
    depth.save(tmp_path / "depth.png")
    with pytest.raises(UnreadableFile, match=r"depth\.png was written by Leadline, and is no photograph"):
        predict(model, tmp_path / "depth.png")


def test_eight_bits_in_sixteen_are_doubted(model, pixels):
    assert "Its 16-bit numbers are 255 at most" in predict(model, pixels.astype(np.uint16)).provenance["doubts"]
    assert "doubts" not in predict(model, pixels.astype(np.uint16) * 257).provenance


def test_a_photograph_on_its_side_is_measured_upright_from_a_path_and_a_picture(model, pixels, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    by_path = predict(model, tmp_path / "turned.png")
    assert by_path.shape == (50, 30)
    assert torch.equal(predict(model, Image.open(tmp_path / "turned.png")).depth, by_path.depth)


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        (np.zeros((3, 20, 30), np.uint8), r"\(3, 20, 30\).*transpose\(1, 2, 0\)"),
        (np.zeros((3, 20, 3), np.uint8), "first or last"),
        (np.zeros((20, 30, 4), np.uint8), "fourth channel"),
        (np.zeros((20, 30, 1), np.uint8), r"\[\.\.\., 0\]"),
        (np.zeros((2, 20, 30, 3), np.uint8), "one image at a time"),
        (np.zeros((0, 30, 3), np.uint8), "no pixels"),
        (np.zeros(30, np.uint8), "one photograph"),
        (np.zeros((20, 30, 3), np.int64), "int64: give uint8, uint16 or floats"),
        (np.zeros((20, 30, 3), bool), "bool: give uint8"),
        (np.full((20, 30, 3), 200.0), "divide by 255"),
        (np.full((20, 30, 3), -1.0), r"from -1 to -1, and must be in \[0, 1\]"),
        (np.full((20, 30, 3), np.nan), "NaN"),
        (np.full((20, 30, 3), np.inf), "NaN or infinite"),
        (torch.zeros(2, 3, 20, 30), r"\(B, 3, H, W\) to leadline.predict_tensor"),
        (torch.zeros(20, 30, 3), r"permute\(2, 0, 1\)"),
        (torch.zeros(1, 20, 30), "expand"),
        (torch.zeros(20, 30), "expand"),
        (torch.zeros(3, 20, 30, dtype=torch.int32), "int32"),
        ("no/such/photo.jpg", "No file no/such/photo.jpg"),
        (".", "is a folder"),
    ],
    ids=str,
)
def test_what_is_no_photograph_is_refused_with_what_to_give(model, image, fault):
    with pytest.raises(BadInput, match=fault):
        predict(model, image)


@pytest.mark.parametrize(
    ("camera", "fault"),
    [
        ([50.0, 50.0], r"shape \(2,\)"),
        ([0.0, 0.0, 25.0, 15.0], "no focal length"),
        (np.zeros((2, 2)), r"shape \(2, 2\)"),
        ([1.0, 1.0, 0.5, 0.5], "divided by the picture's size"),
        (np.array(["a"] * 4, dtype=object), "no numbers"),
    ],
)
def test_an_impossible_camera_is_refused(model, pixels, camera, fault):
    with pytest.raises(BadInput, match=fault):
        predict(model, pixels, camera)


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        (torch.full((3, 20, 30), 200.0), "divide by 255"),
        (torch.full((2, 3, 20, 30), 1.1), r"image\.clip\(0, 1\)"),
        (torch.full((3, 20, 30), torch.nan), "NaN"),
        (torch.full((3, 20, 30), -torch.inf), "NaN or infinite"),
        (torch.zeros(20, 30, 3), r"permute\(2, 0, 1\)"),
        (torch.zeros(2, 20, 30, 3), r"permute\(0, 3, 1, 2\)"),
        (torch.zeros(2, 4, 20, 30), "fourth channel"),
        (torch.zeros(20, 30), r"neither a photograph \(3, H, W\) nor"),
        (torch.zeros(0, 3, 20, 30), r"\(0, 3, 20, 30\) is neither"),
        (torch.zeros(3, 20, 30, dtype=torch.int64), "int64: give uint8"),
    ],
)
def test_tensors_that_are_no_photographs_are_refused_with_what_to_give(model, image, fault):
    with pytest.raises(BadInput, match=fault):
        predict_tensor(model, image)


def test_tensors_of_any_type_of_pixels_are_measured_alike(model, pixels):
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = predict_tensor(model, image / 255)
    for same in (image, image.to(torch.uint16) * 257, image.double() / 255, (image / 255).requires_grad_()):
        torch.testing.assert_close(predict_tensor(model, same), expected)
    torch.testing.assert_close(predict_tensor(model, (image / 255).half()), expected, rtol=0.01, atol=0.01)
    assert torch.equal(predict_tensor(model, image[None])[0], expected)
    camera = [40.0, 40.0, 24.5, 14.5]
    told = predict_tensor(model, image, torch.tensor(camera))
    for sort in (camera, np.array(camera), np.array(camera[::-1])[::-1], [camera], [40.0, 40.0, np.nan, np.nan]):
        assert torch.equal(predict_tensor(model, image, sort), told)
    assert torch.equal(predict_tensor(model, image, [np.nan] * 4), expected)


def test_scales_and_tensors_without_pixels_are_refused(model):
    image = torch.zeros(3, 30, 50)
    for scale in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(BadInput, match=r"scale=.*at least 0\.1 and at most 10"):
            predict_tensor(model, image, scale=scale)
    for nothing in (image.to("meta"), image.to_sparse()):
        with pytest.raises(BadInput, match="give a dense one"):
            predict_tensor(model, nothing)


@pytest.mark.parametrize(
    ("camera", "fault"),
    [
        (torch.eye(3), r"shape \(3, 3\) for 1 images: give fx"),
        (torch.ones(3, 4), r"shape \(3, 4\) for 1 images"),
        (torch.tensor([0.0, 0.0, 25.0, 15.0]), "no focal length"),
        ([1.0, 1.0, 0.5, 0.5], "divided by the picture's size"),
        ([np.inf, 30.0, 25.0, 15.0], "no focal length, or no number"),
        ([40.0, 40.0, np.inf, 15.0], "no focal length, or no number"),
        ([np.nan, 30.0, 25.0, 15.0], "no focal length, or no number"),
        ([np.nan, -5.0, 25.0, 15.0], "no focal length"),
        ([-30.0, 30.0, np.nan, np.nan], "no focal length"),
        ([1e300, 1e300, 25.0, 15.0], "no focal length, or no number"),
    ],
)
def test_an_impossible_camera_of_a_tensor_is_refused(model, camera, fault):
    with pytest.raises(BadInput, match=fault):
        predict_tensor(model, torch.zeros(3, 30, 50), camera)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        st.one_of(
            arrays.floating_dtypes(), arrays.integer_dtypes(), arrays.unsigned_integer_dtypes(), arrays.boolean_dtypes()
        ),
        arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4),
    )
)
def test_any_array_is_measured_or_refused(model, array):
    try:
        depth = predict(model, array)
    except BadInput:
        return
    assert depth.numpy().shape == array.shape[:2]
    assert np.isfinite(depth.numpy()).all()


def a_map(kind: DepthKind = DepthKind.METRIC, dtype: torch.dtype = torch.float32) -> DepthMap:
    depth = torch.linspace(0.6, 9.5, 12 * 20).reshape(1, 12, 20).to(dtype)
    valid = torch.ones(1, 12, 20, dtype=torch.bool)
    valid[0, :3, :3] = False
    return DepthMap(depth, valid, kind, provenance={"model": "cnn"})


def test_numpy_values_are_nan_where_nothing_is_known():
    values = a_map(dtype=torch.float16).numpy()
    assert (values.shape, values.dtype) == ((12, 20), np.float32)
    assert np.isnan(values[:3, :3]).all()
    assert np.isfinite(values).sum() == 12 * 20 - 9
    values[:] = 0
    assert np.isfinite(values).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".png", ".npz", ".tiff", ".pfm"])
def test_a_depth_map_is_saved_in_every_format(tmp_path, suffix, dtype):
    depth = a_map(dtype=dtype)
    depth.save(str(tmp_path / f"depth{suffix}"))
    again = read_depth(str(tmp_path / f"depth{suffix}"), kind="metric" if suffix == ".pfm" else None)
    assert torch.equal(again.valid, depth.valid)
    torch.testing.assert_close(again.depth[again.valid], depth.depth[depth.valid].float(), atol=6e-4, rtol=0)


def test_far_depth_is_saved_in_steps_that_hold_it(tmp_path):
    far = DepthMap(torch.full((1, 4, 4), 180.0), torch.ones(1, 4, 4, dtype=torch.bool))
    far.save(tmp_path / "far.png")
    assert read_depth(tmp_path / "far.png").depth.unique().tolist() == [180.0]


def test_metres_have_the_same_colour_in_every_picture_and_other_kinds_their_own_range():
    near, far = (
        DepthMap(torch.tensor([[[2.0, other]]]), torch.ones(1, 1, 2, dtype=torch.bool)).colorize()
        for other in (1.0, 9.0)
    )
    assert (near.mode, near.size) == ("RGB", (2, 1))
    assert near.getpixel((0, 0)) == far.getpixel((0, 0))
    assert near.getpixel((1, 0)) != far.getpixel((1, 0))
    relative = a_map(DepthKind.RELATIVE)
    doubled = DepthMap(2 * relative.depth, relative.valid, DepthKind.RELATIVE)
    assert relative.colorize().tobytes() == doubled.colorize().tobytes()
    assert a_map().colorize(depth_color_scale(0.1, 80)).tobytes() != a_map().colorize().tobytes()
    assert a_map().colorize(legend=True).size[1] > 12


@pytest.mark.parametrize("kind", DepthKind)
def test_a_notebook_shows_a_depth_map(kind):
    depth = a_map(kind, torch.float16)
    picture = Image.open(BytesIO(depth._repr_png_()))
    assert picture.format == "PNG"
    assert repr(depth) == f"DepthMap(12 × 20, {kind}, 0.7119 to 9.5{' m' if kind is DepthKind.METRIC else ''})"
    nothing = DepthMap(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool), kind)
    assert repr(nothing) == f"DepthMap(2 × 2, {kind}, nothing valid)"
    assert nothing._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("path", [str, Path, Place], ids=["str", "Path", "PathLike"])
def test_a_path_of_any_type_is_taken_wherever_one_is_named(model, pixels, tmp_path, path):
    (tmp_path / "mine" / "rgb").mkdir(parents=True)
    (tmp_path / "mine" / "depth").mkdir()
    depth = DepthMap(torch.full((1, 64, 64), 2.0), torch.ones(1, 64, 64, dtype=torch.bool))
    image = torch.rand(3, 64, 64)
    for number in range(2):
        write_image(path(tmp_path / "mine" / "rgb" / f"{number}.png"), image)
        write_depth(path(tmp_path / "mine" / "depth" / f"{number}.png"), depth)
    photo, maps = path(tmp_path / "mine" / "rgb" / "0.png"), path(tmp_path / "mine" / "depth")
    assert read_image(photo).shape == image.shape
    assert read_camera(photo, image) is None
    assert read_depth(path(tmp_path / "mine" / "depth" / "0.png")).kind is DepthKind.METRIC
    (tmp_path / "camera.txt").write_text("50 50 32 32")
    assert read_intrinsics(path(tmp_path / "camera.txt")) == (50, 50, 32, 32)
    assert evaluate_maps(maps, maps, protocol("indoor")).rows[0].metrics["rmse"] == 0

    save(model, path(tmp_path / "model"))
    assert load(path(tmp_path / "model")).name == open_model(path(tmp_path / "model")).name == "cnn"
    save_pretrained(model, path(tmp_path / "shared"))
    assert load_pretrained(path(tmp_path / "shared")).name == "cnn"
    assert predict(path(tmp_path / "model"), photo).shape == (64, 64)

    data = open_data(path(tmp_path / "mine"), "train")
    assert len(data) == len(index_data(path(tmp_path / "mine")).entries) == 2
    label(model, data, path(tmp_path / "labels"))
    assert len(load_pseudo_labels(path(tmp_path / "labels"))) == 2
    prepare(path(tmp_path / "mine"), path(tmp_path / "store"), (64, 64))
    assert (tmp_path / "store" / MANIFEST).is_file()
    rooms = open_data("rooms,count=2,height=64,width=64", "train", cache=path(tmp_path / "cache"))
    assert rooms[0].size == (64, 64)
    fresh = build("cnn", size="tiny", encoder="test_efficientnet", input_size=(64, 64))
    config = TrainConfig(steps=1, batch_size=2, validate_every=1)
    fit(fresh, data, data, Supervised(), config, path(tmp_path / "run"), protocol=protocol("indoor"))
    assert (tmp_path / "run" / "done.json").is_file()

    shown = photographs(model, [photo])
    assert write_report(Report("Mine", (shown, Section("Empty"))), path(tmp_path / "report")).is_file()


def test_no_public_function_asks_for_a_path_object():
    asking = []
    for file in sorted(SOURCES.rglob("*.py")):
        place = file.relative_to(SOURCES).as_posix()
        if place in GIVEN_PATHS_BY_OURSELVES or place.startswith("cli/"):
            continue
        for function in _public_functions(ast.parse(file.read_text(encoding="utf-8"))):
            arguments = [*function.args.args, *function.args.kwonlyargs]
            hints = [ast.unparse(each.annotation).replace("StrPath", "") for each in arguments if each.annotation]
            asking += [f"{place}: {function.name}" for hint in hints if "Path" in hint]
    assert not asking, "take a StrPath, and begin with path = Path(path)"


def _public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Those of a module and the methods of its classes, but for what begins with an underscore."""
    public = [each for each in tree.body if not getattr(each, "name", "_").startswith("_")]
    methods = [method for each in public if isinstance(each, ast.ClassDef) for method in each.body]
    for each in (*public, *methods):
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_"):
            yield each


def test_the_models_that_can_be_named_are_listed():
    assert set(list_models()) == {DEFAULT, *MODELS, *HUB_MODELS}
    assert list_models() == sorted(list_models())
    assert list_models("dpt_*") == ["dpt_hybrid", "dpt_hybrid_kitti", "dpt_hybrid_nyu", "dpt_large"]
    assert "cnn" not in list_models(trained=True)
    assert DEFAULT in list_models(trained=True)
    assert list_models("resnet*") == []
