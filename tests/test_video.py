"""Videos: every frame at its time, upright, on one scale of colours, steadier than frame by frame, and resumable."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from leadline.cli.main import main
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile
from leadline.data.datasets.rooms.clips import room_clip
from leadline.evaluation.flicker import FlickerMeter, exact_flow
from leadline.inference import video
from leadline.inference.optical_flow import estimate_flow
from leadline.inference.temporal import Smoother
from leadline.inference.video import VideoConfig, predict_video
from leadline.io.depth_maps import DepthMap, read_depth
from leadline.io.video import VideoWriter, read_frames, read_video_info, read_video_metadata, record_camera
from leadline.models.base import DepthModel
from leadline.models.registry import build
from leadline.models.saving import save


@pytest.fixture(scope="module")
def model() -> DepthModel:
    torch.manual_seed(0)
    return build("cnn", size="tiny", input_size=(64, 64)).eval()


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [frame.image for frame in room_clip(1, frames=8, height=48, width=64)]


TIMES = [Fraction(n, 30) + (Fraction(1, 3) if n > 4 else 0) for n in range(8)]
"""Of a telephone that paused: the rate varies."""


def clip(path: Path, frames: list[np.ndarray], times: list[Fraction] | None = None) -> Path:
    with VideoWriter(path, frames[0].shape[:2], 30) as writer:
        for pixels, time in zip(frames, times or TIMES, strict=True):
            writer.write(pixels, time)
    return path


def test_frames_come_back_at_their_times_one_by_one(tmp_path, frames):
    path = clip(tmp_path / "a.mp4", frames)
    read = list(read_frames(path))
    assert [frame.time for frame in read] == TIMES
    assert [frame.index for frame in read] == list(range(8))
    for frame, pixels in zip(read, frames, strict=True):
        assert np.abs(frame.pixels.astype(int) - pixels).mean() < 12
    later = list(read_frames(path, 6))
    assert [frame.index for frame in later] == [6, 7]
    assert np.array_equal(later[0].pixels, read[6].pixels)
    info = read_video_info(path)
    assert (info.size, info.frames, info.has_sound) == ((48, 64), 8, False)


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_a_clip_taken_on_its_side_is_turned_upright(tmp_path, frames, degrees, turns):
    path = clip(tmp_path / "a.mp4", frames)
    content = bytearray(path.read_bytes())
    # ISO 14496-12, 8.3.2: the track's header has its matrix 40 bytes after its version; angles are clockwise.
    place = content.index(b"tkhd") + 4 + 40
    cos, sin = (round(f(math.radians(degrees))) * 65536 for f in (math.cos, math.sin))
    for number, value in enumerate((cos, sin, 0, -sin, cos, 0)):
        content[place + 4 * number : place + 4 * number + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    shown = next(read_frames(path)).pixels
    plain = next(read_frames(clip(tmp_path / "b.mp4", frames))).pixels
    assert np.array_equal(shown, np.rot90(plain, turns))
    assert read_video_info(path).size == shown.shape[:2]


def test_a_video_becomes_pictures_maps_and_times_on_one_scale(model, tmp_path, frames):
    path = clip(tmp_path / "walk.mp4", frames)
    told = []
    result = predict_video(
        model, str(path), tmp_path / "out", VideoConfig("png"), on_frame=lambda done, total: told.append((done, total))
    )
    assert (result.frames, result.resumed_at, result.video.name) == (8, 0, "walk.depth.mp4")
    assert told == [(n + 1, 8) for n in range(8)]
    shown = list(read_frames(result.video))
    assert [frame.time for frame in shown] == TIMES
    height, width = shown[0].pixels.shape[:2]
    assert (height > 48, width >= 128) == (True, True)
    # The legend is the same in every frame: one scale.
    legends = [frame.pixels[58:].astype(int) for frame in shown]
    assert max(np.abs(each - legends[0]).mean() for each in legends) < 2
    maps = sorted((tmp_path / "out" / "walk").glob("*.png"))
    assert [each.name for each in maps] == [f"{n:06}.png" for n in range(8)]
    depth = read_depth(maps[3])
    assert (depth.shape, depth.kind) == ((48, 64), DepthKind.METRIC)
    lines = (tmp_path / "out" / "walk" / "times.csv").read_text().splitlines()
    assert lines[0] == "frame,seconds"
    assert [float(line.split(",")[1]) for line in lines[1:]] == pytest.approx([float(time) for time in TIMES], abs=1e-6)
    assert predict_video(model, path, tmp_path / "out", VideoConfig("png")).resumed_at == 8
    assert not (tmp_path / "out" / ".walk.video").exists()


PEAKS = """
import sys
from pathlib import Path
import cv2
from leadline.inference.session import load_predictor
from leadline.inference.video import VideoConfig, predict_video
cv2.setNumThreads(1)
model = load_predictor(sys.argv[1], "cpu")
for clip in sys.argv[3:]:
    made = predict_video(model, clip, sys.argv[2], VideoConfig("npz"))
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(made.frames, int(peak.split()[1]) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux states the peak of a process's memory")
@pytest.mark.long
def test_a_clip_ten_times_as_long_takes_no_more_memory(model, tmp_path):
    save(model, tmp_path / "model")
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(0, 256, (60, 80, 3), np.uint8), (240, 120), interpolation=cv2.INTER_CUBIC)
    clips = {count: tmp_path / f"{count}.mp4" for count in (30, 300)}
    for count, path in clips.items():
        with VideoWriter(path, (120, 160), 30) as writer:
            for number in range(count):
                left = round(40 + 30 * math.sin(number / 20))
                writer.write(np.ascontiguousarray(wall[:, left : left + 160]), Fraction(number, 30))
    # One thread: many wait for each other where other programs compute.
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", PEAKS, tmp_path / "model", tmp_path / "out", *clips.values()]
    told = subprocess.run(words, capture_output=True, text=True, check=True, env=threads).stdout.splitlines()
    peaks = {int(frames): int(peak) for frames, peak in map(str.split, told)}
    assert list(peaks) == [30, 300]
    # The pixels of 270 frames are 16 MB, their depth 21 MB.
    assert peaks[300] < peaks[30] + 8_000_000, peaks


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError, None])
def test_a_killed_run_resumes_where_it_stopped_with_the_same_depth(model, tmp_path, frames, monkeypatch, stop):
    monkeypatch.setattr(video, "_PIECE", 3)
    path = clip(tmp_path / "walk.mp4", frames)
    whole = predict_video(model, path, tmp_path / "whole", VideoConfig("npz"))

    def end(done: int, total: int | None) -> None:
        if done == 5:
            # None: the process is gone, and cannot tidy up.
            raise stop or RuntimeError("killed")

    with pytest.raises(stop or RuntimeError):
        predict_video(model, path, tmp_path / "out", VideoConfig("npz"), on_frame=end)
    if stop is None:
        (tmp_path / "out" / ".walk.video" / f".0000003.{2**15}.half.mp4").write_bytes(b"half")
    resumed = predict_video(model, path, tmp_path / "out", VideoConfig("npz"))
    assert resumed.resumed_at == (5 if stop is KeyboardInterrupt else 3)
    assert resumed.frames == whole.frames == 8
    for one in sorted((tmp_path / "whole" / "walk").iterdir()):
        other = tmp_path / "out" / "walk" / one.name
        if one.suffix == ".npz":
            assert torch.equal(read_depth(one).depth, read_depth(other).depth), one.name
        else:
            assert one.read_text() == other.read_text()
    assert [frame.time for frame in read_frames(resumed.video)] == TIMES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_frame_waits_until_it_is_whole(model, tmp_path, frames, monkeypatch, number):
    path = clip(tmp_path / "walk.mp4", frames)
    predict_video(model, path, tmp_path / "whole", VideoConfig("npz"))
    smooth, taken = Smoother.next, []

    def smooth_and_stop(self, pixels, depth):
        values = smooth(self, pixels, depth)
        taken.append(values)
        if len(taken) == 4:
            signal.raise_signal(number)
        return values

    monkeypatch.setattr(Smoother, "next", smooth_and_stop)
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
        predict_video(model, path, tmp_path / "out", VideoConfig("npz"))
    (tmp_path / "out" / "walk" / f".000004.{2**15}.half.npz").write_bytes(b"half")
    assert predict_video(model, path, tmp_path / "out", VideoConfig("npz")).resumed_at == 4
    assert [each.name for each in (tmp_path / "out" / "walk").iterdir() if each.name.startswith(".")] == []
    for one in (tmp_path / "whole" / "walk").glob("*.npz"):
        assert torch.equal(read_depth(one).depth, read_depth(tmp_path / "out" / "walk" / one.name).depth), one.name


