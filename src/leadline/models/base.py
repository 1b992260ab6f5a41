"""DepthModel: what every network promises, its kind, its preprocessing and where its weights come from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, floor, sqrt
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from leadline.core.camera import pinhole
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.sample import ImageTensor, Intrinsics

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Interpolation = Literal[
    "bilinear", "bilinear_sharp", "bilinear_corners", "bilinear_inverse", "cubic", "cubic_smooth", "area"
]
"""`bilinear` and `cubic_smooth` (Pillow's bicubic: Keys with a = −0.5, held to [0, 1]) smooth first where they shrink;
`bilinear_sharp` and `cubic` (OpenCV's INTER_CUBIC: a = −0.75) never do; `bilinear_corners` is sharp too, and lays the
centres of the corner pixels on each other; `bilinear_inverse` is sharp too, on one over the numbers;
`area` averages the pixels that each new one covers."""


class Resize(StrEnum):
    """How a photograph's size becomes the network's; each side is then rounded to the multiple."""

    SAME_AREA = "same_area"
    """Keep the aspect and the native number of pixels, so that time and memory never depend on the photograph."""
    LOWER_BOUND = "lower_bound"
    """Keep the aspect; both sides at least the native ones."""
    UPPER_BOUND = "upper_bound"
    """Keep the aspect; both sides at most the native ones."""
    MINIMAL = "minimal"
    """Keep the aspect; fit the side whose scale is nearer to one."""
    STRETCH = "stretch"
    """The native size, whatever the aspect."""
    OWN = "own"
    """The photograph's own size, each side cut down to the multiple."""


@dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes what the network was trained on."""

    size: tuple[int, int]
    """Native height and width in pixels."""
    multiple: int = 32
    """Both sides of every input divide by it."""
    resize: Resize = Resize.SAME_AREA
    interpolation: Interpolation = "bilinear"
    """Brings the photograph to the network's size."""
    restore: Interpolation = "bilinear"
    """Brings the prediction back to the photograph's size."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of RGB in [0, 1]; the model subtracts it itself."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Of RGB in [0, 1]; the model divides by it itself."""
    focal: float | None = None
    """Focal length, in pixels of the network's input, of the camera whose metres the network answers: the canonical
    camera of Yin et al. 2023 (Metric3D). None: it answers for whatever camera it sees."""
    margin: float = 0.0
    """Times √(side / 2): pixels by which a mirror continues the photograph at each edge; the answer is cut back."""

    def camera(self, image: ImageTensor) -> Intrinsics | None:
        """Return the camera that an unknown one is taken for, in pixels of `image`; None without a canonical camera."""
        if self.focal is None:
            return None
        pixels = image.shape[-2] * image.shape[-1]
        return pinhole(self.focal * sqrt(pixels / (self.size[0] * self.size[1])), image)

    def margin_for(self, height: int, width: int) -> tuple[int, int]:
        """Rows above and below, and columns left and right, that a photograph gets before it is resized."""
        # A mirror at the last pixel has one pixel less to show than there are.
        return (
            min(int(sqrt(height / 2) * self.margin), height - 1),
            min(int(sqrt(width / 2) * self.margin), width - 1),
        )

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a photograph of `height` × `width`, margins included, is resized to."""
        tall, wide = self.size[0] / height, self.size[1] / width
        match self.resize:
            case Resize.SAME_AREA:
                tall = wide = sqrt(tall * wide)
            case Resize.LOWER_BOUND:
                tall = wide = max(tall, wide)
            case Resize.UPPER_BOUND:
                tall = wide = min(tall, wide)
            case Resize.MINIMAL:
                tall = wide = wide if abs(1 - wide) < abs(1 - tall) else tall
            case Resize.STRETCH:
                pass
            case Resize.OWN:
                return max(height // self.multiple, 1) * self.multiple, max(width // self.multiple, 1) * self.multiple
        return self._rounded(tall * height, self.size[0]), self._rounded(wide * width, self.size[1])

    def _rounded(self, side: float, native: int) -> int:
        """The multiple nearest to `side` that keeps to the bound that `native` sets, and at least one multiple."""
        steps = round(side / self.multiple)
        if self.resize is Resize.LOWER_BOUND and steps * self.multiple < native:
            steps = ceil(side / self.multiple)
        if self.resize is Resize.UPPER_BOUND and steps * self.multiple > native:
            steps = floor(side / self.multiple)
        return max(steps, 1) * self.multiple


FREE_LICENCES = ("apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "mit")
"""Licences, as the hub spells them, under which what is made of the licensed may be given away as we give it."""


@dataclass(frozen=True)
class Provenance:
    """Where a model's weights come from and what may be done with them."""

    training_data: str = ""
    """What the whole model was trained on; empty: nothing yet."""
    encoder: str = ""
    """What the encoder held before that training; empty: random numbers."""
    licence: str = "Apache-2.0"
    notes: str = ""
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """What the model scored: data and protocol in words → metric → value."""


@dataclass(frozen=True)
class ModelSpec:
    """What a model is built from: `build(spec.name, **spec.arguments)` builds the same network, untrained."""

    name: str
    """Its key in `MODELS`."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """The builder's keyword arguments, as JSON holds them."""


class DepthModel(nn.Module, ABC):
    """A network from RGB in [0, 1] to depth in the unit of its `kind`; it normalises the image itself.

    Args:
        kind: what a number in its depth maps guarantees.
        preprocessing: how a photograph becomes its input.
        provenance: where its weights come from.
        spec: what it is built from; None: `build` sets it.
        defaults: arguments that the builder chose where none were given. They are saved with the others, so that
            another default in a later version changes no saved model.
    """

    encoder: nn.Module
    """The part that may come pretrained: image to pyramid."""
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        kind: DepthKind,
        preprocessing: Preprocessing,
        provenance: Provenance,
        *,
        spec: ModelSpec | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.provenance = provenance
        self.defaults: Mapping[str, Any] = dict(defaults or {})
        self._spec = spec
        self.set_preprocessing(preprocessing)

    @property
    def spec(self) -> ModelSpec:
        """What the model is built from; of a model that `build` did not make, the name of its class."""
        return self._spec or ModelSpec(type(self).__name__)

    @property
    def name(self) -> str:
        """The key of its builder in `MODELS`."""
        return self.spec.name

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The builder's keyword arguments, as JSON holds them."""
        return self.spec.arguments

    def set_spec(self, spec: ModelSpec) -> None:
        """Set what the model is built from, once: `build` does.

        Raises:
            ValueError: it is set already.
        """
        if self._spec is not None:
            raise ValueError(f"This model is built from {self._spec}, which does not change.")
        self._spec = spec

    def set_preprocessing(self, preprocessing: Preprocessing) -> None:
        """Take `preprocessing` as the model's own; the only way to change it."""
        self.preprocessing = preprocessing
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            # On the CPU even where weights are not drawn yet (the meta device): no file brings these.
            column = torch.tensor(values, device="cpu").view(3, 1, 1)
            self.register_buffer(name, column, persistent=False)

    @property
    def pretrained_encoder(self) -> bool:
        """Whether the encoder brings knowledge that a high learning rate would destroy."""
        return bool(self.provenance.encoder)

    def forward(
        self, image: Float[Tensor, "B 3 H W"], intrinsics: Float[Tensor, "B 4"] | None = None
    ) -> Float[Tensor, "B 1 H W"]:
        """Depth of `image` (RGB in [0, 1], sides divisible by `preprocessing.multiple`) in the unit of `kind`.

        `intrinsics` are those of `image` as it is given. A lens of twice the focal length shows a thing as large as at
        half the distance, so depth seen by the canonical camera grows with the focal length (Yin et al. 2023, eq. 2);
        where the camera is not known (None or NaN), it is taken for the canonical one.
        """
        depth = self.forward_canonical(image)
        if self.preprocessing.focal is None or self.kind is not DepthKind.METRIC or intrinsics is None:
            return depth
        zoom = intrinsics[:, :2].prod(1).sqrt() / self.preprocessing.focal
        return depth * zoom.where(zoom > 0, 1.0).to(depth)[:, None, None, None]

    @abstractmethod
    def forward_canonical(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
        """`forward` for the canonical camera, which is the only one that most networks know of."""

    @abstractmethod
    def features(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Return the feature maps that `forward` decodes, finest first, each (B, C, h, w)."""

    def normalize(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Subtract the mean and divide by the standard deviation of the encoder's training images.

        Raises:
            BadInput: a side does not divide by `preprocessing.multiple`.
        """
        multiple = self.preprocessing.multiple
        height, width = image.shape[-2:]
        if height % multiple or width % multiple:
            raise BadInput(
                f"Model {self.name!r} takes sides that divide by {multiple}, not {height} × {width}. "
                "leadline.predict resizes images of any size."
            )
        return (image - self.mean) / self.std


def state_dict_mismatch(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """Say which tensors are missing, surplus or of another shape; empty where `found` fits `expected`."""
    shared = expected.keys() & found.keys()
    misshapen = [f"{key} {found[key]} for {expected[key]}" for key in shared if found[key] != expected[key]]
    return "; ".join(
        f"{len(keys)} {fault} ({', '.join(sorted(keys)[:3])}{', …' if len(keys) > 3 else ''})"
        for fault, keys in (
            ("missing", expected.keys() - found.keys()),
            ("surplus", found.keys() - expected.keys()),
            ("misshapen", misshapen),
        )
        if keys
    )


_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def as_dtype_of(expected: Tensor, found: Tensor, name: str) -> Tensor:
    """Convert a tensor to the dtype of another: floats of any precision where floats belong.

    Args:
        expected: a tensor of the wanted dtype.
        found: the tensor; counts may have become floats.
        name: what the message calls it.

    Raises:
        BadInput: whole or complex numbers where floats belong.
    """
    if found.is_complex() or (expected.is_floating_point() and found.dtype not in _FLOATS):
        raise BadInput(f"{name} holds {found.dtype}, where {expected.dtype} belongs: save or copy the model again.")
    return found.to(expected.dtype)


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Name → shape, as `state_dict_mismatch` compares them."""
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


@contextmanager
def init_on_meta() -> Iterator[None]:
    """Build networks of shapes alone, on the meta device: their weights are not drawn, which would take most of it."""
    with torch.device("meta"), _NothingDrawn():
        yield


class _NothingDrawn(TorchFunctionMode):
    """Random numbers that would fill a tensor of the meta device, which has no memory, are not drawn."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "trunc_normal_"):
            filled = kwargs["tensor"] if "tensor" in kwargs else args[0]
            if filled.is_meta:
                return filled
        return func(*args, **kwargs)
