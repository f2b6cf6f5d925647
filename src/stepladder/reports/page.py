"""A page in one file: sections of text, tables and figures, with one style sheet and a small script, and no network.

All texts are escaped here and nowhere else; only figures are markup. The script's data is JSON without any `<`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stepladder.evaluation.tables import Drawing, Table
from stepladder.io.redaction import mask
from stepladder.reports.markdown import printable, shown
from stepladder.reports.plots import curves


class _Block:
    """A part of a section. Its `kind` names its macro in the templates."""

    @property
    def kind(self) -> str:
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Prose(_Block):
    """A paragraph; `strong` emphasises the most important one."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Bullets(_Block):
    items: Sequence[str]
    lead: str = ""


@dataclass(frozen=True)
class Code(_Block):
    """Text to copy."""

    text: str


@dataclass(frozen=True)
class Picture(_Block):
    """An SVG figure of `plots`, which is not escaped, and its caption."""

    svg: str
    caption: str = ""

    @property
    def markup(self) -> Markup:
        return Markup(self.svg)


@dataclass(frozen=True)
class Grid(_Block):
    """A table that can be sorted by its columns."""

    table: Table

    @property
    def cells(self) -> list[list[str]]:
        return [[shown(cell) for cell in row] for row in self.table.rows]


@dataclass(frozen=True)
class Fold(_Block):
    """Blocks behind a title that opens them."""

    title: str
    blocks: Sequence[Block]
    opened: bool = False


@dataclass(frozen=True)
class Explorer(_Block):
    """Where the script shows the examples of `data["rows"]`."""


Block: TypeAlias = Prose | Bullets | Code | Picture | Grid | Fold | Explorer


@dataclass(frozen=True)
class Section:
    """A section of the page; `id` is its anchor."""

    id: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


def render(title: str, sections: Sequence[Section], data: Mapping[str, Any] | None = None) -> str:
    """The text of the file; secrets are masked in all but the data."""
    body = _environment().get_template("sections.html.jinja").render(sections=sections)
    whole = _environment().get_template("page.html.jinja")
    return whole.render(
        title=printable(mask(title)),
        sections=sections,
        body=Markup(printable(mask(body))),
        data=None if data is None else Markup(embedded(data)),
    )


def embedded(data: Any) -> str:
    """JSON for a script element: no text in it can end the element or start another."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def blocks_of(drawings: Sequence[Drawing]) -> Iterator[Block]:
    """Tables and curves as blocks of the page."""
    for drawing in drawings:
        if isinstance(drawing, Table):
            yield Grid(drawing)
        else:
            yield Picture(curves(drawing), drawing.title)
            if drawing.note:
                yield Prose(drawing.note)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("stepladder.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    loader = made.loader
    assert loader is not None
    made.globals["own"] = lambda name: Markup(loader.get_source(made, name)[0])
    return made
