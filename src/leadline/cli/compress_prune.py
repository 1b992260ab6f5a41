"""`leadline compress prune`."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from leadline.cli.compress_arguments import CompressArguments
from leadline.core.ranges import check_fields
from leadline.core.terminal import print_table
from leadline.recipes.compress import FINETUNING, PruneOptions, prune_model


@dataclass(frozen=True)
class CompressPruneCommand(PruneOptions):
    """Make a trained convolutional network narrower, and finetune it with the original as its teacher.

    Channels that the next layers need least go (He et al. 2017). The table printed at the end compares multiply-adds,
    size and scores on the test data. Run the same command again to resume. Needs `pip install 'leadline[compress]'`.
    """

    model: Annotated[str, tyro.conf.Positional]
    """Folder of a saved model, a checkpoint, or the name of a published model: what is pruned, and the teacher."""
    options: Annotated[CompressArguments, tyro.conf.arg(name="")] = field(
        default_factory=lambda: CompressArguments(**FINETUNING)
    )

    def run(self) -> int:
        check_fields(self)
        compressed = prune_model(self)
        print_table(compressed.table())
        print(f"The model is in {compressed.folder}")
        return 0
