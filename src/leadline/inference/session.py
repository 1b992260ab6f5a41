"""Load a model onto a device for a command."""

import sys
from pathlib import Path

import torch

from leadline.core.errors import BadInput
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.registry import DEFAULT


def load_for_command(spec: str, device: str = "auto", as_name: str | None = None) -> DepthModel:
    """Load a model onto a device, and print on standard error what a checkpoint or the package's own model is.

    Args:
        spec: what `leadline.load` takes.
        device: cpu, cuda, mps …, or `auto` for a GPU if there is one.
        as_name: the network that a checkpoint's weights are of, where the file does not say it.

    Raises:
        BadInput: no such model or device.
    """
    place = find_device(device)
    model = load(spec, as_name).to(place)
    if spec == DEFAULT or Path(spec).is_file():
        print(f"{spec}: {model.provenance.notes}", file=sys.stderr)
    return model


def find_device(name: str) -> torch.device:
    """Find the device of a name: cpu, cuda, mps …, or for `auto` a GPU if there is one.

    Raises:
        BadInput: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as problem:
        raise BadInput(f"No device {name!r} here ({str(problem).splitlines()[0]}): leave --device out.") from problem
