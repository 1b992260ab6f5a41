"""Files: every number comes back with its unit, and what cannot be read or written says why."""

import os
import resource
import subprocess
import sys
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.testing import assert_close

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.core.sample import ImageTensor
from leadline.io.atomic import atomic_folder, atomic_write
from leadline.io.depth_maps import DepthMap, read_depth, write_depth
from leadline.io.images import read_image, write_image

EXACT = (".npz", ".pfm", ".tiff")


def arrow(height: int = 6, width: int = 8) -> np.ndarray:
    """Colours that differ in every corner, so that no turn, mirror or channel swap goes unseen."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 20, columns * 20, rows * columns * 3 + 30], -1).astype(np.uint8)


def as_image(pixels: np.ndarray, top: int = 255) -> ImageTensor:
    return torch.from_numpy(pixels.astype(np.float32) / top).permute(2, 0, 1)


def depth_map(kind: DepthKind = DepthKind.METRIC, **fields: object) -> DepthMap:
    draw = torch.Generator().manual_seed(0)
    depth = torch.rand(1, 5, 7, generator=draw) * 9 + 0.5 - 5 * (kind == DepthKind.RELATIVE)
    valid = torch.rand(1, 5, 7, generator=draw) > 0.3
    return DepthMap(depth, valid, kind, **fields)  # pyright: ignore[reportArgumentType]


# Photographs


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_comes_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(arrow()).save(tmp_path / "held.png", exif=exif)
    with Image.open(tmp_path / "held.png") as picture:
        upright = np.array(ImageOps.exif_transpose(picture))
    assert_close(read_image(tmp_path / "held.png"), as_image(upright))
    Image.fromarray(np.kron(arrow(), np.ones((8, 8, 1), np.uint8))).save(tmp_path / "held.jpg", exif=exif)
    assert read_image(tmp_path / "held.jpg").shape[1:] == (8 * upright.shape[0], 8 * upright.shape[1])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_grey_and_palette_come_as_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(arrow()).convert(mode)
    picture.save(tmp_path / "photo.png")
    assert_close(read_image(tmp_path / "photo.png"), as_image(np.array(picture.convert("RGB"))))


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    alpha = np.full((6, 8, 1), 255, np.uint8)
    alpha[0], alpha[1] = 0, 51
    Image.fromarray(np.concatenate([arrow(), alpha], -1)).save(tmp_path / "photo.png")
    image, opaque = read_image(tmp_path / "photo.png"), as_image(arrow())
    assert_close(image[:, 0], torch.ones(3, 8))
    assert_close(image[:, 1], 0.2 * opaque[:, 1] + 0.8)
    assert_close(image[:, 2:], opaque[:, 2:])


def test_a_transparent_palette_colour_lies_on_white(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "photo.gif", transparency=0)
    assert_close(read_image(tmp_path / "photo.gif")[:, 0], torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]))


@pytest.mark.parametrize(("suffix", "channels"), list(product([".png", ".tif"], [1, 3, 4])))
def test_sixteen_bits_keep_all_their_steps(tmp_path: Path, suffix: str, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (6, 8, channels), dtype=np.uint16)
    pixels[..., 3:] = 65535
    assert cv2.imwrite(str(tmp_path / f"photo{suffix}"), pixels)
    expected = pixels[..., [2, 1, 0]] if channels > 1 else pixels.repeat(3, -1)
    assert_close(read_image(tmp_path / f"photo{suffix}"), as_image(expected, 65535))


def test_sixteen_bit_portable_greymap_keeps_its_steps(tmp_path: Path) -> None:
    (tmp_path / "photo.pgm").write_bytes(b"P5 2 1 65535\n" + np.array([257, 65535], ">u2").tobytes())
    assert_close(read_image(tmp_path / "photo.pgm")[0], torch.tensor([[257 / 65535, 1.0]]))


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_comes_as_the_colours_it_prints(tmp_path: Path, suffix: str) -> None:
    """Pillow writes CMYK JPEG inverted and marked by Adobe's tag, as Photoshop does."""
    red = Image.new("RGB", (16, 16), (250, 20, 10)).convert("CMYK")
    red.save(tmp_path / f"photo{suffix}", quality=95)
    expected = (torch.tensor([250, 20, 10]) / 255).view(3, 1, 1).expand(3, 16, 16)
    assert_close(read_image(tmp_path / f"photo{suffix}"), expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_float_tiff_is_read_as_it_is(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(0).random((6, 8, channels), np.float32)
    assert cv2.imwrite(str(tmp_path / "photo.tif"), pixels)
    expected = pixels[..., ::-1] if channels > 1 else pixels.repeat(3, -1)
    assert_close(read_image(tmp_path / "photo.tif"), as_image(expected, 1))


def test_floats_beyond_the_unit_range_are_no_photograph(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "photo.tif"), np.full((6, 8, 3), 200, np.float32))
    with pytest.raises(UnreadableFile, match=r"go from 200 to 200.*must be in \[0, 1\]"):
        read_image(tmp_path / "photo.tif")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (6000, 8000)])
