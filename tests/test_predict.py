"""Prediction: photographs of any size and sort in, metres of that size out, and nothing lost on the way."""

import errno
import io
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.threads import map_in_threads, usable_cores
from leadline.inference.predict import predict
from leadline.inference.predict_files import PredictOptions, open_run
from leadline.inference.session import load_predictor
from leadline.inference.tensors import predict_tensor
from leadline.io import atomic
from leadline.io.depth_maps import read_depth, read_numbers
from leadline.io.discovery import find_images
from leadline.io.locks import file_lock
from leadline.io.outputs import read_leadline_metadata
from leadline.models.base import DepthModel
from leadline.models.names import DEFAULT
from leadline.models.registry import build
from leadline.models.saving import save


@pytest.fixture(scope="module")
def model() -> DepthModel:
    torch.manual_seed(0)
    return build("cnn", size="tiny", encoder="test_efficientnet", input_size=(64, 64)).eval()


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
    depth = predict_tensor(model, torch.rand(3, *size))
    assert depth.shape == (1, *size)
    assert depth.isfinite().all()
    assert depth.min() > 0


def test_a_batch_is_answered_like_its_images(model):
    images = torch.rand(3, 3, 40, 60)
    together = predict_tensor(model, images)
    for image, depth in zip(images, together, strict=True):
        torch.testing.assert_close(predict_tensor(model, image), depth, rtol=1e-4, atol=1e-5)


def test_more_pixels_of_the_same_view_are_as_many_metres_and_a_zoomed_view_more():
    seen = build("cnn", size="tiny", encoder="test_efficientnet", input_size=(64, 64)).eval()
    small, large = torch.full((3, 64, 64), 0.5), torch.full((3, 128, 128), 0.5)
    camera = torch.tensor([70.0, 70.0, 31.5, 31.5])
    metres = predict_tensor(seen, small, camera).mean()
    torch.testing.assert_close(predict_tensor(seen, large, 2 * camera).mean(), metres, rtol=1e-3, atol=0)
    torch.testing.assert_close(predict_tensor(seen, small, 2 * camera).mean(), 2 * metres)


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
    predict_tensor(model, torch.rand(3, 40, 60))
    assert model.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    model.eval()


def test_the_library_measures_many_photographs_and_resumes_what_the_command_began(folder, tmp_path, capsys):
    photo(tmp_path / "in" / "a.jpg")
    words = ["predict", str(tmp_path / "in"), "--model", folder, "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    photo(tmp_path / "in" / "sub" / "b.jpg")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no photograph")
    found = find_images([str(tmp_path / "in")])
    with open_run(load_predictor(folder, "cpu"), found, str(tmp_path / "out"), PredictOptions()) as run:
        results = {Path(each.about["image"]).name: each for each in run.results()}
    assert capsys.readouterr().out == ""
    assert results["a.jpg"].was_done
    assert results["a.jpg"].about == told
    assert results["b.jpg"].is_measured
    assert not results["b.jpg"].was_done
    assert (tmp_path / "out" / "sub" / "b.png").is_file()
    assert not results["broken.jpg"].is_measured
    with pytest.raises(BadInput, match="0 < near < far"), open_run(run.model, found, "x", PredictOptions(near=20)):
        pass


def test_pictures_may_be_left_out_and_are_drawn_later(tmp_path, capsys):
    for number in range(5):
        photo(tmp_path / "in" / f"{number}.jpg", 30 + number)
    words = ["predict", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json"]

    def told() -> list[dict]:
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    def files() -> set[str]:
        return {file.name for file in (tmp_path / "out").iterdir() if not file.name.startswith(".")}

    assert main([*words, "--no-picture"]) == 0
    first = told()
    assert files() == {f"{number}.png" for number in range(5)}
    assert {each["picture"] for each in first} == {None}
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in files()}
    assert main([*words, "--no-picture"]) == 0
    assert told() == first
    assert before == {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in files()}
    assert main(words) == 0
    assert [each | {"picture": None} for each in told()] == first
    assert files() == {f"{number}{suffix}" for number in range(5) for suffix in (".png", ".colour.png")}
    assert main([*words, "--no-picture", "--format", "pfm"]) == 1
    assert "no place for its unit" in capsys.readouterr().err


