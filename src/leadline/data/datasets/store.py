"""Store: samples of one size that `leadline data prepare` wrote from any dataset, in a folder or at an address.

    OUT/manifest.json         the source of the samples, their kind, size and number, split by split, and a checksum of
                              each shard, which the shard's own metadata repeats
    OUT/train/00000.arrow     some 32 MB of samples, each a record batch of its own:
                              name, image (3, H, W), depth (1, H, W), intrinsics (4), crc32 of all these

The shards are Arrow IPC files (<https://arrow.apache.org/docs/format/Columnar.html>). Their specification has been
stable since 1.0 (2020), and pandas, Polars, DuckDB and a dozen languages read them without Leadline. One file holds
many samples, and its footer says where each begins: any of them is found at once, memory-mapped from a local disk
without a copy, or fetched from an address as a range of bytes. Of the alternatives, Zarr keeps arrays in chunks that a
sample has to be assembled from, behind an event loop that does not survive a fork, and maps nothing; a WebDataset is a
tar file, to be read from beginning to end; HDF5 decompresses one chunk at a time under a lock.

Unit: metres as whole millimetres (uint16, 0 is not measured) in a shard where nothing is beyond 65.535 m; metres in
other shards, and depth of the other kinds, as float32 (NaN is not measured). Images have 8 bits a channel.
Trap: the size is part of the data: a store of small samples has lost the details; its name in tables states the size.
"""

import os
import weakref
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import torch
from fsspec.implementations.local import LocalFileSystem

from leadline.core.camera import explain_impossible_camera
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, UnreadableFile
from leadline.core.paths import StrPath
from leadline.core.sample import Sample
from leadline.io.json_text import parse_json

LICENCE = ""
"""The manifest of each store states it, as its source does."""
FORMAT = 1
"""Version of the format; a newer one is refused."""
MANIFEST = "manifest.json"
UNKNOWN = "unknown"
"""A licence that nobody stated."""
STEPS = 1000
"""Steps per metre, where depth is stored in whole millimetres."""
_LAST_STEP = 65535
CHECKSUM = "leadline_crc32"
"""Key, in a shard's metadata, of the CRC-32 of its samples' checksums; shards of older versions have none."""
_OPEN = 32
"""Shards that a process keeps mapped, about a gigabyte of addresses, however large the store."""


@dataclass(frozen=True)
class Shard:
    """A shard as the manifest describes it."""

    file: str
    """Its address."""
    samples: int
    size: tuple[int, int]
    """Height and width of the samples."""
    checksum: str | None
    """Of its content, which tells it from its siblings; older versions stated none."""


@dataclass(frozen=True)
class ArrowDataset:
    """One split of a store; build it with `store`. It holds no open file, so that processes share nothing."""

    name: str
    kind: DepthKind
    shards: tuple[Shard, ...]
    starts: tuple[int, ...]
    """Number of the first sample of each."""
    count: int
    licence: str
    """As the manifest states it; empty where it is unknown."""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            UnreadableFile: the shard is missing, damaged, out of reach, or another than the manifest describes.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name} has samples 0 … {self.count - 1}, and not {index}.")
        number = bisect_right(self.starts, index) - 1
        return read(self.shards[number], index - self.starts[number], self.kind)