def test_any_size_of_photograph_is_read(tmp_path: Path, height: int, width: int) -> None:
    Image.new("L", (width, height), 102).save(tmp_path / "photo.jpg")
    image = read_image(tmp_path / "photo.jpg")
    assert image.shape == (3, height, width)
    assert image[:, -1, -1].tolist() == pytest.approx([0.4] * 3)


def test_a_monster_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "photo.png")
    with pytest.raises(UnreadableFile, match=r"photo\.png has more than 178 megapixels"):
        read_image(tmp_path / "photo.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_a_truncated_photograph_is_named(tmp_path: Path, suffix: str) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UnreadableFile, match=rf"cut\{suffix}"):
        read_image(cut)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_truncated_sixteen_bit_photograph_is_named(tmp_path: Path, suffix: str) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    cv2.imwrite(str(whole), np.random.default_rng(0).integers(0, 65536, (64, 64, 3), dtype=np.uint16))
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UnreadableFile, match=rf"cut\{suffix}"):
        read_image(cut)


@pytest.mark.parametrize(("content", "reason"), [(b"", "is empty"), (b"<html>not found</html>", "is no image")])
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(content)
    with pytest.raises(UnreadableFile, match=rf"photo\.jpg {reason}"):
        read_image(tmp_path / "photo.jpg")


def test_a_missing_photograph_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"No file .*absent\.jpg"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(BadInput, match="is a folder"):
        read_image(tmp_path)


