"""pilzer: Pilzer et al. 2019, disparity learnt from stereo pairs alone, refined by the inconsistency of a cycle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, unknown
from leadline.models.base import DepthModel, Preprocessing, Provenance, SideOutputs
from leadline.models.encoders import channels, make_encoder
from leadline.models.layers.disparity import SCALES, DisparityDecoder, warp
from leadline.models.networks.presets import EncoderConfig, defaults_of, encoder_of, fill_defaults

SIZES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"encoder": "resnet50", "widths": (512, 256, 128, 64, 32), "input_size": (256, 512)},
    "tiny": {"encoder": "mobilenetv3_small_100", "widths": (48, 32, 24, 16, 8), "input_size": (128, 160)},
}
REDUCTIONS = (2, 4, 8, 16, 32)
"""How much smaller than the image each map of an encoder is."""
ANSWERS = ("refined", "student")
"""`refined`: all three networks, and the refined depth; `student`: the first network alone, a third of the cost."""
NETWORKS = ("student", "cycle", "refined")
"""The networks, in the order in which they compute; side outputs have their names, `student 1/4`."""


@dataclass(frozen=True)
class PilzerConfig(EncoderConfig):
    """What the networks are made of: each has an encoder and a decoder of these."""

    answer: str = "refined"
    """"refined", or "student" for the first network alone."""
    widths: Sequence[int] | None = None
    """Channels of the decoder's levels at 1/16, 1/8, 1/4, 1/2 and 1 of the image."""


def pilzer(config: PilzerConfig) -> "PilzerModel":
    """Build the student, the cycle network and the inconsistency network, or the student alone.

    Raises:
        BadInput: an unknown size or answer, widths that are not five, or a plain transformer as encoder.
    """
    full = fill_defaults(config, SIZES)
    assert full.encoder is not None
    assert full.widths is not None
    if full.answer not in ANSWERS:
        raise unknown("answer", full.answer, ANSWERS)
    if len(full.widths) != len(REDUCTIONS) or min(full.widths) < 1:
        raise BadInput(f"widths {tuple(full.widths)} must be the channels of five levels, coarsest first.")
    encoder, preprocessing, provenance = encoder_of(full, REDUCTIONS)

    def another(seen: int) -> DisparityNetwork:
        options = {**(full.encoder_options or {}), **({} if seen == 3 else {"in_chans": seen})}
        fresh = make_encoder(full.encoder or "", options=options, reductions=REDUCTIONS)
        return DisparityNetwork(fresh, DisparityDecoder(channels(fresh), full.widths or ()))

    is_whole = full.answer == "refined"
    return PilzerModel(
        preprocessing,
        provenance,
        encoder=encoder,
        decoder=DisparityDecoder(channels(encoder), full.widths),
        cycle=another(3) if is_whole else None,
        refinement=another(8) if is_whole else None,
        defaults=defaults_of(full, SIZES),
    )


class PilzerModel(DepthModel):
    """An image → disparity of it and of its unseen other view → the other view, synthesised → disparity back from there
    → the image again, synthesised twice: where it differs from the image, the disparity was wrong → refined disparity.

    The image counts as the left one of a pair. Depth is one over disparity, so it is scale-free.
    """

    side_outputs = frozenset({*(f"{name} 1/{part}" for name in NETWORKS for part in SCALES), "synthesised", "cycled"})
    """Disparities (B, 2, h, w) of the seen and of the other view, as shares of the width: for the cycle network the
    synthesised view is the seen one. And the images made on the way."""

    def __init__(
        self,
        preprocessing: Preprocessing,
        provenance: Provenance,
        *,
        encoder: nn.Module,
        decoder: DisparityDecoder,
        cycle: "DisparityNetwork | None",
        refinement: "DisparityNetwork | None",
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(DepthKind.SCALE_FREE, preprocessing, provenance, defaults=defaults)
        self.encoder = encoder
        self.decoder = decoder
        self.cycle = cycle
        self.refinement = refinement
        if cycle is None:
            self.side_outputs = frozenset(f"student 1/{part}" for part in SCALES)

    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        return self._depth(self._disparities(image)[0])

    def forward_with_sides(
        self, image: Float[Tensor, "B 3 H W"], intrinsics: Float[Tensor, "B 4"] | None = None
    ) -> tuple[Float[Tensor, "B 1 H W"], SideOutputs]:
        disparity, sides = self._disparities(image)
        return self._depth(disparity), sides

    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        # The decoder reads a map at 1/2, too, which other networks do not have.
        return tuple(self.encoder(self.normalize(image))[1:])

    def _disparities(self, image: Tensor) -> tuple[Float[Tensor, "B 2 H W"], SideOutputs]:
        """The disparity that the network answers by, and everything computed on the way."""
        normal = self.normalize(image)
        student = self.decoder(self.encoder(normal))
        sides = _named("student", student)
        if self.cycle is None or self.refinement is None:
            return student[0], sides
        # Pixels of the right view at x are those of the left one at x + d, and the other way round.
        synthesised = warp(image, student[0][:, 1:], 1.0)
        cycle = self.cycle((synthesised - self.mean) / self.std)
        cycled = warp(synthesised, cycle[0][:, 1:], -1.0)
        told = torch.cat([normal, (image - cycled) / self.std, student[0]], 1)
        refined = self.refinement(told)
        sides |= {**_named("cycle", cycle), **_named("refined", refined)}
        return refined[0], {**sides, "synthesised": synthesised, "cycled": cycled}

    def _depth(self, disparity: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 1 H W"]:
        return 1 / disparity[:, :1].float().clamp_min(_LEAST)


class DisparityNetwork(nn.Module):
    """An encoder and a decoder, for what is not the model's own image."""

    def __init__(self, encoder: nn.Module, decoder: DisparityDecoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, seen: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B 2 _h _w"]]:
        return self.decoder(self.encoder(seen))


_LEAST = 1e-4
"""Of the width: what is nearer to infinity than this counts as this far."""


def _named(name: str, disparities: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"{name} 1/{part}": each for part, each in zip(SCALES, disparities, strict=True)}
