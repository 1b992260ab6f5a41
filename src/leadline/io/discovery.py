"""Find the photographs that files, folders and patterns name."""

from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

from leadline.core.errors import BadInput
from leadline.io.images import PHOTO_SUFFIXES


def find_images(words: Sequence[str]) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Photographs that files, folders and patterns name, each with its place below where it was found.

    Also what could not be found, in words.

    Raises:
        BadInput: there is not one photograph.
    """
    found: dict[Path, Path] = {}
    missing = []
    for word in words:
        paths = [Path(word)] if Path(word).exists() or not has_magic(word) else sorted(map(Path, glob(word)))  # noqa: PTH207 (Path.glob takes no absolute patterns)
        inside = [pair for path in paths for pair in _photographs(path)]
        found |= {source: place for source, place in inside if source not in found}
        if not inside:
            missing.append(f"{word}: no photograph there.")
    if not found:
        raise BadInput(" ".join(missing) or "Name photographs, folders or patterns.")
    return list(found.items()), missing


def _photographs(path: Path) -> Iterator[tuple[Path, Path]]:
    if path.is_file():
        yield path, Path(path.name)
    for file in sorted(path.rglob("*")) if path.is_dir() else ():
        if file.suffix.lower() in PHOTO_SUFFIXES and file.is_file():
            yield file, file.relative_to(path)
