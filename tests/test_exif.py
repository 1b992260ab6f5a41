"""Cameras: what EXIF says of them is used where it can be true, and what contradicts it is said."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from leadline.cli.main import main
from leadline.core.errors import BadInput, UnreadableFile
from leadline.data.datasets import open_data
from leadline.inference.predict import predict
from leadline.io.exif import CameraInfo, camera_from_exif
from leadline.io.images import read_camera, read_camera_info, read_image, read_photograph
from leadline.models.registry import build
from leadline.models.saving import save
from leadline.reporting.report import photographs
from leadline.serve.measurement import explain, measure

FILM, FOCAL, PLANE, UNIT, WIDTH, HEIGHT = 41989, 37386, 41486, 41488, 40962, 40963


def photo(path: Path, tags: dict[int, object], size: tuple[int, int] = (320, 240), **words: Any) -> CameraInfo:
    """The camera of a JPEG of (width, height) with these tags among its camera's settings."""
    exif = Image.Exif()
    exif.get_ifd(0x8769).update(tags)
    if orientation := words.pop("orientation", 0):
        exif[274] = orientation
    Image.new("RGB", size).save(path / "photo.jpg", exif=exif, **words)
    camera = read_camera_info(path / "photo.jpg", read_image(path / "photo.jpg"))
    whole = read_photograph(path / "photo.jpg", panorama="flat").camera
    assert (whole.source, whole.doubts, whole.is_panorama) == (camera.source, camera.doubts, camera.is_panorama)
    return camera


def focal(camera: CameraInfo) -> float:
    assert camera.intrinsics is not None
    return camera.intrinsics[0].item()


def test_the_film_equivalent_gives_the_focal_length(tmp_path: Path) -> None:
    camera = photo(tmp_path, {FILM: 26})
    assert focal(camera) == pytest.approx(26 / math.hypot(36, 24) * 400)
    assert (camera.source, camera.doubts) == ("from EXIF", ())
    assert_close(read_camera(tmp_path / "photo.jpg", read_image(tmp_path / "photo.jpg")), camera.intrinsics)


def test_the_focal_plane_gives_it_where_there_is_no_film_equivalent(tmp_path: Path) -> None:
    camera = photo(tmp_path, {FOCAL: 50.0, PLANE: 4000 * 25.4 / 22.4, UNIT: 2, WIDTH: 4000, HEIGHT: 3000})
    assert focal(camera) == pytest.approx(50 / 22.4 * 320, rel=1e-4)
    assert camera.source == "from EXIF (focal plane)"
    for unit, per_millimetre in ((3, 10.0), (4, 1.0)):
        tags = {FOCAL: 50.0, PLANE: 4000 * per_millimetre / 22.4, UNIT: unit, WIDTH: 4000, HEIGHT: 3000}
        assert focal(photo(tmp_path, tags)) == pytest.approx(50 / 22.4 * 320, rel=1e-4)


def test_the_focal_plane_counts_along_the_sensor_however_it_was_held(tmp_path: Path) -> None:
    tags = {FOCAL: 50.0, PLANE: 4000 * 25.4 / 22.4, UNIT: 2, WIDTH: 4000, HEIGHT: 3000}
    upright, turned = photo(tmp_path, tags), photo(tmp_path, tags, orientation=6)
    assert focal(turned) == focal(upright)
    assert "the picture has 240 × 320" in turned.doubts[0]


def test_a_real_cameras_photograph_without_film_equivalent(shared: Path) -> None:
    path = shared / "cases" / "C09" / "canon200.jpg"
    camera = read_camera_info(path, read_image(path))
    assert focal(camera) == pytest.approx(200 * 6177.28 / 25.4 * 320 / 5472, rel=1e-4)
    assert "5472 × 3648 pixels, and the picture has 320 × 240, of another aspect" in camera.doubts[0]


@pytest.mark.parametrize("film", [4, 3000, 65535])
def test_absurd_focal_lengths_are_not_believed_and_said(tmp_path: Path, film: int) -> None:
    camera = photo(tmp_path, {FILM: film})
    assert camera.intrinsics is None
    assert camera.source == "unknown"
    assert f"EXIF says {film} mm in 35 mm film" in camera.doubts[0]
    assert "ignored" in camera.doubts[0]


