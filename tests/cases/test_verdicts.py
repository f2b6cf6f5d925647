"""What a comparison concludes from too few rows, from methods that do not work, and from ones that do."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

CSV = ["dataset=file", "dataset.input=text", "dataset.target=label", "model=toy", "tracking=none", "training=smoke"]
VERBS = ("buy", "sell", "rent")


def csv(count: int, noise: bool = False) -> None:
    lines = [f"please {verb} item {n},{verb}" for n in range(count) for verb in VERBS]
    if noise:
        drawn = random.Random(3)
        lines = [f"words {drawn.random()},{drawn.choice(VERBS)}" for _ in range(3 * count)]
    Path("rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")


def compared(stepladder, *words: str):
    result = stepladder("compare", *CSV, "dataset.train=rows.csv", *words, "--json")
    assert result.code == 0, result.err
    return result.json, result.err


def test_nine_rows_recommend_nothing_and_say_how_many_are_needed(stepladder) -> None:
    csv(3)
    found, printed = compared(stepladder, "method=majority,linear,zero_shot")
    verdict = found["verdict"]
    assert (verdict["recommended"], verdict["status"]) == (None, "too_few_rows")
    assert verdict["rows_needed"] >= 15
    assert f"At least {verdict['rows_needed']} are needed" in verdict["reason"]
    assert "No recommendation: too few rows" in printed
    report = Path(found["report"])
    assert "No recommendation: too few rows" in report.read_text(encoding="utf-8")
    assert "No recommendation: too few rows" in report.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.parametrize("methods", ["linear", "zero_shot", "majority,linear"])
def test_labels_that_nothing_predicts_recommend_nothing(stepladder, methods: str) -> None:
    csv(40, noise=True)
    found, printed = compared(stepladder, f"method={methods}")
    assert found["verdict"]["recommended"] is None
    assert found["verdict"]["status"] in ("no_method_works", "too_few_rows")
    assert re.search("No recommendation: (no method works|too few rows)", printed)


def test_a_method_that_works_is_recommended_without_majority_beside_it(stepladder) -> None:
    csv(30)
    found, _ = compared(stepladder, "method=linear")
    assert found["verdict"]["recommended"] == "linear"
    assert found["cells"][0]["to_floor"]["name"] == "majority"
    assert compared(stepladder, "method=linear", "comparison.target=0.5")[0]["verdict"]["recommended"] == "linear"


def test_tuned_methods_are_compared_with_the_best_prompted_and_the_recommended_one(stepladder) -> None:
    csv(30)
    words = ["method=linear,zero_shot,finetune", "seed=0,1", "comparison.requests=100000"]
    found, printed = compared(stepladder, *words)
    roles = {tuple(each["roles"]): (each["name"], each["against"]) for each in found["tuned_differences"]}
    assert roles == {("best prompted",): ("finetune", "zero_shot"), ("recommended",): ("finetune", "linear")}
    plain = " ".join(printed.split())
    assert "finetune against linear, the recommended method: significantly worse, " in plain
    assert "finetune against zero_shot, the best prompted method: " in plain
    seeds = [line for line in found["verdict"]["rests_on"] if "seed" in line]
    assert seeds == ["finetune: mean of 2 seeds; its interval includes the variation between seeds."]
    points = {each["point"]: each["found"] for each in found["checklist"]}
    assert points["The task repeats"] == "yes"
    assert points["Tuning breaks even"] in ("yes", "no")
    worse = {(n, a) for n, a in found["no_break_even"]}
    assert not worse & {(each["name"], each["against"]) for each in found["break_even"]}


@pytest.mark.parametrize("kind", ["text", "json"])
def test_written_answers_have_the_most_frequent_answer_as_their_floor(stepladder, kind: str) -> None:
    rows = [{"q": f"say {n % 3} for {n}", "a": json.dumps({"n": n % 3})} for n in range(60)]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    words = ["dataset=file", "dataset.train=rows.jsonl", "dataset.input=q", "dataset.target=a", "tracking=none"]
    result = stepladder("compare", *words, f"dataset.task.kind={kind}", "method=majority,linear", "--json")
    assert result.code == 0, result.err
    cell = result.json["cells"][1]
    assert cell["to_floor"]["name"] == "majority"
    assert result.json["verdict"]["recommended"] in (None, "linear")
