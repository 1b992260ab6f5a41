"""Fitting: the one training loop, which owns a run folder and continues in it after any interruption."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from leadline.core.errors import BadInput
from leadline.core.paths import StrPath
from leadline.core.sample import Sample
from leadline.data.datasets import Dataset
from leadline.data.loader import batches, identity
from leadline.data.transforms import Augmentation
from leadline.evaluation.alignment import ALIGNMENTS
from leadline.evaluation.evaluate import evaluate_metrics
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import EvalProtocol
from leadline.io.atomic import atomic_write, clean_stale
from leadline.io.run_folder import check_same_configuration, create_or_read
from leadline.models.base import DepthModel, Preprocessing
from leadline.models.loading import load
from leadline.models.lora import add_adapters
from leadline.models.saving import save
from leadline.training.objectives import Objective


@dataclass(frozen=True)
class TrainConfig:
    """How a training goes: with the model, the data and the objective, all that its result depends on."""

    steps: int = 3000
    """Optimiser steps."""
    batch_size: int = 16
    """Images per step, over all devices."""
    learning_rate: float = 1e-4
    """Peak of the one-cycle schedule."""
    encoder_rate: float | None = None
    """The encoder's learning rate as a share of the others'; unset: 0.1 if it came pretrained, else 1."""
    weight_decay: float = 0.01
    """AdamW's, on matrices and kernels only."""
    clip: float = 1.0
    """Largest norm of the whole gradient."""
    ema: float = 0.999
    """Decay of the moving average of the weights, warmed up; the average is what is validated and saved."""
    validate_every: int = 500
    """Steps between two looks at the validation data."""
    best_by: str = "rmse"
    """The validation metric that decides which weights are best."""
    size: tuple[int, int] | None = None
    """Height and width in training; unset: the model's own."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """What is done to each training sample."""
    seed: int = 0
    """Of the order of the data, the augmentation and dropout."""
    precision: str = "auto"
    """`auto` (bf16-mixed on a GPU that has it, else 32-true) or any of Lightning Fabric's names."""


@dataclass(frozen=True)
class HardwareConfig:
    """Where a training runs; nothing here changes what it computes, up to the devices' own rounding."""

    accelerator: str = "auto"
    """`cpu`, `cuda`, `mps`, or whatever is there."""
    devices: int = 1
    """How many; each takes its share of a batch."""
    workers: int = 1
    """Processes that load data, per device."""
    save_every: float = 30.0
    """Seconds after which a checkpoint is due; it is written with the next line of the log."""
    log_every: int = 20
    """Steps between two lines in the logs."""

    @property
    def device(self) -> torch.device:
        """Where a model is put that only answers beside the training: a teacher."""
        return Fabric(accelerator=self.accelerator, devices=1).device


