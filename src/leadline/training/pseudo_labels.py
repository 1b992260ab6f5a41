"""Pseudo-labels: a teacher's depth of images, in a store that training reads instead of running the teacher."""

import json
import math
import operator
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, UnreadableFile, check_known
from leadline.core.paths import StrPath
from leadline.core.progress import print_line, track
from leadline.core.sample import Confidence, Depth, Sample, TeacherPrediction, collate
from leadline.data.datasets import Dataset, check_samples, subsample_evenly
from leadline.data.loader import group_by_size, identity
from leadline.data.transforms import crop, flip
from leadline.evaluation import alignment
from leadline.inference.backends import ExportedModel
from leadline.inference.tensors import check_predictor, predict_tensor
from leadline.io.atomic import atomic_write, clean_stale
from leadline.io.run_folder import check_same_configuration, create_or_read, read_configuration
from leadline.models.base import DepthModel
from leadline.models.saving import fingerprint
from leadline.training.distillation_losses import confidence_from_views

FORMAT = 2
"""Of a store; a reader refuses what is newer. In the first, the checksum of a label does not depend on its store."""
SHARD = 64
"""Images in a file of a store: as many as an interruption can cost."""
ALIGNMENTS = ("auto", "none", "truth")
"""`truth` scales each prediction to metres by its image's measured depth, `none` keeps the teacher's own unit, and
`auto` is `truth` for a teacher that does not output metres, on data that has some."""
CACHE = "cache"
"""Folder in a store in which `leadline label` keeps the images of a dataset that renders them."""
_MANIFEST = "store.json"
_CROP = 0.75
"""Side of the crop that the teacher has to agree with, as a fraction of the image's."""
_ENOUGH = 20
"""Measured pixels that an image needs for its prediction to be aligned to them."""
_CHECKED_IMAGES = 32
"""Largest number of images that are read to find out whether a dataset has metres to align by."""


