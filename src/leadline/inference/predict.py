"""Predict the depth of photographs of any size, given as files, pictures, arrays or tensors."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jaxtyping import Float
from PIL import Image
from PIL.ImageFile import ImageFile

from leadline.core.arrays import Depth, ImageTensor, Intrinsics, Tensor, as_array
from leadline.core.camera import (
    centered_camera,
    crop_intrinsics,
    explain_impossible_camera,
    intrinsics_of_matrix,
    resize_intrinsics,
)
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.inference.backends import ExportedModel, Predictor
from leadline.inference.session import load_predictor
from leadline.io.depth_maps import DepthMap
from leadline.io.exif import CameraInfo
from leadline.io.images import Photograph, decode_photograph, read_photograph
from leadline.models.preprocessing import Interpolation

if TYPE_CHECKING:
    from leadline.models.base import DepthModel
else:
    # PyTorch takes seconds to import, and exported files need none.
    DepthModel = Any


def predict(
    model: "DepthModel | ExportedModel | StrPath",
    image: "StrPath | Image.Image | np.ndarray | Tensor",
    intrinsics: "Tensor | np.ndarray | Sequence[float] | None" = None,
) -> DepthMap:
    """Predict the depth of one photograph.

    Args:
        model: a model, or what `leadline.load` takes: a folder, a checkpoint, an exported file or a name. For many
            photographs load it once. A model of PyTorch computes on the device that it is on, in evaluation mode;
            exported files, and the package's own model by its name, see 8 bits a channel, on the CPU.
        image: the path of a photograph, a Pillow image (both are turned upright as their EXIF says), an array of shape
            (H, W, 3), RGB, or (H, W), grey, or a tensor of shape (3, H, W), RGB. Numbers are 8- or 16-bit integers
            without sign, or floats in [0, 1]. OpenCV's arrays are BGR: pass `image[..., ::-1]`.
        intrinsics: fx, fy, cx, cy in pixels of the photograph, the centre of the first pixel being (0, 0), or the
            camera's 3 × 3 matrix. Unset: what EXIF says, of a path and of what `PIL.Image.open` returned; a picture
            that was edited in memory, an array or a tensor has none.

    Returns:
        The depth at the photograph's own size, in the unit of `model.kind`, valid where the model outputs depth.
        `provenance["camera"]` states where the camera came from: `given`, `from EXIF …` or `unknown`.

    Raises:
        BadInput: no such model or file, an image of another shape or range of values, or an impossible camera.
        UnreadableFile: the file is no photograph.
    """
    predictor = _predictor(model, image)
    photo = _photograph(image)
    if intrinsics is not None:
        photo = replace(photo, camera=_given_camera(intrinsics, photo))
    depth = predictor.measure([photo.pixels], [photo.camera.numbers])[0]
    if photo.is_reduced:
        depth = cv2.resize(depth[0], photo.size[::-1], interpolation=cv2.INTER_LINEAR)[None]
    known = np.isfinite(depth) if predictor.kind is DepthKind.RELATIVE else np.isfinite(depth) & (depth > 0)
    provenance = {
        "model": predictor.name,
        "trained_on": predictor.provenance.training_data or "nothing",
        "camera": photo.camera.source,
        **({"doubts": " ".join(photo.camera.doubts)} if photo.camera.doubts else {}),
    }
    return DepthMap(depth, known, predictor.kind, photo.full_camera, provenance)


def predict_tensor(
    model: "DepthModel | ExportedModel", image: ImageTensor, intrinsics: Intrinsics | None = None
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

    Returns:
        (1, H, W) or (B, 1, H, W) on the device of the image.
    """
    import torch

    images = image if image.ndim == 4 else image[None]
    cameras = None if intrinsics is None else intrinsics.expand(len(images), 4)
    if isinstance(model, ExportedModel):
        known = [None] * len(images) if cameras is None else list(as_array(cameras))
        measured = model.measure(list(as_array(images).transpose(0, 2, 3, 1)), known)
        depth = torch.from_numpy(measured).to(image.device)
    else:
        with torch.inference_mode():
            depth = _run(model, images, cameras)
    return depth if image.ndim == 4 else depth[0]


