"""Sharing: models on the Hugging Face hub and back, each with a card that says what its numbers are."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import EvalResult, HfApi, ModelCardData, snapshot_download
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from leadline.core.errors import BadInput
from leadline.core.markdown import markdown_table
from leadline.core.paths import StrPath
from leadline.core.specs import parse_options, parse_spec
from leadline.io.atomic import atomic_folder
from leadline.io.json_text import parse_json
from leadline.models.base import DepthModel
from leadline.models.pretrained.depth_anything_3 import is_depth_anything_3, load_depth_anything_3_folder
from leadline.models.pretrained.transformers import load_transformers_folder
from leadline.models.saving import load_folder, save

HUB = "hub:"
"""Begins the words for a model that lies on the hub, or in a folder of the transformers library."""


_CARD = "README.md"


_LICENCES = (
    "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0",
    "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "lgpl-3.0", "mit", "mpl-2.0",
)  # fmt: skip
"""Those of the hub's identifiers that a depth model is likely to have; any other is written out."""


def load_spec(words: str) -> DepthModel:
    """Load the model that `hub:PLACE[,kind=…][,revision=…]` names: a folder, or a repository of the hub.

    Raises:
        BadInput: as `load_pretrained`, or an unknown option.
    """
    _, place, options = parse_spec(words)
    return load_pretrained(place, **parse_options(load_pretrained, options, "hub"))


def load_pretrained(
    place: StrPath,
    *,
    kind: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    local_files_only: bool = False,
) -> DepthModel:
    """Load a model from a folder, or else from a repository of the hub, in evaluation mode.

    It may be one that Leadline saved, a depth network of the transformers library, or DA3METRIC-LARGE as its authors
    publish it. What was downloaded once is found
    again without a network.

    Args:
        place: a folder, or `USER/NAME`.
        kind: what a network of the transformers library guarantees, where its configuration leaves it open.
        revision: branch, tag or commit of the repository.
        token: of the hub, for private repositories.
        local_files_only: whether to use nothing but what was downloaded before.

    Raises:
        BadInput: not there, not a whole model, or a kind for a model that states its own.
    """
    place = os.fspath(place)
    is_local = Path(place).is_dir()
    folder = Path(place) if is_local else _downloaded(place, revision, token, local_files_only)
    # The cache names a folder by its commit, which a branch or a tag does not keep.
    name = place if is_local else f"{place}@{folder.name}"
    if not (folder / "model.json").is_file():
        if is_depth_anything_3(folder) and kind is None:
            return load_depth_anything_3_folder(folder, name)
        return load_transformers_folder(folder, name, kind)
    if kind is not None:
        raise BadInput(f"{place} says itself which kind of depth it gives: leave kind={kind} out.")
    model = load_folder(folder)
    if not is_local:
        model.provenance = replace(model.provenance, notes=f"{model.provenance.notes} From {name}.".strip())
    return model


def save_pretrained(model: DepthModel, directory: StrPath) -> None:
    """Save a model as `leadline.save` does, with a model card, README.md; a card that is already there is kept.

    Raises:
        BadInput: the folder holds other files, or cannot be written.
    """
    kept = Path(directory) / _CARD
    text = kept.read_text(encoding="utf-8") if kept.is_file() else model_card(model)
    with atomic_folder(Path(directory)) as folder:
        save(model, folder)
        (folder / _CARD).write_text(text, encoding="utf-8")


def push_to_hub(
    model: DepthModel,
    repo: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
    message: str = "Share a depth model",
) -> str:
    """Upload a model and its card to a repository of the hub, which is made if it is not there.

    Args:
        model: what to upload.
        repo: `USER/NAME`.
        private: whether a new repository is private; None: the hub's default.
        token: of the hub; None: the one of `hf auth login`.
        revision: branch to upload to.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        BadInput: the hub cannot be reached or refuses, as it does without a token.
    """
    with TemporaryDirectory() as scratch, _hub_answers(repo):
        api = HfApi(token=token, library_name="leadline")
        made = api.create_repo(repo, private=private, exist_ok=True).repo_id
        folder = Path(scratch) / "model"
        save(model, folder)
        (folder / _CARD).write_text(model_card(model, made), encoding="utf-8")
        done = api.upload_folder(repo_id=made, folder_path=folder, commit_message=message, revision=revision)
        return done.commit_url


