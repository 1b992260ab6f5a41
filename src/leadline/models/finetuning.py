"""Finetuning: a network that predicts relative depth as the start of one that predicts metres."""

from dataclasses import replace

from torch import nn

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput
from leadline.models.base import DepthModel
from leadline.models.registry import build


def with_metric_head(
    model: DepthModel, *, head: str = "log", min_depth: float = 0.1, max_depth: float = 100.0
) -> DepthModel:
    """Build the same network for metres: all its weights but those of the last convolution, which starts afresh.

    The source paper finetunes MiDaS to metres. The last convolution begins near zero, so the network first answers the
    typical indoor depth everywhere, whatever the numbers of the relative network were.

    Args:
        model: any network of ours, or an official MiDaS or DPT, of any kind of depth.
        head: "log" or "softplus", as `leadline.models.heads.output_activation`.
        min_depth: metres that the output never falls below.
        max_depth: metres that it never exceeds.

    Returns:
        The network, in training mode.

    Raises:
        BadInput: the network has no such head.
    """
    options = {"kind": DepthKind.METRIC.value, "head": head, "min_depth": min_depth, "max_depth": max_depth}
    if missing := options.keys() - model.arguments.keys():
        raise BadInput(
            f"{model.name!r} cannot be given a head in metres (it has no {', '.join(sorted(missing))}): start from "
            "cnn, hybrid, midas_v21, midas_small, dpt_large or dpt_hybrid."
        )
    metric = build(model.name, **{**model.arguments, **options})
    last = [
        name for name, module in metric.named_modules() if name.startswith("head.") and isinstance(module, nn.Conv2d)
    ]
    fresh = metric.get_submodule(last[-1])
    assert isinstance(fresh, nn.Conv2d)
    kept = {key: value for key, value in model.state_dict().items() if not key.startswith(f"{last[-1]}.")}
    metric.load_state_dict(kept, strict=False)
    nn.init.normal_(fresh.weight, std=0.01)
    if fresh.bias is not None:
        nn.init.zeros_(fresh.bias)
    if model.preprocessing.focal is None:
        metric.set_preprocessing(replace(metric.preprocessing, focal=None))
    encoder = model.provenance.encoder or model.provenance.training_data
    metric.provenance = replace(model.provenance, encoder=encoder, figures={})
    return metric.train()