def _run(model: DepthModel, images: ImageTensor, intrinsics: Intrinsics | None) -> Depth:
    """Resize images for a network, run it, and resize its depth back."""
    import torch
    from torch.nn import functional as F

    place = images.device
    height, width = images.shape[-2:]
    rule = model.preprocessing
    rows, columns = rule.margin_for(height, width)
    whole = (height + 2 * rows, width + 2 * columns)
    weights = next(model.parameters())
    images = images.to(weights.device)
    if rows or columns:
        images = F.pad(images, (columns, columns, rows, rows), mode="reflect")
    size = rule.size_for(*whole)
    fitted = _resized(images, size, rule.interpolation).to(weights.dtype)
    camera = None
    if intrinsics is not None:
        camera = resize_intrinsics(crop_intrinsics(intrinsics, -rows, -columns), whole, size).to(images.device)
    was_training = model.training
    model.eval()
    try:
        output = model(fitted, camera).float()
    finally:
        model.train(was_training)
    restored = _resized(output, whole, rule.restore)
    depth = restored[..., rows : rows + height, columns : columns + width].to(place)
    if model.kind is not DepthKind.RELATIVE:
        # Cubic interpolation overshoots at edges, and nothing is nearer than zero.
        nearest = output.nan_to_num(nan=torch.inf).amin((1, 2, 3), keepdim=True)
        torch.maximum(depth, nearest.to(place), out=depth)
    return depth


def _predictor(model: object, image: object) -> Predictor:
    """Return what runs a model, whatever it is given as."""
    if isinstance(model, ExportedModel):
        return model
    if isinstance(model, str | os.PathLike) and not _is_model(image):
        return load_predictor(os.fspath(model), says=False)
    if _is_model(image) or not _is_model(model):
        raise BadInput(f"No model is {_named(model)}: predict(model, image) takes the model first.")
    from leadline.inference.torch_backend import TorchPredictor

    return TorchPredictor(model)  # type: ignore[arg-type]


def _is_model(thing: object) -> bool:
    return isinstance(thing, ExportedModel) or hasattr(thing, "forward_canonical")


def _photograph(image: Any) -> Photograph:
    """Convert an image of any accepted type to what reading it from a file returns."""
    if isinstance(image, str | os.PathLike):
        return read_photograph(image)
    if isinstance(image, Image.Image):
        photo = decode_photograph(image, "The image")
        # A picture that was cropped, turned or resized in memory keeps the EXIF of the original.
        return photo if isinstance(image, ImageFile) else replace(photo, camera=CameraInfo(None))
    if isinstance(image, np.ndarray):
        pixels = _from_array(image)
    elif hasattr(image, "is_floating_point"):
        pixels = _from_tensor(image)
    else:
        raise BadInput(f"No image is {_named(image)}: give one path, Pillow image, NumPy array or torch tensor.")
    return Photograph(pixels, (pixels.shape[0], pixels.shape[1]), CameraInfo(None))


def _from_array(array: np.ndarray) -> np.ndarray:
    """Check (H, W, 3) or (H, W) numbers, and convert them to what a `Photograph` holds."""
    if advice := _advice_on_shape(array.shape, channels=-1):
        raise BadInput(f"An array of shape {array.shape} is no photograph (H, W, 3) or (H, W): {advice}.")
    if array.dtype.kind not in "fu":
        raise BadInput(_wrong_type(array.dtype))
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is refused as such
        native = np.array(array, dtype=np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("="))
    return _in_unit_range(native)


def _from_tensor(tensor: Tensor) -> np.ndarray:
    """Check (3, H, W) numbers, and convert them to what a `Photograph` holds."""
    if advice := _advice_on_shape(tensor.shape, channels=0):
        raise BadInput(f"A tensor of shape {tuple(tensor.shape)} is no photograph (3, H, W): {advice}.")
    array = as_array(tensor)
    if array.dtype.kind not in "fu":
        raise BadInput(_wrong_type(tensor.dtype))
    return _in_unit_range(array.transpose(1, 2, 0).astype(np.float32 if array.dtype.kind == "f" else array.dtype))


