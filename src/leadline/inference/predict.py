"""Predict the depth of an image of any size."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leadline.core.depth_kind import DepthKind
from leadline.core.sample import Depth, ImageTensor, Intrinsics
from leadline.models.base import DepthModel, Interpolation


@torch.inference_mode()
def predict_tensor(model: DepthModel, image: ImageTensor, intrinsics: Intrinsics | None = None) -> Depth:
    """The depth of one image (3, H, W) or of a batch (B, 3, H, W), at its own size, in the unit of `model.kind`.

    The image is resized as the model's preprocessing says and the answer resized back, so H and W may be anything.
    `intrinsics`, (4,) or (B, 4), are the cameras' in pixels of the image: models with a canonical camera measure better
    with them (see `DepthModel.forward`).
    The model computes in evaluation mode, on the device that it is on, and the answer comes back to the image's.
    """
    images = image if image.ndim == 4 else image[None]
    height, width = images.shape[-2:]
    rule = model.preprocessing
    rows, columns = rule.margin_for(height, width)
    whole = (height + 2 * rows, width + 2 * columns)
    images = images.to(next(model.parameters()).device)
    if rows or columns:
        images = F.pad(images, (columns, columns, rows, rows), mode="reflect")
    size = rule.size_for(*whole)
    fitted = _resized(images, size, rule.interpolation)
    was_training = model.training
    model.eval()
    try:
        answer = model(fitted, None if intrinsics is None else _intrinsics_at(size, whole, intrinsics, images)).float()
    finally:
        model.train(was_training)
    restored = _resized(answer, whole, rule.restore)
    depth = restored[..., rows : rows + height, columns : columns + width].to(image.device)
    if model.kind is not DepthKind.RELATIVE:
        # Cubic interpolation overshoots at edges, and nothing is nearer than zero.
        nearest = answer.nan_to_num(nan=torch.inf).amin((1, 2, 3), keepdim=True)
        depth = depth.maximum(nearest.to(image.device))
    return depth if image.ndim == 4 else depth[0]


def _intrinsics_at(
    size: tuple[int, int], whole: tuple[int, int], intrinsics: Intrinsics, images: Tensor
) -> Float[Tensor, "B 4"]:
    """The intrinsics of images of `whole` height and width, resized to `size`; the principal point is not known."""
    y_scale, x_scale = size[0] / whole[0], size[1] / whole[1]
    scale = torch.tensor([x_scale, y_scale, torch.nan, torch.nan])
    return (intrinsics.cpu() * scale).expand(len(images), 4).to(images.device)


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
        case "cubic_smooth":
            return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        case "bilinear":
            return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        case "bilinear_sharp":
            return F.interpolate(images, size, mode="bilinear", align_corners=False)
        case "bilinear_corners":
            return F.interpolate(images, size, mode="bilinear", align_corners=True)
        case "bilinear_inverse":
            return 1 / F.interpolate(1 / images, size, mode="bilinear", align_corners=False)
