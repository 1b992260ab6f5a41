"""eigen: Eigen et al. 2014, a coarse network that sees the whole image, and a fine one that edits what it says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.arrays import Side
from leadline.core.camera import CANONICAL_FOCAL
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known
from leadline.models.base import DepthModel, Preprocessing, Provenance
from leadline.models.encoders import CAMERAS
from leadline.models.heads import output_activation

SIZES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"widths": (96, 256, 384, 384, 256), "hidden": 4096, "fine": 64, "input_size": (228, 304)},
    "tiny": {"widths": (24, 48, 64, 64, 48), "hidden": 256, "fine": 32, "input_size": (96, 128)},
}
STAGES = ("coarse", "fine")
"""`coarse`: the coarse network's depth is the answer; `fine`: the fine network's, which takes the coarse map in."""
MULTIPLE = 4
SMALLEST_SIDE = 24
"""Pixels: the convolutions and poolings of the coarse network leave nothing of less."""


@dataclass(frozen=True)
class EigenConfig:
    """What the two networks are made of; they have an encoder of their own, not one of timm's."""

    size: str = "paper"
    """"paper" or "tiny": says what is not given of the widths and `input_size`."""
    stage: str = "fine"
    """"fine", or "coarse" for the first phase of the training: the recipe `coarse_to_fine` does both."""
    widths: Sequence[int] | None = None
    """Channels of the coarse network's five convolutions."""
    hidden: int | None = None
    """Units of its fully connected layer."""
    fine: int | None = None
    """Channels of the fine network's layers; one of those of the first is the coarse map."""
    dropout: float = 0.5
    """Probability of dropping a unit of the fully connected layer."""
    min_depth: float = 0.1
    """Metres that the output never falls below."""
    max_depth: float = 100.0
    """Metres that the output never exceeds."""
    input_size: Sequence[int] | None = None
    """Native height and width, for which the fully connected layers are made."""
    camera: str = "canonical"
    """"canonical" (metres follow the photograph's focal length, where it is known), "learned" (to a power that is
    learned) or "any"."""


def eigen(config: EigenConfig) -> "EigenModel":
    """Build the coarse and the fine network of Eigen et al. 2014, or the coarse one alone.

    Raises:
        BadInput: an unknown size or stage, or widths and sizes that no such network has.
    """
    check_known("size", config.size, SIZES)
    check_known("stage", config.stage, STAGES)
    check_known("camera", config.camera, CAMERAS)
    chosen = {name: getattr(config, name) or value for name, value in SIZES[config.size].items()}
    height, width = _checked_size(chosen["input_size"])
    if len(chosen["widths"]) != 5 or min(chosen["widths"]) < 1:
        raise BadInput(f"widths {chosen['widths']} must be the channels of five convolutions.")
    if not 0 <= config.dropout < 1:
        raise BadInput(f"dropout {config.dropout} must be from 0 to less than 1.")
    focal = round(CANONICAL_FOCAL * sqrt(height * width), 1) if config.camera == "canonical" else None
    return EigenModel(
        Preprocessing((height, width), multiple=MULTIPLE, focal=focal),
        CoarseEncoder(chosen["widths"]),
        hidden=chosen["hidden"],
        fine=chosen["fine"] if config.stage == "fine" else None,
        dropout=config.dropout,
        answer=output_activation("log", DepthKind.METRIC, config.min_depth, config.max_depth),
        defaults=chosen,
    )


