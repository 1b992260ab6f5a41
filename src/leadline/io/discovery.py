"""Find the files that names, folders and patterns stand for, and count what is left out."""

import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path, PurePath

from leadline.core.errors import BadInput
from leadline.io.images import PHOTO_SUFFIXES, RAW_SUFFIXES
from leadline.io.outputs import read_leadline_metadata


@dataclass(frozen=True)
class FoundFiles:
    """List the files that names, folders and patterns stand for."""

    files: tuple[tuple[Path, Path], ...]
    """Each file with its place: its path relative to the folder, or to the fixed part of the pattern, that it is in."""
    faults: tuple[str, ...] = ()
    """Sentences on what was named and cannot be read: no such file, a broken link, a folder without permission."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why files were left out → how many."""

    def describe_left_out(self) -> str:
        """Return how many files were left out and why: `2 hidden, 3 of other sorts`; "" if none was."""
        return ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items()))


IMAGE_SUFFIXES = PHOTO_SUFFIXES | {
    *(".3fr", ".arw", ".avif", ".cr2", ".cr3", ".dib", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".hif"),
    *(".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpf", ".jpx", ".jxl", ".jxr", ".mpo", ".nef", ".nrw", ".orf"),
    *(".pam", ".pbm", ".pef", ".pnm", ".psd", ".qoi", ".raf", ".rw2", ".sgi", ".sr2", ".srw", ".tga", ".wdp"),
}
"""Suffixes of images, readable or not: in a folder, each is predicted or reported as unreadable."""


def find_images(paths: Sequence[str]) -> FoundFiles:
    """Find the photographs that files, folders and patterns name.

    A file that is named itself is taken whatever its suffix. What Leadline wrote is not a photograph, and of a raw
    file and a JPEG of one name the JPEG is taken.

    Raises:
        BadInput: there is no photograph.
    """
    found = find_files(paths, IMAGE_SUFFIXES, "photograph")
    named = {Path(path) for path in paths}
    files, faults, left_out = [], list(found.faults), Counter(found.left_out)
    ready = PHOTO_SUFFIXES - RAW_SUFFIXES
    developed = {path.with_suffix("") for path, _ in found.files if path.suffix.lower() in ready}
    for path, place in found.files:
        if read_leadline_metadata(path):
            if path in named:
                faults.append(f"{path} was written by Leadline, and is no photograph.")
            else:
                left_out["written by Leadline"] += 1
        elif path not in named and path.suffix.lower() in RAW_SUFFIXES and path.with_suffix("") in developed:
            left_out["raw ones beside the same photograph"] += 1
        elif path in named or path.suffix.lower() in PHOTO_SUFFIXES:
            files.append((path, place))
        else:
            faults.append(f"{path} is an image of a format that Leadline does not read: convert it to JPEG or PNG.")
    findings = FoundFiles(tuple(files), tuple(faults), left_out)
    if not files:
        rest = findings.describe_left_out()
        raise BadInput(" ".join([*(faults or ["No photograph there."]), *([f"Left out: {rest}."] if rest else [])]))
    return findings


def find_files(paths: Sequence[str], suffixes: frozenset[str], what: str = "file") -> FoundFiles:
    """Find the files of some suffixes, in whatever case, that names, folders (recursively) and patterns stand for.

    A name that exists is that file or folder even if `*`, `?` or `[` is in it, and a file that is named itself is
    taken whatever its suffix. In a pattern, `**` means any number of folders. Links are followed, but no folder is
    searched twice for one path. Hidden files and folders are left out.

    Args:
        paths: names of files and folders, and patterns.
        suffixes: in lower case: `.png`.
        what: what messages call a file of these suffixes.

    Returns:
        The files in the order of `paths`, each once; nothing is raised for what cannot be read.
    """
    files: dict[str, tuple[Path, Path]] = {}
    faults: list[str] = []
    left_out: dict[Path, str] = {}
    for path in paths:
        search = _Search(suffixes, left_out)
        inside = list(search.files_of(path))
        if not inside and not search.faults:
            search.faults.append(f"{path or 'An empty name'}: no {what} there.")
        faults += search.faults
        for file, place in inside:
            files.setdefault(os.path.abspath(file), (file, place))  # noqa: PTH100 (links stay as they are)
    return FoundFiles(tuple(files.values()), tuple(faults), Counter(left_out.values()))


