"""`method=workflow` and `comparison=workflow_steps` from the command line, on the toy model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepladder.cli.entry import main
from stepladder.config.resolution import compose_resolved
from stepladder.runs.predictions import read_predictions

VOTE = "+workflow.vote={_target_: stepladder.methods.SelfConsistency, samples: 2}"
FIRST_LOOK = ["experiment=first_look", "--limit", "12"]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    code = main([*words, "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out or "{}"), printed.err


def test_each_step_is_left_out_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", *FIRST_LOOK, "comparison=workflow_steps", "workflow.shortlist.k=2", VOTE]
    words += ["decoding=greedy", "decoding.max_new_tokens=3", "--outputs", str(tmp_path)]
    code, found, printed = run(capsys, *words)
    assert code == 0
    assert [row["name"] for row in found["rows"]] == ["zero_shot", "without_shortlist", "without_vote", "workflow"]
    assert [row["costs"]["calls_per_question"] for row in found["rows"]] == [1, 2, 1, 2]
    assert found["baseline"] == "workflow"
    recall = [row["scores"]["classification"].get("shortlist_recall", {}).get("value") for row in found["rows"]]
    assert recall[:2] == [None, None]
    assert recall[2] == recall[3]
    assert recall[2] > 0.5
    assert "workflow: recall of the shortlist" in printed
    report = Path(found["report"]).with_name("report.md").read_text(encoding="utf-8")
    table = report.partition("## What each step gives and costs")[2].partition("##")[0]
    assert [line.split(" | ")[0].strip("| ") for line in table.splitlines() if line.startswith("| ")][2:] == [
        "shortlist",
        "vote",
    ]
    assert "+1.00" in table


def test_one_step_is_compared_with_the_model_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", *FIRST_LOOK, "comparison=workflow_steps", "workflow.shortlist.k=2", "--outputs", str(tmp_path)]
    code, found, _ = run(capsys, *words)
    assert code == 0
    assert [(row["name"], row["overrides"]) for row in found["rows"]] == [
        ("without_shortlist", ["method=zero_shot"]),
        ("workflow", ["method=workflow"]),
    ]


def test_a_stored_workflow_answers_new_questions_and_can_be_reproduced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found, _ = run(
        capsys, "run", *FIRST_LOOK, "method=workflow", "workflow.shortlist.k=2", "--outputs", str(tmp_path / "o")
    )
    assert code == 0
    stored = read_predictions(Path(found["folders"]["predict"]))
    assert all(len(each.candidates) == 2 and each.calls == 1 for each in stored)
    lines = Path(found["folders"]["predict"], "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    new = tmp_path / "new.jsonl"
    new.write_text("".join(json.dumps({"text": json.loads(line)["question"]}) + "\n" for line in lines))
    to = tmp_path / "answers.jsonl"
    assert main(["predict", found["folders"]["fit"], str(new), "--to", str(to)]) == 0
    answers = [json.loads(line) for line in to.read_text(encoding="utf-8").splitlines()]
    assert [each["answer"] for each in answers] == [each.text for each in stored]
    capsys.readouterr()
    assert main(["reproduce", found["folders"]["score"], "--verify", "--outputs", str(tmp_path / "fresh")]) == 0


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("choice", ["shortlist"]), ("text", ["self_consistency"]), ("json", ["decompose", "check_and_repair"])],
)
def test_auto_picks_by_the_kind_of_task(kind: str, steps: list[str]) -> None:
    task = [] if kind == "choice" else [f"dataset.task.kind={kind}"]
    words = ["dataset=file", "dataset.train=x.csv", "dataset.input=a", "dataset.target=b", *task, "method=workflow"]
    assert list(compose_resolved(words)[1]["workflow"]) == steps


@pytest.mark.parametrize(
    ("words", "what", "where"),
    [
        (["workflow=shortcut"], "shortcut", "workflow"),
        (["workflow=decompose"], "a choice task has no fields", "workflow.decompose"),
        (["workflow=self_consistency"], "does not sample", "workflow.self_consistency"),
        (["workflow.shortlist.k=0"], "k is 0", "shortlist"),
        (["workflow=check_and_repair", "workflow.check_and_repair.attempts=0"], "0 attempts", "attempts"),
        (["+workflow.own={_target_: stepladder.methods.Shortcut}"], "Shortcut", "workflow.own"),
        (["~workflow.shortlist"], "no steps", "workflow"),
    ],
)
def test_what_does_not_fit_ends_with_2_before_anything_is_computed(
    words: list[str], what: str, where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, printed = run(capsys, "run", *FIRST_LOOK, "method=workflow", *words, "--outputs", str(tmp_path))
    assert code == 2
    assert what in printed
    assert where in printed
    assert not list(tmp_path.glob("fits/*"))
