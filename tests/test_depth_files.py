"""Depth files of other programs: their units, what is not measured in them, their cameras and their formats."""

import resource
import struct
import sys
import zlib
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline.cli.main import main
from leadline.core.camera import parse_intrinsics
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.data.datasets import open_data
from leadline.io.depth_maps import DepthMap, read_depth, write_depth
from leadline.io.png import decode_whole_png, encode_png

METRES = np.linspace(0.8, 4.0, 12, dtype=np.float32).reshape(3, 4)


def write(folder: Path, form: str, values: np.ndarray) -> Path:
    """The numbers as some other program writes them, without a word about their unit."""
    path = folder / f"map{form}"
    match form:
        case ".npz":
            np.savez(path, depth=values)
        case ".npy":
            np.save(path, values)
        case ".tiff":
            Image.fromarray(values).save(path)
        case ".pfm":
            path.write_bytes(f"Pf\n{values.shape[1]} {values.shape[0]}\n-1\n".encode() + values[::-1].tobytes())
        case ".h5" | ".hdf5":
            with h5py.File(path, "w") as file:
                file["depth"] = values
                file["rgb"] = np.zeros((3, *values.shape), np.uint8)
        case ".exr":
            openexr = pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install 'leadline[exr]'")
            header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
            with openexr.File(header, {"Z": values}) as file:
                file.write(str(path))
    return path


@pytest.mark.parametrize("form", [".npz", ".npy", ".h5"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_integers_without_a_unit_are_refused_in_arrays_as_in_pictures(tmp_path: Path, form: str, dtype: type) -> None:
    path = write(tmp_path, form, (METRES * 1000).round().astype(dtype))
    with pytest.raises(BadInput, match=r"does not say its unit: state depth_scale=1000 for millimetres"):
        read_depth(path, kind="metric")
    assert read_depth(path, depth_scale=1000).depth.numpy() == pytest.approx(METRES[None], abs=5e-4)


@pytest.mark.parametrize("form", [".npz", ".npy", ".tiff", ".pfm", ".exr", ".h5", ".hdf5"])
def test_floats_in_millimetres_are_refused_with_the_scale_to_state(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, form, METRES * 1000)
    with pytest.raises(BadInput, match=r"median of 2,400 is no depth in metres: depth_scale=1000 \(millimetres\)"):
        read_depth(path, kind="metric")
    assert read_depth(path, depth_scale=1000).depth.numpy() == pytest.approx(METRES[None], rel=1e-6)
    assert read_depth(path, depth_scale=1).depth.numpy() == pytest.approx(1000 * METRES[None], rel=1e-6)
    assert read_depth(path, kind="scale_free").depth.max() == 4000


@pytest.mark.parametrize("form", [".npz", ".npy", ".tiff", ".pfm", ".exr", ".h5", ".hdf5"])
def test_floats_in_metres_are_read_in_every_format(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, form, METRES)
    assert np.array_equal(read_depth(str(path), kind="metric").depth[0].numpy(), METRES)


def test_an_hdf5_file_of_one_map_under_another_name_is_read_by_the_unit_it_states(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "frame.hdf5", "w") as file:
        file["dataset"] = (METRES[None] * 1000).round().astype(np.uint16)
        file["dataset"].attrs["units"] = "mm"
        file["intrinsics"] = np.ones(4)
    depth = read_depth(tmp_path / "frame.hdf5", kind="metric")
    assert depth.depth.numpy() == pytest.approx(METRES[None], abs=5e-4)


def test_hdf5_files_of_several_maps_of_none_or_elsewhere_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["depth"] = METRES
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["near"], file["far"] = METRES, METRES
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["depths"] = np.stack([METRES, METRES])
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["depth"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "depth")
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file.create_dataset("depth", (10**6, 10**6), np.float32)
    (tmp_path / "raw").write_bytes(METRES.tobytes())
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("depth", METRES.shape, np.float32, external=[(str(tmp_path / "raw"), 0, METRES.nbytes)])
    with h5py.File(tmp_path / "text.h5", "w") as file:
        file["depth"] = "far"
    (tmp_path / "cut.h5").write_bytes((tmp_path / "two.h5").read_bytes()[:900])
    (tmp_path / "empty.h5").write_bytes(b"")
    for name, fault, said in (
        ("two", BadInput, "not one map alone, but far 3 × 4, near 3 × 4"),
        ("stack", BadInput, "depths 2 × 3 × 4"),
        ("linked", BadInput, "no array"),
        ("large", UnreadableFile, "too large"),
        ("outside", UnreadableFile, "in other files"),
        ("text", UnreadableFile, "no numbers"),
        ("cut", UnreadableFile, "cut.h5"),
        ("empty", UnreadableFile, "empty.h5"),
    ):
        with pytest.raises(fault, match=said):
            read_depth(tmp_path / f"{name}.h5", kind="metric")


def test_half_floats_are_read_from_exr(tmp_path: Path) -> None:
    path = write(tmp_path, ".exr", METRES.astype(np.float16))
    assert read_depth(path, kind="metric").depth[0].numpy() == pytest.approx(METRES, rel=1e-3)


def test_a_coloured_exr_is_no_depth_map_and_a_grey_one_is(tmp_path: Path) -> None:
    openexr = pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install 'leadline[exr]'")
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    for name, blue in (("grey", METRES), ("colour", 2 * METRES)):
        with openexr.File(header, {"R": METRES, "G": METRES, "B": blue}) as file:
            file.write(str(tmp_path / f"{name}.exr"))
    assert np.array_equal(read_depth(tmp_path / "grey.exr", kind="metric").depth[0].numpy(), METRES)
    with pytest.raises(BadInput, match="is a picture in colour"):
        read_depth(tmp_path / "colour.exr", kind="metric")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint32])