def fit(
    model: DepthModel,
    train: Dataset,
    validation: Dataset,
    objective: Objective,
    plan: TrainConfig,
    out: StrPath,
    *,
    protocol: EvalProtocol,
    frozen: tuple[str, ...] = (),
    lora: int = 0,
    machine: HardwareConfig = HardwareConfig(),
) -> DepthModel:
    """Train `model` in the run folder `out` and return the weights that validated best.

    A finished run returns at once and a half-done one continues; on one CPU its final weights equal, bit for bit, those
    of a run that was never interrupted. `frozen` names submodules that keep their weights and their statistics;
    `lora` is the rank of the adapters through which alone the encoder learns, which saved models have merged (0: none).

    The folder: `run.json` (the configuration), `last.ckpt` (everything needed to continue), `best/` and `last/`
    (models to load), `log.jsonl`, `tensorboard/`, and `done.json` once finished.

    Raises:
        BadInput: the folder holds a run of another configuration, the protocol cannot score depth of the model's kind,
            the loss stopped being a number, or what `frozen` and `lora` name does not fit the model.
    """
    out = Path(out)
    if model.kind not in ALIGNMENTS[protocol.alignment].kinds:
        raise BadInput(
            f"{model.name} answers {model.kind.value} depth, which the protocol {protocol.words} cannot compare with "
            "metres. Build the network with kind=metric (midas_small also with head=log)."
        )
    fixed = _fix_weights(model, frozen, lora, plan.seed)
    _claim(out, _configuration(model, train, validation, objective, plan, protocol, frozen, lora))
    if (out / "done.json").exists():
        return load(out / "best")

    fabric = Fabric(
        accelerator=machine.accelerator,
        devices=machine.devices,
        precision=_precision(plan, machine.accelerator),
    )
    fabric.launch()
    clean_stale(out)
    learnt_from = [model.provenance.training_data, train.name] if model.provenance.training_data else [train.name]
    model.provenance = replace(model.provenance, training_data=", then ".join(learnt_from), figures={})
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        parts = objective.parts(model)
    optimizer = AdamW(_parameter_groups(model, parts, plan), fused=True)
    rates = [group["lr"] for group in optimizer.param_groups]
    schedule = OneCycleLR(optimizer, rates, total_steps=plan.steps)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    wrapped.mark_forward_method("features")
    if fabric.world_size > 1 and any(parts.parameters()):
        raise BadInput("What learns beside the network (features, holistic) learns on one device only: --devices 1.")
    parts.to(fabric.device).train()
    state = _State(model, parts, ModelEmaV3(model, decay=plan.ema, use_warmup=True), optimizer, schedule)
    if (out / "last.ckpt").exists():
        state.read(out / "last.ckpt", fabric.device)
    elif fabric.is_global_zero:
        state.write(out / "last.ckpt")
    fabric.barrier()

    loader = batches(
        train,
        partial(view, augmentation=plan.augmentation, preprocessing=model.preprocessing, size=plan.size),
        seed=plan.seed,
        batch_size=plan.batch_size,
        first_step=state.step,
        last_step=plan.steps,
        rank=fabric.global_rank,
        ranks=fabric.world_size,
        workers=machine.workers,
    )
    wrapped.train()
    for module in fixed:
        module.eval()
    with closing(_Log(out, plan, machine, state.step, silent=not fabric.is_global_zero)) as log:
        started_at = time.monotonic() - state.seconds
        saved_at = time.monotonic()
        for step in range(state.step, plan.steps):
            torch.manual_seed(_address(plan.seed, step, fabric.global_rank))
            terms = objective(wrapped, next(loader).to(fabric.device), parts)  # pyright: ignore[reportArgumentType]
            fabric.backward(sum(terms.values(), torch.zeros((), device=fabric.device)))
            fabric.clip_gradients(wrapped, wrapped_optimizer, max_norm=plan.clip, error_if_nonfinite=False)
            wrapped_optimizer.step()
            wrapped_optimizer.zero_grad()
            log.step(step + 1, {name: term.detach() for name, term in terms.items()}, optimizer.param_groups[-1]["lr"])
            schedule.step()
            state.average.update(model, step=step)
            state.step, state.seconds = step + 1, time.monotonic() - started_at

            if state.step % plan.validate_every == 0 or state.step == plan.steps:
                log.flush()
                scores = evaluate_metrics(state.average.module, validation, protocol)
                log.validation(state.step, scores)
                if state.improves(plan.best_by, scores):
                    state.best = {"step": state.step, **scores}
                    if fabric.is_global_zero:
                        save(state.average.module, out / "best")
            # Only where a line of the log has just been completed: a continued run then writes the same lines.
            is_due = time.monotonic() - saved_at >= machine.save_every
            if is_due and state.step % machine.log_every == 0 and fabric.is_global_zero:
                state.write(out / "last.ckpt")
                saved_at = time.monotonic()

    if fabric.is_global_zero:
        save(state.average.module, out / "last")
        summary = {"steps": plan.steps, "seconds": round(state.seconds, 1), "best": state.best}
        with atomic_write(out / "done.json") as half:
            half.write_text(json.dumps(summary, indent=1))
        (out / "last.ckpt").unlink()
    fabric.barrier()
    return load(out / "best")


def view(
    sample: Sample,
    rng: np.random.Generator,
    *,
    augmentation: Augmentation,
    preprocessing: Preprocessing,
    size: tuple[int, int] | None = None,
) -> Sample:
    """A random view of a sample for a network of this preprocessing, at `size` or else at the network's own.

    A photograph by an unknown camera is taken for one by the canonical camera before it is cropped: a crop is a zoom,
    and to take the crop for the whole would teach that what looks large is far.
    """
    if sample.intrinsics is None:
        sample = sample.replace(intrinsics=preprocessing.camera(sample.image))
    return augmentation(sample, rng, size or preprocessing.size)


@dataclass
class _State:
    """Everything that a training needs to continue as if it had never stopped."""

    model: DepthModel
    parts: nn.Module
    average: ModelEmaV3
    optimizer: Optimizer
    schedule: OneCycleLR
    step: int = 0
    seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        state = {name: getattr(self, name).state_dict() for name in _LEARNING}
        with atomic_write(path) as half:
            torch.save({**state, "step": self.step, "seconds": self.seconds, "best": self.best}, half)

    def read(self, path: Path, device: torch.device) -> None:
        stored = torch.load(path, map_location=device, weights_only=True)
        for name in _LEARNING:
            getattr(self, name).load_state_dict(stored[name])
        self.step, self.seconds, self.best = stored["step"], stored["seconds"], stored["best"]

    def improves(self, metric: str, scores: Mapping[str, float]) -> bool:
        if not self.best:
            return True
        before, now = self.best[metric], scores[metric]
        return now > before if METRICS[metric].higher_is_better else now < before


_LEARNING = ("model", "parts", "average", "optimizer", "schedule")
"""The parts of a `_State` that have a state of their own."""


