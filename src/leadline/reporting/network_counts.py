"""Count what a network needs: parameters, and multiply-adds of one image.

`python -m leadline.reporting.network_counts` counts all named networks anew, for `leadline models` to read.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from leadline.io.atomic import atomic_write
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.registry import DEFAULT, MODELS, build_empty

COUNTS_FILE = Path(__file__).with_name("network_counts.json")


def counts_of(name: str) -> dict[str, Any]:
    """Return what a network called by name needs: as was counted, or counted now where it is not among those."""
    return _counted().get(name) or count(name)


def count(name: str) -> dict[str, Any]:
    """Build a network by name without its numbers, and return what it needs, as JSON holds it."""
    # On the meta device: nothing is drawn, and nothing is computed but shapes.
    model = (load(name) if name == DEFAULT else build_empty(name)).to("meta").eval()
    rule = model.preprocessing
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "multiply_adds": multiply_adds(model),
        "input": {
            "height": rule.size[0],
            "width": rule.size[1],
            "multiple": rule.multiple,
            "resize": rule.resize.value,
            "interpolation": rule.interpolation,
        },
        "kind": model.kind.value,
        "licence": model.provenance.licence,
        "terms": model.provenance.notes,
    }


def multiply_adds(model: DepthModel) -> int:
    """Count the multiply-adds of matrix products and convolutions for one image of a model's own size.

    Args:
        model: on the meta device, where nothing is computed but shapes.
    """
    image = torch.empty(1, 3, *model.preprocessing.size, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(image)
    # torch counts a multiplication and an addition as two.
    return counter.get_total_flops() // 2


@cache
def _counted() -> dict[str, dict[str, Any]]:
    return json.loads(COUNTS_FILE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    counted = {name: count(name) for name in (DEFAULT, *sorted(MODELS))}
    with atomic_write(COUNTS_FILE) as half:
        half.write_text(json.dumps(counted, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
