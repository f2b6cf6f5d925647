"""The checklist only recommends suites that the same comparison accepts: every kind of task, data and decoding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepladder.errors import ConfigError
from stepladder.runs.stages import Prepared, prepare
from stepladder.studies.advice import PROBABILITIES, SUITES, advice
from stepladder.studies.variants import plan

TOY = ["dataset=file", "dataset.train=rows.jsonl", "dataset.input=q", "dataset.target=a", "model=toy", "tracking=none"]
TEXT, JSON = ["dataset.task.kind=text"], ["dataset.task.kind=json"]
KINDS = {
    "labels": ([], {"calibration", "format", "robustness", "slices"}),
    "labels, the best alone": (["decoding.probabilities=best"], {"calibration", "format", "robustness", "slices"}),
    "labels, written freely": (["decoding=greedy"], {"format", "robustness", "slices"}),
    "choices of each question": (["dataset.choices=c"], {"calibration", "format", "robustness", "slices"}),
    "rows of no label": (["dataset.out_of_scope=strange.jsonl"], {*SUITES} - {"rag"}),
    "rows of no label, own choices": (
        ["dataset.out_of_scope=strange.jsonl", "dataset.choices=c"],
        {"calibration", "format", "robustness", "slices"},
    ),
    "text": (TEXT, {"format", "robustness", "slices"}),
    "text with gold passages": ([*TEXT, "dataset.gold=g"], {"format", "rag", "robustness", "slices"}),
    "text, sampled": ([*TEXT, "decoding=sampled"], {"format", "robustness", "slices"}),
    "json": (JSON, {"format", "robustness", "slices"}),
    "json, in groups": ([*JSON, "dataset.group=who", "dataset.tags=[who]"], {"format", "robustness", "slices"}),
    "one suite asked already": (["evaluation=[slices]"], {"calibration", "format", "robustness"}),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"q": f"question {n} of {n % 3}", "a": json.dumps({"n": n % 3}), "c": [f'{{"n": {k}}}' for k in range(3)]}
        | {"who": f"w{n // 2}", "g": [f"p{n}"], "id": f"p{n}", "text": f"passage {n}"}
        for n in range(24)
    ]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    Path("strange.jsonl").write_text('{"q": "what is this?", "c": ["x", "y"]}\n', encoding="utf-8")


def prepared(words: list[str], method: str) -> list[Prepared]:
    return [prepare(each.experiment) for each in plan([*TOY, *words, f"method={method}"]).variants]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_advised_is_accepted_and_what_is_not_is_refused(kind: str) -> None:
    words, wanted = KINDS[kind]
    words = [*words, *(["dataset.corpus=rows.jsonl"] if "gold" in kind else [])]
    found = advice(prepared(words, "majority,zero_shot,rag"))
    assert set(found) == wanted
    fixed = [word for word in words if not word.startswith(("evaluation=", "decoding.probabilities="))]
    kept = [word for word in words if word.startswith("decoding.probabilities=")]
    for name, overrides in found.items():
        own = kept if PROBABILITIES not in overrides else []
        (ready,) = prepared([*fixed, *own, *overrides.split()], "zero_shot")
        assert name in ready.suites
        assert "slices" in ready.suites or "evaluation=[slices]" not in words
    for name in SUITES.keys() - wanted - {"slices"}:
        for own in ([], [PROBABILITIES]):
            with pytest.raises(ConfigError):
                prepared([*fixed, *own, f"evaluation=[{name}]"], "zero_shot")
