"""Predict the depth of tensors of any size: resize them for the network, run it, and resize its depth back."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leadline.core.arrays import Depth, ImageTensor, Intrinsics, Side, as_array
from leadline.core.camera import crop_intrinsics, resize_intrinsics
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.threads import let_forks_use_one_thread
from leadline.inference.backends import ExportedModel
from leadline.models.base import DepthModel
from leadline.models.preprocessing import Interpolation


def predict_tensor(
    model: DepthModel | ExportedModel,
    image: ImageTensor,
    intrinsics: Intrinsics | None = None,
    *,
    scale: float = 1.0,
) -> Depth:
    """Predict the depth of an image (3, H, W) or of a batch (B, 3, H, W) at its own size, in the unit of `model.kind`.

    The image is resized as the model's preprocessing says and the output resized back, so H and W may be anything.
    A model of PyTorch computes in evaluation mode, on the device that it is on; an exported file on the CPU, and sees 8
    bits a channel.

    Args:
        model: the model.
        image: (3, H, W) or (B, 3, H, W), RGB in [0, 1].
        intrinsics: (4,) or (B, 4) fx, fy, cx, cy in pixels of the image, NaN or None where unknown. A model with a
            canonical camera predicts metres more accurately with them (see `DepthModel.forward`).
        scale: factor on the sides of the network's input, for the mean over scales.

    Returns:
        (1, H, W) or (B, 1, H, W) on the device of the image.

    Raises:
        BadInput: another scale than 1 of an exported file, whose input size is fixed.
    """
    let_forks_use_one_thread()
    images = image if image.ndim == 4 else image[None]
    cameras = None if intrinsics is None else intrinsics.expand(len(images), 4)
    if isinstance(model, ExportedModel):
        if scale != 1:
            raise BadInput(f"{model.name} is an exported file, whose input size is fixed: leave out other scales.")
        known = [None] * len(images) if cameras is None else list(as_array(cameras))
        measured = model.measure(list(as_array(images).transpose(0, 2, 3, 1)), known)
        depth = torch.from_numpy(measured).to(image.device)
    else:
        depth, _ = predict_scored(model, images, cameras, scale=scale)
    return depth if image.ndim == 4 else depth[0]


def predict_scored(
    model: DepthModel, images: ImageTensor, intrinsics: Intrinsics | None = None, *, scale: float = 1.0
) -> tuple[Depth, Float[Tensor, "B"] | None]:
    """Predict as `predict_tensor` does, and say from the same pass how far each image is from what the model learnt.

    Args:
        model: the model.
        images: (B, 3, H, W), RGB in [0, 1].
        intrinsics: (B, 4), as for `predict_tensor`.
        scale: as for `predict_tensor`.

    Returns:
        The depth (B, 1, H, W), and a score for each image as `DepthModel.forward_scored` returns it, or None, on the
        device of the images.
    """
    let_forks_use_one_thread()
    with torch.inference_mode():
        return _run(model, images, intrinsics, scale)


def interpolate(
    images: Float[Tensor, "B C h w"], size: tuple[Side, Side], interpolation: Interpolation
) -> Float[Tensor, "B C H W"]:
    """Resize images, or depth, as `Preprocessing` names it; see `leadline.models.preprocessing.Interpolation`.

    Args:
        images: (B, C, h, w), in [0, 1] where they are images.
        size: the new height and width in pixels.
        interpolation: how.
    """
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


def _run(
    model: DepthModel, images: ImageTensor, intrinsics: Intrinsics | None, scale: float
) -> tuple[Depth, Float[Tensor, "B"] | None]:
    """Resize images for a network, run it, and resize its depth back."""
    place = images.device
    height, width = images.shape[-2:]
    rule = model.preprocessing
    rows, columns = rule.margin_for(height, width)
    whole = (height + 2 * rows, width + 2 * columns)
    weights = next(model.parameters())
    images = images.to(weights.device)
    if rows or columns:
        images = F.pad(images, (columns, columns, rows, rows), mode="reflect")
    size = rule.size_for(*whole, scale)
    fitted = _resized(images, size, rule.interpolation).to(weights.dtype)
    camera = None
    if intrinsics is not None:
        camera = resize_intrinsics(crop_intrinsics(intrinsics, -rows, -columns), whole, size).to(images.device)
    was_training = model.training
    model.eval()
    try:
        output, scores = model.forward_scored(fitted, camera)
    finally:
        model.train(was_training)
    output = output.float()
    restored = _resized(output, whole, rule.restore)
    depth = restored[..., rows : rows + height, columns : columns + width].to(place)
    if model.kind is not DepthKind.RELATIVE:
        # Cubic interpolation overshoots at edges, and nothing is nearer than zero.
        nearest = output.nan_to_num(nan=torch.inf).amin((1, 2, 3), keepdim=True)
        torch.maximum(depth, nearest.to(place), out=depth)
    return depth, None if scores is None else scores.to(place)


def _resized(
    images: Float[Tensor, "B C h w"], size: tuple[Side, Side], interpolation: Interpolation
) -> Float[Tensor, "B C H W"]:
    return images if images.shape[-2:] == size else interpolate(images, size, interpolation)
