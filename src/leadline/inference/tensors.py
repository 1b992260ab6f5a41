"""Predict the depth of tensors of any size: resize them for the network, run it, and resize its depth back."""

from collections.abc import Sequence
from math import isnan

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leadline.core.arrays import Depth, ImageTensor, Intrinsics, Side, as_array
from leadline.core.camera import centered_camera, crop_intrinsics, explain_impossible_camera, resize_intrinsics
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, as_sentence, check_type
from leadline.core.image_checks import ROUNDING, advice_on_channels, explain_range, wrong_type
from leadline.core.ranges import Within, check_value
from leadline.core.threads import let_forks_use_one_thread
from leadline.inference.backends import ExportedModel
from leadline.inference.guided import restore_guided
from leadline.models.base import DepthModel
from leadline.models.preprocessing import Interpolation, Restoring


def predict_tensor(
    model: DepthModel | ExportedModel,
    image: Tensor,
    intrinsics: "Tensor | np.ndarray | Sequence[float] | Sequence[Sequence[float]] | None" = None,
    *,
    scale: float = 1.0,
) -> Depth:
    """Predict the depth of an image (3, H, W) or of a batch (B, 3, H, W) at its own size, in the unit of `model.kind`.

    The image is resized as the model's preprocessing says and the output resized back, so H and W may be anything.
    A model of PyTorch computes in evaluation mode, on the device that it is on; an exported file on the CPU, and sees 8
    bits a channel.

    Args:
        model: the model.
        image: (3, H, W) or (B, 3, H, W), RGB; floats in [0, 1], or 8- or 16-bit integers without sign.
        intrinsics: (4,) or (B, 4) fx, fy, cx, cy in pixels of the image, rows of NaN where unknown; None: all are. A
            model with a canonical camera predicts metres more accurately with them (see `DepthModel.forward`).
        scale: factor on the sides of the network's input, 0.1 to 10, for the mean over scales.

    Returns:
        (1, H, W) or (B, 1, H, W) on the device of the image.

    Raises:
        BadInput: no model, an image of another type, shape or range of values, an impossible camera, or another scale
            than 1 of an exported file, whose input size is fixed.
    """
    let_forks_use_one_thread()
    check_predictor(model)
    check_value("scale", scale, [Within(0.1, 10)])
    images = _as_photographs(image)
    cameras = None if intrinsics is None else _as_cameras(intrinsics, images)
    if isinstance(model, ExportedModel):
        if scale != 1:
            raise BadInput(f"{model.name} is an exported file, whose input size is fixed: leave out other scales.")
        known = [None] * len(images) if cameras is None else list(as_array(cameras))
        measured = model.measure(list(as_array(images).transpose(0, 2, 3, 1)), known)
        depth = torch.from_numpy(measured).to(image.device)
    else:
        depth, _ = predict_scored(model, images, cameras, scale=scale)
    return depth if image.ndim == 4 else depth[0]


def check_predictor(model: object) -> None:
    """Refuse what is neither a network nor an exported file that was opened, such as a name.

    Raises:
        BadInput: it is none; the error says how to open one.
    """
    check_type(model, DepthModel | ExportedModel, "model", 'leadline.load("…") opens one')


def _as_photographs(image: Tensor) -> Float[Tensor, "B 3 H W"]:
    """Check (3, H, W) or (B, 3, H, W) numbers, and return a batch of floats in [0, 1]."""
    check_type(image, Tensor, "tensor", "leadline.predict takes files, Pillow images and arrays")
    if image.layout is not torch.strided or image.is_meta:
        raise BadInput(f"The image is a tensor without pixels ({image.layout}, {image.device}): give a dense one.")
    shape = tuple(image.shape)
    is_batch = len(shape) == 4
    if (not is_batch and len(shape) != 3) or 0 in shape:
        raise BadInput(f"A tensor of shape {shape} is neither {_PHOTOGRAPHS}.")
    if shape[-3] != 3:
        advice = advice_on_channels(shape[-3:], channels=0)
        if is_batch:
            advice = advice.replace("permute(2, 0, 1)", "permute(0, 3, 1, 2)")
        raise BadInput(f"A tensor of shape {shape} is neither {_PHOTOGRAPHS}: {advice}.")
    if image.dtype in _LARGEST:
        image = image.float() / _LARGEST[image.dtype]
    elif image.dtype not in _FLOATS:
        raise BadInput(wrong_type(image.dtype))
    else:
        image = image.detach() if image.element_size() >= 4 else image.detach().float()
        low, high = (each.item() for each in image.aminmax())
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            raise BadInput(explain_range(low, high))
    return image if is_batch else image[None]


