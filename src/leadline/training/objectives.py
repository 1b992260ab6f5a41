"""Objectives: what a training minimises, as named loss terms that are summed."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_known, check_type
from leadline.core.ranges import Within, check_value
from leadline.core.sample import Depth, ImageTensor, Intrinsics, Mask, Sample, TeacherPrediction
from leadline.models.base import DepthModel, SideOutputs
from leadline.models.loading import load
from leadline.training.distillation_losses import (
    DISTILLATION_TERMS,
    ComparedSpace,
    Discriminator,
    DistillationTerm,
    LogErrors,
    Projections,
)
from leadline.training.losses import (
    attention_loss,
    berhu_loss,
    l1_loss,
    log_gradient_loss,
    ordinal_loss,
    scale_and_shift_invariant_loss,
    scale_invariant_loss,
    side_silog_loss,
    silog_loss,
    standardized_gradient_loss,
)


@runtime_checkable
class Network(Protocol):
    """Name what an objective needs of a `DepthModel`, which may be wrapped for devices and precision."""

    @property
    def kind(self) -> DepthKind: ...

    def __call__(self, image: ImageTensor, intrinsics: Intrinsics | None = None) -> Depth: ...

    def features(self, image: ImageTensor) -> tuple[Tensor, ...]: ...

    def forward_with_sides(
        self, image: ImageTensor, intrinsics: Intrinsics | None = None
    ) -> tuple[Depth, SideOutputs]: ...


@runtime_checkable
class Objective(Protocol):
    """Compute the losses of a batch; a frozen dataclass, whose fields go into the run's configuration."""

    def parts(self, model: DepthModel) -> nn.Module:
        """Build what is trained beside `model` and discarded after it: projections, a discriminator."""
        ...

    def __call__(self, model: Network, batch: Sample, parts: nn.Module) -> dict[str, Tensor]:
        """Compute the weighted loss terms by name; their sum is minimised.

        Args:
            model: the network.
            batch: images with their target depth.
            parts: what `parts` built, as trained so far.
        """
        ...


def _check_weights(what: str, weights: object, known: Collection[str]) -> None:
    """Refuse losses that are not known, and weights that are no positive numbers."""
    check_type(weights, Mapping, f"mapping from a {what} to its weight", 'write {"silog": 1.0}')
    assert isinstance(weights, Mapping)
    for name, weight in weights.items():
        check_known(what, name, known)
        check_value(name, weight, [Within(0, above=True)])


@dataclass(frozen=True)
class Supervised:
    """Compare with the target depth the prediction, by the losses of `TERMS`, and side outputs, by `SIDE_TERMS`."""

    weights: Mapping[str, float] = field(default_factory=lambda: {"silog": 1.0})
    """Losses and their weights, for a target of the model's own kind of depth."""
    unscaled: Mapping[str, float] = field(default_factory=lambda: {"ssi": 1.0, "ssi_gradient": 0.5})
    """The same for a metric model whose target is not metric: both sides then are inverse depths, whose scale and shift
    are free (Ranftl et al. 2020, eq. 11–12, with their weights)."""

    def __post_init__(self) -> None:
        for weights in (self.weights, self.unscaled):
            _check_weights("loss", weights, [*TERMS, *SIDE_TERMS])
        if mistaken := [name for name in self.unscaled if name not in _UNSCALED]:
            raise BadInput(
                f"{mistaken[0]!r} needs metres, which such a target does not have: use {', '.join(_UNSCALED)}."
            )

    def parts(self, model: DepthModel) -> nn.Module:
        """Return an empty module: nothing is trained beside the network.

        Raises:
            BadInput: a loss needs side outputs that the network does not have, or compares the scale and shift that the
                network leaves open.
        """
        _check_invariance(self.weights, model)
        for name in SIDE_TERMS.keys() & self.weights.keys():
            if absent := set(SIDE_TERMS[name].needs) - model.side_outputs:
                raise BadInput(
                    f"The loss {name!r} compares {', '.join(sorted(absent))}, which {model.name} does not output: "
                    f"leave it out, or train {SIDE_TERMS[name].networks}."
                )
        return nn.Module()

    def __call__(self, model: Network, batch: Sample, parts: nn.Module) -> dict[str, Tensor]:
        sides: SideOutputs = {}
        if SIDE_TERMS.keys() & self.weights.keys():
            predicted, sides = model.forward_with_sides(batch.image, batch.intrinsics)
        else:
            predicted = model(batch.image, batch.intrinsics)
        # Losses square and take logarithms: in full precision whatever the network computed in.
        predicted = predicted.float()
        if model.kind is DepthKind.METRIC and batch.kind is not DepthKind.METRIC:
            predicted, target, weights = 1 / predicted, target_as(DepthKind.RELATIVE, batch), self.unscaled
            prefix = f"{batch.kind.value} "
        else:
            target, weights, prefix = target_as(model.kind, batch), self.weights, ""
        terms = _target_terms(weights, predicted, target, batch.valid, sides)
        return {prefix + name: term for name, term in terms.items()}