@dataclass(frozen=True)
class PseudoLabelStore:
    """Read a teacher's labels of a dataset; `load_pseudo_labels` opens a store, `label` makes one."""

    path: Path
    manifest: dict[str, Any]
    _places: dict[int, int] = field(default_factory=dict, repr=False, compare=False)
    """Number of a shard → its `_place`, where it was needed."""

    @property
    def kind(self) -> DepthKind:
        """The labels' kind of depth."""
        return DepthKind(self.manifest["kind"])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a label in pixels."""
        height, width = self.manifest["size"]
        return height, width

    def __len__(self) -> int:
        return self.manifest["data"]["samples"]

    def teacher_prediction(self, index: SupportsIndex, sample: Sample) -> TeacherPrediction:
        """Return the label of a sample, at the sample's own size.

        Args:
            index: of the sample in its dataset.
            sample: the sample.

        Raises:
            UnreadableFile: its shard is missing, damaged, or of another place or store.
            BadInput: the label is of an image of another name.
        """
        index = operator.index(index)
        record = self._record(index)
        if int(record["name"]) != _checksum(str(sample.name)):
            raise BadInput(f"Label {index} of {self.path} is not of {sample.name}: label the data again.")
        # PyTorch converts in a fraction of NumPy's time.
        depth = torch.from_numpy(record["depth"].copy()).float().mul_(float(record["unit"]))
        confidence = torch.from_numpy(record["confidence"].copy()).float().div_(255)
        depth, confidence = _at(depth[None, None], confidence[None, None], sample.size)
        return TeacherPrediction(depth[0], confidence[0], self.kind)

    def alignments(self) -> Iterator[tuple[float, float]]:
        """Yield the scale and shift by which each prediction became its label; NaN where it was not aligned."""
        for index in range(len(self)):
            record = self._record(index)
            yield float(record["scale"]), float(record["shift"])

    def has_confident_pixels(self) -> bool:
        """Return whether any pixel of any label has a confidence above 0."""
        return any(self._record(index)["confidence"].any() for index in range(len(self)))

    def _record(self, index: int) -> Any:
        number = index // SHARD
        if number not in self._places:
            self._places[number] = _place(self.manifest, number)
        file = _shard(self.path, number)
        records = _opened_shard(file)
        if not _fits(records, self.manifest, number) or not _is_sound(records[index % SHARD], self._places[number]):
            raise _damaged(file)
        return records[index % SHARD]


def load_pseudo_labels(path: StrPath) -> PseudoLabelStore:
    """Open the store at `path`.

    Raises:
        BadInput: there is none, or it is of a newer format.
    """
    path = Path(path)
    file = path / _MANIFEST
    if not file.is_file():
        raise BadInput(f"No store of labels at {path}: `leadline label` makes one.")
    manifest = read_configuration(file)
    if manifest["format"] > FORMAT:
        raise BadInput(f"{file} is of format {manifest['format']}, newer than this leadline: upgrade it.")
    return PseudoLabelStore(path, manifest)


def label(
    teacher: DepthModel | ExportedModel,
    dataset: Dataset,
    out: StrPath,
    *,
    alignment: str = "auto",
    size: tuple[int, int] | None = None,
    batch_size: int = 8,
    repair: bool = False,
    progress: bool = False,
) -> PseudoLabelStore:
    """Run the teacher once over all images and store its depth and confidence; an interrupted labelling resumes.

    A label is the mean (of depth: the geometric one) of the predictions for the image and for its mirror image; its
    confidence is how well these two and the prediction for the image's centre agree. It has 11 bits of precision.

    Args:
        teacher: the model.
        dataset: the images, with measured depth where `alignment` needs it.
        out: folder of the store.
        alignment: one of `ALIGNMENTS`.
        size: height and width of the labels in pixels; None: those of the first image.
        batch_size: images that the teacher predicts at once.
        repair: read the shards that are there and make damaged ones again.
        progress: show a progress bar.

    Returns:
        The store, complete.

    Raises:
        BadInput: the folder holds labels of another teacher, of other images or made otherwise; or no image has the
            measured depth that the alignment needs.
    """
    out = Path(out)
    check_known("alignment", alignment, ALIGNMENTS)
    check_predictor(teacher)
    check_samples(dataset)
    about = identity(dataset)
    if alignment == "auto":
        needed = teacher.kind is not DepthKind.METRIC and _has_metres(
            dataset, subsample_evenly(range(len(dataset)), _CHECKED_IMAGES)
        )
        alignment = "truth" if needed else "none"
    if alignment == "truth" and not _has_metres(dataset, range(len(dataset))):
        raise BadInput(
            f"{dataset.name} has no image with {_ENOUGH} pixels measured in metres to align a teacher by: use "
            "alignment none."
        )
    manifest = {
        "format": FORMAT,
        "teacher": {
            "name": teacher.name,
            "sha256": teacher.fingerprint if isinstance(teacher, ExportedModel) else fingerprint(teacher),
            "kind": teacher.kind.value,
            "preprocessing": asdict(teacher.preprocessing),
            "training data": teacher.provenance.training_data,
            "licence": teacher.provenance.licence,
        },
        "data": {**about, "kind": dataset.kind.value},
        "size": list(size or dataset[0].size),
        "alignment": alignment,
        "kind": (DepthKind.METRIC if alignment == "truth" else teacher.kind).value,
    }
    store = PseudoLabelStore(out, create_or_read(out / _MANIFEST, manifest, ["[!.]*"], [CACHE]))
    if store.manifest.get("format") in range(1, FORMAT):
        manifest["format"] = store.manifest["format"]
    check_same_configuration(
        store.manifest,
        manifest,
        f"{out} holds labels of another teacher, of other images, or made otherwise",
        "Give another folder, or delete this one to label anew.",
    )
    clean_stale(out)
    shards = range(math.ceil(len(dataset) / SHARD))
    for number in track(shards, len(shards), "shards", f"labels of {dataset.name}", is_shown=progress):
        file = _shard(out, number)
        if file.exists():
            if not repair or _is_whole(file, store.manifest, number):
                continue
            print_line(f"Shard {file.name} of the labels in {out} is damaged, and is made again.")
        indices = range(number * SHARD, min((number + 1) * SHARD, len(dataset)))
        records = np.concatenate(list(_labelled(teacher, dataset, indices, store.manifest, batch_size, number)))
        with atomic_write(file) as half:
            np.save(half, records)
        # What was open under the name is the damaged one.
        _opened_shard.cache_clear()
    return store


class PseudoLabelledDataset:
    """Add a teacher's prediction to each sample of a dataset."""

    def __init__(self, dataset: Dataset, store: PseudoLabelStore, *, keeps_target: bool = True) -> None:
        """Pair the samples with their labels.

        Args:
            dataset: the labelled samples.
            store: their labels.
            keeps_target: keep the measured depth; else the samples are images without a target.

        Raises:
            BadInput: the store is of other images, or its confidence is 0 everywhere.
        """
        check_same_configuration(
            store.manifest["data"], identity(dataset), f"The labels in {store.path} are of other images", "Label these."
        )
        if not store.has_confident_pixels():
            raise BadInput(
                f"The confidence of the labels in {store.path} is 0 everywhere, so there is nothing to learn. "
                "Use another teacher, or another alignment."
            )
        self.dataset, self.store, self.keeps_target = dataset, store, keeps_target
        self.name = f"{dataset.name} labelled by {store.manifest['teacher']['name']}"
        # An image without a target goes with any kind, as photographs do.
        self.kind = dataset.kind if keeps_target else DepthKind.METRIC

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        sample = sample.replace(teacher_prediction=self.store.teacher_prediction(index, sample))
        if self.keeps_target:
            return sample
        nothing = torch.zeros_like(sample.depth)
        return sample.replace(depth=nothing, valid=nothing.bool(), kind=self.kind)


