"""Labels: what a teacher answers for images, kept in a store that training reads instead of running the teacher."""

import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from leadline import align
from leadline.augment import crop, flip
from leadline.datasets import Dataset
from leadline.errors import BadInput, UnreadableFile, unknown
from leadline.files import swapped, sweep
from leadline.loader import alike, identity
from leadline.models import DepthModel
from leadline.predict import predict
from leadline.sample import Confidence, Depth, Kind, Sample, Taught, batch
from leadline.teaching import confidence_from_views

FORMAT = 1
"""Of a store; a reader refuses what is newer."""
SHARD = 64
"""Images in a file of a store: as many as an interruption can cost."""
ALIGNMENTS = ("auto", "none", "truth")
"""`truth` makes metres of each answer by its image's measured depth, `none` keeps the teacher's own unit, and `auto` is
`truth` for a teacher that answers no metres on data that has some."""
_MANIFEST = "store.json"
_CROP = 0.75
"""Side of the crop that the teacher has to agree with, as a share of the image's."""
_ENOUGH = 20
"""Measured pixels that an image needs for its answer to be aligned to them."""


@dataclass(frozen=True)
class Store:
    """The labels of one dataset by one teacher; `opened` reads it, `label` makes it."""

    path: Path
    manifest: dict[str, Any]

    @property
    def kind(self) -> Kind:
        """What the labels promise."""
        return Kind(self.manifest["kind"])

    def __len__(self) -> int:
        return self.manifest["data"]["samples"]

    def taught(self, index: int, sample: Sample) -> Taught:
        """The label of a sample, at the sample's own size.

        Raises:
            UnreadableFile: its shard is missing or damaged.
            BadInput: the label is of an image of another name.
        """
        record = self._record(index)
        if int(record["name"]) != _checksum(str(sample.name)):
            raise BadInput(f"Label {index} of {self.path} is not of {sample.name}: label the data again.")
        taught = Taught(
            depth=torch.from_numpy(record["depth"].astype(np.float32) * record["unit"])[None],
            confidence=torch.from_numpy(record["confidence"].astype(np.float32) / np.float32(255))[None],
            kind=self.kind,
        )
        if taught.depth.shape[-2:] == sample.size:
            return taught
        return taught.mapped(lambda each: _at(each[None], sample.size)[0])

    def alignments(self) -> list[tuple[float, float]]:
        """Scale and shift by which each answer became its label; NaN where nothing was measured to align it by."""
        records = (self._record(index) for index in range(len(self)))
        return [(float(record["scale"]), float(record["shift"])) for record in records]

    def _record(self, index: int) -> Any:
        file = _shard(self.path, index // SHARD)
        record = _opened_shard(file)[index % SHARD]
        if int(record["sum"]) != _sum(record):
            raise _damaged(file)
        return record


def opened(path: Path) -> Store:
    """The store at `path`.

    Raises:
        BadInput: there is none, or it is of a newer format.
    """
    file = path / _MANIFEST
    if not file.is_file():
        raise BadInput(f"No store of labels at {path}: `leadline label` makes one.")
    manifest = json.loads(file.read_text())
    if manifest["format"] > FORMAT:
        raise BadInput(f"{file} is of format {manifest['format']}, newer than this leadline: upgrade it.")
    return Store(path, manifest)


def label(
    teacher: DepthModel,
    dataset: Dataset,
    out: Path,
    *,
    alignment: str = "auto",
    size: tuple[int, int] | None = None,
    batch_size: int = 8,
    repair: bool = False,
    progress: bool = False,
) -> Store:
    """Run the teacher once over all images and keep what it answers; an interrupted labelling continues.

    A label is the mean of the answers to the image and to its mirror image; its confidence is how well these two and
    the answer to the image's centre agree. It is kept at `size` (height, width; unset: the first image's) with 11 bits
    of precision. `repair` reads what is there and makes damaged shards again. `alignment` is one of `ALIGNMENTS`.

    Raises:
        BadInput: the folder holds labels of another teacher, of other images or made otherwise; or an alignment by a
            truth that no image has.
    """
    if alignment not in ALIGNMENTS:
        raise unknown("alignment of labels", alignment, ALIGNMENTS)
    about = identity(dataset)
    has_truth = any(bool(dataset[index].valid.sum() >= _ENOUGH) for index in _some(len(dataset)))
    if alignment == "auto":
        alignment = "truth" if has_truth and teacher.kind is not Kind.METRIC else "none"
    if alignment == "truth" and not (has_truth and dataset.kind is Kind.METRIC):
        raise BadInput(f"{dataset.name} has no measured metres to align a teacher by: use alignment none.")
    manifest = {
        "format": FORMAT,
        "teacher": {
            "name": teacher.name,
            "sha256": fingerprint(teacher),
            "kind": teacher.kind.value,
            "preprocessing": asdict(teacher.preprocessing),
            "training data": teacher.provenance.training_data,
            "licence": teacher.provenance.licence,
        },
        "data": {**about, "kind": dataset.kind.value},
        "size": list(size or dataset[0].size),
        "alignment": alignment,
        "kind": (Kind.METRIC if alignment == "truth" else teacher.kind).value,
    }
    manifest = json.loads(json.dumps(manifest))
    _claim(out, manifest)
    store = Store(out, manifest)
    sweep(out)
    shards = range(math.ceil(len(dataset) / SHARD))
    for number in tqdm(shards, unit=" shards", desc=f"labels of {dataset.name}", disable=not progress):
        file = _shard(out, number)
        if file.exists() and not (repair and not _is_whole(file)):
            continue
        indices = range(number * SHARD, min((number + 1) * SHARD, len(dataset)))
        records = np.concatenate(list(_labelled(teacher, dataset, indices, manifest, batch_size)))
        with swapped(file) as half, half.open("wb") as stream:
            np.save(stream, records)
    if alignment == "truth" and all(math.isnan(scale) for scale, _ in store.alignments()):
        raise BadInput(f"No image of {dataset.name} has {_ENOUGH} measured pixels to align a teacher by.")
    return store


class Labelled:
    """A dataset with a teacher's answer for each of its samples."""

    def __init__(self, dataset: Dataset, store: Store, *, keeps_truth: bool = True) -> None:
        """Without `keeps_truth` what was measured is forgotten: the samples then are unlabelled images.

        Raises:
            BadInput: the store is of other images.
        """
        about = json.loads(json.dumps(identity(dataset)))
        if about != store.manifest["data"]:
            raise BadInput(
                f"The labels in {store.path} are of {store.manifest['data']}, and the data is {about}: label it."
            )
        self.dataset, self.store, self.keeps_truth = dataset, store, keeps_truth
        self.name = f"{dataset.name} labelled by {store.manifest['teacher']['name']}"
        self.kind = dataset.kind

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        sample = sample.replace(taught=self.store.taught(index, sample))
        if self.keeps_truth:
            return sample
        return sample.replace(depth=torch.zeros_like(sample.depth), valid=torch.zeros_like(sample.valid))


class Filled:
    """A dataset whose holes a teacher fills: the source paper's third experiment, and how to do it well.

    The filling takes over the teacher's shape and the truth's level: near a hole's border it is multiplied by what the
    nearest measured pixels are off, which fades over `fade` of the image's width (`blends`). Where the teacher is less
    confident than `confidence` the hole stays. Labels must be metres unless `mixes_kinds`.
    """

    def __init__(
        self,
        dataset: Dataset,
        store: Store,
        *,
        confidence: float = 0.5,
        blends: bool = True,
        fade: float = 0.1,
        mixes_kinds: bool = False,
    ) -> None:
        if store.kind is not dataset.kind and not mixes_kinds:
            raise BadInput(
                f"{store.kind.value} labels cannot fill holes in {dataset.kind.value} depth: align them to the truth."
            )
        self.labelled = Labelled(dataset, store)
        self.confidence, self.blends, self.fade = confidence, blends, fade
        self.kind = dataset.kind
        self.name = f"{dataset.name} filled by {store.manifest['teacher']['name']}"

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, index: int) -> Sample:
        sample = self.labelled[index]
        taught = sample.taught
        assert taught is not None
        holes = ~sample.valid & (taught.confidence >= self.confidence) & (taught.depth > 0)
        depth = self._blended(sample, taught) if self.blends and sample.valid.any() else taught.depth
        return sample.replace(depth=torch.where(holes, depth, sample.depth), valid=sample.valid | holes, taught=None)

    def _blended(self, sample: Sample, taught: Taught) -> Depth:
        """The teacher's depth, level with what was measured at the borders of holes."""
        measured = (sample.valid & (taught.depth > 0))[0].numpy()
        off = torch.where(sample.valid & (taught.depth > 0), sample.depth.log() - taught.depth.log(), 0)[0].numpy()
        # The mean over the measured pixels around, rather than one noisy pixel at the border.
        radius = self.fade * sample.size[1] / 4
        weight = ndimage.gaussian_filter(measured.astype(np.float32), radius)
        around = ndimage.gaussian_filter(off, radius) / np.maximum(weight, 1e-6)
        nearest = ndimage.distance_transform_edt(~measured, return_distances=False, return_indices=True)
        rows, columns = np.asarray(nearest)
        places = np.indices(measured.shape)
        fading = np.exp(-np.hypot(*(places - (rows, columns))) / (self.fade * sample.size[1]))
        return taught.depth * torch.from_numpy((around[rows, columns] * fading).astype(np.float32)).exp()


