"""Disparity: a network from an image to the disparities of a stereo pair, and the warping of one view to the other."""

from collections.abc import Sequence
from math import log

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

LARGEST = 0.3
"""Of an image's width: the largest disparity, as Godard et al. 2017 have it."""
_FIRST = 0.03
"""Of an image's width: the disparity that an untrained network answers."""
SCALES = (1, 2, 4, 8)
"""How much smaller than the image each disparity map is, finest first."""


def warp(
    source: Float[Tensor, "B C H W"], disparity: Float[Tensor, "B 1 H W"], direction: float
) -> Float[Tensor, "B C H W"]:
    """Return the image whose pixel (y, x) is the source's at (y, x + direction · disparity), by linear interpolation.

    In a rectified pair a point at x in the left image is at x − d in the right one, so that the left image is the right
    one warped by the left one's disparity in direction −1. Beyond an edge, the source's last column continues.

    Args:
        source: the image to take pixels from.
        disparity: of the image to make, as a share of the width.
        direction: 1 or −1.
    """
    height, width = source.shape[-2:]
    y = (torch.arange(height, device=source.device, dtype=torch.float32) + 0.5) * (2 / height) - 1
    x = (torch.arange(width, device=source.device, dtype=torch.float32) + 0.5) * (2 / width) - 1
    moved = x + 2 * direction * disparity[:, 0].float()
    grid = torch.stack([moved, y[:, None].expand_as(moved)], -1)
    return F.grid_sample(source.float(), grid, padding_mode="border", align_corners=False)


class DisparityDecoder(nn.Module):
    """From an encoder's maps at 1/2 … 1/32 to disparities at 1/8, 1/4, 1/2 and 1 of the image (Godard et al. 2017).

    Each level doubles the map, convolves, appends the encoder's map and the coarser disparity, and convolves again.
    Two channels: the disparity of the image that is seen, and that of the other view, which is not.
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int]) -> None:
        """`channels` of the encoder's maps, finest first; `widths` of the levels 1/16, 1/8, 1/4, 1/2 and 1."""
        super().__init__()
        *skips, last = channels
        deeper = [last, *widths]
        beside = [*reversed(skips), 0]
        told = [0, 0, 2, 2, 2]
        self.enlarge = nn.ModuleList(
            nn.Conv2d(deep, width, 3, padding=1) for deep, width in zip(deeper, widths, strict=False)
        )
        self.join = nn.ModuleList(
            nn.Conv2d(width + skip + more, width, 3, padding=1)
            for width, skip, more in zip(widths, beside, told, strict=True)
        )
        self.answers = nn.ModuleList(nn.Conv2d(width, 2, 3, padding=1) for width in widths[1:])
        for answer in self.answers:
            nn.init.constant_(answer.get_parameter("bias"), log(_FIRST / (LARGEST - _FIRST)))

    def forward(self, maps: Sequence[Float[Tensor, "B _C _h _w"]]) -> list[Float[Tensor, "B 2 _h _w"]]:
        """Return the disparities, as shares of the width, finest first."""
        *skips, path = maps
        found: list[Tensor] = []
        for level, (enlarge, join) in enumerate(zip(self.enlarge, self.join, strict=True)):
            path = F.elu(enlarge(F.interpolate(path, scale_factor=2.0, mode="nearest")))
            parts = [path, *([skips[-1 - level]] if level < len(skips) else [])]
            if found:
                parts.append(F.interpolate(found[0], scale_factor=2.0, mode="bilinear", align_corners=False))
            path = F.elu(join(torch.cat(parts, 1)))
            if level:
                found.insert(0, LARGEST * self.answers[level - 1](path).sigmoid())
        return found
