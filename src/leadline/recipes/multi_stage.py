"""Multi-stage: the encoder learns depth alone; then it is frozen, and the transformer and the decoder learn on it."""

from dataclasses import fields
from pathlib import Path

from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.core.specs import parse_spec
from leadline.models.base import DepthModel
from leadline.models.networks.presets import NetworkConfig
from leadline.recipes import TrainingRun


def multi_stage(training_run: TrainingRun, out: StrPath) -> DepthModel:
    """Train a hybrid in two stages that share the steps, and so the images, of one end-to-end training.

    Raises:
        BadInput: the network has no transformer to train apart from its encoder, or there is only one step.
    """
    out = Path(out)
    name, _, arguments = parse_spec(training_run.network)
    if name != "hybrid":
        raise BadInput(
            f"multi_stage trains the parts of a hybrid, and {training_run.network!r} is not one: use end_to_end."
        )
    if training_run.frozen or training_run.lora:
        raise BadInput("multi_stage decides itself what is frozen in which stage: use --recipe end_to_end.")
    if training_run.config.steps < 2:
        raise BadInput(f"multi_stage has two stages, and steps={training_run.config.steps} gives one of them none.")
    shared = {key: value for key, value in arguments.items() if key in {each.name for each in fields(NetworkConfig)}}
    first = training_run.config.steps // 2

    alone = training_run.build("cnn", **{**shared, "decoder": "light", "width": None})
    alone = training_run.fit(alone, out / "1-encoder", steps=first)

    network = training_run.build()
    network.encoder.load_state_dict(alone.encoder.state_dict())
    return training_run.fit(
        network, out / "2-transformer", steps=training_run.config.steps - first, frozen=("encoder",)
    )
