"""Scope: fit the head that says where a network is not to be trusted, by images that it learnt from and by others."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from leadline.core.errors import BadInput
from leadline.core.progress import track
from leadline.data.datasets import Dataset, subsample_evenly
from leadline.data.transforms import Augmentation
from leadline.models.base import DepthModel
from leadline.models.scope import with_scope

ASPECTS = (0.75, 1.0, 4 / 3, 4 / 3, 16 / 9, 3.0)
"""Widths over heights of the crops: photographs come upright, square, usual and wide."""
VIEWS = 300
"""Random views of a dataset, at most: one of each of as many images, or several where there are fewer images."""
OF_AN_IMAGE = 12
"""Random views of an image, at most."""
_AUGMENTATION = Augmentation(crop=0.7, brightness=0.3, colour=0.15, blur=0.3, noise=0.02, jpeg=0.4)
_BATCH = 8


def fit_scope(
    model: DepthModel,
    inside: Sequence[Dataset],
    outside: Sequence[Dataset],
    *,
    penalty: float = 0.003,
    seed: int = 0,
) -> DepthModel:
    """Fit a scope head to a trained network: a logistic regression on the pooled features of its encoder.

    The network itself does not change. Both sides weigh the same, and on each side every dataset does, so a score of
    0.5 is where an image is as likely to be outside as inside. Fit it again after further training.

    Args:
        model: a trained network with a fusion decoder, as `cnn` and `hybrid` are.
        inside: what the network learnt from, or photographs of the same kind.
        outside: photographs of what it must warn of: landscapes, streets, close-ups.
        penalty: of the squares of the weights of standardised features.
        seed: of the views: random crops in the shapes `ASPECTS`, with other colours, blur, noise and compression.

    Returns:
        The network with the head, in evaluation mode.

    Raises:
        BadInput: a side without images, or a network that takes no scope head.
    """
    groups = [(0.0, each) for each in inside] + [(1.0, each) for each in outside]
    if not inside or not outside or not all(len(group) for _, group in groups):
        raise BadInput("A scope head is fitted to images inside and outside of what the network learnt: give both.")
    model.eval()
    features, targets, weights = [], [], []
    for target, group in track(groups, len(groups), "datasets", "reading"):
        seen = _features(model, group, seed)
        features.append(seen)
        targets.append(torch.full((len(seen),), target))
        weights.append(torch.full((len(seen),), 1 / len(seen) / len(outside if target else inside)))
    weight, bias = _logistic(torch.cat(features), torch.cat(targets), torch.cat(weights), penalty)
    return with_scope(model, weight, bias).eval()


def _features(model: DepthModel, dataset: Dataset, seed: int) -> Float[Tensor, "N C"]:
    """The mean of each channel of the last map, for random views of the images of a dataset."""
    means: list[Tensor] = []
    with torch.inference_mode():
        for batch in _batches(model, dataset, seed):
            means.append(model.features(batch)[-1].float().mean((2, 3)))
    return torch.cat(means)


def _batches(model: DepthModel, dataset: Dataset, seed: int) -> Iterator[Float[Tensor, "B 3 H W"]]:
    """Random views of the images of a dataset, in batches of one size each, as the model's preprocessing makes it."""
    waiting: dict[tuple[int, int], list[Tensor]] = {}
    place = next(model.parameters()).device
    indices = subsample_evenly(range(len(dataset)), VIEWS)
    for index in indices:
        sample = dataset[index].replace(intrinsics=None)
        for view in range(min(VIEWS // len(indices), OF_AN_IMAGE)):
            rng = np.random.default_rng((seed, view, index))
            size = model.preprocessing.size_for(1000, round(1000 * rng.choice(ASPECTS)))
            batch = waiting.setdefault(size, [])
            batch.append(_AUGMENTATION(sample, rng, size).image)
            if len(batch) == _BATCH:
                yield torch.stack(waiting.pop(size)).to(place)
    for batch in waiting.values():
        yield torch.stack(batch).to(place)


def _logistic(
    features: Float[Tensor, "N C"], targets: Float[Tensor, "N"], weights: Float[Tensor, "N"], penalty: float
) -> tuple[Float[Tensor, "C"], float]:
    """The weights and the bias of a logistic regression, in double precision, of features as they are."""
    features, targets, weights = (each.double().cpu().clone() for each in (features, targets, weights))
    centre, scale = features.mean(0), features.std(0) + 1e-4
    standard = (features - centre) / scale
    parameters = torch.zeros(features.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = standard @ parameters[:-1] + parameters[-1]
        misfit = F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="sum")
        total = misfit + penalty * parameters[:-1].square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    found = parameters.detach()
    weight = found[:-1] / scale
    return weight.float(), float(found[-1] - weight @ centre)
