"""The design of the study of distillation: which trainings there are, and which differences are claimed.

The source paper's students failed with a teacher: 1.86 times the error. It names two explanations, too little data and
a changed loss on a pretrained network; a third is that the teacher's numbers are no metres. The arms part these: each
explanation has a pair of arms that differ in it alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from leadline.recipes.arms import Claim, Design
from leadline.recipes.distil import METRES, SCALE_FREE, Variant

PAPER_LOSS: Mapping[str, float] = {"silog_all": 1.0}
"""The paper's second term: the loss of the ground truth once more, against the teacher, over all pixels."""
PAPER_FIGURES = (
    ("baseline: ground truth alone", "0.619", "0.701", "0.470"),
    ("a second loss term from DPT", "1.151", "0.417", "0.817"),
    ("holes filled by DPT", "1.181", "0.407", "0.907"),
)
"""The source paper's Table 2: RMSE (m), δ < 1.25, MAE (m); MiDaS-small on NYU Depth v2."""


@dataclass(frozen=True)
class Cell:
    """One arm: the variant, and the two factors that concern the student and not the teacher."""

    variant: Variant
    measured: int = 0
    """Samples with a target depth; 0: as many as `--labelled` says."""
    start: str = "random"
    headline: bool = False
    """Trained from as many seeds as the headline has."""

    @property
    def factors(self) -> dict[str, str]:
        """Factor → level, as a record keeps them."""
        variant = self.variant
        unit = "metres" if variant.alignment == "none" and not variant.unit else variant.unit or "metres"
        unit = f"{unit}, aligned to the truth" if variant.alignment == "truth" else unit
        return {
            "teacher's unit": unit if variant.teacher_losses or variant.holes != "open" else "no teacher",
            "student's start": self.start,
            "measured": str(self.measured or "--labelled"),
            "teacher's losses": ", ".join(f"{name}={weight:g}" for name, weight in variant.teacher_losses.items()),
            "unlabelled images": "yes" if variant.unlabelled else "no",
            "teacher's context": variant.context,
            "holes": variant.holes,
        }


_CONTROL = Variant("control: ground truth alone")
_PAPER = Variant(
    "the paper's: DPT's numbers used as metres", PAPER_LOSS, alignment="none", unit="dpt", mixes_kinds=True
)
_ALIGNED = Variant("the same labels aligned to metres", PAPER_LOSS, alignment="truth", unit="dpt")
_BEST = Variant("teacher in metres, unlabelled images", METRES, alignment="none", confidence=True, unlabelled=True)


def _more(variant: Variant, name: str, **changes: object) -> Variant:
    return replace(variant, name=name, **changes)  # pyright: ignore[reportArgumentType]


CELLS: Mapping[str, Cell] = {
    # Controls and bounds.
    "control": Cell(_CONTROL, headline=True),
    "data-matched": Cell(
        Variant("data-matched control: the teacher's data, no teacher", beside="teacher"), headline=True
    ),
    "oracle": Cell(Variant("oracle: the unlabelled images with ground truth", beside="unlabelled"), headline=True),
    # The teacher's unit, everything else as in the paper.
    "paper": Cell(_PAPER, headline=True),
    "paper-unit": Cell(_more(_PAPER, "the paper's, with numbers from 0 to 1", unit="unit"), headline=True),
    "aligned": Cell(_ALIGNED, headline=True),
    "metres": Cell(Variant("a teacher in metres instead", PAPER_LOSS, alignment="none"), headline=True),
    "unlabelled": Cell(_BEST, headline=True),
    # The student's start.
    "control-pretrained": Cell(
        _more(_CONTROL, "control, pretrained on relative depth"), start="relative", headline=True
    ),
    "paper-pretrained": Cell(
        _more(_PAPER, "the paper's, pretrained on relative depth"), start="relative", headline=True
    ),
    "aligned-pretrained": Cell(_more(_ALIGNED, "aligned labels, pretrained"), start="relative", headline=True),
    # The amount of measured data.
    "control-256": Cell(_more(_CONTROL, "control, 256 measured"), 256),
    "paper-256": Cell(_more(_PAPER, "the paper's, 256 measured"), 256),
    "control-1024": Cell(_more(_CONTROL, "control, 1,024 measured"), 1024),
    "paper-1024": Cell(_more(_PAPER, "the paper's, 1,024 measured"), 1024),
    "aligned-1024": Cell(_more(_ALIGNED, "aligned labels, 1,024 measured"), 1024),
    # The weight of the teacher's term, and the trim.
    "paper-weight-0.01": Cell(_more(_PAPER, "the paper's, teacher's weight 0.01", teacher_losses={"silog_all": 0.01})),
    "paper-weight-0.1": Cell(_more(_PAPER, "the paper's, teacher's weight 0.1", teacher_losses={"silog_all": 0.1})),
    "paper-trimmed": Cell(_more(_PAPER, "the paper's, worst tenth trimmed", teacher_losses={"silog": 1.0})),
    "unlabelled-weight-0.3": Cell(
        _more(_BEST, "unlabelled, teacher's weight 0.3", teacher_losses=dict.fromkeys(METRES, 0.3))
    ),
    "unlabelled-weight-3": Cell(
        _more(_BEST, "unlabelled, teacher's weight 3", teacher_losses=dict.fromkeys(METRES, 3.0))
    ),
    "unlabelled-untrimmed": Cell(
        _more(_BEST, "unlabelled, nothing trimmed", teacher_losses={"silog_all": 1.0, "l1_all": 1.0})
    ),
    "unlabelled-no-confidence": Cell(_more(_BEST, "unlabelled, all pixels weigh alike", confidence=False)),
    "unlabelled-relative": Cell(
        _more(
            _BEST, "unlabelled, relative teacher, loss free of scale and shift", teacher_losses=SCALE_FREE, unit="dpt"
        )
    ),
    # The losses against the teacher.
    "loss-silog": Cell(_more(_BEST, "unlabelled, silog alone", teacher_losses={"silog": 1.0})),
    "loss-l1": Cell(_more(_BEST, "unlabelled, l1 alone", teacher_losses={"l1": 1.0})),
    "loss-bins": Cell(_more(_BEST, "unlabelled, bins alone", teacher_losses={"bins": 1.0})),
    "loss-ssi": Cell(_more(_BEST, "unlabelled, ssi and its gradient", teacher_losses=SCALE_FREE)),
    "loss-holistic": Cell(_more(_BEST, "unlabelled, and holistic", teacher_losses={**METRES, "holistic": 0.1})),
    "loss-pairwise": Cell(_more(_BEST, "unlabelled, and pairwise", teacher_losses={**METRES, "pairwise": 0.5})),
    "loss-features": Cell(_more(_BEST, "unlabelled, and features", teacher_losses={**METRES, "features": 0.5})),
    # What the teacher sees of the unlabelled images.
    "context-crop": Cell(_more(_BEST, "unlabelled, corners with the image's label", context="crop")),
    "context-cross": Cell(_more(_BEST, "unlabelled, cross-context", context="cross")),
    "context-unanchored": Cell(_more(_BEST, "unlabelled, cross-context, not anchored", context="unanchored")),
    "context-ssi": Cell(
        _more(_BEST, "unlabelled, cross-context, ssi and its gradient", teacher_losses=SCALE_FREE, context="cross")
    ),
    # The paper's third experiment.
    "filled-paper": Cell(
        Variant(
            "the paper's third: holes filled with DPT's numbers",
            alignment="none",
            unit="dpt",
            holes="naive",
            mixes_kinds=True,
        )
    ),
    "filled-gated": Cell(
        Variant("holes filled with metres where confident", unit="dpt", alignment="truth", holes="gated")
    ),
}
"""Folder → arm, in the order of the table."""

