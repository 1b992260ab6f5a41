"""Objectives: what a training minimises, as named loss terms that add up."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, unknown
from leadline.core.sample import Depth, ImageTensor, Intrinsics, Mask, Sample, TeacherPrediction
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.training.distillation_losses import (
    DISTILLATION_TERMS,
    ComparedSpace,
    Discriminator,
    DistillationTerm,
    Projections,
)
from leadline.training.losses import (
    berhu_loss,
    l1_loss,
    log_gradient_loss,
    scale_and_shift_invariant_loss,
    silog_loss,
    standardized_gradient_loss,
)


@runtime_checkable
class Network(Protocol):
    """What an objective needs of a `DepthModel`, which a training may have wrapped for its devices and precision."""

    @property
    def kind(self) -> DepthKind: ...

    def __call__(self, image: ImageTensor, intrinsics: Intrinsics | None = None) -> Depth: ...

    def features(self, image: ImageTensor) -> tuple[Tensor, ...]: ...


@runtime_checkable
class Objective(Protocol):
    """A frozen dataclass (its fields go into the run's configuration) that a batch can be put to."""

    def parts(self, model: DepthModel) -> nn.Module:
        """What learns along with `model` and is thrown away after it: projections, a discriminator."""
        ...

    def __call__(self, model: Network, batch: Sample, parts: nn.Module) -> dict[str, Tensor]:
        """The weighted loss terms by name; their sum is what is minimised."""
        ...


@dataclass(frozen=True)
class Supervised:
    """The prediction against the measured depth: names of `TERMS` and their factors."""

    weights: Mapping[str, float] = field(default_factory=lambda: {"silog": 1.0})
    """For truth of the model's own kind."""
    unscaled: Mapping[str, float] = field(default_factory=lambda: {"ssi": 1.0, "ssi_gradient": 0.5})
    """For truth that promises less than a metric model: both sides then are inverse depths, whose scale and shift are
    free (Ranftl et al. 2020, eq. 11-12, with their weights)."""

    def __post_init__(self) -> None:
        for name in (*self.weights, *self.unscaled):
            if name not in TERMS:
                raise unknown("loss", name, TERMS)
        if mistaken := [name for name in self.unscaled if name not in _UNSCALED]:
            raise BadInput(f"{mistaken[0]!r} asks for metres, which such truth has not: use {', '.join(_UNSCALED)}.")

    def parts(self, model: DepthModel) -> nn.Module:
        return nn.Module()

    def __call__(self, model: Network, batch: Sample, parts: nn.Module) -> dict[str, Tensor]:
        # Losses square and take logarithms: in full precision whatever the network computed in.
        predicted = model(batch.image, batch.intrinsics).float()
        if model.kind is DepthKind.METRIC and batch.kind is not DepthKind.METRIC:
            predicted, measured, weights = 1 / predicted, measured_as(DepthKind.RELATIVE, batch), self.unscaled
            said = f"{batch.kind.value} "
        else:
            measured, weights, said = measured_as(model.kind, batch), self.weights, ""
        terms = _measured_terms(weights, predicted, measured, batch.valid)
        return {said + name: term for name, term in terms.items()}


@dataclass(frozen=True)
class Distilled:
    """The prediction against the measured depth, and against what a teacher answered for the image.

    A batch's labels say what kind they are of, and terms that compare metres refuse any other.
    """

    target_losses: Mapping[str, float] = field(default_factory=lambda: {"silog": 1.0})
    """Terms of `TERMS` and their factors."""
    teacher_losses: Mapping[str, float] = field(default_factory=lambda: {"silog": 1.0})
    """Terms of `leadline.training.distillation_losses.DISTILLATION_TERMS` and their factors."""
    weighs_confidence: bool = True
    """Each pixel of the teacher counts by its confidence; else all alike, but for those of confidence 0."""
    mixes_kinds: bool = False
    """Take the teacher's numbers for metres whatever they are: a mistake, for studying it."""
    teacher: str = ""
    """The model whose features the terms `features` and `pairwise` compare, as `leadline.load` names it."""

    def __post_init__(self) -> None:
        Supervised(self.target_losses)
        for name in self.teacher_losses:
            if name not in DISTILLATION_TERMS:
                raise unknown("distillation loss", name, DISTILLATION_TERMS)
        if (names := feature_terms(self.teacher_losses)) and not self.teacher:
            raise BadInput(f"{' and '.join(names)} compare features, which only a running teacher has.")

    def parts(self, model: DepthModel) -> nn.Module:
        parts = nn.ModuleDict()
        if "holistic" in self.teacher_losses:
            parts["discriminator"] = Discriminator()
        if "features" in self.teacher_losses:
            widths = [[each.shape[1] for each in _features(one)] for one in (model, _teacher(self.teacher))]
            parts["projections"] = Projections(*widths)
        return parts

    def __call__(self, model: Network, batch: Sample, parts: nn.Module) -> dict[str, Tensor]:
        taught = batch.taught
        if taught is None:
            raise BadInput("A distilled training needs labels: `leadline label` makes them.")
        predicted = model(batch.image, batch.intrinsics).float()
        terms = _measured_terms(self.target_losses, predicted, measured_as(model.kind, batch), batch.valid)
        believed = taught.confidence > 0
        confidence = taught.confidence if self.weighs_confidence else None
        for name, weight in self.teacher_losses.items():
            term = DISTILLATION_TERMS[name]
            if not self.mixes_kinds:
                check_distillation_term(name, taught.kind)
            if term.compares is ComparedSpace.DEPTH and model.kind is DepthKind.RELATIVE:
                raise BadInput(
                    f"The student is {model.kind.value} and {name!r} compares {term.compares.value}: build the student "
                    "with kind=metric, or choose a term that ignores scale and shift, as ssi and ssi_gradient."
                )
            if name == "features":
                student, teacher = self._both_features(model, batch)
                loss = term.function(student, teacher, _part(parts, "projections"), confidence)
            elif name == "pairwise":
                student, teacher = self._both_features(model, batch)
                loss = term.function(student[-1], teacher[-1], confidence)
            else:
                sides = (*self._sides(term, model.kind, predicted, taught), believed, confidence)
                critic = (_part(parts, "discriminator"), batch.image) if name == "holistic" else ()
                loss = term.function(*critic, *sides)
            terms[f"teacher {name}"] = weight * loss
        return terms

    def _sides(
        self, term: DistillationTerm, kind: DepthKind, predicted: Depth, taught: TeacherPrediction
    ) -> tuple[Depth, Depth]:
        """Student and teacher in the terms that a loss compares."""
        if term.compares is ComparedSpace.DEPTH:
            return predicted, taught.depth.clamp_min(_LEAST)
        return (
            predicted if kind is DepthKind.RELATIVE else 1 / predicted,
            taught.depth if taught.kind is DepthKind.RELATIVE else 1 / taught.depth.clamp_min(_LEAST),
        )

    def _both_features(self, model: Network, batch: Sample) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        teacher = _teacher(self.teacher).to(batch.image.device)
        with torch.no_grad():
            theirs = teacher.features(batch.image)
        return model.features(batch.image), theirs


def feature_terms(taught: Iterable[str]) -> list[str]:
    """Those of some terms of `DISTILLATION_TERMS` that compare features, which only a teacher that runs along has."""
    return [name for name in taught if DISTILLATION_TERMS[name].compares is ComparedSpace.FEATURES]


def check_distillation_term(name: str, kind: DepthKind) -> None:
    """Refuse a term of `DISTILLATION_TERMS` that is unknown, or that cannot compare labels of `kind`."""
    if name not in DISTILLATION_TERMS:
        raise unknown("distillation loss", name, DISTILLATION_TERMS)
    if kind not in DISTILLATION_TERMS[name].measures:
        compares = DISTILLATION_TERMS[name].compares.value
        raise BadInput(
            f"The teacher's labels are {kind.value} and {name!r} compares {compares}: align the "
            "labels to the truth, or choose a term that ignores scale and shift, as ssi and ssi_gradient."
        )


def measured_as(kind: DepthKind, batch: Sample) -> Depth:
    """The measured depth in the terms that a model of `kind` answers in.

    Raises:
        BadInput: metric or scale-free depth asked of a truth that promises less.
    """
    if kind is DepthKind.RELATIVE and batch.kind is not DepthKind.RELATIVE:
        return (1 / batch.depth).where(batch.valid, 0.0)
    if kind is batch.kind or (kind is DepthKind.SCALE_FREE and batch.kind is DepthKind.METRIC):
        return batch.depth
    raise BadInput(
        f"A {kind} model cannot learn from {batch.kind} depth. Use a dataset of metric depth, "
        f"or build the model with kind={batch.kind.value}."
    )


_UNSCALED = ("ssi", "ssi_gradient")
"""Terms that ignore scale and shift."""
_LEAST = 1e-3
"""Metres, or whatever a label's unit is: nearer ones count as this far, so that a zero has a logarithm."""


def _measured_terms(weights: Mapping[str, float], predicted: Depth, measured: Depth, valid: Mask) -> dict[str, Tensor]:
    """The weighted terms of `TERMS`, by name."""
    return {name: weight * TERMS[name](predicted, measured, valid) for name, weight in weights.items()}


@lru_cache(maxsize=1)
def _teacher(place: str) -> DepthModel:
    return load(place).requires_grad_(False)


def _part(parts: nn.Module, name: str) -> nn.Module:
    return parts.get_submodule(name)


@torch.no_grad()
def _features(model: DepthModel) -> tuple[Tensor, ...]:
    """The model's features of nothing, for their shapes."""
    was_training = model.training
    side = 2 * model.preprocessing.multiple
    features = model.eval().features(next(model.parameters()).new_zeros(1, 3, side, side))
    model.train(was_training)
    return features


TERMS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "silog": silog_loss,
        "l1": l1_loss,
        "berhu": berhu_loss,
        "gradient": log_gradient_loss,
        "ssi": scale_and_shift_invariant_loss,
        "ssi_gradient": standardized_gradient_loss,
    }
)
"""Loss terms by name. `ssi` and `ssi_gradient` are for inverse depth (a relative model), the others for depth."""
