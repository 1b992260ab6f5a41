"""Studies: every seed is recorded, claims follow from the seeds, and what is committed follows from its records."""

import copy
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel
from test_documents import ROOT

from leadline.cli.main import main
from leadline.core.errors import BadInput
from leadline.data.datasets.rooms import rooms
from leadline.evaluation.evaluate import constant_baseline
from leadline.evaluation.flat_baselines import flat_rows
from leadline.evaluation.metrics import METRICS
from leadline.evaluation.protocols import protocol
from leadline.evaluation.record_check import check_record, quoted_records
from leadline.evaluation.records import claims_table, derive, record_markdown
from leadline.evaluation.statistics import holm
from leadline.evaluation.tables import Row
from leadline.recipes.distillation_design import CELLS, DESIGN
from leadline.recipes.study_architectures import NETWORKS, learning_curves
from leadline.reporting.charts import metric_bars
from leadline.training.distillation_losses import DISTILLATION_TERMS

RECORDS = sorted((ROOT / "benchmarks").glob("*.json"))
SHORT = ["--steps", "2", "--batch-size", "2", "--validate-every", "2", "--workers", "0", "--accelerator", "cpu"]


def arm(name: str, *rmse: float) -> dict:
    seeds = {str(seed): {"metrics": dict.fromkeys(METRICS, value)} for seed, value in enumerate(rmse)}
    return {"name": name, "factors": {"network": "cnn", "images": "8", "budget": "equal images"}, "seeds": seeds}


def record(*claims: tuple[str, str]) -> dict:
    """Three arms of 3, 3 and 2 seeds, and a teacher that is better than the first two and worse than the third."""
    made = {
        "format": 2,
        "study": "made",
        "title": "Made",
        "design": "By hand.",
        "command": "leadline study made",
        "versions": {"python": "3"},
        "protocol": {"description": "indoor"},
        "questions": [{"id": "q", "asks": "Which?"}],
        "families": {"all": "all claims"},
        "arms": {
            "bad": arm("bad", 0.80, 0.82, 0.81),
            "plain": arm("plain", 0.60, 0.61, 0.62),
            "good": arm("good", 0.30, 0.33),
        },
        "fixed": [{"id": "teacher", "name": "the teacher", "metrics": dict.fromkeys(METRICS, 0.5)}],
        "claims": [
            {"question": "q", "arm": one, "against": other, "family": "all", "metric": "rmse"}
            for one, other in claims or (("bad", "plain"), ("good", "plain"), ("plain", "good"))
        ],
        "notes": ["None."],
        "tables": [],
    }
    return {**made, "derived": derive(made)}


def test_a_claim_is_the_paired_t_test_over_the_seeds_that_both_have_after_holm():
    found = record()["derived"]["claims"]
    bad, plain = np.array([0.80, 0.82, 0.81]), np.array([0.60, 0.61, 0.62])
    expected = [ttest_rel(bad, plain), ttest_rel([0.30, 0.33], plain[:2]), ttest_rel(plain[:2], [0.30, 0.33])]
    assert found[0]["mean"] == pytest.approx((bad - plain).mean())
    assert found[0]["p"] == pytest.approx(expected[0].pvalue)
    low, high = expected[0].confidence_interval(0.95)
    assert found[0]["margin_95"] == pytest.approx((high - low) / 2)
    assert [each["pairs"] for each in found] == [3, 2, 2]
    p_values = [each["p"] for each in found]
    assert [each["p_holm"] for each in found] == pytest.approx(holm(p_values))


def test_holms_correction_multiplies_the_smallest_by_the_number_of_tests_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9, math.nan]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


def test_one_seed_decides_nothing_and_has_no_interval():
    made = record(("bad", "plain"))
    for name in ("bad", "plain"):
        made["arms"][name]["seeds"] = {"0": made["arms"][name]["seeds"]["0"]}
    (found,) = derive(made)["claims"]
    assert (found["decision"], found["margin_95"], found["p"]) == ("undecided", None, None)


def test_the_gap_to_the_teacher_is_negative_for_what_is_worse_and_a_dash_where_the_teacher_is_worse():
    cells = [line.split("|")[-2].strip() for line in claims_table(record()).splitlines()[2:]]
    assert cells == ["-182%", "276%", "–"]


