"""`leadline export`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from leadline.core.errors import BadInput
from leadline.core.terminal import print_table
from leadline.data.datasets import open_for_evaluation
from leadline.export.exporting import FORMATS, NOT_WRITTEN, check_calibration, export_model
from leadline.inference.backends import as_rgb8, exported_files, is_exported
from leadline.io.discovery import find_images
from leadline.io.images import read_photograph
from leadline.models.loading import open_model

MAX_PIXELS = 2_000_000
"""Of a photograph that an export is checked on: a larger one is reduced."""


@dataclass(frozen=True)
class ExportCommand:
    """Write a model as one file for other programs, checked against the model before it gets its name.

    The file takes RGB of 8 bits in any size, and returns depth in that size: resizing, normalisation, the camera's
    focal length (a second input) and resizing back are inside it. The figures of the check are printed and kept in it.
    """

    model: tyro.conf.Positional[str]
    """Folder of a saved model, an official checkpoint file, the name of a published model, or hub:USER/NAME."""
    to: Literal["onnx", "openvino", "torch", "litert"] = "onnx"
    """The format."""
    out: Path | None = None
    """The file; unset: the model's name with the format's suffix, in this folder."""
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    """Of the weights; int8 computes in 8 bits too, and needs --calibrate."""
    calibrate: Path | None = None
    """Folder of photographs, from which int8 takes the ranges of its numbers."""
    photos: tuple[str, ...] = ()
    """Files, folders or patterns of photographs that the export is checked on; unset: images of --check."""
    check: str = "rooms,count=16"
    """Labelled dataset, as for `leadline evaluate --data`, on which the model and the export are scored."""
    split: str = "test"
    """Of that dataset."""
    allow_drift: bool = False
    """Keep an export outside the tolerance; the file says that it is."""

    def run(self) -> int:
        if is_exported(self.model):
            raise BadInput(f"{self.model} is exported already: give the model that it was made of.")
        if self.to in NOT_WRITTEN:
            raise BadInput(f"{self.to} is not written: {NOT_WRITTEN[self.to]}")
        images = _photographs(self.photos) if self.photos else []
        calibration = _photographs([str(self.calibrate)]) if self.calibrate else []
        if self.precision == "int8":
            check_calibration(calibration)
        elif self.calibrate:
            raise BadInput(f"--calibrate is for --precision int8, and this is {self.precision}: leave it out.")
        dataset = open_for_evaluation(self.check, self.split)
        model = open_model(self.model)
        made = export_model(
            model,
            self.out or Path(f"{_stem(self.model)}{FORMATS[self.to].suffix}"),
            self.to,
            dataset,
            images=images,
            precision=self.precision,
            calibration=calibration,
            allow_drift=self.allow_drift,
        )
        print_table(made.parity.table())
        drift = f" Outside the tolerance: {made.parity.fault}." if made.parity.fault else ""
        size = sum(file.stat().st_size for file in exported_files(made.path))
        print(f"{made.path}: {model.name}, {model.kind} depth, {self.precision}, {size / 1e6:.1f} MB.{drift}")
        return 0


def _stem(model: str) -> str:
    """A file's name for a model: that of its run where its own is only `model` or `best`."""
    path = Path(model.split(",")[0].replace(":", "_"))
    return path.parent.name if path.name in ("model", "best", "last") and path.parent.name else path.stem


def _photographs(places: Sequence[str]) -> list[np.ndarray]:
    found = find_images(list(places))
    if found.faults:
        raise BadInput(" ".join(found.faults))
    return [as_rgb8(read_photograph(file, max_pixels=MAX_PIXELS).pixels) for file, _ in found.files]
