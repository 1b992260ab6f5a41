"""Photographs of every format and size: read alike wherever they come from, in bounded memory, or named."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image, ImageOps
from torch.nn.functional import interpolate
from torch.testing import assert_close

from leadline.cli.main import main
from leadline.core.camera import field_of_view
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.inference.predict import predict
from leadline.io.colormaps import colorize, depth_color_scale, render, with_legend
from leadline.io.depth_maps import DepthMap, read_depth, write_depth
from leadline.io.discovery import find_images
from leadline.io.images import (
    PHOTO_SUFFIXES,
    decode_image,
    decode_photograph,
    read_camera,
    read_camera_info,
    read_image,
    read_photograph,
    write_image,
)
from leadline.models.registry import build
from leadline.models.saving import save


def colours(height: int = 48, width: int = 64) -> Image.Image:
    """A smooth picture with four different corners."""
    rows, columns = np.mgrid[:height, :width]
    pixels = [rows * 200 // height, columns * 200 // width, (rows + columns) * 100 // (height + width) + 30]
    return Image.fromarray(np.stack(pixels, -1).astype(np.uint8))


# Formats


def test_every_format_that_pillow_writes_is_read(tmp_path: Path) -> None:
    expected = torch.from_numpy(np.array(colours())).permute(2, 0, 1) / 255
    for suffix in (".avif", ".bmp", ".gif", ".jp2", ".jpg", ".png", ".ppm", ".tif", ".webp"):
        assert suffix in PHOTO_SUFFIXES
        colours().save(tmp_path / f"photo{suffix}")
        assert (read_image(tmp_path / f"photo{suffix}") - expected).abs().mean() < 0.03, suffix
    (tmp_path / "photo.jfif").write_bytes((tmp_path / "photo.jpg").read_bytes())
    assert torch.equal(read_image(str(tmp_path / "photo.jfif")), read_image(tmp_path / "photo.jpg"))


def test_a_folder_of_all_formats_is_found_whole(shared: Path) -> None:
    found = find_images([str(shared / "cases" / "C12" / "mix")])
    assert {source.suffix for source, _ in found.files} == {".gif", ".heic", ".jp2", ".jfif", ".jpg", ".dng", ".avif"}


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".tif"])
def test_of_several_pictures_the_first_is_read(tmp_path: Path, suffix: str) -> None:
    pages = [Image.new("L", (8, 6), 255), Image.new("L", (8, 6), 0)]
    pages[0].save(tmp_path / f"photo{suffix}", save_all=True, append_images=pages[1:])
    assert read_image(tmp_path / f"photo{suffix}").min() > 0.95
    assert read_photograph(tmp_path / f"photo{suffix}").note == "The file holds 2 pictures: this is the first one."
    pages[0].save(tmp_path / f"one{suffix}")
    assert not read_photograph(tmp_path / f"one{suffix}").note


def test_predict_says_that_only_the_first_picture_of_a_file_is_measured(tmp_path: Path, capsys) -> None:
    pages = [Image.new("RGB", (64, 48), colour) for colour in ("white", "grey", "black")]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    words = ["predict", str(tmp_path / "pages.tif"), "--out", str(tmp_path / "out"), "--overwrite"]
    for options in (["--field-of-view", "60"], []):
        assert main([*words, *options]) == 0
        assert "The file holds 3 pictures: this is the first one." in capsys.readouterr().err


def test_heic_is_read_upright_with_its_camera(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif: pip install 'leadline[heic]'")
    exif = Image.Exif()
    exif[274], exif.get_ifd(0x8769)[41989] = 6, 26
    heif.from_pillow(colours()).save(tmp_path / "photo.heic", quality=95, exif=exif.tobytes())
    image = read_image(tmp_path / "photo.heic")
    expected = torch.from_numpy(np.array(colours().transpose(Image.Transpose.ROTATE_270))).permute(2, 0, 1) / 255
    assert image.shape == expected.shape
    assert (image - expected).abs().mean() < 0.03
    assert read_camera_info(tmp_path / "photo.heic", image).source == "from EXIF"


def test_what_an_extra_reads_is_named_with_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    (tmp_path / "b.dng").write_bytes(b"II*\0\x08" + bytes(63))
    with pytest.raises(UnreadableFile, match=r"a\.heic is a HEIC photograph.*pip install 'leadline\[heic\]'"):
        read_image(tmp_path / "a.heic")
    with pytest.raises(UnreadableFile, match=r"b\.dng is a raw photograph.*pip install 'leadline\[raw\]'"):
        read_photograph(tmp_path / "b.dng")


def test_damaged_heic_and_raw_photographs_are_named(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif", reason="needs pillow-heif: pip install 'leadline[heic]'")
    pytest.importorskip("rawpy", reason="needs rawpy: pip install 'leadline[raw]'")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    (tmp_path / "b.dng").write_bytes(b"II*\0\x08" + bytes(63))
    for name in ("a.heic", "b.dng"):
        with pytest.raises(UnreadableFile, match=name):
            read_image(tmp_path / name)


def raw_photograph(path: Path, height: int, width: int, orientation: int) -> None:
    """Write a DNG without compression, red in its left half; 50 mm in film."""
    counts = np.full((height, width), 300, "<u2")
    counts[::2, 1::2] = counts[1::2, ::2] = 400
    counts[::2, : width // 2 : 2] = 3000
    shorts, longs, octets = (lambda *v: (3, v, "H")), (lambda *v: (4, v, "I")), (lambda *v: (1, v, "B"))
    ones = (10, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), "i")
    tags = {
        254: longs(0), 256: longs(width), 257: longs(height), 258: shorts(16), 259: shorts(1), 262: shorts(32803),
        271: (2, b"Maker\0", "B"), 272: (2, b"Model\0", "B"), 273: longs(0), 274: shorts(orientation), 277: shorts(1),
        278: longs(height), 279: longs(counts.nbytes), 284: shorts(1), 33421: shorts(2, 2), 33422: octets(0, 1, 1, 2),
        34665: longs(0), 50706: octets(1, 4, 0, 0), 50708: (2, b"Maker Model\0", "B"), 50714: shorts(0),
        50717: longs(4095), 50721: ones, 50728: (5, (1, 1) * 3, "I"), 50778: shorts(21),
    }  # fmt: skip

    def directory(tags: dict[int, tuple], start: int) -> bytes:
        entries, rest = struct.pack("<H", len(tags)), b""
        for tag in sorted(tags):
            kind, values, code = tags[tag]
            content = struct.pack(f"<{len(values)}{code}", *values)
            count = len(values) // (2 if kind in (5, 10) else 1)
            place = start + 6 + 12 * len(tags) + len(rest)
            entries += struct.pack("<HHI", tag, kind, count)
            entries += content.ljust(4, b"\0") if len(content) <= 4 else struct.pack("<I", place)
            rest += content if len(content) > 4 else b""
        return entries + bytes(4) + rest

    settings_at = 8 + len(directory(tags, 8))
    settings = directory({41989: shorts(50)}, settings_at)
    tags |= {34665: longs(settings_at), 273: longs(settings_at + len(settings))}
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory(tags, 8) + settings + counts.tobytes())


def test_a_raw_photograph_is_developed_upright_with_its_camera(tmp_path: Path) -> None:
    pytest.importorskip("rawpy", reason="needs rawpy: pip install 'leadline[raw]'")
    raw_photograph(tmp_path / "photo.dng", 48, 64, orientation=6)
    photo = read_photograph(tmp_path / "photo.dng")
    assert photo.image.shape == (3, 64, 48)
    assert photo.image[0, 16, 24] > 2 * photo.image[0, 48, 24]  # the left half lies above
    assert photo.camera.source == "from EXIF"
    half = read_photograph(tmp_path / "photo.dng", max_pixels=1000)
    assert (half.image.shape, half.size) == ((3, 32, 24), (64, 48))
    # Under another name its first words say that it is raw.
    assert read_image((tmp_path / "photo.dng").rename(tmp_path / "photo.tif")).shape == (3, 64, 48)


def test_colour_in_floats_is_opened_by_everything(shared: Path, tmp_path: Path) -> None:
    path = shared / "cases" / "C11" / "floatrgb.tiff"
    image = read_image(path)
    assert read_camera(path, image) is None
    assert torch.equal(decode_image(path.read_bytes(), "it"), image)
    assert main(["predict", str(path), "--out", str(tmp_path)]) == 0


# One way, wherever it comes from


def all_kinds(folder: Path) -> list[Path]:
    """Grey of 16 bits, transparency, turned, palette, deep colour, floats."""
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 1300).save(folder / "grey.png")
    clear = np.array(colours(6, 8).convert("RGBA"))
    clear[:, :4, 3] = 60
    Image.fromarray(clear).save(folder / "clear.png")
    colours(24, 32).save(folder / "turned.jpg", exif=turned)
    colours(6, 8).convert("P").save(folder / "palette.gif")
    colours(6, 8).convert("CMYK").save(folder / "ink.tif")
    Image.fromarray(np.random.default_rng(0).random((6, 8), np.float32)).save(folder / "floats.tif")
    cv2.imwrite(str(folder / "deep.png"), np.random.default_rng(0).integers(0, 65536, (6, 8, 3), np.uint16))
    return sorted(folder.iterdir())


def test_bytes_and_pictures_are_decoded_as_files_are(tmp_path: Path) -> None:
    for path in all_kinds(tmp_path):
        image = read_image(path)
        assert torch.equal(decode_image(path.read_bytes(), path.name), image), path.name
        assert torch.equal(read_photograph(path).image, image), path.name
        if path.name == "deep.png":
            continue  # Pillow has 8 bits of it
        with Image.open(path) as picture:
            assert torch.equal(decode_image(picture, path.name), image), path.name


def test_what_is_in_memory_and_damaged_is_named() -> None:
    for content in (b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(40), b"II*\0\x08" + bytes(30)):
        with pytest.raises(UnreadableFile, match="the photograph of row 3"):
            decode_image(content, "the photograph of row 3")
    with pytest.raises(UnreadableFile, match="go from -1"):
        decode_image(Image.new("F", (4, 3), -1), "a picture")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["grey", "grey16", "floats", "colour", "compressed"])
def test_a_tiff_comes_upright_by_its_path_as_from_bytes(tmp_path: Path, kind: str, orientation: int) -> None:
    numbers = np.arange(48).reshape(6, 8)
    picture = {
        "grey": Image.fromarray(numbers.astype(np.uint8) * 5),
        "grey16": Image.fromarray(numbers.astype(np.uint16) * 1000),
        "floats": Image.fromarray(numbers.astype(np.float32) / 48),
        "colour": colours(6, 8),
        "compressed": colours(6, 8),
    }[kind]
    exif = Image.Exif()
    exif[274] = orientation
    if kind != "compressed":
        exif.get_ifd(0x8769)[41989] = 26
        exif[0x8769] = 1  # Pillow writes the settings where it sees this tag
    plain, turned = tmp_path / "plain.png", tmp_path / "turned.tif"
    if kind == "floats":
        expected = torch.from_numpy(np.array(picture))[None].expand(3, -1, -1)
    else:
        picture.save(plain)
        expected = read_image(plain)
    picture.save(turned, exif=exif, compression="tiff_lzw" if kind == "compressed" else None)
    sign = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8))
    sign.getexif()[274] = orientation
    order = torch.from_numpy(np.array(ImageOps.exif_transpose(sign)).astype(np.int64))
    expected = expected.flatten(1)[:, order]
    assert_close(read_image(turned), expected)
    assert_close(decode_image(turned.read_bytes(), "it"), expected)
    with Image.open(turned) as opened:
        assert_close(decode_image(opened, "it"), expected)
    photo = read_photograph(turned)
    assert photo.size == tuple(expected.shape[1:])
    assert photo.camera.source == ("unknown" if kind == "compressed" else "from EXIF")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deep_colour_comes_upright(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (6, 8, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "photo.png"), pixels)
    expected = read_image(tmp_path / "photo.png").transpose(1, 2).flip(2)  # held as orientation 6 says
    if suffix == ".png":
        content = (tmp_path / "photo.png").read_bytes()
        exif = b"eXIf" + b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
        chunk = struct.pack(">I", len(exif) - 4) + exif + struct.pack(">I", zlib.crc32(exif))
        (tmp_path / "held.png").write_bytes(content[:33] + chunk + content[33:])
    else:
        cv2.imwrite(str(tmp_path / "held.tif"), pixels, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
        with_orientation(tmp_path / "held.tif", 6)
    assert_close(read_image(tmp_path / f"held{suffix}"), expected)


def with_orientation(path: Path, orientation: int) -> None:
    """Give a little-endian TIFF this orientation: a new directory at its end."""
    content = path.read_bytes()
    (start,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[start : start + 2])
    entries = [content[start + 2 + 12 * each : start + 14 + 12 * each] for each in range(count)]
    entries = [entry for entry in entries if entry[:2] != struct.pack("<H", 274)]
    entries.append(struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    path.write_bytes(content[:4] + struct.pack("<I", len(content)) + content[8:] + directory)


# Sizes


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".jp2"])
def test_a_large_photograph_is_read_reduced_as_averages(tmp_path: Path, suffix: str) -> None:
    colours(301, 403).save(tmp_path / f"photo{suffix}", None, quality=95)
    whole = read_image(tmp_path / f"photo{suffix}")
    photo = read_photograph(tmp_path / f"photo{suffix}", max_pixels=10_000)
    assert photo.size == (301, 403)
    assert photo.image.shape == (3, 76, 101)
    assert (photo.image - interpolate(whole[None], (76, 101), mode="area")[0]).abs().max() < 0.03


def test_reducing_keeps_alpha_depth_and_orientation(tmp_path: Path) -> None:
    for path in all_kinds(tmp_path):
        if path.name in ("deep.png", "palette.gif"):
            continue
        whole = read_image(path)
        size = (-(-whole.shape[1] // 2), -(-whole.shape[2] // 2))
        image = read_photograph(path, max_pixels=whole[0].numel() // 3).image
        assert image.shape[1:] == size
        expected = interpolate(whole[None], size, mode="area")[0]
        assert_close(image, expected, atol=0.02, rtol=0, msg=path.name)


def test_up_to_the_bound_nothing_is_reduced(tmp_path: Path) -> None:
    colours(30, 40).save(tmp_path / "photo.jpg")
    assert not read_photograph(tmp_path / "photo.jpg", max_pixels=1200).is_reduced
    assert read_photograph(tmp_path / "photo.jpg", max_pixels=1199).is_reduced


@pytest.mark.parametrize(("width", "height"), [(32, 4_390_936), (70_000, 2000), (510, 10)])
def test_no_photograph_is_a_thread(tmp_path: Path, width: int, height: int) -> None:
    Image.new("1", (width, height)).save(tmp_path / "photo.png")
    with pytest.raises(UnreadableFile, match=rf"photo\.png has {width} × {height} pixels.*crop it first"):
        read_image(tmp_path / "photo.png")
    assert main(["predict", str(tmp_path / "photo.png"), "--out", str(tmp_path / "out")]) == 1


def test_what_cannot_be_decoded_in_bounded_memory_is_named(tmp_path: Path) -> None:
    begun = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", struct.pack(">IIBBBBB", 15_900, 11_200, 8, 2, 0, 0, 0)), (b"IDAT", b"")):
        begun += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    (tmp_path / "photo.png").write_bytes(begun)
    with pytest.raises(UnreadableFile, match=r"photo\.png needs 0\.71 GB to be decoded.*a JPEG of it"):
        read_photograph(tmp_path / "photo.png")


READ_THEM = """
import resource, sys
from leadline.io.images import read_photograph
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    height = read_photograph(path).image.shape[1]
    print(height, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_35_megapixels_take_less_memory_than_their_colours_in_floats(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="needs a Unix system to measure memory")
    paths = [str(tmp_path / "photo.jpg"), str(tmp_path / "photo.png")]
    for path in paths:
        Image.new("RGB", (7_000, 5_000), (200, 100, 50)).save(path, compress_level=1)
    child = subprocess.run([sys.executable, "-c", READ_THEM, *paths], capture_output=True, text=True, check=True)
    (height, jpeg), (_, more) = (map(int, line.split()) for line in child.stdout.splitlines())
    assert height == 2500
    # In MiB: as floats it would be 400, of which a quarter is left; Pillow's own copy of the PNG is 133.
    assert jpeg < 250
    assert jpeg + more < 350


@pytest.mark.parametrize("suffix", [".png", ".npz", ".tiff"])
def test_depth_of_a_reduced_photograph_is_written_at_its_own_size(tmp_path: Path, suffix: str) -> None:
    ramp = torch.linspace(1, 3, 20).expand(15, 20)[None].contiguous()
    valid = torch.ones(1, 15, 20, dtype=torch.bool)
    write_depth(tmp_path / f"whole{suffix}", DepthMap(ramp, valid), size=(30, 41))
    whole = read_depth(tmp_path / f"whole{suffix}")
    expected = interpolate(ramp[None], (30, 41), mode="bilinear")[0]
    assert_close(whole.depth, expected, atol=2e-3, rtol=0)
    assert whole.valid.all()
    valid[:, :, 10:] = False
    write_depth(tmp_path / f"holes{suffix}", DepthMap(ramp, valid), size=(30, 41))
    holes = read_depth(tmp_path / f"holes{suffix}")
    assert holes.valid.sum() == 30 * 21
    assert holes.depth[holes.valid].max() <= ramp[0, 0, 9] + 1e-3  # nothing is mixed with what was not measured


def test_a_rendered_map_is_the_coloured_one_above_its_legend(tmp_path: Path) -> None:
    depth = torch.rand(1, 300, 90, generator=torch.Generator().manual_seed(0)) * 9 + 0.5
    valid = depth > 1
    scale = depth_color_scale()
    write_image(tmp_path / "rendered.png", render(depth, scale, valid, "a note"))
    expected = with_legend(colorize(depth, scale, valid), scale, "a note")
    assert_close(read_image(tmp_path / "rendered.png"), expected)


PREDICT_IT = """
import sys
from leadline.cli.main import main
code = main(["predict", *sys.argv[1:]])
with open("/proc/self/status") as status:
    print(code, *(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:")))
"""
"""The largest memory of this process alone: what getrusage says begins with that of the process that started it."""


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize(("width", "height", "mode"), [(12_000, 9_000, "RGB"), (5_770, 4_330, "RGBA")])
def test_predicting_takes_less_than_one_and_a_half_gigabytes(
    tmp_path: Path, width: int, height: int, mode: str
) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux to measure memory")
    photo = tmp_path / ("photo.jpg" if mode == "RGB" else "photo.png")
    colours().convert(mode).resize((width, height)).save(photo, compress_level=1)
    child = subprocess.run(
        [sys.executable, "-c", PREDICT_IT, str(photo), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    code, peak = map(int, child.stdout.splitlines()[-1].split())
    assert code == 0
    with Image.open(tmp_path / "out" / "photo.png") as depth:
        assert depth.size == (width, height)
    assert peak < 1.5e9


@pytest.mark.long
@pytest.mark.parametrize("way", ["points", "map"])
def test_scaling_a_large_photograph_to_metres_takes_no_more(tmp_path: Path, way: str) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux to measure memory")
    photo, measured = tmp_path / "photo.jpg", tmp_path / "measured.png"
    colours().resize((5_770, 4_330)).save(photo)
    model = build("cnn", size="tiny", encoder="test_efficientnet", input_size=(64, 64), kind="relative")
    save(model, tmp_path / "net")
    relative = predict(model, photo).numpy()
    metres = 1 / (0.3 + 0.5 * (relative - relative.min()) / np.ptp(relative))
    if way == "map":
        write_depth(
            measured, DepthMap(torch.from_numpy(metres[None]), torch.arange(5_770).expand(1, 4_330, -1) % 2 == 0)
        )
        scale_from = [str(measured)]
    else:
        scale_from = [f"{x},{y},{metres[y, x]:.3f}" for x, y in ((40, 200), (3000, 4000), (5000, 100), (2000, 2000))]
    words = [photo, "--out", tmp_path / "out", "--model", tmp_path / "net", "--scale-from", *scale_from]
    child = subprocess.run(
        [sys.executable, "-c", PREDICT_IT, *map(str, words)], capture_output=True, text=True, check=True
    )
    code, peak = map(int, child.stdout.splitlines()[-1].split())
    assert code == 0, child.stderr
    assert peak < 1.5e9


# Names


def test_a_name_that_is_not_utf8_can_be_read_and_printed(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    try:
        path.write_bytes(b"no picture")
    except OSError:
        pytest.skip("needs a file system that takes any bytes as names")
    with pytest.raises(UnreadableFile) as raised:
        read_image(path)
    assert str(raised.value).encode(errors="backslashreplace")
    colours().save(path, "PNG")
    assert read_photograph(path).image.shape == (3, 48, 64)


def test_decoding_reads_the_camera_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[41989] = 26
    held = io.BytesIO()
    colours().save(held, "JPEG", exif=exif)
    assert decode_photograph(held.getvalue(), "it").camera.source == "from EXIF"
    with Image.open(held) as picture:
        assert decode_photograph(picture, "it").camera.source == "from EXIF"


def bits(*fields: tuple[int, int]) -> str:
    """Return numbers, each of so many bits."""
    return "".join(f"{number:0{width}b}" for number, width in fields)


def depth_representation(representation: int) -> bytes:
    """Return the message of H.265, F.14.2.8, that says what depth between 0.25 and 4.25 is stored as."""
    codes = {0: "1", 1: "010", 2: "011", 3: "00100"}  # Exp-Golomb
    least, most = bits((0, 1), (29, 7), (0, 5), (0, 1)), bits((0, 1), (33, 7), (4, 5), (2, 5))
    text = "0011" + codes[representation] + "1" + least + most + "1"
    text += "0" * (-len(text) % 8)
    payload = int(text, 2).to_bytes(len(text) // 8, "big")
    unit = bytes([39 << 1, 1, 177, len(payload)]) + payload
    message = len(unit).to_bytes(4, "big") + unit
    return len(message).to_bytes(4, "big") + message


def portrait(path: Path, levels: np.ndarray, representation: int = 1) -> None:
    """Write a HEIC photograph that carries depth, as iPhones do: a second picture that is declared auxiliary."""
    heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif: pip install 'leadline[heic]'")
    heif.register_heif_opener()
    exif = Image.Exif()
    exif.get_ifd(0x8769)[41989] = 26
    photograph, second = colours().resize((256, 192)), Image.fromarray(levels)
    photograph.save(path, "HEIF", save_all=True, append_images=[second], quality=-1, chroma=444, exif=exif.tobytes())
    content = path.read_bytes()

    def box(name: bytes, payload: bytes) -> bytes:
        return (8 + len(payload)).to_bytes(4, "big") + name + payload

    def place(name: bytes) -> tuple[int, int]:
        begin = content.index(name) - 4
        return begin, begin + int.from_bytes(content[begin : begin + 4], "big")

    # ISO/IEC 14496-12 and 23008-12: the property, the items' properties, the reference, where the items lie.
    (ipco, ipco_end), (ipma, ipma_end), (iloc, iloc_end) = place(b"ipco"), place(b"ipma"), place(b"iloc")
    property_ = box(b"auxC", bytes(4) + b"urn:mpeg:hevc:2015:auxid:2\0" + depth_representation(representation))
    count, at = 0, ipco + 8
    while at < ipco_end:
        count, at = count + 1, at + int.from_bytes(content[at : at + 4], "big")
    items, at = bytearray(content[ipma + 8 : ipma_end]), 8
    at += 3 + items[at + 2]  # the first picture's
    second_id = bytes(items[at : at + 2])
    items[at + 2] += 1
    items.insert(at + 3 + items[at + 2] - 1, count + 1)
    begin = content.find(b"iref") - 4
    link = box(b"auxl", second_id + b"\0\1\0\1")
    if begin >= 0:
        end = begin + int.from_bytes(content[begin : begin + 4], "big")
        references = box(b"iref", content[begin + 8 : end] + link)
    else:
        begin = end = place(b"iprp")[0]
        references = box(b"iref", bytes(4) + link)
    added = len(property_) + 1 + len(references) - (end - begin)
    places = bytearray(content[iloc + 8 : iloc_end])
    version = places[0]
    assert (version in (0, 1), places[4:6].hex()) == (True, "4440")
    for number in range(int.from_bytes(places[6:8], "big")):
        offset = 8 + (18 + 2 * version) * number + 4 + 2 * version
        moved = int.from_bytes(places[offset : offset + 4], "big") + added
        places[offset : offset + 4] = moved.to_bytes(4, "big")
    changes = {
        (ipco, ipco_end): box(b"ipco", content[ipco + 8 : ipco_end] + property_),
        (ipma, ipma_end): box(b"ipma", bytes(items)),
        (iloc, iloc_end): box(b"iloc", bytes(places)),
        (begin, end): references,
    }
    patched = content
    for (start, stop), new in sorted(changes.items(), reverse=True):
        patched = patched[:start] + new + patched[stop:]
    for name, more in ((b"meta", added), (b"iprp", len(property_) + 1)):
        start = patched.index(name) - 4
        size = int.from_bytes(patched[start : start + 4], "big") + more
        patched = patched[:start] + size.to_bytes(4, "big") + patched[start + 4 :]
    path.write_bytes(patched)


LEVELS = np.linspace(0, 255, 96 * 128).reshape(96, 128).round().astype(np.uint8)


def test_the_depth_that_a_heic_photograph_carries_is_inverse_depth_without_a_unit(tmp_path: Path) -> None:
    portrait(tmp_path / "a.heic", LEVELS)
    assert read_photograph(tmp_path / "a.heic").size == (192, 256)
    depth = read_depth(tmp_path / "a.heic")
    assert (depth.kind, depth.shape, bool(depth.mask.all())) == (DepthKind.RELATIVE, (96, 128), True)
    np.testing.assert_allclose(depth.values[0], 0.25 + 4 * (LEVELS / 255), rtol=1e-6)
    assert depth.camera is not None
    assert field_of_view(float(depth.camera[0]), 128) == pytest.approx(67.3, abs=0.1)
    with pytest.raises(BadInput, match="says that its depth is relative"):
        read_depth(tmp_path / "a.heic", kind="metric")


def test_a_photograph_without_depth_and_other_representations_are_refused(tmp_path: Path) -> None:
    portrait(tmp_path / "linear.heic", LEVELS, representation=2)
    with pytest.raises(BadInput, match=r"in the representation 2 of H\.265"):
        read_depth(tmp_path / "linear.heic")
    portrait(tmp_path / "crop.heic", LEVELS[:64])
    with pytest.raises(UnreadableFile, match=r"128 × 64 pixels, of another aspect than the photograph's 256 × 192"):
        read_depth(tmp_path / "crop.heic")
    colours().save(tmp_path / "plain.heic")
    with pytest.raises(BadInput, match="carries no depth, only a photograph"):
        read_depth(tmp_path / "plain.heic")


def test_a_cloud_of_the_measured_depth_of_a_photograph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    portrait(tmp_path / "a.heic", LEVELS)
    words = ["cloud", str(tmp_path / "a.heic"), "--measured", "--out", str(tmp_path / "a.ply")]
    assert main(words) == 1
    assert "Metres need a few measured points" in capsys.readouterr().err
    # Inverse depth of 0.5 and 1.5 per metre, in pixels of the photograph.
    top, bottom = (1 / (0.5 + LEVELS[row // 2, column // 2] / 255) for row, column in ((40, 20), (180, 200)))
    points = [f"20,40,{top}", f"200,180,{bottom}"]
    assert main([*words, "--scale-from", *points]) == 0
    assert "camera from EXIF, 67.3 degrees across" in capsys.readouterr().out
    cloud: Any = trimesh.load(tmp_path / "a.ply")
    metres = np.asarray(cloud.vertices)[:, 2]
    assert (metres.min(), metres.max()) == pytest.approx((1 / 1.5, 2.0), rel=0.05)
    assert main([*words, "--model", str(tmp_path), "--scale-from", *points]) == 1
    assert "give one of them" in capsys.readouterr().err
    colours().save(tmp_path / "plain.jpg")
    assert main(["cloud", str(tmp_path / "plain.jpg"), "--measured"]) == 1
    assert "plain.jpg is no HEIC photograph (.heic, .heif, .hif): only those carry depth" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "RGBA"])
def test_a_png_with_one_wrong_byte_is_never_measured_as_if_it_were_whole(tmp_path, mode):
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (12, 16), np.uint8), (320, 240)).astype(np.uint16)
    noisy = smooth + rng.integers(0, 4, smooth.shape, np.uint16)
    grey = Image.fromarray(noisy * 200) if mode == "I;16" else Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    content = io.BytesIO()
    (grey if mode == "I;16" else grey.convert(mode)).save(content, "PNG")
    begin = content.getvalue().index(b"IDAT") + 8
    for place in rng.integers(begin, len(content.getvalue()) - 20, 12).tolist():
        damaged = bytearray(content.getvalue())
        damaged[place] ^= 9
        (tmp_path / "photo.png").write_bytes(damaged)
        with pytest.raises(UnreadableFile):
            read_image(tmp_path / "photo.png")
        with pytest.raises(UnreadableFile):
            decode_image(bytes(damaged), "photo")
