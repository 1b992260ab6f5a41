"""Outputs: the metadata by which Leadline knows the files that it wrote, and a guard for those that it did not.

A depth map or a picture says in its own text, under `leadline:…`, that it is one, and of which photograph; a table of
figures is known by its keys, a page by its generator. A file without metadata is a user's, and no command replaces it.
"""

import hashlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leadline.core.errors import BadInput, UnreadableFile
from leadline.core.paths import StrPath
from leadline.io.json_text import parse_json

PREFIX = "leadline:"
"""Prefix of the keys of Leadline's metadata in a PNG."""

GENERATOR = '<meta name="generator" content="Leadline">'
"""The tag in the head of an HTML page that Leadline writes."""

COLOUR_SUFFIX = ".colour.png"
"""Suffix of the picture of a depth map: that of NAME.png is NAME.colour.png."""


def read_leadline_metadata(path: Path) -> dict[str, str]:
    """Return the metadata that Leadline wrote into a depth map or a picture; empty if it did not write the file.

    A PFM file has no place for metadata: that of the colour picture beside it counts, if it states the checksum of
    this file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            match path.suffix.lower():
                case ".png" | ".tif" | ".tiff":
                    return _picture_metadata(path)
                case ".npz":
                    return _archive_metadata(path)
                case ".pfm":
                    metadata = read_leadline_metadata(path.with_suffix(COLOUR_SUFFIX))
                    return metadata if metadata.get("depth_crc32") == checksum(path) else {}
    # A file that cannot be decoded was not written by Leadline, or its metadata is lost.
    except Exception:
        return {}
    return {}


def checksum(path: Path) -> str:
    """Return the CRC-32 of a file's content as eight hex digits."""
    return f"{zlib.crc32(path.read_bytes()):08x}"


def file_sha256(path: StrPath) -> str:
    """Return the SHA-256 of a file's content as hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_not_ours(path: StrPath) -> None:
    """Refuse a depth map or a picture that Leadline wrote where a photograph is needed.

    Args:
        path: the file, which need not exist.

    Raises:
        UnreadableFile: Leadline wrote it.
    """
    path = Path(path)
    if path.is_file() and read_leadline_metadata(path):
        raise UnreadableFile(f"{path} was written by Leadline, and is no photograph.")


def png_text(metadata: Mapping[str, str]) -> PngInfo:
    """Return metadata as the text chunks of a PNG, under `leadline:KEY`."""
    chunks = PngInfo()
    for key, text in metadata.items():
        chunks.add_text(PREFIX + key, printable(text))
    return chunks


def printable(text: str) -> str:
    r"""Return text that can be encoded as UTF-8: other bytes of a file's name become `\udc80` … `\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode()


def check_replaceable(
    path: Path,
    option: str,
    *,
    keys: frozenset[str] = frozenset(),
    is_own: Callable[[Path], bool] | None = None,
    beside: Collection[str] = (),
) -> None:
    """Refuse to write where there is a file that Leadline did not write.

    Args:
        path: the file to be written.
        option: how the user named the place, for the message: `--json`.
        keys: the top-level keys of a JSON file of this sort; empty for an HTML page, or where `is_own` tells.
        is_own: tells whether Leadline wrote a file that is there.
        beside: names of files that are written beside it, which are Leadline's where `path` is.

    Raises:
        BadInput: there is a folder, or a file that Leadline did not write.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder: choose another {option}.")
    if is_own is None:
        is_own = partial(_is_own_json, keys=keys) if keys else _is_own_page
    if path.is_file() and is_own(path):
        return
    for place in (path, *(path.with_name(name) for name in beside)):
        if os.path.lexists(place):
            raise BadInput(f"{place} is there, and Leadline did not write it: choose another {option}, or remove it.")


def _picture_metadata(path: Path) -> dict[str, str]:
    with Image.open(path) as picture:
        info = {str(key): text for key, text in picture.info.items() if isinstance(text, str)}
        metadata = {key.removeprefix(PREFIX): text for key, text in info.items() if key.startswith(PREFIX)}
        description = picture.getexif().get(_IMAGE_DESCRIPTION, "") if picture.format == "TIFF" else ""
    if not metadata and str(description).startswith('{"leadline"'):
        metadata = parse_json(description)["leadline"]
    return metadata


def _archive_metadata(path: Path) -> dict[str, str]:
    if not zipfile.is_zipfile(path):
        return {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if not {"depth", "valid", "kind", "unit"} <= set(arrays):
            return {}
        return {key: str(arrays[key]) for key in arrays if key not in ("depth", "valid", "intrinsics")}


def _is_own_json(path: Path, keys: frozenset[str]) -> bool:
    try:
        content = parse_json(path.read_bytes())
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(content, dict) and keys <= content.keys()


def _is_own_page(path: Path) -> bool:
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(4096)


_IMAGE_DESCRIPTION = 270
"""The TIFF tag that holds free text."""