def test_a_written_picture_comes_back(tmp_path: Path) -> None:
    image = as_image(arrow(64, 80) // 8)
    write_image(tmp_path / "made" / "picture.png", image)
    assert_close(read_image(tmp_path / "made" / "picture.png"), image)
    write_image(tmp_path / "picture.jpg", image)
    assert (read_image(tmp_path / "picture.jpg") - image).abs().mean() < 0.02
    with pytest.raises(BadInput, match=r"choose \.png or \.jpg"):
        write_image(tmp_path / "picture.bmp", image)


# Depth


@pytest.mark.parametrize(("suffix", "kind"), list(product(EXACT, DepthKind)))
def test_float_formats_give_back_the_same_numbers_and_mask(tmp_path: Path, suffix: str, kind: DepthKind) -> None:
    written = depth_map(kind)
    write_depth(tmp_path / f"map{suffix}", written)
    read = read_depth(tmp_path / f"map{suffix}", kind=kind if suffix == ".pfm" else None)
    assert torch.equal(read.depth, written.depth.where(written.valid, 0))
    assert torch.equal(read.valid, written.valid)
    assert read.kind == kind


@pytest.mark.parametrize("depth_scale", [1000.0, 256.0, 5000.0])
def test_a_png_gives_back_the_same_metres_to_half_a_step(tmp_path: Path, depth_scale: float) -> None:
    written = depth_map()
    write_depth(tmp_path / "map.png", written, depth_scale=depth_scale)
    read = read_depth(tmp_path / "map.png")
    assert torch.equal(read.valid, written.valid)
    assert (read.depth - written.depth)[written.valid].abs().max() <= 0.5 / depth_scale + 1e-6
    write_depth(tmp_path / "again.png", read, depth_scale=depth_scale)
    again = read_depth(tmp_path / "again.png")
    assert torch.equal(again.depth, read.depth)


def test_opencv_reads_our_millimetres(tmp_path: Path) -> None:
    written = depth_map()
    write_depth(tmp_path / "map.png", written)
    steps = cv2.imread(str(tmp_path / "map.png"), cv2.IMREAD_UNCHANGED)
    assert steps is not None
    assert steps.dtype == np.uint16
    expected = (written.depth * 1000).round().where(written.valid, 0)
    assert_close(torch.from_numpy(steps.astype(np.float32))[None], expected)


@pytest.mark.parametrize("suffix", [".pfm", ".tiff"])
def test_opencv_reads_our_floats(tmp_path: Path, suffix: str) -> None:
    written = depth_map()
    write_depth(tmp_path / f"map{suffix}", written)
    values = cv2.imread(str(tmp_path / f"map{suffix}"), cv2.IMREAD_UNCHANGED)
    assert values is not None
    assert torch.equal(torch.from_numpy(values)[None][written.valid], written.depth[written.valid])
    assert not np.isfinite(values[~written.valid[0].numpy()]).any()


@pytest.mark.parametrize("kind", [DepthKind.SCALE_FREE, DepthKind.RELATIVE])
def test_depth_without_a_unit_fills_the_sixteen_bits_and_says_so(tmp_path: Path, kind: DepthKind) -> None:
    written = depth_map(kind)
    write_depth(tmp_path / "map.png", written)
    read = read_depth(tmp_path / "map.png")
    span = (written.depth[written.valid].max() - written.depth[written.valid].min()).item()
    assert torch.equal(read.valid, written.valid)
    assert (read.depth - written.depth)[written.valid].abs().max() <= max(span, 10) / 65534
    with Image.open(tmp_path / "map.png") as picture:
        assert np.array(picture).max() == 65535
        assert picture.info["leadline:kind"] == kind
        assert "up to" in picture.info["leadline:unit"]


@pytest.mark.parametrize("suffix", [".npz", ".png", ".tiff"])
def test_intrinsics_and_provenance_travel_with_the_depth(tmp_path: Path, suffix: str) -> None:
    intrinsics = torch.tensor([518.8579, 519.46961, 324.58245, 252.73617])
    write_depth(tmp_path / f"map{suffix}", depth_map(intrinsics=intrinsics, provenance={"model": "größe 3 → m"}))
    read = read_depth(tmp_path / f"map{suffix}")
    assert read.intrinsics is not None
    assert torch.equal(read.intrinsics, intrinsics)
    assert read.provenance == {"model": "größe 3 → m"}


def test_a_png_states_its_unit_in_its_own_text(tmp_path: Path) -> None:
    write_depth(tmp_path / "map.png", depth_map(intrinsics=torch.tensor([500.0, 501.0, 3.5, 2.5])))
    with Image.open(tmp_path / "map.png") as picture:
        words = {key: text for key, text in picture.info.items() if str(key).startswith("leadline:")}
    assert words == {
        "leadline:kind": "metric",
        "leadline:unit": "metres",
        "leadline:depth_scale": "1000.0",
        "leadline:intrinsics": "500.0 501.0 3.5 2.5",
    }


@pytest.mark.parametrize(("suffix", "kind"), list(product([".png", *EXACT], DepthKind)))
def test_a_map_without_any_measurement_comes_back(tmp_path: Path, suffix: str, kind: DepthKind) -> None:
    nothing = DepthMap(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3, dtype=torch.bool), kind)
    write_depth(tmp_path / f"map{suffix}", nothing)
    read = read_depth(tmp_path / f"map{suffix}", kind=kind)
    assert not read.valid.any()
    assert torch.equal(read.depth, nothing.depth)


def test_a_constant_map_and_one_nearer_than_a_step_stay_measured(tmp_path: Path) -> None:
    flat = DepthMap(torch.full((1, 1, 1), -3.0), torch.ones(1, 1, 1, dtype=torch.bool), DepthKind.RELATIVE)
    write_depth(tmp_path / "flat.png", flat)
    assert read_depth(tmp_path / "flat.png").depth.item() == -3
    near = DepthMap(torch.full((1, 1, 1), 1e-5), torch.ones(1, 1, 1, dtype=torch.bool))
    write_depth(tmp_path / "near.png", near)
    assert read_depth(tmp_path / "near.png").depth.item() == pytest.approx(0.001)


def test_a_foreign_png_must_be_given_its_unit(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "map.png"), np.array([[0, 512], [1280, 65535]], np.uint16))
    with pytest.raises(BadInput, match=r"map\.png does not say its unit.*1000.*256 for KITTI.*5000 for TUM"):
        read_depth(tmp_path / "map.png")
    kitti = read_depth(tmp_path / "map.png", depth_scale=256.0)
    assert kitti.depth.tolist() == [[[0, 2], [5, 65535 / 256]]]
    assert kitti.valid.tolist() == [[[False, True], [True, True]]]
    assert kitti.kind == DepthKind.METRIC
    assert read_depth(tmp_path / "map.png", kind="relative").depth.max() == 65535