def store(split: str, *, path: StrPath) -> ArrowDataset:
    """Open the samples of one split, at the size that they were prepared at.

    Args:
        split: "train", "val" or "test".
        path: a local folder, or any address that fsspec knows: s3://…, gs://…, https://…, simplecache::https://….

    Raises:
        NoSplit: the store has no such split.
        BadInput: no store, one that is not finished, or of a newer format.
    """
    path = os.fspath(path)
    manifest = read_manifest(path)
    if manifest is None:
        raise BadInput(f"No store of samples at {path} (it has no {MANIFEST}): `leadline data prepare` makes one.")
    if split not in manifest["splits"]:
        known_splits = manifest["splits"]
        known = ", ".join(known_splits)
        added = f"`leadline data prepare --split {split}` adds it where the data has one"
        other = f"else give --split {next(iter(known_splits))}"
        raise NoSplit(f"{path} has no {split} split, only {known}: {added}; {other}.")
    part = manifest["splits"][split]
    if part["shards"] is None:
        raise BadInput(f"The {split} split of {path} is not finished: the same `leadline data prepare` continues it.")
    *starts, count = accumulate(part["shards"], initial=0)
    height, width = manifest["size"]
    name = f"{part['source']['name']} at {height} × {width}"
    checksums = part.get("checksums") or [None] * len(starts)
    shards = tuple(
        Shard(shard_file(path, part["folder"], number), samples, (height, width), checksum)
        for number, (samples, checksum) in enumerate(zip(part["shards"], checksums, strict=True))
    )
    licence = part["licence"] if part["licence"] != UNKNOWN else ""
    return ArrowDataset(name, DepthKind(manifest["kind"]), shards, tuple(starts), count, licence)


def read_manifest(address: str) -> dict[str, Any] | None:
    """Read the manifest of a store; return None where there is none.

    Raises:
        BadInput: it cannot be read, or is newer than this code.
    """
    file = join_address(address, MANIFEST)
    try:
        with _unreadable_file(file, "if it is damaged, delete the store and prepare it again"):
            filesystem, path = filesystem_and_path(file)
            manifest = parse_json(filesystem.cat_file(path))
            newest = int(manifest["format"])
    except UnreadableFile as problem:
        if isinstance(problem.__cause__, FileNotFoundError):
            return None
        raise
    if newest > FORMAT:
        raise BadInput(f"{file} is of format {newest}, newer than this leadline: upgrade it.")
    with _unreadable_file(file, "delete the store and prepare it again"):
        _must_describe_a_store(manifest)
    return manifest


def _must_describe_a_store(manifest: dict[str, Any]) -> None:
    """Raise whatever is wrong with what a reader or `prepare` takes from a manifest."""
    DepthKind(manifest["kind"])
    if not (len(manifest["size"]) == 2 and all(type(side) is int and side > 0 for side in manifest["size"])):
        raise ValueError(f"its size is {manifest['size']}")
    for split, part in manifest["splits"].items():
        texts = (part["folder"], part["licence"], part["source"]["name"])
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"of the {split} split it does not say where it comes from")
        if not all(type(samples) is int and samples >= 0 for samples in part["shards"] or ()):
            raise ValueError(f"of the {split} split it does not say how many samples it has")
        checksums = part.get("checksums")
        if checksums is not None and not (
            len(checksums) == len(part["shards"]) and all(isinstance(each, str | None) for each in checksums)
        ):
            raise ValueError(f"of the {split} split it does not say the checksum of each shard")


def read(shard: Shard, place: int, kind: DepthKind) -> Sample:
    """Read one sample of a shard, verified against its checksum the first time that a process reads it.

    Args:
        shard: where it is, and what it must be.
        place: number of the sample in the shard, from 0.
        kind: of the depth, as the manifest states it.

    Raises:
        UnreadableFile: the shard is missing, damaged, out of reach, or another than the manifest describes.
    """
    with _unreadable_file(shard.file, "the `leadline data prepare` that wrote it, with --verify, writes it again"):
        opened = _opened(shard, os.getpid())
        record = opened.reader.get_batch(place)
        if place not in opened.checked:
            _check(record)
            _check_camera(record, shard.file)
            opened.checked.add(place)
        return _decoded(record, kind)


def describe_shard(file: str, size: tuple[int, int], *, is_checked: bool = False) -> Shard | None:
    """Return what a shard holds; None if it is missing, damaged or of samples of another size.

    A truncated shard is always noticed; a changed byte only with `is_checked`, which reads all samples.

    Args:
        file: its address.
        size: height and width of the samples that it should hold.
        is_checked: whether to compare all samples with their checksums.
    """
    try:
        with _unreadable_file(file, ""):
            close()
            reader = _reader(file)
            found = Shard(file, reader.num_record_batches, _size(reader), _checksum_of_shard(reader))
            if is_checked:
                for place in range(found.samples):
                    _check(reader.get_batch(place))
            return found if found.size == size else None
    except UnreadableFile:
        return None


