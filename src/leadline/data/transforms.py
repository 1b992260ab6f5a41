"""Transforms: Sample → Sample; every random choice comes from the generator that is passed in.

The photometric augmentation is not torchvision's v2 or kornia's, because results would differ by more than rounding:
their contrast, saturation, blur and noise are defined differently, and they draw from PyTorch's global generator, where
these draw from `default_rng((seed, epoch, index))` so that a resumed training is bit-equal. Besides, neither is a
dependency of Leadline, and torchvision is too slow to import at start-up.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leadline.core.camera import crop_intrinsics, flip_intrinsics, resize_intrinsics
from leadline.core.errors import BadInput
from leadline.core.ranges import Probability, Within
from leadline.core.sample import ImageTensor, OtherView, Sample


@dataclass(frozen=True)
class Augmentation:
    """Random flip, crop, colours, blur, noise and JPEG of training samples."""

    flip: Probability = 0.5
    """Probability of mirroring left and right."""
    crop: Annotated[float, Within(0, 1, above=True)] = 1.0
    """The smallest side of a random crop, as a fraction of the largest crop that has the training size's shape. Below 1
    the crop is enlarged to the training size, which changes the focal length in pixels that goes with it."""
    rotate: Annotated[float, Within(0, 45)] = 0.0
    """The largest rotation about the middle, in degrees to either side; what comes in from outside has no depth."""
    brightness: Annotated[float, Within(0, 1, below=True)] = 0.2
    """Brightness, contrast, saturation and gamma are multiplied by a random factor within 1 ± this."""
    colour: Annotated[float, Within(0, 1, below=True)] = 0.1
    """Each of red, green and blue is multiplied by a random factor within 1 ± this."""
    blur: Probability = 0.0
    """Probability of a Gaussian blur of up to 1.5 pixels or, as likely, a motion blur of up to 9."""
    noise: Annotated[float, Within(0, 1)] = 0.0
    """The largest standard deviation of sensor noise, in units of the image's [0, 1]; drawn between 0 and this."""
    jpeg: Probability = 0.0
    """Probability of JPEG compression, at a quality of 30 to 95."""
    unknown_camera: Probability = 0.0
    """Probability of hiding the intrinsics, so that the network also learns from photographs of unknown cameras."""

    def __call__(self, sample: Sample, rng: np.random.Generator, size: tuple[int, int]) -> Sample:
        """Return a random view of a sample.

        Args:
            sample: one image with depth, not a batch.
            rng: makes all random choices.
            size: height and width of the result.
        """
        if self.rotate:
            sample = rotate(sample, rng.uniform(-self.rotate, self.rotate))
        sample = resize(_random_crop(sample, size, self.crop, rng), size)
        if rng.random() < self.flip:
            sample = flip(sample)
        again = deepcopy(rng)
        image = self._photographed(sample.image, rng)
        if self.unknown_camera and rng.random() < self.unknown_camera:
            sample = sample.replace(intrinsics=None)
        if sample.other is None:
            return sample.replace(image=image)
        # Both views of a pair get the same colours, blur and quality, but each the noise of its own sensor.
        other = self._photographed(sample.other.image, again, sensor=1)
        return sample.replace(image=image, other=OtherView(other, sample.other.side))

    def _photographed(self, image: ImageTensor, rng: np.random.Generator, sensor: int = 0) -> ImageTensor:
        """The image with other colours, blur, noise and compression."""
        image = _recolour(image, self.brightness, self.colour, rng)
        # In the order in which a camera does them. What is off draws nothing, so that the other draws stay the same.
        if self.blur and rng.random() < self.blur:
            image = _blurred(image, rng)
        if self.noise:
            image = _noisy(image, rng.uniform(0, self.noise), int(rng.integers(2**63)) ^ sensor)
        if self.jpeg and rng.random() < self.jpeg:
            image = _compressed(image, int(rng.integers(30, 96)))
        return image


def resize(sample: Sample, size: tuple[int, int]) -> Sample:
    """Resize the whole sample to `size` (height, width): average the image, and take depth from the nearest pixel.

    Averaged depth would make surfaces where there are none, between an edge and what is behind it.
    """
    if sample.size == size:
        return sample
    (old_height, old_width), (height, width) = sample.size, size
    rows = _nearest(old_height, height)
    columns = _nearest(old_width, width)
    return sample.replace(
        image=_averaged(sample.image, size),
        depth=sample.depth[:, rows][:, :, columns],
        valid=sample.valid[:, rows][:, :, columns],
        intrinsics=None if sample.intrinsics is None else resize_intrinsics(sample.intrinsics, sample.size, size),
        teacher_prediction=sample.teacher_prediction
        and sample.teacher_prediction.mapped(lambda each: each[:, rows][:, :, columns]),
        other=_of_other(sample, lambda image: _averaged(image, size)),
    )


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """Cut a window out of a sample; the focal length stays, and the principal point moves with it.

    Args:
        sample: one sample or a batch.
        top: row of the window's first pixel.
        left: column of the window's first pixel.
        height: pixels.
        width: pixels.
    """
    rows, columns = slice(top, top + height), slice(left, left + width)
    return sample.replace(
        image=sample.image[..., rows, columns],
        depth=sample.depth[..., rows, columns],
        valid=sample.valid[..., rows, columns],
        intrinsics=None if sample.intrinsics is None else crop_intrinsics(sample.intrinsics, top, left),
        teacher_prediction=sample.teacher_prediction
        and sample.teacher_prediction.mapped(lambda each: each[..., rows, columns]),
        other=_of_other(sample, lambda image: image[..., rows, columns]),
    )


