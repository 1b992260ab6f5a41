"""continuous_crf: Xu et al. 2017 and 2018 (TPAMI), side outputs of a CNN's levels fused by continuous CRFs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, unknown
from leadline.models.base import DepthModel, Preprocessing, Provenance, SideOutputs
from leadline.models.encoders import REDUCTIONS, channels
from leadline.models.heads import output_activation
from leadline.models.layers.crf import ImageKernels, PositiveWeight, mean_field, multi_scale_mean_field
from leadline.models.networks.presets import EncoderConfig, defaults_of, encoder_of, fill_defaults

SIZES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"encoder": "resnet50", "width": 256, "stride": 2, "input_size": (224, 288)},
    "tiny": {"encoder": "mobilenetv3_small_100", "width": 32, "stride": 4, "input_size": (128, 160)},
}
FUSIONS = ("cascade", "multiscale")
"""`cascade`: a CRF for each level, coarsest first, each with the one before as a second observation; `multiscale`: one
CRF, in which every level has a variable for each pixel."""
_RADIUS = 2
_SPREAD = 8
"""Pixels of the image from one neighbour of the appearance kernel to the next."""


@dataclass(frozen=True)
class ContinuousCrfConfig(EncoderConfig):
    """What the front end and the CRFs are made of."""

    fusion: str = "multiscale"
    """"cascade" or "multiscale"."""
    iterations: int = 6
    """Mean-field iterations of each CRF."""
    width: int | None = None
    """Channels before each side output."""
    stride: int | None = None
    """Pixels of the image, in each direction, that are one of the CRFs' grid: 1, 2 or 4."""
    head: str = "log"
    """"log" or "softplus": the CRFs work on what goes into it."""
    min_depth: float = 0.1
    """Metres that the output never falls below."""
    max_depth: float = 100.0
    """Metres that the output never exceeds."""
    kind: str = DepthKind.METRIC
    """"metric", or "relative" for inverse depth."""


def continuous_crf(config: ContinuousCrfConfig) -> "ContinuousCrfModel":
    """Build the encoder, a side output for each of its levels, and the CRFs that fuse them.

    Raises:
        BadInput: an unknown size or fusion, or numbers that no such network has.
    """
    full = fill_defaults(config, SIZES)
    assert full.width is not None
    assert full.stride is not None
    if full.fusion not in FUSIONS:
        raise unknown("fusion", full.fusion, FUSIONS)
    if not 1 <= full.iterations <= 100:
        raise BadInput(f"iterations {full.iterations} must be from 1 to 100.")
    if full.stride not in (1, 2, 4):
        raise BadInput(f"stride {full.stride} must be 1, 2 or 4.")
    encoder, preprocessing, provenance = encoder_of(full, REDUCTIONS)
    make = {"cascade": CascadeCrf, "multiscale": MultiScaleCrf}[full.fusion]
    return ContinuousCrfModel(
        DepthKind(full.kind),
        preprocessing,
        provenance,
        encoder=encoder,
        sides=nn.ModuleList(_side_output(deep, full.width) for deep in reversed(channels(encoder))),
        fusion=make(len(REDUCTIONS), full.stride, full.iterations),
        stride=full.stride,
        answer=output_activation(full.head, full.kind, full.min_depth, full.max_depth),
        defaults=defaults_of(full, SIZES),
    )


