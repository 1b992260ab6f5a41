"""Leadline predicts depth from one photograph, and trains small networks to do it."""

import os
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leadline import cli as cli
    from leadline import core as core
    from leadline import data as data
    from leadline import data_quality as data_quality
    from leadline import evaluation as evaluation
    from leadline import export as export
    from leadline import inference as inference
    from leadline import io as io
    from leadline import models as models
    from leadline import recipes as recipes
    from leadline import reporting as reporting
    from leadline import serve as serve
    from leadline import training as training
    from leadline.core import camera as camera
    from leadline.core.depth_kind import DepthKind
    from leadline.core.errors import BadInput, UnreadableFile
    from leadline.core.sample import Sample
    from leadline.data import datasets as datasets
    from leadline.data import transforms as transforms
    from leadline.data.datasets import open_data
    from leadline.evaluation import alignment as alignment
    from leadline.evaluation import metrics as metrics
    from leadline.evaluation import protocols as protocols
    from leadline.evaluation.evaluate import evaluate
    from leadline.evaluation.evaluate_maps import evaluate_maps
    from leadline.evaluation.protocols import EvalProtocol, protocol
    from leadline.inference.backends import ExportedModel
    from leadline.inference.predict import predict
    from leadline.inference.session import load
    from leadline.inference.tensors import predict_tensor
    from leadline.io import colormaps as colormaps
    from leadline.io import depth_maps as depth_maps
    from leadline.io import images as images
    from leadline.io.depth_maps import DepthMap, read_depth, write_depth
    from leadline.io.images import read_camera, read_image, write_image
    from leadline.models import networks as networks
    from leadline.models.base import DepthModel
    from leadline.models.loading import list_models
    from leadline.models.pretrained.hub import load_pretrained, push_to_hub, save_pretrained
    from leadline.models.registry import build
    from leadline.models.saving import save
    from leadline.training import losses as losses
    from leadline.training import objectives as objectives
    from leadline.training.objectives import Supervised
    from leadline.training.trainer import HardwareConfig, TrainConfig, fit

# Before anything here imports ONNX Runtime, which would otherwise report its use to its makers (its Privacy.md).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "BadInput": "leadline.core.errors",
    "DepthKind": "leadline.core.depth_kind",
    "DepthMap": "leadline.io.depth_maps",
    "DepthModel": "leadline.models.base",
    "EvalProtocol": "leadline.evaluation.protocols",
    "ExportedModel": "leadline.inference.backends",
    "HardwareConfig": "leadline.training.trainer",
    "Sample": "leadline.core.sample",
    "Supervised": "leadline.training.objectives",
    "TrainConfig": "leadline.training.trainer",
    "UnreadableFile": "leadline.core.errors",
    "build": "leadline.models.registry",
    "evaluate": "leadline.evaluation.evaluate",
    "evaluate_maps": "leadline.evaluation.evaluate_maps",
    "fit": "leadline.training.trainer",
    "list_models": "leadline.models.loading",
    "load": "leadline.inference.session",
    "load_pretrained": "leadline.models.pretrained.hub",
    "open_data": "leadline.data.datasets",
    "predict": "leadline.inference.predict",
    "predict_tensor": "leadline.inference.tensors",
    "protocol": "leadline.evaluation.protocols",
    "push_to_hub": "leadline.models.pretrained.hub",
    "read_camera": "leadline.io.images",
    "read_depth": "leadline.io.depth_maps",
    "read_image": "leadline.io.images",
    "save": "leadline.models.saving",
    "save_pretrained": "leadline.models.pretrained.hub",
    "write_depth": "leadline.io.depth_maps",
    "write_image": "leadline.io.images",
}
"""Public name → the module it lives in, imported when the name is first used: torch takes seconds."""

_MODULES = {
    "alignment": "leadline.evaluation.alignment",
    "camera": "leadline.core.camera",
    "cli": "leadline.cli",
    "colormaps": "leadline.io.colormaps",
    "compression": "leadline.compression",
    "core": "leadline.core",
    "data": "leadline.data",
    "data_quality": "leadline.data_quality",
    "datasets": "leadline.data.datasets",
    "depth_maps": "leadline.io.depth_maps",
    "evaluation": "leadline.evaluation",
    "export": "leadline.export",
    "images": "leadline.io.images",
    "inference": "leadline.inference",
    "io": "leadline.io",
    "losses": "leadline.training.losses",
    "metrics": "leadline.evaluation.metrics",
    "models": "leadline.models",
    "networks": "leadline.models.networks",
    "objectives": "leadline.training.objectives",
    "protocols": "leadline.evaluation.protocols",
    "recipes": "leadline.recipes",
    "reporting": "leadline.reporting",
    "serve": "leadline.serve",
    "training": "leadline.training",
    "transforms": "leadline.data.transforms",
}
"""Name → the folder or module that it means, imported when first used. None has the name of a function above."""

__all__ = [
    "BadInput",
    "DepthKind",
    "DepthMap",
    "DepthModel",
    "EvalProtocol",
    "ExportedModel",
    "HardwareConfig",
    "Sample",
    "Supervised",
    "TrainConfig",
    "UnreadableFile",
    "build",
    "evaluate",
    "evaluate_maps",
    "fit",
    "list_models",
    "load",
    "load_pretrained",
    "open_data",
    "predict",
    "predict_tensor",
    "protocol",
    "push_to_hub",
    "read_camera",
    "read_depth",
    "read_image",
    "save",
    "save_pretrained",
    "write_depth",
    "write_image",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("leadline")
    if name == "Kind":
        warnings.warn("leadline.Kind is called leadline.DepthKind now.", DeprecationWarning, stacklevel=2)
        name = "DepthKind"
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _HOMES:
        raise AttributeError(f"leadline has no {name!r}; its names are {', '.join(__all__)}.")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, "__version__", *(name for name in globals() if name.startswith("__"))})