_PHOTOGRAPHS = "a photograph (3, H, W) nor a batch (B, 3, H, W)"
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LARGEST = {torch.uint8: 255, torch.uint16: 65535}
"""The number of white."""


def _as_cameras(
    intrinsics: "Tensor | np.ndarray | Sequence[float] | Sequence[Sequence[float]]", images: Float[Tensor, "B 3 H W"]
) -> Float[Tensor, "B 4"]:
    """Check the cameras of a batch, one for all or one for each."""
    advice = "give fx, fy, cx, cy in pixels, (4,) or (B, 4)"
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            numbers = intrinsics if isinstance(intrinsics, Tensor) else np.array(intrinsics, np.float32)
        cameras = torch.as_tensor(numbers, dtype=torch.float32).to(images.device)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise BadInput(f"Intrinsics {intrinsics!r:.80} are no numbers: {advice}.") from problem
    if tuple(cameras.shape) not in ((4,), (1, 4), (len(images), 4)):
        raise BadInput(f"Intrinsics of shape {tuple(cameras.shape)} for {len(images)} images: {advice}.")
    size = (images.shape[-2], images.shape[-1])
    for fx, fy, *middle in cameras.view(-1, 4).tolist():
        if isnan(fx) and isnan(fy):
            continue  # an unknown camera
        usual = centered_camera(fx, size)[2:]
        principal = [usual[place] if isnan(number) else number for place, number in enumerate(middle)]
        if fault := explain_impossible_camera([fx, fy, *principal], size, is_crop=True):
            raise BadInput(as_sentence(fault))
    return cameras.expand(len(images), 4)


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
    restored = restore(output, fitted.float(), images, rule.restore)
    depth = restored[..., rows : rows + height, columns : columns + width].to(place)
    if model.kind is not DepthKind.RELATIVE:
        # Cubic interpolation overshoots at edges, and nothing is nearer than zero.
        nearest = output.nan_to_num(nan=torch.inf).amin((1, 2, 3), keepdim=True)
        torch.maximum(depth, nearest.to(place), out=depth)
    return depth, None if scores is None else scores.to(place)


def restore(
    depth: Float[Tensor, "B 1 h w"],
    seen: Float[Tensor, "B 3 h w"],
    photograph: Float[Tensor, "B 3 H W"],
    how: Restoring,
) -> Float[Tensor, "B 1 H W"]:
    """Bring a network's depth back to the size of its photographs.

    Args:
        depth: (B, 1, h, w).
        seen: (B, 3, h, w), the photographs as the network saw them.
        photograph: (B, 3, H, W), the photographs.
        how: as `Preprocessing.restore` names it.
    """
    if how == "guided":
        return restore_guided(depth, seen, photograph)
    return _resized(depth, (photograph.shape[-2], photograph.shape[-1]), how)


def _resized(
    images: Float[Tensor, "B C h w"], size: tuple[Side, Side], interpolation: Interpolation
) -> Float[Tensor, "B C H W"]:
    if images.shape[-2:] == size:
        return images
    if size[1] == 1:
        # PyTorch 2.15 smooths to a single column of one number; to a single row it does it rightly.
        return interpolate(images.mT.contiguous(), (1, size[0]), interpolation).mT
    return interpolate(images, size, interpolation)
