"""Augmentation: Sample → Sample; every random choice comes from the generator that is handed in."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from leadline.sample import Image, Sample


@dataclass(frozen=True)
class Augmentation:
    """What training does to a sample before the network sees it."""

    flip: float = 0.5
    """Probability of mirroring left and right."""
    crop: float = 1.0
    """The smallest side of a random crop, as a share of the largest crop that has the training size's shape. Below 1
    the crop is enlarged to the training size, which changes the focal length in pixels that goes with it."""
    brightness: float = 0.2
    """Brightness, contrast, saturation and gamma are multiplied by a random factor within 1 ± this."""
    colour: float = 0.1
    """Each of red, green and blue is multiplied by a random factor within 1 ± this."""

    def __call__(self, sample: Sample, rng: np.random.Generator, size: tuple[int, int]) -> Sample:
        """A random view of a sample at `size` (height, width)."""
        sample = resize(_random_crop(sample, size, self.crop, rng), size)
        if rng.random() < self.flip:
            sample = flip(sample)
        return sample.replace(image=_recolour(sample.image, self.brightness, self.colour, rng))


def resize(sample: Sample, size: tuple[int, int]) -> Sample:
    """The whole sample at `size` (height, width): the image averaged, the depth picked at the nearest pixel.

    Averaged depths would put surfaces where there are none, between an edge and what is behind it.
    """
    if sample.size == size:
        return sample
    (old_height, old_width), (height, width) = sample.size, size
    x_scale, y_scale = width / old_width, height / old_height
    rows = _nearest(old_height, height)
    columns = _nearest(old_width, width)
    image = F.interpolate(sample.image[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    intrinsics = sample.intrinsics
    if intrinsics is not None:
        # The centre of a pixel lies at a whole number, so its corner, which scaling keeps, at a half.
        scale = torch.tensor([x_scale, y_scale, x_scale, y_scale])
        corner = torch.tensor([0.0, 0.0, 0.5, 0.5])
        intrinsics = (intrinsics + corner) * scale - corner
    return sample.replace(
        image=image.clamp(0, 1),
        depth=sample.depth[:, rows][:, :, columns],
        valid=sample.valid[:, rows][:, :, columns],
        intrinsics=intrinsics,
        taught=sample.taught and sample.taught.mapped(lambda each: each[:, rows][:, :, columns]),
    )


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """The window of `height` × `width` pixels whose first pixel is (`top`, `left`); the focal length stays."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    shift = torch.tensor([0.0, 0.0, left, top])
    return sample.replace(
        image=sample.image[..., rows, columns],
        depth=sample.depth[..., rows, columns],
        valid=sample.valid[..., rows, columns],
        intrinsics=None if sample.intrinsics is None else sample.intrinsics - shift,
        taught=sample.taught and sample.taught.mapped(lambda each: each[..., rows, columns]),
    )


def flip(sample: Sample) -> Sample:
    """Mirrored left and right, the principal point with it."""
    intrinsics = sample.intrinsics
    if intrinsics is not None:
        fx, fy, cx, cy = intrinsics.unbind(-1)
        intrinsics = torch.stack([fx, fy, sample.size[1] - 1 - cx, cy], dim=-1)
    return sample.replace(
        image=sample.image.flip(-1),
        depth=sample.depth.flip(-1),
        valid=sample.valid.flip(-1),
        intrinsics=intrinsics,
        taught=sample.taught and sample.taught.mapped(lambda each: each.flip(-1)),
    )


def _nearest(old: int, new: int) -> Tensor:
    """For each of `new` pixels, the index of the one of `old` pixels whose area holds its centre."""
    return ((torch.arange(new) + 0.5) * (old / new)).long().clamp_max(old - 1)


def _random_crop(sample: Sample, size: tuple[int, int], smallest: float, rng: np.random.Generator) -> Sample:
    """A crop of the training size's shape, at most as large as the sample."""
    (old_height, old_width), (height, width) = sample.size, size
    scale = min(old_height / height, old_width / width) * rng.uniform(smallest, 1.0)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    top = int(rng.integers(old_height - new_height + 1))
    left = int(rng.integers(old_width - new_width + 1))
    return crop(sample, top, left, new_height, new_width)


def _recolour(image: Image, brightness: float, colour: float, rng: np.random.Generator) -> Image:
    bright, contrast, saturation, gamma = rng.uniform(1 - brightness, 1 + brightness, 4).tolist()
    gains: Float[Tensor, "3 1 1"] = torch.from_numpy(rng.uniform(1 - colour, 1 + colour, (3, 1, 1))).float()
    image = (image * gains * bright).clamp(0, 1).pow(gamma)
    image = image.mean() + contrast * (image - image.mean())
    grey = image.mean(dim=0, keepdim=True)
    return (grey + saturation * (image - grey)).clamp(0, 1)
