"""Detection of delimiter, encoding, compression, and of JSON documents and JSON lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from stepladder.dataset.dataset import Dataset
from stepladder.errors import ConfigError, DataError

ROWS = [(f"win cash prize {n}" if n % 2 else f"meet at home {n}", "spam" if n % 2 else "ham") for n in range(40)]
LINES = [f"{text},{label}" for text, label in ROWS]
PLAIN = "\n".join(["text,label", *LINES]) + "\n"
OBJECTS = [{"text": text, "label": label} for text, label in ROWS]
JSONL = "".join(json.dumps(row) + "\n" for row in OBJECTS)
COLUMNS = {"input": "text", "target": "label"}


@pytest.mark.parametrize(
    ("name", "content", "fact"),
    [
        ("semicolon.csv", PLAIN.replace(",", ";").encode(), "delimiter ';'"),
        ("tab.csv", PLAIN.replace(",", "\t").encode(), "delimiter tab"),
        ("pipe.csv", PLAIN.replace(",", "|").encode(), "delimiter '|'"),
        ("commas.csv", PLAIN.replace(",", ";").replace("prize", "prize, now").encode(), "delimiter ';'"),
        ("excel.csv", ("sep=;\n" + PLAIN.replace(",", ";")).encode(), "delimiter ';'"),
        ("comma.tsv", PLAIN.encode(), "delimiter ','"),
        ("le.csv", PLAIN.encode("utf-16-le"), "encoding utf-16-le"),
        ("be.csv", PLAIN.encode("utf-16-be"), "encoding utf-16-be"),
        ("bom16.csv", PLAIN.encode("utf-16"), "encoding utf-16"),
        ("bom32.csv", PLAIN.encode("utf-32"), "encoding utf-32"),
        ("bom8.csv", PLAIN.encode("utf-8-sig"), "encoding utf-8"),
        ("latin.csv", PLAIN.replace("home", "café").encode("latin-1"), "encoding cp1252"),
        ("lines.jsonl", JSONL.encode("utf-16"), "encoding utf-16-le"),
        ("trailing.csv", PLAIN.replace("\n", ",,\n").encode() + b",,,\n", "2 unnamed empty columns dropped"),
        ("ragged.csv", PLAIN.replace("\n", ",,\n").replace(",,\n", "\n", 1).encode(), "empty fields after the last"),
        ("array.jsonl", json.dumps(OBJECTS, indent=1).encode(), "one JSON document"),
        ("short.jsonl", json.dumps(OBJECTS).encode(), "one JSON document"),
        ("wrapped.jsonl", json.dumps({"data": OBJECTS}, indent=1).encode(), "one JSON document"),
        ("lines.json", JSONL.encode(), "one JSON value per line"),
        ("rows.csv.gz", gzip.compress(PLAIN.encode()), "rows.csv.gz: csv, 40 rows"),
        ("rows.JSONL.GZ", gzip.compress(JSONL.encode()), "jsonl, 40 rows"),
        ("semi.tsv.gz", gzip.compress(PLAIN.replace(",", ";").encode("utf-16")), "tsv, 40 rows, delimiter ';'"),
    ],
)
def test_a_file_is_read_as_it_is(write, name: str, content: bytes, fact: str) -> None:
    accounts = Dataset(train=write(name, content), **COLUMNS).read().accounts
    assert (accounts.kept, accounts.rejected) == (40, 0)
    assert any(fact in line for line in (*map(str, accounts.files), *accounts.notes))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"train": "x*.csv"}, "No file matches x*.csv"),
        ({"train": ["rows.csv", "rows.csv"]}, "rows.csv is named twice"),
        ({"train": ["rows.csv", "r*.csv"]}, "rows.csv is named twice"),
        ({"train": []}, "no file is named"),
        ({"train": ["rows.csv", "other.csv"]}, "no column 'label' in other.csv"),
        ({"train": "."}, "is a directory"),
        ({"header": ["text", "label"]}, "The first line is the header you name"),
        ({"header": ["Label", "Text"]}, "The first line is the header you name"),
        ({"train": "bare.csv"}, "if the file has no header line, name its 2 columns in their order"),
        ({"delimiter": ";"}, "set it with dataset.delimiter"),
        ({"delimiter": "ab"}, "'ab' cannot separate fields"),
        ({"delimiter": ";", "quote": ";"}, "';' cannot separate fields"),
        ({"encoding": "utf-9"}, "not a text encoding"),
        ({"encoding": "base64"}, "not a text encoding"),
        ({"encoding": "utf-16"}, "is not UTF-16 text"),
        ({"train": "cyrillic.csv"}, "cp1251: приз"),
        ({"train": "greek.csv"}, "cp1253: δώρο"),
        ({"train": "polish.csv"}, "cp1250: żółty"),
        ({"train": "japanese.csv"}, "cp932: 緊急のお知らせ"),
        ({"train": "cut.csv.gz"}, "cannot be decompressed"),
        ({"train": "not.csv.gz"}, "is not compressed by gzip"),
        ({"train": "rows.xlsx.gz"}, "The format '.xlsx.gz'"),
        ({"unanswerable": "none"}, "only the layout squad"),
        ({"layout": "alpaca", "messages": "c", "input": None, "target": None}, "no column of turns"),
    ],
)
def test_errors_say_what_to_type(write, keys: dict, says: str) -> None:  # type: ignore[type-arg]
    write("rows.csv", PLAIN)
    write("other.csv", PLAIN.replace("label", "class"))
    write("bare.csv", "\n".join(LINES))
    write("cyrillic.csv", "text,label\nприз,спам\nвстреча,норма\n".encode("cp1251"))
    write("greek.csv", "text,label\nδώρο,σπαμ\nσπίτι,καλό\n".encode("cp1253"))
    write("polish.csv", "text,label\nżółty,a\ngęś,b\n".encode("cp1250"))
    write("japanese.csv", "text,label\n緊急のお知らせ,迷惑\n明日の会議,普通\n".encode("cp932"))
    write("cut.csv.gz", gzip.compress(PLAIN.encode())[:-20])
    write("not.csv.gz", PLAIN)
    with pytest.raises((ConfigError, DataError)) as caught:
        Dataset(**{"train": "rows.csv", **COLUMNS, **keys}).read()
    assert says in str(caught.value)


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "utf-8", "utf-16", "utf-16-be", "mac_cyrillic"])
def test_a_given_encoding_is_used(write, encoding: str) -> None:
    rows = [f"{'приз' if n % 2 else 'встреча'} {n},{'спам' if n % 2 else 'норма'}" for n in range(40)]
    path = write("rows.csv", "\r\n".join(["text,label", *rows]).encode(encoding))
    loaded = Dataset(train=path, encoding=encoding, **COLUMNS).read()
    assert loaded.task.answer.labels == ("норма", "спам")
    assert not loaded.accounts.notes


@pytest.mark.parametrize(
    "text",
    [
        "crème brûlée",
        "Grüße – “schön”",
        "¿Qué? ¡Sí!",
        "smørrebrød på øen",
        "pão de açúcar",
        "Þetta er íslenska",
        "20 °C, 5 µm, 3 €",
    ],
)
def test_western_european_text_is_cp1252(write, text: str) -> None:
    path = write("rows.csv", ("text,label\n" + "".join(f'"{text}, {n}",{n % 2}\n' for n in range(20))).encode("cp1252"))
    loaded = Dataset(train=path, **COLUMNS).read()
    assert loaded.train[0].question.text.startswith(text)
    assert "cp1252" in loaded.accounts.notes[0]


def test_a_broken_line_of_a_utf8_file_stays_a_bad_row(write) -> None:
    lines = [f"é {text}".encode() for text in LINES]
    path = write("rows.csv", b"\n".join([b"text,label", *lines, b"caf\xe9,ham"]))
    accounts = Dataset(train=path, on_bad_row="skip", **COLUMNS).read().accounts
    assert [str(row.place) for row in accounts.rejections] == ["rows.csv, line 42"]


def test_lines_are_counted_through_quotes_compression_and_encodings(write) -> None:
    content = 'text;label\r\n"one\r\ntwo";a\r\n\r\nthree;a;b\r\nfour;b\r\n'
    for encoding in ("utf-8", "utf-16-le", "utf-8-sig"):
        path = write("rows.csv.gz", gzip.compress(content.encode(encoding)))
        with pytest.raises(DataError, match="3 fields where 2 columns") as caught:
            Dataset(train=path, **COLUMNS).read()
        assert caught.value.where == "rows.csv.gz, line 5"


def test_an_unnamed_column_with_values_stays(write) -> None:
    loaded = Dataset(train=write("a.csv", "," + PLAIN.replace("\n", "\n7,")[:-2]), **COLUMNS, tags=["column 1"]).read()
    assert loaded.train[0].question.tags == {"column 1": "7"}


def test_origins_name_every_file(write, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(f"{name}.csv", PLAIN.replace("home", name).replace("prize", name))
    loaded = Dataset(train="*.csv", **COLUMNS, on_overlap="keep").read()
    assert loaded.origins["train"].startswith("a.csv=sha256:")
    assert " b.csv=sha256:" in loaded.origins["train"]
    assert [facts.name for facts in loaded.accounts.files] == ["a.csv", "b.csv"]
