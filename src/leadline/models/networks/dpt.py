"""dpt_*: Dense Prediction Transformers (Ranftl et al. 2021), relative, or finetuned to metres on NYU and on KITTI."""

from collections.abc import Mapping
from math import isqrt
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.arrays import Side
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.models.base import Preprocessing, Provenance, Resize
from leadline.models.decoders import FusionDecoder, FusionModel
from leadline.models.encoders import timm_options
from leadline.models.heads import InverseDepth, dense_head, official_activation
from leadline.models.vit import SCALES, Reassemble

LARGE, HYBRID = "vit_large_patch16_384", "vit_base_r50_s16_384"
NYU_SCALE, NYU_SHIFT = 0.000305, 0.1378
"""How the network finetuned on NYU Depth v2 reads inverse metres off the relative output: 1/d = scale · x + shift."""


def dpt_large(
    *,
    vit: str = LARGE,
    vit_options: Mapping[str, Any] | None = None,
    width: int = 256,
    head: str = "relu",
    min_depth: float = 0.1,
    max_depth: float = 100.0,
    kind: str = DepthKind.RELATIVE,
) -> FusionModel:
    """Build DPT-Large (Ranftl et al. 2021): ViT-L/16, relative depth as published.

    Args:
        vit: a timm vision transformer of 16 × 16 patches, with or without a ResNet under it.
        vit_options: timm's own keyword arguments, such as `depth`.
        width: channels of the decoder.
        head: "relu" as published; "log" or "softplus" to finetune it to metres.
        min_depth: metres that "log" and "softplus" never fall below.
        max_depth: metres that they never exceed.
        kind: "relative" as published, or "metric" with another head.

    Raises:
        BadInput: metric depth from a ReLU.
    """
    activation = official_activation("dpt_large", head, kind, min_depth, max_depth)
    return _dpt(vit, vit_options, width, DepthKind(kind), (384, 384), activation)


def dpt_hybrid(
    *,
    vit: str = HYBRID,
    vit_options: Mapping[str, Any] | None = None,
    width: int = 256,
    head: str = "relu",
    min_depth: float = 0.1,
    max_depth: float = 100.0,
    kind: str = DepthKind.RELATIVE,
) -> FusionModel:
    """Build DPT-Hybrid (Ranftl et al. 2021): ResNet-50 under ViT-B/16, relative depth as published.

    Args:
        vit: a timm vision transformer of 16 × 16 patches, over a ResNet.
        vit_options: timm's own keyword arguments, such as `depth`.
        width: channels of the decoder.
        head: "relu" as published; "log" or "softplus" to finetune it to metres.
        min_depth: metres that "log" and "softplus" never fall below.
        max_depth: metres that they never exceed.
        kind: "relative" as published, or "metric" with another head.

    Raises:
        BadInput: metric depth from a ReLU.
    """
    activation = official_activation("dpt_hybrid", head, kind, min_depth, max_depth)
    return _dpt(vit, vit_options, width, DepthKind(kind), (384, 384), activation)


def dpt_hybrid_nyu(*, vit: str = HYBRID, vit_options: Mapping[str, Any] | None = None, width: int = 256) -> FusionModel:
    """Build DPT-Hybrid as finetuned on NYU Depth v2: metres, at most 7.3.

    Args:
        vit: a timm vision transformer of 16 × 16 patches, over a ResNet.
        vit_options: timm's own keyword arguments, such as `depth`.
        width: channels of the decoder.
    """
    return _dpt(vit, vit_options, width, DepthKind.METRIC, (480, 640), InverseDepth(scale=NYU_SCALE, shift=NYU_SHIFT))


def dpt_hybrid_kitti(
    *, vit: str = HYBRID, vit_options: Mapping[str, Any] | None = None, width: int = 256
) -> FusionModel:
    """Build DPT-Hybrid as finetuned on KITTI: metres, at most 173.

    Args:
        vit: a timm vision transformer of 16 × 16 patches, over a ResNet.
        vit_options: timm's own keyword arguments, such as `depth`.
        width: channels of the decoder.
    """
    return _dpt(vit, vit_options, width, DepthKind.METRIC, (352, 1216), InverseDepth(scale=0.00006016, shift=0.00579))


