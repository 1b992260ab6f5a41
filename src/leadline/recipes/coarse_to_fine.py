"""Coarse to fine: the coarse network learns depth alone; then it is frozen, and the fine one learns to edit its map."""

from pathlib import Path

from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.core.specs import parse_spec
from leadline.models.base import DepthModel
from leadline.recipes import TrainingRun


def coarse_to_fine(training_run: TrainingRun, out: StrPath) -> DepthModel:
    """Train Eigen et al.'s two networks one after the other (2014, §3.3), in the steps of one end-to-end training.

    The paper's own steps and options are `--loss scale_invariant=1 --augmentation.crop 0.67 --augmentation.rotate 5
    --augmentation.colour 0.2 --augmentation.brightness 0`, three steps of the coarse network for two of the fine one.

    Raises:
        BadInput: another network, or one of its stages alone.
    """
    out = Path(out)
    name, _, arguments = parse_spec(training_run.network)
    if name != "eigen" or "stage" in arguments:
        raise BadInput(
            f"coarse_to_fine trains the two networks of eigen, and {training_run.network!r} is not that: "
            "use --model eigen, or --recipe end_to_end."
        )
    if training_run.frozen or training_run.lora:
        raise BadInput("coarse_to_fine decides itself what is frozen in which stage: use --recipe end_to_end.")
    first = max(training_run.config.steps * 3 // 5, 1)

    coarse = training_run.build("eigen", **{**arguments, "stage": "coarse"})
    coarse = training_run.fit(coarse, out / "1-coarse", steps=first)

    network = training_run.build()
    network.load_state_dict(coarse.state_dict(), strict=False)
    return training_run.fit(
        network, out / "2-fine", steps=training_run.config.steps - first, frozen=("encoder", "coarse")
    )
