"""The package: its public names, its one direction of imports, and a command line that answers at once."""

import pkgutil
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

import leadline
from leadline.cli.main import COMMANDS, main
from leadline.core.errors import check_known
from leadline.data.datasets import DATASETS
from leadline.training.losses import l1_loss

USE_THE_NAMES = """
import os, pkgutil, sys, warnings
import cv2, lightning_fabric, matplotlib, timm.utils.model_ema, torch.utils.tensorboard  # what takes seconds
import leadline

def first_use(name):
    # Of a name that nothing has imported yet: as often as there are lines, by attribute first.
    assert not any(module.startswith("leadline.") for module in sys.modules), "nothing of it is imported yet"
    by_attribute = getattr(leadline, name)
    return [by_attribute, getattr(leadline, name), imported(name)]

def first_import(name):
    return [imported(name), imported(name), getattr(leadline, name)]

def use_after_all_modules(name):
    for module in pkgutil.walk_packages(leadline.__path__, "leadline."):
        # One runs the command line, one is a script for Blender's own Python, and one needs the extra `app`.
        if not module.name.endswith(("__main__", "furnished_rooms.blender", "serve.app")):
            __import__(module.name)
    return first_import(name)

def imported(name):
    space = {}
    exec(f"from leadline import {name}", space)
    return space[name]

def check(use, names):
    # A fork is a process in which nothing of leadline was imported.
    child = os.fork()
    if not child:
        warnings.simplefilter("error")
        try:
            for name in names:
                found = use(name)
                assert all(each is found[0] for each in found), (use, name, found)
                assert callable(found[0]) == (name in leadline.__all__), (use, name, found)
                assert name in dir(leadline)
        except BaseException as problem:
            print(f"{use.__name__}: {names}: {problem!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

names = [*leadline.__all__, *leadline._MODULES]
failed = sum(check(use, [name]) for use in (first_use, first_import) for name in names)
failed += check(use_after_all_modules, names)
sys.exit(failed)
"""


def test_types_and_shapes_are_checked_in_the_whole_package():
    depth, valid = torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4, dtype=torch.bool)
    with pytest.raises(TypeCheckError):
        l1_loss(depth, torch.ones(2, 1, 3, 5), valid)
    with pytest.raises(BeartypeCallHintViolation):
        check_known("model", "cnn", 3)  # pyright: ignore[reportArgumentType]


def test_the_public_names_are_these():
    assert leadline.__all__ == [
        "BadInput", "DepthKind", "DepthMap", "DepthModel", "EvalProtocol", "ExportedModel", "HardwareConfig", "Sample",
        "Supervised",
        "TrainConfig", "UnreadableFile", "build", "evaluate", "evaluate_maps", "fit", "list_models", "load",
        "load_pretrained", "open_data", "predict", "predict_tensor", "protocol", "push_to_hub", "read_camera",
        "read_depth", "read_image", "save", "save_pretrained", "write_depth", "write_image",
    ]  # fmt: skip
    assert dir(leadline).count("predict") == 1
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", leadline.__version__)


def test_no_public_name_is_that_of_a_submodule():
    submodules = {module.name for module in pkgutil.iter_modules(leadline.__path__)}
    assert not submodules & set(leadline.__all__)
    assert submodules - {"__main__"} <= leadline._MODULES.keys()


def test_every_public_name_means_the_same_at_each_use_in_a_fresh_process():
    done = subprocess.run([sys.executable, "-c", USE_THE_NAMES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_renamed_name_still_works_and_says_the_new_one():
    with pytest.warns(DeprecationWarning, match="leadline.Kind is called leadline.DepthKind now"):
        kind = leadline.Kind  # pyright: ignore[reportAttributeAccessIssue]
    assert kind is leadline.DepthKind


def test_the_package_runs_as_a_command():
    done = subprocess.run([sys.executable, "-m", "leadline", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"leadline {leadline.__version__}\n"


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match="leadline has no 'trane'; its names are BadInput"):
        _ = leadline.trane  # pyright: ignore[reportAttributeAccessIssue]


def test_help_answers_without_torch_in_under_a_third_of_a_second():
    check = "import sys; from leadline.cli.main import main; main(['--help']); sys.exit('torch' in sys.modules)"
    took = []
    for _ in range(3):
        started_at = time.perf_counter()
        subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)
        took.append(time.perf_counter() - started_at)
    assert min(took) < 0.3


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert end.value.code == 0
    assert f"usage: leadline {command}" in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_the_known_ones(capsys):
    assert main(["trian"]) == 2
    printed = capsys.readouterr().err
    assert "No command is called 'trian'" in printed
    assert "train" in printed


def test_bad_input_ends_with_one_line_and_exit_code_1(capsys, tmp_path):
    assert main(["train", "--out", str(tmp_path / "run"), "--data", "romos"]) == 1
    known = ", ".join(sorted(DATASETS))
    assert capsys.readouterr().err == f"leadline train: No dataset is called 'romos'. Known datasets: {known}.\n"


IMPORT_THE_LIBRARY = """
import sys
from importlib import import_module
for module in sys.stdin.read().split():
    import_module(module)
sys.exit("tyro" in sys.modules)
"""


def test_the_library_imports_neither_the_commands_parser_nor_their_bars():
    root = Path(leadline.__file__).parent
    library = [path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in ("cli", "__main__.py")]
    importing = {
        path.relative_to(root).as_posix(): found
        for path in library
        if (found := re.findall(r"^\s*(?:import|from) (tyro|tqdm)\b", path.read_text(encoding="utf-8"), re.MULTILINE))
    }
    assert importing.keys() == {"core/progress.py"}
    assert "tyro" not in importing["core/progress.py"]
    # blender.py runs in Blender's own Python, and serve/app.py needs the extra `app`.
    elsewhere = {"blender.py"} if find_spec("gradio") else {"blender.py", "app.py"}
    names = [
        ".".join(path.relative_to(root.parent).with_suffix("").parts) for path in library if path.name not in elsewhere
    ]
    modules = "\n".join(name.removesuffix(".__init__") for name in names)
    assert "leadline.recipes.study_stages" in modules
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_THE_LIBRARY], input=modules, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
