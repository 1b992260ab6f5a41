"""Arms of a study: train each over seeds, score it, compare what is claimed, and record every figure."""

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from leadline.core.errors import BadInput, unknown
from leadline.core.paths import StrPath
from leadline.data.datasets import Dataset
from leadline.data.loader import identity
from leadline.evaluation.evaluate import constant_baseline, evaluate_metrics
from leadline.evaluation.flat_baselines import flat_rows
from leadline.evaluation.protocols import EvalProtocol
from leadline.evaluation.records import FORMAT, answers, claims_table, derive
from leadline.evaluation.tables import Row, TextTable, average_runs
from leadline.io.atomic import atomic_write
from leadline.io.run_folder import differences, read_configuration
from leadline.models.saving import fingerprint, load_folder
from leadline.recipes import TrainingRun, run_folder, train_and_save
from leadline.recipes.studies import numbers_section, results_table
from leadline.reporting.report import Chart, Report, Section, reading
from leadline.training.parallel import run_parallel

_PACKAGES = ("leadline", "torch", "timm", "numpy")


@dataclass(frozen=True)
class Arm:
    """One way to train: what its row is called, and where it stands in the study's design."""

    name: str
    training_run: TrainingRun
    recipe: str = "end_to_end"
    factors: Mapping[str, str] = field(default_factory=dict)
    """Factor of the design → this arm's level."""
    seeds: int = 3
    """It is trained once from each of the seeds 0 … n − 1."""


@dataclass(frozen=True)
class Claim:
    """A comparison that a study decides: an arm against another, over the seeds that both have."""

    question: str
    """Its question, by identifier."""
    arm: str
    against: str
    family: str
    """Claims that share Holm's correction."""
    metric: str = "rmse"


@dataclass(frozen=True)
class Design:
    """Say what a study asks, and which claims answer it."""

    name: str
    """What its files are called: `distillation`."""
    title: str
    words: str
    """Why these arms: a paragraph."""
    questions: Mapping[str, str]
    """Identifier → question."""
    claims: tuple[Claim, ...]
    families: Mapping[str, str]
    """Family of claims → what it is."""

    def arms(self, only: Iterable[str] = ()) -> list[str]:
        """Return the arms that the claims compare; with `only`, those of the claims of these arms.

        Raises:
            BadInput: an arm of `only` is in no claim.
        """
        known = list(dict.fromkeys(each for claim in self.claims for each in (claim.arm, claim.against)))
        for name in only:
            if name not in known:
                raise unknown("arm", name, known)
        chosen = self.restricted(only)
        return [name for name in known if any(name in (claim.arm, claim.against) for claim in chosen.claims)]

    def restricted(self, arms: Iterable[str]) -> "Design":
        """Return the design with the claims of these arms alone; without arms, the design itself.

        Raises:
            BadInput: none of them is claimed to differ from anything.
        """
        if not (arms := set(arms)):
            return self
        claims = tuple(claim for claim in self.claims if claim.arm in arms)
        if not claims:
            raise BadInput(
                "--only names controls alone, which are compared with nothing: name an arm that is compared with them."
            )
        return replace(self, claims=claims)


def train_arms(arms: Mapping[str, Arm], out: StrPath, jobs: int) -> None:
    """Train every arm from each of its seeds; what was interrupted resumes, what is finished is kept.

    Arms of more seeds come first, and of these all arms of a seed before the next seed: a study that is stopped early
    has whole comparisons, the most important ones first.

    Args:
        arms: folder name → arm.
        out: the study's folder.
        jobs: trainings at a time.
    """
    counts = sorted({arm.seeds for arm in arms.values()}, reverse=True)
    run_parallel(
        [
            partial(train_and_save, arm.recipe, arm.training_run.seeded(seed), run_folder(out, name, seed))
            for count in counts
            for seed in range(count)
            for name, arm in arms.items()
            if arm.seeds == count
        ],
        jobs,
    )


def finished_seeds(out: StrPath, name: str, seeds: int) -> list[int]:
    """Return which of an arm's seeds are trained to the end.

    Args:
        out: the study's folder.
        name: the arm's folder in it.
        seeds: how many it is to have.
    """
    return [seed for seed in range(seeds) if (run_folder(out, name, seed) / "model" / "model.json").is_file()]


def score_arm(arm: Arm, out: StrPath, name: str, seed: int, test: Dataset) -> dict[str, Any]:
    """Score one trained model, or read its scores from its run folder; see `study_record` for what they hold.

    Args:
        arm: how it was trained.
        out: the study's folder.
        name: the arm's folder in it.
        seed: which of its trainings.
        test: what to score it on.
    """
    folder = run_folder(out, name, seed)
    model = load_folder(folder / "model").to(arm.training_run.hardware.device)
    protocol = arm.training_run.protocol
    key = {"weights": fingerprint(model), "test": identity(test), "protocol": protocol.as_dict()}
    key = json.loads(json.dumps(key))
    file = folder / "scores.json"
    if file.is_file():
        scores = read_configuration(file)
        if not differences({part: scores[part] for part in key if part in scores}, key):
            return scores
    done = [read_configuration(each) for each in sorted(folder.rglob("done.json"))]
    scores = {
        **key,
        "metrics": evaluate_metrics(model, test, protocol),
        "parameters": sum(each.numel() for each in model.parameters()),
        "steps": [each["steps"] for each in done],
        "seconds": round(sum(each["seconds"] for each in done), 1),
        "chosen at step": [each["best"]["step"] for each in done],
        "validation": done[-1]["best"][arm.training_run.config.monitor],
    }
    with atomic_write(file) as half:
        half.write_text(json.dumps(scores, indent=1))
    return scores


