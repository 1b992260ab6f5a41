"""Stereo: learn disparity from pairs of images, without any measured depth."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.arrays import ImageTensor
from leadline.core.errors import BadInput
from leadline.core.sample import Sample
from leadline.data.datasets import Dataset
from leadline.models.base import DepthModel
from leadline.models.layers.disparity import SCALES, warp
from leadline.training.losses import Loss
from leadline.training.objectives import Network

Images = Float[Tensor, "B 3 H W"]
Disparities = Float[Tensor, "B 1 H W"]


@dataclass(frozen=True)
class RefineAndDistil:
    """Compare each view of a pair with what the networks of `pilzer` synthesise from the other (Pilzer et al. 2019).

    The student, and the refinement where `refines`, learn from the reconstruction of both views; the cycle network from
    that of the student's synthesised view and of the image it came from; and the student from the refined disparity,
    through which no gradient passes back.
    """

    refines: bool = True
    """Train the refinement and distil from it; else the student and the cycle alone, the first phase."""
    cycle: float = 1.0
    """Weight of the losses of the cycle network."""
    refined: float = 1.0
    """Weight of the losses of the refinement."""
    distillation: float = 1.0
    """Weight of the student's difference from the refined disparity, in shares of 1 % of the width."""
    smoothness: float = 0.1
    """Weight of the roughness of disparity, halved at each coarser scale, as in Godard et al. 2017."""
    consistency: float = 1.0
    """Weight of the difference of the two disparities of a network, likewise in shares of 1 % of the width."""

    def parts(self, model: DepthModel) -> nn.Module:
        """Return an empty module: all networks are the model's.

        Raises:
            BadInput: the model is not `pilzer` with all its networks.
        """
        if not {"refined 1/1", "cycle 1/1"} <= model.side_outputs:
            raise BadInput(
                f"refine_and_distil trains the networks of pilzer, and {model.name} has no such disparities: "
                "use --model pilzer (with answer=refined), or --recipe end_to_end."
            )
        return nn.Module()

    def __call__(self, model: Network, batch: Sample, parts: nn.Module) -> dict[str, Tensor]:
        left, right = stereo_views(batch)
        _, sides = model.forward_with_sides(left)
        pairs = {"student": (left, right, 1.0)}
        if self.refines:
            pairs["refined"] = (left, right, 1.0)
        # The cycle network sees the view that the student made of the right one.
        pairs["cycle"] = (sides["synthesised"].detach(), left, -1.0)
        weights = {"student": 1.0, "cycle": self.cycle, "refined": self.refined}
        terms = {}
        for name, (seen, other, side) in pairs.items():
            disparities = [sides[f"{name} 1/{part}"].float() for part in SCALES]
            for term, value in self._reconstruction(disparities, seen, other, side).items():
                terms[f"{name} {term}"] = weights[name] * value
        if self.refines:
            apart = [(sides[f"student 1/{part}"] - sides[f"refined 1/{part}"].detach()).abs().mean() for part in SCALES]
            terms["distillation"] = self.distillation * 100 * torch.stack(apart).float().mean()
        return terms

    def _reconstruction(
        self, disparities: list[Tensor], seen: Images, other: Images, side: float
    ) -> Mapping[str, Tensor]:
        """The losses of one network, averaged over its scales; `side` is 1 if the other view is the right one."""
        totals = {name: seen.new_zeros(()) for name in ("images", "smoothness", "consistency")}
        for level, maps in enumerate(disparities):
            size = maps.shape[-2:]
            one, two = (F.interpolate(each, size, mode="area") for each in (seen, other))
            mine, its = maps[:, :1], maps[:, 1:]
            totals["images"] = totals["images"] + photometric_loss(warp(two, mine, -side), one)
            totals["images"] = totals["images"] + photometric_loss(warp(one, its, side), two)
            rough = roughness(mine, one) + roughness(its, two)
            totals["smoothness"] = totals["smoothness"] + self.smoothness / 2**level * rough
            apart = (mine - warp(its, mine, -side)).abs().mean() + (its - warp(mine, its, side)).abs().mean()
            totals["consistency"] = totals["consistency"] + self.consistency * 100 * apart
        return {name: total / len(disparities) for name, total in totals.items()}


def stereo_views(batch: Sample) -> tuple[ImageTensor, ImageTensor]:
    """Return the left and the right images of a batch of stereo pairs, whichever of them the samples' own are.

    Raises:
        BadInput: a sample has no other view.
    """
    if batch.other is None or not batch.other.side.all():
        raise no_pairs(str(batch.name[0]) if isinstance(batch.name, tuple) and batch.name else str(batch.name))
    is_left = (batch.other.side > 0)[:, None, None, None]
    return torch.where(is_left, batch.image, batch.other.image), torch.where(is_left, batch.other.image, batch.image)


def check_pairs(dataset: Dataset) -> None:
    """Raise BadInput unless the first sample of a dataset is one of a stereo pair."""
    if len(dataset) and dataset[0].other is None:
        raise no_pairs(dataset.name)


def no_pairs(name: str) -> BadInput:
    """Return the error for data without stereo pairs."""
    return BadInput(
        f"{name} has no stereo pairs, which this training learns from: use sceneflow:DIR,stereo=yes or "
        "rooms,baseline=0.2, or --recipe end_to_end, which learns from measured depth."
    )


def photometric_loss(made: Images, seen: Images) -> Loss:
    """Compute the mean of 0.85 (1 − SSIM) / 2 + 0.15 |difference| of two images (Godard et al. 2017, eq. 2).

    Args:
        made: the image that was synthesised, RGB in [0, 1].
        seen: the image as it was photographed.
    """
    dissimilar = ((1 - structural_similarity(made, seen)) / 2).clamp(0, 1)
    return 0.85 * dissimilar.mean() + 0.15 * (made - seen).abs().mean()


def structural_similarity(one: Images, other: Images) -> Float[Tensor, "B 3 h w"]:
    """Compute SSIM over windows of 3 × 3 pixels of equal weight (Wang et al. 2004, eq. 13, as Godard et al. 2017).

    Args:
        one: RGB in [0, 1].
        other: of the same size.
    """
    mean_one, mean_other = F.avg_pool2d(one, 3, 1), F.avg_pool2d(other, 3, 1)
    variance_one = F.avg_pool2d(one.square(), 3, 1) - mean_one.square()
    variance_other = F.avg_pool2d(other.square(), 3, 1) - mean_other.square()
    covariance = F.avg_pool2d(one * other, 3, 1) - mean_one * mean_other
    luminance = (2 * mean_one * mean_other + 0.01**2) / (mean_one.square() + mean_other.square() + 0.01**2)
    return luminance * (2 * covariance + 0.03**2) / (variance_one + variance_other + 0.03**2)


def roughness(disparity: Disparities, image: Images) -> Loss:
    """Compute the mean of |∂d| e^(−|∂I|), in shares of the mean disparity (Godard et al. 2017, eq. 3; 2019, eq. 3).

    Args:
        disparity: in any unit.
        image: RGB in [0, 1], of the same size.
    """
    shares = disparity / disparity.mean((2, 3), keepdim=True).clamp_min(1e-7)
    total = shares.new_zeros(())
    for axis in (2, 3):
        edges = image.diff(dim=axis).abs().mean(1, keepdim=True)
        total = total + (shares.diff(dim=axis).abs() * torch.exp(-edges)).mean()
    return total
