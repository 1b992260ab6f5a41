"""Heads: from the decoder's map, at half the image's resolution, to depth at all of it."""

from math import exp, expm1, log

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known

_TYPICAL_DEPTH = 2.5
"""Metres: what an untrained head answers, about the median of indoor photographs."""


def dense_head(width: int, inner: int, answer: nn.Module, *, align_corners: bool) -> nn.Sequential:
    """Build the head of MiDaS and DPT: convolve at half resolution, upsample, convolve at full resolution.

    Args:
        width: channels that come in.
        inner: channels at full resolution.
        answer: the last module, from any number to depth.
        align_corners: how the map is upsampled.
    """
    return nn.Sequential(
        nn.Conv2d(width, width // 2, 3, padding=1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=align_corners),
        nn.Conv2d(width // 2, inner, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(inner, 1, 1),
        answer,
    )


def light_head(width: int, inner: int, answer: nn.Module) -> nn.Sequential:
    """Build a head that convolves at half resolution only, at a tenth of the dense head's cost.

    Args:
        width: channels that come in.
        inner: channels before the last convolution.
        answer: the last module, from any number to depth.
    """
    return nn.Sequential(
        nn.Conv2d(width, inner, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(inner, 1, 1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        answer,
    )


def output_activation(head: str, kind: str, min_depth: float, max_depth: float) -> nn.Module:
    """Build the last step of an own network: any number → depth (metric) or its inverse (relative).

    Args:
        head: "log" or "softplus".
        kind: "metric" or "relative".
        min_depth: metres that the output never falls below.
        max_depth: metres that it never exceeds.

    Raises:
        BadInput: an unknown head, a kind that no head gives, or bounds that are none.
    """
    check_known("head", head, _ANSWERS)
    if kind not in (DepthKind.METRIC, DepthKind.RELATIVE):
        raise BadInput(f"kind={kind}: an own network answers metric or relative depth.")
    if not 0 < min_depth < max_depth < float("inf"):
        raise BadInput(f"min_depth {min_depth} and max_depth {max_depth} must be metres, 0 < min < max.")
    return _ANSWERS[head](min_depth, max_depth, inverts=kind == DepthKind.RELATIVE)


def official_activation(name: str, head: str, kind: str, min_depth: float, max_depth: float) -> nn.Module:
    """Build the last step of an official relative network: as published, or another one to finetune it to metres.

    Args:
        name: of the network, for errors.
        head: "relu" as published; "log" or "softplus" as `output_activation`.
        kind: "relative", or "metric" with another head than "relu".
        min_depth: metres that "log" and "softplus" never fall below.
        max_depth: metres that they never exceed.

    Raises:
        BadInput: metric depth from a ReLU, or what `output_activation` refuses.
    """
    if head != "relu":
        return output_activation(head, kind, min_depth, max_depth)
    if kind != DepthKind.RELATIVE:
        raise BadInput(f"{name} answers metres with head=log or head=softplus: a ReLU answers 0, which is no depth.")
    return nn.ReLU()


class InverseDepth(nn.Module):
    """DPT's finetuned networks learnt inverse depth times a constant: d = 1 / (scale · relu(x) + shift)."""

    def __init__(self, *, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
        return 1 / (self.scale * F.relu(x) + self.shift)


class _BoundedLog(nn.Module):
    """Depth whose logarithm moves between two bounds: log d = log min + sigmoid(x) · (log max − log min)."""

    def __init__(self, min_depth: float, max_depth: float, *, inverts: bool) -> None:
        super().__init__()
        self.low, self.high, self.inverts = log(min_depth), log(max_depth), inverts
        self.offset = bounded_log_offset(min_depth, max_depth)

    def forward(self, x: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
        depth = self.low + (self.high - self.low) * torch.sigmoid(x.float() + self.offset)
        return torch.exp(-depth if self.inverts else depth)


def bounded_log_offset(min_depth: float, max_depth: float) -> float:
    """Return what a head in log depth adds to its input, so that 0 becomes the typical depth.

    Args:
        min_depth: metres that its output never falls below.
        max_depth: metres that it never exceeds.
    """
    share = (log(_typical(min_depth, max_depth)) - log(min_depth)) / (log(max_depth) - log(min_depth))
    return log(share / (1 - share))


class _Softplus(nn.Module):
    """Depth that grows linearly with x: d = min + softplus(x), cut off at max."""

    def __init__(self, min_depth: float, max_depth: float, *, inverts: bool) -> None:
        super().__init__()
        if inverts:
            min_depth, max_depth, typical = 1 / max_depth, 1 / min_depth, 1 / _typical(min_depth, max_depth)
        else:
            typical = _typical(min_depth, max_depth)
        self.low, self.high = min_depth, max_depth
        self.offset = log(expm1(typical - min_depth))

    def forward(self, x: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
        return (self.low + F.softplus(x.float() + self.offset)).clamp(max=self.high)


_ANSWERS = {"log": _BoundedLog, "softplus": _Softplus}


def _typical(min_depth: float, max_depth: float) -> float:
    """The typical indoor depth, or the geometric middle of bounds that leave it out."""
    if min_depth < _TYPICAL_DEPTH < max_depth:
        return _TYPICAL_DEPTH
    return exp((log(min_depth) + log(max_depth)) / 2)


class InverseReadout(nn.Module):
    """Read metres off a relative network's output x, inverse depth: 1 / d = a · x / unit + b, with a and b learnt.

    It begins with 2.5 m where x is `unit`, which is set from what the network outputs.
    """

    unit: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(log(0.75 / _TYPICAL_DEPTH)))
        self.log_shift = nn.Parameter(torch.tensor(log(0.25 / _TYPICAL_DEPTH)))
        self.register_buffer("unit", torch.ones(()))

    def forward(self, x: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 1 H W"]:
        return 1 / (self.log_scale.exp() * F.relu(x.float()) / self.unit + self.log_shift.exp())
