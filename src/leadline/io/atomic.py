"""Atomic writes: a file or folder takes its name only once it is complete."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from leadline.core.errors import BadInput, FullDisk

MAX_NAME_BYTES = 255
"""Bytes of a file's name, on nearly every file system."""


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write to, which takes its name once all is on disk.

    A failure removes it and leaves the file of that name as it was; only a killed process leaves the hidden `.half`
    file. With `durable=False` the call does not wait for the disk, and a power failure may leave the file truncated.

    Raises:
        BadInput: the folder cannot be created or written to, or the disk is full.
    """
    with _writing(path):
        half = path.with_name(_shortened(path.stem, f".{os.getpid()}.half{path.suffix}"))
        try:
            yield half
            if durable:
                _flush(half)
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `path` to fill, which takes its name once all is on disk.

    The folder that it replaces is moved aside first and removed last, so a process killed in between leaves both
    whole under hidden names. A folder that holds files which the new one does not is never replaced.

    Raises:
        BadInput: as `atomic_write`, or `path` holds other files.
    """
    path = path.resolve()
    half = path.with_name(_shortened(path.name, f".{os.getpid()}.half"))
    before = path.with_name(_shortened(path.name, f".{os.getpid()}.before"))
    with _writing(path):
        try:
            half.mkdir()
            yield half
            for file in half.rglob("*"):
                if file.is_file():
                    _flush(file)
            if path.exists():
                strangers = sorted({file.name for file in path.iterdir()} - {file.name for file in half.iterdir()})
                if strangers:
                    raise BadInput(f"{path} holds other files ({', '.join(strangers[:3])}): choose a new folder.")
                path.replace(before)
            half.replace(path)
        finally:
            shutil.rmtree(half, ignore_errors=True)
            if before.exists():
                shutil.rmtree(before) if path.exists() else before.replace(path)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, where they do not exist.

    Raises:
        BadInput: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind, reason, advice = _explained(error, folder.parent)
        raise kind(f"Cannot create the folder {folder}: {reason}; {advice}.") from error


@contextmanager
def folder_beside(path: Path) -> Iterator[str]:
    """Create a hidden folder beside a file that is made in it, and remove it at the end.

    Args:
        path: the file.

    Raises:
        BadInput: its folder cannot be written to, or the disk is full.
    """
    with _writing(path), TemporaryDirectory(prefix=f".{path.stem}.", suffix=".half", dir=path.parent) as folder:
        yield folder


def clean_stale(folder: Path) -> None:
    """Remove the hidden files and folders that a killed `atomic_write` or `atomic_folder` left in `folder`.

    Call it only for a folder that no other process is writing to.
    """
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if _UNFINISHED.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `BadInput` that names the file and its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        kind, reason, advice = _explained(error, path.parent)
        raise kind(f"Cannot write {path}: {reason}. Nothing was changed; {advice}.") from error


_UNFINISHED = re.compile(r"\..+\.\d+\.(half(\..+)?|before)", re.DOTALL)
"""The names of what is not complete, or was about to be replaced."""


_ADVICE = {
    errno.ENOSPC: "free some space there, or choose another folder",
    errno.EDQUOT: "free some space there, or choose another folder",
    errno.EFBIG: "free some space there, or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "choose another folder",
    errno.EEXIST: "choose another folder",
}
"""What to do about an error, where it is not a matter of permission."""


def _explained(error: OSError, folder: Path) -> tuple[type[BadInput], str, str]:
    """Return what kind of error it is for the user, the reason and what to do about it."""
    number = errno.ENOSPC if error.errno is None and _SHORT_WRITE.fullmatch(str(error)) else error.errno
    advice = _ADVICE.get(number or 0, f"make {folder} writable, or choose another folder")
    return FullDisk if number in _FULL else BadInput, os.strerror(number) if number else str(error), advice


_FULL = (errno.ENOSPC, errno.EDQUOT)
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
"""What NumPy says where fewer numbers could be written than there are."""


def _shortened(stem: str, end: str) -> str:
    """Return a hidden name of `stem` and `end`, with a long stem cut so that the name has at most `MAX_NAME_BYTES`."""
    while len(os.fsencode(f".{stem}{end}")) > MAX_NAME_BYTES and len(stem) > 1:
        stem = stem[:-1]
    return f".{stem}{end}"


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
