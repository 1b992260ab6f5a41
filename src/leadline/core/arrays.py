"""Arrays: the shapes of images, depth maps and cameras; NumPy holds them until PyTorch is asked for."""

from collections.abc import Mapping
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float

from leadline.core.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    Side = int
else:
    # A checker at run time then looks at shapes and types of numbers alone, and PyTorch need not be there.
    Tensor = Any
    # Where an exporter traces a network, a size is `torch.SymInt`: whole, but no `int`.
    Side = SupportsIndex

ImageTensor = Float[Tensor, "*batch 3 H W"]
"""RGB in [0, 1]."""


Depth = Float[Tensor, "*batch 1 H W"]
"""Depth in the unit that its `DepthKind` says; along the optical axis, never along the ray."""


Mask = Bool[Tensor, "*batch 1 H W"]
"""True where a depth was measured."""


Intrinsics = Float[Tensor, "*batch 4"]
"""fx, fy, cx, cy in pixels of the image; the centre of the top left pixel is (0, 0). NaN where unknown."""


Confidence = Float[Tensor, "*batch 1 H W"]
"""0 (no weight) to 1."""


def as_array(numbers: "np.ndarray | Tensor") -> np.ndarray:
    """Return a tensor, of any device and whether it learns or not, as an array of the same memory where it can be.

    Half-precision floats, of which NumPy has not all, become float32; an array is returned as it is.
    """
    if isinstance(numbers, np.ndarray):
        return numbers
    tensor = numbers.detach()
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()
    return tensor.cpu().numpy()


def plain(value: Any) -> Any:
    """Return single numbers of NumPy and PyTorch as Python's, in lists, tuples and mappings too, as JSON needs them.

    Args:
        value: anything; arrays and tensors of a dimension or more stay what they are.
    """
    if isinstance(value, np.floating):
        return float(value)  # `item` of a long double is one still
    if isinstance(value, np.generic) or (hasattr(value, "item") and getattr(value, "ndim", None) == 0):
        return value.item()
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return tuple(map(plain, value)) if type(value) is tuple else value


def as_tensor(numbers: "np.ndarray | Tensor") -> "Tensor":
    """Return an array as a tensor of the same memory where it can be; a tensor is returned as it is."""
    if not isinstance(numbers, np.ndarray):
        return numbers
    import torch

    is_shared = numbers.flags.writeable and all(stride >= 0 for stride in numbers.strides)
    return torch.from_numpy(numbers if is_shared else numbers.copy())


def tensor_field(default: Any = MISSING) -> Any:
    """Return a field of a frozen dataclass that is set with a tensor or an array, and read as a tensor.

    PyTorch, which takes seconds to import, is imported when the field is first read; `held(instance, name)` reads what
    was set.
    """
    return _TensorField(default)


def held(instance: object, name: str) -> Any:
    """Return what a `tensor_field` was set with: a tensor, an array or None."""
    return vars(instance)[name]


class _TensorField:
    """A descriptor that keeps its value in the instance under its own name."""

    def __init__(self, default: Any) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            if self.default is MISSING:
                raise AttributeError(self.name)  # tells the dataclass that there is no default
            return self.default
        values = vars(instance)
        if values[self.name] is not None:
            values[self.name] = as_tensor(values[self.name])
        return values[self.name]

    def __set__(self, instance: object, value: Any) -> None:
        if np.ma.is_masked(value):
            raise BadInput(
                f"{self.name} is a masked array, whose mask would be lost: give {self.name}.filled(0), and ~mask as "
                "`valid`."
            )
        vars(instance)[self.name] = value