def test_the_depth_of_another_video_is_replaced_only_if_asked(model, tmp_path, frames):
    first, second = clip(tmp_path / "walk.mp4", frames), clip(tmp_path / "other" / "walk.mp4", frames[::-1])
    made = predict_video(model, first, tmp_path / "out").video
    before = made.read_bytes()
    with pytest.raises(
        BadInput, match=r"walk\.depth\.mp4 is not of .*other/walk\.mp4: choose another --out, or --over"
    ):
        predict_video(model, second, tmp_path / "out")
    assert made.read_bytes() == before
    # The same video is the same wherever it lies, and so is one that was changed where it lies.
    (tmp_path / "moved").mkdir()
    moved = shutil.copy(first, tmp_path / "moved" / "walk.mp4")
    assert predict_video(model, moved, tmp_path / "out").resumed_at == 8
    clip(first, frames[:6], TIMES[:6])
    assert predict_video(model, first, tmp_path / "out").frames == 6
    assert predict_video(model, second, tmp_path / "out", overwrite=True).frames == 8
    assert made.read_bytes() != before


def test_an_interrupted_video_is_not_dropped_for_another_of_its_name(model, tmp_path, frames):
    first, second = clip(tmp_path / "walk.mp4", frames), clip(tmp_path / "other" / "walk.mp4", frames[::-1])

    def end(done: int, _: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_video(model, first, tmp_path / "out", on_frame=end)
    with pytest.raises(BadInput, match=r"is not of .*other/walk"):
        predict_video(model, second, tmp_path / "out")
    assert predict_video(model, first, tmp_path / "out").resumed_at == 3


@pytest.mark.parametrize("damage", ["swap", "remove", "replace"])
def test_pieces_that_are_not_those_of_the_state_are_made_again(model, tmp_path, frames, monkeypatch, damage):
    monkeypatch.setattr(video, "_PIECE", 2)
    path = clip(tmp_path / "walk.mp4", frames)

    def end(done: int, total: int | None) -> None:
        if done == 5:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        predict_video(model, path, tmp_path / "out", on_frame=end)
    first, second = (tmp_path / "out" / ".walk.video" / name for name in ("0000000.mp4", "0000002.mp4"))
    if damage == "swap":
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    elif damage == "remove":
        second.unlink()
    else:
        shutil.copy(path, first)
    resumed = predict_video(model, path, tmp_path / "out")
    assert (resumed.resumed_at, resumed.frames) == (0, 8)


def test_the_sound_is_kept_when_it_is_asked_for(model, tmp_path, frames):
    silent = clip(tmp_path / "silent.mp4", frames)
    path = tmp_path / "loud.mp4"
    with av.open(str(silent)) as source, av.open(str(path), "w") as out:
        picture = out.add_stream_from_template(source.streams.video[0])
        sound = out.add_stream("aac", rate=48000, layout="mono")
        for packet in source.demux(source.streams.video[0]):
            if packet.pts is not None:
                packet.stream = picture
                out.mux(packet)
        for block in range(20):
            tone = np.sin(2 * np.pi * 440 * (np.arange(1024) + 1024 * block) / 48000).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
            frame.rate, frame.pts = 48000, 1024 * block
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    assert read_video_info(path).has_sound
    kept = predict_video(model, path, tmp_path / "kept", VideoConfig(sound=True))
    with av.open(str(kept.video)) as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert np.sqrt(np.mean(samples[4096:16384] ** 2)) == pytest.approx(math.sqrt(0.5), rel=0.1)
    assert not read_video_info(predict_video(model, path, tmp_path / "left").video).has_sound


def noisy(metres: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A prediction with a steady error, and one that is new in each frame: of scale, of low and of high frequency."""
    coarse = np.kron(rng.normal(0, 0.05, (6, 8)), np.ones((metres.shape[0] // 6, metres.shape[1] // 8)))
    return metres * 1.1 * np.exp(rng.normal(0, 0.05) + coarse + rng.normal(0, 0.03, metres.shape))


def test_smoothing_takes_two_thirds_of_the_flicker_and_adds_no_error():
    rng = np.random.default_rng(0)
    meters, truth_before = [FlickerMeter(), FlickerMeter()], None
    before: list[np.ndarray | None] = [None, None]
    smoother = Smoother(DepthKind.METRIC)
    for frame in room_clip(0, frames=30, height=96, width=128):
        single = noisy(frame.depth, rng).astype(np.float32)
        flow = exact_flow(frame.columns, frame.rows, frame.is_seen)
        for number, depth in enumerate((single, smoother.next(frame.image, single))):
            meters[number].add(depth, before[number], flow, frame.depth, truth_before)
            before[number] = depth
        truth_before = frame.depth
    alone, smooth = meters
    assert alone.flicker == pytest.approx(math.sqrt(2) * math.hypot(0.05, 0.05, 0.03), rel=0.25)
    assert smooth.flicker < alone.flicker / 3
    assert smooth.rmse < alone.rmse
    assert smoother.cuts == 0


@pytest.mark.parametrize("kind", [DepthKind.SCALE_FREE, DepthKind.RELATIVE])
def test_a_factor_and_a_shift_of_each_frame_are_no_flicker_after_smoothing(kind):
    smoother, kept = Smoother(kind), []
    rng = np.random.default_rng(0)
    for frame in room_clip(0, frames=6, height=96, width=128, sway=0.02):
        inverse = kind is DepthKind.RELATIVE
        values = (1 / frame.depth if inverse else frame.depth) * rng.uniform(0.5, 2) + (rng.normal() if inverse else 0)
        kept.append(smoother.next(frame.image, values.astype(np.float32)))
    spread = np.std([np.median(each) for each in kept]) / np.std(kept[0])
    assert spread < 0.1


def test_a_cut_begins_anew():
    one, other = (next(room_clip(index, frames=1, height=96, width=128)) for index in (0, 5))
    smoother = Smoother(DepthKind.METRIC)
    for frame in (one, one, other):
        near = np.full((96, 128), 1.0 if frame is one else 6.0, np.float32)
        last = smoother.next(frame.image, near)
    assert smoother.cuts == 1
    np.testing.assert_allclose(last, 6.0, rtol=1e-6)


def test_flow_follows_a_picture_that_moves_and_distrusts_what_was_not_seen():
    rng = np.random.default_rng(0)
    wide = np.kron(rng.integers(0, 256, (24, 40), np.uint8), np.ones((6, 6), np.uint8))
    before, now = wide[:, 20:180], wide[:, 15:175]
    flow = estimate_flow(np.ascontiguousarray(now), np.ascontiguousarray(before))
    moved = np.median((flow.columns - np.arange(160))[:, 20:-20])
    assert moved == pytest.approx(-5, abs=0.5)
    assert flow.trust[:, 20:-20].mean() > 0.8
    assert flow.trust[:, :4].mean() < 0.4
    assert not flow.is_cut


@pytest.mark.parametrize("size", [(2, 640), (16, 640), (31, 640), (640, 16), (32, 640), (16, 16)])
def test_frames_of_any_aspect_have_a_flow(size):
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, size, np.uint8)
    flow = estimate_flow(frame, frame)
    assert np.abs(flow.columns - np.arange(size[1])).max() < 1
    assert flow.trust.mean() > 0.9


def test_flicker_without_truth_is_the_change_of_the_depth_itself():
    meter = FlickerMeter()
    still = exact_flow(*np.meshgrid(np.arange(8.0), np.arange(6.0)), np.ones((6, 8), bool))
    depth = np.full((6, 8), 2.0, np.float32)
    meter.add(depth, None, None)
    meter.add(depth * np.float32(1.1), depth, still)
    assert meter.flicker == pytest.approx(math.log(1.1), rel=1e-5)
    assert math.isnan(meter.rmse)


def test_a_command_compares_the_flicker_of_folders_of_maps(tmp_path, capsys):
    rng = np.random.default_rng(0)
    seen = list(room_clip(0, frames=4, height=48, width=64))
    path = clip(tmp_path / "walk.mp4", [frame.image for frame in seen], TIMES[:4])
    for index, frame in enumerate(seen):
        for name, values in (("truth", frame.depth), ("steady", 1.2 * frame.depth), ("noisy", noisy(frame.depth, rng))):
            depth = torch.from_numpy(values.astype(np.float32))[None]
            DepthMap(depth, depth > 0).save(tmp_path / name / f"{index:06}.npz")
    folders = [str(tmp_path / name) for name in ("steady", "noisy")]
    words = ["evaluate", "video", str(path), "--predictions", *folders, "--json", str(tmp_path / "flicker.json")]
    assert main([*words, "--ground-truth", str(tmp_path / "truth")]) == 0
    steady, wild = json.loads((tmp_path / "flicker.json").read_bytes())["flicker"].values()
    assert steady["flicker"] < 0.02 < wild["flicker"]
    assert steady["rmse"] == pytest.approx(0.2 * np.sqrt(np.mean([frame.depth**2 for frame in seen])), rel=1e-3)
    assert "flicker (ln)" in capsys.readouterr().out
    (tmp_path / "noisy" / "000002.npz").unlink()
    assert main(words) == 1
    assert "has no map of frame 2" in capsys.readouterr().err


def test_a_command_predicts_a_video_and_names_what_it_cannot_read(model, tmp_path, frames, capsys):
    save(model, tmp_path / "model")
    path = clip(tmp_path / "walk.mp4", frames)
    (tmp_path / "broken.mp4").write_bytes(path.read_bytes()[:200])
    words = ["--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    assert main(["predict", str(path), *words, "--field-of-view", "70"]) == 0
    assert "8 frames" in capsys.readouterr().out
    assert main(["predict", str(path), str(tmp_path / "broken.mp4"), *words, "--field-of-view", "70"]) == 1
    printed = capsys.readouterr()
    assert "8 frames (8 of them before)" in printed.out
    assert "broken.mp4 cannot be read as a video" in printed.err
    assert main(["predict", str(path), *words, "--scale-from", "1,1,2"]) == 1
    assert "are for photographs" in capsys.readouterr().err
    assert main(["predict", str(path), *words, "--format", "npz"]) == 1
    assert "--video.frames writes maps of a video" in capsys.readouterr().err
    shutil.copy(path, tmp_path / "out" / "mine.depth.mp4")
    shutil.copy(path, tmp_path / "mine.mp4")
    assert main(["predict", str(tmp_path / "mine.mp4"), *words]) == 1
    assert "Leadline did not write it" in capsys.readouterr().err
    assert not read_video_metadata(tmp_path / "out" / "mine.depth.mp4").get("leadline:request")


def test_a_camera_is_recorded_with_the_times_at_which_frames_came(tmp_path, frames):
    source = clip(tmp_path / "walk.mp4", frames)
    assert record_camera(str(source), tmp_path / "camera.mp4", 60) == 8
    recorded = list(read_frames(tmp_path / "camera.mp4"))
    assert len(recorded) == 8
    assert all(before.time < after.time < 60 for before, after in pairwise(recorded))
    for frame, pixels in zip(recorded, frames, strict=True):
        assert np.abs(frame.pixels.astype(float) - pixels).mean() < 12  # compressed twice
    assert record_camera(str(source), tmp_path / "short.mp4", 1e-6) < 8


def test_a_camera_that_is_not_there_is_an_error_in_one_line_and_leaves_nothing(tmp_path, capfd):
    assert main(["predict", "--camera", "97", "--out", str(tmp_path)]) == 1
    told = capfd.readouterr().err.strip().splitlines()
    assert told[-1] == ("leadline predict: Camera 97 shows nothing: is it there, and does no other program use it?")
    assert not any("WARN" in line or "ERROR" in line for line in told)
    assert not list(tmp_path.iterdir())
    assert main(["predict", "--camera", "0", "photo.jpg", "--out", str(tmp_path)]) == 1
    assert "either --camera or files" in capfd.readouterr().err


def test_what_is_no_video_is_refused(model, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(UnreadableFile, match=r"a\.mp4 is empty"):
        predict_video(model, tmp_path / "a.mp4", tmp_path / "out")
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(UnreadableFile, match=r"b\.mp4 cannot be read as a video \([^\[\]]*\): is it whole"):
        predict_video(model, tmp_path / "b.mp4", tmp_path / "out")
    for path in (tmp_path / "a.mp4", tmp_path / "absent.mp4"):
        with pytest.raises(UnreadableFile):
            predict_video(model, path, tmp_path / "out")
    with pytest.raises(BadInput, match="smoothing"):
        predict_video(model, tmp_path / "a.mp4", tmp_path / "out", VideoConfig(smoothing=1.0))


def test_the_folder_that_predict_wrote_into_is_told_from_that_of_the_maps(tmp_path, frames, capsys):
    video_file = clip(tmp_path / "a.mp4", frames)
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "000000.png").write_bytes(b"")
    for place, said in (("out", f"but {tmp_path}/out/a has: give that folder"), ("none", f"No folder {tmp_path}/none")):
        assert main(["evaluate", "video", str(video_file), "--predictions", str(tmp_path / place)]) == 1
        assert said in capsys.readouterr().err


def test_a_recording_without_pictures_is_named_with_what_it_holds(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 44100
        for packet in (*stream.encode(sound), *stream.encode(None)):
            container.mux(packet)
    with pytest.raises(UnreadableFile, match=r"no picture in it, only audio: is it a video, and whole\?"):
        read_video_info(tmp_path / "a.mp4")
