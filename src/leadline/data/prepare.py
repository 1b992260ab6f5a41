"""Prepare a dataset for training: write its samples at one size into a store that is read many times faster."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, UnreadableFile
from leadline.core.paths import StrPath
from leadline.core.progress import track
from leadline.data.datasets import SPLITS, Dataset, open_data, reading_options, store
from leadline.data.datasets.licences import licence_of
from leadline.data.loader import identity, use_one_thread
from leadline.data.transforms import resize
from leadline.io.atomic import atomic_write, clean_stale
from leadline.io.json_text import as_json
from leadline.io.locks import file_lock
from leadline.io.run_folder import check_same_configuration

SHARD_BYTES = 2**25
"""Bytes of a shard before compression: little to write again if it is lost, and enough to be worth a request."""
_STORED_METRES = "uint16 millimetres, 0 not measured, or float32 in a shard that reaches beyond 65.535 m"
_STORED_OTHERS = "float32, NaN not measured"


@dataclass(frozen=True)
class Prepared:
    """Summary of a split of a store after it was completed."""

    split: str
    samples: int
    shards: int
    written: int
    """Shards that were written now; the others existed."""
    faults: tuple[str, ...]
    """Why samples of the shards written now were left out."""


def prepare(
    spec: StrPath,
    out: StrPath,
    size: tuple[int, int],
    *,
    split: str = "train",
    workers: int = 0,
    compression: str | None = None,
    verify: bool = False,
    skip_unreadable: bool = False,
    licence: str = "",
    shard_bytes: int = SHARD_BYTES,
    progress: bool = False,
) -> list[Prepared]:
    """Write a dataset's samples at one size into a store; shards that exist are kept.

    Each shard is written to a temporary file and renamed, or put at its address whole, so that a killed run leaves none
    half-written; a split can be read once all its shards exist.

    Args:
        spec: the dataset, as for `open_data`.
        out: folder or fsspec address of the store.
        size: height and width of the samples.
        split: "train", "val", "test", or "all" for those that the dataset has.
        workers: processes that make shards; 0 makes them in this one.
        compression: of the shards: None, "lz4" or "zstd".
        verify: read existing shards whole, and write damaged ones again.
        skip_unreadable: leave out samples whose files cannot be read, instead of stopping at the first.
        licence: what the manifest states; empty: what the dataset's folder or its reader states.
        shard_bytes: size of a shard before compression.
        progress: show progress bars.

    Returns:
        A summary of each split.

    Raises:
        BadInput: the store was made otherwise, or of other data, or cannot be written.
        UnreadableFile: a file of the dataset cannot be read.
    """
    spec, out = os.fspath(spec), os.fspath(out)
    parts = _parts(spec, split)
    kind = next(iter(parts.values())).kind
    manifest = {
        "format": store.FORMAT,
        "kind": kind.value,
        "unit": _stored_unit(kind),
        "size": list(size),
        "compression": compression,
        "samples in a shard": max(1, shard_bytes // (size[0] * size[1] * (5 if kind is DepthKind.METRIC else 7))),
        "splits": _described(parts, spec, licence, skip_unreadable=skip_unreadable),
    }
    with _locked(out):
        manifest = _claim(out, as_json(manifest))
        prepared = []
        for name, dataset in parts.items():
            part = manifest["splits"][name]
            if part["folder"] != name:
                continue
            per_shard = manifest["samples in a shard"]
            known = tuple(part.get("checksums") or ())
            work = _Shards(dataset, out, name, size, per_shard, compression, verify, skip_unreadable, known)
            done = list(_written(work, workers, progress))
            store.close()
            samples = sum(shard.samples for shard in done)
            for each in manifest["splits"].values():
                if each["folder"] == name:
                    each |= {
                        "samples": samples,
                        "shards": [shard.samples for shard in done],
                        "checksums": [shard.checksum for shard in done],
                    }
            _put(store.join_address(out, store.MANIFEST), _text(manifest))
            faults = tuple(fault for shard in done for fault in shard.faults)
            prepared.append(Prepared(name, samples, len(done), sum(shard.is_new for shard in done), faults))
    return prepared


def _parts(spec: str, split: str) -> dict[str, Dataset]:
    """Return split → samples."""
    if split != "all":
        return {split: open_data(spec, split)}
    parts: dict[str, Dataset] = {}
    refusal = NoSplit(f"{spec} has no samples.")
    for name in SPLITS:
        try:
            parts[name] = open_data(spec, name)
        except NoSplit as reason:
            refusal = reason
    if not parts:
        raise refusal
    return parts


def _stored_unit(kind: DepthKind) -> str:
    """Say what the numbers of a store count and how they are stored; a store that exists is compared with it."""
    stored_as = _STORED_METRES if kind is DepthKind.METRIC else _STORED_OTHERS
    return f"{kind.unit.replace(',', '')}: {stored_as}"


def _described(parts: Mapping[str, Dataset], spec: str, licence: str, *, skip_unreadable: bool) -> dict[str, Any]:
    """Return split → where it comes from and, later, how many samples each of its shards holds.

    A split that equals another one, as a folder's `val` serves as its `test`, is stored once.
    """
    described: dict[str, Any] = {}
    for split, dataset in parts.items():
        source = identity(dataset, skip_unreadable=skip_unreadable)
        folder = next((each["folder"] for each in described.values() if each["source"] == source), split)
        described[split] = {
            "words": spec,
            "source": source,
            "licence": licence or licence_of(spec, dataset) or store.UNKNOWN,
            "made by": f"leadline {version('leadline')}",
            "folder": folder,
            "shards": None,
        }
    return described


@contextmanager
def _locked(out: str) -> Iterator[None]:
    """Lock a local folder for one process and remove what killed ones left; an address has no locks."""
    filesystem, path = store.filesystem_and_path(out)
    if not store.is_local(filesystem):
        if out.partition("://")[0].rpartition("::")[2] in ("http", "https"):
            raise BadInput(f"{out} can only be read: write to a folder, s3:// or gs://, and serve that.")
        yield
        return
    folder = Path(path)
    # Worker processes of a killed command may still be finishing their shards.
    with file_lock(folder / ".lock", f"writing to {out}"):
        for each in (folder, *(folder / split for split in SPLITS)):
            clean_stale(each)
        yield


def _claim(out: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Make `out` the store of this manifest, or add its splits to it, or refuse if it was made otherwise."""
    known = store.read_manifest(out)
    if known is None:
        _check_unused(out)
    before = known or manifest
    splits = before["splits"]
    shared = splits.keys() & manifest["splits"].keys()
    before_about, now_about = (
        {key: value for key, value in each.items() if key != "splits"}
        | {split: _made_of(each["splits"][split]) for split in shared}
        for each in (before, manifest)
    )
    check_same_configuration(
        before_about,
        now_about,
        f"{out} holds samples of other data, or made otherwise",
        "Give another place, or delete this one to prepare it anew.",
    )
    merged = manifest | {"splits": manifest["splits"] | splits}
    _put(store.join_address(out, store.MANIFEST), _text(merged))
    return merged


