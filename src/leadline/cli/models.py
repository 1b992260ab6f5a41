"""`leadline models`."""

from dataclasses import dataclass

from leadline.core.terminal import print_json, print_table
from leadline.models.pretrained.hub_models import HUB_MODELS
from leadline.models.registry import DEFAULT, MODELS
from leadline.reporting.model_table import entry, models_table


@dataclass(frozen=True)
class ModelsCommand:
    """List the models: size, cost, input, kind of depth, licence, published figures, and what is on this machine."""

    json: bool = False
    """Print JSON, with the weights' addresses, hashes and places."""

    def run(self) -> int:
        entries = [entry(name) for name in (DEFAULT, *MODELS, *HUB_MODELS)]
        if self.json:
            print_json(entries, indent=1)
        else:
            print_table(models_table(entries))
        return 0
