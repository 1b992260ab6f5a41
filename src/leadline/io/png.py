"""PNG files of depth: encoded with one filter for all rows and quick compression, and decoded in one call."""

import struct
import zlib
from typing import Any

import cv2
import numpy as np
from PIL.PngImagePlugin import PngInfo

try:
    # Inflates more than twice as fast as zlib, with the same functions; there are processors that it is not built for.
    from isal import isal_zlib
except ImportError:
    isal_zlib = zlib
_inflater: Any = isal_zlib

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
    """Decode a sound 16-bit PNG of one channel that says all it has to say before its pixels; None: it is another file.

    Pillow decodes some kilobytes at a time, between which threads wait for Python's lock, and more slowly.

    Args:
        content: the file.

    Raises:
        ValueError: pixels are missing, or a checksum is wrong.
    """
    start, name, packed = len(_SIGNATURE), b"", []
    while name != b"IEND":
        length, name = int.from_bytes(content[start : start + 4]), content[start + 4 : start + 8]
        end = start + 12 + length
        if end > len(content) or (packed and name not in (b"IDAT", b"IEND")):
            return None
        checked = memoryview(content)[start + 4 : end - 4]
        if _inflater.crc32(checked) != int.from_bytes(content[end - 4 : end]):
            raise ValueError("a checksum in it does not fit what stands there")
        if name == b"IDAT":
            packed.append(checked[4:])
        start = end
    width, height = struct.unpack(">II", content[16:24])
    size = height * (1 + 2 * width)
    stream = _inflater.decompressobj()
    try:
        filtered = stream.decompress(b"".join(packed), size + 1)
    except _inflater.error:
        return None
    if stream.eof and len(filtered) < size:
        raise ValueError(f"{size - len(filtered)} bytes of its pixels are missing")  # Pillow would take them for zeros
    if len(filtered) != size or not stream.eof:
        return None
    rows = np.frombuffer(filtered, np.uint8).reshape(height, -1)
    filters, stored = rows[:, 0], rows[:, 1:].reshape(height, width, 2)  # the high byte first
    if (filters == _LEFT).all():
        decoded = _summed_along_rows(stored)
    elif np.isin(filters, (_PLAIN, _ABOVE)).all():
        decoded = stored.copy()
        for row in (np.flatnonzero(filters[1:]) + 1).tolist():
            decoded[row] += decoded[row - 1]
    else:
        # OpenCV undoes other filters; it inflates at half the speed, so it gets the rows as they are.
        pixels = _chunk(b"IDAT", zlib.compress(filtered, 0))
        file = b"".join((content[:_HEADER], pixels, _chunk(b"IEND", b"")))
        return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    return decoded.view(">u2")[..., 0].astype(np.uint16)


def _summed_along_rows(differences: np.ndarray) -> np.ndarray:
    """Return the running sums of each row's bytes, (H, W, 2), by doubling (Hillis and Steele 1986).

    NumPy adds whole rows several times in less time than it takes for one number after another.
    """
    summed = differences.copy()
    reach, width = 1, summed.shape[1]
    while reach < width:
        summed[:, reach:] += summed[:, :-reach].copy()
        reach *= 2
    return summed


_PLAIN, _LEFT, _ABOVE = range(3)
"""Filters of a row: its numbers, or their difference from those to the left or above."""


_OPTIONS = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    # Versions of OpenCV without this option subtract the pixel to the left.
    *((cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP) if hasattr(cv2, "IMWRITE_PNG_FILTER") else ()),
]


def _chunk(name: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(name + data))))
