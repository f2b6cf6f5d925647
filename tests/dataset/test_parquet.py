"""Every parquet type gives its usual text or JSON value, or an error that names the column."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from stepladder.dataset.dataset import Dataset
from stepladder.dataset.formats import Dialect, read_table
from stepladder.dataset.values import compact, text_of
from stepladder.errors import DataError

MOMENT = dt.datetime(2024, 2, 29, 13, 5, 7)


def written(folder: Path, column: pa.Array) -> Path:
    path = folder / "rows.parquet"
    parquet.write_table(pa.table({"value": column}), path)
    return path


@pytest.mark.parametrize(
    ("column", "text", "as_json"),
    [
        (pa.array(["spam"]).dictionary_encode(), "spam", '"spam"'),
        (pa.array([7]).dictionary_encode(), "7", "7"),
        (pa.array([True]), "true", "true"),
        (pa.array([2**64 - 1], pa.uint64()), "18446744073709551615", "18446744073709551615"),
        (pa.array([0.1], pa.float32()), "0.1", "0.1"),
        (pa.array([0.5], pa.float16()), "0.5", "0.5"),
        (pa.array([1.0]), "1.0", "1.0"),
        (pa.array([Decimal("1.50")], pa.decimal128(10, 2)), "1.50", "1.5"),
        (pa.array([Decimal("0.00000012")], pa.decimal128(10, 8)), "0.00000012", "1.2e-07"),
        (pa.array([dt.date(2024, 2, 29)]), "2024-02-29", '"2024-02-29"'),
        (pa.array([MOMENT], pa.timestamp("s")), "2024-02-29 13:05:07", '"2024-02-29 13:05:07"'),
        (pa.array([MOMENT], pa.timestamp("us", "UTC")), "2024-02-29 13:05:07+00:00", '"2024-02-29 13:05:07+00:00"'),
        (pa.array([1], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001", '"1970-01-01 00:00:00.000000001"'),
        (pa.array([dt.time(13, 5)]), "13:05:00", '"13:05:00"'),
        (pa.array([dt.timedelta(hours=30)]), "1 day, 6:00:00", '"1 day, 6:00:00"'),
        (pa.array(["é".encode()], pa.binary()), "é", '"é"'),
        (pa.array([b"ab"], pa.binary(2)), "ab", '"ab"'),
        (pa.array(["x"], pa.large_string()), "x", '"x"'),
        (pa.array(["x"], pa.string_view()), "x", '"x"'),
        (pa.array([None], pa.null()), "", "null"),
        (pa.array([None], pa.string()), "", "null"),
        (pa.array([["a", None]]), "a, ", '["a",null]'),
        (pa.array([[dt.date(2024, 1, 2)]]), "2024-01-02", '["2024-01-02"]'),
        (pa.array([["a", "b"]], pa.list_(pa.string(), 2)), "a, b", '["a","b"]'),
        (pa.array([["a"]], pa.large_list(pa.string())), "a", '["a"]'),
        (pa.array([{"when": dt.date(2024, 1, 2), "n": 1}]), None, '{"when":"2024-01-02","n":1}'),
        (pa.array([[("k", 1), ("l", None)]], pa.map_(pa.string(), pa.int64())), None, '{"k":1,"l":null}'),
        (pa.array([[(1, Decimal("2.5"))]], pa.map_(pa.int32(), pa.decimal128(4, 1))), None, '{"1":2.5}'),
        (pa.array([[{"m": [("k", "v")]}]], pa.list_(pa.struct({"m": pa.map_(pa.string(), pa.string())}))), None, None),
    ],
)
def test_a_value_of_every_type(tmp_path: Path, column: Any, text: str | None, as_json: str | None) -> None:
    value = read_table(written(tmp_path, column), "rows.parquet", Dialect()).records[0].values["value"]
    if text is not None:
        assert text_of(value) == text
    assert compact(value) == (as_json or '[{"m":{"k":"v"}}]')


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64())), "The column 'value'"),
        (pa.array([2**55], pa.timestamp("ms")), "The column 'value' (timestamp[ms])"),
        (pa.array([b"\xff\xd8\xff"], pa.binary()), "value: a value is bytes, not text: b'\\xff\\xd8\\xff'"),
    ],
)
def test_a_value_that_cannot_be_read_names_its_column(tmp_path: Path, column: Any, says: str) -> None:
    path = written(tmp_path, column)
    with pytest.raises(DataError) as caught:
        Dataset(train=str(path), input="value", target="value").read()
    assert says in str(caught.value)


def test_a_map_is_the_object_of_a_json_task(tmp_path: Path) -> None:
    maps = pa.array([[("size", f"{n}"), ("colour", "red")] for n in range(20)], pa.map_(pa.string(), pa.string()))
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"text": [f"row {n}" for n in range(20)], "fields": maps}), path)
    loaded = Dataset(train=str(path), input="text", target="fields", task={"kind": "json"}).read()
    assert json.loads(loaded.train[0].answers[0])["colour"] == "red"


def test_arrow_reads_from_its_own_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a thread of Arrow releases a Python object while the interpreter shuts down, the process aborts."""
    seen = []
    real = parquet.ParquetFile
    monkeypatch.setattr(parquet, "ParquetFile", lambda source: seen.append(source) or real(source))
    read_table(written(tmp_path, pa.array(["x"])), "rows.parquet", Dialect())
    assert isinstance(seen[0], pa.Buffer)
    assert seen[0].parent is None
