"""Load a model for a command: onto a device, and with the backend that runs it."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from leadline.core.errors import BadInput, check_type, first_line
from leadline.core.paths import StrPath
from leadline.inference.backends import ExportedModel, Predictor, is_exported, is_installed, load_exported
from leadline.models.names import DEFAULT

if TYPE_CHECKING:
    import torch

    from leadline.models.base import DepthModel
else:
    DepthModel = Any

Backend = Literal["auto", "torch", "compile", "onnx", "openvino"]
"""What may run a model: `auto` is the fastest that is installed and runs it."""


def load(path: StrPath = DEFAULT, as_name: str | None = None) -> "DepthModel | ExportedModel":
    """Read back what `save` or `leadline export` wrote, or an official MiDaS or DPT checkpoint; in evaluation mode.

    Without a path: the model that comes with the package.

    Where nothing lies at `path`, it may be the name of a published model, whose weights are downloaded at first use.
    `as_name` says which model a checkpoint is, where neither its keys nor its file name do.
    `hub:PLACE[,kind=…][,revision=…]` is a model of the Hugging Face hub, or a folder of the transformers library.
    A file of `leadline export` is opened with the fastest backend that is installed.

    Raises:
        BadInput: nothing there, a folder that does not hold a whole model, a file that is no known checkpoint or
            export, or weights that cannot be downloaded.
    """
    check_type(path, str | os.PathLike, "place or name of a model", 'give one, as "leadline_small"')
    if is_exported(path) and as_name is None:
        return load_exported(path)
    from leadline.models import loading

    return loading.load(path, as_name)


_SHARPER = "depth_anything_v2_indoor_small"
"""Short name of a permissive metric network for indoor photographs, seven times as large as the package's own."""


def load_predictor(
    spec: str, device: str = "auto", as_name: str | None = None, backend: Backend = "auto", *, says: bool = True
) -> Predictor:
    """Load a model for photographs, which need not be trained: the package's own one without importing PyTorch.

    Args:
        spec: what `leadline.load` takes.
        device: cpu, cuda, mps …, or `auto`: for the package's own model and exported files the CPU, for others a GPU if
            there is one.
        as_name: the network that a checkpoint's weights are of, where the file does not say it.
        backend: what runs it, see `Backend`.
        says: whether to print on standard error what a checkpoint or the package's own model is.

    Raises:
        BadInput: no such model, device or backend, or a backend that does not run this model.
    """
    is_own = spec == DEFAULT and not Path(spec).exists() and as_name is None
    if is_own and backend == "onnx" and device not in ("auto", "cpu"):
        raise BadInput(f"{spec} by onnx is run on the CPU: leave --device {device} out, or give --backend torch.")
    if is_own and backend in ("auto", "onnx") and device in ("auto", "cpu"):
        own: Predictor = load_exported(embedded_file(), backend)
        _say(spec, own.provenance.notes, is_said=says)
        return own
    model = load_for_command(spec, device, as_name, backend, says=says)
    if isinstance(model, ExportedModel):
        return model
    from leadline.inference.torch_backend import TorchPredictor

    return TorchPredictor(model, "compile" if backend == "compile" else "torch")


def as_predictor(model: Any) -> Predictor:
    """Return what runs a model: a model of PyTorch on the device that it is on, anything else is one already."""
    if isinstance(model, Predictor):
        return model
    from leadline.inference.torch_backend import TorchPredictor

    return TorchPredictor(model)


def load_for_command(
    spec: str, device: str = "auto", as_name: str | None = None, backend: Backend = "auto", *, says: bool = True
) -> "DepthModel | ExportedModel":
    """Load a model onto a device, and print on standard error what a checkpoint or the package's own model is.

    Args:
        spec: what `leadline.load` takes.
        device: cpu, cuda, mps …, or `auto` for a GPU if there is one.
        as_name: the network that a checkpoint's weights are of, where the file does not say it.
        backend: what runs it, see `Backend`; a model that is no exported file is run by torch or compile.
        says: whether anything is printed.

    Raises:
        BadInput: no such model, device or backend, or a backend that does not run this model.
    """
    if is_exported(spec):
        if device not in ("auto", "cpu"):
            raise BadInput(f"{spec} is run on the CPU: leave --device {device} out.")
        return load_exported(spec, backend)
    if backend == "openvino" and not is_installed(backend):
        raise BadInput("openvino is not installed: pip install 'leadline[cpu]'")
    if backend in ("onnx", "openvino") and _is_there(spec):
        raise BadInput(
            f"Backend {backend} runs exported files: leadline export {spec} --to {backend}, and give that file."
        )
    import torch

    from leadline.models.loading import load

    place = find_device(device)
    model = load(spec, as_name).to(place)
    if backend == "compile":
        model.forward_scored = torch.compile(model.forward_scored)
    _say(spec, model.provenance.notes, is_said=says and (spec == DEFAULT or Path(spec).is_file()))
    return model


def _is_there(spec: str) -> bool:
    """Tell whether a model may be meant; what is surely none is refused where it is loaded."""
    from leadline.models.loading import list_models

    return Path(spec).exists() or spec.startswith("hub:") or spec in list_models()


def embedded_file() -> Path:
    """Return the place of the package's own model as an exported file."""
    import leadline.models

    return Path(leadline.models.__path__[0]) / "pretrained" / DEFAULT / f"{DEFAULT}.onnx"


def find_device(name: str) -> "torch.device":
    """Find the device of a name: cpu, cuda, mps …, or for `auto` a GPU if there is one.

    Raises:
        BadInput: there is no such device here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    reason = ""
    try:
        place = torch.empty(0, device=name).device
        if place.type != "meta":  # which computes nothing
            return place
    except (RuntimeError, AssertionError) as problem:
        if name.startswith("cuda"):  # of others PyTorch lists all that there may be anywhere
            reason = f" ({first_line(problem).partition('. ')[0].rstrip('.')})"
    here = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    here += ["mps"] if torch.backends.mps.is_available() else []
    raise BadInput(f"No device {name!r} here{reason}: choose {' or '.join(here)}, or leave --device out.")


def _say(spec: str, notes: str, *, is_said: bool) -> None:
    if is_said:
        better = f"; sharper, to download once: --model {_SHARPER}" if spec == DEFAULT else ""
        print(f"{spec}: {notes}{better}", file=sys.stderr)