def fingerprint(model: DepthModel) -> str:
    """SHA-256 of all that the model's answers depend on."""
    told = hashlib.sha256()
    for part in (model.name, model.arguments, model.kind.value, asdict(model.preprocessing)):
        told.update(json.dumps(part, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        told.update(name.encode())
        told.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return told.hexdigest()


def _labelled(
    teacher: DepthModel, dataset: Dataset, indices: Sequence[int], manifest: dict[str, Any], batch_size: int
) -> Iterator[np.ndarray]:
    """The records of some samples, in order."""
    height, width = manifest["size"]
    fields = [("depth", "f2", (height, width)), ("confidence", "u1", (height, width))]
    numbers = [("unit", "f4"), ("scale", "f4"), ("shift", "f4"), ("name", "u4"), ("sum", "u4")]
    for group in alike((dataset[index] for index in indices), batch_size):
        together = batch(group)
        depth, confidence = _answers(teacher, together)
        scale = torch.full((len(group),), torch.nan)
        shift = scale.clone()
        if manifest["alignment"] == "truth":
            depth, confidence, scale, shift = _in_metres(depth, confidence, together, teacher.kind)
        depth, confidence = _at(depth, (height, width)), _at(confidence, (height, width))
        unit = depth.abs().amax((1, 2, 3)).clamp_min(1e-30) / 1024
        records = np.zeros(len(group), np.dtype(fields + numbers))
        records["depth"] = (depth / unit[:, None, None, None])[:, 0].numpy()
        records["confidence"] = confidence[:, 0].mul(255).round().numpy()
        records["unit"], records["scale"], records["shift"] = unit.numpy(), scale.numpy(), shift.numpy()
        records["name"] = [_checksum(str(sample.name)) for sample in group]
        records["sum"] = [_sum(record) for record in records]
        yield records


def _answers(teacher: DepthModel, together: Sample) -> tuple[Depth, Confidence]:
    """The teacher's depth of a batch, and how far its views agree."""
    whole = predict(teacher, together.image, together.intrinsics)
    mirror = flip(together)
    mirrored = predict(teacher, mirror.image, mirror.intrinsics).flip(-1)
    height, width = together.size
    tall, wide = max(round(height * _CROP), 1), max(round(width * _CROP), 1)
    top, left = (height - tall) // 2, (width - wide) // 2
    inside = crop(together, top, left, tall, wide)
    centre = torch.full_like(whole, torch.nan)
    centre[..., top : top + tall, left : left + wide] = predict(teacher, inside.image, inside.intrinsics)
    if teacher.kind is not Kind.METRIC:
        # The teacher is free to answer each view on another scale.
        covered = centre.isfinite()
        same = align.least_squares_scale_shift if teacher.kind is Kind.RELATIVE else align.least_squares_scale
        centre = torch.where(covered, same(centre.nan_to_num(), whole, covered), torch.nan)
        mirrored = same(mirrored, whole, torch.ones_like(covered))
    confidence = confidence_from_views(torch.stack([whole, mirrored, centre]), teacher.kind)
    if teacher.kind is Kind.RELATIVE:
        return (whole + mirrored) / 2, confidence
    return (whole * mirrored).clamp_min(0).sqrt(), confidence


def _in_metres(
    depth: Depth, confidence: Confidence, together: Sample, kind: Kind
) -> tuple[Depth, Confidence, Tensor, Tensor]:
    """Labels aligned to each image's truth, with scale and shift; an image without enough truth is not believed."""
    enough = together.valid.flatten(1).sum(1) >= _ENOUGH
    metres, scale, shift = align.in_metres(depth, together.depth, together.valid, kind=kind)
    # Scales that turn the picture inside out, and what comes out beyond the horizon, are no labels.
    believed = (enough & (scale > 0))[:, None, None, None] & (metres < align.FARTHEST)
    unknown_scale = torch.where(enough, 1.0, torch.nan)
    return metres, confidence * believed, scale * unknown_scale, shift * unknown_scale


def _at(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)


def _some(count: int) -> Sequence[int]:
    """At most 32 indices, evenly spread."""
    return range(count)[:: -(-count // 32) or 1]


def _claim(out: Path, manifest: dict[str, Any]) -> None:
    """Make `out` the store of this manifest, or refuse if it holds labels made otherwise."""
    file = out / _MANIFEST
    if not file.exists():
        with swapped(file) as half:
            half.write_text(json.dumps(manifest, indent=1))
        return
    before = json.loads(file.read_text())
    changes = [f"  {key}: {before.get(key)} → {manifest[key]}" for key in manifest if before.get(key) != manifest[key]]
    if changes:
        raise BadInput(
            "\n".join([f"{out} holds labels of another teacher, of other images, or made otherwise:", *changes])
            + "\nGive another folder, or delete this one to label anew."
        )


def _shard(out: Path, number: int) -> Path:
    return out / f"{number:05d}.npy"


@lru_cache(maxsize=1024)
def _opened_shard(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError) as problem:
        raise _damaged(file) from problem


def _is_whole(file: Path) -> bool:
    try:
        return all(int(record["sum"]) == _sum(record) for record in np.load(file))
    except (OSError, ValueError, EOFError):
        return False


def _damaged(file: Path) -> UnreadableFile:
    cure = "label again with --repair, which makes it anew"
    return UnreadableFile(f"Shard {file.name} of the labels in {file.parent} is missing or damaged: {cure}.")


def _sum(record: Any) -> int:
    return zlib.crc32(record["confidence"].tobytes(), zlib.crc32(record["depth"].tobytes()))


def _checksum(name: str) -> int:
    return zlib.crc32(name.encode())
