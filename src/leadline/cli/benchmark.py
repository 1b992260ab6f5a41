"""`leadline benchmark`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from leadline.core.errors import BadInput
from leadline.core.progress import print_line
from leadline.core.ranges import Within, check_fields
from leadline.core.terminal import print_table
from leadline.inference.session import Backend
from leadline.io.atomic import atomic_write, make_folder
from leadline.io.outputs import GENERATOR, check_replaceable, printable
from leadline.models.names import DEFAULT


@dataclass(frozen=True)
class BenchmarkCommand:
    """Measure how fast this machine runs networks, beside what it computes and copies at most.

    Each model runs with each backend in a process of its own, at the network's own size, on the CPU. What a backend
    does not run, or is not installed, is named; if nothing runs a model, the exit status is 1. End other programs
    first: they share the cores.
    """

    models: tuple[str, ...] = (DEFAULT,)
    """Folders of saved models, files of `leadline export` (in whatever precision), or names."""
    backends: tuple[Backend, ...] = ("torch", "onnx")
    """What runs them: auto, torch, compile, onnx or openvino."""
    batch: Annotated[int, Within(1, 4096)] = 1
    """Images at once."""
    seconds: Annotated[float, Within(0, 3600, above=True)] = 3.0
    """How long each is measured."""
    json: Path | None = None
    """File for all figures."""
    chart: Path | None = None
    """File, SVG, for accuracy against latency, where models state how accurate they are."""

    def run(self) -> int:
        check_fields(self)
        from leadline.reporting.benchmark import (
            BenchmarkRow,
            accuracy_chart,
            benchmark_as_dict,
            benchmark_table,
            measure_machine,
            measure_models,
        )

        models, backends = tuple(dict.fromkeys(self.models)), tuple(dict.fromkeys(self.backends))
        for option, given in (("--models", models), ("--backends", backends)):
            if not given:
                raise BadInput(f"{option}: give at least one, or leave it out.")
        if self.json:
            check_replaceable(self.json, "--json", keys=frozenset({"machine", "benchmark"}))
            make_folder(self.json.parent)
        if self.chart:
            if self.chart.suffix.lower() != ".svg":
                raise BadInput(f"{self.chart}: a chart is SVG, give --chart a name that ends in .svg.")
            check_replaceable(self.chart, "--chart")
            make_folder(self.chart.parent)
        machine = measure_machine()
        rows, reasons = [], []
        for each in measure_models(models, backends, machine, batch=self.batch, seconds=self.seconds):
            is_row = isinstance(each, BenchmarkRow)
            (rows if is_row else reasons).append(each)
            print_line(f"{each.model}, {each.backend}: measured" if is_row else f"left out: {each}")
        left_out = [str(each) for each in reasons]
        print_table(benchmark_table(machine, rows, left_out))
        if self.json:
            text = json.dumps(benchmark_as_dict(machine, rows, left_out), indent=1, ensure_ascii=False)
            with atomic_write(self.json) as half:
                half.write_text(printable(text), encoding="utf-8")
        if self.chart and (drawn := accuracy_chart(rows)):
            with atomic_write(self.chart) as half:
                half.write_text(f"<!--{GENERATOR}-->\n{drawn}", encoding="utf-8")
        elif self.chart:
            print_line("No chart: none of the models states how accurate it is.")
        return 1 if any(sum(each.model == model for each in reasons) == len(backends) for model in models) else 0
