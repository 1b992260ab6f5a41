"""Find the files that names, folders and patterns mean, and count what is left out."""

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
    """What names, folders and patterns mean."""

    files: tuple[tuple[Path, Path], ...]
    """Each file with its place: its path below the folder, or below the fixed part of the pattern, that it is in."""
    faults: tuple[str, ...] = ()
    """What was meant and cannot be had: a name of nothing, a broken link, a folder that cannot be read."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Why files were left out → how many."""

    def describe_left_out(self) -> str:
        """`2 hidden, 3 of other sorts`; empty if nothing was left out."""
        return ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items()))


IMAGE_SUFFIXES = PHOTO_SUFFIXES | {
    *(".3fr", ".arw", ".avif", ".cr2", ".cr3", ".dib", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".hif"),
    *(".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpf", ".jpx", ".jxl", ".jxr", ".mpo", ".nef", ".nrw", ".orf"),
    *(".pam", ".pbm", ".pef", ".pnm", ".psd", ".qoi", ".raf", ".rw2", ".sgi", ".sr2", ".srw", ".tga", ".wdp"),
}
"""What is an image, whether or not it can be read: in a folder it is measured or named."""


def find_images(words: Sequence[str]) -> FoundFiles:
    """Find the photographs that files, folders and patterns name.

    A file that is named itself is taken whatever its suffix. What Leadline wrote is no photograph, and of a raw file
    and a JPEG of one name the JPEG is taken.

    Raises:
        BadInput: there is not one photograph.
    """
    found = find_files(words, IMAGE_SUFFIXES, "photograph")
    named = {Path(word) for word in words}
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


def find_files(words: Sequence[str], suffixes: frozenset[str], what: str = "file") -> FoundFiles:
    """Find the files of some suffixes, in whatever case, that names, folders (with all below) and patterns mean.

    A name that exists is that file or folder even if `*`, `?` or `[` is in it, and a file that is named itself is
    taken whatever its suffix. In a pattern, `**` means any number of folders. Links are followed, but no folder is
    searched twice for one word. Hidden files and folders are left out.

    Args:
        words: names and patterns.
        suffixes: in lower case: `.png`.
        what: what a file of these suffixes is called in messages.
    """
    files: dict[str, tuple[Path, Path]] = {}
    faults: list[str] = []
    left_out: dict[Path, str] = {}
    for word in words:
        search = _Search(suffixes, left_out)
        inside = list(search.of_word(word))
        if not inside and not search.faults:
            search.faults.append(f"{word or 'An empty name'}: no {what} there.")
        faults += search.faults
        for path, place in inside:
            files.setdefault(os.path.abspath(path), (path, place))  # noqa: PTH100 (links stay as they are)
    return FoundFiles(tuple(files.values()), tuple(faults), Counter(left_out.values()))


def find_by_stem(folder: Path, place: PurePath, suffixes: frozenset[str]) -> list[Path]:
    """Find the files of some suffixes, in whatever case, at `place` in `folder`, whose own suffix does not count."""
    parent = folder / place.parent
    return sorted(
        path
        for path in (parent.iterdir() if _is_folder(parent) else ())
        if path.stem == place.stem and path.suffix.lower() in suffixes and _is_file(path)
    )


@dataclass(frozen=True)
class _Search:
    """The search for one word."""

    suffixes: frozenset[str]
    left_out: dict[Path, str]
    faults: list[str] = field(default_factory=list)

    def of_word(self, word: str) -> Iterator[tuple[Path, Path]]:
        path = Path(word)
        if not word:
            return
        if _is_folder(path):
            files, root = self._below(path), path
        elif os.path.lexists(word):
            if _is_file(path):
                yield path, Path(path.name)
            else:
                self.faults.append(f"{path} {'is a broken link' if path.is_symlink() else 'is no file'}.")
            return
        elif has_magic(word):
            root = _fixed_part(path)
            files = self._matching(path, root)
        else:
            return
        for file in sorted(files):
            if self._is_wanted(file):
                yield file, file.relative_to(root)

    def _matching(self, pattern: Path, root: Path) -> Iterator[Path]:
        """What a pattern matches below its fixed part, and all that is in folders that it matches."""
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
        """All files in a folder and the folders in it; links to folders come last, so that files keep their places."""
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
    """The folders before the first part of a pattern that may be several."""
    parts = pattern.parts
    first = next(index for index, part in enumerate(parts) if has_magic(part))
    return Path(*parts[:first])


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the parts of a path are what those of a pattern say."""
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_matches(parts[skipped:], wanted[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])