@pytest.mark.parametrize("suffix", [".npz", ".pfm", ".tiff"])
def test_foreign_floats_must_be_given_their_unit(tmp_path: Path, suffix: str) -> None:
    metres = np.array([[0.5, np.nan, np.inf], [-1, 0, 2]], np.float32)
    if suffix == ".npz":
        np.savez(tmp_path / "map.npz", depth=metres)
    else:
        cv2.imwrite(str(tmp_path / f"map{suffix}"), metres)
    path = tmp_path / f"map{suffix}"
    with pytest.raises(BadInput, match="does not say its unit: state kind=metric"):
        read_depth(path)
    assert read_depth(path, kind="metric").depth.tolist() == [[[0.5, 0, 0], [0, 0, 2]]]
    assert read_depth(path, kind="metric").valid.tolist() == [[[True, False, False], [False, False, True]]]
    assert read_depth(path, depth_scale=2.0).depth.max() == 1
    assert read_depth(path, kind="relative").valid.tolist() == [[[True, False, False], [True, True, True]]]


def test_a_big_endian_pfm_is_read(tmp_path: Path) -> None:
    (tmp_path / "map.pfm").write_bytes(b"Pf\n2 1\n1.0\n" + np.array([1.5, 2.5], ">f4").tobytes())
    assert read_depth(tmp_path / "map.pfm", kind="metric").depth.tolist() == [[[1.5, 2.5]]]


def test_a_published_disparity_map_lies_on_its_photograph(shared: Path) -> None:
    """FlyingThings3D ends the lines of its header with spaces, which OpenCV refuses."""
    folder = shared / "data" / "formats" / "sceneflow"
    disparity = read_depth(folder / "disparity.pfm", kind="relative").depth[0]
    bottom_up = np.frombuffer((folder / "disparity.pfm").read_bytes()[-540 * 960 * 4 :], "<f4").reshape(540, 960)
    assert torch.equal(disparity, torch.from_numpy(np.flipud(bottom_up).copy()))
    assert disparity.shape == read_image(folder / "left.png").shape[1:]


def test_what_contradicts_the_files_own_words_is_refused(tmp_path: Path) -> None:
    write_depth(tmp_path / "map.png", depth_map())
    # Its own unit counts: folders may hold maps of several scales.
    assert torch.equal(
        read_depth(tmp_path / "map.png", depth_scale=256.0).depth, read_depth(tmp_path / "map.png").depth
    )
    with pytest.raises(BadInput, match="is metric, and not relative: state kind=metric"):
        read_depth(tmp_path / "map.png", kind=DepthKind.RELATIVE)
    assert read_depth(tmp_path / "map.png", depth_scale=1000.0, kind="metric").kind == DepthKind.METRIC


def test_unknown_kinds_scales_and_formats_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "map.png"), np.ones((2, 2), np.uint16))
    with pytest.raises(BadInput, match=r"No kind is called 'inches'. Known kinds: metric, relative, scale_free"):
        read_depth(tmp_path / "map.png", kind="inches")
    with pytest.raises(BadInput, match="depth_scale=0 must be positive"):
        read_depth(tmp_path / "map.png", depth_scale=0.0)
    with pytest.raises(BadInput, match=r"no known depth format: choose one of \.exr, \.h5, \.hdf5, \.heic, "):
        read_depth(tmp_path / "map.jpg")
    with pytest.raises(BadInput, match="no known depth format"):
        write_depth(tmp_path / "map.jpg", depth_map())


def test_eight_bits_are_no_metres(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "map.png"), np.array([[0, 200]], np.uint8))
    with pytest.raises(BadInput, match="has 8 bits, too few for metres"):
        read_depth(tmp_path / "map.png", depth_scale=1000.0)
    assert read_depth(tmp_path / "map.png", kind="relative").depth.tolist() == [[[0, 200]]]


def test_a_coloured_picture_is_no_depth_map(tmp_path: Path) -> None:
    Image.fromarray(arrow()).save(tmp_path / "map.png")
    with pytest.raises(BadInput, match="picture in colour"):
        read_depth(tmp_path / "map.png", depth_scale=1000.0)
    (tmp_path / "map.pfm").write_bytes(b"PF\n1 1\n-1.0\n" + bytes(12))
    with pytest.raises(BadInput, match="picture in colour"):
        read_depth(tmp_path / "map.pfm", kind="metric")


