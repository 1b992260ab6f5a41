"""The command line: `leadline COMMAND`; a command's module is imported when it is asked for."""

import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

COMMANDS: Mapping[str, tuple[str, str]] = {
    "predict": ("leadline.cli.predict:PredictCommand", "Measure the depth of photographs: files, folders or globs."),
    "cloud": (
        "leadline.cli.cloud:CloudCommand",
        "Turn a photograph or a depth map into a point cloud (PLY) or a mesh (GLB).",
    ),
    "app": ("leadline.cli.app:AppCommand", "Open a page on this machine: depth, distances, a solid to turn."),
    "train": ("leadline.cli.train:TrainCommand", "Train a model by one of the recipes."),
    "train small": (
        "leadline.cli.train_small:TrainSmallCommand",
        "Train a network for photographs that weighs little.",
    ),
    "evaluate": (
        "leadline.cli.evaluate:EvaluateCommand",
        "Score a model, or anyone's depth maps, under a named protocol.",
    ),
    "evaluate video": (
        "leadline.cli.evaluate_video:EvaluateVideoCommand",
        "Measure how much the depth of a video flickers from frame to frame.",
    ),
    "calibrate": (
        "leadline.cli.calibrate:CalibrateCommand",
        "Correct the scale of a metric model by a few ground truths, if that helps on others.",
    ),
    "report": ("leadline.cli.report:ReportCommand", "Evaluate a model and write tables and pictures as one page."),
    "models": (
        "leadline.cli.models:ModelsCommand",
        "List the models: size, cost, kind of depth, licence, published figures.",
    ),
    "benchmark": (
        "leadline.cli.benchmark:BenchmarkCommand",
        "Measure how fast this machine runs networks, and what it computes at most.",
    ),
    "convert": ("leadline.cli.convert:ConvertCommand", "Turn an official MiDaS or DPT checkpoint into a model folder."),
    "export": (
        "leadline.cli.export:ExportCommand",
        "Write a model as one file for other programs, checked against the model.",
    ),
    "share": ("leadline.cli.share:ShareCommand", "Put a saved model on the Hugging Face hub, with a model card."),
    "label": ("leadline.cli.label:LabelCommand", "Let a teacher label images, once, into a store to train from."),
    "distil": (
        "leadline.cli.distil:DistilCommand",
        "Teach a small network by a large one, and compare with a control.",
    ),
    "compress prune": (
        "leadline.cli.compress_prune:CompressPruneCommand",
        "Make a trained network narrower: fewer channels, finetuned with the original as its teacher.",
    ),
    "compress quantise": (
        "leadline.cli.compress_quantise:CompressQuantiseCommand",
        "Store a trained network's weights in 8 or 4 bits, finetuned with the original as its teacher.",
    ),
    "study distillation": (
        "leadline.cli.study_distillation:StudyDistillationCommand",
        "Find out why the source paper's distillation failed, and what fixes it, one change a row.",
    ),
    "data inspect": (
        "leadline.cli.data_inspect:InspectCommand",
        "Say what a folder of photographs with depth holds, in pictures.",
    ),
    "data doctor": ("leadline.cli.data_doctor:DoctorCommand", "Find what is wrong with a dataset, and name the files."),
    "data prepare": (
        "leadline.cli.data_prepare:PrepareCommand",
        "Put any dataset into a store at one size, quick to read from a disk or an address.",
    ),
    "data render": (
        "leadline.cli.data_render:RenderCommand",
        "Render furnished rooms with Blender, as training data with exact depth.",
    ),
    "study literature": (
        "leadline.cli.study_literature:StudyLiteratureCommand",
        "The literature's networks trained side by side, over seeds.",
    ),
    "study stages": (
        "leadline.cli.study_stages:StudyStagesCommand",
        "Multi-stage against end-to-end training, over seeds.",
    ),
    "study architectures": (
        "leadline.cli.study_architectures:StudyArchitecturesCommand",
        "A CNN, a transformer, and both, over seeds and sizes of the training set.",
    ),
    "study losses": (
        "leadline.cli.study_losses:StudyLossesCommand",
        "Losses against ground truth, over seeds.",
    ),
    "study compression": (
        "leadline.cli.study_compression:StudyCompressionCommand",
        "Fewer channels and fewer bits, with the original as the teacher and without, over seeds.",
    ),
    "study check": (
        "leadline.cli.study_check:StudyCheckCommand",
        "Compute a study's record again, and the documents' tables from it.",
    ),
    "completion": (
        "leadline.cli.completion:CompletionCommand",
        "Print a script for bash, zsh or fish that completes commands and options.",
    ),
}
"""Command → (`module:frozen dataclass with run()`, what it does)."""