def test_a_record_whose_figures_do_not_follow_is_found_wherever_they_stand(tmp_path):
    file, page, document = (tmp_path / name for name in ("made.json", "made.md", "text.md"))
    made = record()
    file.write_text(json.dumps(made))
    page.write_text(record_markdown(made))
    document.write_text(
        "before\n\n<!-- record made.json:rows,arms=bad,metrics=rmse+d1 -->\n\nold\n\n<!-- end -->\n\n"
        "<!-- record other.json:rows -->\n\nkept\n\n<!-- end -->\n"
    )
    assert quoted_records(document) == ["made.json", "other.json"]
    (problem,) = check_record(file, [document])
    assert problem.startswith(f"{document}:5: 'old' stands there, and '|")
    assert check_record(file, [document], rewrites=True) == []
    assert check_record(file, [document]) == []
    text = document.read_text()
    assert "| bad         |" in text
    assert "0.810 ± 0.006" in text
    assert "kept" in text
    page.write_text(page.read_text().replace("0.810", "0.811"))
    wrong = copy.deepcopy(made)
    wrong["derived"]["claims"][0]["decision"] = "better"
    wrong["derived"]["rows"]["bad"]["rmse"]["mean"] = 0.7
    file.write_text(json.dumps(wrong))
    found = check_record(file)
    assert [each.split(": ")[1] for each in found[:2]] == ["derived.rows.bad.rmse.mean", "derived.claims[0].decision"]
    assert found[2].startswith(f"{page}:")


def test_what_is_no_record_is_told_from_an_old_or_a_damaged_one(tmp_path):
    with pytest.raises(BadInput, match=r"No record at .*none\.json: a study writes"):
        check_record(tmp_path / "none.json")
    with pytest.raises(BadInput, match="No record at"):
        check_record(tmp_path)
    file = tmp_path / "made.json"
    file.write_text('{"title": "scores"}')
    with pytest.raises(BadInput, match="is no record of a study"):
        check_record(file)
    file.write_text("{")
    with pytest.raises(BadInput, match=r"is damaged .*: restore it from a copy"):
        check_record(file)
    file.write_text(json.dumps(record()))
    assert check_record(file) == [f"{tmp_path / 'made.md'} is missing: --write writes it."]


def test_a_block_quotes_the_record_at_its_path_and_none_of_the_same_name(tmp_path):
    (tmp_path / "own").mkdir()
    file, document = tmp_path / "own" / "made.json", tmp_path / "text.md"
    file.write_text(json.dumps(record()))
    (tmp_path / "own" / "made.md").write_text(record_markdown(record()))
    document.write_text("<!-- record made.json:rows -->\n\nof another study\n\n<!-- end -->\n")
    assert check_record(file, [document]) == []


def test_blocks_that_quote_nothing_yet_are_filled_each(tmp_path):
    """The first of two empty blocks swallowed the second."""
    file, document = tmp_path / "made.json", tmp_path / "text.md"
    file.write_text(json.dumps(record()))
    (tmp_path / "made.md").write_text(record_markdown(record()))
    document.write_text("".join(f"<!-- record made.json:{what} -->\n\n<!-- end -->\n\n" for what in ("rows", "claims")))
    assert check_record(file, [document], rewrites=True) == []
    assert document.read_text().count("<!-- record") == 2
    assert check_record(file, [document]) == []


def test_a_block_that_asks_for_what_a_record_does_not_have_is_refused(tmp_path):
    file, document = tmp_path / "made.json", tmp_path / "text.md"
    file.write_text(json.dumps(record()))
    for spec, said in (("rows,arms=none", "No arm"), ("rows,metrics=none", "No metric"), ("bars", "No block")):
        document.write_text(f"<!-- record made.json:{spec} -->\n\nx\n\n<!-- end -->\n")
        with pytest.raises(BadInput, match=said):
            check_record(file, [document])
    file.write_text(json.dumps({"rows": []}))
    with pytest.raises(BadInput, match="keep no figures of single seeds"):
        check_record(file)


@pytest.mark.parametrize("file", [pytest.param(file, id=file.stem) for file in RECORDS if "first" not in file.stem])
def test_every_committed_record_follows_from_its_seeds_and_so_do_its_page_and_the_documents(file):
    documents = [each for each in (ROOT / "docs").glob("*.md") if file.name in quoted_records(each)]
    assert check_record(file, documents) == []


def test_the_ratios_of_the_first_record_follow_from_its_means():
    first = json.loads((ROOT / "benchmarks" / "distillation_first.json").read_text())
    rmse = {row["name"]: row["metrics"]["rmse"] for row in first["rows"]}
    control = next(value for name, value in rmse.items() if name == "control: no teacher")
    page = (ROOT / "benchmarks" / "distillation_first.md").read_text()
    for name, value in rmse.items():
        if (line := next((line for line in page.splitlines() if line.startswith(f"| {name}  ")), "")) and "%" in line:
            twice = "twice as long" in name
            against = rmse["control, twice as long"] if twice else control
            assert f"{value / against:.2f}" in line


