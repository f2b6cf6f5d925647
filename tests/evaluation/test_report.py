"""report.md and the terminal's tables say what the comparison says, and nothing can break out of a cell."""

import io

import pytest
from rich.console import Console

from stepladder.evaluation.ladder import compared
from stepladder.evaluation.metrics import Accuracy, MacroF1
from stepladder.evaluation.report import markdown, table
from stepladder.evaluation.verdict import verdict

COSTS = {
    "trained_parameters": 0,
    "training_seconds": None,
    "prompt_tokens_per_question": 31.5,
    "new_tokens_per_question": 1.0,
}


@pytest.fixture
def comparison(right_wrong):
    rungs = {
        "zero_shot": [right_wrong("10" * 50)],
        "rag|k=[1](http://x) <b>": [right_wrong("1" * 70 + "0" * 30)],
        "finetune": [right_wrong("1" * 95 + "0" * 5), right_wrong("1" * 95 + "0" * 5)],
    }
    cells = compared({"macro_f1": MacroF1(), "accuracy": Accuracy()}, rungs, "zero_shot", "accuracy", seed=0)
    rows = [
        {
            "name": name,
            "costs": {**COSTS, "seconds_per_question": 0.25 * (1 + turn)},
            "rows": {"read": 503, "kept": 500},
        }
        for name, runs in rungs.items()
        for turn in range(len(runs))
    ]
    rows[-1]["costs"]["trained_parameters"] = rows[-2]["costs"]["trained_parameters"] = 4_884_480
    return {
        "study": "ladder-1a2b",
        "baseline": "zero_shot",
        "rows": rows,
        "cells": cells,
        "verdict": verdict(cells, list(rungs), "accuracy", 0.02),
    }


def section(text, title):
    block = text.split(f"## {title}\n\n")[1].split("\n\n")[0]
    return [[field.strip() for field in line.replace("\\|", "¦").strip("|").split("|")] for line in block.splitlines()]


def test_markdown_has_the_verdict_and_a_whole_table_of_quality(comparison):
    text = markdown(comparison)
    assert text.startswith("# ladder-1a2b\n\n**Recommended: finetune.** ")
    header, _, *rows = section(text, "Quality")
    assert header == ["rung", "accuracy", "macro_f1"]
    assert rows[0][:2] == ["zero_shot", "0.500 [0.404, 0.596]"]
    assert rows[2][0] == "finetune (2 seeds)"
    assert rows[2][1].startswith("0.950 [")


def test_differences_are_to_the_baseline_and_to_the_rung_below(comparison):
    header, _, *rows = section(markdown(comparison), "Differences")
    assert header == ["rung", "metric", "to zero_shot", "p", "to the rung below", "p below"]
    tuned = next(row for row in rows if row[0].startswith("finetune") and row[1] == "accuracy")
    assert tuned[2].startswith("+0.450 [+")
    assert tuned[4].startswith("+0.250 [+")
    assert tuned[3] == "< 0.001"
    assert not any(row[0] == "zero_shot" for row in rows)


def test_costs_are_means_over_seeds_and_blank_where_not_known(comparison):
    header, _, *rows = section(markdown(comparison), "Costs")
    assert header[0] == "rung"
    assert rows[0][1:] == ["0", "", "31.5", "1.0", "0.2500"]
    assert rows[2][1:] == ["4,884,480", "", "31.5", "1.0", "0.3750"]
    assert "read 503, kept 500" in markdown(comparison)


def test_a_name_can_not_break_out_of_its_cell(comparison):
    text = markdown(comparison)
    assert "rag\\|k=[1]\\(http://x) &lt;b>" in text
    assert "<b>" not in text
    for title in ("Quality", "Differences", "Costs"):
        lines = section(text, title)
        assert {len(line) for line in lines} == {len(lines[0])}


def test_the_terminal_shows_the_same_figures_and_no_markup(comparison):
    console = Console(file=io.StringIO(), width=200)
    console.print(table(comparison))
    shown = console.file.getvalue()
    for wanted in (
        "Quality",
        "Differences",
        "Costs",
        "0.500 [0.404, 0.596]",
        "rag|k=[1](http://x) <b>",
        "Recommended: finetune",
    ):
        assert wanted in shown
