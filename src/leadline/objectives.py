"""Objectives: what a training minimises, as named loss terms that add up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from torch import Tensor

from leadline.errors import BadInput, unknown
from leadline.losses import (
    berhu_loss,
    gradient_matching_loss,
    l1_loss,
    scale_and_shift_invariant_loss,
    silog_loss,
    standardised,
)
from leadline.sample import Depth, Image, Intrinsics, Kind, Mask, Sample


@runtime_checkable
class Network(Protocol):
    """What an objective needs of a `DepthModel`, which a training may have wrapped for its devices and precision."""

    @property
    def kind(self) -> Kind: ...

    def __call__(self, image: Image, intrinsics: Intrinsics | None = None) -> Depth: ...

    def features(self, image: Image) -> tuple[Tensor, ...]: ...


@runtime_checkable
class Objective(Protocol):
    """A frozen dataclass (its fields go into the run's configuration) that a batch can be put to."""

    def __call__(self, model: Network, batch: Sample) -> dict[str, Tensor]:
        """The weighted loss terms by name; their sum is what is minimised."""
        ...


@dataclass(frozen=True)
class Supervised:
    """The prediction against the measured depth: `weights` names the terms of `TERMS` and their factors."""

    weights: Mapping[str, float] = field(default_factory=lambda: {"silog": 1.0})

    def __post_init__(self) -> None:
        for name in self.weights:
            if name not in TERMS:
                raise unknown("loss", name, TERMS)

    def __call__(self, model: Network, batch: Sample) -> dict[str, Tensor]:
        measured = measured_as(model.kind, batch)
        # Losses square and take logarithms: in full precision whatever the network computed in.
        predicted = model(batch.image, batch.intrinsics).float()
        return {name: weight * TERMS[name](predicted, measured, batch.valid) for name, weight in self.weights.items()}


def measured_as(kind: Kind, batch: Sample) -> Depth:
    """The measured depth in the terms that a model of `kind` answers in.

    Raises:
        BadInput: metric or scale-free depth asked of a truth that promises less.
    """
    if kind is Kind.RELATIVE and batch.kind is not Kind.RELATIVE:
        return (1 / batch.depth).where(batch.valid, 0.0)
    if kind is batch.kind or (kind is Kind.SCALE_FREE and batch.kind is Kind.METRIC):
        return batch.depth
    raise BadInput(
        f"A {kind} model cannot learn from {batch.kind} depth. Use a dataset of metric depth, "
        f"or build the model with kind={batch.kind.value}."
    )


def _log_gradient(predicted: Depth, measured: Depth, valid: Mask) -> Tensor:
    """Gradient matching in log depth, as in Li & Snavely 2018, eq. 3."""
    return gradient_matching_loss(_safe_log(predicted, valid), _safe_log(measured, valid), valid)


def _standardised_gradient(predicted: Depth, measured: Depth, valid: Mask) -> Tensor:
    """Gradient matching of standardised inverse depths, as in Ranftl et al. 2020, eq. 11."""
    return gradient_matching_loss(standardised(predicted, valid), standardised(measured, valid), valid)


def _safe_log(depth: Depth, valid: Mask) -> Depth:
    return depth.where(valid, 1.0).log()


TERMS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "silog": silog_loss,
        "l1": l1_loss,
        "berhu": berhu_loss,
        "gradient": _log_gradient,
        "ssi": scale_and_shift_invariant_loss,
        "ssi_gradient": _standardised_gradient,
    }
)
"""Loss terms by name. `ssi` and `ssi_gradient` are for inverse depth (a relative model), the others for depth."""
