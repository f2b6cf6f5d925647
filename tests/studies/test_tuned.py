"""Tuned against tuned: each rung swept with one budget, each winner scored on the test rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from stepladder.cli.entry import main

WORDS = [
    "compare", "comparison=tuned_ladder", "experiment=first_look", "method=majority,linear,zero_shot,finetune",
    "seed=0,1", "adapter.r=2", "sweep.trials=2",
]  # fmt: skip


def test_every_method_is_tuned_with_one_budget(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main([*WORDS, "--outputs", str(tmp_path), "--json"])
    told = capsys.readouterr()
    assert code == 0, told.err
    found = json.loads(told.out)
    assert [cell["name"] for cell in found["cells"]] == ["majority", "linear", "zero_shot", "finetune"]
    tuning = found["tuning"]
    assert {name: each["trials"] for name, each in tuning.items()} == {
        "majority": 0, "linear": 2, "zero_shot": 2, "finetune": 2,
    }  # fmt: skip
    for row in found["rows"]:
        assert row["overrides"][2:] == tuning[row["name"]]["overrides"]
        config = yaml.safe_load((Path(row["folders"]["predict"]) / "config.yaml").read_text(encoding="utf-8"))
        assert config["rows"] == "test"
    assert len([row for row in found["rows"] if row["name"] == "finetune"]) == 2  # a run a seed
    assert not any("adapter.r" in text for text in tuning["finetune"]["overrides"])  # it was said, so it is not tuned
    on_test = [
        config
        for file in (tmp_path / "predictions").glob("*/config.yaml")
        if (config := yaml.safe_load(file.read_text(encoding="utf-8")))["rows"] == "test"
    ]
    assert len(on_test) == len(found["rows"])
    bills = found["bills"]["rungs"]
    for name, each in tuning.items():
        spent = [row["costs"]["fit_seconds"] for row in found["rows"] if row["name"] == name]
        assert bills[name]["setup_seconds"] == pytest.approx(sum(spent) / len(spent) + each["seconds"])
    report = Path(found["report"]).read_text(encoding="utf-8")
    assert 'id="tuning"' in report
    assert "## Tuning" in Path(found["report"]).with_suffix(".md").read_text(encoding="utf-8")
    assert tuning["linear"]["overrides"][0] in report


def test_an_unknown_method_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main([*WORDS, "+comparison.tune.fintune={a: 'choice(1,2)'}", "--outputs", str(tmp_path)])
    assert code == 2
    assert "did you mean 'finetune'" in capsys.readouterr().err
    assert not (tmp_path / "fits").exists()
