"""Local planar guidance: a coarse map of planes → depth at full resolution (Lee et al. 2019, BTS, §3.3)."""

from math import pi

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class PlaneHead(nn.Module):
    """Reduce a feature map to one plane per pixel: its unit normal and its distance in metres.

    1 × 1 convolutions halve the channels down to 8; the last gives the polar angle θ, the azimuth φ and the distance
    (Lee et al. 2019, eq. 3). θ stays below 60 degrees, so that planes face the camera.
    """

    def __init__(self, channels: int, first: int, max_depth: float) -> None:
        """`channels` come in, `first` leave the first convolution; `max_depth` in metres bounds the distance."""
        super().__init__()
        self.max_depth = max_depth
        self.reduce = halving_convolutions(channels, first, 3)

    def forward(self, features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 4 h w"]:
        polar, azimuth, distance = self.reduce(features).sigmoid().unbind(1)
        polar, azimuth = polar * (pi / 3), azimuth * (2 * pi)
        normal = torch.stack([polar.sin() * azimuth.cos(), polar.sin() * azimuth.sin(), polar.cos()], 1)
        return torch.cat([F.normalize(normal, dim=1), self.max_depth * distance[:, None]], 1)


def halving_convolutions(channels: int, first: int, last: int) -> nn.Sequential:
    """Build 1 × 1 convolutions that halve the channels as long as there are 8 or more, with ELUs between them.

    Args:
        channels: that come in.
        first: that leave the first one.
        last: that leave the last one, which no ELU follows.
    """
    layers: list[nn.Module] = []
    while first >= 8:
        layers.append(nn.Sequential(nn.Conv2d(channels, first, 1, bias=False), nn.ELU()))
        channels, first = first, first // 2
    return nn.Sequential(*layers, nn.Conv2d(channels, last, 1, bias=False))


def local_planar_guidance(planes: Float[Tensor, "B 4 h w"], ratio: int) -> Float[Tensor, "B 1 H W"]:
    """Intersect each pixel's ray with the plane of its patch: d = n₄ / (n₁u + n₂v + n₃).

    Lee et al. 2019, eq. 2. Rays are those of a patch: u and v are the places of a pixel's centre in its patch of
    `ratio` × `ratio` pixels, −½ … ½, so the three n of one plane of the world differ from patch to patch.

    Args:
        planes: n₁, n₂, n₃ and n₄ of each patch, n₄ in metres.
        ratio: side of a patch in pixels; H = ratio · h.

    Returns:
        Depth in metres, (B, 1, ratio · h, ratio · w).
    """
    count, _, height, width = planes.shape
    place = (torch.arange(ratio, device=planes.device, dtype=planes.dtype) - (ratio - 1) / 2) / ratio
    n1, n2, n3, n4 = (each[:, :, None, :, None] for each in planes.unbind(1))
    depth = n4 / (n1 * place + n2 * place[:, None, None] + n3)  # (B, h, ratio, w, ratio)
    return depth.reshape(count, 1, height * ratio, width * ratio)
