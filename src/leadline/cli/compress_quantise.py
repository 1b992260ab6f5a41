"""`leadline compress quantise`."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from leadline.cli.compress_arguments import CompressArguments
from leadline.core.ranges import check_fields
from leadline.core.terminal import print_table
from leadline.recipes.compress import FINETUNING, QuantiseOptions, quantise_model


@dataclass(frozen=True)
class CompressQuantiseCommand(QuantiseOptions):
    """Store a trained network's weights in 8 or 4 bits, and finetune it so with the original as its teacher.

    Quantised distillation (Polino et al. 2018); --no-finetune leaves it at rounding the weights. The folder's weights
    are whole numbers with a scale for each channel, and are multiplied out when it is loaded: it is smaller, not
    faster (`leadline export --precision int8` computes in 8 bits). Run the same command again to resume.
    """

    model: Annotated[str, tyro.conf.Positional]
    """Folder of a saved model, a checkpoint, or the name of a published model: what is quantised, and the teacher."""
    options: Annotated[CompressArguments, tyro.conf.arg(name="")] = field(
        default_factory=lambda: CompressArguments(**FINETUNING)
    )

    def run(self) -> int:
        check_fields(self)
        compressed = quantise_model(self)
        print_table(compressed.table())
        print(f"The model is in {compressed.folder}")
        return 0
