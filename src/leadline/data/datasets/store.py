"""Store: samples at one size that `leadline data prepare` made of any dataset, in a folder or at an address.

    OUT/manifest.json         what the samples come from, their kind, size and number, split by split
    OUT/train/00000.arrow     some 32 MB of samples, each a record batch of its own:
                              name, image (3, H, W), depth (1, H, W), intrinsics (4), crc32 of all these

The shards are Arrow IPC files (<https://arrow.apache.org/docs/format/Columnar.html>). Their specification has been
stable since 1.0 (2020), and pandas, Polars, DuckDB and a dozen languages read them without us. One file holds many
samples, and its end says where each begins: any of them is found at once, mapped from a local disk without a copy, or
fetched from an address as a range of bytes. Of the others, Zarr keeps arrays in chunks that a sample has to be put
together from, behind an event loop that does not outlive a fork, and maps nothing; a WebDataset is a tar file, to be
read from one end to the other; HDF5 unpacks one chunk at a time under a lock.

Unit: metres as whole millimetres (uint16, 0 is not measured) in a shard that nothing is beyond 65.535 m in; metres in
other shards, and depth of the other kinds, as the very float32 (NaN is not measured). Images have 8 bits a channel.
Trap: the size is part of the data: a store made small has lost the details, and its name in tables tells the size.
"""

import json
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

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, UnreadableFile
from leadline.core.paths import StrPath
from leadline.core.sample import Sample

LICENCE = ""
"""The manifest of each store states it, as its source does."""
FORMAT = 1
"""Of a store; a reader refuses what is newer."""
MANIFEST = "manifest.json"
UNKNOWN = "unknown"
"""A licence that nobody stated."""
STEPS = 1000
"""Of a metre, where depth is kept in whole millimetres."""
_LAST_STEP = 65535
_OPEN = 32
"""Shards that a process keeps mapped, some gigabyte of addresses, however large the store."""


@dataclass(frozen=True)
class ArrowDataset:
    """One split of a store; it holds no open file, so that processes share nothing."""

    name: str
    kind: DepthKind
    shards: tuple[str, ...]
    """Addresses of the files."""
    starts: tuple[int, ...]
    """Number of the first sample of each."""
    count: int
    licence: str
    """What the manifest says of it; empty where it is unknown."""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Raises:
        UnreadableFile: the shard is missing, damaged or out of reach.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name} has samples 0 … {self.count - 1}, and not {index}.")
        number = bisect_right(self.starts, index) - 1
        return read(self.shards[number], index - self.starts[number], self.kind)


