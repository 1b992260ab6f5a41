"""Prediction: photographs of any size and sort in, metres of that size out, and nothing lost on the way."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.inference.predict import predict
from leadline.io.depth_maps import read_depth
from leadline.models.base import DepthModel
from leadline.models.registry import build
from leadline.models.saving import save


@pytest.fixture(scope="module")
def model() -> DepthModel:
    torch.manual_seed(0)
    return build("cnn", size="tiny", input_size=(64, 64)).eval()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> str:
    """Where a model is saved."""
    place = tmp_path_factory.mktemp("models") / "tiny"
    save(model, place)
    return str(place)


def photo(path: Path, height: int = 30, width: int = 50, mode: str = "RGB") -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.mark.parametrize("size", [(1, 1), (7, 500), (64, 64), (65, 97)])
def test_the_answer_has_the_images_own_size(model, size):
    depth = predict(model, torch.rand(3, *size))
    assert depth.shape == (1, *size)
    assert depth.isfinite().all()
    assert depth.min() > 0


def test_a_batch_is_answered_like_its_images(model):
    images = torch.rand(3, 3, 40, 60)
    together = predict(model, images)
    for image, depth in zip(images, together, strict=True):
        torch.testing.assert_close(predict(model, image), depth, rtol=1e-4, atol=1e-5)


def test_more_pixels_of_the_same_view_are_as_many_metres_and_a_zoomed_view_more():
    seen = build("cnn", size="tiny", input_size=(64, 64)).eval()
    small, large = torch.full((3, 64, 64), 0.5), torch.full((3, 128, 128), 0.5)
    camera = torch.tensor([70.0, 70.0, 31.5, 31.5])
    metres = predict(seen, small, camera).mean()
    torch.testing.assert_close(predict(seen, large, 2 * camera).mean(), metres, rtol=1e-3, atol=0)
    torch.testing.assert_close(predict(seen, small, 2 * camera).mean(), 2 * metres)


def test_the_camera_is_read_from_exif_or_given_in_degrees(folder, tmp_path, capsys):
    source = photo(tmp_path / "a.jpg", 60, 80)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[41989] = 52
    with Image.open(source) as picture:
        picture.load()
        picture.save(tmp_path / "b.jpg", exif=exif)
    words = ["--model", folder, "--out", str(tmp_path / "out"), "--json"]
    main(["predict", str(source), str(tmp_path / "b.jpg"), *words])
    unknown, known = map(json.loads, capsys.readouterr().out.splitlines())
    main(["predict", str(source), *words, "--field-of-view", "45.1833"])
    given = json.loads(capsys.readouterr().out)
    assert [each["camera"] for each in (unknown, known, given)] == ["unknown", "from EXIF", "given"]
    # 52 mm on a film whose diagonal is 43.27 mm: 120.2 pixels of the 100 of this picture's, or 36.8 degrees across.
    stored = read_depth(tmp_path / "out" / "b.png").intrinsics
    assert stored is not None
    assert stored[0].item() == pytest.approx(120.18, abs=0.01)
    assert given["median"] == pytest.approx(unknown["median"] * 96.14 / (0.9 * (60 * 80) ** 0.5), rel=0.02)
    assert main(["predict", str(source), *words, "--field-of-view", "180"]) == 1


def test_predicting_leaves_a_model_in_training_as_it_was(model):
    model.train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    predict(model, torch.rand(3, 40, 60))
    assert model.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    model.eval()


def test_a_photograph_becomes_metres_and_a_picture(model, folder, tmp_path, capsys):
    source = photo(tmp_path / "in" / "kitchen.jpg")
    assert main(["predict", str(source), "--model", folder, "--out", str(tmp_path / "out")]) == 0
    written = read_depth(tmp_path / "out" / "kitchen.png")
    assert written.kind is DepthKind.METRIC
    assert written.depth.shape == (1, 30, 50)
    assert written.valid.all()
    assert written.provenance["model"] == "cnn"
    with Image.open(tmp_path / "out" / "kitchen.colour.png") as picture:
        assert picture.width >= 50
        assert picture.height > 30
    assert "1 of 1 images measured, 0 skipped" in capsys.readouterr().out


def test_a_machine_is_told_of_each_image_in_a_line_of_json(folder, tmp_path, capsys):
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.jpg").write_bytes(b"no photograph")
    code = main(["predict", str(tmp_path / "in"), "--model", folder, "--out", str(tmp_path / "out"), "--json"])
    assert code == 1
    good, bad = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (good["height"], good["width"], good["kind"]) == (30, 50, "metric")
    assert 0 < good["min"] <= good["median"] <= good["max"]
    assert Path(good["depth"]).is_file()
    assert Path(good["picture"]).is_file()
    assert "b.jpg" in bad["error"]


def test_a_folder_is_measured_past_what_cannot_be_read(folder, tmp_path, capsys):
    photo(tmp_path / "in" / "trip" / "a.jpg")
    whole = photo(tmp_path / "in" / "trip" / "b.jpg").read_bytes()
    (tmp_path / "in" / "trip" / "b.jpg").write_bytes(whole[: len(whole) // 2])
    photo(tmp_path / "in" / "c.png", mode="L")
    (tmp_path / "in" / "notes.txt").write_text("no photograph, and not meant as one")
    assert main(["predict", str(tmp_path / "in"), "--model", folder, "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "2 of 3 images measured, 1 skipped" in printed.out
    assert "b.jpg" in printed.err
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert names == ["c.colour.png", "c.png", "trip/a.colour.png", "trip/a.png"]


def test_patterns_name_photographs_too(folder, tmp_path, capsys):
    for name in ("a.jpg", "b.jpg", "c.png"):
        photo(tmp_path / name)
    assert main(["predict", str(tmp_path / "*.jpg"), "--model", folder, "--out", str(tmp_path / "out")]) == 0
    assert "2 of 2 images" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "I;16"])
def test_photographs_of_every_sort_are_measured(folder, tmp_path, mode):
    suffix = ".jpg" if mode == "CMYK" else ".png"
    if mode == "I;16":
        tmp_path.joinpath("in").mkdir()
        Image.fromarray(np.arange(1500, dtype=np.uint16).reshape(30, 50) * 40).save(tmp_path / "in" / "x.png")
    else:
        photo(tmp_path / "in" / f"x{suffix}", mode=mode)
    assert main(["predict", str(tmp_path / "in"), "--model", folder, "--out", str(tmp_path / "out")]) == 0
    assert read_depth(tmp_path / "out" / "x.png").depth.shape == (1, 30, 50)


def test_a_photograph_is_never_overwritten_by_its_depth(folder, tmp_path, capsys):
    source = photo(tmp_path / "a.png")
    before = source.read_bytes()
    assert main(["predict", str(source), "--model", folder, "--out", str(tmp_path)]) == 1
    assert source.read_bytes() == before
    assert "choose another --out" in capsys.readouterr().err


def test_two_photographs_of_one_name_are_not_written_over_each_other(folder, tmp_path, capsys):
    photo(tmp_path / "a.png")
    photo(tmp_path / "a.jpg", 10, 10)
    assert main(["predict", str(tmp_path / "a.*"), "--model", folder, "--out", str(tmp_path / "out")]) == 1
    assert "would overwrite the depth of" in capsys.readouterr().err
    assert read_depth(tmp_path / "out" / "a.png").depth.shape == (1, 10, 10)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.jpg"], "nowhere.jpg: no photograph there"),
        (["{photo}", "--near", "5", "--far", "2"], "0 < near < far"),
        (["{photo}", "--out", "{photo}/out"], "Cannot write"),
        (["{photo}", "--model", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(folder, tmp_path, capsys, words, message):
    source = str(photo(tmp_path / "a.jpg"))
    words = [word.format(photo=source) for word in words]
    given = [] if "--model" in words else ["--model", folder]
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    assert main(["predict", *words, *given, *out]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    "command", ["predict photo.png", "evaluate --data rooms,count=1", "report --data rooms,count=1"]
)
def test_a_device_that_is_not_here_is_refused_by_every_command_that_takes_one(folder, capsys, command):
    assert main([*command.split(), "--model", folder, "--device", "abacus"]) == 1
    assert "No device 'abacus' here" in capsys.readouterr().err