def test_colours_that_are_rounded_for_an_exported_file_are_told(tmp_path, capsys):
    deep = np.random.default_rng(0).integers(0, 65536, (40, 60), np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    photo(tmp_path / "usual.png")
    # What has more channels or bits than it needs loses nothing.
    Image.open(tmp_path / "usual.png").convert("RGBA").save(tmp_path / "screenshot.png")
    Image.fromarray(np.arange(240, dtype=np.uint16).reshape(12, 20) * 257).save(tmp_path / "even.png")
    names = [str(tmp_path / f"{name}.png") for name in ("deep", "usual", "screenshot", "even")]
    words = ["predict", *names, "--json", "--out"]
    assert main([*words, str(tmp_path / "onnx")]) == 0
    rounded, *others = map(json.loads, capsys.readouterr().out.splitlines())
    assert "rounded to 8" in rounded["doubts"]
    assert all("doubts" not in each for each in others)
    assert main([*words, str(tmp_path / "torch"), "--backend", "torch"]) == 0
    assert all("doubts" not in json.loads(line) for line in capsys.readouterr().out.splitlines())


def test_a_small_model_answers_several_callers_at_once_as_it_answers_one():
    one = load_predictor("leadline_small", says=False)
    several = one.for_callers()
    assert several.callers == usable_cores()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40 + number, 60, 3), np.uint8) for number in range(8)]
    found = map_in_threads(lambda image: several.measure([image], [None]), images, threads=4)
    for image, depth in zip(images, found, strict=True):
        np.testing.assert_allclose(depth, one.measure([image], [None]), rtol=1e-5)


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
        ([], "No photograph is given: name files"),
        (["{photo}", "--depth-scale", "1000"], "--depth-scale is of the sparse depth maps that --scale-from names"),
        (["{photo}", "--model", "{photo}"], "a.jpg is no model: a saved one is a folder"),
        (["{photo}", "--model", "leadline_small", "--backend", "onnx", "--device", "cuda"], "leave --device cuda out"),
        (["{photo}", "--model", "leadline_small", "--backend", "openvino"], "openvino"),
        (["{photo}", "--near", "5", "--far", "2"], "0 < near < far"),
        (["{photo}", "--out", "{photo}/out"], "Cannot create the folder"),
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