def store(split: str, *, path: StrPath) -> ArrowDataset:
    """The samples of one split, at the size that they were prepared at.

    Args:
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
        known = ", ".join(manifest["splits"])
        raise NoSplit(f"{path} has no {split} split, only {known}: `leadline data prepare --split {split}` adds it.")
    part = manifest["splits"][split]
    if part["shards"] is None:
        raise BadInput(f"The {split} split of {path} is not finished: the same `leadline data prepare` continues it.")
    *starts, count = accumulate(part["shards"], initial=0)
    height, width = manifest["size"]
    name = f"{part['source']['name']} at {height} × {width}"
    files = tuple(shard_file(path, part["folder"], number) for number in range(len(starts)))
    licence = part["licence"] if part["licence"] != UNKNOWN else ""
    return ArrowDataset(name, DepthKind(manifest["kind"]), files, tuple(starts), count, licence)


def read_manifest(address: str) -> dict[str, Any] | None:
    """What a store says of itself; None where there is none.

    Raises:
        BadInput: it cannot be read, or is newer than this code.
    """
    file = join_address(address, MANIFEST)
    try:
        with _explained(file, "if it is damaged, delete the store and prepare it again"):
            filesystem, path = filesystem_and_path(file)
            manifest = json.loads(filesystem.cat_file(path))
            newest = int(manifest["format"])
    except UnreadableFile as problem:
        if isinstance(problem.__cause__, FileNotFoundError):
            return None
        raise
    if newest > FORMAT:
        raise BadInput(f"{file} is of format {newest}, newer than this leadline: upgrade it.")
    return manifest


def read(file: str, place: int, kind: DepthKind) -> Sample:
    """One sample of a shard, checked against its sum the first time that a process reads it.

    Raises:
        UnreadableFile: the shard is missing, damaged or out of reach.
    """
    with _explained(file, "the `leadline data prepare` that wrote it, with --verify, makes it anew"):
        shard = _opened(file, os.getpid())
        record = shard.reader.get_batch(place)
        if place not in shard.checked:
            _check(record)
            shard.checked.add(place)
        return _decoded(record, kind)


def record_count(file: str, *, is_checked: bool = False) -> int | None:
    """How many samples a whole shard holds; None if it is missing or damaged.

    A shard whose end is missing is always found out; a changed byte in it only if all is read and `is_checked`.
    """
    try:
        with _explained(file, ""):
            _opened.cache_clear()
            reader = _opened(file, os.getpid()).reader
            if is_checked:
                for place in range(reader.num_record_batches):
                    _check(reader.get_batch(place))
            return reader.num_record_batches
    except UnreadableFile:
        return None


def encode_shard(
    samples: Sequence[Sample], size: tuple[int, int], kind: DepthKind, compression: str | None = None
) -> bytes:
    """A shard of samples of one size (height, width) and one kind; `compression` is None, "lz4" or "zstd".

    Depth of less than half a millimetre becomes one millimetre, so that it stays measured.
    """
    height, width = size
    dtype = np.uint16
    depths = [np.where(sample.valid.numpy(), sample.depth.numpy(), np.float32(np.nan)) for sample in samples]
    if kind is DepthKind.METRIC and all(np.rint(np.nanmax(depth, initial=0) * STEPS) <= _LAST_STEP for depth in depths):
        depths = [np.nan_to_num(np.rint(depth * STEPS).clip(1)) for depth in depths]
    else:
        dtype = np.float32
    depths = [np.ascontiguousarray(depth, dtype) for depth in depths]
    schema = pa.schema(
        [
            pa.field("name", pa.string(), nullable=False),
            pa.field("image", pa.fixed_shape_tensor(pa.uint8(), (3, height, width), ["channel", "row", "column"])),
            pa.field("depth", pa.fixed_shape_tensor(pa.from_numpy_dtype(dtype), (1, height, width))),
            pa.field("intrinsics", pa.list_(pa.float32(), 4)),
            pa.field("crc32", pa.uint32(), nullable=False),
        ]
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for sample, depth in zip(samples, depths, strict=True):
            image = np.ascontiguousarray(sample.image.mul(255).round().to(torch.uint8).numpy())
            camera = None if sample.intrinsics is None else sample.intrinsics.float().contiguous().numpy()
            name = str(sample.name)
            columns = [
                pa.array([name]),
                _tensor(image, schema.field("image").type),
                _tensor(depth, schema.field("depth").type),
                pa.array([camera], schema.field("intrinsics").type),
                pa.array([_sum(name, image, depth, camera)], pa.uint32()),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return sink.getvalue().to_pybytes()


def shard_file(address: str, folder: str, number: int) -> str:
    """Where a shard lies."""
    return join_address(address, f"{folder}/{number:05d}.arrow")


def join_address(address: str, name: str) -> str:
    """A file of a store; of `simplecache::https://host/store`, too."""
    return f"{address.rstrip('/')}/{name}"


def filesystem_and_path(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, made anew in a process that was forked, and the path in it.

    Raises:
        BadInput: no such kind of address, or its package is not installed.
    """
    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as missing:
        raise BadInput(f"{address}: {missing}: `pip install` it first.") from missing
    except ValueError as stranger:
        raise BadInput(f"{address}: {stranger}.") from stranger


def is_local(filesystem: Any) -> bool:
    return isinstance(filesystem, LocalFileSystem)


def close() -> None:
    """Let go of all open shards: what was written anew is read anew."""
    _opened.cache_clear()


@dataclass(frozen=True)
class _Shard:
    reader: Any
    checked: set[int]
    """Places whose sums were found right."""


@lru_cache(maxsize=_OPEN)
def _opened(file: str, _process: int) -> _Shard:
    """A shard, opened; a forked process opens its own, as connections and places in files cannot be shared."""
    filesystem, path = filesystem_and_path(file)
    # Threads would be too many beside the loader's processes.
    options = pa.ipc.IpcReadOptions(use_threads=False)
    if is_local(filesystem):
        return _Shard(pa.ipc.open_file(pa.memory_map(path), options=options), set())
    # Arrow asks for a record's head first: what is fetched with it, about a sample, answers its next question.
    source = filesystem.open(path, "rb", block_size=2**18, cache_type="readahead")
    shard = _Shard(pa.ipc.open_file(source, options=options), set())
    weakref.finalize(shard, source.close)
    return shard


@contextmanager
def _explained(file: str, cure: str) -> Iterator[None]:
    """Whatever goes wrong with a file becomes an `UnreadableFile` that names it."""
    try:
        yield
    except BadInput:
        raise
    # Each kind of address fails with errors of its own, and a damaged file with any.
    except Exception as problem:
        said = str(problem).rstrip(".") or type(problem).__name__
        raise UnreadableFile(f"{file} is missing, damaged or out of reach ({said}): {cure}.") from problem


def _check(record: pa.RecordBatch) -> None:
    name, image, depth, camera = _columns(record)
    if record.column("crc32")[0].as_py() != _sum(name, image, depth, camera):
        raise ValueError("its numbers are not those that were written")


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
    """Name, image, depth and intrinsics as they lie in the file."""
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


def _sum(name: str, image: np.ndarray, depth: np.ndarray, camera: np.ndarray | None) -> int:
    total = zlib.crc32(depth.data, zlib.crc32(image.data, zlib.crc32(name.encode())))
    return total if camera is None else zlib.crc32(camera.data, total)