class HoleFilledDataset:
    """Fill the holes of a dataset's depth by a teacher: the source paper's third experiment, and a better way.

    The filling has the teacher's shape and the level of the measured depth: near a hole's border it is multiplied by
    the ratio of the nearest measured pixels to the teacher's, which fades with distance.

    Args:
        dataset: samples with holes.
        store: their labels, in metres unless `mixes_kinds`.
        confidence: where the teacher is less confident than this, the hole stays.
        blends: match the level of the measured depth; else take the teacher's numbers as they are.
        fade: distance over which the ratio fades, as a fraction of the image's width.
        mixes_kinds: take labels of any kind: a mistake, for studying it.

    Raises:
        BadInput: the labels are of another kind than the depth, or of other images.
    """

    def __init__(
        self,
        dataset: Dataset,
        store: PseudoLabelStore,
        *,
        confidence: float = 0.5,
        blends: bool = True,
        fade: float = 0.1,
        mixes_kinds: bool = False,
    ) -> None:
        if store.kind is not dataset.kind and not mixes_kinds:
            raise BadInput(
                f"{store.kind.value} labels cannot fill holes in {dataset.kind.value} depth: align them to what was "
                "measured."
            )
        self.labelled = PseudoLabelledDataset(dataset, store)
        self.confidence, self.blends, self.fade = confidence, blends, fade
        self.kind = dataset.kind
        self.name = f"{dataset.name} filled by {store.manifest['teacher']['name']}"

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, index: int) -> Sample:
        sample = self.labelled[index]
        prediction = sample.teacher_prediction
        assert prediction is not None
        holes = ~sample.valid & (prediction.confidence >= self.confidence) & (prediction.depth > 0)
        depth = self._blended(sample, prediction) if self.blends else prediction.depth
        return sample.replace(
            depth=torch.where(holes, depth, sample.depth), valid=sample.valid | holes, teacher_prediction=None
        )

    def _blended(self, sample: Sample, prediction: TeacherPrediction) -> Depth:
        """The teacher's depth, scaled to match what was measured at the borders of holes."""
        comparable = sample.valid & (prediction.depth > 0) & (prediction.confidence > 0)
        if not comparable.any():
            return prediction.depth
        measured = comparable[0].numpy()
        off = torch.where(comparable, sample.depth.log() - prediction.depth.log(), 0)[0].numpy()
        # The mean over the measured pixels around, rather than one noisy pixel at the border.
        radius = self.fade * sample.size[1] / 4
        weight = ndimage.gaussian_filter(measured.astype(np.float32), radius)
        around = ndimage.gaussian_filter(off, radius) / np.maximum(weight, 1e-6)
        nearest = ndimage.distance_transform_edt(~measured, return_distances=False, return_indices=True)
        rows, columns = np.asarray(nearest)
        places = np.indices(measured.shape)
        fading = np.exp(-np.hypot(*(places - (rows, columns))) / (self.fade * sample.size[1]))
        return prediction.depth * torch.from_numpy((around[rows, columns] * fading).astype(np.float32)).exp()