@pytest.mark.parametrize("compression", ["ZIP", "ZIPS"])
def test_a_damaged_piece_of_an_exr_is_found(tmp_path: Path, dtype: type, compression: str) -> None:
    """OpenEXR itself gives zeros, or whatever was in memory, where a chunk is damaged."""
    openexr = pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install 'leadline[exr]'")
    header = {"compression": getattr(openexr, f"{compression}_COMPRESSION"), "type": openexr.scanlineimage}
    rng = np.random.default_rng(0)
    path = tmp_path / "map.exr"
    smooth, noise = np.outer(np.arange(50), np.arange(70)) % 97 + 1, rng.integers(1, 2**30, (50, 70))
    for values in (smooth, noise if dtype is np.uint32 else noise % 1000 / 7 + 1):
        with openexr.File(header, {"Z": values.astype(dtype), "A": np.ones((50, 70), np.float16)}) as file:
            file.write(str(path))
        assert np.array_equal(
            read_depth(path, kind="metric", depth_scale=1).depth[0].numpy(), values.astype(dtype).astype(np.float32)
        )
    with openexr.File(header, {"Z": smooth.astype(dtype)}) as file:
        file.write(str(path))
    content = path.read_bytes()
    middle = len(content) * 2 // 3
    path.write_bytes(content[:middle] + bytes(20) + content[middle + 20 :])
    with pytest.raises(UnreadableFile, match=r"map\.exr"):
        read_depth(path, kind="metric", depth_scale=1)


def test_exr_without_its_library_names_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, ".exr", METRES)
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(UnreadableFile, match=r"pip install 'leadline\[exr\]'"):
        read_depth(path, kind="metric")


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1000), ("millimetres", 1000), ("cm", 100), ("Meters", 1)])
def test_a_foreign_file_is_read_by_the_unit_that_it_states(tmp_path: Path, unit: str, factor: int) -> None:
    np.savez(tmp_path / "map.npz", depth=METRES * factor, unit=unit)
    assert read_depth(tmp_path / "map.npz").depth.numpy() == pytest.approx(METRES[None], rel=1e-6)
    # Also beside files that need the option.
    assert read_depth(tmp_path / "map.npz", depth_scale=256).depth.numpy() == pytest.approx(METRES[None], rel=1e-6)


