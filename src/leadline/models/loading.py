"""Load any model that a user can name: a folder, a checkpoint, a release or a hub repository; list the names."""

import fnmatch
import os
from pathlib import Path

from leadline.core.errors import BadInput, check_known
from leadline.core.paths import StrPath
from leadline.core.specs import parse_options, parse_spec
from leadline.models.base import DepthModel
from leadline.models.pretrained.hub_models import HUB_MODELS
from leadline.models.pretrained.releases import RELEASES, weights_file
from leadline.models.registry import BUILDERS, DEFAULT, MODELS, build
from leadline.models.saving import load_folder


def load(path: StrPath = DEFAULT, as_name: str | None = None) -> DepthModel:
    """Read back a folder that `save` wrote, or an official MiDaS or DPT checkpoint; in evaluation mode.

    Without a path: the model that comes with the package.

    Where nothing lies at `path`, it may be the name of a published model, whose weights are downloaded at first use.
    `as_name` says which model a checkpoint is, where neither its keys nor its file name do.
    `hub:PLACE[,kind=…][,revision=…]` is a model of the Hugging Face hub, or a folder of the transformers library;
    the networks of `HUB_MODELS` have short names.

    Raises:
        BadInput: nothing there, a folder that does not hold a whole model, a file that is no known checkpoint, or
            weights that cannot be downloaded.
    """
    path = os.fspath(path)
    if path in HUB_MODELS and not Path(path).exists():
        path = HUB_MODELS[path].spec
    if path.startswith("hub:"):
        from leadline.models.pretrained.hub import load_spec

        return load_spec(path)
    if path == DEFAULT and not Path(path).exists():
        path = Path(__file__).with_name("pretrained") / DEFAULT
    elif path in RELEASES and not Path(path).exists():
        path, as_name = weights_file(path), as_name or path
    if Path(path).is_file():
        from leadline.models.pretrained.checkpoints import load_checkpoint

        return load_checkpoint(Path(path), as_name)
    if as_name is not None:
        raise BadInput(
            f"{path} is no checkpoint file, so it cannot be read as {as_name!r}; a saved model has its name."
        )
    if not Path(path).is_dir():
        raise BadInput(
            f"No model at {path}: nothing is there. {DEFAULT} comes with the package; published models go by their "
            f"names: {', '.join(sorted(RELEASES))}."
        )
    return load_folder(path)


def list_models(pattern: str = "*", *, trained: bool = False) -> list[str]:
    """List the names of models, sorted.

    Args:
        pattern: only names that match it: `dpt_*`.
        trained: only those with published weights, which `load` takes (and downloads at first use, all but
            `leadline_small`, which comes with the package); `build` takes the others, and makes them untrained.

    Returns:
        The names; none if nothing matches.
    """
    with_weights = {DEFAULT, *RELEASES, *HUB_MODELS}
    names = with_weights if trained else {*with_weights, *MODELS}
    return sorted(fnmatch.filter(names, pattern))


def open_model(words: StrPath) -> DepthModel:
    """Load the model at a path, or build an untrained one from `NAME[,argument=value]…`: `hybrid,size=tiny`.

    `quantised:MODEL[,bits=4]` is the trained model of that folder or published name, whose weights are rounded to 8 (or
    4) bits, in training too: see `leadline.models.quantisation`.
    `start:MODEL[,head=log]` is the trained model of that folder or published name, ready to be finetuned to metres: see
    `leadline.models.finetuning.with_metric_head`.

    Raises:
        BadInput: neither a path nor a known model, or as `load` and `build` say.
    """
    words = os.fspath(words)
    if Path(words).exists():
        return load(words)
    name, path, arguments = parse_spec(words)
    if name == "start" and path:
        from leadline.models.finetuning import with_metric_head

        return with_metric_head(load(path), **parse_options(with_metric_head, arguments, "start"))
    if name == "quantised" and path:
        from leadline.models.quantisation import quantise

        return quantise(load(path), **parse_options(quantise, arguments, "quantised"))
    is_stored = path or "/" in name or words == DEFAULT or words in HUB_MODELS
    if is_stored:
        return load(words)
    check_known("model", name, BUILDERS if name in BUILDERS else list_models())
    return build(name, **arguments)