def _dpt(
    vit: str,
    vit_options: Mapping[str, Any] | None,
    width: int,
    kind: DepthKind,
    size: tuple[int, int],
    answer: nn.Module,
) -> FusionModel:
    encoder = VitPyramid(_vit(vit, timm_options(vit_options)), width)
    return FusionModel(
        kind,
        Preprocessing(
            size,
            resize=Resize.MINIMAL,
            interpolation="cubic",
            restore="cubic",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        Provenance(),
        encoder=encoder,
        decoder=FusionDecoder(encoder.channels, [width] * 4),
        head=dense_head(width, 32, answer, align_corners=True),
    )


class VitPyramid(nn.Module):
    """A vision transformer as a pyramid at 1/4, 1/8, 1/16 and 1/32: its tokens after each quarter of its blocks.

    Where a ResNet lies under it, that one's first two stages take the place of the first two quarters.
    """

    def __init__(self, vit: nn.Module, width: int) -> None:
        super().__init__()
        self.vit: Any = vit
        self.stages = 2 if hasattr(self.vit.patch_embed, "backbone") else 0
        """How many maps are the ResNet's."""
        dim, depth = self.vit.embed_dim, len(self.vit.blocks)
        self.channels = [width, 2 * width, dim, dim]
        if self.stages:
            of_stages = self.vit.patch_embed.backbone.feature_info[1:]  # The first is its stem.
            self.channels[: self.stages] = (stage["num_chs"] for stage in of_stages[: self.stages])
        self.taps = [depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4)][self.stages :]
        """The blocks whose tokens become maps."""
        self.reassemble = nn.ModuleList(
            Reassemble(dim, self.channels[level], SCALES[level], reads_class=True) for level in range(self.stages, 4)
        )

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        maps, x = [], image
        if self.stages:
            backbone = self.vit.patch_embed.backbone
            x = backbone.stem(x)
            for stage in backbone.stages:
                x = stage(x)
                maps.append(x)
        x = self.vit.patch_embed.proj(x)
        height, width = x.shape[-2:]
        tokens = torch.cat((self.vit.cls_token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)), 1)
        tokens = tokens + self._position(height, width)
        tapped = []
        for number, block in enumerate(self.vit.blocks):
            tokens = block(tokens)
            if number in self.taps:
                tapped.append(tokens)
        return maps[: self.stages] + [
            reassemble(tokens[:, 1:], height, width, tokens[:, :1])
            for reassemble, tokens in zip(self.reassemble, tapped, strict=True)
        ]

    def _position(self, height: Side, width: Side) -> Float[Tensor, "1 N D"]:
        """The position embedding, learnt on a square grid of patches, resampled to this one."""
        of_class, of_patches = self.vit.pos_embed[:, :1], self.vit.pos_embed[:, 1:]
        side = isqrt(of_patches.shape[1])
        square = of_patches.transpose(1, 2).unflatten(2, (side, side))
        fitted = F.interpolate(square, (height, width), mode="bilinear", align_corners=False)
        return torch.cat((of_class, fitted.flatten(2).transpose(1, 2)), 1)


def _vit(name: str, options: dict[str, Any]) -> nn.Module:
    """timm's transformer without its last norm and its classifier, which no map passes."""
    if not timm.is_model(name):
        raise BadInput(f"timm has no vision transformer called {name!r}; DPT's are {LARGE} and {HYBRID}.")
    vit: Any = timm.create_model(name, num_classes=0, **options)
    if not hasattr(vit, "patch_embed") or vit.patch_embed.feat_ratio() not in (16, (16, 16)):
        raise BadInput(f"{name!r} is no vision transformer of 16 × 16 patches; DPT's are {LARGE} and {HYBRID}.")
    vit.norm = nn.Identity()
    return vit
