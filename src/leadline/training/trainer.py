"""Training: the one loop, which owns a run folder and resumes in it after any interruption."""

import errno
import json
import time
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cached_property, partial, wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.tensorboard import SummaryWriter

from leadline.core.depth_kind import DepthKind
from leadline.core.errors import BadInput, as_sentence, check_type, first_line
from leadline.core.paths import StrPath
from leadline.core.progress import ProgressBar, print_line
from leadline.core.ranges import AtLeastOne, NotNegative, OneOf, Positive, Seed, Side, Within, check_fields
from leadline.core.sample import Sample
from leadline.core.stopping import StopRequest
from leadline.core.stopwatch import Stopwatch
from leadline.core.threads import let_forks_use_one_thread
from leadline.data.datasets import Dataset, check_dataset, check_samples, subsample_evenly
from leadline.data.loader import batches, identity
from leadline.data.transforms import Augmentation, resize
from leadline.evaluation.alignment import ALIGNMENTS
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import EvalProtocol, check_protocol
from leadline.io.atomic import atomic_write, clean_stale
from leadline.io.json_text import as_json
from leadline.io.locks import file_lock
from leadline.io.run_folder import check_same_configuration, create_or_read, read_configuration
from leadline.models.base import DepthModel, Preprocessing, Resize, check_model
from leadline.models.lora import add_adapters
from leadline.models.quantisation import add_quantisers
from leadline.models.saving import load_folder, save, weights_sha256
from leadline.training.compiling import compile_checked
from leadline.training.objectives import Objective, Supervised

P = ParamSpec("P")
T = TypeVar("T")

PRECISIONS = ("auto", "32-true", "32", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "64")
"""What `TrainConfig.precision` takes: `auto`, or a name of Lightning Fabric's."""
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
"""What `HardwareConfig.accelerator` takes."""


@dataclass(frozen=True)
class TrainConfig:
    """Configure a training: with the model, the data and the objective, all that its result depends on."""

    steps: AtLeastOne = 3000
    """Optimiser steps."""
    batch_size: AtLeastOne = 16
    """Images per step, over all devices."""
    learning_rate: Positive = 1e-4
    """Peak of the one-cycle schedule."""
    encoder_lr_scale: Annotated[float, Within(0)] | None = None
    """The encoder's learning rate as a fraction of the others'; unset: 0.1 if it came pretrained, else 1."""
    weight_decay: Annotated[float, Within(0)] = 0.01
    """AdamW's, on matrices and kernels only."""
    grad_clip: Positive = 1.0
    """Largest norm of the whole gradient."""
    ema_decay: Annotated[float, Within(0, 1, below=True)] = 0.999
    """Of the moving average of the weights, warmed up; the average is what is validated and saved."""
    validate_every: AtLeastOne = 500
    """Steps between two validations."""
    monitor: Annotated[str, OneOf(tuple(METRICS))] = "rmse"
    """The validation metric that decides which weights are best."""
    size: tuple[Side, Side] | None = None
    """Height and width in training; unset: the model's own."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """What is done to each training sample."""
    seed: Seed = 0
    """Of the order of the data, the augmentation and dropout."""
    precision: Annotated[str, OneOf(PRECISIONS)] = "auto"
    """`auto` (bf16-mixed on a GPU that has it, else 32-true) or any of Lightning Fabric's names."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_type(self.augmentation, Augmentation, "augmentation", "give an Augmentation(…)")
        # A copy, in which numbers of NumPy become Python's: the caller's own stays as it is.
        object.__setattr__(self, "augmentation", replace(self.augmentation))
        check_fields(self.augmentation)


