"""Prediction: an image of any size → depth of that size."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leadline.models import DepthModel
from leadline.models.base import Interpolation
from leadline.sample import Depth, Image, Kind


@torch.inference_mode()
def predict(model: DepthModel, image: Image) -> Depth:
    """The depth of one image (3, H, W) or of a batch (B, 3, H, W), at its own size, in the unit of `model.kind`.

    The image is resized as the model's preprocessing says and the answer resized back, so H and W may be anything.
    The model computes in evaluation mode, on the device that it is on, and the answer comes back to the image's.
    """
    images = image if image.ndim == 4 else image[None]
    height, width = images.shape[-2:]
    rule = model.preprocessing
    fitted = _resized(images.to(next(model.parameters()).device), rule.size_for(height, width), rule.interpolation)
    was_training = model.training
    model.eval()
    try:
        answer = model(fitted).float()
    finally:
        model.train(was_training)
    depth = _resized(answer, (height, width), rule.restore).to(image.device)
    if model.kind is not Kind.RELATIVE:
        # Cubic interpolation overshoots at edges, and nothing is nearer than zero.
        depth = depth.clamp_min(answer.min().item())
    return depth if image.ndim == 4 else depth[0]


def _resized(
    images: Float[Tensor, "B C h w"], size: tuple[int, int], interpolation: Interpolation
) -> Float[Tensor, "B C H W"]:
    if images.shape[-2:] == size:
        return images
    match interpolation:
        case "area":
            return F.interpolate(images, size, mode="area")
        case "cubic":
            return F.interpolate(images, size, mode="bicubic", align_corners=False)
        case "bilinear":
            return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
