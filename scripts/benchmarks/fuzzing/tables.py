"""Cases with data files in every format and layout: mostly valid, with unusual rows, settings or bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from fuzzing.bent import HOSTILE, Draw, bent_bytes, bent_data, rare
from fuzzing.case import Case, Change
from fuzzing.columns import odd_parquet, parquet_of

Rows = list[dict[str, Any]]
LABELS = ("buy", "sell", "rent")
TEXTS = (
    "I want to {} item {}", "please {} the house number {}", "can you {} {} of these?", "{}: {}",
    "how do I {} a flat in {}",
)  # fmt: skip
ODD_TEXTS = (
    "", " ", "\u00a0", "\u0000", "\ufeff", "\u2028", "é", "e\u0301", "💥", "\u202e", "a\tb", "a\nb", "a\r\nb", '"',
    "''", '"""', "{text}", "{0}", "{",
    "${seed}", "\\", "<|end|>", "<|user|>", "=1+1", "x" * 3000, "NaN", "null", "none", "0", "1.0", "-", "N/A",
    "buy ", "Buy", "BUY", "\ud800",
    "<script>alert(1)</script>", "</script>", "[red]x[/red]", "[/]", "%s", "../../x", "a" * 200 + "/" + "b" * 200,
)  # fmt: skip
"""Unusual cell values; a lone surrogate is only used in formats that can encode it."""
SETTINGS = (
    "dataset.on_bad_row=skip", "dataset.on_bad_row=skip", "dataset.on_overlap=stop", "dataset.on_overlap=keep",
    "dataset.limit=1",
    "dataset.limit=2", "dataset.rows=3", "dataset.rows=1", "dataset.draw=7", "dataset.draw=-1",
    "dataset.split.test=0", "dataset.split.test=0.9",
    "dataset.split.validation=0", "dataset.split.validation=0.5", "dataset.split.test=0.5",
    "dataset.task.instruction='x {y}'",
    "dataset.task.instruction=''", "dataset.tags=[tag]", "dataset.tags=[tag,text]", "dataset.tags=[nothing]",
    "dataset.group=tag",
    "dataset.group=text", "dataset.id=number", "dataset.id=tag", "dataset.id=nothing", "dataset.quote=none",
    "dataset.quote=\"'\"",
    "dataset.header=[a,b]", "dataset.input='{text} ({tag})'", "dataset.input='{text}{text}'",
    "dataset.input='{nothing}'", "dataset.input=tag",
    "dataset.target=text", "dataset.target=tag", "dataset.target=nothing", "dataset.target=number",
    "dataset.labels=[buy,sell]",
    "dataset.labels=[buy,sell,rent,x]", "dataset.labels={buy: to get,sell: '',rent: '{x}'}",
    "dataset.task.kind=text", "dataset.task.kind=json",
    "dataset.choices=choices", "dataset.choices=tag", "dataset.gold=gold", "dataset.corpus=corpus.jsonl",
    "dataset.out_of_scope=beyond.csv",
    "dataset.test=test.csv", "dataset.validation=test.csv", "dataset.test=rows.csv", "dataset.layout=alpaca",
    "dataset.layout=squad",
    "evaluation=[slices]", "evaluation=[calibration]", "evaluation=[robustness]", "evaluation=[format]",
    "evaluation=[out_of_scope]",
    "evaluation=[rag]", "decoding=greedy", "decoding=sampled", "decoding.normalise=prior", "decoding.normalise=length",
    "decoding.probabilities=best", "decoding.max_new_tokens=1", "prompt=structured", "prompt.on_overflow=skip",
    "prompt.on_overflow=drop_context",
    "seed=3", "preflight=warn", "preflight.lost=0", "preflight.overlap=0", "compute.micro_batch=1",
)  # fmt: skip
ANY_LAYOUT = (
    "dataset.on",
    "dataset.limit",
    "dataset.rows",
    "dataset.split",
    "dataset.draw",
    "evaluation",
    "decoding",
    "prompt",
    "seed",
    "preflight",
)
"""Settings that are not about columns."""
METHODS = ("majority", "majority", "linear", "linear", "zero_shot", "few_shot", "rag", "structured")


@dataclass
class Written:
    """Rows of a layout, and what `dataset.*` has to say of them."""

    rows: Rows
    words: list[str] = field(default_factory=list)
    suffixes: Sequence[str] = ("jsonl", "jsonl", "ndjson", "json", "parquet")


def _good(draw: Draw, count: int) -> Rows:
    start = draw(st.integers(0, 40))
    return [
        {
            "text": TEXTS[(start + n) % len(TEXTS)].format(LABELS[n % 3], start + n),
            "label": LABELS[n % 3],
            "tag": "ab"[n % 2],
            "number": n,
        }
        for n in range(count)
    ]