def encode_shard(
    samples: Sequence[Sample], size: tuple[int, int], kind: DepthKind, compression: str | None = None
) -> tuple[bytes, str]:
    """Encode samples of one size and one kind as the bytes of a shard, and return its checksum with them.

    Depth of less than half a millimetre becomes one millimetre, because 0 means not measured.

    Args:
        samples: what to encode.
        size: height and width of all of them.
        kind: of their depth.
        compression: None, "lz4" or "zstd".
    """
    height, width = size
    dtype = np.uint16
    depths = [np.where(sample.valid.numpy(), sample.depth.numpy(), np.float32(np.nan)) for sample in samples]
    if kind is DepthKind.METRIC and all(np.rint(np.nanmax(depth, initial=0) * STEPS) <= _LAST_STEP for depth in depths):
        depths = [np.nan_to_num(np.rint(depth * STEPS).clip(1)) for depth in depths]
    else:
        dtype = np.float32
    depths = [np.ascontiguousarray(depth, dtype) for depth in depths]
    images = [np.ascontiguousarray(sample.image.mul(255).round().to(torch.uint8).numpy()) for sample in samples]
    cameras = [
        None if sample.intrinsics is None else sample.intrinsics.float().contiguous().numpy() for sample in samples
    ]
    sums = [
        _checksum(str(sample.name), image, depth, camera)
        for sample, image, depth, camera in zip(samples, images, depths, cameras, strict=True)
    ]
    checksum = f"{zlib.crc32(np.array(sums, '<u4').tobytes()):08x}"
    schema = pa.schema(
        [
            pa.field("name", pa.string(), nullable=False),
            pa.field("image", pa.fixed_shape_tensor(pa.uint8(), (3, height, width), ["channel", "row", "column"])),
            pa.field("depth", pa.fixed_shape_tensor(pa.from_numpy_dtype(dtype), (1, height, width))),
            pa.field("intrinsics", pa.list_(pa.float32(), 4)),
            pa.field("crc32", pa.uint32(), nullable=False),
        ],
        {CHECKSUM: checksum},
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for sample, image, depth, camera, total in zip(samples, images, depths, cameras, sums, strict=True):
            columns = [
                pa.array([str(sample.name)]),
                _tensor(image, schema.field("image").type),
                _tensor(depth, schema.field("depth").type),
                pa.array([camera], schema.field("intrinsics").type),
                pa.array([total], pa.uint32()),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return sink.getvalue().to_pybytes(), checksum


def shard_file(address: str, folder: str, number: int) -> str:
    """Return the address of a shard.

    Args:
        address: of the store.
        folder: of the split in it.
        number: of the shard, from 0.
    """
    return join_address(address, f"{folder}/{number:05d}.arrow")


def join_address(address: str, name: str) -> str:
    """Append a file's name to the address of a store; chained addresses, `simplecache::https://…`, work as well."""
    return f"{address.rstrip('/')}/{name}"


def filesystem_and_path(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of an address, new in a forked process, and the path in it.

    Raises:
        BadInput: no such kind of address, or its package is not installed.
    """
    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as missing:
        raise BadInput(f"{address}: {missing}: `pip install` it first.") from missing
    except ValueError as mistake:
        raise BadInput(f"{address}: {mistake}.") from mistake


def is_local(filesystem: Any) -> bool:
    """Return whether an fsspec file system is that of this machine's disks."""
    return isinstance(filesystem, LocalFileSystem)


def close() -> None:
    """Close all open shards, so that files written since are read again."""
    _opened.cache_clear()


@dataclass(frozen=True)
class _OpenShard:
    reader: Any
    checked: set[int]
    """Numbers of the samples whose checksums were right."""


@lru_cache(maxsize=_OPEN)
def _opened(shard: Shard, _process: int) -> _OpenShard:
    """Open a shard; a forked process opens its own, because connections and file positions cannot be shared."""
    reader = _reader(shard.file)
    found = Shard(shard.file, reader.num_record_batches, _size(reader), shard.checksum and _checksum_of_shard(reader))
    if found != shard:
        raise ValueError(f"it is a shard of other samples than {MANIFEST} says")
    return _OpenShard(reader, set())


def _reader(file: str) -> Any:
    filesystem, path = filesystem_and_path(file)
    # The loader's processes already use all cores.
    options = pa.ipc.IpcReadOptions(use_threads=False)
    if is_local(filesystem):
        return pa.ipc.open_file(pa.memory_map(path), options=options)
    # Arrow reads a record's header first: reading about a sample ahead saves the next request.
    source = filesystem.open(path, "rb", block_size=2**18, cache_type="readahead")
    reader = pa.ipc.open_file(source, options=options)
    weakref.finalize(reader, source.close)
    return reader


def _size(reader: Any) -> tuple[int, int]:
    """Return height and width of a shard's samples."""
    _, height, width = reader.schema.field("image").type.shape
    return height, width


def _checksum_of_shard(reader: Any) -> str | None:
    """Return what a shard's metadata states."""
    stated = (reader.schema.metadata or {}).get(CHECKSUM.encode())
    return None if stated is None else stated.decode()


@contextmanager
def _unreadable_file(file: str, fix: str) -> Iterator[None]:
    """Turn whatever goes wrong with a file into an `UnreadableFile` that names it and says how to fix it."""
    try:
        yield
    except BadInput:
        raise
    # Each kind of address fails with errors of its own, and a damaged file with any.
    except Exception as problem:
        reason = str(problem).rstrip(".") or type(problem).__name__
        raise UnreadableFile(f"{file} is missing, damaged or out of reach ({reason}): {fix}.") from problem


def _check(record: pa.RecordBatch) -> None:
    name, image, depth, camera = _columns(record)
    if record.column("crc32")[0].as_py() != _checksum(name, image, depth, camera):
        raise ValueError("its numbers are not those that were written")


def _check_camera(record: pa.RecordBatch, file: str) -> None:
    """Refuse the camera of a sample that cannot have taken its photograph; older versions stored any."""
    name, image, _, camera = _columns(record)
    if camera is not None and (fault := explain_impossible_camera(camera.tolist(), image.shape[-2:])):
        raise BadInput(f"{name} in {file}: {fault}; correct the source, and prepare it again.")


def _decoded(record: pa.RecordBatch, kind: DepthKind) -> Sample:
    name, image, depth, camera = _columns(record)
    if depth.dtype == np.uint16:
        valid = depth > 0
        depth = depth / np.float32(STEPS)
    else:
        valid = ~np.isnan(depth)
        depth = np.where(valid, depth, np.float32(0))
    return Sample(
        image=torch.from_numpy(image / np.float32(255)),
        depth=torch.from_numpy(depth),
        valid=torch.from_numpy(valid),
        kind=kind,
        intrinsics=None if camera is None else torch.from_numpy(camera.copy()),
        name=name,
    )


def _columns(record: pa.RecordBatch) -> tuple[str, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return name, image, depth and intrinsics as stored."""
    image, depth, camera = (record.column(name) for name in ("image", "depth", "intrinsics"))
    return (
        record.column("name")[0].as_py(),
        image.storage.values.to_numpy().reshape(image.type.shape),
        depth.storage.values.to_numpy().reshape(depth.type.shape),
        None if camera.null_count else camera.values.to_numpy(),
    )


def _tensor(numbers: np.ndarray, kind: pa.FixedShapeTensorType) -> pa.Array:
    values = pa.array(numbers.ravel())
    return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(values, numbers.size))


def _checksum(name: str, image: np.ndarray, depth: np.ndarray, camera: np.ndarray | None) -> int:
    total = zlib.crc32(depth.data, zlib.crc32(image.data, zlib.crc32(name.encode())))
    return total if camera is None else zlib.crc32(camera.data, total)