def _made_of(split: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a split's samples are made of: the dataset's identity and how it is read, wherever it lies."""
    options = reading_options(split["words"])
    return {**split["source"], "options": {key: str(value) for key, value in options.items()}}


def _check_unused(out: str) -> None:
    """Refuse a local folder that has files but no manifest: a dataset, whose splits a store's would mix with."""
    filesystem, path = store.filesystem_and_path(out)
    if store.is_local(filesystem) and (others := sorted(Path(path).glob("[!.]*"))):
        raise BadInput(f"{others[0]} is there without a {store.MANIFEST}: choose another folder, or remove it.")


@dataclass(frozen=True)
class _Written:
    samples: int
    checksum: str | None
    is_new: bool
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Shards(torch.utils.data.Dataset["_Written | BadInput"]):
    """The shards of a split: getting one writes it, unless it exists."""

    dataset: Dataset
    out: str
    folder: str
    size: tuple[int, int]
    samples: int
    """In a shard."""
    compression: str | None
    verify: bool
    skip_unreadable: bool
    known: tuple[str | None, ...]
    """Checksums of the shards, by number, as far as the manifest states them."""

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.samples)

    def __getitem__(self, number: int) -> "_Written | BadInput":
        """Return what was written, or the error: one that is raised in another process loses its type."""
        file = store.shard_file(self.out, self.folder, number)
        try:
            there = store.describe_shard(file, self.size, is_checked=self.verify)
            wanted = self.known[number] if number < len(self.known) else None
            if there is None or (wanted is not None and there.checksum != wanted):
                return self._make(file, number)
            return _Written(there.samples, there.checksum, is_new=False)
        except BadInput as mistake:
            return mistake

    def _make(self, file: str, number: int) -> _Written:
        samples, faults = [], []
        for index in range(number * self.samples, min((number + 1) * self.samples, len(self.dataset))):
            try:
                samples.append(resize(self.dataset[index], self.size))
            except UnreadableFile as fault:
                if not self.skip_unreadable:
                    raise
                faults.append(str(fault))
        content, checksum = store.encode_shard(samples, self.size, self.dataset.kind, self.compression)
        _put(file, content)
        return _Written(len(samples), checksum, True, tuple(faults))


def _written(work: _Shards, workers: int, progress: bool) -> Iterator[_Written]:
    """Write the missing shards; yield all, in order."""
    in_memory = store.filesystem_and_path(work.out)[0].protocol == "memory"
    loader = DataLoader(
        work,
        batch_size=None,
        # What is in the memory of a worker process ends with it.
        num_workers=0 if in_memory else min(workers, len(work)),
        worker_init_fn=use_one_thread,
    )
    for shard in track(loader, len(work), "shards", work.dataset.name, is_shown=progress):
        if isinstance(shard, BadInput):
            raise shard
        yield shard


def _put(file: str, content: bytes) -> None:
    """Write a file atomically."""
    filesystem, path = store.filesystem_and_path(file)
    if store.is_local(filesystem):
        with atomic_write(Path(path)) as half:
            half.write_bytes(content)
        return
    try:
        try:
            filesystem.pipe_file(path, content)
        except FileNotFoundError:
            # Most object stores have no folders, and the others need them created.
            filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            filesystem.pipe_file(path, content)
    # Each kind of address fails with errors of its own.
    except Exception as problem:
        fix = "once that is fixed, the same command continues"
        raise BadInput(f"Cannot write {file}: {problem or type(problem).__name__}; {fix}.") from problem


def _text(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1) + "\n").encode()
