"""The study of compression: fewer channels and fewer bits, with the original as the teacher and without."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch

from leadline.compression.channels import rank_at_random, rank_by_lasso
from leadline.compression.pruning import check_installed, check_prunable, prune
from leadline.core.ranges import AtLeastOne, Positive, Within
from leadline.core.stopwatch import time_in_turns
from leadline.data.mixing import as_mixture
from leadline.evaluation.evaluate import evaluate
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.tables import Row
from leadline.io.run_folder import claim_folder
from leadline.models.base import DepthModel
from leadline.models.loading import load
from leadline.models.quantisation import quantise
from leadline.models.saving import WEIGHTS, fingerprint, load_folder, save
from leadline.recipes import TrainingRun
from leadline.recipes.arms import Arm, Claim, Design, baseline_rows, study_record, study_report, train_arms
from leadline.recipes.compress import calibration_images
from leadline.recipes.distil import BEST_WEIGHTS, METRES, DistillationExperiment, Variant
from leadline.recipes.studies import describe_budget
from leadline.recipes.study_options import StudyOptions, open_study
from leadline.recipes.train_options import TrainOptions
from leadline.reporting.network_counts import multiply_adds
from leadline.reporting.report import Report
from leadline.training.trainer import TrainConfig

DESIGN = Design(
    "compression",
    "Compression: fewer channels, fewer bits",
    "One trained network is the start and the teacher of every arm; the seeds are of the finetuning: the order of the "
    "data and the augmentation. Channels are pruned by LASSO (He et al. 2017), and as many of each layer at random; "
    "weights are rounded to 8 and 4 bits a channel, and learn through the rounding (Polino et al. 2018). Every "
    "compressed network is finetuned with the original as the teacher and, but for two, without. The control is the "
    "original itself, trained on for as many steps.",
    {
        "pruning": "What do half of the multiply-adds cost?",
        "channels": "Does it matter which channels go, once the network is finetuned?",
        "bits": "What do weights of 8 and of 4 bits cost?",
        "teacher": "Does the original help as a teacher?",
    },
    (
        Claim("pruning", "pruned-taught", "control", "compression", "d1"),
        Claim("channels", "pruned-taught", "random-taught", "compression", "d1"),
        Claim("bits", "bits-8-taught", "control", "compression", "d1"),
        Claim("bits", "bits-4-taught", "control", "compression", "d1"),
        Claim("teacher", "pruned-taught", "pruned", "compression", "d1"),
        Claim("teacher", "bits-4-taught", "bits-4", "compression", "d1"),
    ),
    {"compression": "all claims of this study"},
)
NETWORK: Mapping[str, Any] = {
    "data": "rooms,domain=a,count=1024,height=64,width=96",
    "model": "cnn,size=tiny,input_size=64:96",
    "config": TrainConfig(steps=150, batch_size=16, learning_rate=2e-3, validate_every=150),
}
"""Default training options: of the finetuning, and of the original with its own steps and rate."""
BITS = (8, 4)
_TAUGHT = Variant("", METRES, alignment="none")
_ALONE = Variant("")


@dataclass(frozen=True)
class CompressionStudyOptions(StudyOptions):
    """What the study of compression trains, and where."""

    out: Path = Path("runs/compression")
    """Folder for the runs, the report and the record."""
    original: str | None = None
    """Trained network to compress, in metres; unset: the options' network is trained first."""
    original_steps: AtLeastOne = 600
    """Steps of that training."""
    original_rate: Positive = 4e-3
    """Its learning rate."""
    keep: Annotated[float, Within(0, 1, above=True, below=True)] = 0.5
    """Fraction of the multiply-adds that pruning leaves."""
    images: AtLeastOne = 64
    """Calibration images of the pruning, from the training data."""
    options: TrainOptions = field(default_factory=lambda: TrainOptions(**NETWORK))


@dataclass(frozen=True)
class _Network:
    """One compressed network before its finetuning."""

    name: str
    model: DepthModel
    folder: Path
    """Where it is saved, in the form that its file has."""
    start: str
    """What a training run builds it from."""


