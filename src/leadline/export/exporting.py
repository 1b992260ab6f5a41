"""Export a model: write it in another format, run it against the original, and only then give it its name."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from leadline.core.errors import BadInput, unknown
from leadline.core.paths import StrPath
from leadline.data.datasets import Dataset
from leadline.export.network import quiet
from leadline.export.parity import Parity, compare, images_of
from leadline.inference.backends import METADATA_KEY, ExportedModel, exported_files, load_exported
from leadline.inference.torch_backend import TorchPredictor
from leadline.io.atomic import atomic_write, folder_beside, make_folder
from leadline.io.outputs import check_replaceable
from leadline.models.base import DepthModel
from leadline.models.description import describe
from leadline.models.quantisation import merge_quantisers

PRECISIONS = ("fp32", "fp16", "int8")
FROM_DATASET = 4
"""Images of the labelled set that stand in where no photographs are given."""


ROUNDED_FROM = (1 << 12, 1 << 16, 1 << 18)
"""More numbers than this has a weight that fp16 rounds; the next one is tried where the check finds too much. Errors in
small weights, of normalisations and the first convolutions, reach the depth undiminished: in `leadline_small` 0.1 MB of
them made three quarters of the difference."""
FEWEST_FOR_INT8 = 2
"""Calibration images; tens are better."""


@dataclass(frozen=True)
class Exported:
    """An exported model in its place, and what the gate found."""

    path: Path
    parity: Parity
    model: ExportedModel


def export_model(
    model: DepthModel,
    path: StrPath,
    to: str,
    dataset: Dataset,
    *,
    images: Sequence[Any] = (),
    precision: str = "fp32",
    calibration: Sequence[Any] = (),
    allow_drift: bool = False,
) -> Exported:
    """Write a model as one file that takes RGB of 8 bits and any size, checked against the model.

    Args:
        model: the model.
        path: the file; what is there is replaced once the export is good.
        to: the format, one of `FORMATS`.
        dataset: a labelled set, in metres, on which both are scored.
        images: photographs (H, W, 3), RGB of 8 bits, on which both are run; none: the first of `dataset`.
        precision: fp32, fp16 or int8.
        calibration: photographs (H, W, 3) from which int8 takes the ranges of its numbers.
        allow_drift: keep an export that is outside the tolerance; its metadata say so.

    Raises:
        BadInput: a format or precision that there is not, a place that is taken, a network that cannot be exported, or
            an export outside the tolerance.
    """
    if to in NOT_WRITTEN:
        raise BadInput(f"{to} is not written: {NOT_WRITTEN[to]}")
    if to not in FORMATS:
        raise unknown("format", to, FORMATS)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if precision == "int8":
        check_calibration(calibration)
    model = merge_quantisers(model)
    target = Path(path)
    form = FORMATS[to]
    if target.suffix.lower() != form.suffix:
        raise BadInput(f"{target}: a file of {to} ends in {form.suffix}.")
    check_place(target)
    make_folder(target.parent)
    with folder_beside(target) as folder:
        original = TorchPredictor(model)
        about: dict[str, Any] = {
            "model": describe(model.name, model.arguments, model.kind, model.preprocessing, model.provenance),
            "export": {
                "format": to,
                "precision": precision,
                "unit": model.kind.unit,
                "leadline": version("leadline"),
                "original": original.fingerprint,
            },
        }
        photographs = list(images) or images_of(dataset, FROM_DATASET)

        def attempt(rounded_from: int) -> tuple[Path, Parity]:
            draft = Path(folder) / str(rounded_from) / target.name
            make_folder(draft.parent)
            form.functions().write(model, draft, precision, calibration, about, rounded_from)
            try:
                with quiet():
                    exported = load_exported(draft, form.backend)
            except BadInput as problem:  # PyTorch writes conditions on sizes that it cannot read
                raise BadInput(
                    f"{model.name!r} cannot be exported to {to}: {form.backend} cannot read the file that was written. "
                    "Give another format by --to."
                ) from problem
            return draft, compare(original, exported, photographs, dataset, (model, exported), precision)

        draft, parity = attempt(ROUNDED_FROM[0])
        for rounded_from in ROUNDED_FROM[1:] if precision == "fp16" else ():
            if parity.fault:
                draft, parity = attempt(rounded_from)
        if parity.fault and not allow_drift:
            raise BadInput(
                f"{target} was not written: {parity.fault} (--allow-drift keeps it, and says so inside).\n"
                f"{parity.table().markdown()}"
            )
        about["export"]["checked"] = parity.record()
        form.functions().label(draft, about)
        _take_names(draft, target)
    return Exported(target, parity, load_exported(target, form.backend))


def check_place(path: StrPath) -> None:
    """Refuse to export where there is something that `leadline export` did not write.

    Args:
        path: the file that is asked for.

    Raises:
        BadInput: there is a folder, or a file of another origin.
    """
    path = Path(path)
    beside = [file.name for file in exported_files(path) if file != path]
    check_replaceable(path, "--out", is_own=lambda file: METADATA_KEY.encode() in file.read_bytes(), beside=beside)


def check_calibration(images: Sequence[np.ndarray]) -> None:
    """Refuse photographs from which no ranges of numbers can be taken.

    Raises:
        BadInput: there are none or too few, or they are all alike.
    """
    if len(images) < FEWEST_FOR_INT8:
        raise BadInput(
            f"int8 takes the ranges of its numbers from photographs, and there are {len(images)}: give --calibrate "
            "FOLDER with some tens of them."
        )
    if all(np.array_equal(image, images[0]) for image in images[1:]) or all(np.ptp(image) == 0 for image in images):
        raise BadInput(
            f"The {len(images)} calibration photographs are all alike, or each of one colour: give --calibrate FOLDER "
            "with different ones."
        )


def _take_names(draft: Path, target: Path) -> None:
    """Move the files of an export to their place: the one that is asked for last."""
    beside = sorted((each for each in draft.parent.iterdir() if each != draft), key=lambda each: each.name)
    with ExitStack() as stack:
        for file in [*beside, draft]:
            half = stack.enter_context(atomic_write(target.with_name(file.name)))
            file.replace(half)


@dataclass(frozen=True)
class Format:
    """A format of exported files."""

    suffix: str
    backend: str
    """What runs such a file."""
    module: str
    """Where its functions `write` and `label` are, in this folder; it is imported when it is first used."""

    def functions(self) -> Any:
        """Return that module."""
        return import_module(f"leadline.export.{self.module}")


FORMATS: Mapping[str, Format] = {
    "onnx": Format(".onnx", "onnx", "onnx_file"),
    "openvino": Format(".xml", "openvino", "openvino_file"),
    "torch": Format(".pt2", "torch", "torch_file"),
}
"""Name → format."""
NOT_WRITTEN: Mapping[str, str] = {
    "litert": "its converter, litert-torch 0.10, takes no PyTorch from 2.15 on. Export to onnx.",
}
"""Name of a format that may be asked for → why there is none, and what to do."""
