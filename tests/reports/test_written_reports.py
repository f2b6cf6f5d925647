"""The report of real comparisons on the toy model: every kind of task, reused, seeds that are not equally many."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stepladder.cli.entry import main

PLANTED = "<script>window.planted=1</script>"
TOY = ["model=toy", "tracking=none", "demonstrations=fixed", "training=smoke"]


def compared(capsys: pytest.CaptureFixture[str], outputs: Path, words: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The object and the page."""
    capsys.readouterr()
    code = main(["compare", *words, "--outputs", str(outputs), "--json"])
    told = capsys.readouterr()
    assert code == 0, told.err
    found: dict[str, Any] = json.loads(told.out)
    page = Path(found["report"]).read_text(encoding="utf-8")
    assert PLANTED not in page
    assert not re.search(r'[>"= ,][+-]?nan\b', page)
    return found, page


def held(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    rows: dict[str, Any] = json.loads(found[1])["rows"]
    return rows


@pytest.fixture
def routed(tmp_path: Path) -> list[str]:
    lines = [f"I want to {verb} item {n} {PLANTED},{verb}" for n in range(12) for verb in ("buy", f"sell {PLANTED}")]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return ["dataset=file", f"dataset.train={tmp_path}/rows.csv", "dataset.input=text", "dataset.target=label", *TOY]


def test_a_comparison_of_labels_has_all_of_it_and_is_the_same_when_reused(capsys, routed, tmp_path) -> None:
    words = [*routed, "method=majority,linear,zero_shot,finetune", "seed=0,1", "comparison.prices.hour=2"]
    found, page = compared(capsys, tmp_path / "out", words)
    rows = held(page)
    n = found["cells"][0]["scores"]["accuracy"]["n"]
    assert rows["runs"] == ["majority", "linear", "zero_shot", "finetune, seed 0", "finetune, seed 1"]
    assert rows["below"] == [0, 0, 1, 2, 2]
    assert len(rows["ids"]) == n
    for at, row in enumerate(found["rows"]):
        assert sum(rows["marks"][at]) / 100 / n == pytest.approx(row["scores"]["classification"]["accuracy"]["value"])
    assert found["bills"]["unit"] == "EUR"
    pairs = {(each["name"], each["against"]) for each in found["break_even"]} | {*map(tuple, found["no_break_even"])}
    assert pairs == {("finetune", "zero_shot")}
    assert len(found["checklist"]) == 11
    assert found["title"].startswith("4 methods on rows.csv with toy, 20")
    assert f"<h1>{found['title']}</h1>" in page
    for section in ("verdict", "ladder", "differences", "mistakes", "costs", "checklist", "rows", "made", "again"):
        assert f'<section id="{section}"' in page
    again, second = compared(capsys, tmp_path / "out", words)
    assert held(second) == rows
    assert again["cells"] == found["cells"]


def test_other_prices_are_another_bill_and_no_other_score(capsys, routed, tmp_path) -> None:
    words = [*routed, "method=zero_shot,finetune"]
    first, _ = compared(capsys, tmp_path / "out", words)
    second, page = compared(capsys, tmp_path / "out", [*words, "comparison.prices.label=1", "comparison.mid_p=true"])
    assert first["bills"]["unit"] == "s"
    assert second["bills"]["rungs"]["finetune"]["setup"] == first["rows"][1]["costs"]["labels_used"]
    assert second["bills"]["rungs"]["zero_shot"]["setup"] == 0
    assert all(all(row["reused"].values()) for row in second["rows"])
    assert "with mid-p" in page


def test_one_method_alone_has_a_report(capsys, routed, tmp_path) -> None:
    found, page = compared(capsys, tmp_path / "out", [*routed, "method=majority"])
    assert (found["verdict"]["recommended"], found["verdict"]["best"]) == (None, "majority")
    assert found["verdict"]["status"] == "too_few_rows"
    assert "No recommendation: too few rows. Too few rows: " in page
    assert "so there are no differences" in page


def test_texts_have_a_report_with_graded_rows_and_cut_cells(capsys, tmp_path) -> None:
    lines = [
        {"q": f"what is {n}? {'long ' * 3000} {PLANTED}", "a": f"it is {n}", "who": f"w{n // 4}"} for n in range(24)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    words = ["dataset=file", f"dataset.train={tmp_path}/rows.jsonl", "dataset.input=q", "dataset.target=a", *TOY]
    words += ["dataset.task.kind=text", "dataset.group=who", "decoding.max_new_tokens=4", "method=zero_shot,few_shot"]
    words += ["prompt.on_overflow=skip", "comparison.baseline=zero_shot"]
    found, page = compared(capsys, tmp_path / "out", words)
    rows = held(page)
    assert found["verdict"]["metric"] == "token_f1"
    assert "Texts are cut at" in rows["note"]
    assert any("[no answer:" in text for text in rows["texts"])
    assert found["cells"][0]["scores"]["token_f1"]["value"] == 0  # the prompts are too long: all failed
    assert found["cells"][1]["to_below"]["difference"]["token_f1"]["low"] < 0  # all equal is no certainty


def test_json_answers_have_a_report(capsys, tmp_path) -> None:
    lines = [{"q": f"order {n}", "a": json.dumps({"n": n % 3, "what": PLANTED})} for n in range(24)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    words = ["dataset=file", f"dataset.train={tmp_path}/rows.jsonl", "dataset.input=q", "dataset.target=a", *TOY]
    words += ["dataset.task.kind=json", "decoding.max_new_tokens=24", "method=zero_shot,few_shot"]
    found, page = compared(capsys, tmp_path / "out", words)
    assert found["verdict"]["metric"] == "field_f1"
    assert held(page)["runs"] == ["zero_shot", "few_shot"]


def test_other_rows_are_refused_before_the_first_run_and_the_difference_is_named(capsys, routed, tmp_path) -> None:
    words = [*routed, "method=majority", "dataset.split.test=0.2,0.4", "--outputs", str(tmp_path / "out")]
    assert main(["compare", *words]) == 2
    told = capsys.readouterr().err
    assert "Different questions: " in told
    assert "only in the second [" in told
    assert not (tmp_path / "out" / "fits").exists()


def test_other_groups_under_the_same_ids_are_refused_too(capsys, tmp_path) -> None:
    lines = [f"{n},text {n},{n // 2},{n // 4},{'ab'[n % 2]}" for n in range(20)]
    (tmp_path / "rows.csv").write_text("id,text,pair,four,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    words = ["dataset=file", f"dataset.test={tmp_path}/rows.csv", "dataset.target=label", "dataset.id=id", *TOY]
    words += [
        "dataset.input=text",
        "dataset.group=pair,four",
        "method=zero_shot",
        "dataset.labels=[a,b]",
        "--outputs",
        str(tmp_path / "out"),
    ]
    assert main(["compare", *words]) == 2
    assert "differs in its group" in capsys.readouterr().err


def test_an_invalid_price_is_reported_before_anything_runs(capsys, routed, tmp_path) -> None:
    words = [*routed, "method=majority", "comparison.prices.hour=-1", "comparison.target=2", "--outputs", str(tmp_path)]
    assert main(["compare", *words]) == 2
    told = capsys.readouterr().err
    assert "comparison.prices.hour" in told
    assert "comparison.target" in told