def _advice_on_shape(shape: Sequence[int], *, channels: int) -> str:
    """Say what to do about a shape whose three channels are not at the index `channels`; return "" if they are."""
    is_array = channels == -1
    if 0 in shape:
        return "it has no pixels"
    if len(shape) == 4:
        return "give one image at a time, or a batch (B, 3, H, W) to leadline.predict_tensor"
    if len(shape) == 2:
        return "" if is_array else "repeat grey, tensor.expand(3, -1, -1)"
    if len(shape) != 3:
        return "give one photograph"
    if shape[0] == shape[-1] == 3:
        return "its channels may come first or last; give a Pillow image, or one of another size"
    if shape[channels] == 3:
        return ""
    if shape[-1 - channels] == 3:
        return (
            "put the channels last, array.transpose(1, 2, 0)"
            if is_array
            else "put the channels first, permute(2, 0, 1)"
        )
    if shape[channels] == 4:
        return "leave the fourth channel out, or give a Pillow image, whose transparency is drawn on white"
    if shape[channels] == 1:
        return "give grey as (H, W), array[..., 0]" if is_array else "repeat grey, tensor.expand(3, -1, -1)"
    return "give its red, green and blue"


def _in_unit_range(pixels: np.ndarray) -> np.ndarray:
    """Return 8- or 16-bit integers without sign, or floats in [0, 1], and refuse others."""
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if pixels.dtype.kind != "f":
        raise BadInput(_wrong_type(pixels.dtype))
    low, high = float(pixels.min()), float(pixels.max())  # NaN if one number is
    if low >= 0 and high <= 1:
        return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    if not np.isfinite(pixels).all():
        raise BadInput("The image holds NaN or infinite numbers: give floats in [0, 1].")
    seems = "divide by 255, or give 8-bit integers" if low >= 0 and 1 < high <= 255 else "give floats in [0, 1]"
    raise BadInput(f"The image's floats go from {low:g} to {high:g}, and must be in [0, 1]: {seems}.")


def _wrong_type(dtype: object) -> str:
    return f"The image's numbers are {dtype}: give uint8, uint16 or floats in [0, 1]."


def _named(thing: object) -> str:
    return f"of type {type(thing).__name__}"


def _given_camera(intrinsics: Any, photo: Photograph) -> CameraInfo:
    """Check a camera in pixels of the photograph in its file, and convert it to pixels of the image as it was read."""
    try:
        numbers = (as_array(intrinsics) if hasattr(intrinsics, "detach") else np.asarray(intrinsics)).astype(np.float32)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise BadInput(f"Intrinsics {intrinsics!r} are no numbers: give fx, fy, cx, cy in pixels.") from problem
    if numbers.shape == (3, 3):
        numbers = np.array(intrinsics_of_matrix(numbers), np.float32)
    if numbers.shape != (4,):
        raise BadInput(f"Intrinsics of shape {tuple(numbers.shape)}: give fx, fy, cx, cy, or the 3 × 3 matrix.")
    middle = np.array([np.nan, np.nan, *centered_camera(1.0, photo.size)[2:]], np.float32)
    camera = np.where(np.isnan(numbers), middle, numbers)
    if fault := explain_impossible_camera(camera.tolist(), photo.size):
        raise BadInput(f"{fault[0].upper()}{fault[1:]}.")
    return CameraInfo(resize_intrinsics(camera, photo.size, photo.shape), "given")


def _resized(
    images: Float[Tensor, "B C h w"], size: tuple[int, int], interpolation: Interpolation
) -> Float[Tensor, "B C H W"]:
    return images if images.shape[-2:] == size else interpolate(images, size, interpolation)


def interpolate(
    images: Float[Tensor, "B C h w"], size: tuple[int, int], interpolation: Interpolation
) -> Float[Tensor, "B C H W"]:
    """Resize images, or depth, as `Preprocessing` names it; see `leadline.models.preprocessing.Interpolation`.

    Args:
        images: (B, C, h, w), in [0, 1] where they are images.
        size: the new height and width in pixels.
        interpolation: how.
    """
    from torch.nn import functional as F

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