def _columns(draw: Draw, rows: Rows) -> Written:
    kind = draw(st.sampled_from(["choice", "choice", "choice", "text", "json"]))
    words = ["dataset.input=text", "dataset.target=label", f"dataset.task.kind={kind}"]
    if kind == "json":
        schema = draw(
            st.sampled_from(
                [
                    "",
                    "",
                    "{type: object}",
                    "{type: [object, array]}",
                    "{type: nothing}",
                    "{$ref: '#/x'}",
                    "{$ref: 'file:///x'}",
                    "{type: object, properties: {n: {type: integer, maximum: 3}}}",
                    "{properties: 3}",
                    "{pattern: '('}",
                    "{enum: []}",
                    "{type: array, items: {type: string, pattern: '(a+)+$'}}",
                    "{not: {}}",
                ]
            )
        )
        words += [f"dataset.task.schema={schema}"] if schema else []
        for row in rows:
            what = {"n": row["number"] % 5, "to": row["label"], "list": [1] * (row["number"] % 3), "in": {"x": None}}
            row["label"] = draw(bent_data(what)) if rare(draw, 10) else json.dumps(what)
    suffixes = ("csv", "csv", "csv", "tsv", "jsonl", "json", "parquet") if kind != "json" else ("jsonl", "csv", "json")
    if rare(draw, 6):
        for row in rows:
            row["choices"] = [row["label"], "other", "third"]
        words += ["dataset.choices=choices"]
    return Written(rows, words, suffixes)


def _alpaca(draw: Draw, rows: Rows) -> Written:
    made: Rows = [
        {"instruction": "Say what is meant.", "input": r["text"], "output": r["label"], "tag": r["tag"]} for r in rows
    ]
    for row in made[:: draw(st.integers(2, 5))]:
        row["history"] = [["what?", "this"]]
        row["system"] = "Be short."
    return Written(made, ["dataset.layout=alpaca"])


def _sharegpt(draw: Draw, rows: Rows) -> Written:
    return Written(
        [
            {
                "conversations": [{"from": "human", "value": r["text"]}, {"from": "gpt", "value": r["label"]}],
                "tag": r["tag"],
            }
            for r in rows
        ],
        ["dataset.layout=sharegpt"],
    )


def _messages(draw: Draw, rows: Rows) -> Written:
    turn = lambda role, text: {"role": role, "content": text}  # noqa: E731
    many = [[turn("system", "Be short."), turn("user", "hello"), turn("assistant", "hi")], []]
    return Written(
        [
            {
                "messages": [*many[r["number"] % 2], turn("user", r["text"]), turn("assistant", r["label"])],
                "tag": r["tag"],
            }
            for r in rows
        ],
        ["dataset.layout=messages"],
    )


def _squad(draw: Draw, rows: Rows) -> Written:
    if draw(st.booleans()):
        flat = [
            {
                "id": str(r["number"]),
                "question": r["text"],
                "context": f"It says {r['label']} in {r['tag']}.",
                "answers": {"text": [r["label"]], "answer_start": [8]},
                "title": r["tag"],
            }
            for r in rows
        ]
        return Written(flat, ["dataset.layout=squad"], ("jsonl", "json", "parquet"))
    asked = [
        {"id": str(r["number"]), "question": r["text"], "answers": [{"text": r["label"], "answer_start": 8}]}
        for r in rows
    ]
    articles = [
        {"title": f"t{n}", "paragraphs": [{"context": f"It says buy, sell or rent, {n}.", "qas": asked[n::4]}]}
        for n in range(4)
    ]
    return Written(articles, ["dataset.layout=squad"], ("json", "jsonl"))


