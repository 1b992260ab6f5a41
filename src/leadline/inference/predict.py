"""Predict the depth of photographs of any size, given as files, pictures, arrays or tensors."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import cv2
import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from leadline.core.arrays import Tensor, as_array
from leadline.core.camera import centered_camera, intrinsics_of_matrix
from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, unknown
from leadline.core.image_checks import advice_on_channels, explain_range, wrong_type
from leadline.core.paths import StrPath
from leadline.inference.backends import Predictor, scope_words
from leadline.inference.given_camera import given_camera
from leadline.inference.session import as_predictor, load_predictor
from leadline.io.depth_maps import DepthMap
from leadline.io.exif import CameraInfo, Panorama, read_orientation
from leadline.io.images import Photograph, decode_photograph, read_exif, read_photograph
from leadline.io.outputs import check_not_ours

if TYPE_CHECKING:
    from leadline.models.base import DepthModel
else:
    # PyTorch takes seconds to import, and exported files need none.
    DepthModel = Any


def predict(
    model: "DepthModel | Predictor | StrPath",
    image: "StrPath | Image.Image | np.ndarray | Tensor",
    intrinsics: "Tensor | np.ndarray | Sequence[float] | None" = None,
    *,
    panorama: Panorama = "refuse",
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
        panorama: "refuse" a path or an opened picture whose metadata calls it a panorama, which no pinhole camera
            takes, or measure it as if it were "flat".

    Returns:
        The depth at the photograph's own size, in the unit of `model.kind`, valid where the model outputs depth.
        `provenance["camera"]` states where the camera came from: `given`, `from EXIF …` or `unknown`. A network with a
        scope head states in `provenance["out_of_scope"]` how far the photograph is from what it learnt from, between 0
        and 1; above 0.5 `provenance["warning"]` says that its depth is not to be trusted.

    Raises:
        BadInput: no such model or file, an image of another shape or range of values, or an impossible camera.
        UnreadableFile: the file is no photograph, or a panorama.
    """
    if panorama not in get_args(Panorama):
        raise unknown("panorama option", panorama, get_args(Panorama))
    predictor = _predictor(model, image)
    photo = _photograph(image, panorama)
    if intrinsics is not None:
        photo = replace(photo, camera=_given_camera(intrinsics, photo))
    (depth,), scores = predictor.measure_scored([photo.pixels], [photo.camera.numbers])
    if photo.is_reduced:
        depth = cv2.resize(depth[0], photo.size[::-1], interpolation=cv2.INTER_LINEAR)[None]
    known = np.isfinite(depth) if predictor.kind is DepthKind.RELATIVE else np.isfinite(depth) & (depth > 0)
    doubts = " ".join(filter(None, [*photo.camera.doubts, photo.note]))
    provenance = {
        "model": predictor.name,
        "trained_on": predictor.provenance.training_data or "nothing",
        "camera": photo.camera.source,
        **({"doubts": doubts} if doubts else {}),
        **scope_words(scores),
    }
    return DepthMap(depth, known, predictor.kind, photo.full_camera, provenance)  # pyright: ignore[reportArgumentType]


def _predictor(model: object, image: object) -> Predictor:
    """Return what runs a model, whatever it is given as."""
    if isinstance(model, Predictor):
        return model
    if isinstance(model, str | os.PathLike) and not _is_model(image):
        return load_predictor(os.fspath(model), says=False)
    if _is_model(image) or not _is_model(model):
        raise BadInput(f"No model is {_named(model)}: predict(model, image) takes the model first.")
    return as_predictor(model)


def _is_model(thing: object) -> bool:
    return isinstance(thing, Predictor) or hasattr(thing, "forward_canonical")


def _turn_doubts(image: Image.Image) -> tuple[str, ...]:
    """Return what is doubtful about turning a picture that was edited in memory upright."""
    if read_orientation(read_exif(image)) == 1:
        return ()
    return (
        "Its EXIF says that it is not upright, so it was turned; but it was edited in memory: if it was turned before, "
        "give it as np.asarray(image).",
    )


def _photograph(image: Any, panorama: Panorama) -> Photograph:
    """Convert an image of any accepted type to what reading it from a file returns."""
    if isinstance(image, str | os.PathLike):
        check_not_ours(image)
        return read_photograph(image, panorama=panorama)
    if isinstance(image, Image.Image):
        # A picture that was cropped, turned or resized in memory keeps the EXIF of the original.
        is_original = isinstance(image, ImageFile)
        photo = decode_photograph(image, "The image", panorama=panorama if is_original else "flat")
        return photo if is_original else replace(photo, camera=CameraInfo(None, doubts=_turn_doubts(image)))
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
        raise BadInput(wrong_type(array.dtype))
    if np.ma.is_masked(array):
        raise BadInput(
            "The image is a masked array, and every pixel of a photograph counts: give image.filled(0), and leave out "
            "of the depth what was masked."
        )
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is refused as such
        native = np.array(array, dtype=np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("="))
    return _in_unit_range(native)


def _from_tensor(tensor: Tensor) -> np.ndarray:
    """Check (3, H, W) numbers, and convert them to what a `Photograph` holds."""
    if advice := _advice_on_shape(tensor.shape, channels=0):
        raise BadInput(f"A tensor of shape {tuple(tensor.shape)} is no photograph (3, H, W): {advice}.")
    if tensor.is_meta:
        raise BadInput("A tensor of the meta device holds no pixels.")
    array = as_array(tensor)
    if array.dtype.kind not in "fu":
        raise BadInput(wrong_type(tensor.dtype))
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
    return advice_on_channels(shape, channels=channels)


def _in_unit_range(pixels: np.ndarray) -> np.ndarray:
    """Return 8- or 16-bit integers without sign, or floats in [0, 1], and refuse others."""
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if pixels.dtype.kind != "f":
        raise BadInput(wrong_type(pixels.dtype))
    low, high = float(pixels.min()), float(pixels.max())  # NaN if one number is
    if low >= 0 and high <= 1:
        return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    raise BadInput(explain_range(low, high if np.isfinite(pixels).all() else np.nan))


def _named(thing: object) -> str:
    return f"of type {type(thing).__name__}"


def _given_camera(intrinsics: Any, photo: Photograph) -> CameraInfo:
    """Check a camera in pixels of the photograph in its file, and convert it to pixels of the image as it was read."""
    try:
        stated = as_array(intrinsics) if hasattr(intrinsics, "detach") else np.asarray(intrinsics)
        if stated.dtype.kind == "c":
            raise TypeError("complex")
        numbers = stated.astype(np.float32)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise BadInput(f"Intrinsics {intrinsics!r} are no numbers: give fx, fy, cx, cy in pixels.") from problem
    if numbers.shape == (3, 3):
        try:
            numbers = np.array(intrinsics_of_matrix(numbers), np.float32)
        except ValueError as problem:
            raise BadInput(f"Intrinsics {numbers.tolist()}: {problem}.") from problem
    if numbers.shape != (4,):
        raise BadInput(f"Intrinsics of shape {tuple(numbers.shape)}: give fx, fy, cx, cy, or the 3 × 3 matrix.")
    middle = np.array([np.nan, np.nan, *centered_camera(1.0, photo.size)[2:]], np.float32)
    camera = np.where(np.isnan(numbers), middle, numbers)
    return given_camera(camera, photo)