class _Log:
    """JSON lines, TensorBoard and one progress bar; the loss terms leave the device only when they are written."""

    def __init__(self, out: Path, plan: TrainConfig, machine: HardwareConfig, step: int, *, silent: bool) -> None:
        self.plan, self.every, self.silent = plan, machine.log_every, silent
        self.sums: dict[str, Tensor] = {}
        self.counts: Counter[str] = Counter()
        self.last_step, self.rate = step, 0.0
        if silent:
            return
        _drop_lines_after(step, out / "log.jsonl")
        self.lines = (out / "log.jsonl").open("a")
        self.board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)
        images, done = plan.steps * plan.batch_size, step * plan.batch_size
        self.bar = tqdm(total=images, initial=done, unit=" images", desc=out.name, mininterval=1.0)

    def step(self, step: int, terms: Mapping[str, Tensor], rate: float) -> None:
        for name, term in terms.items():
            self.sums[name] = term + self.sums.get(name, 0.0)
        self.counts.update(terms.keys())
        self.last_step, self.rate = step, rate
        if not self.silent:
            self.bar.update(self.plan.batch_size)
        if step % self.every == 0:
            self.flush()

    def flush(self) -> None:
        """Write the means since the last time; stop a training whose loss is no number before it is saved."""
        if not self.counts:
            return
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums = {}
        self.counts.clear()
        if not np.isfinite(list(means.values())).all():
            raise BadInput(
                f"The loss is no longer a number at step {self.last_step}: {means}. The last checkpoint is from before "
                f"that. Start in another folder with a lower learning rate (it peaks at {self.plan.learning_rate})."
            )
        self._write("train", {**means, "learning_rate": self.rate})
        if not self.silent:
            self.bar.set_postfix({name: f"{mean:.3g}" for name, mean in means.items()}, refresh=False)

    def validation(self, step: int, scores: Mapping[str, float]) -> None:
        self.last_step = step
        self._write("validation", scores)

    def close(self) -> None:
        if not self.silent:
            self.lines.close()
            self.board.close()
            self.bar.close()

    def _write(self, part: str, figures: Mapping[str, float]) -> None:
        if self.silent:
            return
        self.lines.write(json.dumps({"step": self.last_step, "part": part, **figures}) + "\n")
        self.lines.flush()
        for name, figure in figures.items():
            self.board.add_scalar(f"{part}/{name}", figure, self.last_step)


def _claim(out: Path, configuration: dict[str, Any]) -> None:
    """Make `out` the folder of this configuration, or refuse if it already belongs to another."""
    check_same_configuration(
        create_or_read(out / "run.json", configuration, ("*.ckpt", "log.jsonl", "done.json", "best", "last", "model")),
        configuration,
        f"{out} holds a run of another configuration",
        "Give another folder, or delete this one to start anew.",
    )


def _configuration(
    model: DepthModel,
    train: Dataset,
    validation: Dataset,
    objective: Objective,
    plan: TrainConfig,
    protocol: EvalProtocol,
    frozen: tuple[str, ...],
    lora: int,
) -> dict[str, Any]:
    return {
        "model": {"name": model.name, "arguments": model.arguments, "kind": model.kind},
        "train": identity(train),
        "validation": identity(validation),
        "objective": {"name": type(objective).__name__, **asdict(objective)},  # pyright: ignore[reportArgumentType]
        "plan": asdict(plan),
        "protocol": asdict(protocol),
        "frozen": list(frozen),
        **({"lora": lora} if lora else {}),  # Runs from before there was LoRA do not say it.
    }


def _fix_weights(model: DepthModel, frozen: tuple[str, ...], lora: int, seed: int) -> list[nn.Module]:
    """Freeze submodules and add adapters to the encoder; the modules whose statistics must stay as they are."""
    try:
        fixed = [model.get_submodule(name) for name in frozen if name]
    except AttributeError as problem:
        parts = ", ".join(name for name, _ in model.named_children())
        raise BadInput(f"Nothing to freeze: {problem}. The parts of {model.name}: {parts}.") from problem
    if len(fixed) < len(frozen):
        raise BadInput("Name a part to freeze, such as encoder.")
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


def _precision(plan: TrainConfig, accelerator: str) -> Any:
    """bf16 where the device computes it natively: an x86 processor of this kind takes ten times as long in it."""
    if plan.precision != "auto":
        return plan.precision
    on_gpu = accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"


def _parameter_groups(model: DepthModel, parts: nn.Module, plan: TrainConfig) -> list[dict[str, Any]]:
    """Encoder and rest (with `parts`) at their own rates, each with its matrices decayed, its biases and norms not."""
    encoder_rate = plan.encoder_rate
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
            "lr": plan.learning_rate * (encoder_rate if is_encoder else 1.0),
            "weight_decay": plan.weight_decay if is_matrix else 0.0,
        }
        for (is_encoder, is_matrix), parameters in groups.items()
    ]


def _address(*numbers: int) -> int:
    """One seed for a place in a training, unlike that of any other place."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _drop_lines_after(step: int, path: Path) -> None:
    """Forget what an interrupted run logged beyond its last checkpoint, and a last line that a kill cut short."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            break
    with atomic_write(path) as half:
        half.write_text("".join(kept))