def test_a_unit_that_stands_behind_the_pixels_is_read(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(1000, 9000, (300, 400), np.uint16)
    chunks = PngInfo()
    chunks.add(b"tEXt", b"unit\0mm", after_idat=True)
    Image.fromarray(steps).save(tmp_path / "a.png", pnginfo=chunks)
    np.testing.assert_allclose(read_depth(tmp_path / "a.png").numpy(), steps / 1000, rtol=1e-6)


@pytest.mark.parametrize("filters", ["every row its own", "one"])
def test_a_16_bit_png_with_one_wrong_bit_is_refused_or_read_as_it_was(tmp_path: Path, filters: str) -> None:
    steps = np.random.default_rng(0).integers(1000, 9000, (40, 60), np.uint16)
    file = tmp_path / "a.png"
    if filters == "one":
        file.write_bytes(encode_png(steps))
    else:
        Image.fromarray(steps).save(file)
    content = file.read_bytes()
    start = content.index(b"IDAT")
    for place in range(start + 4, len(content) - 16, 97):
        file.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        with pytest.raises(UnreadableFile, match=r"a\.png"):
            read_depth(file, depth_scale=1000)


@pytest.mark.parametrize("filters", [[0], [1], [2], [0, 2, 2, 0], [0, 1, 2], [2, 1, 4, 3]])
def test_a_16_bit_png_is_decoded_whatever_filters_its_rows_have(filters: list[int]) -> None:
    steps = np.random.default_rng(0).integers(0, 65536, (40, 60), np.uint16)
    decoded = decode_whole_png(_png_with_filters(steps, filters))
    assert decoded is not None
    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded, steps)


def _png_with_filters(steps: np.ndarray, filters: list[int]) -> bytes:
    """Encode (H, W) as PNG with these filters of rows in turn, by the formulas of the PNG specification."""
    pixels = steps.astype(">u2").view(np.uint8).astype(int)
    padded = np.pad(pixels, ((1, 0), (2, 0)))
    left, above, corner = padded[1:, :-2], padded[:-1, 2:], padded[:-1, :-2]
    distances = [np.abs(left + above - corner - each) for each in (left, above, corner)]
    paeth = np.choose(np.argmin(distances, axis=0), (left, above, corner))
    rows = np.stack([pixels - each for each in (0 * left, left, above, (left + above) // 2, paeth)]).astype(np.uint8)
    chosen = [filters[row % len(filters)] for row in range(len(steps))]
    content = b"".join(bytes([each]) + rows[each, row].tobytes() for row, each in enumerate(chosen))
    height, width = steps.shape
    packed = zlib.compress(content)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)),
        (b"IDAT", packed[:99]),
        (b"IDAT", packed[99:]),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@pytest.mark.parametrize("change", [-1, 1])
def test_a_16_bit_png_of_other_pixels_than_its_header_says_is_refused(tmp_path: Path, change: int) -> None:
    content = _png_with_filters(np.ones((40, 60), np.uint16), [1])
    header = content[12:16] + struct.pack(">II", 60, 40 + change) + content[24:29]
    spoiled = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    (tmp_path / "a.png").write_bytes(spoiled)
    if change < 0:  # libpng and Pillow ignore rows that are too many
        assert read_depth(tmp_path / "a.png", depth_scale=1000).shape == (39, 60)
    else:
        with pytest.raises(UnreadableFile, match=r"a\.png"):
            read_depth(tmp_path / "a.png", depth_scale=1000)


@pytest.mark.parametrize("scale", [1000, 256, 5000, 1, 0.5, 1.2345678, 1e30, 1e-40])
def test_every_16_bit_number_becomes_the_nearest_float_to_its_depth(tmp_path: Path, scale: float) -> None:
    steps = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    (tmp_path / "a.png").write_bytes(encode_png(steps))
    read = read_depth(tmp_path / "a.png", depth_scale=scale)
    with np.errstate(over="ignore", under="ignore"):
        expected = (steps / scale).astype(np.float32)
    measured = np.isfinite(expected) & (expected > 0)
    assert np.array_equal(read.mask[0], measured)
    assert np.array_equal(read.values[0], np.where(measured, expected, 0))


def test_a_unit_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "map.npz", depth=METRES, unit="fathoms")
    with pytest.raises(BadInput, match="states the unit 'fathoms'"):
        read_depth(tmp_path / "map.npz")


