"""Plain vision transformers as encoders: tokens of several blocks, reassembled into a pyramid as DPT does."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.arrays import Side
from leadline.core.errors import BadInput

SCALES = (4, 2, 1, 0.5)
"""Of the pyramid's maps over the grid of patches, finest first: 1/4 … 1/32 of the image for patches of 16 pixels."""


class PlainVit(nn.Module):
    """A timm vision transformer as a module from an image to four maps of one stride, shallowest first.

    The maps are the normalised patch tokens after each quarter of the blocks, as Depth Anything reads DINOv2; the
    class token and registers are left out. Position embeddings are resampled to the image's grid by timm.
    """

    def __init__(self, vit: nn.Module) -> None:
        """`vit`: built by timm with `dynamic_img_size=True` and without a classifier.

        Raises:
            BadInput: it has fewer than four blocks, or patches that are no squares.
        """
        super().__init__()
        self.vit: Any = vit
        depth, ratio = len(self.vit.blocks), self.vit.patch_embed.feat_ratio()
        if depth < 4:
            raise BadInput(f"A vision transformer of {depth} blocks is no encoder: its pyramid needs at least 4.")
        sides = {ratio} if isinstance(ratio, int) else set(ratio)
        if len(sides) > 1:
            raise BadInput(f"A vision transformer with patches of {ratio} pixels is no encoder: they must be squares.")
        (self.patch,) = sides
        self.dim = int(self.vit.embed_dim)
        self.taps = [depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4)]
        self.vit.prune_intermediate_layers(self.taps, prune_norm=False, prune_head=True)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        return self.vit.forward_intermediates(image, indices=self.taps, norm=True, intermediates_only=True)


class ReassembledPyramid(nn.Module):
    """Four maps of one stride → a pyramid whose levels are half as tall each, finest first."""

    def __init__(self, dim: int) -> None:
        """`dim`: length of the transformer's tokens."""
        super().__init__()
        self.channels = [max(dim // 8, 1), max(dim // 4, 1), max(dim // 2, 1), dim]
        self.reassemble = nn.ModuleList(
            Reassemble(dim, width, scale) for width, scale in zip(self.channels, SCALES, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [
            reassemble(each.flatten(2).transpose(1, 2), *each.shape[-2:])
            for reassemble, each in zip(self.reassemble, maps, strict=True)
        ]


class Reassemble(nn.Module):
    """Patch tokens → map (Ranftl et al. 2021, §3.1): read the class token into them or not, lay them out, resample."""

    def __init__(self, dim: int, channels: int, scale: float, *, reads_class: bool = False) -> None:
        super().__init__()
        self.readout = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU()) if reads_class else None
        self.project = nn.Conv2d(dim, channels, 1)
        if scale > 1:
            self.resample = nn.ConvTranspose2d(channels, channels, int(scale), stride=int(scale))
        else:
            self.resample = nn.Identity() if scale == 1 else nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(
        self,
        patches: Float[Tensor, "B N D"],
        height: Side,
        width: Side,
        of_class: Float[Tensor, "B 1 D"] | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """Lay the tokens out as a map and resample it.

        Args:
            patches: tokens of a grid of `height` × `width`, row by row.
            height: rows of the grid.
            width: columns of the grid.
            of_class: the class token, where it is read into the others.
        """
        if self.readout is not None and of_class is not None:
            patches = self.readout(torch.cat((patches, of_class.expand_as(patches)), -1))
        return self.resample(self.project(patches.transpose(1, 2).unflatten(2, (height, width))))
