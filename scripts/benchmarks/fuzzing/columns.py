"""Parquet files with plain rows, and with column types that other formats do not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from fuzzing.bent import Draw, rare

_LABELS = ("buy", "sell", "rent")


def parquet_of(rows: Sequence[Mapping[str, Any]]) -> bytes | None:
    """The rows as a parquet file; None if arrow cannot write them."""
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    try:
        parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    except (pyarrow.ArrowException, TypeError, OverflowError, UnicodeEncodeError, ValueError):
        return None
    return bytes(sink.getvalue())


def odd_parquet(draw: Draw) -> bytes:
    """A parquet file with column types that other formats do not have."""
    import pyarrow as pa
    from pyarrow import parquet

    texts = [f"please {_LABELS[n % 3]} {n}" for n in range(12)]
    columns = {
        "binary": pa.array([b"\xff"] * 12), "far": pa.array([2**50] * 12, pa.timestamp("s")),
        "day": pa.array([1] * 12, pa.date32()),
        "far day": pa.array([2**30] * 12, pa.date32()), "nanoseconds": pa.array([1] * 12, pa.timestamp("ns", tz="UTC")),
        "decimal": pa.array([1] * 12, pa.decimal128(10, 2)), "duration": pa.array([2**50] * 12, pa.duration("s")),
        "zone": pa.array([1] * 12, pa.timestamp("us", tz="Nowhere/Else")),
        "map": pa.array([[("a", 1), ("a", 2)]] * 12, pa.map_(pa.string(), pa.int64())),
        "dictionary": pa.array(list(_LABELS) * 4).dictionary_encode(),
        "struct": pa.array([{"a": {"b": [1, None]}}] * 12), "null": pa.nulls(12),
        "half": pa.array([1.5] * 12, pa.float16()), "huge": pa.array([2**63] * 12, pa.uint64()),
        "time": pa.array([1] * 12, pa.time64("ns")), "large": pa.array(["x" * 10] * 12, pa.large_string()),
        "bool": pa.array([True, False] * 6),
    }  # fmt: skip
    chosen = draw(st.lists(st.sampled_from(sorted(columns)), min_size=1, max_size=4, unique=True))
    table = pa.table(
        {
            "text": pa.array(texts),
            "label": pa.array(list(_LABELS) * 4),
            "tag": columns[chosen[0]],
            "number": pa.array(range(12)),
        }
        | {c: columns[c] for c in chosen}
    )
    if rare(draw, 6):
        table = table.append_column("text", pa.array(texts))
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    return bytes(sink.getvalue())