def flip(sample: Sample) -> Sample:
    """Mirror a sample left and right, its principal point with it; in a mirror, right cameras are left ones."""
    return sample.replace(
        image=sample.image.flip(-1),
        depth=sample.depth.flip(-1),
        valid=sample.valid.flip(-1),
        intrinsics=None if sample.intrinsics is None else flip_intrinsics(sample.intrinsics, sample.size[1]),
        teacher_prediction=sample.teacher_prediction and sample.teacher_prediction.mapped(lambda each: each.flip(-1)),
        other=_of_other(sample, lambda image: image.flip(-1), side=-1),
    )


def rotate(sample: Sample, degrees: float) -> Sample:
    """Rotate a sample about its middle: the image smoothly, depth by the nearest pixel.

    The camera's principal point is taken to be near the middle, and stays. Pixels from outside are black and not valid.

    Args:
        sample: one image with depth, not a batch.
        degrees: counter-clockwise.

    Raises:
        BadInput: the sample is of a stereo pair, whose disparities would no longer lie along the rows.
    """
    if sample.other is not None:
        raise BadInput(f"{sample.name} is of a stereo pair, which cannot be rotated: leave --augmentation.rotate at 0.")
    height, width = sample.size
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)

    def rotated(maps: Tensor, method: int) -> Tensor:
        pixels = maps.permute(1, 2, 0).contiguous().numpy()
        turned = cv2.warpAffine(pixels, matrix, (width, height), flags=method)
        return torch.from_numpy(turned).view(height, width, -1).permute(2, 0, 1).contiguous()

    def nearest(maps: Tensor) -> Tensor:
        return rotated(maps.float(), cv2.INTER_NEAREST).to(maps.dtype)

    return sample.replace(
        image=rotated(sample.image, cv2.INTER_LINEAR).clamp(0, 1),
        depth=nearest(sample.depth),
        valid=nearest(sample.valid),
        teacher_prediction=sample.teacher_prediction and sample.teacher_prediction.mapped(nearest),
    )


def _of_other(sample: Sample, change: Callable[[Tensor], Tensor], *, side: int = 1) -> OtherView | None:
    """The other view of a stereo pair, if there is one, with `change` applied and its side times `side`."""
    return sample.other and OtherView(change(sample.other.image), side * sample.other.side)


def _averaged(image: Tensor, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(image[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    return resized.clamp(0, 1)


def _nearest(old: int, new: int) -> Tensor:
    """Return for each of `new` pixels the index of the one of `old` pixels whose area holds its centre."""
    return ((torch.arange(new) + 0.5) * (old / new)).long().clamp_max(old - 1)


def _random_crop(sample: Sample, size: tuple[int, int], smallest: float, rng: np.random.Generator) -> Sample:
    """Cut a random crop of the training size's shape, at most as large as the sample."""
    (old_height, old_width), (height, width) = sample.size, size
    scale = min(old_height / height, old_width / width) * rng.uniform(smallest, 1.0)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    top = int(rng.integers(old_height - new_height + 1))
    left = int(rng.integers(old_width - new_width + 1))
    return crop(sample, top, left, new_height, new_width)


def _recolour(image: ImageTensor, brightness: float, colour: float, rng: np.random.Generator) -> ImageTensor:
    bright, contrast, saturation, gamma = rng.uniform(1 - brightness, 1 + brightness, 4).tolist()
    gains: Float[Tensor, "3 1 1"] = torch.from_numpy(rng.uniform(1 - colour, 1 + colour, (3, 1, 1))).float()
    image = (image * gains * bright).clamp(0, 1).pow(gamma)
    image = image.mean() + contrast * (image - image.mean())
    grey = image.mean(dim=0, keepdim=True)
    return (grey + saturation * (image - grey)).clamp(0, 1)


def _blurred(image: ImageTensor, rng: np.random.Generator) -> ImageTensor:
    """Blur by a Gaussian (out of focus), or along a line (motion)."""
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    if rng.random() < 0.5:
        blurred = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.5))
    else:
        length, angle = rng.uniform(2, 9), rng.uniform(0, np.pi)
        reach = length / 2 * np.array([np.cos(angle), np.sin(angle)])
        path = np.zeros((11, 11), np.float32)
        # Ends are given in sixteenths of a pixel, and 5 is the middle.
        start, end = (np.rint(16 * (5 + sign * reach)).astype(int).tolist() for sign in (-1, 1))
        cv2.line(path, start, end, 1.0, lineType=cv2.LINE_AA, shift=4)
        blurred = cv2.filter2D(pixels, -1, path / path.sum(), borderType=cv2.BORDER_REFLECT)
    return torch.from_numpy(blurred).permute(2, 0, 1).contiguous()


def _noisy(image: ImageTensor, deviation: float, seed: int) -> ImageTensor:
    # PyTorch draws normal numbers in half of NumPy's time.
    generator = torch.Generator().manual_seed(seed)
    return (image + deviation * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def _compressed(image: ImageTensor, quality: int) -> ImageTensor:
    """Compress to JPEG and decompress."""
    # OpenCV's order of colours is blue, green, red.
    pixels = (image.flip(0).permute(1, 2, 0) * 255).round().byte().contiguous().numpy()
    _, file = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = torch.from_numpy(cv2.imdecode(file, cv2.IMREAD_COLOR))
    return decoded.permute(2, 0, 1).flip(0).float() / 255
