"""What every test shares: shape checks in the whole package, one thread, the real data if it is here."""

import os
import sys
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


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and reference outputs beside the checkout; the test skips where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared (real photographs and reference outputs), which is not beside this checkout")
    return folder