@dataclass(frozen=True)
class Distilled:
    """Compare the prediction with the target depth, and with a teacher's prediction for the image.

    A batch's labels state their kind of depth, and losses that compare metres refuse any other.
    """

    target_losses: Mapping[str, float] = field(default_factory=lambda: {"silog": 1.0})
    """Losses of `TERMS` and their weights."""
    teacher_losses: Mapping[str, float] = field(default_factory=lambda: {"silog": 1.0})
    """Losses of `leadline.training.distillation_losses.DISTILLATION_TERMS` and their weights."""
    weighs_confidence: bool = True
    """Weigh each pixel of the teacher by its confidence; else all alike, except those of confidence 0."""
    mixes_kinds: bool = False
    """Take the teacher's numbers for metres whatever they are: a mistake, for studying it."""
    teacher: str = ""
    """The model whose features the terms `features` and `pairwise` compare, as `leadline.load` names it."""

    def __post_init__(self) -> None:
        Supervised(self.target_losses)
        if sides := SIDE_TERMS.keys() & self.target_losses.keys():
            raise BadInput(
                f"{min(sides)!r} compares side outputs, which distillation leaves out: use `leadline train`."
            )
        _check_weights("distillation loss", self.teacher_losses, DISTILLATION_TERMS)
        if (names := feature_terms(self.teacher_losses)) and not self.teacher:
            raise BadInput(f"{' and '.join(names)} compare features, which needs a running teacher: name it.")

    def parts(self, model: DepthModel) -> nn.Module:
        """Build the discriminator, the projections and the running teacher that the losses need.

        Raises:
            BadInput: a loss compares the scale and shift that the network leaves open.
        """
        _check_invariance(self.target_losses, model)
        parts = DistillationParts()
        if "holistic" in self.teacher_losses:
            parts["discriminator"] = Discriminator()
        if feature_terms(self.teacher_losses):
            with torch.random.fork_rng():
                parts.run_teacher(load(self.teacher).requires_grad_(False))
        if "features" in self.teacher_losses:
            widths = [[each.shape[1] for each in _features(one)] for one in (model, parts.teacher)]
            parts["projections"] = Projections(*widths)
        return parts

    def __call__(self, model: Network, batch: Sample, parts: nn.Module) -> dict[str, Tensor]:
        labels = batch.teacher_prediction
        if labels is None:
            raise BadInput("A distillation needs labels: `leadline label` makes them.")
        predicted = model(batch.image, batch.intrinsics).float()
        terms = _target_terms(self.target_losses, predicted, target_as(model.kind, batch), batch.valid)
        valid = labels.confidence > 0
        confidence = labels.confidence if self.weighs_confidence else None
        errors: LogErrors | None = None
        for name, weight in self.teacher_losses.items():
            term = DISTILLATION_TERMS[name]
            if not self.mixes_kinds:
                check_distillation_term(name, labels.kind)
            if term.compares is ComparedSpace.DEPTH and model.kind is DepthKind.RELATIVE:
                raise BadInput(
                    f"The student is {model.kind.value} and {name!r} compares {term.compares.value}: build the student "
                    "with kind=metric, or choose a term that ignores scale and shift, as ssi and ssi_gradient."
                )
            if term.compares is ComparedSpace.FEATURES:
                teacher, student = _teacher_features(parts, batch.image), model.features(batch.image)
                if name == "features":
                    loss = term.function(student, teacher, parts.get_submodule("projections"), confidence)
                else:
                    loss = term.function(student[-1], teacher[-1], confidence)
            else:
                sides = (*self._sides(term, model.kind, predicted, labels), valid, confidence)
                if term.is_of_errors:
                    errors = errors or LogErrors(*sides)
                    loss = term.of_errors(errors)
                else:
                    critic = (parts.get_submodule("discriminator"), batch.image) if name == "holistic" else ()
                    loss = term.function(*critic, *sides)
            terms[f"teacher {name}"] = weight * loss
        return terms

    def _sides(
        self, term: DistillationTerm, kind: DepthKind, predicted: Depth, labels: TeacherPrediction
    ) -> tuple[Depth, Depth]:
        """Student and teacher in the space that a loss compares."""
        if term.compares is ComparedSpace.DEPTH:
            return predicted, labels.depth.clamp_min(_LEAST)
        return (
            predicted if kind is DepthKind.RELATIVE else 1 / predicted,
            labels.depth if labels.kind is DepthKind.RELATIVE else 1 / labels.depth.clamp_min(_LEAST),
        )


