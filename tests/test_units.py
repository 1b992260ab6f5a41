"""Units and values: what the numbers of depth files mean is one thing for the reader and for the data checks."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from leadline.cli.main import main
from leadline.core.camera import ray_lengths
from leadline.core.errors import BadInput
from leadline.data.datasets import open_data
from leadline.io.images import write_image

SIZE = HEIGHT, WIDTH = 96, 128
CAMERA = (110.0, 110.0, 63.5, 47.5)


def room(number: int) -> np.ndarray:
    """Metres of a wall seen at a slant above a floor, other in each frame."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    across, down = (columns - CAMERA[2]) / CAMERA[0], (rows - CAMERA[3]) / CAMERA[1]
    wall = (2.0 + 0.1 * number) / (1 + (0.3 + 0.05 * number) * across + 0.1 * down)
    floor = 0.9 / np.maximum(down + 0.2, 1e-3)
    return np.minimum(wall, floor)


def write_data(root: Path, change: Callable[[np.ndarray], np.ndarray], *, suffix: str = "png", frames: int = 6) -> Path:
    """A folder of photographs and of what `change` makes of metres."""
    rng = np.random.default_rng(0)
    for number in range(frames):
        picture = cv2.GaussianBlur(rng.random((HEIGHT, WIDTH, 3), np.float32), (5, 5), 0)
        write_image(root / "rgb" / f"{number}.png", torch.from_numpy(picture).permute(2, 0, 1))
        (root / "depth").mkdir(exist_ok=True)
        numbers = change(room(number))
        file = root / "depth" / f"{number}.{suffix}"
        if suffix == "npz":
            np.savez(file, depth=numbers)
        else:
            cv2.imwrite(str(file), numbers.round().astype(np.uint16) if suffix == "png" else numbers)
    return root


def state_camera(root: Path) -> None:
    (root / "scenes.json").write_text(json.dumps({root.name: {"intrinsics_fx_fy_cx_cy": CAMERA}}))


def faults(capsys: pytest.CaptureFixture[str], words: str) -> dict[str, str]:
    """Check → message of what the doctor finds."""
    capsys.readouterr()
    assert main(["data", "doctor", words, "--json"]) in (0, 1)
    return {fault["check"]: fault["message"] for fault in json.loads(capsys.readouterr().out)["faults"]}


def test_distances_along_the_ray_are_suspected_where_walls_bulge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    along_axis = write_data(tmp_path / "axis", lambda metres: metres * 1000)
    along_ray = write_data(tmp_path / "ray", lambda metres: metres * 1000 * ray_lengths(CAMERA, SIZE))
    assert faults(capsys, f"{along_ray},depth_scale=1000") == {}  # without a camera nobody can tell
    for root in (along_axis, along_ray):
        state_camera(root)
    assert faults(capsys, f"{along_axis},depth_scale=1000") == {}
    found = faults(capsys, f"{along_ray},depth_scale=1000")
    assert found.keys() == {"along_ray"}
    assert "state along_ray=yes" in found["along_ray"]


def refusal(capsys: pytest.CaptureFixture[str], words: str, out: Path) -> tuple[str, ...]:
    """What the reader, `data prepare` and `train` say to data that they must refuse."""
    with pytest.raises(BadInput) as reader:
        open_data(words, "train")[0]
    said = [str(reader.value)]
    size = f"{HEIGHT}:{WIDTH}"
    for command in (
        ["data", "prepare", words, "--out", str(out / "store"), "--size", size, "--workers", "0"],
        ["train", "--data", words, "--out", str(out / "run"), "--steps", "1", "--workers", "0"],
    ):
        capsys.readouterr()
        assert main(command) == 1
        said.append(capsys.readouterr().err)
    return tuple(said)


