"""The code in the documents runs as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

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