def study_record(
    design: Design,
    arms: Mapping[str, Arm],
    out: StrPath,
    test: Dataset,
    *,
    fixed: Sequence[tuple[str, Row]],
    notes: Sequence[str],
    tables: Sequence[TextTable] = (),
    command: str = "",
) -> dict[str, Any]:
    """Make the record of what is trained: per seed the metrics, the hash of the weights, steps and seconds.

    Args:
        design: questions and claims; those whose arms have no finished seed in common are left out.
        arms: folder name → arm.
        out: the study's folder.
        test: what everything is scored on.
        fixed: rows without seeds, each with an identifier: the teacher, flat baselines.
        notes: sentences below the table.
        tables: of what others report.
        command: the command line of the study.

    Raises:
        BadInput: no comparison is finished.
    """
    scores = {
        name: {str(seed): score_arm(arm, out, name, seed, test) for seed in finished_seeds(out, name, arm.seeds)}
        for name, arm in arms.items()
    }
    claims = [each for each in design.claims if scores.get(each.arm, {}).keys() & scores.get(each.against, {}).keys()]
    if not claims:
        raise BadInput(f"No comparison of the study in {out} is finished: give the same command without --no-train.")
    protocol = next(iter(arms.values())).training_run.protocol
    record: dict[str, Any] = {
        "format": FORMAT,
        "study": design.name,
        "title": design.title,
        "design": design.words,
        "command": command,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "protocol": protocol.as_dict(),
        "test": identity(test),
        "questions": [{"id": name, "asks": asks} for name, asks in design.questions.items()],
        "families": dict(design.families),
        "arms": {
            name: {
                "name": arm.name,
                "recipe": arm.recipe,
                "factors": dict(arm.factors),
                "network": _without_folder(arm.training_run.network, out),
                "train": identity(arm.training_run.train),
                "objective": _without_folder(repr(arm.training_run.objective), out),
                "steps": arm.training_run.config.steps,
                "batch_size": arm.training_run.config.batch_size,
                "learning_rate": arm.training_run.config.learning_rate,
                "seeds": {
                    seed: {part: value for part, value in each.items() if part not in ("test", "protocol")}
                    for seed, each in scores[name].items()
                },
            }
            for name, arm in arms.items()
            if scores[name]
        },
        "fixed": [
            {"id": name, "name": row.name, "images": row.images, "pixels": row.pixels, "metrics": dict(row.metrics)}
            for name, row in fixed
        ],
        "claims": [vars(claim) for claim in claims],
        "notes": list(notes),
        "tables": [{"title": each.title, "head": each.head(), "body": each.body()} for each in tables],
    }
    record = json.loads(json.dumps(record))
    return {**record, "derived": derive(record)}


def _without_folder(words: str, out: StrPath) -> str:
    """Words that name files of a study by their place in its folder, wherever that lies."""
    return words.replace(f"{Path(out)}/", "")


def baseline_rows(train: Dataset, test: Dataset, protocol: EvalProtocol) -> list[tuple[str, Row]]:
    """Score what knows no image: constants of the training depths, and each image's own median.

    Args:
        train: where the constants come from.
        test: what to score on.
        protocol: how to score.
    """
    known = constant_baseline(train, protocol)
    return [(f"baseline-{number}", row) for number, row in enumerate(flat_rows(test, protocol, known))]


def study_report(
    record: Mapping[str, Any], train: Dataset, test: Dataset, protocol: EvalProtocol, charts: Sequence[Chart] = ()
) -> Report:
    """Lay a record out as a report.

    Args:
        record: of `study_record`.
        train: what was trained on, for the title.
        test: what was scored on, for the title.
        protocol: how it was scored.
        charts: drawings of this study.
    """
    some = record["fixed"][0]
    counts = {"protocol": protocol.words, "kind": "metric", "images": some["images"], "pixels": some["pixels"]}
    rows = [
        average_runs(arm["name"], [Row(arm["name"], seed["metrics"], **counts) for seed in arm["seeds"].values()])
        for arm in record["arms"].values()
    ]
    rows += [
        Row(row["name"], row["metrics"], **counts, is_baseline=row["id"].startswith("baseline"))
        for row in record["fixed"]
    ]
    table = results_table(rows, train, test, protocol, notes=record["notes"])
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in claims_table(record).splitlines()]
    claims = TextTable("Claims, paired by seed", tuple(lines[0]), tuple(map(tuple, lines[2:])))
    tables = [
        TextTable(each["title"], tuple(each["head"]), tuple(map(tuple, each["body"]))) for each in record["tables"]
    ]
    numbers = numbers_section(table, [claims, *tables], protocol)
    figures = (*charts, *numbers.figures)
    return Report(
        record["title"],
        (
            Section(numbers.title, numbers.prose, numbers.tables, figures),
            Section("Design", record["design"]),
            reading(),
        ),
        answers(record),
    )
