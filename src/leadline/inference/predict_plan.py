"""Plan what is written for which photograph before the first file is written, and find what is written already."""

import hashlib
import json
import os
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.io.atomic import MAX_NAME_BYTES
from leadline.io.depth_maps import read_depth
from leadline.io.discovery import FoundFiles
from leadline.io.outputs import COLOUR_SUFFIX, checksum, file_sha256, read_leadline_metadata


@dataclass(frozen=True)
class Job:
    """One photograph, and the files that are made of it."""

    source: Path
    place: Path
    """Below the folder or pattern that it was found by."""
    depth: Path
    picture: Path | None
    """The depth in colours; None: it is not drawn."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are written."""
        return (self.depth,) if self.picture is None else (self.depth, self.picture)

    def marks(self, request: str) -> dict[str, str]:
        """Return the metadata by which the files are known later: their photograph, and how they were made."""
        return {"photograph": photograph_digest(self.source), "source": source_digest(self.source), "request": request}

    def is_done(self, request: str) -> bool:
        """Return whether the files are there and were made by the same request."""
        return all(read_leadline_metadata(path).get("request") == request for path in self.files)

    def stored(self, request: str) -> tuple[dict[str, str], dict[str, Any]] | None:
        """Return the metadata and the figures of what the same request wrote before; None: nothing, or it is damaged.

        They are in the text of a file: to read a large depth map back would take more memory than to measure it.
        """
        if not self.is_done(request):
            return None
        metadata = read_leadline_metadata(self.files[-1])
        if not all(_is_whole(path, metadata.get("kind")) for path in self.files):
            return None
        try:
            return metadata, json.loads(metadata["figures"])
        except (KeyError, ValueError):
            return None

    def picture_marks(self) -> dict[str, str]:
        """Return the picture's own metadata; a PFM file holds none, so its CRC is kept here."""
        crc = {"depth_crc32": checksum(self.depth)} if self.depth.suffix == ".pfm" else {}
        return {"picture": f"depth of {self.depth.name} in colours", **crc}


def plan(
    found: FoundFiles, out: StrPath, suffix: str, *, overwrite: bool, has_pictures: bool = True
) -> tuple[list[Job], list[tuple[Path, str]]]:
    """Decide what is written for each photograph; also the photographs that nothing may be written for, and why.

    Nothing that Leadline did not write is replaced, nor what it made of one photograph by another's. Names that differ
    in case only count as one, as they do on many disks.

    Args:
        found: the photographs with their places.
        out: the folder to write to, in which the places are kept.
        suffix: of the depth maps: `.png`.
        overwrite: whether what was made of other photographs may be replaced after all.
        has_pictures: whether a picture is written beside each depth map.
    """
    jobs, refused = [], []
    claimed: dict[str, Path] = {}
    for source, place in found.files:
        target = Path(out) / place
        picture = target.with_suffix(COLOUR_SUFFIX) if has_pictures else None
        job = Job(source, place, target.with_suffix(suffix), picture)
        names = [_folded(path) for path in job.files]
        try:
            _check_unclaimed(source, [claimed[name] for name in names if name in claimed])
            for path in job.files:
                _check_target(path, source, overwrite)
        except BadInput as fault:
            refused.append((source, str(fault)))
            continue
        claimed |= dict.fromkeys(names, source)
        jobs.append(job)
    return jobs, refused


def photograph_digest(source: StrPath) -> str:
    """Return a hash that identifies a photograph by its content, wherever the file is."""
    return file_sha256(source)[:16]


def _is_whole(path: Path, kind: str | None) -> bool:
    """Return whether a file of ours can be read; a PNG by its checksums, without its numbers."""
    try:
        if path.suffix.lower() != ".png":
            read_depth(path, kind=kind)
        else:
            with warnings.catch_warnings(), Image.open(path) as picture:
                warnings.simplefilter("ignore")
                picture.verify()
    except (BadInput, OSError, SyntaxError, ValueError):
        return False
    return True


def _check_unclaimed(source: Path, others: Sequence[Path]) -> None:
    if others:
        raise BadInput(f"{source} would overwrite the depth of {others[0]}: choose another --out or rename it.")


def _check_target(path: Path, source: Path, overwrite: bool) -> None:
    if len(os.fsencode(path.name)) > MAX_NAME_BYTES:
        raise BadInput(f"The name of {source} is too long for {path.name}: give it a shorter one.")
    if not os.path.lexists(path):
        return
    if path.resolve() == source.resolve():
        raise BadInput(f"{path} is the photograph itself: choose another --out.")
    marks = {} if path.is_dir() else read_leadline_metadata(path)
    if not marks:
        raise BadInput(f"{path} is there, and this Leadline did not write it: choose another --out, or remove it.")
    is_of_it = marks.get("source") == source_digest(source) or marks.get("photograph") == photograph_digest(source)
    if not (is_of_it or overwrite):
        raise BadInput(f"{path} is not of {source}: choose another --out, or --overwrite what Leadline wrote there.")


def source_digest(source: StrPath) -> str:
    """Return a hash of a file's path, which does not reveal the names of its owner's folders.

    Args:
        source: a photograph or a video.
    """
    return hashlib.sha256(os.fsencode(Path(source).resolve())).hexdigest()[:16]


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()
