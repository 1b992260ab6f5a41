"""Channels: which of a layer's inputs can go, and the weights that then reconstruct its outputs (He et al. 2017).

Everything is computed from two sums over calibration images, so that memory does not grow with their number.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

RIDGE = 1e-2
"""Of the reconstruction: how strongly the weights are held at the trained ones, in units of the inputs' mean square. A
few hundred positions do not determine thousands of weights."""


@dataclass
class LayerSums:
    """Sums over positions of calibration images for one convolution that reads the channels.

    Channel i brings k values to a position: one for each tap of the kernel.
    """

    weight: Tensor
    """(n, k, m): taps of each of the n channels for each of the m outputs."""
    inputs: Tensor
    """Σ x xᵀ over positions, (n k, n k), where x are the inputs of all channels and taps."""
    products: Tensor
    """Σ x yᵀ over positions, (n k, m), where y are the outputs to be reconstructed."""
    power: float
    """Σ ‖y‖² over positions."""

    def error(self, kept: Sequence[int], weight: Tensor) -> float:
        """Return the squared error of the reconstructed outputs, as a fraction of their square.

        Args:
            kept: channels.
            weight: their taps, (c, k, m).
        """
        places = self._places(kept)
        flat = weight.double().flatten(0, 1)
        cross = (self.products[places] * flat).sum()
        square = ((self.inputs[places][:, places] @ flat) * flat).sum()
        return float(1 - 2 * cross / self.power + square / self.power) if self.power else 0.0

    def refit(self, kept: Sequence[int]) -> Tensor:
        """Return the weights of the kept channels that reconstruct the outputs best, (c, k, m): He et al. 2017, §3.1.

        Least squares, held at the trained weights by `RIDGE`.
        """
        places = self._places(kept)
        before = self.weight[list(kept)].double().flatten(0, 1)
        square = self.inputs[places][:, places]
        held = RIDGE * square.diagonal().mean().clamp_min(1e-12)
        system = square + held * torch.eye(len(places), dtype=torch.float64)
        found = torch.linalg.solve(system, self.products[places] + held * before)
        return found.unflatten(0, (len(kept), -1)).to(self.weight)

    def _places(self, kept: Sequence[int]) -> Tensor:
        taps = self.weight.shape[1]
        return (torch.tensor(kept)[:, None] * taps + torch.arange(taps)).flatten()


ChannelChoice = Callable[[Sequence[LayerSums], int], list[int]]
"""`(layers that read the channels, how many to keep)` → the numbers of those that are kept, in order."""


def lasso_channels(layers: Sequence[LayerSums], keep: int) -> list[int]:
    """Choose the channels that reconstruct the layers' outputs best, by LASSO: He et al. 2017, eq. 2.

    min over β of ½ ‖Y − Σ βᵢ Xᵢ Wᵢᵀ‖² + λ ‖β‖₁, where λ falls from where β is zero until `keep` of its entries are
    not. Least-angle regression (Efron et al. 2004) finds these exactly. Where several layers read the channels, each
    layer's error counts as a fraction of its output's square.

    Args:
        layers: sums of every layer that reads the channels.
        keep: how many channels.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lars_path_gram

    gram, correlation = _system(layers)
    count = len(correlation)
    strength = gram.diagonal()
    gram = gram + 1e-6 * max(strength.mean(), 1e-30) * np.eye(count)
    with warnings.catch_warnings():
        # Channels that are nearly alike: one of them is taken, which is what is wanted.
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, order, path = lars_path_gram(correlation, gram, n_samples=1, method="lasso", max_iter=4 * count)
    sizes = np.count_nonzero(path, axis=0)
    step = int(np.argmax(sizes >= keep)) if (sizes >= keep).any() else int(np.argmax(sizes))
    # Where the path ends early, the others are silent or copies: the strongest of them fill up.
    ranked = sorted(range(count), key=lambda each: (path[each, step] == 0, each not in order, -strength[each]))
    return sorted(ranked[:keep])


def random_channels(seed: int) -> ChannelChoice:
    """Make a choice that looks at nothing: the control of every other one."""
    rng = np.random.default_rng(seed)

    def choose(layers: Sequence[LayerSums], keep: int) -> list[int]:
        return sorted(int(each) for each in rng.permutation(len(layers[0].weight))[:keep])

    return choose


def _system(layers: Sequence[LayerSums]) -> tuple[np.ndarray, np.ndarray]:
    """Return the Gram matrix of the channels' contributions to all outputs, and their products with the outputs."""
    count = len(layers[0].weight)
    gram, correlation = torch.zeros(count, count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    for layer in layers:
        if not layer.power:
            continue
        taps = layer.weight.shape[1]
        flat = layer.weight.double().flatten(0, 1)
        paired = (layer.inputs * (flat @ flat.T)).view(count, taps, count, taps).sum((1, 3))
        gram += paired / layer.power
        correlation += (layer.products * flat).view(count, -1).sum(1) / layer.power
    return gram.numpy(), correlation.numpy()