def _labelled(
    teacher: DepthModel | ExportedModel,
    dataset: Dataset,
    indices: Sequence[int],
    manifest: dict[str, Any],
    batch_size: int,
    number: int,
) -> Iterator[np.ndarray]:
    """The records of the samples of shard `number`, in order."""
    place = _place(manifest, number)
    for group in group_by_size((dataset[index] for index in indices), batch_size):
        together = collate(group)
        depth, confidence = _predictions(teacher, together)
        scale = torch.full((len(group),), torch.nan)
        shift = scale.clone()
        if manifest["alignment"] == "truth":
            depth, confidence, scale, shift = _in_metres(depth, confidence, together, teacher.kind)
        confidence = confidence * depth.isfinite()
        depth, confidence = _at(depth.nan_to_num(0, 0, 0), confidence, tuple(manifest["size"]))
        unit = depth.abs().amax((1, 2, 3)).clamp_min(1e-30) / 1024
        records = np.zeros(len(group), _record_type(manifest))
        records["depth"] = (depth / unit[:, None, None, None])[:, 0].numpy()
        records["confidence"] = confidence[:, 0].mul(255).round().numpy()
        records["unit"], records["scale"], records["shift"] = unit.numpy(), scale.numpy(), shift.numpy()
        records["name"] = [_checksum(str(sample.name)) for sample in group]
        records["sum"] = [_sum(record, place) for record in records]
        yield records


def _predictions(teacher: DepthModel | ExportedModel, together: Sample) -> tuple[Depth, Confidence]:
    """The teacher's depth of a batch, and how well its views agree."""
    whole = predict_tensor(teacher, together.image, together.intrinsics)
    mirror = flip(together)
    mirrored = predict_tensor(teacher, mirror.image, mirror.intrinsics).flip(-1)
    height, width = together.size
    tall, wide = max(round(height * _CROP), 1), max(round(width * _CROP), 1)
    top, left = (height - tall) // 2, (width - wide) // 2
    inside = crop(together, top, left, tall, wide)
    centre = torch.full_like(whole, torch.nan)
    centre[..., top : top + tall, left : left + wide] = predict_tensor(teacher, inside.image, inside.intrinsics)
    covered = centre.isfinite()
    same = alignment.least_squares_scale_shift if teacher.kind is DepthKind.RELATIVE else alignment.least_squares_scale
    # The network sees the crop enlarged, and what looks larger is nearer: even metres come out on another scale.
    centre = torch.where(covered, same(centre.nan_to_num(), whole, covered), torch.nan)
    if teacher.kind is not DepthKind.METRIC:
        mirrored = same(mirrored, whole, torch.ones_like(covered))
    confidence = confidence_from_views(torch.stack([whole, mirrored, centre]), teacher.kind)
    if teacher.kind is DepthKind.RELATIVE:
        return (whole + mirrored) / 2, confidence
    return (whole * mirrored).clamp_min(0).sqrt(), confidence