def test_a_photograph_that_its_disk_does_not_give_is_named_and_the_others_are_measured(tmp_path, capsys):
    unreadable = Path("/proc/self/mem")
    if not unreadable.exists():
        pytest.skip("needs Linux, where such a file is")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").symlink_to(unreadable)
    photo(tmp_path / "in" / "b.png")
    assert main(["predict", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 1
    assert f"{tmp_path / 'in' / 'a.jpg'} cannot be read (Input/output error)" in capsys.readouterr().err
    assert (tmp_path / "out" / "b.png").is_file()


@pytest.mark.parametrize("words", [["photo.png", "--out", ""], ["photo.png", "--out="], ["", "--out", "here"]])
def test_an_empty_argument_is_refused_for_it_would_name_the_present_folder(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "photo.png")
    assert main(["predict", *words]) == 2
    assert "an argument is empty (" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize(
    "command", ["predict photo.png", "evaluate --data rooms,count=1", "report --data rooms,count=1"]
)
def test_a_device_that_is_not_here_is_refused_by_every_command_that_takes_one(folder, capsys, command):
    assert main([*command.split(), "--model", folder, "--device", "abacus"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "No device 'abacus' here: choose cpu" in said
    assert len(said) < 150


def names(folder: Path) -> list[str]:
    """All files in a folder that are not hidden."""
    inside = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in inside if not path.name.startswith("."))


@pytest.fixture
def measure(folder, tmp_path, capsys):
    """Run `leadline predict` with the small model into `out`; its exit code, output and errors."""

    def run(*words: object, out: Path | None = None) -> tuple[int, str, str]:
        code = main(["predict", *map(str, words), "--model", folder, "--out", str(out or tmp_path / "out")])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--field-of-view 0", "--field-of-view 0: give the degrees"),
        ("--scale-from floor:1.4,field_of_view=0", "between 0 and 180 degrees"),
        ("--scale-from floor:1.4,focal_px=0", "focal_px positive"),
        ("--fx 0", "--fx 0: give the focal length in pixels"),
        ("--fx nan", "--fx nan"),
        ("--fy 50", "need --fx"),
        ("--fx 50 --field-of-view 60", "Give the camera by one of"),
        ("--fx 0.8", "sees 17"),
        ("--fx 50 --cx 400", "principal point outside"),
        ("--intrinsics nowhere.txt", "No file nowhere.txt"),
        ("--format jpg", ""),
    ],
)
def test_numbers_that_are_no_camera_are_refused_and_never_taken_for_unset(measure, tmp_path, options, message):
    source = photo(tmp_path / "a.jpg")
    try:
        code, _, said = measure(source, *options.split())
    except SystemExit as refusal:
        code, said = refusal.code, ""
    assert code in (1, 2)
    assert message in said
    assert not names(tmp_path / "out")


def _write_intrinsics(path: Path) -> None:
    matrix = np.array([[60.0, 0, 25], [0, 61, 14], [0, 0, 1]])
    four = [60.0, 61.0, 25.0, 14.0]
    match path.name:
        case "four.txt":
            path.write_text("60 61 25 14\n")
        case "matrix.txt":
            np.savetxt(path, matrix)
        case "commas.txt":
            path.write_text("60, 61, 25, 14")
        case "list.json":
            path.write_text(json.dumps(four))
        case "matrix.json":
            path.write_text(json.dumps({"width": 50, "K": matrix.tolist()}))
        case "names.json":
            path.write_text(json.dumps(dict(zip(("fx", "fy", "cx", "cy"), four, strict=True))))
        case "matrix.npz":
            np.savez(path, intrinsics=matrix, name="a camera")
        case "only.npz":
            np.savez(path, whatever=four)
        case "matrix.npy":
            np.save(path, matrix)


INTRINSICS = (
    "four.txt",
    "matrix.txt",
    "commas.txt",
    "list.json",
    "matrix.json",
    "names.json",
    "matrix.npz",
    "only.npz",
)


@pytest.mark.parametrize("name", [*INTRINSICS, "only.npz", "matrix.npy"])
def test_a_camera_is_read_from_numbers_or_a_matrix_in_a_file(measure, tmp_path, name):
    source = photo(tmp_path / "a.jpg")
    _write_intrinsics(tmp_path / name)
    code, said, _ = measure(source, "--intrinsics", tmp_path / name, "--json")
    assert code == 0
    assert json.loads(said)["camera"] == "given"
    stored = read_depth(tmp_path / "out" / "a.png").intrinsics
    assert stored is not None
    assert stored.tolist() == [60, 61, 25, 14]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("a.txt", content) for content in ("1 2", "fx fy", "1 0 5 0 1 5 7 7 7", "nan 1 2 3")),
        *(
            ("a.json", content)
            for content in ("[[1, 2], [3]]", "{", '{"fx": 9, "fy": 9, "cx": 3}', '{"K": "far"}', "null")
        ),
        *(("a.npz", "no archive"), ("a.npy", "")),
    ],
)
def test_a_file_of_no_camera_is_refused_in_a_line(measure, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    code, _, said = measure(photo(tmp_path / "photo.jpg"), "--intrinsics", tmp_path / name)
    assert code == 1
    assert "holds no intrinsics" in said or f"{name}: the intrinsics " in said


def test_a_focal_length_in_pixels_is_the_same_as_its_field_of_view(measure, tmp_path):
    source = photo(tmp_path / "a.jpg", 60, 80)
    degrees = 2 * math.degrees(math.atan(40 / 100))
    by_pixels = json.loads(measure(source, "--fx", 100, "--json")[1])
    by_degrees = json.loads(measure(source, "--field-of-view", degrees, "--json")[1])
    assert by_pixels == by_degrees
    assert by_pixels["field_of_view"] == pytest.approx(degrees, abs=0.05)


def test_a_line_of_text_says_where_each_camera_came_from(measure, tmp_path):
    source = photo(tmp_path / "a.jpg", 60, 80)
    exif = Image.Exif()
    exif.get_ifd(0x8769)[41989] = 26
    with Image.open(source) as picture:
        picture.load()
        picture.save(tmp_path / "b.jpg", exif=exif)
    exif.get_ifd(0x8769)[41989] = 3000
    picture.save(tmp_path / "c.jpg", exif=exif)
    unknown, known, doubtful = measure(tmp_path)[2].splitlines()
    assert "camera unknown, taken for one of 65 degrees across" in unknown
    assert "camera from EXIF, 67.3 degrees across" in known
    assert "c.jpg" in doubtful
    assert "3000 mm" in doubtful
    assert "ignored" in doubtful
    assert " m, median " in unknown
    assert "camera given, 50.0 degrees across" in measure(source, "--field-of-view", 50)[2]
    radians = measure(source, "--field-of-view", 1.13)[2]
    assert "A field of view of 1.13 degrees is unlikely" in radians
    assert "(1.13 radians are 65)" in radians


def test_a_full_disk_ends_the_run_at_once_and_keeps_what_is_written(measure, tmp_path, monkeypatch):
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg", "g.jpg", "h.jpg"):
        photo(tmp_path / "in" / name)
    flushed, flush = [], atomic._flush

    def fill(path: Path) -> None:
        flushed.append(path)
        if len(flushed) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(path)

    monkeypatch.setattr(atomic, "_flush", fill)
    code, _, errors = measure(tmp_path / "in")
    assert code == 1
    assert errors.count("No space left on device") == 1
    assert "free some space there" in errors
    assert len(flushed) < 8
    assert len(names(tmp_path / "out")) == 2


def test_a_picture_that_was_turned_in_memory_is_doubted(model):
    exif = Image.Exif()
    exif[274] = 6
    content = io.BytesIO()
    Image.new("RGB", (40, 30)).save(content, "JPEG", exif=exif)
    opened = Image.open(content)
    assert "doubts" not in predict(model, opened).provenance
    turned = opened.transpose(Image.Transpose.ROTATE_270)
    assert "if it was turned before, give it as np.asarray(image)" in predict(model, turned).provenance["doubts"]
    assert "doubts" not in predict(model, np.asarray(turned)).provenance


def test_a_photograph_that_cannot_be_written_does_not_end_a_folders_run(measure, tmp_path):
    for name in ("a.jpg", "trip/b.jpg", "z.jpg"):
        photo(tmp_path / "in" / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "trip").write_text("a file where a folder should be")
    code, said, errors = measure(tmp_path / "in")
    assert code == 1
    assert "2 of 3 images measured, 1 skipped" in said
    assert "trip" in errors
    assert "free some space" not in errors
    assert names(tmp_path / "out") == ["a.colour.png", "a.png", "trip", "z.colour.png", "z.png"]


@pytest.mark.parametrize("name", ["x" * 245, "é" * 123])
def test_a_name_that_is_too_long_for_its_picture_is_named_and_the_others_measured(measure, tmp_path, name):
    photo(tmp_path / "in" / f"{name}.jpg")
    photo(tmp_path / "in" / "z.jpg")
    photo(tmp_path / "in" / f"{name[:-6]}.jpg")
    code, said, errors = measure(tmp_path / "in")
    assert code == 1
    assert "too long for" in errors
    assert "space" not in errors
    assert "2 of 3 images" in said


@pytest.mark.parametrize("suffix", ["png", "npz", "tiff", "pfm"])
def test_far_depth_is_written_in_every_format_and_known_again(measure, tmp_path, suffix):
    source = photo(tmp_path / "a.jpg")
    words = (source, "--format", suffix, "--scale-from", "25,15,120", "--json")
    code, said, _ = measure(*words)
    assert code == 0
    stored = read_depth(tmp_path / "out" / f"a.{suffix}", kind="metric")
    assert stored.depth[0, 15, 25].item() == pytest.approx(120, rel=0.01)
    before = (tmp_path / "out" / f"a.{suffix}").stat().st_mtime_ns
    code, again, _ = measure(*words)
    assert code == 0
    assert (tmp_path / "out" / f"a.{suffix}").stat().st_mtime_ns == before
    assert json.loads(again)["median"] == pytest.approx(json.loads(said)["median"], abs=0.01)
    assert measure(source, "--format", suffix, "--near", 1)[0] == 0
    assert (tmp_path / "out" / f"a.{suffix}").stat().st_mtime_ns != before


def test_every_image_of_a_folder_is_measured_or_named(measure, tmp_path):
    whole = photo(tmp_path / "in" / "a.jpg")
    whole.with_name("b.JFIF").write_bytes(whole.read_bytes())
    with Image.open(whole) as picture:
        for name in ("c.gif", "d.jp2", "e.avif"):
            picture.save(tmp_path / "in" / name)
    (tmp_path / "in" / "f.psd").write_bytes(b"8BPS")
    code, said, errors = measure(tmp_path / "in")
    assert code == 1
    assert "5 of 6 images measured, 1 skipped" in said
    assert "f.psd is an image of a format that Leadline does not read" in errors


def test_a_folder_of_many_formats_is_measured_or_named(measure, tmp_path, shared):
    inside = sorted((shared / "cases" / "C12" / "mix").iterdir())
    _, said, errors = measure(shared / "cases" / "C12" / "mix")
    measured = {Path(line.partition(": ")[0]).name for line in errors.splitlines() if not line.startswith("skipped")}
    assert f" of {len(inside)} images" in said
    for path in inside:
        assert path.name in measured or f"{path.name}" in errors


def test_no_photograph_is_replaced_by_the_depth_of_another(measure, tmp_path):
    cat = photo(tmp_path / "in" / "cat.png")
    before = cat.read_bytes()
    photo(tmp_path / "in" / "cat.jpg", 10, 10)
    code, said, errors = measure(tmp_path / "in" / "cat.jpg", out=tmp_path / "in")
    assert code == 1
    assert cat.read_bytes() == before
    assert "cat.png is there, and this Leadline did not write it: choose another --out" in errors
    code, said, _ = measure(tmp_path / "in", out=tmp_path / "in")
    assert code == 1
    assert cat.read_bytes() == before
    assert "0 of 2 images measured, 2 skipped" in said


def test_the_picture_of_one_photograph_never_replaces_the_depth_of_another(measure, tmp_path):
    photo(tmp_path / "in" / "a.jpg")
    photo(tmp_path / "in" / "a.colour.jpg", 10, 10)
    code, _, errors = measure(tmp_path / "in")
    assert code == 1
    assert "a.jpg would overwrite the depth of" in errors
    assert names(tmp_path / "out") == ["a.colour.colour.png", "a.colour.png"]
    assert read_depth(tmp_path / "out" / "a.colour.png").depth.shape == (1, 10, 10)


def test_names_that_differ_in_case_only_are_one_as_they_are_on_many_disks(measure, tmp_path):
    photo(tmp_path / "in" / "a.JPG")
    photo(tmp_path / "in" / "A.jpg")
    code, said, errors = measure(tmp_path / "in")
    assert code == 1
    assert "1 of 2 images measured" in said
    assert "would overwrite the depth of" in errors


def test_depth_of_another_photograph_is_replaced_only_if_asked(measure, tmp_path):
    photo(tmp_path / "x" / "a.jpg")
    photo(tmp_path / "y" / "a.jpg", 10, 10)
    assert measure(tmp_path / "x")[0] == 0
    code, _, errors = measure(tmp_path / "y")
    assert code == 1
    assert "--overwrite" in errors
    assert read_depth(tmp_path / "out" / "a.png").depth.shape == (1, 30, 50)
    assert measure(tmp_path / "y", "--overwrite")[0] == 0
    assert read_depth(tmp_path / "out" / "a.png").depth.shape == (1, 10, 10)


def test_a_link_where_depth_should_go_is_not_replaced(measure, tmp_path):
    source = photo(tmp_path / "in" / "a.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(tmp_path / "nowhere")
    assert measure(source)[0] == 1
    assert (tmp_path / "out" / "a.png").is_symlink()


def test_what_is_measured_is_not_measured_again(measure, tmp_path, model):
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        photo(tmp_path / "in" / name)
    out = tmp_path / "out"

    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}

    first = measure(tmp_path / "in", "--json")[1]
    before = times()
    code, said, _ = measure(tmp_path / "in")
    assert code == 0
    assert "4 of 4 images measured (4 of them before), 0 skipped" in said
    assert times() == before
    for line, again in zip(first.splitlines(), measure(tmp_path / "in", "--json")[1].splitlines(), strict=True):
        old, new = json.loads(line), json.loads(again)
        assert {**old, "min": 0, "median": 0, "max": 0} == {**new, "min": 0, "median": 0, "max": 0}
        assert new["median"] == pytest.approx(old["median"], abs=1e-3)

    photo(tmp_path / "in" / "a.jpg", 20, 20)
    (out / "b.png").write_bytes((out / "b.png").read_bytes()[:-30])
    (out / "c.colour.png").unlink()
    picture = out / "d.colour.png"
    picture.write_bytes(picture.read_bytes()[:-40])
    photo(tmp_path / "in" / "e.jpg")
    photo(tmp_path / "in" / "f.jpg")
    assert "6 of 6 images measured, 0 skipped" in measure(tmp_path / "in")[1]
    Image.open(picture).verify()
    (tmp_path / "in" / "f.jpg").unlink()
    assert read_depth(out / "a.png").depth.shape == (1, 20, 20)
    assert "5 of 5 images measured, 0" in measure(tmp_path / "in", "--field-of-view", 50)[1]
    assert "5 of 5 images measured, 0" in measure(tmp_path / "in", "--field-of-view", 50, "--overwrite")[1]
    assert "(5 of them before)" in measure(tmp_path / "in", "--field-of-view", 50)[1]


def test_other_weights_measure_again(measure, tmp_path):
    source = photo(tmp_path / "a.jpg")
    assert measure(source)[0] == 0
    torch.manual_seed(1)
    save(build("cnn", size="tiny", encoder="test_efficientnet", input_size=(64, 64)).eval(), tmp_path / "other")
    assert main(["predict", str(source), "--model", str(tmp_path / "other"), "--out", str(tmp_path / "out")]) == 0
    assert "1 of 1 images measured, 0" in measure(source)[1]


def test_the_maps_in_a_folder_are_not_measured_when_it_is_measured_again(measure, tmp_path):
    for name in ("a.jpg", "b.png"):
        photo(tmp_path / "in" / name)
    maps = tmp_path / "in" / "maps"
    for suffix in ("png", "tiff", "npz", "pfm"):
        assert measure(tmp_path / "in", "--format", suffix, out=maps)[0] == 0
    before = names(tmp_path / "in")
    code, said, _ = measure(tmp_path / "in", out=maps)
    assert code == 0
    assert "2 of 2 images measured" in said
    assert "6 written by Leadline" in said
    assert names(tmp_path / "in") == before
    code, _, errors = measure(maps / "a.png")
    assert code == 1
    assert "was written by Leadline, and is no photograph" in errors


def test_a_picture_says_in_its_text_what_it_is(measure, tmp_path):
    measure(photo(tmp_path / "a.jpg"))
    assert read_leadline_metadata(tmp_path / "out" / "a.colour.png")["picture"] == "depth of a.png in colours"
    assert "picture" not in read_leadline_metadata(tmp_path / "out" / "a.png")
    assert not read_leadline_metadata(tmp_path / "a.jpg")


def test_what_a_killed_run_left_is_swept_and_never_measured(measure, tmp_path):
    source = photo(tmp_path / "in" / "a.jpg")
    out = tmp_path / "in" / "out"
    left = [out / ".a.4711.half.png", out / ".a.colour.4711.half.png"]
    out.mkdir()
    for path in left:
        path.write_bytes(photo(tmp_path / "x.png").read_bytes())
    kept = out / ".a.half.png"
    kept.write_bytes(b"of somebody else")
    code, said, _ = measure(tmp_path / "in", out=out)
    assert code == 0
    assert "1 of 1 images" in said
    assert not any(path.exists() for path in left)
    assert kept.exists()
    assert source.exists()


def test_two_runs_into_one_folder_are_not_mixed(measure, tmp_path):
    source = photo(tmp_path / "a.jpg")
    with file_lock(tmp_path / "out" / ".lock", "measuring"):
        code, _, errors = measure(source)
    assert code == 1
    assert f"Another process is writing to {tmp_path / 'out'}" in errors
    assert measure(source)[0] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_whole_files_and_continues(measure, folder, tmp_path, number, code):
    for name in range(60):
        photo(tmp_path / "in" / f"{name:02}.png", 500, 500)
    out = tmp_path / "out"
    # A process of its own, as users interrupt it: here a signal could also end what the tests have left behind.
    command = [sys.executable, "-m", "leadline", "predict", str(tmp_path / "in"), "--model", folder, "--out", str(out)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells let what they start in the background ignore interrupts, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        while process.poll() is None and not list(out.glob("*.colour.png")):
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    if number == signal.SIGINT:
        assert "interrupted; the same command continues" in errors
    assert not [path for path in out.iterdir() if ".half" in path.name]
    done, said, _ = measure(tmp_path / "in")
    assert done == 0
    assert "60 of 60 images measured" in said
    assert 1 <= int(said.partition("(")[2].split()[0]) < 60
    for path in out.glob("??.png"):
        assert read_numbers(path)[0].shape == (500, 500)


def test_a_photograph_that_does_not_fit_the_memory_is_named_and_the_others_measured(measure, tmp_path):
    flat = Image.new("RGB", (6000, 4000))
    flat.save(tmp_path / "large.png")
    photo(tmp_path / "small.png")
    measure(tmp_path / "small.png", out=tmp_path / "warm")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 250_000_000, hard))
    try:
        code, said, errors = measure(tmp_path / "large.png", tmp_path / "small.png")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert code == 1
    assert "1 of 2 images measured, 1 skipped" in said
    assert "large.png" in errors
    assert "memory" in errors