RENAMED: Mapping[str, str] = {
    "--encoder-rate": "--encoder-lr-scale",
    "--clip": "--grad-clip",
    "--ema": "--ema-decay",
    "--best-by": "--monitor",
    "--taught": "--teacher-losses",
    "--share": "--measured-fraction",
    "--truth": "--ground-truth",
}
"""Options' old names, taken for one release."""
GLOBAL_OPTIONS = frozenset({"--debug", "--quiet"})
"""Options of every command: show where an error arose; no bars, and no lines in their place."""
TEACHING = frozenset({"distil", "study distillation"})
"""Commands whose --model may be called --student."""
RESUMED = frozenset(
    {
        "predict",
        "train",
        "train small",
        "label",
        "distil",
        "compress prune",
        "compress quantise",
        "study distillation",
        "study literature",
        "study stages",
        "study architectures",
        "study losses",
        "study compression",
        "data prepare",
    }
)
"""Commands that resume where they were interrupted when they are given again."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 for bad input or something skipped, 2 for a command that is none."""
    _open_closed_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_debug, is_quiet = "--debug" in words, "--quiet" in words
    words = [_with_home(word) for word in words if word not in GLOBAL_OPTIONS]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Names of files may hold bytes that are no text: they are shown as \udc80 … \udcff, in JSON too.
            stream.reconfigure(errors="backslashreplace")
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"leadline {version('leadline')}")
        return 0
    matching = (name for name in COMMANDS if words[: len(name.split())] == name.split())
    command = max(matching, key=len, default=None)
    if command is None:
        print(f"No command is called {words[0]!r}.\n\n{_overview()}", file=sys.stderr)
        return 2

    if empty := _empty_argument(words):
        print(f"leadline {command}: {empty}", file=sys.stderr)
        return 2

    import tyro

    from leadline.core.errors import BadInput
    from leadline.core.memory import keep_freed_memory
    from leadline.core.progress import hide_progress

    keep_freed_memory()
    if is_quiet:
        hide_progress()
    module, _, name = COMMANDS[command][0].partition(":")
    try:
        options = tyro.cli(
            getattr(import_module(module), name),
            args=_renamed(command, words[len(command.split()) :]),
            prog=f"leadline {command}",
            config=(tyro.conf.DisallowNone, tyro.conf.EnumChoicesFromValues),
        )
        code = options.run()
        sys.stdout.flush()
        return code
    except BadInput as mistake:
        if is_debug:
            traceback.print_exc()
        print(f"leadline {command}: {mistake}", file=sys.stderr)
    except OSError as failure:
        if isinstance(failure, BrokenPipeError) and _is_reader_gone():
            return 141
        if is_debug:
            traceback.print_exc()
        place = "" if failure.filename is None else f": {os.fsdecode(failure.filename)}"
        print(f"leadline {command}: {failure.strerror or failure}{place}", file=sys.stderr)
    except KeyboardInterrupt:
        continues = "; the same command continues" if command in RESUMED else ""
        print(f"leadline {command}: interrupted{continues}", file=sys.stderr)
        return 130
    except Exception as fault:
        if is_debug or arguments is not None:  # who calls this from Python handles it
            raise
        told = f"{type(fault).__name__}: {fault}".rstrip(": ")
        print(f"leadline {command}: {told}. This is a fault of Leadline: --debug shows where.", file=sys.stderr)
    return 1


def _open_closed_streams() -> None:
    """Let what a caller closed (`2>&-`, or a program without a console) lead nowhere.

    `print` would write errors to standard output instead, and the next opened file would get the free descriptor.
    """
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def _is_reader_gone() -> bool:
    """Tell whether who read standard output has enough (`| head -1`), and then let the rest of it lead nowhere."""
    try:
        os.write(sys.stdout.fileno(), b"\n")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _with_home(word: str) -> str:
    """Replace `~` by the home folder where a shell leaves it: quoted, after `--option=`, and within a spec.

    A folder that is called `~` is `./~`.
    """
    return re.sub(r"(^|[=:+]\s*)~(?=/|$)", lambda before: f"{before[1]}{Path.home()}", word)


def _renamed(command: str, words: Sequence[str]) -> list[str]:
    """The options by their present names; an old name is accepted for one more release, with a line that says so."""
    taken = []
    for word in words:
        option, equals, value = word.partition("=")
        now = RENAMED.get(option.replace("_", "-"))
        if now is not None:
            said = f"{option} is called {now} now, and its old name goes with the next release"
            print(f"leadline {command}: {said}", file=sys.stderr)
        elif command in TEACHING and option == "--student":
            now = "--model"
        taken.append(f"{now}{equals}{value}" if now else word)
    return taken


def _empty_argument(words: Sequence[str]) -> str:
    """Say which argument is empty, as an unset variable of a shell leaves it; return "" if none is.

    An empty path would be that of the present folder.
    """
    for before, word in zip(["", *words], words, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):
            place = word or (f"after {before}" if before.startswith("-") else "of this command")
            return f"an argument is empty ({place}): a variable of the shell may not be set."
    return ""


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join(
        [
            "Leadline measures depth from one photograph, and teaches small networks to do it.",
            "",
            "usage: leadline COMMAND [OPTIONS]",
            "",
            *rows,
            "",
            "`leadline COMMAND --help` shows a command's options. Every command takes --quiet (no progress is shown)",
            "and --debug (an error shows where it arose).",
        ]
    )