@dataclass(frozen=True)
class HardwareConfig:
    """Configure where a training runs; nothing here changes what it computes, up to the devices' rounding."""

    accelerator: Annotated[str, OneOf(ACCELERATORS)] = "auto"
    """`cpu`, `cuda`, `mps`, or `auto`."""
    devices: AtLeastOne = 1
    """How many; each takes an equal part of a batch."""
    workers: NotNegative = 1
    """Processes that load data, per device."""
    save_every: Annotated[float, Within(0)] = 30.0
    """Seconds after which a checkpoint is due; it is written with the next line of the log."""
    log_every: AtLeastOne = 20
    """Steps between two lines in the logs."""
    compile: bool = False
    """Compile the network, after a check that it then computes the same; the first step takes minutes longer."""
    profile: bool = False
    """Print how long the data, the passes, the optimiser and the validation take, at the end; this waits for the
    device after each part."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def device(self) -> torch.device:
        """The device for a model that runs beside the training without being trained: a teacher."""
        return _fabric(self, devices=1).device


def _accept_old_keywords(**renamed: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Take keywords of a function by their old names for one release, with a warning."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            for old in kwargs.keys() & renamed.keys():
                said = f"{old}= is called {renamed[old]}= now, and its old name goes with the next release"
                warnings.warn(said, DeprecationWarning, stacklevel=2)
                kwargs[renamed[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


@_accept_old_keywords(plan="config", machine="hardware")
def fit(
    model: DepthModel,
    train: Dataset,
    validation: Dataset,
    objective: Objective,
    config: TrainConfig,
    out: StrPath,
    *,
    protocol: EvalProtocol,
    frozen: tuple[str, ...] = (),
    lora: int = 0,
    start: str = "",
    hardware: HardwareConfig = HardwareConfig(),
) -> DepthModel:
    """Train `model` in the run folder `out` and return the weights that validated best.

    A finished run returns at once and an interrupted one resumes; on one CPU its final weights equal, bit for bit,
    those of a run that was never interrupted.

    Args:
        model: the network; it is trained in place.
        train: samples to learn from.
        validation: samples to choose the best weights by.
        objective: the losses.
        config: steps, batch size, learning rate and the like.
        out: the run folder: `run.json` (the configuration), `last.ckpt` (everything needed to resume), `best/` and
            `last/` (models to load), `log.jsonl`, `tensorboard/`, and `done.json` once finished.
        protocol: how validation is scored.
        frozen: names of submodules that keep their weights and their statistics.
        lora: rank of the adapters through which alone the encoder learns, and which saved models have merged; 0: none.
        start: what the weights are that it starts from, such as their hash, which is part of the configuration.
        hardware: device, precision, workers; how often to save and log.

    Returns:
        The model with the moving average of its weights that scored best on the validation samples.

    Raises:
        BadInput: the folder holds a run of another configuration, the protocol cannot score depth of the model's kind,
            the loss is no longer finite, or what `frozen` and `lora` name does not fit the model.
    """
    return Trainer(
        model, train, validation, objective, config, Path(out), protocol, frozen, lora, start, hardware
    ).fit()


class Trainer:
    """Run one training in its run folder: set up, resume, step, validate, finish. Use `fit`."""

    def __init__(
        self,
        model: DepthModel,
        train: Dataset,
        validation: Dataset,
        objective: Objective,
        config: TrainConfig,
        out: Path,
        protocol: EvalProtocol,
        frozen: tuple[str, ...],
        lora: int,
        start: str,
        hardware: HardwareConfig,
    ) -> None:
        check_model(model)
        for dataset in (train, validation):
            check_dataset(dataset)
        check_type(objective, Objective, "objective", 'give one as Supervised({"silog": 1.0})')
        check_type(config, TrainConfig, "configuration", "give a TrainConfig(steps=…)")
        check_type(hardware, HardwareConfig, "configuration of the hardware", "give a HardwareConfig(…)")
        check_type(frozen, tuple | list, "list of parts to freeze", 'give names, as ("encoder",)')
        check_protocol(protocol)
        if model.kind not in ALIGNMENTS[protocol.alignment].kinds:
            raise BadInput(
                f"{model.name} outputs {model.kind.value} depth, which the protocol {protocol.words} cannot compare "
                f"with metres. {_MADE_COMPARABLE[model.kind]}"
            )
        multiple = model.preprocessing.multiple
        if config.size and any(side % multiple for side in config.size):
            height, width = config.size
            raise BadInput(f"size={height}:{width}: {model.name} takes sides that divide by {multiple}.")
        self.fixed = _fix_weights(model, frozen, lora, config.seed)
        """Modules that stay in evaluation mode, so that their statistics are kept."""
        self.model, self.objective, self.protocol, self.frozen, self.lora = model, objective, protocol, frozen, lora
        self.train, self.validation, self.out = train, validation, out
        self.config, self.hardware, self.start = config, hardware, start
        self.stopwatch = Stopwatch(is_on=hardware.profile)

    def fit(self) -> DepthModel:
        """Train to the end, and return the weights that validated best."""
        let_forks_use_one_thread()
        # Before the run folder is made: a refused loss leaves none. A finished run needs no teacher to be loaded.
        parts = nn.Module() if (self.out / _DONE).exists() else self._parts()
        fabric = _fabric(self.hardware, precision=_precision(self.config, self.hardware.accelerator))
        # Other processes of this run, one a device, wait for this one.
        is_first = fabric.is_global_zero
        with file_lock(self.out / ".lock", f"training in {self.out}", waits=False) if is_first else nullcontext():
            for dataset in (self.train, self.validation):
                check_samples(dataset)
            with_depth = _datasets_in(self.validation)
            if isinstance(self.objective, Supervised):
                _check_metres(self.model, self.train)
                with_depth = [*_datasets_in(self.train), *with_depth]
            for part in with_depth:
                _check_depth(part)
            _claim(self.out, self._configuration)
            if (self.out / _DONE).exists():
                return _load_best(self.out)
            with StopRequest() as stop:
                self.setup(fabric, parts)
                self.resume()
                self._run(stop)
                self.finish()
            return load_folder(self.out / "best")

    def _parts(self) -> nn.Module:
        """Build what is trained beside the network; by a seed of its own, so that nothing drawn before matters."""
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            return self.objective.parts(self.model)

    def setup(self, fabric: Fabric, parts: nn.Module) -> None:
        """Put the network, what is trained beside it and their optimiser on the devices.

        Args:
            fabric: the devices.
            parts: what is trained beside the network, as the objective built it.

        Raises:
            BadInput: something is trained beside the network, on several devices.
        """
        fabric.launch()
        clean_stale(self.out)
        model, config = self.model, self.config
        learnt_from = [*filter(None, [model.provenance.training_data]), self.train.name]
        model.provenance = replace(model.provenance, training_data=", then ".join(learnt_from), figures={})
        optimizer = AdamW(_parameter_groups(model, parts, config), fused=True)
        rates = [group["lr"] for group in optimizer.param_groups]
        schedule = OneCycleLR(optimizer, rates, total_steps=config.steps)
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if self.hardware.compile:
            compile_checked(model.to(fabric.device))
        self.wrapped, self.wrapped_optimizer = fabric.setup(model, optimizer)
        self.wrapped.mark_forward_method("features")
        self.wrapped.mark_forward_method("forward_with_sides")
        if fabric.world_size > 1 and any(parts.parameters()):
            raise BadInput(
                "What is trained beside the network (features, holistic) is trained on one device only: --devices 1."
            )
        parts.to(fabric.device).train()
        average = ModelEmaV3(model, decay=config.ema_decay, use_warmup=True)
        self.fabric, self.state = fabric, _State(self._configuration, model, parts, average, optimizer, schedule)

    def resume(self) -> None:
        """Resume from the last checkpoint, if there is one."""
        if (self.out / _CHECKPOINT).exists():
            self.state.read(self.out / _CHECKPOINT, self.fabric.device)
        elif self.fabric.is_global_zero:
            self.state.write(self.out / _CHECKPOINT)
        self.fabric.barrier()

    def step(self, batch: Sample) -> dict[str, Tensor]:
        """Take one optimiser step on a batch; return the loss terms."""
        state = self.state
        torch.manual_seed(_address(self.config.seed, state.step, self.fabric.global_rank))
        with self.stopwatch.stage("forward"):
            terms = self.objective(self.wrapped, batch, state.parts)  # pyright: ignore[reportArgumentType]
        with self.stopwatch.stage("backward"):
            self.fabric.backward(sum(terms.values(), torch.zeros((), device=self.fabric.device)))
        with self.stopwatch.stage("optimiser"):
            self.fabric.clip_gradients(
                self.wrapped, self.wrapped_optimizer, max_norm=self.config.grad_clip, error_if_nonfinite=False
            )
            self.wrapped_optimizer.step()
            self.wrapped_optimizer.zero_grad()
        return terms

    def validate(self) -> dict[str, float]:
        """Score the averaged weights, and keep them if they are the best so far."""
        state = self.state
        scores = evaluate_metrics(state.average.module, self.validation, self.protocol)
        if state.improves(self.config.monitor, scores):
            state.best = {"step": state.step, **scores}
            if self.fabric.is_global_zero:
                save(state.average.module, self.out / "best")
        return scores

    def finish(self) -> None:
        """Save the last weights, and record in the run folder that the training is finished."""
        if self.fabric.is_global_zero:
            save(self.state.average.module, self.out / "last")
            seconds = round(self.state.seconds, 1)
            summary = {"steps": self.config.steps, "seconds": seconds, "best": self.state.best}
            summary["best_sha256"] = weights_sha256(load_folder(self.out / "best"))
            with atomic_write(self.out / _DONE) as half:
                half.write_text(json.dumps(summary, indent=1))
            (self.out / _CHECKPOINT).unlink()
        self.fabric.barrier()

    def _run(self, stop: StopRequest) -> None:
        """The loop itself."""
        if self.fabric.device.type == "cuda":
            self.stopwatch.wait = torch.cuda.synchronize
        self.stopwatch.began = time.perf_counter()
        state, config, hardware = self.state, self.config, self.hardware
        loader = self._batches()
        self.wrapped.train()
        for module in self.fixed:
            module.eval()
        with closing(_Log(self.out, config, hardware, state, is_silent=not self.fabric.is_global_zero)) as log:
            started_at = time.monotonic() - state.seconds
            saved_at = time.monotonic()
            while state.step < config.steps:
                with self.stopwatch.stage("waiting for data"):
                    batch = next(loader).to(self.fabric.device)
                terms = self.step(batch)
                rate = state.optimizer.param_groups[-1]["lr"]
                with self.stopwatch.stage("average of the weights"):
                    state.schedule.step()
                    state.average.update(self.model, step=state.step)
                state.step, state.seconds = state.step + 1, time.monotonic() - started_at
                log.step({name: term.detach() for name, term in terms.items()}, rate)
                if state.step % config.validate_every == 0 or state.step == config.steps:
                    log.flush()
                    with self.stopwatch.stage("validation"):
                        scores = self.validate()
                    log.validation(scores)
                is_due = time.monotonic() - saved_at >= hardware.save_every and state.step % hardware.log_every == 0
                if (is_due or stop.signal) and self.fabric.is_global_zero:
                    state.write(self.out / _CHECKPOINT)
                    saved_at = time.monotonic()
                if stop.signal and state.step < config.steps:
                    stop.end(f"{self.out}: stopped after step {state.step} of {config.steps}, which is saved.")
        if self.hardware.profile and self.fabric.is_global_zero:
            print_line(self.stopwatch.table())

    def _batches(self) -> Iterator[Sample]:
        config = self.config
        return batches(
            self.train,
            partial(view, augmentation=config.augmentation, preprocessing=self.model.preprocessing, size=config.size),
            seed=config.seed,
            batch_size=config.batch_size,
            first_step=self.state.step,
            last_step=config.steps,
            rank=self.fabric.global_rank,
            ranks=self.fabric.world_size,
            workers=self.hardware.workers,
        )

    @cached_property
    def _configuration(self) -> dict[str, Any]:
        """What tells this run from others; it reads some samples of each dataset, once."""
        model = self.model
        return {
            "model": {"name": model.name, "arguments": model.arguments, "kind": model.kind},
            "train": identity(self.train),
            "validation": identity(self.validation),
            "objective": {"name": type(self.objective).__name__, **asdict(self.objective)},  # pyright: ignore[reportArgumentType]
            "config": asdict(self.config),
            "protocol": asdict(self.protocol),
            "frozen": list(self.frozen),
            **({"lora": self.lora} if self.lora else {}),  # Runs from before there was LoRA do not say it.
            **({"start": self.start} if self.start else {}),
            **({"weight_bits": model.weight_bits} if model.weight_bits else {}),
        }


_MADE_COMPARABLE = {
    DepthKind.METRIC: "Choose another alignment.",
    DepthKind.RELATIVE: "Align its depth to what was measured, --protocol relative; or, for metres, build it with "
    "kind=metric,head=log, or start from trained weights: --model start:MODEL.",
    DepthKind.SCALE_FREE: "Align its depth to what was measured: --protocol scale_free.",
}


def view(
    sample: Sample,
    rng: np.random.Generator,
    *,
    augmentation: Augmentation,
    preprocessing: Preprocessing,
    size: tuple[int, int] | None = None,
) -> Sample:
    """Return a random view of a sample, augmented and resized for a network of this preprocessing.

    A photograph by an unknown camera is taken for one by the canonical camera before it is cropped: a crop is a zoom,
    and to take the crop for the whole would teach that what looks large is far. A network that squashes photographs to
    its size learns from squashed ones.

    Args:
        sample: one sample.
        rng: source of the randomness.
        augmentation: which changes are drawn.
        preprocessing: the network's.
        size: height and width in pixels; None: the network's own.
    """
    if sample.intrinsics is None:
        sample = sample.replace(intrinsics=preprocessing.camera(sample.image))
    size = size or preprocessing.size
    if preprocessing.resize is Resize.STRETCH:
        sample = resize(sample, size)
    return augmentation(sample, rng, size)


@dataclass
class _State:
    """Everything that a training needs to resume as if it had never stopped."""

    run: Mapping[str, Any]
    """Configuration of the run."""
    model: DepthModel
    parts: nn.Module
    average: ModelEmaV3
    optimizer: Optimizer
    schedule: OneCycleLR
    step: int = 0
    seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)

    log: dict[str, Any] = field(default_factory=lambda: {"sums": {}, "counts": {}})
    """Sums and counts of the loss terms since the last line of the log."""

    def write(self, path: Path) -> None:
        """Write all of it, whole or not at all.

        Raises:
            BadInput: the disk is full, or does not take it; the checkpoint before is kept.
        """
        state = {name: getattr(self, name).state_dict() for name in _LEARNING}
        run = json.dumps(as_json(self.run))
        rest = {"run": run, "step": self.step, "seconds": self.seconds, "best": self.best, "log": self.log}
        with atomic_write(path) as half:
            try:
                torch.save({**state, **rest}, half)
            except RuntimeError as problem:
                # What torch says where the disk refuses a write.
                raise OSError(errno.ENOSPC, f"torch cannot write it: {first_line(problem)}") from problem

    def read(self, path: Path, device: torch.device) -> None:
        """Read what `write` wrote.

        Raises:
            BadInput: the file is cut, damaged, or of a run of another configuration.
        """
        fix = "restore it from a copy, or delete it to begin this training anew"
        try:
            with zipfile.ZipFile(path) as archive:
                # torch writes a checksum of each part, and does not look at it when it reads.
                damaged = archive.testzip()
            if damaged:
                raise BadInput(f"{path} is damaged (the checksum of {damaged} differs): {fix}.")
            stored = torch.load(path, map_location=device, weights_only=True)
            if "run" in stored:  # Versions before 0.2 did not write it.
                _check_configuration(
                    json.loads(stored["run"]),
                    self.run,
                    f"{path} is of a run of another configuration",
                    as_sentence(fix),
                )
            for name in _LEARNING:
                getattr(self, name).load_state_dict(stored[name])
            self.step, self.seconds, self.best = stored["step"], stored["seconds"], stored["best"]
            self.log = stored.get("log", self.log)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as problem:
            if isinstance(problem, BadInput):
                raise
            raise BadInput(f"{path} is damaged ({first_line(problem)}): {fix}.") from problem

    def improves(self, metric: str, scores: Mapping[str, float]) -> bool:
        if not self.best:
            return True
        before, now = self.best[metric], scores[metric]
        return now > before if METRICS[metric].higher_is_better else now < before


_LEARNING = ("model", "parts", "average", "optimizer", "schedule")
"""The parts of a `_State` that have a state of their own."""

_CHECKPOINT, _DONE = "last.ckpt", "done.json"


class _Log:
    """JSON lines, TensorBoard and one progress bar; the loss terms leave the device only when they are written."""

    def __init__(
        self, out: Path, config: TrainConfig, hardware: HardwareConfig, state: _State, *, is_silent: bool
    ) -> None:
        self.config, self.every, self.state, self.is_silent = config, hardware.log_every, state, is_silent
        self.rate = 0.0
        if is_silent:
            return
        _drop_lines_after(state.step, out / "log.jsonl")
        self.lines = (out / "log.jsonl").open("a")
        self.board = SummaryWriter(str(out / "tensorboard"), purge_step=state.step + 1)
        images, done = config.steps * config.batch_size, state.step * config.batch_size
        self.bar = ProgressBar(images, "images", "/".join(out.parts[-2:]), done=done)

    def step(self, terms: Mapping[str, Tensor], rate: float) -> None:
        sums, counts = self.state.log["sums"], self.state.log["counts"]
        for name, term in terms.items():
            sums[name] = term + sums.get(name, 0.0)
            counts[name] = counts.get(name, 0) + 1
        self.rate = rate
        if not self.is_silent:
            self.bar.update(self.config.batch_size)
        if self.state.step % self.every == 0:
            self.flush()

    def flush(self) -> None:
        """Write the means since the last time; stop a training whose loss is not finite before it is saved."""
        sums, counts = self.state.log["sums"], self.state.log["counts"]
        if not counts:
            return
        means = {name: float(total) / counts[name] for name, total in sums.items()}
        self.state.log = {"sums": {}, "counts": {}}
        if not np.isfinite(list(means.values())).all():
            raise BadInput(
                f"The loss is no longer a number at step {self.state.step}: {means}. The last checkpoint is from "
                "before that. Start in another folder with a lower learning rate "
                f"(it peaks at {self.config.learning_rate})."
            )
        self._write("train", {**means, "learning_rate": self.rate})
        if not self.is_silent:
            self.bar.update(0, ", ".join(f"{name}={mean:.3g}" for name, mean in means.items()))

    def validation(self, scores: Mapping[str, float]) -> None:
        self._write("validation", scores)

    def close(self) -> None:
        if not self.is_silent:
            self.lines.close()
            self.board.close()
            self.bar.close()

    def _write(self, part: str, figures: Mapping[str, float]) -> None:
        if self.is_silent:
            return
        self.lines.write(json.dumps({"step": self.state.step, "part": part, **figures}) + "\n")
        self.lines.flush()
        for name, figure in figures.items():
            self.board.add_scalar(f"{part}/{name}", figure, self.state.step)


_RENAMED_FIELDS = {"encoder_rate": "encoder_lr_scale", "clip": "grad_clip", "ema": "ema_decay", "best_by": "monitor"}
"""Names that fields of `TrainConfig` had in run folders before 0.2."""
_RENAMED_LOSSES = {"measured": "target_losses", "taught": "teacher_losses"}
"""Names that fields of `Distilled` had in run folders before 0.2."""


def _claim(out: Path, configuration: dict[str, Any]) -> None:
    """Make `out` the folder of this configuration, or refuse if it already belongs to another."""
    beside = (_CHECKPOINT, "log.jsonl", _DONE, "best", "last", "model", "model.json")
    _check_configuration(
        create_or_read(out / "run.json", configuration, beside),
        configuration,
        f"{out} holds a run of another configuration",
        "Give another folder, or delete this one to start anew.",
    )


def _check_configuration(before: dict[str, Any], now: Mapping[str, Any], problem: str, advice: str) -> None:
    """Refuse what belongs to a run of another configuration, as `check_same_configuration`; an older version may have
    written it."""
    if "plan" in before:  # its name before 0.2
        before["config"] = before.pop("plan")
    if isinstance(objective := before.get("objective"), dict):
        before["objective"] = {_RENAMED_LOSSES.get(name, name): value for name, value in objective.items()}
    if isinstance(config := before.get("config"), dict):
        config = {_RENAMED_FIELDS.get(name, name): value for name, value in config.items()}
        # An option that was added later was not there to be set: the run had its default.
        defaults = json.loads(json.dumps(asdict(TrainConfig())))
        config["augmentation"] = {**defaults["augmentation"], **config.get("augmentation", {})}
        before["config"] = {**defaults, **config}
    if isinstance(rules := before.get("protocol"), dict):
        defaults = {each.name: each.default for each in fields(EvalProtocol) if each.default is not MISSING}
        before["protocol"] = {**json.loads(json.dumps(defaults)), **rules}
    if "start" not in before:  # Versions before 0.2 did not write it.
        now = {key: value for key, value in now.items() if key != "start"}
    check_same_configuration(before, now, problem, advice)


def _load_best(out: Path) -> DepthModel:
    """Load the best model of a finished run.

    Raises:
        BadInput: it is damaged, or of another run.
    """
    model, stated = load_folder(out / "best"), read_configuration(out / _DONE).get("best_sha256")
    if stated is not None and weights_sha256(model) != stated:
        raise BadInput(
            f"{out / 'best'} is not the model that this run left (its weights are not those that {_DONE} states): copy "
            "it again, or train it anew in another folder."
        )
    return model


def _fabric(hardware: HardwareConfig, *, devices: int | None = None, precision: Any = "32-true") -> Fabric:
    """Lightning Fabric on the hardware.

    Raises:
        BadInput: it is not available.
    """
    try:
        return Fabric(accelerator=hardware.accelerator, devices=devices or hardware.devices, precision=precision)
    except Exception as problem:
        # Fabric's MisconfigurationException is none of its public names; it derives from Exception alone.
        is_known = isinstance(problem, (RuntimeError, ValueError, TypeError))
        if not is_known and type(problem).__name__ != "MisconfigurationException":
            raise
        said = first_line(problem).rstrip(".")
        raise BadInput(
            f"No {hardware.devices} × {hardware.accelerator} here ({said}): leave --accelerator and --devices out."
        ) from problem


def fixed_parts(model: DepthModel, frozen: Sequence[str]) -> list[nn.Module]:
    """Return the submodules of these names.

    Raises:
        BadInput: the model has no such part.
    """
    try:
        fixed = [model.get_submodule(name) for name in frozen if name]
    except AttributeError as problem:
        parts = ", ".join(name for name, _ in model.named_children())
        raise BadInput(f"Nothing to freeze: {problem}. The parts of {model.name}: {parts}.") from problem
    if len(fixed) < len(frozen):
        raise BadInput("Name a part to freeze, such as encoder.")
    return fixed


def _datasets_in(dataset: Dataset) -> list[Dataset]:
    """Return the datasets that are joined in one, or the dataset itself."""
    return list(getattr(dataset, "parts", (dataset,)))


def _check_metres(model: DepthModel, dataset: Dataset) -> None:
    """Refuse a network that would claim metres and never learn from any."""
    if model.kind is DepthKind.METRIC and all(each.kind is not DepthKind.METRIC for each in _datasets_in(dataset)):
        raise BadInput(
            f"Nothing in {dataset.name} is in metres, which {model.name} would claim to predict: add a dataset that "
            "measures metres, or build it with kind=relative (--loss ssi=1,ssi_gradient=0.5 --protocol relative)."
        )


def _check_depth(dataset: Dataset) -> None:
    """Refuse samples of which none has depth, as photographs: they would be steps that teach nothing.

    Raises:
        BadInput: none of some evenly spread samples has any.
    """
    if not any(dataset[index].valid.any() for index in subsample_evenly(range(len(dataset)), _LOOKED_AT)):
        raise BadInput(
            f"{dataset.name} has no measured depth to learn from or to be scored by: a teacher can label photographs "
            "(`leadline label`, `leadline distil`)."
        )


_LOOKED_AT = 64
"""Samples that are looked at for depth, at most; the first one that has any ends the search."""


def _fix_weights(model: DepthModel, frozen: tuple[str, ...], lora: int, seed: int) -> list[nn.Module]:
    """Freeze submodules and add adapters to the encoder; the modules whose statistics must stay as they are."""
    fixed = fixed_parts(model, frozen)
    if lora and model.weight_bits:
        raise BadInput(
            f"LoRA adapts weights that are floats, and those of {model.name} have {model.weight_bits} bits: leave "
            "--lora out, or start from the model that it was made of."
        )
    add_quantisers(model)
    if lora:
        if any(f"{name}.".startswith("encoder.") for name in frozen):
            raise BadInput("LoRA trains the encoder's adapters, and a frozen encoder has none: give one of the two.")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            add_adapters(model, lora)
        fixed.append(model.encoder)
    for name in frozen:
        model.get_submodule(name).requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BadInput(f"With {', '.join(frozen)} frozen, nothing of {model.name} is left to train.")
    return fixed


def _precision(config: TrainConfig, accelerator: str) -> Any:
    """bf16 where the device computes it natively: x86 processors take ten times as long in it."""
    if config.precision != "auto":
        return config.precision
    on_gpu = accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"


def _parameter_groups(model: DepthModel, parts: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Encoder and rest (with `parts`) at their own rates, each with its matrices decayed, its biases and norms not."""
    encoder_rate = config.encoder_lr_scale
    if encoder_rate is None:
        encoder_rate = 0.1 if model.pretrained_encoder else 1.0
    in_encoder = {id(parameter) for parameter in model.encoder.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
    for parameter in (*model.parameters(), *parts.parameters()):
        if parameter.requires_grad:
            groups[id(parameter) in in_encoder, parameter.ndim > 1].append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.learning_rate * (encoder_rate if is_encoder else 1.0),
            "weight_decay": config.weight_decay if is_matrix else 0.0,
        }
        for (is_encoder, is_matrix), parameters in groups.items()
    ]


def _address(*numbers: int) -> int:
    """A seed for a place in a training, different from that of any other place."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _drop_lines_after(step: int, path: Path) -> None:
    """Drop what an interrupted run logged beyond its last checkpoint, and what a kill or damage made unreadable."""
    if not path.exists():
        return
    kept, unreadable = [], 0
    for line in path.read_bytes().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + b"\n")
        except (ValueError, KeyError, TypeError):
            unreadable += 1
    if unreadable > 1:  # One was cut short by a kill.
        print_line(f"{path}: {unreadable} lines cannot be read, and are left out.")
    with atomic_write(path) as half:
        half.write_bytes(b"".join(kept))
