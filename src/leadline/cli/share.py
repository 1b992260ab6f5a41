"""`leadline share`."""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from leadline.models.loading import load
from leadline.models.pretrained.hub import push_to_hub, read_figures


@dataclass(frozen=True)
class ShareCommand:
    """Put a saved model on the Hugging Face hub, with a card that says what its numbers are."""

    model: tyro.conf.Positional[Path]
    """Folder of a saved model."""
    repo: tyro.conf.Positional[str]
    """Where to: USER/NAME; made if it is not there."""
    figures: tuple[Path, ...] = ()
    """Files that `leadline evaluate --json` wrote for this model: their first row goes into the card."""
    private: bool = False
    """Only you may see it, if it is made now."""

    def run(self) -> int:
        model = load(self.model)
        scored = {words: metrics for file in self.figures for words, metrics in read_figures(file).items()}
        model.provenance = replace(model.provenance, figures={**model.provenance.figures, **scored})
        print(push_to_hub(model, self.repo, private=self.private))
        return 0
