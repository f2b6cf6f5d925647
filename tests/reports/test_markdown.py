"""report.md and the terminal's tables say what the comparison says, and nothing can break out of a cell."""

import io
from dataclasses import replace

import built
import pytest
from built import run
from rich.cells import cell_len
from rich.console import Console

from stepladder.evaluation.metrics.choice import Accuracy, MacroF1
from stepladder.evaluation.statistics.estimates import Measured
from stepladder.reports.markdown import markdown
from stepladder.reports.sections import interval
from stepladder.reports.summary import _short, summary
from stepladder.runs.costs import Costs
from stepladder.studies.compared_runs import ComparedRuns
from stepladder.studies.results import Bill, Bills, BreakEven
from stepladder.studies.verdict import verdict

COSTS = Costs(training_seconds=None, prompt_tokens_per_question=31.5, new_tokens_per_question=1.0)


@pytest.fixture
def comparison(right_wrong):
    rungs = {
        "zero_shot": [right_wrong("10" * 50)],
        "rag|k=[1](http://x) <b>": [right_wrong("1" * 70 + "0" * 30)],
        "finetune": [right_wrong("1" * 95 + "0" * 5), right_wrong("1" * 95 + "0" * 5)],
    }
    cells = ComparedRuns({"macro_f1": MacroF1(), "accuracy": Accuracy()}, rungs, "accuracy", seed=0).cells("zero_shot")
    rows = [
        run(name, replace(COSTS, seconds_per_question=0.25 * (1 + turn)), seed=turn)
        for name, runs in rungs.items()
        for turn in range(len(runs))
    ]
    rows[-2:] = [replace(row, costs=replace(row.costs, trained_parameters=4_884_480)) for row in rows[-2:]]
    return built.comparison(cells, verdict(cells, list(rungs), "accuracy", 0.02), rows)


def section(text, title):
    block = text.split(f"## {title}\n\n")[1].split("\n\n")[0]
    return [[field.strip() for field in line.replace("\\|", "¦").strip("|").split("|")] for line in block.splitlines()]


def test_markdown_has_the_verdict_and_a_whole_table_of_quality(comparison):
    text = markdown(comparison)
    assert text.startswith("# ladder-1a2b\n\n**Recommended: finetune.** ")
    header, _, *rows = section(text, "Quality")
    assert header == ["method", "accuracy", "macro_f1"]
    assert rows[0][:2] == ["zero_shot", "0.500 [0.404, 0.596]"]
    assert rows[2][0] == "finetune (2 seeds)"
    assert rows[2][1].startswith("0.950 [")


BASELINE = "Differences to the baseline and to the next simpler method"


def test_differences_are_to_the_baseline_and_to_the_next_simpler_method(comparison):
    header, _, *rows = section(markdown(comparison), BASELINE)
    assert header[:5] == ["method", "metric", "against", "difference", "adjusted p"]
    assert header[5:] == ["better : worse", "n", "minimum detectable", "result"]
    first, second = (row for row in rows if row[0].startswith("finetune") and row[1] == "accuracy")
    assert first[2:5] == ["zero_shot", first[3], "< 0.001"]
    assert first[3].startswith("+0.450 [+")
    assert second[2] == "rag¦k=[1]\\(http://x) &lt;b> (next simpler)"
    assert second[3].startswith("+0.250 [+")
    assert first[-1] == second[-1] == "better"
    assert not any(row[0] == "zero_shot" for row in rows)


def test_no_significant_difference_comes_with_the_minimum_detectable_effect(right_wrong, comparison):
    rungs = {"zero_shot": [right_wrong("10" * 50)], "rag": [right_wrong("01" * 50)]}
    cells = ComparedRuns({"accuracy": Accuracy()}, rungs, "accuracy", seed=0).cells("zero_shot")
    found = verdict(cells, list(rungs), "accuracy", 0.02)
    rows = tuple(run(name, COSTS) for name in rungs)
    ((*_, detectable, told),) = section(
        markdown(replace(comparison, cells=tuple(cells), rows=rows, verdict=found)), BASELINE
    )[2:]
    assert told == "no significant difference"
    assert float(detectable) == pytest.approx(cells[1].difference["accuracy"].detectable, abs=5e-4)


def test_costs_are_means_over_seeds_and_blank_where_not_known(comparison):
    header, _, *rows = section(markdown(comparison), "Costs")
    assert header[0] == "method"
    assert "training s" not in header
    assert "inference memory, GiB" not in header
    shown = ["trained parameters", "prompt tokens/question", "new tokens/question", "s/question"]
    assert [rows[0][header.index(name)] for name in shown] == ["0", "31.5", "1.0", "0.2500"]
    assert [rows[2][header.index(name)] for name in shown] == ["4,884,480", "31.5", "1.0", "0.3750"]
    assert "read 503, kept 500" in markdown(comparison)


