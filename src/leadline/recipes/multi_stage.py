"""Multi-stage: the encoder learns depth alone; then it is frozen, and the transformer and the decoder learn on it."""

from inspect import signature
from pathlib import Path

from leadline.errors import BadInput
from leadline.models import DepthModel
from leadline.models.cnn import cnn
from leadline.recipes import Course


def multi_stage(course: Course, out: Path) -> DepthModel:
    """Train a hybrid in two stages that share the steps, and so the images, of one end-to-end training.

    Raises:
        BadInput: the network has no transformer to train apart from its encoder.
    """
    if course.network != "hybrid":
        raise BadInput(f"multi_stage trains the parts of a hybrid, and {course.network!r} is none: use end_to_end.")
    first = course.plan.steps // 2
    alone = course.fit(_encoder_alone(course), out / "1-encoder", steps=first)
    network = course.build()
    network.encoder.load_state_dict(alone.encoder.state_dict())
    return course.fit(network, out / "2-transformer", steps=course.plan.steps - first, frozen=("encoder",))


def _encoder_alone(course: Course) -> DepthModel:
    """The hybrid's encoder under a light decoder, which is there only to let the encoder learn."""
    shared = {key: value for key, value in course.arguments.items() if key in signature(cnn).parameters}
    return course.build("cnn", {**shared, "decoder": "light", "width": None})