QUESTIONS: Mapping[str, str] = {
    "collapse": "Does a relative teacher whose numbers are used as metres make the student worse?",
    "units": "Are the teacher's units the cause: do the same labels in metres undo it?",
    "data": "The paper's first explanation, too little data: does more measured data undo it?",
    "pretrained": "The paper's second explanation: does a second loss term harm a pretrained network?",
    "weight": "Does a smaller weight of the teacher's term, or trimming, undo it?",
    "gain": "Does a teacher in metres help beyond what its own data would have taught without it?",
    "losses": "Which loss against the teacher is best where a teacher helps?",
    "context": "Does a teacher's view of parts of the images help beside its view of the whole (cross-context)?",
    "holes": "Does filling holes with a teacher's depth help?",
}
"""Identifier → question."""


def _claims(question: str, family: str, *pairs: tuple[str, str]) -> tuple[Claim, ...]:
    return tuple(Claim(question, arm, against, family) for arm, against in pairs)


DESIGN = Design(
    "distillation",
    "Distillation: why it failed, and what a teacher adds",
    "A fractional factorial. Each factor is varied around two cells, the paper's (a relative teacher's numbers used as "
    "metres, one more silog term of weight 1 over all pixels) and the best (a teacher in metres, half of the images "
    "unlabelled), and crossed with another only where a question needs it: the student's start and the amount of "
    "measured data with the paper's cell, because the paper names them as explanations; the losses with the best cell, "
    "because elsewhere a teacher has little to give. Controls have the same network, steps, images per step and seeds.",
    QUESTIONS,
    (
        *_claims("collapse", "headline", ("paper", "control"), ("paper-unit", "control")),
        *_claims("units", "headline", ("aligned", "paper"), ("aligned", "control"), ("metres", "control")),
        *_claims(
            "pretrained",
            "headline",
            ("paper-pretrained", "control-pretrained"),
            ("aligned-pretrained", "control-pretrained"),
            ("control-pretrained", "control"),
        ),
        *_claims(
            "gain",
            "headline",
            ("unlabelled", "control"),
            ("unlabelled", "data-matched"),
            ("unlabelled", "oracle"),
            ("data-matched", "control"),
        ),
        *_claims(
            "data",
            "ablation",
            ("paper-256", "control-256"),
            ("paper-1024", "control-1024"),
            ("aligned-1024", "control-1024"),
        ),
        *_claims(
            "weight",
            "ablation",
            ("paper-weight-0.01", "control"),
            ("paper-weight-0.1", "control"),
            ("paper-trimmed", "control"),
        ),
        *_claims(
            "losses", "ablation", *((name, "unlabelled") for name in CELLS if name.startswith(("loss-", "unlabelled-")))
        ),
        *_claims(
            "context",
            "ablation",
            ("context-crop", "unlabelled"),
            ("context-cross", "unlabelled"),
            ("context-cross", "context-crop"),
            ("context-unanchored", "context-cross"),
            ("context-ssi", "loss-ssi"),
        ),
        *_claims("holes", "ablation", ("filled-paper", "control"), ("filled-gated", "control")),
    ),
    {
        "headline": "the paper's claims and explanations, five seeds unless the table says otherwise",
        "ablation": "everything else, three seeds unless the table says otherwise",
    },
)
"""The study of distillation."""
