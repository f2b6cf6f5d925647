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
    assert header[:5] == ["rung", "metric", "against", "difference", "adjusted p"]
    assert header[5:] == ["better : worse", "n", "detectable", "found"]
    first, second = (row for row in rows if row[0].startswith("finetune") and row[1] == "accuracy")
    assert first[2:5] == ["zero_shot", first[3], "< 0.001"]
    assert first[3].startswith("+0.450 [+")
    assert second[2] == "rag¦k=[1]\\(http://x) &lt;b>, the rung below"
    assert second[3].startswith("+0.250 [+")
    assert first[-1] == second[-1] == "better"
    assert not any(row[0] == "zero_shot" for row in rows)


def test_no_difference_found_stands_beside_what_could_have_been(right_wrong, comparison):
    rungs = {"zero_shot": [right_wrong("10" * 50)], "rag": [right_wrong("01" * 50)]}
    cells = compared({"accuracy": Accuracy()}, rungs, "zero_shot", "accuracy", seed=0)
    found = verdict(cells, list(rungs), "accuracy", 0.02)
    ((*_, detectable, told),) = section(markdown({**comparison, "cells": cells, "verdict": found}), "Differences")[2:]
    assert told == "no difference found"
    assert float(detectable) == pytest.approx(cells[1]["difference"]["accuracy"]["detectable"], abs=5e-4)


def test_costs_are_means_over_seeds_and_blank_where_not_known(comparison):
    header, _, *rows = section(markdown(comparison), "Costs")
    assert header[0] == "rung"
    assert rows[0][1:] == ["0", "31.5", "1.0", "0.2500"]
    assert rows[2][1:] == ["4,884,480", "31.5", "1.0", "0.3750"]
    assert "read 503, kept 500" in markdown(comparison)


def test_break_even_is_told_in_requests_or_never(comparison):
    each = {
        "name": "finetune",
        "against": "zero_shot",
        "setup": 90.0,
        "saved": 0.1,
        "saved_low": 0.05,
        "saved_high": 0.2,
    }
    each |= {"requests": 900, "low": 450, "high": 1800, "until": None, "tokens_saved": 12.0}
    rungs = {
        name: {"setup": 1.0, "request": 0.1, "setup_seconds": 1.0, "labels": 9} for name in ("zero_shot", "finetune")
    }
    whole = {**comparison, "bills": {"unit": "s", "rungs": rungs}, "break_even": [each]}
    (row,) = section(markdown(whole), "Break-even")[2:]
    assert row[2:] == ["+0.450", "90", "0.1 [0.05, 0.2]", "900 [450, 1,800]", "12.0"]
    for change, wanted in (
        ({"requests": None, "low": None, "high": None}, "never"),
        ({"high": None}, "900 [450, never]"),
        ({"requests": None, "low": 450, "high": None}, "never [450, never]"),
        ({"requests": None, "until": 77}, "cheaper up to 77 requests, then never"),
    ):
        (row,) = section(markdown({**whole, "break_even": [{**each, **change}]}), "Break-even")[2:]
        assert row[5] == wanted


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