@pytest.mark.parametrize("shape", [(3, 4, 1), (1, 3, 4), (1, 1, 3, 4), (3, 4)])
@pytest.mark.parametrize("form", [".npz", ".npy"])
def test_arrays_of_one_channel_are_read(tmp_path: Path, shape: tuple[int, ...], form: str) -> None:
    path = write(tmp_path, form, METRES.reshape(shape))
    assert np.array_equal(read_depth(path, kind="metric").depth[0].numpy(), METRES)


def test_arrays_of_other_shapes_are_named(tmp_path: Path) -> None:
    for shape in ((3, 4, 3), (2, 3, 4), (12,), ()):
        np.save(tmp_path / "map.npy", np.ones(shape, np.float32))
        with pytest.raises(UnreadableFile, match="the shape"):
            read_depth(tmp_path / "map.npy", kind="metric")


@pytest.mark.parametrize("bits", [8, 16])
def test_zero_is_a_number_in_relative_maps_of_other_programs(tmp_path: Path, bits: int) -> None:
    inverse = 1 / METRES
    numbers = (inverse - inverse.min()) / (inverse.max() - inverse.min()) * (2**bits - 1)
    cv2.imwrite(str(tmp_path / "map.png"), numbers.round().astype(np.uint8 if bits == 8 else np.uint16))
    relative = read_depth(tmp_path / "map.png", kind="relative")
    assert relative.valid.all()
    assert relative.depth.min() == 0
    # The farthest is the least inverse depth: it is no hole, and not the nearest.
    assert relative.depth.flatten().argmin() == METRES.argmax()


def test_a_hole_stays_one_in_a_relative_map_of_ours(tmp_path: Path) -> None:
    valid = torch.ones(1, 3, 4, dtype=torch.bool)
    valid[0, 1, 1] = False
    write_depth(tmp_path / "map.png", DepthMap(torch.from_numpy(1 / METRES)[None], valid, kind=DepthKind.RELATIVE))
    assert torch.equal(read_depth(tmp_path / "map.png").valid, valid)


def test_numbers_that_mean_nothing_are_left_out_as_told(tmp_path: Path) -> None:
    background = METRES.copy()
    background[0] = 1e10
    background[1, 0] = 65504
    path = write(tmp_path, ".npy", background)
    measured = read_depth(path, kind="metric", invalid=(1e10, 65504), depth_scale=1)
    assert measured.valid[0].numpy().tolist() == (background < 100).tolist()
    assert torch.equal(read_depth(path, kind="metric", max_depth=50, depth_scale=1).valid, measured.valid)
    counts = (METRES * 1000).astype(np.uint16)
    counts[2] = 65535
    cv2.imwrite(str(tmp_path / "map.png"), counts)
    assert not read_depth(tmp_path / "map.png", depth_scale=1000, invalid=(65535,)).valid[0, 2].any()


def test_the_largest_float_is_no_depth(tmp_path: Path) -> None:
    values = METRES.copy()
    values[0, 0] = np.finfo(np.float32).max
    assert not read_depth(write(tmp_path, ".npy", values), kind="metric").valid[0, 0, 0]


def test_distances_along_the_ray_become_depth_along_the_axis(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:3, :4]
    x, y = (columns - 1.5) / 3.0, (rows - 1.0) / 3.0
    wall = 2.0 * np.sqrt(1 + x**2 + y**2)  # a wall two metres away, seen along the rays
    path = write(tmp_path, ".npy", wall.astype(np.float32))
    camera = torch.tensor([3.0, 3.0, 1.5, 1.0])
    assert read_depth(path, kind="metric", along_ray=True, intrinsics=camera).depth.numpy() == pytest.approx(2.0)
    with pytest.raises(BadInput, match="need the camera that measured them"):
        read_depth(path, kind="metric", along_ray=True)


