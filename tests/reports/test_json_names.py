"""The names of what `--json` prints and the store holds: they may gain more, and none is lost or renamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stepladder.cli.entry import main
from stepladder.io.serialise import from_plain, read, to_plain
from stepladder.runs.results import RunResult, Scores
from stepladder.studies.results import Comparison
from stepladder.studies.sweep.results import SweepResult

NAMED = ("scores", "at_least", "difference", "rungs", "probes", "files", "formats", "labels", "importances", "details")
"""Objects whose keys are names of metrics, methods, suites, files or labels."""
DIFFERENCE = "value low high at_least p n wins losses detectable"
RUN = {
    "keys": "fit predict score",
    "folders": "fit predict score probes",
    "reused": "fit predict score",
    "scores.*.*": "value low high n",
    "costs": "questions prompt_tokens new_tokens prompt_tokens_per_question new_tokens_per_question "
    "failures peak_memory seconds_per_question seconds_p50 seconds_p95 trained_parameters training_tokens "
    "training_seconds labels_used training_peak_memory fit_seconds",
    "rows": "read kept rejected overlap duplicates limited train validation test notes files formats rejected_rows",
    "rows.files.*": "read kept rejected",
    "gate[]": "name value told odd stops",
}
COMPARISON = {
    "": "study title report baseline command rows cells verdict rules tuned_differences bills break_even no_break_even "
    "checklist",
    "rows[]": "name overrides seed keys folders reused scores costs rows gate difference",
    **{f"rows[].{place}": names for place, names in RUN.items()},
    "rows[].difference.*": DIFFERENCE,
    "cells[]": "name scores at_least units difference to_below to_best to_floor seeds seeded",
    "cells[].scores.*": "value low high n",
    "cells[].difference.*": f"{DIFFERENCE} p_adjusted",
    **{f"cells[].{to}": "name difference" for to in ("to_below", "to_best", "to_floor")},
    **{f"cells[].{to}.difference.*": f"{DIFFERENCE} p_adjusted" for to in ("to_below", "to_best", "to_floor")},
    "verdict": "recommended status reason rows_needed rests_on metric best margin target questions undecided "
    "would_change tuned",
    "rules": "mid_p correction",
    "tuned_differences[]": "name against roles difference",
    "bills": "unit rungs",
    "bills.rungs.*": "setup request setup_seconds labels",
    "break_even[]": "name against setup saved saved_low saved_high requests low high until tokens_saved measured",
    "checklist[]": "point found evidence",
}
SCORES = {"": "scores details exhibits rows", "scores.*.*": "value low high n", "rows": "read kept rejected"}
SWEEP = {
    "": "study best trials folder objective ended_by default beats_default importances training_tokens test experiment "
    "report",
    "best": "trial overrides value",
    "trials": "complete pruned failed",
    "test": "scores folders",
    "test.scores.*.*": "value low high n",
    "test.folders": "fit predict score probes",
}
TOY = ["dataset=toy", "model=toy", "training=smoke", "tracking=none", "--limit", "30"]


def names(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Pairs of a place and a name of the object there; `*` stands for names that are data."""
    if isinstance(value, list):
        for each in value:
            yield from names(each, f"{place}[]")
    elif isinstance(value, dict):
        parts = place.split(".")
        free = parts[-1] in NAMED or (
            len(parts) > 1 and parts[-2:] == ["scores", "*"] and not place.startswith("cells")
        )
        for name, each in value.items():
            shown = "*" if free else name
            yield place, shown
            yield from names(each, f"{place}.{shown}".lstrip("."))


def lost(found: Any, wanted: dict[str, str]) -> set[tuple[str, str]]:
    expected = {(place, name) for place, listed in wanted.items() for name in listed.split()}
    return expected - set(names(found))


def printed(capsys: pytest.CaptureFixture[str], words: Sequence[str], outputs: Path) -> Any:
    capsys.readouterr()
    assert main([*words, *TOY, "--outputs", str(outputs), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def test_the_names_of_a_comparison(capsys: pytest.CaptureFixture[str], outputs: Path) -> None:
    found = printed(capsys, ["compare", "method=majority,zero_shot,finetune"], outputs)
    assert not lost(found, COMPARISON)
    file = Path(found["report"]).parent / "comparison.json"
    assert json.loads(file.read_text(encoding="utf-8")) == found
    stored = read(Comparison, file)
    assert stored is not None
    assert to_plain(stored) == found


def test_the_names_of_a_run_and_its_scores(capsys: pytest.CaptureFixture[str], outputs: Path) -> None:
    found = printed(capsys, ["run", "method=zero_shot", "evaluation=[auto,slices]"], outputs)
    assert not lost(found, {"": "keys folders reused scores costs rows gate", **RUN})
    assert to_plain(from_plain(RunResult, found, "here")) == found
    file = Path(found["folders"]["score"], "scores.json")
    written = json.loads(file.read_text(encoding="utf-8"))
    assert not lost(written, SCORES)
    assert to_plain(read(Scores, file)) == written
    lines = Path(found["folders"]["score"], "per_question.jsonl").read_text(encoding="utf-8").splitlines()
    assert {"id", "suite", "metric", "value"} <= set.intersection(*(set(json.loads(line)) for line in lines))


def test_the_names_of_a_sweep(capsys: pytest.CaptureFixture[str], outputs: Path) -> None:
    words = ["sweep", "method=few_shot", "demonstrations.k=choice(1,2)", "sweep.sampler=grid"]
    found = printed(capsys, words, outputs)
    assert not lost(found, SWEEP)
    assert to_plain(from_plain(SweepResult, found, "here")) == found
