"""The code, commands and links of the docs work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from stepladder.config.resolution import compose_resolved
from stepladder.evaluation.statistics.closed_form import detectable_difference
from stepladder.studies.break_even import Prices, Spending, bill, break_even
from stepladder.studies.sweep.plan import draft
from stepladder.studies.variants import plan as plan_comparison

DOCS = Path(__file__).parents[1] / "docs"


def test_the_notebooks_cells_run_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    cells = re.findall(r"```python\n(.*?)```", (DOCS / "notebook.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(cells) == 4
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"docs/notebook.md, cell {number + 1}", "exec"), names)
    assert "to prompted" in capsys.readouterr().out


def test_every_link_between_documents_leads_somewhere() -> None:
    root = DOCS.parent
    for document in [root / "README.md", root / "CHANGELOG.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("line", re.findall(r"^stepladder (.*)$", (DOCS / "evaluation.md").read_text(), re.MULTILINE))
def test_the_commands_of_the_page_on_suites_compose(line: str) -> None:
    verb, *words = shlex.split(line)
    assert plan_comparison(words).variants if verb == "compare" else compose_resolved(words)


def test_another_dataset_can_be_named_for_retention() -> None:
    _, config = compose_resolved(["evaluation=[retention]", "dataset@evaluation.retention.dataset=faq_route"])
    assert config["evaluation"]["retention"]["dataset"]["target"] == "category"


@pytest.mark.parametrize("line", re.findall(r"^stepladder (.*)$", (DOCS / "sweeps.md").read_text(), re.MULTILINE))
def test_the_sweeps_of_the_page_are_searches(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        re.findall(r"```python\n(.*?)```", (DOCS / "sweeps.md").read_text(encoding="utf-8"), re.DOTALL)[0]
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    verb, *words = shlex.split(line)
    if verb == "compare":
        assert plan_comparison(words).comparison.tune
    else:
        trust = words[words.index("--trust") + 1 :] if "--trust" in words else []
        assert draft([word for word in words if word not in ("--trust", *trust)], trust=trust).space


def test_the_table_of_what_can_be_found_is_what_the_tool_says() -> None:
    text = (DOCS / "statistics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d,]+) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for n, *cells in rows:
        for share, cell in zip((0.05, 0.1, 0.2, 0.3), cells, strict=True):
            found = detectable_difference(share, int(n.replace(",", "")))
            assert cell == ("-" if found > share else f"{found:.3f}".removeprefix("0"))


def test_the_worked_example_of_break_even_is_what_the_tool_says() -> None:
    text = (DOCS / "statistics.md").read_text(encoding="utf-8")
    prices = Prices("EUR", hour=0.9, training_hour=1.2, million_prompt_tokens=0.15, million_new_tokens=0.6, label=0.25)

    def spent(seconds: float, setup: float, labels: int, tokens: int) -> Spending:
        every = (np.full(20, value) for value in (seconds, float(tokens), 4.0))
        return Spending(setup, labels, *every, tuned=setup > 0)

    tuned, prompted = spent(0.1, 1800 + 5400, 500, 60), spent(0.4, 0, 20, 900)
    found = break_even("tuned", tuned, "prompted", prompted, prices, None, seed=0)
    for wanted in (
        f"= {prices.setup(7200, 500):.2f} |",
        f"| {found.setup:.2f} more",
        f"= {bill(tuned, prices).request:.7f} |",
        f"= {bill(prompted, prices).request:.7f} |",
        f"{found.saved:.6f} saved",
        f"is {found.requests:,} requests",
        f"saves {found.tokens_saved:.0f} prompt tokens",
    ):
        assert wanted in text, wanted


def test_the_files_that_the_architecture_names_exist() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 250
    package = DOCS.parent / "src" / "stepladder"
    if not (package / "engine" / "fast").exists():
        pytest.skip("the fast engine, which the page describes, is deleted")
    places = [DOCS.parent, package, *(path for path in package.rglob("*") if path.is_dir())]
    names = set(re.findall(r"`([\w/]+(?:\.py|/))`", text))
    assert len(names) > 60
    assert not [name for name in names if not any((place / name).exists() for place in places)]
