"""Depth files of other programs: their units, what is not measured in them, their cameras and their formats."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from leadline.core.camera import parse_intrinsics
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.io.depth_maps import DepthMap, read_depth, write_depth

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
        case ".exr":
            openexr = pytest.importorskip("OpenEXR", reason="needs OpenEXR: pip install 'leadline[exr]'")
            header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
            with openexr.File(header, {"Z": values}) as file:
                file.write(str(path))
    return path


@pytest.mark.parametrize("form", [".npz", ".npy"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_integers_without_a_unit_are_refused_in_arrays_as_in_pictures(tmp_path: Path, form: str, dtype: type) -> None:
    path = write(tmp_path, form, (METRES * 1000).round().astype(dtype))
    with pytest.raises(BadInput, match=r"does not say its unit: state depth_scale=1000 for millimetres"):
        read_depth(path, kind="metric")
    assert read_depth(path, depth_scale=1000).depth.numpy() == pytest.approx(METRES[None], abs=5e-4)


@pytest.mark.parametrize("form", [".npz", ".npy", ".tiff", ".pfm", ".exr"])
def test_floats_in_millimetres_are_refused_with_the_scale_to_state(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, form, METRES * 1000)
    with pytest.raises(BadInput, match=r"median of 2,400 is no depth in metres: depth_scale=1000 \(millimetres\)"):
        read_depth(path, kind="metric")
    assert read_depth(path, depth_scale=1000).depth.numpy() == pytest.approx(METRES[None], rel=1e-6)
    assert read_depth(path, depth_scale=1).depth.numpy() == pytest.approx(1000 * METRES[None], rel=1e-6)
    assert read_depth(path, kind="scale_free").depth.max() == 4000


@pytest.mark.parametrize("form", [".npz", ".npy", ".tiff", ".pfm", ".exr"])
def test_floats_in_metres_are_read_in_every_format(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, form, METRES)
    assert np.array_equal(read_depth(str(path), kind="metric").depth[0].numpy(), METRES)


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