def _in_metres(
    depth: Depth, confidence: Confidence, together: Sample, kind: DepthKind
) -> tuple[Depth, Confidence, Tensor, Tensor]:
    """Labels aligned to each image's measured depth, with scale and shift; confidence 0 without enough of it."""
    enough = together.valid.flatten(1).sum(1) >= _ENOUGH
    metres, scale, shift = alignment.in_metres(depth, together.depth, together.valid, kind=kind)
    # Images that no positive scale fits, and what comes out at the horizon (up to rounding), are no labels.
    believed = (enough & (scale > 0))[:, None, None, None] & (metres < 0.999 * alignment.DEPTH_AT_INFINITY)
    unknown_scale = torch.where(enough, 1.0, torch.nan)
    return metres, confidence * believed, scale * unknown_scale, shift * unknown_scale


def _at(depth: Tensor, confidence: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Both at a size; what mixes in a pixel of confidence 0 has confidence 0."""
    if depth.shape[-2:] == size:
        return depth, confidence
    maps = torch.cat([depth, confidence, (confidence > 0).float()], dim=1)
    maps = F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True)
    return maps[:, :1], maps[:, 1:2] * (maps[:, 2:] > 0.999)


def _has_metres(dataset: Dataset, indices: Iterable[int]) -> bool:
    """Whether any of these samples has enough measured metres to align a prediction to."""
    return dataset.kind is DepthKind.METRIC and any(int(dataset[index].valid.sum()) >= _ENOUGH for index in indices)


def _shard(out: Path, number: int) -> Path:
    return out / f"{number:05d}.npy"


@lru_cache(maxsize=1024)
def _opened_shard(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError) as problem:
        raise _damaged(file) from problem


def _is_whole(file: Path, manifest: dict[str, Any], number: int) -> bool:
    try:
        records = np.load(file)
    except (OSError, ValueError, EOFError):
        return False
    place = _place(manifest, number)
    return _fits(records, manifest, number) and all(_is_sound(record, place) for record in records)


def _fits(records: np.ndarray, manifest: dict[str, Any], number: int) -> bool:
    """Whether these can be the records of shard `number`."""
    count = min(SHARD, manifest["data"]["samples"] - number * SHARD)
    return records.shape == (count,) and records.dtype == _record_type(manifest)


def _record_type(manifest: dict[str, Any]) -> np.dtype:
    """One label: depth in `unit`, confidence in 255ths, the image's name as a checksum, and a checksum of all that."""
    size = tuple(manifest["size"])
    numbers = [("unit", "f4"), ("scale", "f4"), ("shift", "f4"), ("name", "u4"), ("sum", "u4")]
    return np.dtype([("depth", "f2", size), ("confidence", "u1", size), *numbers])


def _damaged(file: Path) -> UnreadableFile:
    fix = "`leadline label --repair` makes it again, and so does the `distil` or the `study` whose labels they are"
    return UnreadableFile(f"Shard {file.name} of the labels in {file.parent} is missing, damaged or another's: {fix}.")


def _place(manifest: dict[str, Any], number: int) -> int:
    """A checksum of what the labels of shard `number` are: by it those of its siblings, and of other stores, differ."""
    if manifest["format"] == 1:
        return 0
    labels = [manifest["teacher"]["sha256"], *(manifest[key] for key in ("data", "size", "alignment", "kind")), number]
    return _checksum(json.dumps(labels, sort_keys=True))


def _is_sound(record: Any, place: int) -> bool:
    return int(record["sum"]) == _sum(record, place)


def _sum(record: Any, place: int) -> int:
    """Of all that stands before the sum itself, and of the shard's place."""
    return zlib.crc32(record.tobytes()[: -record["sum"].nbytes], place)


def _checksum(name: str) -> int:
    return zlib.crc32(name.encode())