def test_an_absurd_film_equivalent_gives_way_to_the_focal_plane(tmp_path: Path) -> None:
    tags = {FILM: 65535, FOCAL: 50.0, PLANE: 4000 * 25.4 / 22.4, UNIT: 2, WIDTH: 4000, HEIGHT: 3000}
    camera = photo(tmp_path, tags)
    assert focal(camera) == pytest.approx(50 / 22.4 * 320, rel=1e-4)
    assert "65535 mm in 35 mm film" in camera.doubts[0]


def test_a_crop_that_kept_its_tags_is_said(tmp_path: Path) -> None:
    by_aspect = photo(tmp_path, {FILM: 26, WIDTH: 4000, HEIGHT: 3000}, (300, 300))
    by_count = photo(tmp_path, {FILM: 26, WIDTH: 4000, HEIGHT: 3000}, (320, 240))
    unlike_any_camera = photo(tmp_path, {FILM: 26}, (320, 280))
    by_sensor = photo(tmp_path, {FILM: 26, FOCAL: 50.0, PLANE: 4000 * 25.4 / 22.4, WIDTH: 320, HEIGHT: 240})
    for camera in (by_aspect, by_count, unlike_any_camera, by_sensor):
        assert camera.intrinsics is not None
        assert len(camera.doubts) == 1
        assert "if it was cropped since, the metres are wrong" in camera.doubts[0]
    assert "4000 × 3000 pixels, and the picture has 320 × 240" in by_count.doubts[0]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_photograph_as_it_was_taken_leaves_no_doubt(tmp_path: Path, orientation: int) -> None:
    assert photo(tmp_path, {FILM: 26, WIDTH: 320, HEIGHT: 240}, orientation=orientation).doubts == ()
    # Tools that turn the pixels often leave the recorded sides as they were.
    assert photo(tmp_path, {FILM: 26, WIDTH: 240, HEIGHT: 320}).doubts == ()


def test_no_camera_leaves_no_doubt(tmp_path: Path) -> None:
    camera = photo(tmp_path, {WIDTH: 4000, HEIGHT: 3000}, (320, 300))
    assert (camera.intrinsics, camera.source, camera.doubts) == (None, "unknown", ())


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" %s></rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_a_panorama_has_no_camera_and_says_so(tmp_path: Path) -> None:
    marked = photo(tmp_path, {FILM: 26}, (400, 200), xmp=XMP % b'GPano:ProjectionType="equirectangular"')
    by_telephone = photo(tmp_path, {FILM: 26, 41985: 6}, (900, 200))
    for camera in (marked, by_telephone):
        assert camera.intrinsics is None
        assert camera.is_panorama
        assert "panorama" in camera.doubts[0]
    assert not photo(tmp_path, {FILM: 26}, xmp=XMP % b"").is_panorama
    other_prefix = XMP.replace(b"GPano", b"pano") % b'pano:ProjectionType="cylindrical"'
    assert photo(tmp_path, {}, (400, 200), xmp=other_prefix).is_panorama


def test_a_panorama_is_refused_wherever_a_photograph_is_read_and_flat_only_where_that_is_stated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    photo(folder, {FILM: 26}, (400, 200), xmp=XMP % b'GPano:ProjectionType="equirectangular"')
    path = folder / "photo.jpg"
    command = ["predict", str(folder), "--out", str(tmp_path / "out")]
    assert main(command) == 1
    assert "photo.jpg is a panorama" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.png"))
    model = build("cnn", size="tiny", input_size=(64, 64)).eval()
    with Image.open(path) as opened:
        for image in (path, opened):
            with pytest.raises(UnreadableFile, match=r"panorama.*cut a view out of it.*panorama=flat"):
                predict(model, image)
        # A view that is cut out in memory is what the message asks for.
        assert predict(model, opened.crop((100, 50, 300, 150))).shape == (100, 200)
    with pytest.raises(UnreadableFile, match="panorama"):
        _ = open_data(f"photos:{folder}", "train")[0]
    with pytest.raises(BadInput, match="photos option panorama: 'round' is none of refuse, flat"):
        open_data(f"photos:{folder},panorama=round", "train")
    assert "photo.jpg is a panorama" in photographs(model, [path]).prose

    assert open_data(f"photos:{folder},panorama=flat", "train")[0].size == (200, 400)
    for camera in ([], ["--field-of-view", "60"], ["--fx", "300"]):
        assert main([*command, "--panorama", "flat", *camera]) == 0
        assert "It is a panorama" in capsys.readouterr().err
    flat = predict(model, path, [300, 300, 199.5, 99.5], panorama="flat")
    assert "It is a panorama" in flat.provenance["doubts"]
    # The command without the option is another request, and not done.
    assert main(command) == 1


