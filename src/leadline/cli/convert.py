"""`leadline convert`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from leadline.core.errors import BadInput
from leadline.models.pretrained.checkpoints import convert


@dataclass(frozen=True)
class ConvertCommand:
    """Turn an official MiDaS or DPT checkpoint into a saved model: weights.safetensors and model.json in a folder."""

    file: tyro.conf.Positional[Path]
    """The checkpoint, such as dpt_hybrid_nyu-2ce69ec7.pt."""
    directory: tyro.conf.Positional[Path]
    """The folder to write."""
    as_name: Annotated[str | None, tyro.conf.arg(name="as")] = None
    """The model that it is, where neither the keys nor the file's name tell: dpt_hybrid, dpt_hybrid_nyu …"""

    def run(self) -> int:
        if self.directory.is_dir() and any(self.directory.iterdir()):
            raise BadInput(f"{self.directory} is there, and not empty: choose a new folder, or remove it.")
        model = convert(self.file, self.directory, self.as_name)
        print(
            f"{self.directory}: {model.name}, {model.kind} depth, {model.provenance.licence}. {model.provenance.notes}"
        )
        return 0
