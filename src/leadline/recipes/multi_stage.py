"""Multi-stage: the encoder learns depth alone; then it is frozen, and the transformer and the decoder learn on it."""

from inspect import signature
from pathlib import Path

from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.core.specs import parse_spec
from leadline.models.base import DepthModel
from leadline.models.networks.cnn import cnn
from leadline.recipes import TrainingRun


def multi_stage(course: TrainingRun, out: StrPath) -> DepthModel:
    """Train a hybrid in two stages that share the steps, and so the images, of one end-to-end training.

    Raises:
        BadInput: the network has no transformer to train apart from its encoder.
    """
    out = Path(out)
    name, _, arguments = parse_spec(course.network)
    if name != "hybrid":
        raise BadInput(f"multi_stage trains the parts of a hybrid, and {course.network!r} is none: use end_to_end.")
    if course.frozen or course.lora:
        raise BadInput("multi_stage decides itself what is frozen in which stage: use --recipe end_to_end.")
    shared = {key: value for key, value in arguments.items() if key in signature(cnn).parameters}
    first = course.plan.steps // 2

    alone = course.build("cnn", **{**shared, "decoder": "light", "width": None})
    alone = course.fit(alone, out / "1-encoder", steps=first)

    network = course.build()
    network.encoder.load_state_dict(alone.encoder.state_dict())
    return course.fit(network, out / "2-transformer", steps=course.plan.steps - first, frozen=("encoder",))