@pytest.mark.parametrize("suffix", [".tiff", ".png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_map_that_lies_on_its_side_comes_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Uncompressed files, opened by their path, came out scrambled."""
    numbers = np.arange(15000, dtype=np.uint16).reshape(100, 150) + 1
    exif = Image.Exif()
    exif[274] = orientation
    picture = Image.fromarray(numbers)
    options = {"compression": "raw"} if suffix == ".tiff" else {}
    picture.save(tmp_path / f"map{suffix}", exif=exif, **options)
    turned = {1: numbers, 2: numbers[:, ::-1], 3: numbers[::-1, ::-1], 4: numbers[::-1], 5: numbers.T,
              6: np.rot90(numbers, -1), 7: numbers[::-1, ::-1].T, 8: np.rot90(numbers)}[orientation]  # fmt: skip
    read = read_depth(tmp_path / f"map{suffix}", depth_scale=1)
    assert np.array_equal(read.depth[0].numpy(), turned)


def test_cameras_are_read_as_numbers_or_as_matrices() -> None:
    expected = torch.tensor([500.0, 510.0, 319.5, 239.5])
    matrix = np.array([[500, 0, 319.5], [0, 510, 239.5], [0, 0, 1]])
    for told in ("500 510 319.5 239.5", "500,510,319.5,239.5", [500, 510, 319.5, 239.5], matrix, matrix.tolist()):
        parsed = parse_intrinsics(told, "camera")
        assert parsed is not None
        assert torch.equal(parsed, expected)
    four = np.eye(4)
    four[:3, :3] = matrix
    parsed = parse_intrinsics(four, "camera")
    assert parsed is not None
    assert torch.equal(parsed, expected)
    assert parse_intrinsics(None, "camera") is None


@pytest.mark.parametrize(
    "told", [[0, 0, 1, 1], [np.nan] * 4, [500, 510], "a b c d", [-5, 5, 1, 1], [np.inf, 5, 1, 1], np.ones((3, 3)), [[]]]
)
def test_what_is_no_camera_is_refused(tmp_path: Path, told: object) -> None:
    with pytest.raises(BadInput, match=r"somewhere: the intrinsics .*: state four numbers, fx fy cx cy in pixels"):
        parse_intrinsics(told, "somewhere")
    np.savez(tmp_path / "map.npz", depth=METRES, kind="metric", intrinsics=np.array(told))
    with pytest.raises(UnreadableFile, match=r"map\.npz"):
        read_depth(tmp_path / "map.npz")


def test_a_matrix_in_an_archive_is_a_camera(tmp_path: Path) -> None:
    np.savez(tmp_path / "map.npz", depth=METRES, kind="metric", intrinsics=[[5, 0, 1.5], [0, 5, 1], [0, 0, 1]])
    camera = read_depth(tmp_path / "map.npz").intrinsics
    assert camera is not None
    assert camera.tolist() == [5, 5, 1.5, 1]


def test_an_archive_that_declares_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (2000000, 2000000), }"
    (tmp_path / "map.npy").write_bytes(header.ljust(127) + b"\n")
    with pytest.raises(UnreadableFile, match=r"is declared as \(2000000, 2000000\)"):
        read_depth(tmp_path / "map.npy", kind="metric")


@pytest.mark.parametrize("metres", [3.0, 64.9, 66.0, 250.0, 600.0, 6000.0, 60000.0])
def test_far_depth_gets_the_scale_that_fits(tmp_path: Path, metres: float) -> None:
    far = DepthMap(torch.tensor([[[1.0, metres]]]), torch.ones(1, 1, 2, dtype=torch.bool))
    write_depth(tmp_path / "map.png", far)
    assert read_depth(tmp_path / "map.png").depth[0, 0, 1] == pytest.approx(metres, abs=0.5)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1000.0), ("metres", 1.0)])
def test_a_unit_counts_beside_a_stated_kind_too(tmp_path: Path, unit: str, factor: float) -> None:
    np.savez(tmp_path / "map.npz", depth=(METRES * factor).astype(np.float32), unit=unit, kind="metric")
    assert read_depth(tmp_path / "map.npz").depth.numpy() == pytest.approx(METRES[None], rel=1e-6)