@pytest.mark.parametrize("suffix", [".png", *EXACT])
def test_a_truncated_or_empty_depth_map_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"map{suffix}"
    write_depth(path, DepthMap(torch.rand(1, 64, 64) + 1, torch.ones(1, 64, 64, dtype=torch.bool)))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        path.write_bytes(content)
        with pytest.raises(UnreadableFile, match=rf"map\{suffix}"):
            read_depth(path, kind="metric")


def test_an_archive_without_depth_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "map.npz", disparity=np.ones((2, 2)))
    with pytest.raises(BadInput, match="holds no array `depth`, only disparity"):
        read_depth(tmp_path / "map.npz", kind="metric")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0, 0.0])
def test_depth_that_claims_to_be_valid_and_is_not_is_never_written(tmp_path: Path, wrong: float) -> None:
    depth, valid = torch.ones(1, 2, 3), torch.ones(1, 2, 3, dtype=torch.bool)
    depth[0, 1, 2] = wrong
    with pytest.raises(BadInput, match=r"1 of 6 valid depths .* row 1, column 2"):
        write_depth(tmp_path / "map.png", DepthMap(depth, valid))
    valid[0, 1, 2] = False
    write_depth(tmp_path / "map.png", DepthMap(depth, valid))
    assert read_depth(tmp_path / "map.png").depth[0, 1, 2] == 0


def test_metres_beyond_sixteen_bits_name_what_would_hold_them(tmp_path: Path) -> None:
    far = DepthMap(torch.full((1, 2, 2), 80.0), torch.ones(1, 2, 2, dtype=torch.bool))
    with pytest.raises(BadInput, match=r"80 m × depth_scale=1000 .*: depth_scale=256, or write \.npz or \.tiff"):
        write_depth(tmp_path / "map.png", far, depth_scale=1000.0)
    assert not list(tmp_path.iterdir())
    write_depth(tmp_path / "map.png", far)
    assert torch.equal(read_depth(tmp_path / "map.png").depth, far.depth)


# Whole or not at all


def test_a_failure_leaves_what_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("before")

    def fail() -> None:
        with atomic_write(tmp_path / "a.txt") as half:
            half.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


def test_a_kill_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from leadline.files import swapped
with swapped(Path(sys.argv[1])) as half:
    half.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.txt")], check=False)
    assert not (tmp_path / "a.txt").exists()


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A limit on the size of files refuses bytes in the middle of a file, as a full disk does."""
    write_depth(tmp_path / "map.npz", depth_map())
    noise = DepthMap(torch.rand(1, 200, 200) + 1, torch.ones(1, 200, 200, dtype=torch.bool))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = (tmp_path / "map.npz").read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        for suffix in (".png", *EXACT):
            with pytest.raises(BadInput, match=rf"Cannot write .*map\{suffix}.*free some space there"):
                write_depth(tmp_path / f"map{suffix}", noise)
        with pytest.raises(BadInput, match=r"Cannot write .*photo\.png"):
            write_image(tmp_path / "photo.png", torch.rand(3, 200, 200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["map.npz"]
    assert (tmp_path / "map.npz").read_bytes() == before


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"Cannot write .*choose another folder"):
        write_depth(tmp_path / "file" / "map.png", depth_map())
    with pytest.raises(BadInput, match=r"Cannot write .*choose another folder"), atomic_folder(tmp_path / "file"):
        pass
    if os.geteuid() != 0:  # no folder is closed to root
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(BadInput, match=r"Permission denied.*choose another folder"):
            write_depth(tmp_path / "closed" / "map.png", depth_map())


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "made" / "model") as half:
            (half / "weights").write_text(text)
            (half / "model.json").write_text(text)
        assert [path.name for path in (tmp_path / "made").iterdir()] == ["model"]
        assert (tmp_path / "made" / "model" / "weights").read_text() == text


def test_a_failure_leaves_the_folder_that_was_there(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as half:
        (half / "weights").write_text("first")

    def fail() -> None:
        with atomic_folder(tmp_path / "model") as half:
            (half / "weights").write_text("second")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "first"


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match=r"holds other files \(thesis\.tex\): choose a new folder"):  # noqa: SIM117
        with atomic_folder(tmp_path) as half:
            (half / "weights").touch()
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
