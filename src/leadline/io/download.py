"""Download a file by HTTP: it resumes after a break, and takes its name once its hash matches."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, build_opener

from leadline.core.errors import BadInput
from leadline.core.progress import ProgressBar
from leadline.io.locks import file_lock

_PIECE = 1 << 18
"""The most bytes that are read at once."""


def download(addresses: Sequence[str], file: Path, sha256: str, *, patience: float = 30.0) -> None:
    """Download `file` from the first of several addresses that has it, unless it exists.

    What was received before a break stays beside it as `.part`, and both this call and the next resume from there.
    `file` itself is complete or does not exist. Of two processes the later waits, and finds the file. Redirections are
    followed, and the environment's proxies used.

    Args:
        addresses: URLs, tried in turn where a server answers 404.
        file: where to store it.
        sha256: its hash in hex digits, or their beginning.
        patience: seconds without a byte after which a connection counts as broken.

    Raises:
        BadInput: no server, no such file there, a break after which nothing more came, other bytes than the hash
            says (they are removed), or a disk that is full or not writable.
    """
    part = file.with_name(f"{file.name}.part")
    try:
        with file_lock(file.with_name(f".{file.name}.lock"), f"downloading {file.name}"):
            if not file.is_file():
                _bring(addresses, part, patience)
                _must_match(part, sha256, file)
                part.replace(file)
    except _Broken as problem:
        raise BadInput(
            f"Could not download {file.name} from {addresses[0]}: {problem}. Try again (it resumes where it stopped), "
            f"or get the file by other means as {file}."
        ) from problem
    except OSError as problem:
        raise BadInput(
            f"Cannot write {part}: {problem.strerror or problem}. Free some space there or choose another folder; "
            "the download then resumes where it stopped."
        ) from problem


class _Broken(Exception):
    """The network failed, rather than the disk."""


def _bring(addresses: Sequence[str], part: Path, patience: float) -> None:
    """Fill `part`, connecting again as long as each connection brings more bytes."""
    furthest = -1
    fault = _Broken("the connection broke before the end")
    while _size(part) > furthest:
        furthest = _size(part)
        try:
            if _is_complete_after_one_connection(addresses, part, patience):
                return
        except _Broken as problem:
            fault = problem
    raise fault


def _is_complete_after_one_connection(addresses: Sequence[str], part: Path, patience: float) -> bool:
    here = _size(part)
    with _opened(addresses, here, patience) as response:
        if response.status == 416:
            return True  # There is no byte after those we have: the hash decides.
        # Only 206 resumes where we are: a server that knows no ranges answers 200 and sends the whole file.
        start = here if response.status == 206 else 0
        length = response.headers["Content-Length"]
        total = None if length is None else start + int(length)
        if total is not None and shutil.disk_usage(part.parent).free < total - here:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        bar = ProgressBar(total, "B", part.stem, done=start)
        with part.open("ab") as half, bar:
            half.truncate(start)
            for piece in _pieces(response):
                half.write(piece)
                bar.update(len(piece))
            half.flush()
            os.fsync(half.fileno())
    return total is None or _size(part) == total


def _opened(addresses: Sequence[str], start: int, patience: float) -> Any:
    """Return the response of the first address that does not answer 404."""
    headers = {"User-Agent": "leadline"} | ({"Range": f"bytes={start}-"} if start else {})
    for address in addresses:
        try:
            return build_opener().open(Request(address, headers=headers), timeout=patience)
        except HTTPError as answer:
            if answer.code == 416:
                return answer
            answer.close()
            if answer.code != 404 or address == addresses[-1]:
                raise _Broken(f"the server answers {answer.code} {answer.reason}") from answer
        except (OSError, HTTPException) as problem:
            raise _Broken(str(getattr(problem, "reason", problem)) or type(problem).__name__) from problem
    raise _Broken("no address is known")


def _pieces(response: Any) -> Iterator[bytes]:
    try:
        while piece := response.read1(_PIECE):
            yield piece
    except (OSError, HTTPException) as problem:
        raise _Broken(str(problem) or type(problem).__name__) from problem


def _must_match(part: Path, sha256: str, file: Path) -> None:
    with part.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if not found.startswith(sha256):
        part.unlink()
        raise BadInput(
            f"The download is not {file.name}: its SHA-256 begins with {found[: len(sha256)]}, not {sha256}. It was "
            f"removed: download again, from elsewhere if that happens twice, or get the file by other means as {file}."
        )


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
