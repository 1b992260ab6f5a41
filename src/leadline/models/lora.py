"""LoRA (Hu et al. 2022): train a low-rank update of an encoder's linear layers instead of the layers themselves."""

from copy import deepcopy
from typing import Any

from torch import nn

from leadline.core.errors import BadInput
from leadline.models.base import DepthModel


def add_adapters(model: DepthModel, rank: int) -> None:
    """Freeze the encoder of `model` and put an adapter of this rank beside each of its linear layers, in place.

    The scale of the update is α / rank with α = 2 · rank; it starts at zero, so that the model's output is unchanged.

    Raises:
        BadInput: the rank is no positive number, peft is not installed, or the encoder has no linear layers.
    """
    if rank < 1:
        raise BadInput(f"LoRA of rank {rank}: give a whole number of at least 1, such as 8.")
    linear = [name for name, module in model.encoder.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise BadInput(
            f"LoRA adapts linear layers, and the encoder of {model.name!r} has none. "
            "Take a transformer (cnn,encoder=vit_small_patch14_dinov2), or keep the encoder as it is: --frozen encoder."
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as problem:
        raise BadInput("LoRA needs the peft library: pip install 'leadline[lora]'.") from problem
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=linear)
    inject_adapter_in_model(config, model.encoder)
    for module in model.encoder.modules():
        # EVA-02 and BEiT may multiply by the layer's weight without calling the layer, past its adapter.
        if hasattr(module, "qkv_bias_separate"):
            module.qkv_bias_separate = True  # pyright: ignore[reportArgumentType]


def merge_adapters(model: DepthModel) -> DepthModel:
    """Return `model` itself where it has no adapters, else a copy whose linear layers have taken them in."""
    if not any(_is_adapted(module) for module in model.modules()):
        return model
    model = deepcopy(model)
    adapted: list[tuple[str, Any]] = [(name, module) for name, module in model.named_modules() if _is_adapted(module)]
    for name, layer in adapted:
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    return model


def _is_adapted(module: nn.Module) -> bool:
    # By their parts: to ask peft, which a model without adapters does not need, takes a second to import.
    return hasattr(module, "lora_A") and hasattr(module, "get_base_layer")
