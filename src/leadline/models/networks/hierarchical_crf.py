"""hierarchical_crf: Li et al. 2015, depth of superpixels regressed from patches of several sizes, and a CRF."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.models.base import DepthModel, Preprocessing, Provenance, SideOutputs
from leadline.models.encoders import REDUCTIONS, channels
from leadline.models.heads import output_activation
from leadline.models.layers.hierarchical_crf import HierarchicalCrf
from leadline.models.layers.superpixels import slic, superpixel_means
from leadline.models.networks.presets import EncoderConfig, defaults_of, encoder_of, fill_defaults

SIZES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"encoder": "vgg16", "width": 1024, "superpixels": 400, "stride": 1, "input_size": (224, 288)},
    "tiny": {
        "encoder": "mobilenetv3_small_100",
        "width": 64,
        "superpixels": 150,
        "stride": 2,
        "input_size": (128, 160),
    },
}
PATCHES = (55 / 427, 121 / 427, 271 / 427, 407 / 427)
"""Sides of the patches around each superpixel, in heights of the image: 55 to 407 pixels of NYU's 427 × 561."""
LEVELS = (1, 2, 3, 3)
"""Which of the encoder's maps each patch is taken from: at 1/8, 1/16 and 1/32 of the image."""
_SAMPLES = 3
"""Points of a patch in each direction."""


@dataclass(frozen=True)
class HierarchicalCrfConfig(EncoderConfig):
    """What the regression and the CRF are made of."""

    superpixels: int | None = None
    """About how many an image has."""
    width: int | None = None
    """Units of the fully connected layers."""
    stride: int | None = None
    """Pixels of the image, in each direction, that are one for superpixels and CRF: 1, 2 or 4."""
    head: str = "log"
    """"log" or "softplus": the CRF works on what goes into it."""
    min_depth: float = 0.1
    """Metres that the output never falls below."""
    max_depth: float = 100.0
    """Metres that the output never exceeds."""
    kind: str = DepthKind.METRIC
    """"metric", or "relative" for inverse depth."""


