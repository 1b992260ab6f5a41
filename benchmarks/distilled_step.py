"""What a distilled training step costs: plain, with labels at hand or from a store, and with the teacher in the loop.

python benchmarks/distilled_step.py

Every step loads its images, augments them, and learns; the kinds take turns in one process, so that what else
the machine does hits them alike, and each is compared with the plain step of its own turn. On the CPU the time is the
process's own; with one thread that is what the clock shows where nothing else runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import torch
import tyro
from torch import nn

from leadline.core.sample import Sample, TeacherPrediction
from leadline.data.datasets import Dataset, open_data
from leadline.data.loader import batches
from leadline.data.transforms import Augmentation
from leadline.inference.tensors import predict_tensor
from leadline.models.base import DepthModel
from leadline.models.loading import load, open_model
from leadline.training.objectives import Distilled, Objective, Supervised
from leadline.training.pseudo_labels import PseudoLabelledDataset, label

WARMING = 4
"""Steps of each kind that are not timed."""


@dataclass(frozen=True)
class Options:
    data: str = "rooms,height=96,width=128,count=256"
    """The images."""
    student: str = "cnn,size=tiny,input_size=96:128"
    """The network that learns."""
    teacher: str = "hybrid,size=tiny,input_size=96:128"
    """The network that answers: in words, or the folder of a saved model."""
    batch_size: int = 16
    """Images a step."""
    turns: int = 40
    """Steps of each kind, after those that warm up."""
    threads: int = 1
    """Of PyTorch; the images are loaded in the same process, so that their cost is seen."""
    device: str = "cpu"
    """Where networks compute: cpu or cuda."""


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    with TemporaryDirectory() as folder:
        data = open_data(options.data, "train", cache=Path(folder) / "cache")
        teacher = load(options.teacher) if Path(options.teacher).exists() else open_model(options.teacher)
        teacher.to(options.device)
        labelled = PseudoLabelledDataset(data, label(teacher, data, Path(folder) / "labels"))
        distilled = Distilled({"silog": 1.0}, {"silog": 1.0, "l1": 1.0})
        kinds = {
            "plain": steps(options, data, Supervised({"silog": 1.0})),
            "labels at hand": steps(options, LabelledByItself(data), distilled),
            "labels from a store": steps(options, labelled, distilled),
            "teacher in the loop": steps(options, data, distilled, teacher),
        }
        clock = process_time if options.device == "cpu" else perf_counter
        seconds = {name: [] for name in kinds}
        for turn in range(-WARMING, options.turns):
            for name, learning in kinds.items():
                start = clock()
                next(learning)
                if turn >= 0:
                    seconds[name].append(clock() - start)
    for name, taken in seconds.items():
        ratios = sorted(own / plain for own, plain in zip(taken, seconds["plain"], strict=True))
        low, high = ratios[len(ratios) // 4], ratios[-len(ratios) // 4]
        print(
            f"{name:20} {1000 * median(taken):6.0f} ms a step, {median(ratios):.2f} × plain "
            f"(half of the turns {low:.2f} … {high:.2f})"
        )


def steps(options: Options, data: Dataset, objective: Objective, teacher: DepthModel | None = None) -> Iterator[None]:
    """A training of its own that takes a step each time it is asked."""
    torch.manual_seed(0)
    student = open_model(options.student).to(options.device).train()
    student.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)
    transform = partial(Augmentation(), size=student.preprocessing.size)
    last = options.turns + WARMING
    for sample in batches(data, transform, seed=0, batch_size=options.batch_size, first_step=0, last_step=last):
        sample = sample.to(options.device)
        if teacher:
            sample = answered(teacher, sample)
        terms = objective(student, sample, nn.Module())
        sum(terms.values(), torch.zeros((), device=options.device)).backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if options.device != "cpu":
            torch.cuda.synchronize()
        yield


class LabelledByItself:
    """A dataset whose labels are its own depth: what the losses and the augmentation of labels cost without a store."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.name, self.kind = dataset, dataset.name, dataset.kind

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        label = TeacherPrediction(sample.depth, torch.ones_like(sample.depth), self.kind)
        return sample.replace(teacher_prediction=label)


def answered(teacher: DepthModel, sample: Sample) -> Sample:
    """The sample with what the teacher says of it now: one view, where a label is made of three."""
    depth = predict_tensor(teacher, sample.image, sample.intrinsics).clone()
    return sample.replace(teacher_prediction=TeacherPrediction(depth, torch.ones_like(depth), teacher.kind))


if __name__ == "__main__":
    main(tyro.cli(Options))
