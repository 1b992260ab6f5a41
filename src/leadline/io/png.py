"""PNG files of depth: encoded with one filter for all rows and quick compression, and decoded in one call."""

import struct
import zlib
from typing import Any

import cv2
import numpy as np
from PIL.PngImagePlugin import PngInfo

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = len(_SIGNATURE) + 25
"""Bytes of the signature and of the first chunk, which tells the size."""


def encode_png(pixels: np.ndarray, text: PngInfo | None = None) -> bytes:
    """Encode a picture or a depth map as PNG.

    Each row is stored as its difference from the one above, which suits depth and its colours as well as the choice of
    a filter for each row does.

    Args:
        pixels: (H, W) of 8 or 16 bits, or RGB (H, W, 3) of 8 bits.
        text: what is stored beside the pixels.
    """
    channels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    _, encoded = cv2.imencode(".png", channels, _OPTIONS)
    content = encoded.tobytes()
    chunks: list[Any] = [] if text is None else text.chunks
    return b"".join((content[:_HEADER], *(_chunk(name, data) for name, data, *_ in chunks), content[_HEADER:]))


def decode_whole_png(content: bytes) -> np.ndarray | None:
    """Decode a sound PNG of one channel that says all it has to say before its pixels; None: it is another file.

    Pillow decodes some kilobytes at a time, between which threads wait for Python's lock.

    Args:
        content: the file.
    """
    start, name, is_after_pixels = len(_SIGNATURE), b"", False
    while name != b"IEND":
        length, name = int.from_bytes(content[start : start + 4]), content[start + 4 : start + 8]
        end = start + 12 + length
        if end > len(content) or (is_after_pixels and name not in (b"IDAT", b"IEND")):
            return None
        checked = memoryview(content)[start + 4 : end - 4]
        if zlib.crc32(checked) != int.from_bytes(content[end - 4 : end]):
            return None
        is_after_pixels |= name == b"IDAT"
        start = end
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return decoded if decoded is not None and decoded.ndim == 2 else None


_OPTIONS = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    # Versions of OpenCV without this option subtract the pixel to the left.
    *((cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP) if hasattr(cv2, "IMWRITE_PNG_FILTER") else ()),
]


def _chunk(name: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(name + data))))
