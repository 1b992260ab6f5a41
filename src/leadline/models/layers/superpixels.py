"""Superpixels: SLIC (Achanta et al. 2012) for batches of images on any device, and sums over superpixels.

It is not scikit-image's, which takes one image at a time on the processor and would be most of a training step.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def slic(
    image: Float[Tensor, "B 3 H W"], rows: int, columns: int, *, compactness: float = 10.0, iterations: int = 5
) -> Int[Tensor, "B H W"]:
    """Group the pixels of each image into superpixels of one colour: clusters of colour and position.

    Clusters start from a grid of `rows` × `columns` cells, and a pixel joins one of the nine cells around it, so that
    no superpixel is larger than three cells. Unlike Achanta et al., leftovers that are not connected to the rest of
    their superpixel stay with it. No gradient passes.

    Args:
        image: RGB in [0, 1].
        rows: cells from top to bottom, at most the image's height.
        columns: cells from left to right, at most its width.
        compactness: weight of the position against colour in CIELAB, as m of Achanta et al., eq. 3.
        iterations: of assigning pixels and averaging clusters.

    Returns:
        The number of each pixel's superpixel, 0 … rows · columns − 1; a superpixel may be empty.
    """
    batch, _, height, width = image.shape
    with torch.no_grad():
        step = (height * width / (rows * columns)) ** 0.5
        y, x = (torch.arange(side, device=image.device, dtype=image.dtype) for side in (height, width))
        places = torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(batch, -1, -1, -1)
        points = torch.cat([cielab(image), places * (compactness / step)], 1)
        home_row = (torch.arange(height, device=image.device) * rows // height)[:, None].expand(-1, width)
        home_column = (torch.arange(width, device=image.device) * columns // width).expand(height, -1)
        labels = (home_row * columns + home_column).expand(batch, -1, -1)
        around = [
            (home_row + down).clamp(0, rows - 1) * columns + (home_column + right).clamp(0, columns - 1)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
        ]
        candidates = torch.stack(around)
        for _ in range(iterations):
            means, counts = superpixel_means(points, labels, rows * columns)
            # An empty superpixel stays empty: it is as far as can be.
            means = means.masked_fill((counts == 0)[:, None], torch.inf)
            distance = (points[:, :, None] - means[:, :, candidates]).square().sum(1)
            labels = candidates.expand(batch, -1, -1, -1).gather(1, distance.argmin(1, keepdim=True))[:, 0]
    return labels


def superpixel_means(
    maps: Float[Tensor, "B C H W"], labels: Int[Tensor, "B H W"], count: int
) -> tuple[Float[Tensor, "B C S"], Float[Tensor, "B S"]]:
    """Return the mean of each superpixel, 0 where it is empty, and how many pixels it has.

    Args:
        maps: what to average.
        labels: the number of each pixel's superpixel.
        count: how many superpixels there are.
    """
    flat = labels.flatten(1)
    pixels = maps.new_zeros(len(maps), count).scatter_add(1, flat, torch.ones_like(flat, dtype=maps.dtype))
    sums = maps.new_zeros(*maps.shape[:2], count).scatter_add(
        2, flat[:, None].expand(-1, maps.shape[1], -1), maps.flatten(2)
    )
    return sums / pixels[:, None].clamp_min(1), pixels


def shared_borders(labels: Int[Tensor, "B H W"], count: int) -> Float[Tensor, "B S S"]:
    """Return how many pairs of pixels, side by side or one above the other, join each two superpixels; 0 for one alone.

    Args:
        labels: the number of each pixel's superpixel.
        count: how many superpixels there are.
    """
    ones = [labels[:, :, :-1].flatten(1), labels[:, :-1].flatten(1)]
    others = [labels[:, :, 1:].flatten(1), labels[:, 1:].flatten(1)]
    one, other = torch.cat(ones, 1), torch.cat(others, 1)
    borders = torch.zeros(len(labels), count * count, device=labels.device)
    borders = borders.scatter_add(1, one * count + other, (one != other).float()).view(-1, count, count)
    return borders + borders.transpose(1, 2)


def cielab(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Convert sRGB in [0, 1] to CIELAB under D65: lightness 0 … 100, a and b about ±100 (IEC 61966-2-1, CIE 15)."""
    linear = torch.where(image <= 0.04045, image / 12.92, ((image.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4)
    xyz = F.conv2d(linear, image.new_tensor(_XYZ)[:, :, None, None])
    curved = torch.where(xyz > (6 / 29) ** 3, xyz.clamp_min((6 / 29) ** 3) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = curved.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


_XYZ = [
    [0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883],
]
"""From linear RGB to XYZ, divided by the white point."""
