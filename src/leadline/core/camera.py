"""Pinhole cameras: focal lengths and intrinsics in pixels."""

import math

import torch

from leadline.core.sample import Depth, ImageTensor, Intrinsics


def pinhole(focal: float, image: ImageTensor | Depth) -> Intrinsics:
    """A camera of this focal length, in pixels of the image or the depth map, that looks through its middle."""
    height, width = image.shape[-2:]
    return torch.tensor([focal, focal, (width - 1) / 2, (height - 1) / 2])


def focal_length(field_of_view: float, width: int) -> float:
    """Pixels, of a camera that sees so many degrees from the left edge to the right one."""
    return width / 2 / math.tan(math.radians(field_of_view) / 2)