def test_a_kind_alone_is_no_unit(tmp_path: Path) -> None:
    np.savez(tmp_path / "map.npz", depth=(METRES * 1000).astype(np.uint16), kind="metric")
    with pytest.raises(BadInput, match="does not say its unit: state depth_scale=1000"):
        read_depth(tmp_path / "map.npz")
    np.savez(tmp_path / "map.npz", depth=METRES * 1000, kind="metric")
    with pytest.raises(BadInput, match=r"a median of 2,400 is no depth in metres: depth_scale=1000"):
        read_depth(tmp_path / "map.npz")
    assert read_depth(tmp_path / "map.npz", depth_scale=1000).depth.max() == 4


def test_reader_and_doctor_take_the_unit_that_files_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for place in ("rgb", "depth"):
        (tmp_path / "train" / place).mkdir(parents=True)
    for index in range(3):
        pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "train" / "rgb" / f"{index}.png")
        millimetres = rng.uniform(800, 4000, (48, 64)).astype(np.float32)
        np.savez(tmp_path / "train" / "depth" / f"{index}.npz", depth=millimetres, unit="mm", kind="metric")
    assert 0.8 < open_data(str(tmp_path), "train")[0].depth.median() < 4
    main(["data", "inspect", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "the files say so; it makes the median 2.4 m" in " ".join(printed.split())


@pytest.mark.parametrize("description", ["unit=mm", "Unit: millimetres", '{"shape": [3, 4], "unit": "mm"}'])
def test_a_tiff_is_read_by_the_unit_in_its_description(tmp_path: Path, description: str) -> None:
    path = tmp_path / "map.tiff"
    Image.fromarray(METRES * 1000).save(path, tiffinfo={270: description})
    assert read_depth(path).depth.numpy() == pytest.approx(METRES[None], rel=1e-6)
    # ImageJ's unit is that of a pixel's size.
    Image.fromarray(METRES).save(path, tiffinfo={270: "ImageJ=1.54f\nunit=mm\n"})
    assert read_depth(path, kind="metric").depth.numpy() == pytest.approx(METRES[None])


def test_a_png_is_read_by_the_unit_in_its_text(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("Unit", "millimetres")
    Image.fromarray((METRES * 1000).round().astype(np.uint16)).save(tmp_path / "map.png", pnginfo=text)
    assert read_depth(tmp_path / "map.png").depth.numpy() == pytest.approx(METRES[None], abs=5e-4)


def test_a_mask_counts_in_relative_integers_where_zero_is_a_number(tmp_path: Path) -> None:
    valid = np.ones((3, 4), bool)
    valid[0, 0] = False
    np.savez(tmp_path / "map.npz", depth=np.arange(12).reshape(3, 4)[::-1], valid=valid, kind="relative")
    read = read_depth(tmp_path / "map.npz")
    assert np.array_equal(read.valid[0].numpy(), valid)
    assert read.depth[0, 2, 0] == 0


def test_other_arrays_of_an_archive_do_not_matter(tmp_path: Path) -> None:
    others = {"rgb": np.zeros((300, 400, 3), np.uint8), "meta": np.array({"camera": 1}, object)}
    np.savez(tmp_path / "map.npz", depth=METRES, unit=np.bytes_("m"), **others)
    read = read_depth(tmp_path / "map.npz")
    assert np.array_equal(read.depth[0].numpy(), METRES)
    assert read.provenance == {}
    np.savez(tmp_path / "map.npz", depth=np.array({}, object))
    with pytest.raises(UnreadableFile, match="its array `depth` holds no numbers"):
        read_depth(tmp_path / "map.npz", kind="metric")


@pytest.mark.parametrize("form", [".npy", ".pfm", ".tiff", ".exr"])
def test_a_header_that_declares_a_billion_pixels_takes_no_memory(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, form, METRES)
    content = path.read_bytes()
    match form:
        case ".npy":
            changed = content.replace(b"(3, 4), }          ", b"(30000, 40000), }  ")
        case ".pfm":
            changed = content.replace(b"4 3", b"40000 30000")
        case ".tiff":
            four, three = (bytes([tag, 1, 4, 0, 1, 0, 0, 0]) for tag in (0, 1))
            changed = content.replace(four + b"\4\0\0\0", four + (40000).to_bytes(4, "little"))
            changed = changed.replace(three + b"\3\0\0\0", three + (30000).to_bytes(4, "little"))
        case _:
            box = b"dataWindow\0box2i\0\x10\0\0\0" + bytes(8)
            start = content.index(box) + len(box)
            changed = content[:start] + np.array([39999, 29999], "<i4").tobytes() + content[start + 8 :]
    assert changed != content
    path.write_bytes(changed)
    _, before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, before))
    try:
        with pytest.raises(UnreadableFile, match=rf"map\{form}.* (is declared|megapixels)"):
            read_depth(path, kind="metric")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, before))


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ".npy", METRES)
    for wrong in (-1.0, 0.0, float("nan"), float("inf")):
        with pytest.raises(BadInput, match=r"max_depth=.* must be positive"):
            read_depth(path, kind="metric", max_depth=wrong)
        with pytest.raises(BadInput, match=r"depth_scale=.* must be positive"):
            write_depth(tmp_path / "map.png", read_depth(path, kind="metric"), depth_scale=wrong)
    with pytest.raises(BadInput, match=r"the intrinsics 0 3 1.5 1 are no camera's"):
        read_depth(path, kind="metric", along_ray=True, intrinsics=torch.tensor([0.0, 3.0, 1.5, 1.0]))


