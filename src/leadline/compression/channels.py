"""Channels: which of a layer's inputs can go, and the weights that then reconstruct its outputs (He et al. 2017)."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

RIDGE = 1e-2
"""Of the reconstruction: how strongly the weights are held at the trained ones, in units of the inputs' mean square. A
few hundred positions do not determine thousands of weights."""


@dataclass(frozen=True)
class LayerSamples:
    """What one convolution that reads the channels sees at positions of calibration images, and what it should give.

    Channel i brings k values to a position: one for each tap of the kernel.
    """

    weight: Tensor
    """(n, k, m): taps of each of the n channels for each of the m outputs."""
    inputs: Tensor
    """(s, n, k)."""
    outputs: Tensor
    """(s, m), without the bias."""

    @property
    def power(self) -> float:
        """The sum of the squared outputs."""
        return float(self.outputs.double().square().sum())

    def error(self, kept: Sequence[int], weight: Tensor) -> float:
        """Return the squared error of the reconstructed outputs, as a fraction of their square.

        Args:
            kept: channels.
            weight: their taps, (c, k, m).
        """
        found = self.inputs[:, list(kept)].double().flatten(1) @ weight.double().flatten(0, 1)
        return float((found - self.outputs).square().sum()) / self.power if self.power else 0.0

    def refit(self, kept: Sequence[int]) -> Tensor:
        """Return the weights of the kept channels that reconstruct the outputs best, (c, k, m): He et al. 2017, §3.1.

        Least squares, held at the trained weights by `RIDGE`.
        """
        x = self.inputs[:, list(kept)].double().flatten(1)
        before = self.weight[list(kept)].double().flatten(0, 1)
        missing = self.outputs.double() - x @ before
        held = RIDGE * x.square().sum(0).mean().clamp_min(1e-12)
        # The two forms of the same ridge regression: the smaller system.
        if x.shape[1] <= x.shape[0]:
            change = torch.linalg.solve(x.T @ x + held * torch.eye(x.shape[1], dtype=x.dtype), x.T @ missing)
        else:
            change = x.T @ torch.linalg.solve(x @ x.T + held * torch.eye(x.shape[0], dtype=x.dtype), missing)
        return (before + change).unflatten(0, (len(kept), -1)).to(self.weight)


ChannelRanking = Callable[[Sequence[LayerSamples]], list[int]]
"""Layers that read the channels → all channels, those that are kept longest first."""


def rank_by_lasso(layers: Sequence[LayerSamples]) -> list[int]:
    """Rank channels by how early the reconstruction of the layers' outputs needs them: LASSO, He et al. 2017, eq. 2.

    min over β of ½ ‖Y − Σ βᵢ Xᵢ Wᵢᵀ‖² + λ ‖β‖₁, where λ falls from where β is zero: the channels come in the order in
    which their βᵢ leave zero for good. Least-angle regression (Efron et al. 2004) finds these λ exactly. Where several
    layers read the channels, each layer's error counts as a fraction of its output's square.

    Args:
        layers: samples of every layer that reads the channels.
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
        _, _, path = lars_path_gram(correlation, gram, n_samples=1, method="lasso", max_iter=4 * count)
    steps = np.arange(path.shape[1])
    last_zero = np.where(path == 0, steps, -1).max(1)
    # Where the path ends early, the others are silent or copies: the strongest of them come first.
    return sorted(range(count), key=lambda each: (last_zero[each], -strength[each]))


def rank_at_random(seed: int) -> ChannelRanking:
    """Make a ranking that looks at nothing: the control of every other one."""
    rng = np.random.default_rng(seed)
    return lambda layers: [int(each) for each in rng.permutation(len(layers[0].weight))]


def _system(layers: Sequence[LayerSamples]) -> tuple[np.ndarray, np.ndarray]:
    """Return the Gram matrix of the channels' contributions to all outputs, and their products with the outputs.

    Tap by tap: the product of all taps of 2,048 channels with each other would take gigabytes.
    """
    count = len(layers[0].weight)
    gram, correlation = torch.zeros(count, count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    for layer in layers:
        if not layer.power:
            continue
        taps = [(layer.inputs[:, :, tap], layer.weight[:, tap]) for tap in range(layer.weight.shape[1])]
        for number, (x, weight) in enumerate(taps):
            correlation += ((x.T @ layer.outputs) * weight).sum(1).double() / layer.power
            for other, (y, other_weight) in enumerate(taps[: number + 1]):
                both = ((x.T @ y) * (weight @ other_weight.T)).double() / layer.power
                gram += both if other == number else both + both.T
    return gram.numpy(), correlation.numpy()
