"""Leadline measures depth from one photograph, and teaches small networks to do it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leadline.core.depth_kind import DepthKind
    from leadline.core.errors import BadInput
    from leadline.core.sample import Sample
    from leadline.data.datasets import open_data
    from leadline.evaluation.evaluate import evaluate
    from leadline.evaluation.protocols import protocol
    from leadline.inference.predict import predict
    from leadline.io.depth_maps import DepthMap, read_depth, write_depth
    from leadline.io.images import read_camera, read_image
    from leadline.models.base import DepthModel
    from leadline.models.loading import load
    from leadline.models.registry import build
    from leadline.models.saving import save
    from leadline.training.trainer import fit

_HOMES = {
    "BadInput": "leadline.core.errors",
    "DepthMap": "leadline.io.depth_maps",
    "DepthModel": "leadline.models.base",
    "DepthKind": "leadline.core.depth_kind",
    "Sample": "leadline.core.sample",
    "build": "leadline.models.registry",
    "evaluate": "leadline.evaluation.evaluate",
    "fit": "leadline.training.trainer",
    "load": "leadline.models.loading",
    "open_data": "leadline.data.datasets",
    "predict": "leadline.inference.predict",
    "protocol": "leadline.evaluation.protocols",
    "read_camera": "leadline.io.images",
    "read_depth": "leadline.io.depth_maps",
    "read_image": "leadline.io.images",
    "save": "leadline.models.saving",
    "write_depth": "leadline.io.depth_maps",
}
"""Public name → the module it lives in, imported when the name is first used: torch takes seconds."""

__all__ = [
    "BadInput",
    "DepthKind",
    "DepthMap",
    "DepthModel",
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
