"""Every format gives the same rows and the right positions; errors name file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from stepladder.dataset.formats import Dialect, read_table
from stepladder.errors import DataError

ROWS = [{"text": 'He said "no", twice', "label": "a"}, {"text": "Zwei\nZeilen – Überraschung", "label": "b"}]
CSV = 'text,label\n"He said ""no"", twice",a\n"Zwei\nZeilen – Überraschung",b\n'


def table(name: str, dialect: Dialect | None = None):  # type: ignore[no-untyped-def]
    return read_table(Path(name), name, dialect or Dialect())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", CSV),
        ("crlf.csv", CSV.replace("\n", "\r\n").replace("Zwei\r\n", "Zwei\n")),
        ("bom.csv", "\ufeff" + CSV),
        ("rows.tsv", CSV.replace(",label", "\tlabel").replace(",a", "\ta").replace('",b', '"\tb')),
        ("rows.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
        ("blank.ndjson", "\n\n".join(json.dumps(row) for row in ROWS) + "\n \n"),
        ("bom.jsonl", "\ufeff" + "\n".join(json.dumps(row) for row in ROWS)),
        ("rows.json", json.dumps(ROWS)),
        ("data.json", json.dumps({"version": 1, "data": ROWS})),
    ],
)
def test_every_format_gives_the_same_rows(write, name: str, content: str) -> None:
    found = table(write(name, content))
    assert [dict(record.values) for record in found.records] == ROWS
    assert found.columns == ("text", "label")


def test_parquet_gives_the_same_rows(write, tmp_path: Path) -> None:
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    found = table("rows.parquet")
    assert [dict(record.values) for record in found.records] == ROWS
    assert str(found.records[1].place) == "rows.parquet, row 2"


def test_the_line_of_a_record_is_its_first_line(write) -> None:
    found = table(write("a.csv", 'text,label\n"one\ntwo\nthree",a\n\nfour,b\n"five\nsix",c\n'))
    assert [record.place.line for record in found.records] == [2, 6, 7]


def test_line_separators_inside_a_json_string_do_not_break_lines(write) -> None:
    found = table(write("a.jsonl", '{"text": "one\u2028two\x85three"}\n{"text": "four"}\n'))
    assert [record.place.line for record in found.records] == [1, 2]
    assert found.records[0].values["text"] == "one\u2028two\x85three"


def test_quotes_can_be_plain_text_and_columns_be_named(write) -> None:
    found = table(write("sms.tsv", 'ham\t"Ok lar\nspam\tWin " now"\n'), Dialect(("label", "text"), "none"))
    assert [record.values["text"] for record in found.records] == ['"Ok lar', 'Win " now"']


def test_another_quote_character(write) -> None:
    found = table(write("a.csv", "text,label\n'one, \"two\"',a\n"), Dialect(quote="'"))
    assert found.records[0].values["text"] == 'one, "two"'


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('text,label\nfine,a\n"never closed,b\nfine,c\n', 3),
        ('text,label\nfine,a\n"closed" too early,b\nfine,c\n', 3),
        ('text,label\n"two\nlines",a\n"never closed,b\n"fine",c\n', 4),
    ],
)
def test_a_broken_quote_is_reported_where_it_opens(write, content: str, line: int) -> None:
    with pytest.raises(DataError) as caught:
        table(write("a.csv", content))
    assert caught.value.where == f"a.csv, line {line}"
    assert "dataset.quote=none" in caught.value.to_do


def test_a_long_field_is_not_a_broken_quote(write) -> None:
    found = table(write("a.csv", f'text,label\n"{"long " * 60_000}",a\n'))
    assert len(found.records[0].values["text"]) == 300_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b'text,label\r\n"two\r\nlines",a\r\ncaf\xe9,b\r\n'),
        ("a.jsonl", b'{"text": "x"}\n{"text": "y"}\n\n{"text": "caf\xe9"}\n'),
        ("bom.csv", b"\xef\xbb\xbftext,label\none,a\ntwo,b\ncaf\xe9,b\n"),
    ],
)
def test_a_byte_that_is_not_utf8_is_reported_with_line_and_offset(write, name: str, content: bytes) -> None:
    record = table(write(name, content), Dialect(encoding="utf-8")).records[-1]
    assert record.place.line == 4
    assert record.fault == f"byte 0xe9 at byte offset {content.index(0xE9)} of the file is not UTF-8"


def test_a_json_file_that_is_not_utf8_is_an_error(write) -> None:
    with pytest.raises(DataError, match="byte 0xe9 at byte offset 15") as caught:
        table(write("a.json", b'[\n{"text": "caf\xe9"}]'), Dialect(encoding="utf-8"))
    assert caught.value.where == "a.json, line 2"


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\xef\xbb\xbf \n\n", "is empty"),
        ("a.csv", b"text,label\n", "has no rows"),
        ("a.jsonl", b"\n \n", "is empty"),
        ("a.json", b"[]", "has no rows"),
        ("a.json", b'{"rows": 1}', "no list of rows"),
        ("a.json", b'[{"text": 1},\n{"text" 2}]', "not JSON"),
        ("a.parquet", b"PAR1 not really PAR1", "not parquet"),
        ("a.xlsx", b"PK", "format '.xlsx'"),
        ("a.csv", b"text,text\n1,2\n", "Two columns have the name 'text'"),
        ("a.csv", b"caf\xe9,label\n\xc3\xa9,a\n", "header cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read(write, name: str, content: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what):
        table(write(name, content))


def test_a_missing_file_suggests_a_similar_name(write) -> None:
    write("train.csv", CSV)
    with pytest.raises(DataError, match=r"There is no file trian\.csv") as caught:
        table("trian.csv")
    assert caught.value.to_do == "did you mean 'train.csv'?"
    with pytest.raises(DataError, match="no directory nowhere"):
        table("nowhere/train.csv")
    Path("folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        table("folder.csv")


DEEP, LONG = "[" * 100_000 + "]" * 100_000, "9" * 5000


@pytest.mark.parametrize(("value", "why"), [(DEEP, "nested too deep"), (LONG, "a number has too many digits")])
def test_json_too_deep_or_with_too_long_a_number(write, value: str, why: str) -> None:
    lines = table(write("a.jsonl", f'{{"text": 1}}\n{{"text": {value}}}\n'))
    assert [record.fault for record in lines.records] == [None, f"not JSON: {why}"]
    assert lines.records[1].place.line == 2
    with pytest.raises(DataError, match=f"The file is not JSON: {why}") as caught:
        table(write("a.json", f'[{{"text": {value}}}]'))
    assert caught.value.where == "a.json"


def test_bad_records_carry_their_fault_and_place(write) -> None:
    ragged = table(write("a.csv", "text,label\none\ntwo,b\nthree,c,d\n"))
    assert [record.fault and record.fault.split(" where")[0] for record in ragged.records] == [
        "1 fields",
        None,
        "3 fields",
    ]
    lines = table(write("a.jsonl", '{"text": 1}\n{"text" 2}\n[3]\n'))
    assert [record.place.line for record in lines.records if record.fault] == [2, 3]
