"""Fusion: the dense decoder that MiDaS, DPT and our own networks share, and the network around it.

RefineNet's (Lin et al. 2017) as MiDaS (Ranftl et al. 2020, §4) and DPT (Ranftl et al. 2021, fig. 1) cut it down: from
the coarsest map to the finest, add the next map, refine, upsample by two.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.models.base import DepthModel, Preprocessing, Provenance
from leadline.models.heads import dense_head, light_head
from leadline.models.layers.scope_head import ScopeHead
from leadline.models.names import SCOPE


class FusionModel(DepthModel):
    """Encoder → neck that makes its maps a pyramid, if they are none → transformer over the last map, if there is one
    → fusion decoder → head."""

    def __init__(
        self,
        kind: DepthKind,
        preprocessing: Preprocessing,
        provenance: Provenance,
        *,
        encoder: nn.Module,
        decoder: "FusionDecoder",
        head: nn.Module,
        neck: nn.Module | None = None,
        transformer: nn.Module | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(kind, preprocessing, provenance, defaults=defaults)
        self.encoder = encoder
        self.neck = neck
        self.transformer = transformer
        self.decoder = decoder
        self.head = head
        self.scope: ScopeHead | None = None
        """Says where the network is not to be trusted; `add_scope` adds it."""

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        return self._decode(self.features(image), image)

    def forward_canonical_scored(
        self, image: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B 1 H W"], Float[Tensor, "B"] | None]:
        features = self.features(image)
        return self._decode(features, image), None if self.scope is None else self.scope(features[-1])

    def _decode(self, features: tuple[Tensor, ...], image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        depth = self.head(self.decoder(features))
        if depth.shape[-2:] != image.shape[-2:]:  # Decoder and head give 16 pixels a patch, whatever its size.
            depth = F.interpolate(depth, image.shape[-2:], mode="bilinear", align_corners=False)
        return depth

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        maps = self.encoder(self.normalize(image))
        *finer, last = maps if self.neck is None else self.neck(maps)
        return *finer, last if self.transformer is None else self.transformer(last)


def add_scope(model: DepthModel, name: str, channels: Any) -> None:
    """Give a network a scope head that is not fitted yet, in place; `build` does.

    Args:
        model: the network.
        name: its key in `MODELS`, for errors.
        channels: of the last map that `features` returns.

    Raises:
        BadInput: a network without a fusion decoder, or channels that are none.
    """
    if not isinstance(model, FusionModel):
        raise BadInput(f"{name!r} takes no scope head: networks with a fusion decoder do, as cnn and hybrid are.")
    if not isinstance(channels, int) or isinstance(channels, bool) or not 1 <= channels <= _MOST_SCOPE_CHANNELS:
        raise BadInput(f"{SCOPE}: {channels!r:.80} must be a whole number from 1 to {_MOST_SCOPE_CHANNELS}.")
    model.scope = ScopeHead(channels)


_MOST_SCOPE_CHANNELS = 16384


class FusionDecoder(nn.Module):
    """A pyramid, finest map first, → one map of twice its finest resolution, `widths[0]` channels deep."""

    def __init__(
        self,
        channels: Sequence[int],
        widths: Sequence[int],
        *,
        mixes: bool = True,
        relu_overwrites: bool = False,
        align_corners: bool = True,
    ) -> None:
        """`channels` of the maps, `widths` that they are brought to, each finest first.

        `mixes`: a 1×1 convolution at the end of every level; needed where the widths differ. `relu_overwrites`: see
        `_Residual`. `align_corners`: how levels are upsampled.
        """
        super().__init__()
        self.align_corners = align_corners
        self.bring = nn.ModuleList(
            nn.Conv2d(deep, width, 3, padding=1, bias=False) for deep, width in zip(channels, widths, strict=True)
        )
        self.levels = nn.ModuleList(
            _Level(
                width,
                next_width if mixes else None,
                joins=width_number < len(widths) - 1,
                relu_overwrites=relu_overwrites,
            )
            for width_number, (width, next_width) in enumerate(zip(widths, (widths[0], *widths), strict=False))
        )

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        maps = [bring(each) for bring, each in zip(self.bring, pyramid, strict=True)]
        path = None
        for number in reversed(range(len(maps))):
            path = self.levels[number](maps[number], path)
            height, width = maps[number - 1].shape[-2:] if number else (2 * side for side in path.shape[-2:])
            path = F.interpolate(path, (height, width), mode="bilinear", align_corners=self.align_corners)
        assert path is not None
        return path


DECODERS = {"full": 256, "light": 32}
"""The styles of an own network's decoder, each with its usual width."""


def decoder_and_head(
    style: str, channels: Sequence[int], width: int, answer: nn.Module
) -> tuple[FusionDecoder, nn.Sequential]:
    """Build the decoder of an own network and the head on top.

    Args:
        style: "full" as in MiDaS and DPT, or "light" for small machines.
        channels: of the feature maps, finest first.
        width: channels of the decoder's finest level.
        answer: the head's last module, from any number to depth.
    """
    if style == "full":
        decoder = FusionDecoder(channels, [width] * len(channels))
        head = dense_head(width, 32, answer, align_corners=False)
    else:
        # As MiDaS-small: twice as wide wherever the map is half as tall, so that every level costs the same.
        decoder = FusionDecoder(channels, [width * 2**level for level in range(len(channels))])
        head = light_head(width, width, answer)
    # An untrained network then answers the typical depth whatever the photograph.
    *_, last = (module for module in head if isinstance(module, nn.Conv2d))
    nn.init.normal_(last.weight, std=0.01)
    nn.init.constant_(last.get_parameter("bias"), 0)
    return decoder, head


class _Level(nn.Module):
    """One step of the decoder: refine this level's map, join it to the coarser path, refine the sum."""

    def __init__(self, width: int, mixed_width: int | None, *, joins: bool, relu_overwrites: bool) -> None:
        super().__init__()
        self.skip = _Residual(width, relu_overwrites=relu_overwrites) if joins else None
        self.refine = _Residual(width, relu_overwrites=relu_overwrites)
        self.mix = nn.Identity() if mixed_width is None else nn.Conv2d(width, mixed_width, 1)

    def forward(self, finer: Tensor, path: Tensor | None) -> Tensor:
        joined = finer if self.skip is None or path is None else path + self.skip(finer)
        # The originals mix after upsampling: a 1×1 convolution and an interpolation commute, and so it costs a fourth.
        return self.mix(self.refine(joined))


class _Residual(nn.Module):
    """Two pre-activated 3×3 convolutions and a skip."""

    def __init__(self, width: int, *, relu_overwrites: bool) -> None:
        """`relu_overwrites`: the skip carries relu(x), as in MiDaS v2.1, whose first ReLU overwrites its input."""
        super().__init__()
        self.relu_overwrites = relu_overwrites
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(x)
        return (active if self.relu_overwrites else x) + self.second(F.relu(self.first(active)))
