"""Projection: depth of one sensor as the depth map of another camera, and photographs made smaller."""

from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from leadline.core.camera import camera_matrix
from leadline.core.sample import ImageTensor


def nearest_wins(columns: np.ndarray, rows: np.ndarray, metres: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Rasterise points to a depth map (height, width), float32: the nearest hides those behind it, 0 where none falls.

    Args:
        columns: of the pixel that each point falls on, whole numbers; outside the map and behind it are left out.
        rows: likewise.
        metres: of each point.
        size: height and width of the map.
    """
    height, width = size
    seen = (metres > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    pixels = rows[seen].astype(np.int64) * width + columns[seen].astype(np.int64)
    depth = np.full(height * width, np.inf, np.float32)
    np.minimum.at(depth, pixels, metres[seen].astype(np.float32))
    return np.where(np.isfinite(depth), depth, 0).reshape(size)


@lru_cache(maxsize=8)
def pixel_rays(camera: tuple[float, ...], distortion: tuple[float, ...], size: tuple[int, int]) -> np.ndarray:
    """Compute x/z and y/z of the ray of each pixel of a distorted camera, (2, height, width); cached for a camera.

    Args:
        camera: fx, fy, cx, cy in pixels.
        distortion: k1, k2, p1, p2, k3 of Brown's model, in OpenCV's order.
        size: height and width.
    """
    rows, columns = np.indices(size, np.float64)
    pixels = np.stack([columns.ravel(), rows.ravel()], axis=1)[:, None]
    seen = cv2.undistortPoints(pixels, camera_matrix(camera), np.array(distortion))
    return seen[:, 0].T.reshape(2, *size)


def shrink_photo(photo: ImageTensor, size: tuple[int, int]) -> Tensor:
    """Shrink a photograph to `size` (height, width): each pixel is the mean of those that it covers."""
    small = cv2.resize(photo.permute(1, 2, 0).numpy(), size[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1).contiguous()