def test_an_implausible_camera_is_said_to_be_ignored_wherever_a_photograph_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path, {FILM: 3000})
    path, ignored = tmp_path / "photo.jpg", "EXIF says 3000 mm in 35 mm film, a field of view of 0.66 degrees: ignored."
    network = build("cnn", size="tiny", input_size=(64, 64))
    save(network, tmp_path / "model")
    command = ["cloud", str(path), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "cloud.ply")]
    assert main(command) == 0
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"{ignored} The camera is a guess, 65.4 degrees across: give --field-of-view")
    # The depth map remembers it.
    assert main(["predict", str(path), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "depth")]) == 0
    assert ignored in capsys.readouterr().err
    for words in ([], ["--image", str(path)]):
        assert main(["cloud", str(tmp_path / "depth" / "photo.png"), *words, *command[4:]]) == 0
        (told,) = capsys.readouterr().err.splitlines()
        assert told.count(ignored) == 1
    for source in (path, tmp_path / "depth" / "photo.png"):
        words = [] if source == path else command[4:]
        assert main(["cloud", str(source), *(words or command[2:]), "--field-of-view", "60"]) == 0
        assert "ignored" not in capsys.readouterr().err
    assert ignored in explain(measure(network, path))
    assert "ignored" not in explain(measure(network, path, 60))
    assert f"photo.jpg: {ignored}" in photographs(network, [path]).prose
    with pytest.warns(UserWarning, match=f"photo.jpg: {ignored}"):
        assert open_data(f"photos:{tmp_path}", "train")[0].intrinsics is None


def test_a_cloud_of_the_first_picture_of_several_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(build("cnn", size="tiny", input_size=(64, 64)), tmp_path / "model")
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("grey", "red")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    words = ["--model", str(tmp_path / "model"), "--out", str(tmp_path / "cloud.ply"), "--field-of-view", "60"]
    assert main(["cloud", str(tmp_path / "moving.gif"), *words]) == 0
    assert "The file holds 2 pictures: this is the first one." in capsys.readouterr().err


def test_the_camera_of_a_reduced_photograph_is_that_of_the_whole(tmp_path: Path) -> None:
    photo(tmp_path, {FILM: 26})
    path = tmp_path / "photo.jpg"
    whole, reduced = read_photograph(path), read_photograph(path, max_pixels=20_000)
    assert reduced.image.shape == (3, 120, 160)
    assert reduced.is_reduced
    assert not whole.is_reduced
    assert whole.camera.intrinsics is not None
    assert whole.full_intrinsics is not None
    assert_close(reduced.full_intrinsics, whole.camera.intrinsics)
    assert_close(whole.full_intrinsics, whole.camera.intrinsics)
    assert read_photograph(path).full_intrinsics is not None


VALUES = st.one_of(
    st.integers(0, 70_000), st.floats(0, 1e9), st.binary(max_size=4), st.text("ab1", max_size=4), st.just((1, 2))
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from([FILM, FOCAL, PLANE, UNIT, WIDTH, HEIGHT, 41985]), VALUES))
def test_whatever_exif_holds_the_camera_is_credible_or_unknown(tags: dict[int, object]) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769).update(tags)
    camera = camera_from_exif(exif, b"", (240, 320), (240, 320))
    assert camera.intrinsics is None or 5 <= 2 * math.degrees(math.atan(160 / focal(camera))) <= 150