def test_a_large_photograph_is_measured_at_its_own_size(measure, tmp_path):
    Image.new("L", (5600, 4600), 99).save(tmp_path / "large.png")
    code, said, _ = measure(tmp_path / "large.png", "--fx", 5000, "--json")
    assert code == 0
    told = json.loads(said)
    assert (told["height"], told["width"], told["field_of_view"]) == (4600, 5600, 58.5)
    stored = read_depth(tmp_path / "out" / "large.png")
    assert stored.depth.shape == (1, 4600, 5600)
    assert stored.intrinsics is not None
    assert stored.intrinsics.tolist() == [5000, 5000, 2799.5, 2299.5]
    code, said, _ = measure(tmp_path / "large.png", "--json")
    assert json.loads(said)["assumed_camera"] == "63 degrees across"


def test_names_that_are_no_text_are_measured_and_said(measure, tmp_path):
    source = Path(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.png"))
    photo(tmp_path / "a.png").rename(source)
    code, said, errors = measure(tmp_path, out=tmp_path / "out")
    assert code == 0
    assert "caf\\udce9.png" in errors
    code, said, _ = measure(source, "--json", out=tmp_path / "out")
    assert code == 0
    told = json.loads(said)
    assert Path(told["image"]) == source
    assert Path(told["depth"]).is_file()
    maps = tmp_path / "out"
    assert measure(source, "--scale-from", maps, out=tmp_path / "scaled")[0] == 0


def test_no_bar_is_drawn_where_there_is_no_terminal(measure, tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        photo(tmp_path / "in" / name)
    errors = measure(tmp_path / "in")[2]
    assert "\r" not in errors
    assert len(errors.splitlines()) == 3


@pytest.mark.parametrize("size", [(240, 1), (20, 1), (1, 60), (1, 1)])
def test_a_line_of_pixels_is_answered_as_by_the_exported_file(size):
    """PyTorch smooths to a single column of one number."""
    pixels = np.linspace(0, 1, size[0] * size[1], dtype=np.float32).reshape(*size, 1).repeat(3, axis=2)
    eight = (pixels * 255).round().astype(np.uint8)
    by_torch, by_file = (
        predict(load_predictor(DEFAULT, backend=backend, says=False), eight).numpy() for backend in ("torch", "onnx")
    )
    np.testing.assert_allclose(by_torch, by_file, atol=2e-3)
