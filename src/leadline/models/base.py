"""DepthModel: what every network promises, its kind, its preprocessing and where its weights come from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, check_type
from leadline.models.preprocessing import FREE_LICENCES as FREE_LICENCES
from leadline.models.preprocessing import IMAGENET_MEAN as IMAGENET_MEAN
from leadline.models.preprocessing import IMAGENET_STD as IMAGENET_STD
from leadline.models.preprocessing import Interpolation as Interpolation
from leadline.models.preprocessing import Preprocessing as Preprocessing
from leadline.models.preprocessing import Provenance as Provenance
from leadline.models.preprocessing import Resize as Resize

SideOutputs = Mapping[str, Tensor]
"""What a network computes beside depth, by name: attention maps, probabilities, the depth of other levels."""


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

    side_outputs: frozenset[str] = frozenset()
    """Names of what `forward_with_sides` returns beside depth."""
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
        self.weight_bits: int | None = None
        """Bits of the whole numbers that the weights are saved as; None: they are floats."""
        self.defaults: Mapping[str, Any] = dict(defaults or {})
        self._spec = spec
        self.focal_power: nn.Parameter | None = None
        """To which power depth follows the focal length, learned; None: to the first."""
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
        """Take `preprocessing` as the model's own; the only way to change it.

        Raises:
            BadInput: restoring by the photograph's edges, of relative depth or of a network with odd sides.
        """
        if preprocessing.restore == "guided" and (self.kind is DepthKind.RELATIVE or preprocessing.multiple % 2):
            raise BadInput(
                'restore="guided" takes the logarithm of depth, and halves it: it is for metric and scale-free '
                "networks whose sides are even."
            )
        self.preprocessing = preprocessing
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            # On the CPU even where weights are not drawn yet (the meta device): no file brings these.
            column = torch.tensor(values, device="cpu").view(3, 1, 1)
            self.register_buffer(name, column, persistent=False)

    def learn_focal_power(self) -> None:
        """Let depth follow the focal length to a power that is learned, from 0.5 on, instead of to the first."""
        self.focal_power = nn.Parameter(torch.tensor(0.5))

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
        where the camera is not known (None or NaN), it is taken for the canonical one. A network built with
        `camera=learned` follows the focal length to a power that it learned: what it knows of the size of things moves
        with the lens, what it knows of the size of rooms does not.
        """
        return self.forward_scored(image, intrinsics)[0]

    def zoom(self, intrinsics: Float[Tensor, "B 4"] | None) -> Float[Tensor, "B 1 1 1"] | None:
        """Return the factor from the canonical camera's metres to those of these cameras; None where it is 1."""
        if self.preprocessing.focal is None or self.kind is not DepthKind.METRIC or intrinsics is None:
            return None
        zoom = intrinsics[:, :2].prod(1).sqrt() / self.preprocessing.focal
        zoom = zoom.where(zoom > 0, 1.0)[:, None, None, None]
        return zoom if self.focal_power is None else zoom**self.focal_power

    def forward_with_sides(
        self, image: Float[Tensor, "B 3 H W"], intrinsics: Float[Tensor, "B 4"] | None = None
    ) -> tuple[Float[Tensor, "B 1 H W"], SideOutputs]:
        """Return depth as `forward` does, and the side outputs that losses of some networks compare; most have none.

        Args:
            image: as for `forward`.
            intrinsics: as for `forward`.
        """
        return self(image, intrinsics), {}

    def forward_scored(
        self, image: Float[Tensor, "B 3 H W"], intrinsics: Float[Tensor, "B 4"] | None = None
    ) -> tuple[Float[Tensor, "B 1 H W"], Float[Tensor, "B"] | None]:
        """Return depth as `forward` does, and from the same pass how far each image is from what the network learnt.

        Args:
            image: as for `forward`.
            intrinsics: as for `forward`.

        Returns:
            The depth, and a score between 0 and 1 for each image, above `MOST_IN_SCOPE` where the depth is not to be
            trusted; None: the network has no scope head and says nothing.
        """
        depth, scores = self.forward_canonical_scored(image)
        zoom = self.zoom(intrinsics)
        return depth if zoom is None else depth * zoom.to(depth), scores

    def forward_canonical_scored(
        self, image: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B 1 H W"], Float[Tensor, "B"] | None]:
        """`forward_scored` for the canonical camera; networks without a scope head return no scores."""
        return self.forward_canonical(image), None

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


def check_model(model: object) -> None:
    """Refuse what is no network of PyTorch, such as a name.

    Raises:
        BadInput: it is none; the error says how to open one.
    """
    cure = 'leadline.load("…") opens a trained one, leadline.build("…") an untrained one'
    check_type(model, DepthModel, "network", cure)


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
