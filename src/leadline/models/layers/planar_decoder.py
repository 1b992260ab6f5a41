"""The decoder of BTS (Lee et al. 2019), which TransDepth shares: dense ASPP, and planar guidance at 1/8, 1/4, 1/2."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.errors import BadInput
from leadline.models.layers.planar_guidance import PlaneHead, halving_convolutions, local_planar_guidance

DILATIONS = (3, 6, 12, 18, 24)
"""Of the atrous convolutions of the dense ASPP."""
_EPS = 1.1e-5
_MOMENTUM = 0.01


class PlanarDecoder(nn.Module):
    """Five feature maps, 1/2 … 1/32 of the image, → depth in metres at the image's resolution."""

    def __init__(self, channels: Sequence[int], width: int, max_depth: float) -> None:
        """`channels` of the maps, finest first; `width` of the coarsest level; `max_depth` in metres.

        Raises:
            BadInput: a width that cannot be halved five times, or a depth of nothing.
        """
        super().__init__()
        if width % 32:
            raise BadInput(f"width {width} must divide by 32: it is halved at each of five levels.")
        of_2, of_4, of_8, of_16, of_32 = channels
        half, quarter, eighth, sixteenth = (width // 2**level for level in (1, 2, 3, 4))
        if not 0 < max_depth < float("inf"):
            raise BadInput(f"max_depth {max_depth} must be metres, more than 0.")
        self.max_depth = max_depth
        self.up16 = _Upsample(of_32, width)
        self.norm16 = _norm(width)
        self.join16 = _join(width + of_16, width)
        self.up8 = _Upsample(width, half)
        self.norm8 = _norm(half)
        self.join8 = _join(half + of_8, half)
        self.norm8_joined = _norm(half)
        self.aspp = DenseAspp(half, half + of_8, quarter)
        self.planes8 = PlaneHead(quarter, quarter, max_depth)
        self.up4 = _Upsample(quarter, quarter)
        self.norm4 = _norm(quarter)
        self.join4 = _join(quarter + of_4 + 1, quarter)
        self.planes4 = PlaneHead(quarter, eighth, max_depth)
        self.up2 = _Upsample(quarter, eighth)
        self.norm2 = _norm(eighth)
        self.join2 = _join(eighth + of_2 + 1, eighth)
        self.planes2 = PlaneHead(eighth, sixteenth, max_depth)
        self.up1 = _Upsample(eighth, sixteenth)
        self.reduce1 = halving_convolutions(sixteenth, width // 32, 1)
        self.join1 = _join(sixteenth + 4, sixteenth)
        self.depth = nn.Conv2d(sixteenth, 1, 3, padding=1, bias=False)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "B 1 H W"]:
        of_2, of_4, of_8, of_16, of_32 = maps
        x = self.join16(torch.cat([self.norm16(self.up16(F.relu(of_32))), of_16], 1))
        skipped = torch.cat([self.norm8(self.up8(x)), of_8], 1)
        context = self.aspp(self.norm8_joined(self.join8(skipped)), skipped)

        # Each level's depth, as a share of the largest, guides the next level and the last one.
        from_8 = local_planar_guidance(self.planes8(context), 8) / self.max_depth
        x = self.norm4(self.up4(context))
        x = self.join4(torch.cat([x, of_4, F.interpolate(from_8, of_4.shape[-2:])], 1))
        from_4 = local_planar_guidance(self.planes4(x), 4) / self.max_depth
        x = self.norm2(self.up2(x))
        x = self.join2(torch.cat([x, of_2, F.interpolate(from_4, of_2.shape[-2:])], 1))
        from_2 = local_planar_guidance(self.planes2(x), 2) / self.max_depth
        x = self.up1(x)
        from_1 = self.reduce1(x).sigmoid()
        x = self.join1(torch.cat([x, from_1, from_2, from_4, from_8], 1))
        return self.max_depth * self.depth(x).sigmoid()


class DenseAspp(nn.Module):
    """Atrous convolutions of growing dilation, each over the maps of all before it (Yang et al. 2018; BTS §3.2)."""

    def __init__(self, channels: int, skipped: int, growth: int) -> None:
        """`channels` of the map; `skipped`: of the map that all but the first convolution see, too; `growth`: that each
        convolution gives."""
        super().__init__()
        seen = [channels, *(skipped + growth * number for number in range(1, len(DILATIONS)))]
        self.branches = nn.ModuleList(
            _atrous(channels, growth, dilation, norm_first=number > 0)
            for number, (channels, dilation) in enumerate(zip(seen, DILATIONS, strict=True))
        )
        self.merge = _join(channels + growth * len(DILATIONS), growth)

    def forward(self, x: Float[Tensor, "B C h w"], skipped: Float[Tensor, "B S h w"]) -> Float[Tensor, "B G h w"]:
        first, *others = self.branches
        found = [first(x)]
        for branch in others:
            found.append(branch(torch.cat([skipped, *found], 1)))
        return self.merge(torch.cat([x, *found], 1))


class _Upsample(nn.Module):
    """Repeat pixels, convolve, ELU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.conv(F.interpolate(x, scale_factor=2, mode="nearest")))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPS, momentum=_MOMENTUM)


def _join(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.ELU())


def _atrous(channels: int, width: int, dilation: int, *, norm_first: bool) -> nn.Sequential:
    return nn.Sequential(
        _norm(channels) if norm_first else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * width, 1, bias=False),
        nn.BatchNorm2d(2 * width, momentum=_MOMENTUM),
        nn.ReLU(),
        nn.Conv2d(2 * width, width, 3, padding=dilation, dilation=dilation, bias=False),
    )