def find_by_stem(folder: Path, place: PurePath, suffixes: frozenset[str]) -> list[Path]:
    """Find the files in a folder that have the path of another file but for the suffix.

    Args:
        folder: where to search.
        place: a path relative to it; its own suffix does not count.
        suffixes: of the files to find, in lower case; files may have them in whatever case.
    """
    parent = folder / place.parent
    return sorted(
        path
        for path in (parent.iterdir() if _is_folder(parent) else ())
        if path.stem == place.stem and path.suffix.lower() in suffixes and _is_file(path)
    )


@dataclass(frozen=True)
class _Search:
    """Search for the files of one path or pattern."""

    suffixes: frozenset[str]
    left_out: dict[Path, str]
    faults: list[str] = field(default_factory=list)

    def files_of(self, name: str) -> Iterator[tuple[Path, Path]]:
        path = Path(name)
        if not name:
            return
        if _is_folder(path):
            files, root = self._below(path), path
        elif os.path.lexists(name):
            if _is_file(path):
                yield path, Path(path.name)
            else:
                self.faults.append(f"{path} {'is a broken link' if path.is_symlink() else 'is no file'}.")
            return
        elif has_magic(name):
            root = _fixed_part(path)
            files = self._matching(path, root)
        else:
            return
        for file in sorted(files):
            if self._is_wanted(file):
                yield file, file.relative_to(root)

    def _matching(self, pattern: Path, root: Path) -> Iterator[Path]:
        """Yield what a pattern matches below its fixed part, and all files in the folders that it matches."""
        wanted = pattern.parts[len(root.parts) :]
        if "**" in wanted:
            for file in self._below(root):
                parts = file.relative_to(root).parts
                if any(_matches(parts[:end], wanted) for end in range(1, len(parts) + 1)):
                    yield file
            return
        for path in map(Path, glob(str(pattern))):  # noqa: PTH207 (Path.glob takes no absolute patterns)
            yield from self._below(path) if _is_folder(path) else (path,)

    def _below(self, folder: Path) -> Iterator[Path]:
        """Yield all files in a folder, recursively; links to folders come last, so that files keep their places."""
        waiting, seen = deque([folder]), set()
        while waiting:
            place = waiting.popleft()
            try:
                status = place.stat()
                entries = sorted(place.iterdir())
            except OSError as problem:
                self.faults.append(f"Cannot look into {place}: {problem.strerror}.")
                continue
            if (status.st_dev, status.st_ino) in seen:
                self.left_out[place] = "linked folders that were searched already"
                continue
            seen.add((status.st_dev, status.st_ino))
            for entry in entries:
                if entry.name.startswith("."):
                    self.left_out[entry] = "hidden"
                elif not _is_folder(entry):
                    yield entry
                elif entry.is_symlink():
                    waiting.append(entry)
                else:
                    waiting.appendleft(entry)

    def _is_wanted(self, file: Path) -> bool:
        if file.suffix.lower() not in self.suffixes:
            self.left_out[file] = "of other sorts"
        elif _is_file(file):
            return True
        elif file.is_symlink():
            self.faults.append(f"{file} is a broken link.")
        else:
            self.left_out[file] = "that are no files"
        return False


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises where a link or a long name cannot be followed)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 (as above)


def _fixed_part(pattern: Path) -> Path:
    """Return the folders before the first part of a pattern that has a wildcard."""
    parts = pattern.parts
    first = next(index for index, part in enumerate(parts) if has_magic(part))
    return Path(*parts[:first])


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Tell whether the parts of a path match those of a pattern."""
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_matches(parts[skipped:], wanted[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])