def read_figures(file: StrPath) -> dict[str, dict[str, float]]:
    """Read the scores of a table's first row, as `leadline evaluate --json` writes it.

    Returns:
        Data and protocol in words → metric → value.

    Raises:
        BadInput: the file is no such table.
    """
    file = Path(file)
    try:
        table = parse_json(file.read_text(encoding="utf-8"))
        words, metrics = f"{table['title']} ({table['protocol']['words']})", table["metrics"]
        return {words: {name: float(value) for name, value in metrics.items() if value is not None}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BadInput(f"{file} is no table of `leadline evaluate --json` ({problem!r}).") from problem


def model_card(model: DepthModel, repo: str | None = None) -> str:
    """Write the model card: first what the hub reads, then the same for people."""
    provenance, rule = model.provenance, model.preprocessing
    parameters = sum(parameter.numel() for parameter in model.parameters())
    facts = {
        "Kind of depth": f"{model.kind}: {model.kind.description}",
        "Network": f"`{model.name}`, {parameters / 1e6:.2f} million parameters",
        "Input": f"RGB, natively {rule.size[0]} × {rule.size[1]} pixels (height × width)",
        "Trained on": provenance.training_data or "nothing yet: its weights are random",
        "Encoder before that": provenance.encoder or "random numbers",
        "Licence": provenance.licence,
        "Notes": provenance.notes or "none",
    }
    return f"""---
{_metadata(model, repo or model.name).to_yaml()}
---

# {repo or model.name}

Measures depth from one photograph: {model.kind.description}.

{markdown_table(["", ""], [[name, fact] for name, fact in facts.items()])}

## Figures

{_figures_table(provenance.figures)}

## Use

```python
import leadline

model = leadline.load("{HUB + repo if repo else "FOLDER"}")
depth = leadline.predict(model, "photograph.jpg")
print(depth)
depth.save("depth.png")  # 16 bits, with its unit in the file's own text
depth.colorize().save("colours.png")
values = depth.numpy()  # (height, width), {model.kind.description}
```
"""


def _downloaded(repo: str, revision: str | None, token: str | None, local_files_only: bool) -> Path:
    """The repository's folder in the hub's cache, with JSON, safetensors and the card; nothing that is code."""
    with _hub_answers(repo):
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                token=token,
                local_files_only=local_files_only,
                allow_patterns=["*.json", "*.safetensors", _CARD],
                ignore_patterns=["*/*"],
            )
        )


@contextmanager
def _hub_answers(repo: str) -> Iterator[None]:
    """Whatever the hub, its cache or the way there trips over becomes a `BadInput` that says the cure."""
    try:
        yield
    except BadInput:
        raise
    except GatedRepoError as problem:
        raise BadInput(f"{repo} wants its terms accepted: do so on its page, then `hf auth login`.") from problem
    except RepositoryNotFoundError as problem:
        raise BadInput(
            f"No folder and no repository of the hub is called {repo!r}, or it is private: `hf auth login`, then again."
        ) from problem
    except LocalEntryNotFoundError as problem:
        raise BadInput(
            f"{repo} is not whole on this machine, and the hub cannot be asked (no network, HF_HUB_OFFLINE or "
            "local_files_only): open it once with a network."
        ) from problem
    except Exception as problem:  # The client's own errors, its HTTP library's and the disk's share no class.
        raise BadInput(f"The hub and {repo!r}: {str(problem).strip() or repr(problem)}") from problem


def _metadata(model: DepthModel, name: str) -> ModelCardData:
    licence = model.provenance.licence.lower()
    is_known = licence in _LICENCES
    return ModelCardData(
        model_name=name,
        library_name="leadline",
        pipeline_tag="depth-estimation",
        tags=["depth-estimation", "monocular-depth-estimation", f"{model.kind}-depth"],
        license=licence if is_known else "other",
        license_name=None if is_known else re.sub(r"[^a-z0-9.]+", "-", licence).strip("-") or "unknown",
        eval_results=[
            EvalResult(
                task_type="depth-estimation",
                dataset_type=re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-"),
                dataset_name=words,
                metric_type=metric,
                metric_value=value,
            )
            for words, metrics in model.provenance.figures.items()
            for metric, value in metrics.items()
            if math.isfinite(value)
        ]
        or None,
    )


def _figures_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Metrics down, what they were measured on across."""
    if not figures:
        return "None were recorded with the model."
    names = dict.fromkeys(name for metrics in figures.values() for name in metrics)
    rows = [[f"`{name}`", *(_printed(metrics.get(name)) for metrics in figures.values())] for name in names]
    return markdown_table(["measured on (protocol)", *figures], rows)


def _printed(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.4g}"