class EigenModel(DepthModel):
    """Coarse network of convolutions and two fully connected layers → fine network of convolutions alone; metres.

    Both predict a map of log depth at 1/4 of the image, which is then enlarged.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        encoder: "CoarseEncoder",
        *,
        hidden: int,
        fine: int | None,
        dropout: float,
        answer: nn.Module,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(DepthKind.METRIC, preprocessing, Provenance(), defaults=defaults)
        self.encoder = encoder
        grids = encoder.grids(*preprocessing.size)
        self.coarse = GlobalMap(encoder.widths[-1], grids[-1], hidden, grids[0], dropout)
        self.fine = None if fine is None else FineNetwork(fine)
        self.answer = answer

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        normalized = self._checked(image)
        *maps, last = self.encoder(normalized)
        log_depth = self.coarse(last, maps[0].shape[-2:])
        if self.fine is not None:
            log_depth = self.fine(normalized, log_depth)
        return self.answer(F.interpolate(log_depth, image.shape[-2:], mode="bilinear", align_corners=False))

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        return tuple(self.encoder(self._checked(image)))

    def _checked(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if min(height, width) < SMALLEST_SIDE:
            raise BadInput(
                f"eigen needs sides of at least {SMALLEST_SIDE} pixels, not {height} × {width}: its poolings leave "
                "nothing of less. Train and predict at a larger size."
            )
        return self.normalize(image)


class CoarseEncoder(nn.Module):
    """Five convolutions as in AlexNet (Eigen et al. 2014, fig. 1): maps at 1/4, 1/8, 1/16, and what is pooled of it."""

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths`: channels of the convolutions."""
        super().__init__()
        first, second, third, fourth, fifth = widths
        self.widths = tuple(widths)
        self.conv1 = nn.Conv2d(3, first, 11, stride=4)
        self.conv2 = nn.Conv2d(first, second, 5, padding=2)
        self.conv3 = nn.Conv2d(second, third, 3, padding=1)
        self.conv4 = nn.Conv2d(third, fourth, 3, padding=1)
        self.conv5 = nn.Conv2d(fourth, fifth, 3, padding=1)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        first = F.relu(self.conv1(image))
        second = F.relu(self.conv2(F.max_pool2d(first, 2)))
        x = F.relu(self.conv3(F.max_pool2d(second, 2)))
        return [first, second, F.relu(self.conv5(F.relu(self.conv4(x))))]

    @staticmethod
    def grids(height: int, width: int) -> list[tuple[int, int]]:
        """Return the heights and widths of the three maps of an image of `height` × `width`."""
        first = ((height - 11) // 4 + 1, (width - 11) // 4 + 1)
        return [(first[0] // part, first[1] // part) for part in (1, 2, 4)]


class GlobalMap(nn.Module):
    """The last map → pooled → fully connected → a map of log depth that every pixel of the image has a say in."""

    def __init__(self, channels: int, grid: tuple[int, int], hidden: int, out: tuple[int, int], dropout: float) -> None:
        """`channels` and `grid` (rows, columns) of the last map, `hidden` units, `out`: rows and columns of the map."""
        super().__init__()
        self.grid, self.out = grid, out
        pooled = tuple(max((side - 3) // 2 + 1, 1) for side in grid)
        self.hidden = nn.Linear(channels * pooled[0] * pooled[1], hidden)
        self.dropout = nn.Dropout(dropout)
        self.map = nn.Linear(hidden, out[0] * out[1])
        # An untrained network then answers about the typical depth whatever the photograph.
        nn.init.normal_(self.map.weight, std=0.01)
        nn.init.zeros_(self.map.bias)

    def forward(self, last: Float[Tensor, "B C h w"], size: tuple[Side, Side]) -> Float[Tensor, "B 1 H W"]:
        """Map `last` to log depth of `size` (rows, columns)."""
        # The layers are made for one grid: maps of other images are resampled to it, and the answer to theirs.
        fitted = _resampled(last, self.grid)
        pooled = F.max_pool2d(fitted, (min(3, self.grid[0]), min(3, self.grid[1])), stride=2)
        units = self.dropout(F.relu(self.hidden(pooled.flatten(1))))
        return _resampled(self.map(units).unflatten(1, (1, *self.out)), size)


class FineNetwork(nn.Module):
    """Convolutions over the image, the coarse map joining after the first (Eigen et al. 2014, §3.1.2)."""

    def __init__(self, width: int) -> None:
        """`width`: channels of each layer; the image's first convolution has one less, for the coarse map.

        Raises:
            BadInput: a width that leaves the image no channel.
        """
        super().__init__()
        if width < 2:
            raise BadInput(f"fine {width} must be at least 2 channels: one is the coarse map.")
        self.conv1 = nn.Conv2d(3, width - 1, 9, stride=2)
        self.conv2 = nn.Conv2d(width, width, 5, padding=2)
        self.conv3 = nn.Conv2d(width, width, 5, padding=2)
        self.conv4 = nn.Conv2d(width, 1, 5, padding=2)

    def forward(self, image: Float[Tensor, "B 3 H W"], coarse: Float[Tensor, "B 1 h w"]) -> Float[Tensor, "B 1 h w"]:
        x = F.max_pool2d(F.relu(self.conv1(image)), 2)
        # Other paddings than the coarse network's may leave one row or column more.
        x = _resampled(x, coarse.shape[-2:])
        x = F.relu(self.conv2(torch.cat([x, coarse], 1)))
        return self.conv4(F.relu(self.conv3(x)))


def _resampled(maps: Tensor, size: tuple[Side, ...]) -> Tensor:
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def _checked_size(size: Sequence[int]) -> tuple[int, int]:
    if len(size) != 2 or any(side < SMALLEST_SIDE or side % MULTIPLE for side in size):
        raise BadInput(
            f"input_size {tuple(size)} must be a height and a width of at least {SMALLEST_SIDE} that divide by "
            f"{MULTIPLE}."
        )
    return size[0], size[1]
