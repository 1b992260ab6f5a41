"""The PyTorch backend: a model of Leadline's own behind the interface that exported files have."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from leadline.core.arrays import as_array, as_tensor
from leadline.core.depth_kind import DepthKind
from leadline.inference.backends import Predictor, Scored
from leadline.inference.tensors import predict_scored
from leadline.io.images import as_float_image
from leadline.models.base import DepthModel
from leadline.models.preprocessing import Preprocessing, Provenance
from leadline.models.saving import fingerprint


@dataclass(frozen=True, eq=False)
class TorchPredictor(Predictor):
    """A model of PyTorch as `leadline.inference.backends.Predictor`, on the device that it is on."""

    model: DepthModel
    backend: str = "torch"
    """torch, or compile where `torch.compile` made its kernels."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def kind(self) -> DepthKind:
        """Of the depth that it returns."""
        return self.model.kind

    @property
    def preprocessing(self) -> Preprocessing:
        """The model's preprocessing."""
        return self.model.preprocessing

    @property
    def provenance(self) -> Provenance:
        """Where the weights come from."""
        return self.model.provenance

    @cached_property
    def fingerprint(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The SHA-256 of all that the answers depend on."""
        return fingerprint(self.model)

    def measure_scored(self, images: Sequence[np.ndarray], cameras: Sequence[np.ndarray | None]) -> Scored:
        """Predict as `leadline.inference.backends.Predictor.measure_scored` says."""
        floats = [as_tensor(as_float_image(image)) for image in images]
        batch = torch.stack(floats) if len(floats) > 1 else floats[0][None]  # a view: a large photograph takes 300 MB
        unknown = np.full(4, np.nan, np.float32)
        known = None
        if any(camera is not None for camera in cameras):
            known = as_tensor(np.stack([unknown if camera is None else camera for camera in cameras]))
        depth, scores = predict_scored(self.model, batch, known)
        return as_array(depth), None if scores is None else as_array(scores)
