"""Relative teachers for studies: a metric teacher's depth as DPT's numbers, or as numbers from 0 to 1."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from leadline.core.depth_kind import DepthKind
from leadline.models.base import DepthModel, ModelSpec
from leadline.models.networks.dpt import NYU_SCALE, NYU_SHIFT


class WrappedTeacher(DepthModel):
    """Change the unit of another model's output, and nothing else."""

    def __init__(self, teacher: DepthModel, unit: str) -> None:
        super().__init__(
            DepthKind.RELATIVE,
            replace(teacher.preprocessing, focal=None),
            teacher.provenance,
            spec=ModelSpec(f"{teacher.name}, {unit}", teacher.arguments),
        )
        self.teacher = teacher
        self.encoder = teacher.encoder
        self.eval()

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        return self.teacher.features(image)


class DptRangeTeacher(WrappedTeacher):
    """Output a metric teacher's depth as the numbers that DPT-hybrid gives: 6106, 2827, 1188, 641, 204 at 0.5 … 5 m.

    DPT-hybrid's finetuning on NYU Depth v2 (Ranftl et al. 2021) reads metres off its own relative output by
    d = 1 / (0.000305 x + 0.1378); this is the inverse of that, and 0 beyond 7.26 m.
    """

    def __init__(self, metric: DepthModel) -> None:
        super().__init__(metric, "in DPT's numbers")

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        return ((1 / self.teacher.forward_canonical(image) - NYU_SHIFT) / NYU_SCALE).clamp_min(0)


class UnitRangeTeacher(WrappedTeacher):
    """Stretch a relative teacher's output to 0 … 1 over each image, as when its pictures are read as depth."""

    def __init__(self, relative: DepthModel) -> None:
        super().__init__(relative, "from 0 to 1")

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        inverse = self.teacher.forward_canonical(image)
        low, high = inverse.amin((1, 2, 3), keepdim=True), inverse.amax((1, 2, 3), keepdim=True)
        return (inverse - low) / (high - low).clamp_min(torch.finfo(inverse.dtype).tiny)