LAYOUTS: Sequence[Callable[[Draw, Rows], Written]] = (
    _columns,
    _columns,
    _columns,
    _columns,
    _alpaca,
    _sharegpt,
    _messages,
    _squad,
)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _separated(rows: Rows, delimiter: str, ragged: Sequence[int]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    whole = io.StringIO()
    writer = csv.writer(whole, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    for at, row in enumerate(rows):
        cells = [_text(row.get(name)) for name in names]
        writer.writerow([*cells, "x"] if at in ragged else cells)
    return whole.getvalue().encode("utf-8", errors="replace")


def _content(draw: Draw, written: Written, suffix: str) -> bytes:
    rows = written.rows
    if suffix in ("csv", "tsv"):
        ragged = draw(st.sampled_from([[], [], [], [], [], [], [], [], [2], [0, 1]]))
        return _separated(rows, "," if suffix == "csv" else "\t", ragged)
    if suffix == "parquet":
        if rare(draw, 3):
            return odd_parquet(draw)
        return parquet_of(rows) or b"PAR1"
    if suffix == "json":
        return json.dumps(rows if draw(st.booleans()) else {"data": rows}).encode()
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _odd_rows(draw: Draw, rows: Rows) -> None:
    """Some cells, rows or columns that are not as the others."""
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 1, 2, 4]))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        name = draw(st.sampled_from(sorted(row) or ["x"]))
        way = draw(st.sampled_from(["text", "text", "text", "value", "bend", "remove", "same", "more"]))
        if way == "text":
            row[name] = draw(st.sampled_from(ODD_TEXTS))
        elif way == "value":
            row[name] = draw(st.sampled_from(HOSTILE))
        elif way == "bend" and name in row:
            row[name] = draw(bent_data(row[name]))
        elif way == "remove":
            row.pop(name, None)
        elif way == "same":
            rows.append(dict(row))
        else:
            row[draw(st.sampled_from(["", "extra", "é", "text", "a,b", "\ud800", "_target_"]))] = draw(
                st.sampled_from(ODD_TEXTS)
            )


@st.composite
def tables(draw: Draw) -> Case:
    """One experiment on generated rows."""
    written = draw(st.sampled_from(LAYOUTS))(draw, _good(draw, draw(st.integers(10, 30))))
    _odd_rows(draw, written.rows)
    suffix = draw(st.sampled_from(written.suffixes))
    content = _content(draw, written, suffix)
    if rare(draw, 7):
        content = draw(bent_bytes(content))
    odd = ["rows.CSV", "rows", "rows.xlsx", f"räume.{suffix}", f"a/../rows.{suffix}"]
    name = draw(st.sampled_from(odd)) if rare(draw, 15) else f"rows.{suffix}"
    files: dict[str, bytes] = {name.replace("a/../", ""): content, **_beside(draw)}
    changes = [Change("folder", name)] if rare(draw, 41) else []
    changes += [Change("folder", "a")] if "a/../" in name else []
    method = draw(st.sampled_from(METHODS))
    words = ["experiment=first_look", "dataset=file", f"dataset.train='{name}'", f"method={method}", *written.words]
    words += ["decoding.max_new_tokens=24"]
    fitting = SETTINGS if len(written.words) > 1 else [s for s in SETTINGS if s.startswith(ANY_LAYOUT)]
    words += draw(st.lists(st.sampled_from(fitting), max_size=2, unique_by=lambda word: word.partition("=")[0]))
    return Case("data", tuple(_asked(draw, words)), files, tuple(changes))


def _asked(draw: Draw, words: list[str]) -> list[tuple[str, ...]]:
    verb = draw(st.sampled_from(["run", "run", "run", "run", "check", "show", "compare", "predict"]))
    flag = ["--json"] if draw(st.booleans()) else []
    if verb == "show":
        return [("show", *words, "--keys", *flag)]
    if verb == "compare":
        kept = [word for word in words if not word.startswith("method=")]
        return [("compare", *kept, "method=majority,linear", *flag)]
    if verb == "predict":
        new = draw(st.sampled_from(["new.csv", "new.csv", "rows.csv", "rows.jsonl", "corpus.jsonl", "nothing.csv"]))
        return [("run", *words), ("predict", "LAST", new, *flag)]
    return [(verb, *words, *flag)]


def _beside(draw: Draw) -> Mapping[str, bytes]:
    """The other files that settings may name."""
    corpus: Rows = [{"id": f"p{n}", "text": f"Passage {n} about {LABELS[n % 3]}."} for n in range(6)]
    if rare(draw, 3):
        _odd_rows(draw, corpus)
    test: Rows = [
        {"text": f"will you {LABELS[n % 3]} {n}", "label": LABELS[n % 3], "tag": "a", "number": 100 + n}
        for n in range(6)
    ]
    _odd_rows(draw, test)
    beyond: Rows = [{"text": f"nothing of this {n}", "tag": "a", "number": 200 + n, "label": ""} for n in range(4)]
    new: Rows = [
        {"text": f"who may {LABELS[n % 3]} {n}", "tag": "a", "number": n, "instruction": "x", "question": "y?"}
        for n in range(3)
    ]
    _odd_rows(draw, new)
    return {
        "corpus.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in corpus),
        "test.csv": _separated(test, ",", ()),
        "beyond.csv": _separated(beyond, ",", ()),
        "new.csv": _separated(new, ",", ()),
    }