class DistillationParts(nn.ModuleDict):
    """Hold what is trained beside a student, and the teacher that runs beside it.

    The teacher is neither trained nor saved with a checkpoint, and stays on the device that the parts are on.
    """

    def __init__(self) -> None:
        super().__init__()
        # In a list, which keeps it out of parameters(), state_dict() and train().
        self._running: list[DepthModel] = []

    def run_teacher(self, teacher: DepthModel) -> None:
        """Run this teacher beside the student."""
        self._running = [teacher]

    @property
    def teacher(self) -> DepthModel:
        """The teacher that runs beside the student."""
        return self._running[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DistillationParts":
        super()._apply(fn, recurse)
        for teacher in self._running:
            teacher._apply(fn)
        return self


def feature_terms(names: Iterable[str]) -> list[str]:
    """Return those of some terms of `DISTILLATION_TERMS` that compare features: these need a running teacher."""
    return [name for name in names if DISTILLATION_TERMS[name].compares is ComparedSpace.FEATURES]


def check_distillation_term(name: str, kind: DepthKind) -> None:
    """Refuse a term of `DISTILLATION_TERMS` that is unknown, or that cannot compare labels of `kind`."""
    check_known("distillation loss", name, DISTILLATION_TERMS)
    if kind not in DISTILLATION_TERMS[name].measures:
        compares = DISTILLATION_TERMS[name].compares.value
        raise BadInput(
            f"The teacher's labels are {kind.value} and {name!r} compares {compares}: align the "
            "labels to the measured depth, or choose a term that ignores scale and shift, as ssi and ssi_gradient."
        )


def _check_invariance(weights: Iterable[str], model: DepthModel) -> None:
    """Refuse losses that compare the scale and shift of a model whose depth has neither."""
    comparing = [name for name in weights if name not in _UNSCALED]
    if model.kind is DepthKind.RELATIVE and comparing:
        raise BadInput(
            f"{model.name} outputs inverse depth up to a scale and a shift, which {comparing[0]!r} compares: use "
            f"{' and '.join(_UNSCALED)} (--loss ssi=1,ssi_gradient=0.5), or build it with kind=metric."
        )


def target_as(kind: DepthKind, batch: Sample) -> Depth:
    """Return the target depth in the space of a model of `kind`: inverse depth for a relative one, else depth.

    Raises:
        BadInput: metric or scale-free depth is asked of a target that has none.
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


def _target_terms(
    weights: Mapping[str, float],
    predicted: Depth,
    target: Depth,
    valid: Mask,
    sides: SideOutputs = MappingProxyType({}),
) -> dict[str, Tensor]:
    """The weighted terms of `TERMS` and `SIDE_TERMS`, by name."""
    terms = {}
    for name, weight in weights.items():
        if name in SIDE_TERMS:
            compared = (sides[needed] for needed in SIDE_TERMS[name].needs)
            terms[name] = weight * SIDE_TERMS[name].function(*compared, target, valid)
        else:
            terms[name] = weight * TERMS[name](predicted, target, valid)
    return terms


@torch.no_grad()
def _teacher_features(parts: nn.Module, image: ImageTensor) -> tuple[Tensor, ...]:
    assert isinstance(parts, DistillationParts)
    return parts.teacher.features(image)


@torch.no_grad()
def _features(model: DepthModel) -> tuple[Tensor, ...]:
    """The model's features of a black image, for their shapes."""
    was_training = model.training
    side = 2 * model.preprocessing.multiple
    features = model.eval().features(next(model.parameters()).new_zeros(1, 3, side, side))
    model.train(was_training)
    return features


TERMS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "silog": silog_loss,
        "silog_0": partial(silog_loss, lam=0.0),
        "silog_0.5": partial(silog_loss, lam=0.5),
        "silog_1": partial(silog_loss, lam=1.0),
        "scale_invariant": scale_invariant_loss,
        "l1": l1_loss,
        "berhu": berhu_loss,
        "gradient": log_gradient_loss,
        "ssi": scale_and_shift_invariant_loss,
        "ssi_gradient": standardized_gradient_loss,
    }
)
"""Losses by name. `ssi` and `ssi_gradient` are for inverse depth (a relative model), the others for depth; the number
after `silog_` is its λ, which is 0.85 without one."""


@dataclass(frozen=True)
class SideTerm:
    """A loss that compares side outputs of a network with the target depth."""

    function: Callable[..., Tensor]
    """`(*side outputs, target, valid)` → the loss."""
    needs: tuple[str, ...]
    """Names of those side outputs."""
    networks: str
    """Which networks have them, in words."""


SIDE_TERMS: Mapping[str, SideTerm] = MappingProxyType(
    {
        "ordinal": SideTerm(ordinal_loss, ("exceeded", "thresholds"), "acan"),
        "attention": SideTerm(attention_loss, ("attention",), "acan"),
        "side_silog": SideTerm(
            side_silog_loss, ("depths",), "continuous_crf, structured_attention or hierarchical_crf"
        ),
    }
)
"""Losses by name, for networks that output more than depth."""
