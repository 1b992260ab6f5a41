"""Paths: the type by which public functions take a file or a folder."""

import os

StrPath = str | os.PathLike[str]
"""A `str`, a `pathlib.Path`, or anything else with `__fspath__`; a function turns it into a `Path` first."""