class ContinuousCrfModel(DepthModel):
    """Encoder → a score map of each level, coarsest first → CRFs → depth of the finest level."""

    side_outputs = frozenset({"depths"})
    """The depth of each level alone, coarsest first: what the front end is pretrained by (Xu et al. 2017, §3.3)."""

    def __init__(
        self,
        kind: DepthKind,
        preprocessing: Preprocessing,
        provenance: Provenance,
        *,
        encoder: nn.Module,
        sides: nn.ModuleList,
        fusion: "CascadeCrf | MultiScaleCrf",
        stride: int,
        answer: nn.Module,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(kind, preprocessing, provenance, defaults=defaults)
        self.encoder = encoder
        self.sides = sides
        self.fusion = fusion
        self.stride = stride
        self.answer = answer

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        return self._depth(self._fused(image, self.scores(image)), image)

    def forward_with_sides(
        self, image: Float[Tensor, "B 3 H W"], intrinsics: Float[Tensor, "B 4"] | None = None
    ) -> tuple[Float[Tensor, "B 1 H W"], SideOutputs]:
        scores = self.scores(image)
        depth, *levels = (self._depth(each, image) for each in (self._fused(image, scores), *scores.split(1, 1)))
        depths = torch.cat(levels, 1)
        if (zoom := self.zoom(intrinsics)) is not None:
            depth, depths = depth * zoom, depths * zoom
        return depth, {"depths": depths}

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        return tuple(self.encoder(self.normalize(image)))

    def scores(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B L h w"]:
        """Return the score map of each level, coarsest first, on the grid of the CRFs."""
        size = [side // self.stride for side in image.shape[-2:]]
        maps = [side(level) for side, level in zip(self.sides, reversed(self.features(image)), strict=True)]
        maps = [F.interpolate(each.float(), size, mode="bilinear", align_corners=False) for each in maps]
        return torch.cat(maps, 1)

    def _fused(self, image: Tensor, scores: Tensor) -> Tensor:
        return self.fusion(scores, F.avg_pool2d(image.float(), self.stride))

    def _depth(self, score: Tensor, image: Tensor) -> Tensor:
        return self.answer(F.interpolate(score, image.shape[-2:], mode="bilinear", align_corners=False))


class CascadeCrf(nn.Module):
    """A CRF for each level, coarsest first: its observations are the level's score map and the depth of the CRF before,
    which is also a feature of its kernel and its first guess (Xu et al. 2017, §3.2.2)."""

    def __init__(self, levels: int, stride: int, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.kernels = nn.ModuleList(
            ImageKernels(stride, _RADIUS, _SPREAD // stride, depth_bandwidth=1.0 if level else None)
            for level in range(levels)
        )
        self.trust = nn.ModuleList(PositiveWeight(1.0) for _ in range(levels - 1))
        """Precision of the depth before, where that of the score map is 1."""

    def forward(self, scores: Float[Tensor, "B L h w"], small: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 1 h w"]:
        first, *finer = scores.split(1, 1)
        depth = mean_field(first, self.kernels[0](small), self.iterations)
        for score, kernels, trust in zip(finer, list(self.kernels)[1:], self.trust, strict=True):
            precision = 1 + trust()
            observed = (score + trust() * depth) / precision
            depth = mean_field(observed, kernels(small, depth), self.iterations, precision=precision, start=depth)
        return depth


class MultiScaleCrf(nn.Module):
    """One CRF with a variable for each level and pixel; the finest level's are the depth (Xu et al. 2017, §3.2.1)."""

    def __init__(self, levels: int, stride: int, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.kernels = ImageKernels(stride, _RADIUS, _SPREAD // stride)
        self.levels = levels
        self.coupling = PositiveWeight(1.0 / levels, levels * (levels + 1) // 2)
        self.agreement = PositiveWeight(1.0, levels * (levels - 1) // 2)

    def forward(self, scores: Float[Tensor, "B L h w"], small: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 1 h w"]:
        field = multi_scale_mean_field(
            scores,
            self.kernels(small),
            self.iterations,
            coupling=_symmetric(self.coupling(), self.levels, diagonal=0),
            agreement=_symmetric(self.agreement(), self.levels, diagonal=1),
        )
        return field[:, -1:]


def _symmetric(values: Float[Tensor, " N"], side: int, *, diagonal: int) -> Float[Tensor, "L L"]:
    """The symmetric matrix with these values on and above the diagonal of this number, row by row, and 0 between."""
    rows, columns = torch.triu_indices(side, side, diagonal, device=values.device)
    upper = values.new_zeros(side, side).index_put((rows, columns), values)
    return upper + upper.triu(1).T


def _side_output(deep: int, width: int) -> nn.Sequential:
    last = nn.Conv2d(width, 1, 3, padding=1)
    # An untrained network then answers the typical depth whatever the photograph.
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.get_parameter("bias"))
    return nn.Sequential(nn.Conv2d(deep, width, 3, padding=1), nn.ReLU(), last)
