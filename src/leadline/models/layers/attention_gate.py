"""Attention gates: messages from maps of several scales to one, gated by structured attention (Yang et al. 2021)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

DILATIONS = (1, 4, 8)
"""Of the 3 × 3 kernels that a message gathers with; each has an attention of its own."""


class MultiScaleGate(nn.Module):
    """Let finer maps and the coarsest one itself send messages to the coarsest (Yang et al. 2021, TransDepth, §3.3).

    All maps are brought to the finest one's grid, and the result back to a quarter of that.
    """

    def __init__(self, channels: tuple[int, int, int], width: int, *, rank: int = 3) -> None:
        """`channels` of the maps, finest first; `width` that they are brought to, 4 × `width` leave; `rank` of the
        structured attention."""
        super().__init__()
        self.bring = nn.ModuleList(_convolution(each, width, stride=1, bias=False) for each in channels)
        self.gates = nn.ModuleList(AttentionGate(width, rank=rank) for _ in channels)
        self.merge = nn.Sequential(
            _convolution(4 * width, 4 * width, stride=2), _convolution(4 * width, 4 * width, stride=2)
        )

    def forward(
        self, finest: Float[Tensor, "B C h w"], middle: Float[Tensor, "B D i j"], coarsest: Float[Tensor, "B E k l"]
    ) -> Float[Tensor, "B F k l"]:
        size = finest.shape[-2:]
        maps = [
            F.interpolate(bring(each), size, mode="nearest")
            for bring, each in zip(self.bring, (finest, middle, coarsest), strict=True)
        ]
        receiver = maps[-1]
        messages = [gate(each, receiver) for gate, each in zip(self.gates, maps, strict=True)]
        return self.merge(torch.cat([*messages, receiver], 1))


class AttentionGate(nn.Module):
    """A message from one map to another of its size, through kernels and attention predicted from both."""

    def __init__(self, width: int, *, rank: int) -> None:
        """`width`: channels of both maps; `rank` of the attention: see `structured_attention`."""
        super().__init__()
        self.rank = rank

        def kernels(channels: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Conv2d(channels, 9, 3, padding=dilation, dilation=dilation) for dilation in DILATIONS
            )

        self.of_both, self.of_sender, self.of_receiver = kernels(2 * width), kernels(width), kernels(width)
        self.merge = nn.Sequential(nn.Conv2d(len(DILATIONS) * width, width, 1), nn.ReLU())

    def forward(self, sender: Float[Tensor, "B C h w"], receiver: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        both = torch.cat([sender, receiver], 1)
        messages = []
        for number, dilation in enumerate(DILATIONS):
            gathered = filter_by(sender, self.of_both[number](both), dilation)
            attention = (
                receiver * gathered
                + filter_by(sender, self.of_sender[number](sender), dilation)
                + filter_by(receiver, self.of_receiver[number](receiver), dilation)
            )
            messages.append(structured_attention(attention, self.rank) * gathered)
        return self.merge(torch.cat(messages, 1))


def filter_by(
    maps: Float[Tensor, "B C h w"], kernels: Float[Tensor, "B 9 h w"], dilation: int
) -> Float[Tensor, "B C h w"]:
    """Filter maps by a 3 × 3 kernel that differs from pixel to pixel, and not from channel to channel.

    Args:
        maps: to be filtered, padded with zeros.
        kernels: each pixel's, row by row.
        dilation: pixels between the taps.
    """
    windows = F.unfold(maps, 3, dilation=dilation, padding=dilation).unflatten(1, (-1, 9))
    return torch.einsum("bckn,bkn->bcn", windows, kernels.flatten(2)).view_as(maps)


def structured_attention(scores: Float[Tensor, "B C h w"], rank: int) -> Float[Tensor, "B C h w"]:
    """Weigh scores by a sum of `rank` products of a map over pixels and a vector over channels (Xu et al. 2018).

    Each round takes the pixels' attention from the channels' and then the channels' from the pixels'. Channels begin
    alike; their weights are on average 1, so that attention neither grows nor fades with the number of channels.

    Args:
        scores: of every channel and pixel.
        rank: rounds, and terms of the sum; 0 leaves the scores as they are.
    """
    if not rank:
        return scores
    channels = scores.new_ones(*scores.shape[:2], 1, 1)
    total = torch.zeros_like(scores)
    for _ in range(rank):
        pixels = (channels * scores).mean(1, keepdim=True).sigmoid()
        total = total + pixels * channels * scores / rank
        channels = scores.shape[1] * (pixels * scores).mean((2, 3), keepdim=True).softmax(1)
    return total


def _convolution(channels: int, width: int, *, stride: int, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=bias), nn.BatchNorm2d(width), nn.ReLU()
    )
