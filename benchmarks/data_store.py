"""How fast random samples are read: a store, NYU's .mat, JPEG + PNG pairs: `python benchmarks/data_store.py`.

All give the same pictures at one training size, on one thread, from files that the memory already holds, so that what
is compared is the work of reading and not the disk. The .mat has the official file's layout; its chunks are one image
each, the best case for it. The plain rows leave Leadline's checks out: h5py and OpenCV alone.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import h5py
import numpy as np
import scipy.io
import torch

from leadline.data.datasets import open_data
from leadline.data.prepare import prepare
from leadline.data.transforms import resize
from leadline.io.depth_maps import DepthMap, write_depth
from leadline.io.images import write_image

HEIGHT, WIDTH = 480, 640
SCENES = 8
"""Rendered; further frames are these, brighter or darker."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each way is read, three times")
    options = parser.parse_args()
    size = tuple(options.size)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with TemporaryDirectory() as folder:
        ways = _ways(Path(folder), options.frames, size)
        order = np.random.default_rng(0).permutation(options.frames)
        # In turns, so that other work on the machine falls on all alike.
        turns = [{way: _per_second(read, order, options.seconds) for way, read in ways.items()} for _ in range(3)]
    best = {way: max(turn[way] for turn in turns) for way in ways}
    store = best["the store"]
    print(f"{options.frames} frames of {HEIGHT} × {WIDTH} at {size[0]} × {size[1]}, in random order, one thread:")
    for way, rate in best.items():
        print(f"  {way:34} {rate:7.0f} samples/s{'' if way == 'the store' else f'   the store: {store / rate:.0f} ×'}")


def _ways(folder: Path, frames: int, size: tuple[int, int]) -> Mapping[str, Callable[[int], object]]:
    """Name → reading the sample of a number."""
    _write(folder, frames)
    mat, pairs = f"nyu:{folder / 'nyu'},holdout=0", f"{folder / 'pairs'},depth_scale=1000"
    prepare(mat, str(folder / "store"), size)
    stored, official, folders = (open_data(words, "train") for words in (f"store:{folder / 'store'}", mat, pairs))
    images = sorted((folder / "pairs" / "rgb").iterdir())
    depths = sorted((folder / "pairs" / "depth").iterdir())

    def plain_mat(number: int) -> object:
        with h5py.File(folder / "nyu" / "nyu_depth_v2_labeled.mat") as file:
            pixels, metres = np.asarray(file["images"][number]), np.asarray(file["rawDepths"][number])  # pyright: ignore
        return _small(pixels.transpose(2, 1, 0), metres.T, size)

    def plain_pair(number: int) -> object:
        pixels = cv2.cvtColor(cv2.imread(str(images[number])), cv2.COLOR_BGR2RGB)  # pyright: ignore
        return _small(pixels, cv2.imread(str(depths[number]), cv2.IMREAD_UNCHANGED) / np.float32(1000), size)  # pyright: ignore

    return {
        "the store": stored.__getitem__,
        ".mat, as Leadline reads it": lambda number: resize(official[number], size),
        ".mat, h5py and OpenCV alone": plain_mat,
        "JPEG + PNG, as Leadline reads them": lambda number: resize(folders[number], size),
        "JPEG + PNG, OpenCV alone": plain_pair,
    }


def _write(folder: Path, frames: int) -> None:
    """The same frames in NYU's layout and as pairs of files."""
    rooms = open_data(f"rooms,height={HEIGHT},width={WIDTH},count={SCENES}", "train")
    scenes = [rooms[index] for index in range(SCENES)]
    rng = np.random.default_rng(0)
    (folder / "nyu").mkdir()
    with h5py.File(folder / "nyu" / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        # MATLAB's axes are turned round; 2.97 GB for what would be 6.2 GB says that the official file is compressed.
        packed = {"compression": "gzip", "compression_opts": 3}
        pixels = file.create_dataset("images", (frames, 3, WIDTH, HEIGHT), "u1", chunks=(1, 3, WIDTH, HEIGHT), **packed)
        metres = file.create_dataset("rawDepths", (frames, WIDTH, HEIGHT), "f4", chunks=(1, WIDTH, HEIGHT), **packed)
        file.create_dataset("depths", (frames, WIDTH, HEIGHT), "f4", chunks=(1, WIDTH, HEIGHT))
        for number in range(frames):
            scene = scenes[number % SCENES]
            # A photograph has the noise of its sensor, which no packing shrinks.
            noise = torch.from_numpy(rng.normal(0, 0.01, scene.image.shape).astype(np.float32))
            image = (scene.image * rng.uniform(0.7, 1.2) + noise).clamp(0, 1)
            depth = scene.depth.mul(1000).round().div(1000)
            pixels[number] = image.mul(255).round().byte().numpy().swapaxes(1, 2)
            metres[number] = depth[0].T.numpy()
            write_image(folder / "pairs" / "rgb" / f"{number:04d}.jpg", image)
            write_depth(folder / "pairs" / "depth" / f"{number:04d}.png", DepthMap(depth, scene.valid))
        texts = [np.array([[ord(letter)] for letter in f"room_{number:04d}"], np.uint16) for number in range(frames)]
        references = [file.create_dataset(f"#refs#/{i}", data=text).ref for i, text in enumerate(texts)]
        file.create_dataset("scenes", data=np.array([references], h5py.ref_dtype), dtype=h5py.ref_dtype)
    split = {"trainNdxs": np.arange(1, frames + 1)[:, None], "testNdxs": np.empty((0, 1))}
    scipy.io.savemat(folder / "nyu" / "splits.mat", split)


def _small(pixels: np.ndarray, metres: np.ndarray, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
    metres = cv2.resize(metres, size[::-1], interpolation=cv2.INTER_NEAREST)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div_(255), torch.from_numpy(metres)


def _per_second(read: Callable[[int], object], order: np.ndarray, seconds: float) -> float:
    """Samples a second of processor time: other work on the machine does not count."""
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        read(int(order[done % len(order)]))
        done += 1
    return done / (time.process_time() - start)


if __name__ == "__main__":
    main()
