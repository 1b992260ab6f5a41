"""Compile a network for training, and check that the compiled one computes the same."""

import copy

import torch
from torch import Tensor, nn

from leadline.core.errors import BadInput, first_line
from leadline.models.base import DepthModel

TOLERANCE = 1e-3
"""How far outputs (of their range) and gradients (of their norm) of the compiled network may be from the eager ones."""


def compile_checked(model: DepthModel) -> None:
    """Compile a network in place, after a compiled copy gave the outputs and the gradients of the eager one.

    Both see the same random images of the network's own size, in evaluation mode, where nothing is random.

    Args:
        model: the network, on the device that it learns on.

    Raises:
        BadInput: it cannot be compiled here, or computes something else.
    """
    twin = copy.deepcopy(model).eval()
    place = next(twin.parameters()).device
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, *model.preprocessing.size, generator=generator).to(place)
    eager = _outputs(twin, images)
    twin.compile()
    try:
        compiled = _outputs(twin, images)
    # The compiler's faults are of many types: a missing C++ compiler is among them.
    except Exception as problem:
        raise BadInput(
            f"{model.name} cannot be compiled here ({first_line(problem)}): leave --compile out."
        ) from problem
    for what, own, other in zip(("outputs", "gradients"), eager, compiled, strict=True):
        scale = (own.max() - own.min()) if what == "outputs" else own.norm()
        apart = ((own - other).abs().max() if what == "outputs" else (own - other).norm()) / scale.clamp(min=1e-12)
        if not apart <= TOLERANCE:
            raise BadInput(
                f"The {what} of {model.name} change by {float(apart):.1e} when it is compiled, more than "
                f"{TOLERANCE:g}: leave --compile out."
            )
    model.compile()


def _outputs(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the depth of images, and the gradient of its mean by all weights."""
    depth = model(images)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(depth.mean(), learning, allow_unused=True)
    known = [gradient.flatten() for gradient in gradients if gradient is not None]
    return depth.detach().flatten(), torch.cat(known)
