"""How fast a GPU predicts and trains: `python benchmarks/gpu_rates.py`.

Each network runs on random images of its own size, in each precision and order of memory in turn: images a second, and
the additions and multiplications of its matrix products and convolutions as a share of what the card reaches in one
large product of bfloat16 matrices. A training step is a forward pass, the scale-invariant loss, a backward pass, which
is counted as twice the forward one, and a step of AdamW. With `--device cpu` and small networks it runs anywhere.
"""

import argparse
from collections.abc import Callable
from functools import partial
from itertools import product
from statistics import median
from time import perf_counter

import torch

from leadline.models.base import DepthModel
from leadline.models.loading import open_model
from leadline.reporting.network_counts import multiply_adds
from leadline.training.losses import silog_loss

PRECISIONS = ("fp32", "tf32", "bf16")
ORDERS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
WARMING = 3
"""Runs that are not timed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["hybrid", "dpt_large,kind=metric,head=log"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--runs", type=int, default=20, help="timed runs of each row, of which the median counts")
    parser.add_argument("--side", type=int, default=8192, help="of the square matrices whose product is the ceiling")
    parser.add_argument("--compile", action="store_true", help="compile each network; minutes for each row")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    device = torch.device(options.device)
    ceiling = rate_of_products(device, options.side, options.runs)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{card}: {ceiling / 1e9:.0f} GFLOP/s in products of bfloat16 matrices of {options.side} × {options.side}.\n")
    print("| model | what | batch | precision | memory | images/s | GFLOP/s | of the ceiling | peak GB |")
    print("|:--|:--|--:|:--|:--|--:|--:|--:|--:|")
    for name in options.models:
        operations = 2 * multiply_adds(open_model(name).to("meta").eval())
        batches: list[int] = options.batches
        rows = ((kind, batch) for kind in (predicting, training) for batch in batches)
        for (kind, batch), (precision, order) in product(rows, product(options.precisions, ORDERS)):
            model = open_model(name).to(device=device, memory_format=ORDERS[order])  # pyright: ignore[reportCallIssue]
            if options.compile:
                model.compile()
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            # TF32 is a way of multiplying 32-bit matrices on the card's tensor cores.
            torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
            torch.backends.cudnn.allow_tf32 = precision == "tf32"
            autocast = partial(torch.autocast, device.type, torch.bfloat16, enabled=precision == "bf16")
            start = f"| {name} | {kind.__name__} | {batch} | {precision} | {order} |"
            try:
                seconds = median(timed(kind(model, batch, autocast), device, options.runs))
            except torch.cuda.OutOfMemoryError:
                print(f"{start} out of memory | – | – | – |")
                continue
            rate = batch * operations * (1 if kind is predicting else 3) / seconds
            peak = f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f}" if device.type == "cuda" else "–"
            print(f"{start} {batch / seconds:.1f} | {rate / 1e9:.0f} | {rate / ceiling:.0%} | {peak} |", flush=True)


def rate_of_products(device: torch.device, side: int, runs: int) -> float:
    """Additions and multiplications a second of a product of two square matrices of bfloat16."""
    left, right = torch.randn(2, side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 / min(timed(lambda: left @ right, device, runs))


def predicting(model: DepthModel, batch: int, autocast: Callable[[], torch.autocast]) -> Callable[[], object]:
    """A call of the network without gradients."""
    image = images(model, batch)
    model.eval()

    def call() -> torch.Tensor:
        with torch.inference_mode(), autocast():
            return model(image)

    return call


def training(model: DepthModel, batch: int, autocast: Callable[[], torch.autocast]) -> Callable[[], object]:
    """A step of training."""
    image = images(model, batch)
    target = torch.rand_like(image[:, :1]) + 1
    valid = target > 0
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        with autocast():
            predicted = model(image)
        silog_loss(predicted.float(), target, valid).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def images(model: DepthModel, batch: int) -> torch.Tensor:
    """Random images of the network's own size, in its device and order of memory."""
    weight = next(each for each in model.parameters() if each.ndim == 4)
    is_last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    order = torch.channels_last if is_last else torch.contiguous_format
    return torch.rand(batch, 3, *model.preprocessing.size, device=weight.device).contiguous(memory_format=order)


def timed(call: Callable[[], object], device: torch.device, runs: int) -> list[float]:
    """Seconds of each run, waiting for the device at its end."""
    seconds = []
    for run in range(-WARMING, runs):
        start = perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if run >= 0:
            seconds.append(perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
