"""Leadline measures depth from one photograph, and teaches small networks to do it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leadline.datasets import open_data
    from leadline.errors import BadInput
    from leadline.evaluate import evaluate
    from leadline.files import DepthMap, read_camera, read_depth, read_image, write_depth
    from leadline.fit import fit
    from leadline.models import DepthModel, build, load, save
    from leadline.predict import predict
    from leadline.protocols import protocol
    from leadline.sample import Kind, Sample

_HOMES = {
    "BadInput": "leadline.errors",
    "DepthMap": "leadline.files",
    "DepthModel": "leadline.models",
    "Kind": "leadline.sample",
    "Sample": "leadline.sample",
    "build": "leadline.models",
    "evaluate": "leadline.evaluate",
    "fit": "leadline.fit",
    "load": "leadline.models",
    "open_data": "leadline.datasets",
    "predict": "leadline.predict",
    "protocol": "leadline.protocols",
    "read_camera": "leadline.files",
    "read_depth": "leadline.files",
    "read_image": "leadline.files",
    "save": "leadline.models",
    "write_depth": "leadline.files",
}
"""Public name → the module it lives in, imported when the name is first used: torch takes seconds."""

__all__ = [
    "BadInput",
    "DepthMap",
    "DepthModel",
    "Kind",
    "Sample",
    "build",
    "evaluate",
    "fit",
    "load",
    "open_data",
    "predict",
    "protocol",
    "read_camera",
    "read_depth",
    "read_image",
    "save",
    "write_depth",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"leadline has no {name!r}; its names are {', '.join(__all__)}.")
    return getattr(import_module(_HOMES[name]), name)