def hierarchical_crf(config: HierarchicalCrfConfig) -> "HierarchicalCrfModel":
    """Build the encoder, the regression of superpixels' depth, and the hierarchical CRF.

    Raises:
        BadInput: an unknown size, numbers that no such network has, or more superpixels than pixels.
    """
    full = fill_defaults(config, SIZES)
    assert full.superpixels is not None
    assert full.width is not None
    assert full.stride is not None
    if full.stride not in (1, 2, 4):
        raise BadInput(f"stride {full.stride} must be 1, 2 or 4.")
    encoder, preprocessing, provenance = encoder_of(full, REDUCTIONS)
    grid(full.superpixels, *(side // full.stride for side in preprocessing.size))
    deep = [channels(encoder)[level] for level in LEVELS]
    return HierarchicalCrfModel(
        DepthKind(full.kind),
        preprocessing,
        provenance,
        encoder=encoder,
        regression=PatchRegression(deep, full.width),
        superpixels=full.superpixels,
        stride=full.stride,
        answer=output_activation(full.head, full.kind, full.min_depth, full.max_depth),
        defaults=defaults_of(full, SIZES),
    )


def grid(superpixels: int, height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of about `superpixels` nearly square cells of a map of `height` × `width` pixels.

    Args:
        superpixels: about how many cells.
        height: of the map.
        width: of the map.

    Raises:
        BadInput: there are fewer pixels than superpixels.
    """
    if not 1 <= superpixels <= height * width:
        raise BadInput(
            f"superpixels={superpixels} of {height} × {width} pixels (the image divided by stride): choose from 1 to "
            f"{height * width}, or a larger input_size."
        )
    rows = min(max(round(sqrt(superpixels * height / width)), 1), height)
    return rows, min(max(ceil(superpixels / rows), 1), width)


class HierarchicalCrfModel(DepthModel):
    """Encoder and superpixels → a number for each superpixel from the patches around it → CRF → depth of each pixel."""

    side_outputs = frozenset({"depths"})
    """The depth that the regression gives each superpixel: all that Li et al. train by."""

    def __init__(
        self,
        kind: DepthKind,
        preprocessing: Preprocessing,
        provenance: Provenance,
        *,
        encoder: nn.Module,
        regression: "PatchRegression",
        superpixels: int,
        stride: int,
        answer: nn.Module,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(kind, preprocessing, provenance, defaults=defaults)
        self.encoder = encoder
        self.regression = regression
        self.crf = HierarchicalCrf()
        self.superpixels = superpixels
        self.stride = stride
        self.answer = answer

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        small, labels, observed = self._regressed(image)
        return self._depth(self.crf(observed, labels, small), image)

    def forward_with_sides(
        self, image: Float[Tensor, "B 3 H W"], intrinsics: Float[Tensor, "B 4"] | None = None
    ) -> tuple[Float[Tensor, "B 1 H W"], SideOutputs]:
        small, labels, observed = self._regressed(image)
        flat = observed.gather(1, labels.flatten(1)).view_as(small[:, :1])
        depth, regressed = (self._depth(each, image) for each in (self.crf(observed, labels, small), flat))
        if (zoom := self.zoom(intrinsics)) is not None:
            depth, regressed = depth * zoom, regressed * zoom
        return depth, {"depths": regressed}

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        return tuple(self.encoder(self.normalize(image)))

    def _regressed(self, image: Tensor) -> tuple[Tensor, Int[Tensor, "B h w"], Float[Tensor, "B S"]]:
        """The image on the CRF's grid, its superpixels, and what the regression says of each."""
        small = F.avg_pool2d(image.float(), self.stride)
        rows, columns = grid(self.superpixels, *small.shape[-2:])
        maps = self.features(image)
        labels = slic(small, rows, columns)
        centres = superpixel_centres(labels, rows * columns)
        return small, labels, self.regression([maps[level] for level in LEVELS], centres).float()

    def _depth(self, score: Tensor, image: Tensor) -> Tensor:
        return self.answer(F.interpolate(score, image.shape[-2:], mode="bilinear", align_corners=False))


def superpixel_centres(labels: Int[Tensor, "B h w"], count: int) -> Float[Tensor, "B S 2"]:
    """Return x and y of each superpixel's centre, −1 and 1 at the edges of the image; (−1, −1) for an empty one.

    Args:
        labels: the number of each pixel's superpixel.
        count: how many superpixels there are.
    """
    height, width = labels.shape[-2:]
    y, x = (2 * (torch.arange(side, device=labels.device) + 0.5) / side - 1 for side in (height, width))
    places = torch.stack(torch.meshgrid(y, x, indexing="ij")).flip(0)
    means, counts = superpixel_means(places.expand(len(labels), -1, -1, -1), labels, count)
    return means.masked_fill((counts == 0)[:, None], -1.0).transpose(1, 2)


class PatchRegression(nn.Module):
    """From the features of patches of several sizes around each superpixel to one number (Li et al. 2015, §3.1).

    A patch is some points of a feature map of the whole image, where Li et al. pass each enlarged patch through the
    network by itself.
    """

    def __init__(self, deep: Sequence[int], width: int) -> None:
        """`deep`: channels of the map that each patch is taken from; `width`: units of a layer."""
        super().__init__()
        reduced = [min(each, width) for each in deep]
        self.reduce = nn.ModuleList(nn.Conv2d(each, less, 1) for each, less in zip(deep, reduced, strict=True))
        self.patches = nn.ModuleList(nn.Linear(less * _SAMPLES**2, width) for less in reduced)
        self.joined = nn.Linear(len(deep) * width, width)
        self.last = nn.Linear(width, 1)
        # An untrained network then answers the typical depth whatever the photograph.
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)

    def forward(
        self, maps: Sequence[Float[Tensor, "B _C _h _w"]], centres: Float[Tensor, "B S 2"]
    ) -> Float[Tensor, "B S"]:
        height, width = maps[0].shape[-2:]
        spread = torch.linspace(-1, 1, _SAMPLES, device=centres.device) * (1 - 1 / _SAMPLES)
        offsets = torch.stack(torch.meshgrid(spread, spread, indexing="xy"), -1).flatten(0, 1)
        offsets = offsets * offsets.new_tensor([height / width, 1.0])  # A side is a part of the image's height.
        told = []
        for side, level, reduce, layer in zip(PATCHES, maps, self.reduce, self.patches, strict=True):
            points = centres[:, :, None] + side * offsets
            values = F.grid_sample(reduce(level), points.to(level), padding_mode="border", align_corners=False)
            told.append(F.relu(layer(values.permute(0, 2, 3, 1).flatten(2))))
        return self.last(F.relu(self.joined(torch.cat(told, 2))))[..., 0]
