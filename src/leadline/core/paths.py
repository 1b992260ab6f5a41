"""Paths: what public functions take for the place of a file or of a folder."""

import os

StrPath = str | os.PathLike[str]
"""A `str`, a `pathlib.Path`, or anything else with `__fspath__`; a function turns it into a `Path` first."""