def test_what_a_scale_takes_out_of_range_is_not_measured(tmp_path: Path) -> None:
    path = write(tmp_path, ".npy", METRES)
    for scale in (1e-39, 1e60):
        assert not read_depth(path, depth_scale=scale).valid.any()


def test_provenance_never_changes_what_the_numbers_mean(tmp_path: Path) -> None:
    told = {"depth_scale": "7", "unit": "mm", "kind": "relative", "intrinsics": "none", "model": "any"}
    for suffix in (".npz", ".tiff", ".png"):
        depth = DepthMap(torch.from_numpy(METRES)[None], torch.ones(1, 3, 4, dtype=torch.bool), provenance=told)
        write_depth(tmp_path / f"map{suffix}", depth)
        read = read_depth(tmp_path / f"map{suffix}")
        assert read.depth.numpy() == pytest.approx(METRES[None], abs=5e-4)
        assert (read.kind, read.intrinsics, read.provenance) == (DepthKind.METRIC, None, {"model": "any"})


def test_cameras_beyond_32_bits_and_far_from_the_map_are_refused(tmp_path: Path) -> None:
    for told in ([1e39, 1e39, 1, 1], [1e-60, 5, 1, 1], [10**400, 5, 1, 1]):
        with pytest.raises(BadInput, match="the intrinsics"):
            parse_intrinsics(told, "somewhere")
    wrong = DepthMap(torch.ones(1, 3, 4), torch.ones(1, 3, 4, dtype=torch.bool), intrinsics=torch.zeros(4))
    with pytest.raises(BadInput, match="the intrinsics 0 0 0 0 are no camera's"):
        write_depth(tmp_path / "map.npz", wrong)
    assert not list(tmp_path.iterdir())
    np.savez(tmp_path / "map.npz", depth=METRES, kind="metric", intrinsics=[5, 5, 1e6, 1])
    with pytest.raises(UnreadableFile, match="principal point far outside of 4 × 3 pixels"):
        read_depth(tmp_path / "map.npz")


@pytest.mark.parametrize("exif", [False, True])
def test_a_depth_png_with_one_wrong_byte_has_no_depth(tmp_path, exif):
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.uniform(900, 4000, (12, 16)), (320, 240)) + rng.normal(0, 3, (240, 320))
    picture = Image.fromarray(smooth.astype(np.uint16))
    about = Image.Exif()
    if exif:
        about[274] = 3
    picture.save(tmp_path / "depth.png", exif=about)
    content = (tmp_path / "depth.png").read_bytes()
    assert read_depth(tmp_path / "depth.png", depth_scale=1000).shape == (240, 320)
    begin = content.index(b"IDAT") + 8
    for place in rng.integers(begin, len(content) - 20, 20).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 255
        (tmp_path / "depth.png").write_bytes(damaged)
        with pytest.raises(UnreadableFile):
            read_depth(tmp_path / "depth.png", depth_scale=1000)
