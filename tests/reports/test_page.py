"""The report in a real browser: whole, silent, quick, and nothing in it but what we drew."""

from __future__ import annotations

import html as entities
import json
import re
from html.parser import HTMLParser

import pytest
from planted import LADDER, PLANTED, comparison

from stepladder.reports.comparison import appendix, page
from stepladder.reports.markdown import markdown

SECTIONS = [
    "verdict", "ladder", "differences", "mistakes", "suite-calibration", "costs", "checklist", "rows", "made", "again",
]  # fmt: skip


@pytest.fixture(scope="module")
def small() -> str:
    return page(*comparison())


class Tags(HTMLParser):
    """All elements of a page, and whether they are closed in order."""

    VOID = frozenset({"meta", "link", "input", "br", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attributes)))
        if tag not in self.VOID and tag not in {"path", "circle", "rect", "line", "polyline"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_page_is_well_formed_and_holds_no_address_and_no_planted_element(small: str) -> None:
    tags = Tags(small)
    assert set(tags.open) <= {"p", "li"}
    assert [tag for tag, _ in tags.all].count("script") == 2
    assert "img" not in [tag for tag, _ in tags.all]
    assert not [
        a
        for _, a in tags.all
        if (a.get("src") or "") or any(name.startswith("on") and tag != "form" for name in a for tag in [_])
    ]
    assert not re.findall(r"https?://", re.sub(r"<pre.*?</pre>", "", small, flags=re.DOTALL))
    assert PLANTED not in small
    assert entities.escape(PLANTED, quote=False).split("'")[0] in small


def test_data_in_the_page_can_not_end_its_element(small: str) -> None:
    held = re.search(r'<script type="application/json" id="data">(.*?)</script>', small, re.DOTALL)
    assert held is not None
    assert "<" not in held[1]
    data = json.loads(held[1])["rows"]
    assert any(PLANTED in text for text in data["texts"])
    assert len(data["ids"]) == 60


def test_the_page_requests_nothing_and_logs_no_errors(opened, small: str) -> None:
    shown = opened(small)
    assert shown("return [...document.querySelectorAll('main section')].map(s => s.id)") == SECTIONS
    assert shown(
        "return [...document.querySelectorAll('main section')].every(s => s.getBoundingClientRect().height > 40)"
    )
    assert shown("return document.querySelectorAll('svg circle').length") > 10
    shown("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert shown("return window.planted") is None
    assert shown("return document.body.innerText.includes(arguments[0])", PLANTED)
    assert shown.complaints() == []
    assert shown.requests() == []


def test_rows_are_searched_sorted_and_held_against_each_other(opened, small: str) -> None:
    shown = opened(small)
    rows = (
        "return [...document.querySelectorAll('#rows-table tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    )

    def choose(id_: str, value: str) -> None:
        """Returns when the table is laid out anew; after a change of the search that takes the page a moment."""
        shown.until_done(
            "const [id, value, done] = arguments, s = document.getElementById(id), table = 'rows-table';"
            "new MutationObserver((_, o) => { o.disconnect(); done(); })"
            ".observe(document.getElementById(table), { childList: true, subtree: true });"
            "s.value = value; s.dispatchEvent(new Event(s.tagName === 'INPUT' ? 'input' : 'change'));",
            id_,
            value,
        )

    assert {line[-1] for line in shown(rows)} <= {"fixed", "regressed"}
    choose("rows-kind", "fixed")
    fixed = shown(rows)
    assert {line[-1] for line in fixed} == {"fixed"}
    choose("rows-kind", "all")
    choose("rows-base", "0")
    head = shown("return [...document.querySelectorAll('#rows-table thead th')].map(h => h.textContent)")
    assert head[:3] == ["id", "question", "expected"]
    assert "majority" in head
    assert len(shown(rows)) == 50
    shown("document.getElementById('rows-more').click()")
    assert len(shown(rows)) == 60
    choose("rows-search", "WINDOW.planted=1</script>")
    found = shown(rows)
    assert all(any(PLANTED in cell for cell in line) for line in found)
    assert found
    assert shown("return document.querySelectorAll('#rows-table script, #rows-table img').length") == 0
    choose("rows-search", "r00041")
    assert [line[0] for line in shown(rows)] == ["r00041"]
    choose("rows-search", "")
    for wanted in ("ascending", "descending"):
        shown("document.querySelectorAll('#rows-table thead button')[2].click()")
        assert shown("return document.querySelectorAll('#rows-table thead th')[2].getAttribute('aria-sort')") == wanted
        column = [line[2] for line in shown(rows)]
        assert column == sorted(column, key=lambda t: (t[0] != "<", t), reverse=wanted == "descending")
    assert "60 of 60 examples shown" in shown("return document.getElementById('rows-count').textContent")
    assert shown.complaints() == []


def test_tables_sort_by_number_and_the_theme_can_be_turned(opened, small: str) -> None:
    shown = opened(small)
    column = "return [...document.querySelectorAll('#ladder tbody tr')].map(r => parseFloat(r.cells[1].textContent))"
    shown("document.querySelectorAll('#ladder thead button')[1].click()")
    up = shown(column)
    assert up == sorted(up)
    shown("document.querySelectorAll('#ladder thead button')[1].click()")
    assert shown(column) == up[::-1]
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = shown(paper)
    shown("document.getElementById('theme').click()")
    assert shown(paper) != light
    assert shown("return document.getElementById('theme').getAttribute('aria-pressed')") == "true"


def test_a_keyboard_and_a_screen_reader_find_their_way(opened, small: str) -> None:
    shown = opened(small)
    assert shown("return [...document.querySelectorAll('select,input')].every(i => i.labels.length === 1)")
    assert shown("return [...document.querySelectorAll('svg[role=img]')].every(s => s.getAttribute('aria-label'))")
    assert shown("return [...document.querySelectorAll('table')].every(t => t.caption && t.caption.textContent)")
    assert shown("return [...document.querySelectorAll('th')].every(h => h.scope)")
    assert shown(
        "return [...document.querySelectorAll('nav a')].every(a => document.querySelector(a.getAttribute('href')))"
    )
    assert shown("return [...document.querySelectorAll('.scroll')].every(d => d.tabIndex === 0)")


def test_a_report_of_many_rows_stays_small_and_lays_out_a_part(opened) -> None:
    whole = page(*comparison(n=3080, seeds=3, labels=77))
    assert len(whole.encode()) < 3_000_000
    shown = opened(whole)
    assert shown("return document.querySelectorAll('#rows-table tbody tr').length") == 50
    assert shown("return document.querySelectorAll('#rows-rung option').length") == 24
    assert shown.complaints() == []
    assert shown.requests() == []


@pytest.mark.parametrize("names", [("only",), ("one", "two"), (f"a {PLANTED}", "b|c", "d")])
@pytest.mark.parametrize("n", [1, 3])
def test_small_and_strange_studies_have_a_page_and_a_text(names: tuple[str, ...], n: int) -> None:
    whole, evidence = comparison(n=n, names=names)
    text = page(whole, evidence)
    assert PLANTED not in text
    assert "No recommendation: too few rows. Too few rows: " in text
    told = markdown(whole, appendix(evidence))
    assert "<script" not in told
    assert not re.search("[\x00-\x08\x0b-\x1f]", text + told)
    assert not re.search(r'[>"= ,][+-]?nan\b', text)


def test_the_text_has_the_tables_of_the_page() -> None:
    whole, evidence = comparison()
    told = markdown(whole, appendix(evidence))
    for title in (
        "Quality",
        "Differences to the recommended method",
        "Tuned methods against other methods",
        "Differences to the baseline and to the next simpler method",
        "Costs",
        "Setup and request",
        "Break-even",
        "Before fine-tuning",
        "calibration",
    ):
        assert f"## {title}\n" in told
    assert all(name in told for name in LADDER)
