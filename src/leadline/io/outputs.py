"""Outputs: the marks by which Leadline knows the files that it wrote, and a guard for those that it did not.

A depth map or a picture says in its own text, under `leadline:…`, that it is one, and of which photograph; a table of
figures is known by its keys, a page by its generator. What has no mark is a user's, and no command replaces it.
"""

import json
import os
import warnings
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline.core.errors import BadInput

PREFIX = "leadline:"
"""What the keys of Leadline's own words begin with in a PNG."""

GENERATOR = '<meta name="generator" content="Leadline">'
"""What a page of Leadline's says in its head."""

COLOUR_SUFFIX = ".colour.png"
"""What the picture of NAME.png is called: NAME.colour.png."""


def read_leadline_metadata(path: Path) -> dict[str, str]:
    """The words that Leadline wrote into a depth map or a picture; none: it did not write the file.

    A PFM file has no place for words: those of the colour picture beside it count, if it names this very content.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            match path.suffix.lower():
                case ".png" | ".tif" | ".tiff":
                    return _picture_marks(path)
                case ".npz":
                    return _archive_marks(path)
                case ".pfm":
                    marks = read_leadline_metadata(path.with_suffix(COLOUR_SUFFIX))
                    return marks if marks.get("depth_crc32") == checksum(path) else {}
    # Whatever a decoder trips over was not written by Leadline, or is damaged beyond its marks.
    except Exception:
        return {}
    return {}


def checksum(path: Path) -> str:
    """The CRC-32 of a file's content."""
    return f"{zlib.crc32(path.read_bytes()):08x}"


def png_text(words: Mapping[str, str]) -> PngInfo:
    """The text chunks of a PNG that Leadline writes."""
    chunks = PngInfo()
    for key, text in words.items():
        chunks.add_text(PREFIX + key, printable(text))
    return chunks


def printable(text: str) -> str:
    r"""Text that any file or terminal takes: bytes of a file's name that are not UTF-8 become `\udc80` … `\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode()


def check_replaceable(
    path: Path, option: str, *, keys: frozenset[str] = frozenset(), beside: Collection[str] = ()
) -> None:
    """Refuse to write where a file lies that Leadline did not write.

    Args:
        path: the file to be written.
        option: how the user named the place, for the message: `--json`.
        keys: what a JSON file of this sort has at its top; empty for a page.
        beside: names of what is written beside it, which are Leadline's where `path` is.

    Raises:
        BadInput: there is a folder, or a file of someone else's.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder: choose another {option}.")
    if path.exists() and (_is_own_json(path, keys) if keys else _is_own_page(path)):
        return
    for place in (path, *(path.with_name(name) for name in beside)):
        if os.path.lexists(place):
            raise BadInput(f"{place} is there, and Leadline did not write it: choose another {option}, or remove it.")


def _picture_marks(path: Path) -> dict[str, str]:
    with Image.open(path) as picture:
        info = {str(key): text for key, text in picture.info.items() if isinstance(text, str)}
        words = {key.removeprefix(PREFIX): text for key, text in info.items() if key.startswith(PREFIX)}
        description = picture.getexif().get(_IMAGE_DESCRIPTION, "") if picture.format == "TIFF" else ""
    if not words and str(description).startswith('{"leadline"'):
        words = json.loads(description)["leadline"]
    return words


def _archive_marks(path: Path) -> dict[str, str]:
    if not zipfile.is_zipfile(path):
        return {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if not {"depth", "valid", "kind", "unit"} <= set(arrays):
            return {}
        return {key: str(arrays[key]) for key in arrays if key not in ("depth", "valid", "intrinsics")}


def _is_own_json(path: Path, keys: frozenset[str]) -> bool:
    try:
        told = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(told, dict) and keys <= told.keys()


def _is_own_page(path: Path) -> bool:
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(4096)


_IMAGE_DESCRIPTION = 270
"""The TIFF tag that holds free text."""