def test_break_even_is_given_in_requests_or_never(comparison):
    each = BreakEven("finetune", "zero_shot", 90.0, 0.1, 0.05, 0.2, 900, 450, 1800, until=None, tokens_saved=12.0)
    whole = replace(comparison, break_even=(each,))
    (row,) = section(markdown(whole), "Break-even")[2:]
    assert row[2:] == ["+0.450", "90", "0.1 [0.05, 0.2]", "900 [450, 1,800]", "12.0"]
    for change, wanted in (
        ({"requests": None, "low": None, "high": None}, "never"),
        ({"high": None}, "900 [450, never]"),
        ({"low": None, "high": None, "measured": False}, "900"),
        ({"low": 900, "high": 900}, "900"),
        ({"requests": None, "low": 450, "high": None}, "never [450, never]"),
        ({"requests": None, "until": 77}, "cheaper up to 77 requests, then never"),
    ):
        (row,) = section(markdown(replace(whole, break_even=(replace(each, **change),))), "Break-even")[2:]
        assert row[5] == wanted


def test_a_name_can_not_break_out_of_its_cell(comparison):
    text = markdown(comparison)
    assert "rag\\|k=[1]\\(http://x) &lt;b>" in text
    assert "<b>" not in text
    for title in ("Quality", BASELINE, "Costs"):
        lines = section(text, title)
        assert {len(line) for line in lines} == {len(lines[0])}


def test_an_interval_of_equal_ends_is_not_shown():
    assert interval(Measured(0.5, 0.5, 0.5, 10)) == "0.500"
    assert interval(Measured(0.5, 0.4, 0.5, 10)) == "0.500 [0.400, 0.500]"


def test_break_even_says_which_pairs_are_left_out_and_why(comparison):
    each = BreakEven("finetune", "zero_shot", 90.0, 0.1, None, None, 900, None, None, None, 12.0, measured=False)
    text = markdown(replace(comparison, break_even=(each,), no_break_even=(("finetune", "rag"),)))
    assert "Left out, because the tuned method is significantly worse: finetune against rag." in text
    assert "There is no interval where the costs of the questions do not differ" in text
    assert section(text, "Break-even")[2][4:6] == ["0.1", "900"]


def printed(comparison, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(summary(comparison, width))
    return console.file.getvalue()


def test_no_line_of_the_summary_ends_in_a_space_or_is_too_wide(billed):
    lines = printed(billed).splitlines()
    assert all(line == line.rstrip() and len(line) <= 80 for line in lines)
    assert max(len(line) for line in lines) > 70


@pytest.fixture
def billed(comparison):
    """With costs, and the difference of every method to the recommended one."""
    rungs = {cell.name: Bill(83.7, 0.1098, 83.7, 9) for cell in comparison.cells}
    cells = tuple(replace(cell, to_recommended=cell.to_best) for cell in comparison.cells)
    return replace(comparison, cells=cells, bills=Bills("s", rungs))


def test_the_terminal_shows_score_difference_and_cost_and_no_markup(billed):
    shown = printed(billed)
    for wanted in ("0.500 [0.404, 0.596]", "rag|k=[1](http://x) <b>", "-0.450 [", "83.7", "Recommended: finetune"):
        assert wanted in shown
    assert "mean over 2 seeds: finetune" in shown
    assert max(map(len, shown.splitlines())) <= 80


LONG = [f"finetune model=folder/a-long-name-{'x' * n}/model adapter=dora adapter.r={n}" for n in (1, 40, 120)]


@pytest.mark.parametrize("width", [80, 100, 140, 200])
@pytest.mark.parametrize("names", [["zero_shot", "rag", "finetune"], LONG, ["語" * 9, "文" * 60, "zero_shot"]])
def test_the_terminal_cuts_no_name_and_fits_its_width(billed, names, width):
    new = dict(zip([cell.name for cell in billed.cells], names, strict=True))
    cells = tuple(replace(cell, name=new[cell.name]) for cell in billed.cells)
    rungs = {new[name]: bill for name, bill in billed.bills.methods.items()}
    rows = tuple(replace(row, name=new[row.name]) for row in billed.rows)
    verdict_ = replace(billed.verdict, recommended=new[billed.verdict.recommended])
    whole = replace(billed, cells=cells, rows=rows, verdict=verdict_, bills=Bills("EUR", rungs))
    shown = printed(whole, width)
    table = shown.split("test questions")[0]
    assert max(cell_len(line) for line in shown.splitlines()) <= width
    for name in names:
        assert "".join(name.split()) in "".join(table.split())
    assert table.count("] ") + table.count("]*") >= 5


def test_a_wide_terminal_shows_more(billed):
    assert "adjusted p" not in printed(billed, 80).splitlines()[0]
    assert "adjusted p" in printed(billed, 120).splitlines()[0]
    assert "prompt tokens" in printed(billed, 140)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0, "0"), (0.00011, "0.00011"), (0.1098, "0.11"), (83.74, "83.7"), (206.3, "206"), (12345, "12,345")],
)
def test_costs_are_short(value, wanted):
    assert _short(value) == wanted