def study_compression(study: CompressionStudyOptions, command: str = "") -> tuple[Report, dict[str, Any]]:
    """Compress one network in several ways, finetune each from each seed, evaluate, and compare; it resumes.

    Args:
        study: its options.
        command: the command line, for the record.

    Returns:
        The report; and the record.

    Raises:
        BadInput: an option, the data or a run folder cannot be used, or the network cannot be pruned.
    """
    check_installed()
    chosen, data = DESIGN.arms(study.only), open_study(study, DESIGN)
    train, test = as_mixture(data.train), data.test
    run = replace(data.training_run, train=train)
    spec = study.original or str(_trained_original(study, run))
    original = load(spec)
    check_prunable(original)
    networks = _networks(study, original, spec, run)
    experiment = DistillationExperiment(run, original, spec, study.out)

    def arm(title: str, variant: Variant, network: str) -> Arm:
        made = replace(experiment, training_run=replace(run, network=networks[network].start)).run_of(variant)
        factors = {"network": networks[network].name, "teacher": "the original" if variant.teacher_losses else "none"}
        return Arm(title, made, factors=factors, seeds=study.seeds)

    known = {
        "control": ("original, trained on, no teacher (control)", _ALONE, "original"),
        "pruned-taught": ("pruned, with the teacher", _TAUGHT, "pruned"),
        "pruned": ("pruned, no teacher", _ALONE, "pruned"),
        "random-taught": ("random channels, with the teacher", _TAUGHT, "random"),
        "bits-8-taught": ("8 bits, with the teacher", _TAUGHT, "bits-8"),
        "bits-4-taught": ("4 bits, with the teacher", _TAUGHT, "bits-4"),
        "bits-4": ("4 bits, no teacher", _ALONE, "bits-4"),
    }
    arms = {key: arm(*told) for key, told in known.items() if key in chosen}
    if study.train:
        train_arms(arms, study.out, study.jobs)
    fixed = [
        (key, evaluate(each.model, test, run.protocol, name=f"{each.name}, not finetuned").rows[0])
        for key, each in networks.items()
    ]
    fixed = [(key, replace(row, name="the original") if key == "original" else row) for key, row in fixed]
    notes = [
        describe_budget(study.options, len(train), remark=BEST_WEIGHTS, names_network=study.original is None),
        f"The original had {study.original_steps} steps before." if study.original is None else f"Original: {spec}.",
        "Times: one image of the native size, PyTorch on one thread of this machine, median of turns in alternation. "
        "Quantised weights are multiplied out when a model is loaded, so these networks take the original's time. "
        "Scores of finetuned rows are means over seeds.",
    ]
    record = study_record(
        DESIGN.restricted(study.only),
        arms,
        study.out,
        test,
        fixed=[*fixed, *baseline_rows(train, test, run.protocol)],
        notes=notes,
        command=command,
    )
    record["tables"] = [_costs(record, networks, dict(fixed))]
    return study_report(record, train, test, run.protocol), record


def _trained_original(study: CompressionStudyOptions, run: TrainingRun) -> Path:
    """Train the network that is compressed; return its folder."""
    folder = study.out / "original"
    steps = study.original_steps
    config = replace(run.config, steps=steps, learning_rate=study.original_rate, validate_every=max(steps // 3, 1))
    own = replace(run, config=config)
    # A finished training returns at once, and one of other options is refused.
    save(own.fit(own.build(), folder), folder / "model")
    return folder / "model"


def _networks(study: CompressionStudyOptions, original: DepthModel, spec: str, run: TrainingRun) -> dict[str, _Network]:
    """Compress in every way; what is there already is kept."""
    place = study.out / "start"
    configuration = {"original": fingerprint(original), "keep": study.keep, "images": study.images}
    problem = f"{study.out} holds a study of another compression"
    claim_folder(study.out / "compression-start.json", configuration, problem)
    choices = {"pruned": rank_by_lasso, "random": rank_at_random(0)}
    images = None
    for key, rank in choices.items():
        if not (place / key / "model.json").is_file():
            images = calibration_images(original, run.train, study.images) if images is None else images
            save(prune(original, images, study.keep, rank=rank), place / key)
    for bits in BITS:
        if not (place / f"bits-{bits}" / "model.json").is_file():
            save(quantise(deepcopy(original), bits=bits), place / f"bits-{bits}")
    if not (place / "original" / "model.json").is_file():
        save(original, place / "original")
    names = {"original": "original", "pruned": "pruned", "random": "random channels"}
    names |= {f"bits-{bits}": f"{bits} bits" for bits in BITS}
    return {
        key: _Network(
            name,
            load_folder(place / key),
            place / key,
            f"quantised:{spec},bits={key.removeprefix('bits-')}" if key.startswith("bits-") else str(place / key),
        )
        for key, name in names.items()
    }


def _costs(
    record: Mapping[str, Any],
    networks: Mapping[str, _Network],
    fixed: Mapping[str, Row],
) -> dict[str, Any]:
    """Set what each network costs beside what it scores."""
    timed = ("original", "pruned", "random")
    taken: dict[str, float] = dict(
        zip(timed, _times_on_one_thread([networks[key].model for key in timed]), strict=True)
    )
    lines = []
    for key, network in networks.items():
        seconds = taken.get(key, taken["original"])
        size = (network.folder / WEIGHTS).stat().st_size
        cost = multiply_adds(deepcopy(network.model).to("meta"))
        about = [f"{cost / 1e6:.1f} M", f"{size / 1e6:.2f} MB", f"{1e3 * seconds:.1f} ms"]
        about.append(f"{seconds / taken['original']:.2f}")
        metrics = fixed[key].metrics
        lines.append([fixed[key].name, *about, *(METRICS[name].printed(metrics[name]) for name in ("d1", "rmse"))])
        for name, arm in record["arms"].items():
            if arm["factors"]["network"] == network.name:
                means = record["derived"]["rows"][name]
                lines.append([arm["name"], *about, *(METRICS[m].printed(means[m]["mean"]) for m in ("d1", "rmse"))])
    head = ["", "multiply-adds", "weights", "time", "× original", METRICS["d1"].heading, METRICS["rmse"].heading]
    return {"title": "What each network costs, and scores", "head": head, "body": lines}


def _times_on_one_thread(models: Sequence[DepthModel], turns: int = 40) -> list[float]:
    """Return the median seconds of one image of each model's own size, on one thread of the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            runs = [partial(model.eval(), torch.rand(1, 3, *model.preprocessing.size)) for model in models]
            return time_in_turns(runs, turns)
    finally:
        torch.set_num_threads(threads)
