"""Samples: an image, the depth measured for it, and the kind of that depth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jaxtyping import Float

from leadline.core.arrays import Confidence, Depth, ImageTensor, Intrinsics, Mask, Tensor
from leadline.core.depth_kind import DepthKind

if TYPE_CHECKING:
    import torch

    Device = torch.device | str
else:
    Device = Any


@dataclass(frozen=True, eq=False)
class TeacherPrediction:
    """Hold what a teacher predicted for an image, or for a batch of them."""

    depth: Depth
    """In the unit that `kind` says; meaningless where the confidence is 0."""
    confidence: Confidence
    kind: DepthKind

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "TeacherPrediction":
        """Return a copy with `change` applied to the depth and to the confidence."""
        return replace(self, depth=change(self.depth), confidence=change(self.confidence))


@dataclass(frozen=True, eq=False)
class OtherView:
    """Hold the other image of a rectified stereo pair, or those of a batch."""

    image: ImageTensor
    """Of the size of the sample's own."""
    side: Float[Tensor, "*batch"]
    """1 where the other camera stood to the right of the sample's, so that a point lies farther left in its image; −1
    where it stood to the left; 0 for a sample of a batch that has no other view."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Hold one image with its measured depth, or a batch of them; it is frozen, `replace` returns an edited copy."""

    image: ImageTensor
    depth: Depth
    """In the unit that `kind` says; meaningless (but finite) where not `valid`."""
    valid: Mask
    kind: DepthKind = DepthKind.METRIC
    intrinsics: Intrinsics | None = None
    name: str | tuple[str, ...] = ""
    """Identifies the sample in its dataset: `SCENE/0007`; a tuple with one for each image of a batch."""
    teacher_prediction: TeacherPrediction | None = None
    """A teacher's prediction for the image, beside what was measured; None: there is none."""
    other: OtherView | None = None
    """The other view of a stereo pair; None: there is none."""

    def __post_init__(self) -> None:
        *batch, channels, height, width = self.image.shape
        single = (*batch, 1, height, width)
        if channels != 3 or self.depth.shape != single or self.valid.shape != single:
            raise ValueError(
                f"Sample {self.name!r}: image {tuple(self.image.shape)}, depth {tuple(self.depth.shape)} and "
                f"valid {tuple(self.valid.shape)} must be (…, 3, H, W), (…, 1, H, W) and (…, 1, H, W) of one size."
            )
        if self.other and self.other.image.shape != self.image.shape:
            raise ValueError(
                f"Sample {self.name!r}: the views of a stereo pair are {tuple(self.image.shape)} and "
                f"{tuple(self.other.image.shape)}, and must be of one size."
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[-2], self.image.shape[-1]

    def replace(self, **changes: Any) -> "Sample":
        """Return a copy with other values in the named fields."""
        return replace(self, **changes)

    def to(self, device: Device) -> "Sample":
        """Return a copy whose tensors, the teacher's prediction included, are on `device`."""
        return self.replace(
            image=self.image.to(device),
            depth=self.depth.to(device),
            valid=self.valid.to(device),
            intrinsics=None if self.intrinsics is None else self.intrinsics.to(device),
            teacher_prediction=self.teacher_prediction and self.teacher_prediction.mapped(lambda each: each.to(device)),
            other=self.other and OtherView(self.other.image.to(device), self.other.side.to(device)),
        )


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples of one size and one kind into a batch; intrinsics that some of them lack become NaN.

    Where a teacher predicted depth for some of them only, its confidence is 0 for the others; where only some have
    another view, its side is 0 for the others.

    Raises:
        ValueError: samples of several kinds or sizes, or of teachers of several kinds.
    """
    import torch

    kinds = {sample.kind for sample in samples}
    sizes = {sample.size for sample in samples}
    if len(kinds) != 1 or len(sizes) != 1:
        raise ValueError(f"A batch needs one kind and one size, and this one has {sorted(kinds)} and {sorted(sizes)}.")
    unknown = torch.full((4,), torch.nan)
    known = [sample.intrinsics for sample in samples]
    return Sample(
        image=torch.stack([sample.image for sample in samples]),
        depth=torch.stack([sample.depth for sample in samples]),
        valid=torch.stack([sample.valid for sample in samples]),
        kind=samples[0].kind,
        intrinsics=None
        if all(each is None for each in known)
        else torch.stack([unknown if each is None else each for each in known]),
        name=tuple(str(sample.name) for sample in samples),
        teacher_prediction=_together(samples),
        other=_other_views(samples),
    )


def _other_views(samples: Sequence[Sample]) -> OtherView | None:
    import torch

    views = [sample.other for sample in samples]
    if not any(views):
        return None
    nothing = OtherView(torch.zeros_like(samples[0].image), torch.zeros(()))
    return OtherView(
        image=torch.stack([(each or nothing).image for each in views]),
        side=torch.stack([(each or nothing).side for each in views]),
    )


def _together(samples: Sequence[Sample]) -> TeacherPrediction | None:
    import torch

    predictions = [sample.teacher_prediction for sample in samples]
    kinds = {each.kind for each in predictions if each}
    if not kinds:
        return None
    if len(kinds) != 1:
        raise ValueError(f"A batch needs one kind of teacher, and this one has {sorted(kinds)}.")
    silent = torch.zeros_like(samples[0].depth)
    return TeacherPrediction(
        depth=torch.stack([each.depth if each else silent for each in predictions]),
        confidence=torch.stack([each.confidence if each else silent for each in predictions]),
        kind=kinds.pop(),
    )
