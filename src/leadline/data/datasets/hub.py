"""Hub: any dataset of the Hugging Face `datasets` library that has a column of photographs and one of depth.

https://huggingface.co/docs/datasets. Each dataset has a unit of its own: read its card.

Expected: `hub:OWNER/NAME`, or `hub:DIR` of one that was kept with `save_to_disk`; a column of pictures, and one of
pictures of one channel (16 or 32 bits) or of arrays (height × width). "val" is the split `validation`, `val`, `valid`.
Unit: `depth_scale` says how many steps make a metre; floats are taken as they are, in the unit that `kind` says, unless
they cannot be metres.
Trap: a depth column of 8 bits or in colour is a picture of depth, not depth. The library fetches the whole split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fsspec.core import url_to_fs
from PIL import Image, ImageOps

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, NoSplit, check_known, first_line, unknown
from leadline.core.sample import ImageTensor, Sample
from leadline.data.datasets.depth_reading import DepthReading
from leadline.data.datasets.pairs import check_split
from leadline.io.images import _decoding, decode_image

LICENCE = "Each dataset has its own: read its card at https://huggingface.co/datasets"
SPLIT_ALIASES = {"train": ("train",), "val": ("validation", "val", "valid"), "test": ("test",)}
"""Name of a split here → its names on the hub, of which the first that a dataset has is taken."""


@dataclass(frozen=True)
class HubDataset:
    """Rows of a table as samples; build it with `hub`."""

    name: str
    kind: DepthKind
    rows: Any
    """A `datasets.Dataset` of two columns, `image` and `depth`."""
    reading: DepthReading

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row, where = self.rows[index], f"row {index} of {self.name}"
        photo = _photograph(row["image"], where)
        numbers = self._numbers(_depth(row["depth"], where), where)
        if photo.shape[-2:] != numbers.shape:
            sizes = f"{photo.shape[-1]} × {photo.shape[-2]} and {numbers.shape[1]} × {numbers.shape[0]}"
            raise BadInput(f"{where}: photograph and depth are {sizes} pixels: register the depth first.")
        depth = torch.from_numpy(numbers.astype(np.float32) / (self.reading.scale or 1))[None]
        valid = depth.isfinite() & ((depth > 0) | (self.kind == DepthKind.RELATIVE and numbers.dtype.kind == "f"))
        return Sample(photo, depth.where(valid, 0), valid, self.kind, None, f"{index:06d}")

    def _numbers(self, value: Any, where: str) -> np.ndarray:
        """Return one value of the depth column, (height, width), after checking that it is depth."""
        numbers = np.asarray(value)
        numbers = numbers[..., 0] if numbers.ndim == 3 and numbers.shape[2] == 1 else numbers
        if numbers.ndim != 2 or (isinstance(value, Image.Image) and value.mode == "P"):
            raise BadInput(f"{where}: its depth is a picture in colour, not a depth map: state depth=COLUMN.")
        if numbers.dtype.itemsize == 1 and self.kind == DepthKind.METRIC:
            raise BadInput(f"{where}: its depth has 8 bits, too few for metres: state kind=relative, if it is that.")
        if self.reading.scale is None and numbers.dtype.kind != "f" and self.kind == DepthKind.METRIC:
            fix = "state depth_scale=1000 for millimetres, 256 for KITTI, 5000 for TUM"
            raise BadInput(f"{where}: its depth does not say its unit: {fix}.")
        numbers = self.reading.decoded(numbers)
        if self.kind == DepthKind.METRIC:
            self.reading.check(numbers, where)
        return numbers


def _photograph(value: Any, where: str) -> ImageTensor:
    """Decode one value of the column of photographs (the library, which is not asked to, would cut 16 bits to 8)."""
    content = _content(value, where)
    if not isinstance(content, bytes | Image.Image):
        raise BadInput(f"{where}: its photograph is no picture but {type(content).__name__}: state image=COLUMN.")
    return decode_image(content, f"the photograph of {where}")


def _depth(value: Any, where: str) -> Any:
    """Decode one value of the depth column: a picture, or an array."""
    content = _content(value, where)
    if not isinstance(content, bytes):
        return content
    with _decoding(f"the depth of {where}"), Image.open(BytesIO(content)) as picture:
        return ImageOps.exif_transpose(picture)


def _content(value: Any, where: str) -> Any:
    """Return a picture's bytes, or whatever else the table holds."""
    if not isinstance(value, dict) or value.keys() != {"bytes", "path"}:
        return value
    if value["bytes"] is not None or value["path"] is None:
        return value["bytes"]
    with _decoding(where):
        filesystem, path = url_to_fs(value["path"])
        return filesystem.cat_file(path)


def hub(
    split: str,
    *,
    path: str,
    image: str = "image",
    depth: str = "depth",
    depth_scale: float | None = None,
    invalid: Sequence[float] | None = (),
    max_depth: float | None = None,
    encoding: str = "",
    kind: str = "metric",
    config: str | None = None,
) -> HubDataset:
    """Open a table of photographs and depth, from the hub or from a folder of `save_to_disk`.

    Args:
        split: "train", "val" or "test"; "val" may have any name in `SPLIT_ALIASES`.
        path: `OWNER/NAME` on the hub, or the folder of `save_to_disk`.
        image: the column of photographs.
        depth: the column of depth.
        depth_scale: steps that make a metre; floats without it are metres, if they can be.
        invalid: numbers that mean "not measured", `65535:1e10`; None takes all as depth.
        max_depth: what is farther, in metres, is not measured.
        encoding: "sunrgbd" for millimetres with their bits rotated left by three.
        kind: what the depth guarantees: "metric", "scale_free" or "relative" (inverse depth, larger is nearer).
        config: the part of a dataset that has several.

    Raises:
        NoSplit: no such split.
        BadInput: the library is not installed, or there is no such dataset or column.
    """
    reading = DepthReading(depth_scale, None if invalid is None else tuple(invalid), max_depth, encoding=encoding)
    if kind not in tuple(DepthKind):
        raise unknown("kind", kind, DepthKind)
    check_split(split)
    try:
        library = import_module("datasets")
    except ImportError as error:
        raise BadInput("Datasets of the hub need the library `datasets`: pip install 'leadline[datasets]'") from error
    rows = _rows(library, path, config, split)
    for column in (image, depth):
        check_known("column", column, rows.column_names)
    rows = rows.select_columns([image, depth]).rename_columns({image: "image", depth: "depth"})
    for column in ("image", "depth"):
        if isinstance(rows.features[column], library.Image):
            rows = rows.cast_column(column, library.Image(decode=False))
    return HubDataset(f"{path} {split}", DepthKind(kind), rows, reading)


def _rows(library: Any, path: str, config: str | None, split: str) -> Any:
    """Load the split under whichever of its names it has."""
    try:
        if Path(path).is_dir() and any((Path(path) / name).is_file() for name in ("dataset_dict.json", "state.json")):
            table = library.load_from_disk(path)
            known = table if isinstance(table, dict) else {"train": table}
            return known[_named(split, list(known), path)]
        names = library.get_dataset_split_names(path, config)
        return library.load_dataset(path, config, split=_named(split, names, path))
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        reason = first_line(error).rstrip(".")
        fix = "state OWNER/NAME, and config=NAME where it asks"
        raise BadInput(f"Cannot open the dataset {path}: {reason}: {fix}.") from error


def _named(split: str, names: list[str], path: str) -> str:
    for name in SPLIT_ALIASES[split]:
        if name in names:
            return name
    raise NoSplit(f"{path} has no {split} split, only {', '.join(names)}.")
