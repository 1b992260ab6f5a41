"""`leadline models`."""

import json
from dataclasses import dataclass

from leadline.core.terminal import print_table
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
            print(json.dumps(entries, indent=1, ensure_ascii=False))
        else:
            print_table(models_table(entries))
        return 0
