"""Every suite through the command line on toy data: figures, exhibits, keys, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stepladder.cli.entry import main

ALL = "[calibration,robustness,slices,out_of_scope,rag,retention,format]"
ROOMS = ("kitchen", "cellar", "attic")
FAULTS = {"heating": "radiator", "water": "tap", "power": "socket & <b>lamp</b>"}


def outcome(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> tuple[int, str, str]:
    code = main(words)
    told = capsys.readouterr()
    return code, told.out, told.err


def ran(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> dict[str, Any]:
    code, out, err = outcome(capsys, [*words, "--json"])
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Rows of three labels in pairs, with a tag and gold passages; a corpus; rows of no label."""
    rows = [
        {
            "text": f"He says that the {thing} in the {room} {number} does not work.",
            "label": f"{label}, <{label[0]}>",
            "room": room,
            "gold": f"{label}-{room}",
            "pair": f"{label}{room}{number // 2}",
        }
        for number in range(6)
        for room in ROOMS
        for label, thing in FAULTS.items()
    ]
    passages = [
        {"id": f"{label}-{room}", "text": f"The {thing} of the {room} belongs to {label}."}
        for room in ROOMS
        for label, thing in FAULTS.items()
    ]
    strange = [{"text": f"What is for lunch on day {number}?"} for number in range(7)]
    for name, table in (("rows", rows), ("corpus", passages), ("strange", strange)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
        (tmp_path / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


SETTINGS = ["slices.minimum=3", "format.max_new_tokens=8", "retention.rows=5"]


def words(data: Path, *more: str) -> list[str]:
    suites = next((word for word in more if word.startswith("evaluation=[")), "")
    settings = [f"evaluation.{setting}" for setting in SETTINGS if setting.split(".")[0] in suites]
    return [
        "dataset=file", f"dataset.train='{data}/rows.jsonl'", "dataset.input=text", "dataset.target=label",
        "dataset.tags=[room]", "dataset.gold=gold", f"dataset.corpus='{data}/corpus.jsonl'", "dataset.group=pair",
        f"dataset.out_of_scope='{data}/strange.jsonl'", "model=toy", "training=smoke", "tracking=none", "retrieval.k=2",
        "dataset.split.validation=0.2", "--outputs", str(data / "out"), *settings, *more,
    ]  # fmt: skip


def test_every_suite_runs_on_one_method_and_a_second_run_computes_nothing(
    capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    line = words(data, "method=finetune_rag", f"evaluation={ALL}", "retrieval.without_gold=0.3")
    told = ran(capsys, ["run", *line])
    assert set(told["scores"]) == {"classification", *ALL.strip("[]").split(",")}
    for figures in told["scores"].values():
        assert figures
        for figure in figures.values():
            assert figure["low"] <= figure["value"] <= figure["high"]
            assert figure["n"] >= 1
    folder = Path(told["folders"]["score"])
    stored = json.loads((folder / "scores.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert all(stored["exhibits"][suite] for suite in ALL.strip("[]").split(","))
    lines = [json.loads(row) for row in (folder / "per_question.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["suite"] for row in lines} == set(told["scores"])
    asked = set(told["folders"]["probes"])
    assert {"main", "calibration.validation", "format.free", "rag.gold", "retention.before"} <= asked
    assert "out_of_scope.validation" not in asked
    assert len([name for name in asked if name.startswith("robustness.format")]) >= 10
    again = ran(capsys, ["run", *line])
    assert again["reused"] == {"fit": True, "predict": True, "score": True}
    assert again["scores"] == told["scores"]


def test_what_a_method_does_not_support_is_left_out_and_reported(
    capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    told = ran(
        capsys, ["compare", *words(data, f"evaluation={ALL}", "method=majority,linear,zero_shot,finetune", "seed=0,1")]
    )
    rows = {(row["name"], row["seed"]): row for row in told["rows"]}
    assert ("finetune", 1) in rows
    for (name, _), row in rows.items():
        left_out = json.loads(Path(row["folders"]["score"], "scores.json").read_text())["details"]
        assert ("formats" in left_out["robustness"]["left_out"]) == (name in ("majority", "linear"))
        assert ("gold" in row["scores"]["rag"]) == (name in ("zero_shot", "finetune"))
        assert ("before" in row["scores"]["retention"]) == (name == "finetune")
        assert {"ece", "ece_after"} <= row["scores"]["calibration"].keys()
        assert row["scores"]["robustness"]["worst_case"]["value"] <= row["scores"]["robustness"]["plain"]["value"]
    assert told["cells"][0]["scores"].keys() == {"accuracy", "macro_f1"}


def test_keys_follow_the_rows_that_suites_are_judged_by(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    def keys(suite: str, *more: str) -> dict[str, str]:
        found: dict[str, str] = ran(capsys, ["run", *words(data, "method=linear", f"evaluation=[{suite}]", *more)])[
            "keys"
        ]
        return found

    before = keys("out_of_scope")
    plain = ran(capsys, ["run", *words(data, "method=linear")])["keys"]
    assert before["predict"] == plain["predict"]
    assert before["score"] != plain["score"]
    (data / "strange.jsonl").write_text('{"text": "What about tea?"}\n', encoding="utf-8")
    after = keys("out_of_scope")
    assert (after["fit"], after["predict"]) == (before["fit"], before["predict"])
    assert after["score"] != before["score"]
    assert ran(capsys, ["run", *words(data, "method=linear")])["keys"] == plain
    (data / "moved.jsonl").write_bytes((data / "strange.jsonl").read_bytes())
    assert keys("out_of_scope", f"dataset.out_of_scope='{data}/moved.jsonl'") == after


def test_text_and_json_tasks_are_served_by_the_suites_that_fit_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    common = ["model=toy", "tracking=none", "decoding.max_new_tokens=8", "--outputs", str(tmp_path / "out")]
    suites = "[robustness,slices,rag,retention,format]"
    article = {
        "title": "Lamps",
        "paragraphs": [
            {
                "context": f"The lamp of room {i} is colour{i}.",
                "qas": [{"id": f"q{i}", "question": f"Which lamp has room {i}?", "answers": [{"text": f"colour{i}"}]}],
            }
            for i in range(12)
        ],
    }
    (tmp_path / "squad.json").write_text(json.dumps({"data": [article]}), encoding="utf-8")
    squad = ["dataset=file", "dataset.layout=squad", "dataset.id=id", f"dataset.test='{tmp_path}/squad.json'"]
    told = ran(capsys, ["run", *squad, *common, "method=rag", f"evaluation={suites}", "evaluation.robustness.rows=4"])
    assert {"none", "retrieved", "gold", "gold_among_distractors", "mrr"} <= told["scores"]["rag"].keys()
    errors = told["scores"]["rag"]["retriever_errors"]["value"] + told["scores"]["rag"]["reader_errors"]["value"]
    assert errors == pytest.approx(1 - told["scores"]["rag"]["retrieved"]["value"])
    assert told["scores"]["retention"] == {}
    booked = [{"text": f"A table for {i} please", "slots": json.dumps({"people": i})} for i in range(1, 9)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in booked), encoding="utf-8")
    rows = ["dataset=file", f"dataset.train='{tmp_path}/rows.jsonl'", "dataset.input=text", "dataset.target=slots"]
    asked = [*rows, "dataset.task.kind=json", *common, "method=linear", "evaluation=[robustness,slices,format]"]
    told = ran(capsys, ["run", *asked])
    assert told["scores"]["format"]["valid"]["value"] == 1
    code, _, err = outcome(capsys, ["run", *asked, "evaluation=[calibration,out_of_scope]"])
    assert code == 2
    assert "evaluation=calibration: this suite does not serve json tasks" in err
    assert "evaluation=out_of_scope" in err


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        (["evaluation=[calibration]", "decoding.probabilities=best"], "set decoding.probabilities=all"),
        (["evaluation=[calibration,out_of_scope]", "decoding=greedy"], "2 faults"),
        (["evaluation=[rag]", "dataset.gold=null"], "give dataset.gold=COLUMN"),
        (["evaluation=[out_of_scope]", "dataset.out_of_scope=null"], "give dataset.out_of_scope=FILE"),
        (
            ["evaluation=[slices]", "dataset.tags=[]", "evaluation.slices.lengths=0", "evaluation.slices.swaps=null"],
            "no tags",
        ),
        (["evaluation=[slices]", "evaluation.slices.tags=[rooom]"], "did you mean 'room'"),
        (["evaluation=[robustness]", "evaluation.robustness.perturbations=[typoes]"], "did you mean 'typos'"),
        (["evaluation=[calibratoin]"], "did you mean 'calibration'"),
    ],
)
def test_a_suite_that_can_not_serve_is_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], data: Path, more: list[str], wanted: str
) -> None:
    said = [word for word in words(data) if word.split("=")[0] not in {m.split("=")[0] for m in more}]
    code, out, err = outcome(capsys, ["run", *said, "method=zero_shot", *more])
    assert (code, out) == (2, "")
    assert wanted in err
    assert "Traceback" not in err
    assert not list((data / "out").glob("fits/*"))