def test_the_design_names_no_arm_that_it_does_not_have_and_every_teaching_loss_is_in_it():
    assert {name for claim in DESIGN.claims for name in (claim.arm, claim.against)} == CELLS.keys()
    assert {claim.question for claim in DESIGN.claims} == DESIGN.questions.keys()
    assert {claim.family for claim in DESIGN.claims} == DESIGN.families.keys()
    used = {term for cell in CELLS.values() for term in cell.variant.teacher_losses}
    assert used == DISTILLATION_TERMS.keys()


def test_a_study_of_losses_records_only_what_is_finished_when_it_is_told_to(tmp_path, capsys):
    words = ["study", "losses", "--out", str(tmp_path), "--only", "l1", "--seeds", "2", *SHORT]
    words += ["--data", "rooms,count=4,height=32,width=32", "--model", "cnn,size=tiny,width=8,input_size=32:32"]
    assert main([*words, "--no-train"]) == 1
    assert "No comparison of the study" in capsys.readouterr().err
    assert main(words) == 0
    kept = json.loads((tmp_path / "losses.json").read_text())
    assert kept["arms"].keys() == {"silog", "l1"}
    for each in kept["arms"].values():
        assert each["seeds"].keys() == {"0", "1"}
        assert all(len(seed["weights"]) == 64 for seed in each["seeds"].values())
    assert [row["id"] for row in kept["fixed"]] == ["baseline-0", "baseline-1", "baseline-2"]
    assert main(["study", "check", str(tmp_path / "losses.json")]) == 0
    # A seed that is not finished is not recorded, and the comparison has one pair.
    (tmp_path / "l1" / "seed-1" / "model" / "model.json").unlink()
    assert main([*words, "--no-train"]) == 0
    assert json.loads((tmp_path / "losses.json").read_text())["derived"]["claims"][0]["pairs"] == 1


@pytest.mark.parametrize(
    "study", ["architectures", "compression", "distillation", "literature", "losses", "stages --photos examples/photos"]
)
def test_a_study_of_arms_that_it_does_not_have_leaves_no_folder(tmp_path, capsys, study):
    words = [*study.split(), "--out", str(tmp_path / "study"), "--only", "nonsense", *SHORT]
    assert main(["study", *words]) == 1
    assert "No arm is called 'nonsense'" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_each_images_own_median_beats_the_training_median_and_scenes_have_theirs():
    test, train = rooms("test", count=4, height=32, width=32), rooms("train", count=4, height=32, width=32)
    rules = protocol("rooms")
    rows = {row.name: row for row in flat_rows(test, rules, constant_baseline(train, rules))}
    assert len(rows) == 3
    own = rows["each image's own median depth (knows the truth)"]
    assert own.metrics["mae"] < min(row.metrics["mae"] for row in rows.values() if row is not own)
    scenes = flat_rows(test, rules, constant_baseline(train, rules), scene=lambda name: str(int(name[-1]) // 2))
    assert len(scenes) == 4
    assert own.metrics["mae"] < scenes[2].metrics["mae"]


def test_the_networks_of_the_study_of_architectures_have_the_same_number_of_weights():
    from leadline.models.loading import open_model

    counts = [
        sum(each.numel() for each in open_model(f"{network},input_size=64:64").parameters())
        for _, network in NETWORKS.values()
    ]
    assert max(counts) < 1.1 * min(counts)


def test_learning_curves_show_each_size_of_data_with_its_error():
    made = record()
    for name, count in (("bad", "8"), ("plain", "16"), ("good", "64")):
        made["arms"][name]["factors"]["images"] = count
    drawn = learning_curves(made)
    assert "CNN alone, equal images: 0.810 ± 0.006" in drawn
    assert drawn.count("<circle") == 3


@pytest.mark.parametrize("count", [3, 16, 34])
def test_the_numbers_above_bars_do_not_overlap(count):
    rows = [Row(str(number), dict.fromkeys(METRICS, 0.5), "indoor", "metric", 1, 1) for number in range(count)]
    drawn = metric_bars(rows, ("rmse",))
    upright = [text for text in drawn.split("<text ") if "rotate(-90)" in text]
    assert len(upright) == (0 if count == 3 else count)
    places = [float(text.split("translate(")[1].split(" ")[0]) for text in upright]
    assert all(after - before >= 12.9 for before, after in pairwise(places))


def test_documents_quote_records_that_are_committed():
    quoted = {name for document in (ROOT / "docs").glob("*.md") for name in quoted_records(document)}
    assert all(Path(ROOT / "benchmarks" / name).is_file() for name in quoted)
