"""What every test shares: shape checks in the whole package, one thread, the real data if it is here, a clean tree."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import strict
import torch

# Many tests start Python again, and each start would compile the whole package: keep what one has compiled.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
strict.install()
# Tests are small: threads would cost more than they bring, above all beside other work.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def working_tree() -> Iterator[None]:
    """Fail where the tests leave files in the working tree: they belong into `tmp_path`."""
    before = _untracked_files()
    yield
    left = sorted(_untracked_files() - before)
    assert not left, f"the tests left files in the working tree: {', '.join(left[:5])}"


def _untracked_files() -> set[str]:
    """Return what git neither knows nor ignores; nothing where this is no checkout."""
    root = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(root), "ls-files", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set()
    return set(listed.decode(errors="backslashreplace").split("\0")) - {""}


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and reference outputs beside the checkout; the test skips where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared (real photographs and reference outputs), which is not beside this checkout")
    return folder