@pytest.mark.parametrize("suffix", ["tiff", "npz"])
def test_millimetres_in_floats_are_refused_everywhere_until_they_are_stated(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", lambda metres: (metres * 1000).astype(np.float32), suffix=suffix, frames=12)
    assert all("depth_scale=1000" in said for said in refusal(capsys, str(data), tmp_path))
    assert "depth_scale=1000" in faults(capsys, str(data))["unit"]
    assert main(["data", "inspect", str(data)]) == 0
    assert "readers refuse as metres: state depth_scale=1000" in capsys.readouterr().out
    stated = f"{data},depth_scale=1000"
    assert faults(capsys, stated) == {}
    assert open_data(stated, "train")[0].depth.median() == pytest.approx(np.median(room(0)), rel=1e-3)


def test_centimetres_in_floats_are_suggested_as_what_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A room of 3 m, in the unit of some renderers; in millimetres it would be 30 cm deep."""
    data = write_data(tmp_path / "data", lambda metres: (metres * 100).astype(np.float32), suffix="npz", frames=12)
    for said in (*refusal(capsys, str(data), tmp_path), faults(capsys, str(data))["unit"]):
        assert re.search(r"depth_scale=100 \(centimetres\) makes it \d\.?\d* m; depth_scale=1000", said), said
    assert main(["data", "inspect", str(data)]) == 0
    assert "readers refuse as metres: state depth_scale=100 (centimetres)" in capsys.readouterr().out
    assert faults(capsys, f"{data},depth_scale=100") == {}


def test_millimetres_as_integers_in_npz_state_their_unit_or_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(
        tmp_path / "data", lambda metres: (metres * 1000).round().astype(np.uint16), suffix="npz", frames=12
    )
    assert all("depth_scale=1000" in said for said in refusal(capsys, str(data), tmp_path))
    stated = f"{data},depth_scale=1000"
    assert faults(capsys, stated) == {}
    assert open_data(stated, "train")[0].depth.median() == pytest.approx(np.median(room(0)), rel=1e-3)


@pytest.mark.parametrize(
    ("number", "share", "suffix"),
    [(1e10, 0.25, "npz"), (65504, 0.25, "tiff"), (65535, 0.01, "png"), (65535, 0.0001, "png")],
)
def test_backgrounds_of_renderers_are_refused_everywhere_until_they_are_stated(
    tmp_path: Path, number: float, share: float, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scale = 1000 if suffix == "png" else 1

    def with_background(metres: np.ndarray) -> np.ndarray:
        numbers = (metres * scale).astype(np.float32)
        numbers.ravel()[: max(1, round(share * numbers.size))] = number
        return numbers

    data = f"{write_data(tmp_path / 'data', with_background, suffix=suffix, frames=12)},depth_scale={scale}"
    for said in refusal(capsys, data, tmp_path):
        assert "no camera measures" in said
        assert f"state invalid={number:g} or max_depth=METRES" in said
    assert faults(capsys, data).keys() == {"background"}
    for option in (f"invalid=12:{number:g}", "max_depth=60"):
        sample = open_data(f"{data},{option}", "train")[0]
        assert (~sample.valid).float().mean() == pytest.approx(share, abs=1e-4)
        assert sample.depth.max() < 60
        assert faults(capsys, f"{data},{option}") == {}
    assert open_data(f"{data},invalid=none", "train")[0].depth.max() == pytest.approx(number / scale)


def rotated(millimetres: np.ndarray) -> np.ndarray:
    """As SUN RGB-D stores them: the bits turned left by three."""
    bits = millimetres.round().astype(np.uint16)
    return (bits << 3 | bits >> 13).astype(np.uint16)


@pytest.mark.parametrize("stated", ["", ",depth_scale=1000", ",depth_scale=5000"])
def test_sun_rgbds_rotated_bits_are_named_with_the_option_that_rotates_them_back(
    tmp_path: Path, stated: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", lambda metres: rotated(metres * 1000))
    found = faults(capsys, f"{data}{stated}")
    assert found.keys() == {"unit"}
    assert "SUN RGB-D's, millimetres with their bits rotated left by three, so state encoding=sunrgbd" in found["unit"]
    assert main(["data", "inspect", f"{data}{stated}"]) == 0
    assert "state encoding=sunrgbd" in capsys.readouterr().out
    encoded = f"{data},encoding=sunrgbd"
    assert faults(capsys, encoded) == {}
    assert torch.equal(
        open_data(encoded, "train")[0].depth[0], torch.from_numpy((room(0) * 1000).round().astype(np.float32)) / 1000
    )
    assert main(["data", "inspect", encoded]) == 0
    assert "encoding" in capsys.readouterr().out


def test_rotated_bits_of_what_is_farther_than_8_metres_come_back(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", lambda metres: rotated(metres * 9000), frames=1)
    depth = open_data(f"{data},encoding=sunrgbd,max_depth=15,invalid=9", "train")[0].depth[0].numpy() * 1000
    wanted = (room(0) * 9000).round()
    assert np.array_equal(depth.round(), np.where(wanted > 15000, 0, wanted))
    with pytest.raises(BadInput, match=r"No encoding is called 'kinect'\. Known encodings: sunrgbd"):
        open_data(f"{data},encoding=kinect", "train")
    with pytest.raises(BadInput, match="leave depth_scale=5000 out"):
        open_data(f"{data},encoding=sunrgbd,depth_scale=5000", "train")


def test_distances_along_the_ray_become_depth_where_the_user_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", lambda metres: metres * 1000 * ray_lengths(CAMERA, SIZE))
    words = f"{data},depth_scale=1000,along_ray=yes"
    with pytest.raises(BadInput, match="camera"):
        open_data(words, "train")[0]
    state_camera(data)
    assert open_data(words, "train")[0].depth[0].numpy() == pytest.approx(room(0), abs=0.001)
    assert faults(capsys, words) == {}
    encoded = write_data(tmp_path / "both", lambda metres: rotated(metres * 1000 * ray_lengths(CAMERA, SIZE)))
    state_camera(encoded)
    both = open_data(f"{encoded},encoding=sunrgbd,along_ray=yes", "train")[0].depth[0].numpy()
    assert both == pytest.approx(room(0), abs=0.001)


def test_what_a_reader_takes_by_rule_is_said_to_be_its_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sequence = write_data(tmp_path / "rgbd_mine", lambda metres: metres * 1000)
    for kind in ("rgb", "depth"):
        (sequence / f"{kind}.txt").write_text("".join(f"{number}.0 {kind}/{number}.png\n" for number in range(6)))
    assert main(["data", "inspect", str(sequence)]) == 0
    printed = capsys.readouterr().out
    assert "5000 steps a metre, by the rule of the reader tum" in printed
    assert "depth_scale=1000 would make it" in printed
    assert "the files say so" not in printed
    assert main(["data", "inspect", f"{sequence},depth_scale=1000"]) == 0
    assert "1000 steps a metre" in capsys.readouterr().out
    assert main(["data", "inspect", "rooms,height=96,width=128,count=2", "--frames", "1"]) == 0
    assert "by the rule of the reader rooms" in capsys.readouterr().out
    assert main(["data", "inspect", f"scannet:{scans(tmp_path)}"]) == 0
    assert "by the rule of the reader scannet" in capsys.readouterr().out


def scans(root: Path) -> Path:
    """One scan as ScanNet's exporter writes it."""
    scene = write_data(root / "scans" / "scene0000_00", lambda metres: metres * 1000)
    (scene / "rgb").rename(scene / "color")
    return root / "scans"


@pytest.mark.parametrize("option", ["max_depth=0", "max_depth=-1", "depth_scale=-5", "invalid=a", "along_ray=maybe"])
@pytest.mark.parametrize("command", ["doctor", "inspect"])
def test_options_out_of_range_are_refused_by_checks_as_by_the_reader(
    tmp_path: Path, option: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", lambda metres: metres * 1000, frames=1)
    with pytest.raises(BadInput) as refused:
        open_data(f"{data},{option}", "train")
    assert main(["data", command, f"{data},{option}"]) == 1
    assert str(refused.value) in capsys.readouterr().err


def test_the_doctor_says_which_unit_a_reader_will_ask_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_data(tmp_path / "data", lambda metres: metres * 1000)
    assert main(["data", "doctor", str(data)]) == 0
    assert "The files do not state their unit, and readers ask for it: depth_scale=1000 fits" in capsys.readouterr().out
    assert main(["data", "doctor", f"{data},depth_scale=1000"]) == 0
    assert "do not state their unit" not in capsys.readouterr().out


def test_one_file_that_the_reader_refuses_is_named_though_its_scene_is_metres(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", lambda metres: metres.astype(np.float32), suffix="tiff")
    assert faults(capsys, str(data)) == {}
    cv2.imwrite(str(data / "depth" / "3.tiff"), (room(3) * 1000).astype(np.float32))
    with pytest.raises(BadInput, match=r"3\.tiff does not say its unit, and a median of .* is no depth in metres"):
        open_data(str(data), "train")[3]
    assert "depth_scale=1000 (millimetres) makes it" in faults(capsys, str(data))["unit"]


# The library's own way of naming tables stumbles over a type of Arrow's.
@pytest.mark.filterwarnings("ignore:Cannot (locate reference|pickle)")
def test_a_table_of_the_hub_is_held_to_the_same_rule(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the library `datasets`: pip install 'leadline[datasets]'")
    picture = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8).numpy()
    far = room(0).astype(np.float32)
    far[0, :4] = 65504
    row = {"image": Image.fromarray(picture), "metres": far.tolist(), "depth": (room(0) * 1000).tolist()}
    kinds = {name: datasets.Array2D(shape=SIZE, dtype="float32") for name in ("metres", "depth")}
    features = datasets.Features({"image": datasets.Image(), **kinds})
    datasets.DatasetDict({"train": datasets.Dataset.from_list([row], features=features)}).save_to_disk(tmp_path / "t")
    with pytest.raises(BadInput, match=r"does not say its unit, and a median of .* depth_scale=1000"):
        open_data(f"hub:{tmp_path / 't'}", "train")[0]
    assert open_data(f"hub:{tmp_path / 't'},depth_scale=1000", "train")[0].depth.median() < 5
    with pytest.raises(BadInput, match="hold numbers up to 65504, which no camera measures"):
        open_data(f"hub:{tmp_path / 't'},depth=metres", "train")[0]
    assert not open_data(f"hub:{tmp_path / 't'},depth=metres,invalid=65504", "train")[0].valid[0, 0, :4].any()


@pytest.mark.parametrize("suffix", ["npy", "exr"])
def test_arrays_and_exr_are_found_as_depth_by_reader_and_doctor(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", lambda metres: metres.astype(np.float32), suffix="tiff", frames=2)
    for file in (data / "depth").iterdir():
        numbers = room(int(file.stem)).astype(np.float32)
        file.unlink()
        if suffix == "npy":
            np.save(file.with_suffix(".npy"), numbers[..., None])
        else:
            pytest.importorskip("OpenEXR", reason="needs the extra exr")
            write_exr(file.with_suffix(".exr"), numbers)
    assert open_data(str(data), "train")[1].depth[0].numpy() == pytest.approx(room(1), rel=1e-6)
    assert faults(capsys, str(data)) == {}


def write_exr(path: Path, numbers: np.ndarray) -> None:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"Z": numbers}).write(str(path))


def test_a_file_that_states_its_unit_needs_no_option_and_is_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", lambda metres: metres * 1000, suffix="npz", frames=6)
    for file in (data / "depth").iterdir():
        np.savez(file, depth=(room(int(file.stem)) * 1000).astype(np.uint16), unit="millimetres")
    assert open_data(str(data), "train")[0].depth.median() == pytest.approx(np.median(room(0)), rel=1e-3)
    assert faults(capsys, str(data)) == {}
    assert main(["data", "inspect", str(data)]) == 0
    assert "1000 steps a metre, the files say so" in capsys.readouterr().out
