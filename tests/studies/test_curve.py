"""A comparison along a number of training rows: draws are nested, equal runs are one, a curve goes through all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepladder.cli.entry import main
from stepladder.config.build import build
from stepladder.config.compose import compose
from stepladder.dataset.loaded import Loaded
from stepladder.errors import ConfigError

TOY = ["experiment=first_look", "training.epochs=1"]


def read(*overrides: str) -> Loaded:
    node = compose(["dataset=toy", *overrides]).config["dataset"]
    found: Loaded = build({"dataset": node})["dataset"].object.read()
    return found


def test_a_draw_is_nested_and_another_draw_is_another() -> None:
    def ids(*overrides: str) -> set[str]:
        return {example.question.id for example in read(*overrides).train}

    small, great, other = ids("dataset.rows=8"), ids("dataset.rows=24"), ids("dataset.rows=8", "dataset.draw=1")
    assert (len(small), len(great), len(other)) == (8, 24, 8)
    assert small < great < ids()
    assert other != small
    assert ids("dataset.rows=9999") == ids()
    assert read("dataset.rows=8").test == read().test
    assert read("dataset.rows=8").validation == read().validation
    assert read("dataset.rows=8").task == read().task
    with pytest.raises(ConfigError, match="0 leaves no training rows"):
        read("dataset.rows=0")


def test_the_curve_has_a_point_for_every_number_and_draw(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [
        "compare",
        "comparison=learning_curve",
        *TOY,
        "method=linear,zero_shot,finetune",
        "dataset.rows=8,24,9999,null",
    ]
    assert main([*words, "seed=0,1", "--outputs", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    train = len(read().train)
    names = {cell["name"]: cell["seeds"] for cell in told["cells"]}
    assert set(names) == {
        "zero_shot", *(f"{m} dataset.rows={n}" for m in ("linear", "finetune") for n in (8, 24, train)),
    }  # fmt: skip
    assert names["zero_shot"] == [0]
    assert names["finetune dataset.rows=8"] == [0, 1]
    assert names[f"linear dataset.rows={train}"] == [0]
    assert told["baseline"] == "zero_shot"
    assert told["learning_curve"]["rows"] == [8, 24, train]
    assert list(told["learning_curve"]["overtakes"]) == ["finetune"]
    lines = told["curve"][0]["lines"]
    assert {len(line) for line in lines.values()} == {3}
    assert len({value for _, value in lines["zero_shot"]}) == 1
