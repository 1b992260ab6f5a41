"""`leadline evaluate`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from leadline.cli.protocol_options import ProtocolOptions
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.specs import parse_options
from leadline.core.terminal import print_table
from leadline.data.datasets import open_data, open_for_evaluation
from leadline.evaluation.evaluate_maps import evaluate_maps
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.tables import Table, TextTable
from leadline.inference.session import Backend, find_device, load_for_command
from leadline.io.atomic import atomic_write, make_folder
from leadline.io.outputs import check_replaceable, printable
from leadline.models.names import DEFAULT


@dataclass(frozen=True)
class EvaluateCommand:
    """Score a model on a dataset, or anyone's depth maps against measured ones, under a named protocol.

    leadline evaluate --model runs/mine/best --data rooms

    leadline evaluate --predictions DIR --ground-truth DIR --depth-scale 1000 --protocol nyu_eigen --json FILE
    """

    options: Annotated[ProtocolOptions, tyro.conf.arg(name="")] = field(default_factory=ProtocolOptions)
    model: Annotated[str | None, tyro.conf.arg(aliases=["--weights"])] = None
    """Folder of a saved model, an official checkpoint file, the name of a published model, or hub:USER/NAME; unset: the
    small one that comes with the package."""
    data: str | None = None
    """Dataset to score it on: rooms, nyu:DIR or a folder, with options as in DIR,depth_scale=1000."""
    split: str = "test"
    """Of the dataset: train, val or test; of a folder without splits all, as the table's title then says."""
    train_data: str | None = None
    """Dataset whose train split the mean-depth and median-depth rows take their constants from; unset: the measured
    depth that is scored on."""
    predictions: Path | None = None
    """Folder of predicted depth maps, instead of a model: PNG, NPZ, PFM or TIFF, named as the measured ones are.
    Predictions for the benchmark crops of KITTI (352 × 1216) and NYU (426 × 560) are placed back."""
    ground_truth: Path | None = None
    """Folder of measured depth maps."""
    depth_scale: float | None = None
    """Numbers in the files of both folders are metres × this, where the files do not state it: 1000 for millimetres,
    256 for KITTI."""
    prediction_scale: float | None = None
    """The same for the predictions, where it is another."""
    kind: Annotated[DepthKind | None, tyro.conf.EnumChoicesFromValues] = None
    """Kind of depth of the predictions, where their files do not state it. Floats need it, or a scale by which they are
    metres; integers are metric."""
    invalid: str | None = None
    """Numbers in the measured files that mean "not measured", as in 65535:1e10; none takes all as depth. Numbers that
    no camera measures are refused until this or --max-depth says what they are."""
    max_depth: float | None = None
    """Metres in the measured files: what is farther is not measured."""
    resize: bool = False
    """Resize predictions of another size, but of the same aspect ratio, to their measured map's."""
    details: bool = False
    """Also list errors by range of depth, and how well edges and surfaces are found (boundary F1, relative normals,
    distances between points); of a model on a dataset."""
    batch_size: int = 8
    """Images that are predicted at once."""
    backend: Backend = "auto"
    """What runs the model: torch or compile, onnx or openvino for an exported file, auto: the fastest installed."""
    device: str = "auto"
    """What the model computes on: cpu, cuda, mps, or auto: a GPU if there is one."""
    json: Path | None = None
    """File for all figures, those of each image too."""

    def run(self) -> int:
        rules = self.options.chosen()
        self._check()
        if self.data:
            table, told = self._score_model(self.data, rules)
        elif self.predictions and self.ground_truth:
            table, told = self._score_maps(self.predictions, self.ground_truth, rules), ()
        else:
            raise BadInput("Give either --data (and --model), or --predictions and --ground-truth.")
        for each in (table, *told):
            print_table(each)
        if self.json:
            figures = {**table.as_dict(), **({"details": [each.as_dict() for each in told]} if told else {})}
            with atomic_write(self.json) as half:
                text = json.dumps(figures, indent=1, ensure_ascii=False)
                half.write_text(printable(text), encoding="utf-8")
        return 0

    def _check(self) -> None:
        """Refuse what cannot be done, or would not be used, before anything is read."""
        for_models = {
            "--model": self.model,
            "--data": self.data,
            "--train-data": self.train_data,
            "--details": self.details or None,
            "--split": _unless(self.split, "test"),
            "--batch-size": _unless(self.batch_size, 8),
            "--backend": _unless(self.backend, "auto"),
            "--device": _unless(self.device, "auto"),
        }
        for_maps = {
            "--predictions": self.predictions,
            "--ground-truth": self.ground_truth,
            "--depth-scale": self.depth_scale,
            "--prediction-scale": self.prediction_scale,
            "--kind": self.kind,
            "--invalid": self.invalid,
            "--max-depth": self.max_depth,
            "--resize": self.resize or None,
        }
        given, others = (
            [option for option, value in each.items() if value is not None] for each in (for_models, for_maps)
        )
        if given and others:
            raise BadInput(
                f"{', '.join(given)} is of a model, and {', '.join(others)} of maps in files (a dataset's scale is "
                "--data DIR,depth_scale=1000): give either --data (and --model), or --predictions and --ground-truth."
            )
        if self.data:
            # Only models need PyTorch, which takes seconds to import.
            from leadline.evaluation.evaluate import check_batch_size

            check_batch_size(self.batch_size)
            find_device(self.device)
        if self.json:
            check_replaceable(self.json, "--json", keys=frozenset({"title", "metrics", "rows"}))
            make_folder(self.json.parent)

    def _score_model(self, data: str, rules: EvalProtocol) -> tuple[Table, tuple[TextTable, ...]]:
        from leadline.evaluation.details import detail_tables
        from leadline.evaluation.evaluate import evaluate

        words = self.model or DEFAULT
        dataset = open_for_evaluation(data, self.split)
        training = open_data(self.train_data, "train") if self.train_data else None
        model = load_for_command(words, self.device, backend=self.backend)
        table = evaluate(
            model,
            dataset,
            rules,
            training=training,
            name=f"{model.name} ({words})",
            batch_size=self.batch_size,
            progress=True,
        )
        if not self.details:
            return table, ()
        return table, detail_tables(model, dataset, rules, batch_size=self.batch_size)  # pyright: ignore[reportArgumentType]

    def _score_maps(self, predictions: Path, ground_truth: Path, rules: EvalProtocol) -> Table:
        return evaluate_maps(
            predictions,
            ground_truth,
            rules,
            depth_scale=self.depth_scale,
            prediction_scale=self.prediction_scale,
            kind=self.kind,
            max_depth=self.max_depth,
            **parse_options(evaluate_maps, {} if self.invalid is None else {"invalid": self.invalid}, "evaluate"),
            resize=self.resize,
            progress=True,
        )


def _unless(value: int | str, default: int | str) -> int | str | None:
    """Return an option's value, or None where it has its default, which is as good as not given."""
    return None if value == default else value
