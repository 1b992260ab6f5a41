"""Structured attention: mean-field updates of features and of the gates that they pass (Xu et al. 2018)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class StructuredAttentionCrf(nn.Module):
    """Update the features of one scale by messages of all scales, through gates that the same inference estimates.

    The receiving features f and the gates a_s of each sending scale s are the variables of a CRF. One mean-field
    iteration (Xu et al. 2018, eq. 5–8) is, for each scale in turn,

        a_s ← σ(A_s [h_s, f] + B_s a_s)        f ← f + γ_s (a_s ∘ M_s h_s) + δ_s

    with 3 × 3 convolutions A_s (what both features say of the gate), M_s (the message) and, for each channel, B_s (what
    the gates around say: the structure of the attention). These are shared by all iterations; the factors γ and δ of
    each channel are not, as in the authors' code.
    """

    def __init__(self, scales: int, width: int, iterations: int, *, is_structured: bool = True) -> None:
        """`scales` that send, `width` channels; without `is_structured` there is no B, as in the authors' code."""
        super().__init__()
        self.gates = nn.ModuleList(nn.Conv2d(2 * width, width, 3, padding=1) for _ in range(scales))
        self.messages = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(scales))
        self.structure = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
            for _ in range(scales if is_structured else 0)
        )
        self.factors = nn.Parameter(torch.ones(iterations, scales, width))
        self.offsets = nn.Parameter(torch.zeros(iterations, scales, width))
        for module in self.structure:
            nn.init.zeros_(module.get_parameter("weight"))  # Gates begin as independent of each other.

    def forward(
        self, sent: Sequence[Float[Tensor, "B C h w"]], received: Float[Tensor, "B C h w"]
    ) -> tuple[Float[Tensor, "B C h w"], list[Float[Tensor, "B C h w"]]]:
        """Return the updated features and the last gates.

        Args:
            sent: h, features of each scale, which stay as they are.
            received: f, the features to update.
        """
        messages = [convolve(each) for convolve, each in zip(self.messages, sent, strict=True)]
        gates: list[Tensor | None] = [None] * len(messages)
        for factors, offsets in zip(self.factors, self.offsets, strict=True):
            for scale, (message, features) in enumerate(zip(messages, sent, strict=True)):
                evidence = self.gates[scale](torch.cat([features, received], 1))
                before = gates[scale]
                if self.structure and before is not None:
                    evidence = evidence + self.structure[scale](before)
                gate = evidence.sigmoid()
                received = received + factors[scale, :, None, None] * (gate * message) + offsets[scale, :, None, None]
                gates[scale] = gate
        return received, [gate for gate in gates if gate is not None]
