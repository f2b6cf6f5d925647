"""Structured mutations of valid bytes, texts and plain data."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

ATTACK = {"_target_": "os.system", "command": "touch marker-of-code-that-ran"}
DEEP: Any = "deep"
for _ in range(150):
    DEEP = [DEEP]
HOSTILE: Sequence[Any] = (
    None, True, False, 0, -1, 1, 3, 10**30, 1.5, -0.0, float("nan"), float("inf"), "", " ", "x", "1", "../../x",
    "/nowhere/at/all", "${seed}", "${nothing}", "\u0000", "\ud800", "é\u0301\u202e", "a\nb", "x" * 5000, [], [1],
    ["x"], {},
    {"a": 1}, {"": {}}, ATTACK, DEEP,
)  # fmt: skip
"""JSON values of every kind, including a lone surrogate, which UTF-8 cannot encode."""

Draw = Callable[[st.SearchStrategy[Any]], Any]


def weighted(times: Mapping[str, int]) -> st.SearchStrategy[str]:
    """One of the names, drawn with the given weights."""
    return st.sampled_from([name for name, many in times.items() for _ in range(many)])


def rare(draw: Draw, once_in: int) -> bool:
    """True once in `once_in` draws. It is false in Hypothesis's simple examples, which are drawn more often."""
    return bool(draw(st.integers(0, once_in - 1)) == once_in // 2)


@st.composite
def bent_bytes(draw: Draw, content: bytes) -> bytes:
    """The same bytes, truncated, flipped, extended or re-encoded."""
    if not content:
        return draw(st.binary(max_size=20))
    way = draw(
        st.sampled_from(["cut", "cut", "flip", "flip", "flips", "insert", "empty", "double", "zeros", "encoding"])
    )
    at = draw(st.integers(0, len(content) - 1))
    if way == "cut":
        return content[:at]
    if way == "flip":
        return content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]
    if way == "flips":
        whole = bytearray(content)
        for place in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=20)):
            whole[place] = draw(st.integers(0, 255))
        return bytes(whole)
    if way == "insert":
        odd = [
            b"\0",
            b"\xff",
            b"\xef\xbb\xbf",
            b'"',
            b"\r",
            b"\n\n",
            b",",
            b"\t",
            b"{",
            b"\xed\xa0\x80",
            b"\x1c",
            b"\xc2\x85",
        ]
        return content[:at] + draw(st.sampled_from(odd)) + content[at:]
    if way == "encoding":
        text = content.decode("utf-8", errors="replace")
        return text.encode(draw(st.sampled_from(["utf-16", "utf-32", "latin-1", "utf-8-sig"])), errors="replace")
    return {"empty": b"", "double": content + content, "zeros": bytes(len(content))}[way]


def places(value: Any, depth: int = 0) -> list[tuple[Any, ...]]:
    """The path to every value in plain data, itself included."""
    found: list[tuple[Any, ...]] = [()]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if depth < 8:
        for key, child in list(items)[:40]:
            found += [(key, *path) for path in places(child, depth + 1)]
    return found


@st.composite
def bent_data(draw: Draw, value: Any, hostile: Sequence[Any] = HOSTILE) -> Any:
    """The same plain data with one to three values replaced, left out, doubled or renamed."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        level = draw(st.sampled_from(sorted({len(path) for path in places(value)})))  # else deep values win always
        path = draw(st.sampled_from([p for p in places(value) if len(p) == level]))
        if not path:
            return draw(st.sampled_from(hostile))
        node = value
        for key in path[:-1]:
            node = node[key]
        way = draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename", "swap"]))
        if way == "remove":
            del node[path[-1]]
        elif way == "rename" and isinstance(node, dict):
            node[draw(st.sampled_from(["", "x", "é", "../x", str(path[-1]).upper()]))] = node.pop(path[-1])
        elif way == "swap" and isinstance(node, dict) and len(node) > 1:
            other = draw(st.sampled_from([k for k in node if k != path[-1]]))
            node[path[-1]], node[other] = node[other], node[path[-1]]
        else:
            node[path[-1]] = draw(st.sampled_from(hostile))
    return value


@st.composite
def bent_json(draw: Draw, content: bytes, lines: bool = False) -> bytes:
    """A JSON or JSON lines file with other values or changed bytes."""
    if rare(draw, 4):
        return draw(bent_bytes(content))
    if not lines:
        return json.dumps(draw(bent_data(json.loads(content))), indent=1).encode()
    rows = content.splitlines()
    if not rows:
        return draw(bent_bytes(content))
    at = draw(st.integers(0, len(rows) - 1))
    way = draw(st.sampled_from(["bend", "bend", "bend", "remove", "double", "cut"]))
    if way == "bend":
        rows[at] = json.dumps(draw(bent_data(json.loads(rows[at])))).encode()
    elif way == "remove":
        del rows[at]
    elif way == "double":
        rows.insert(at, rows[at])
    else:
        rows[at] = rows[at][: len(rows[at]) // 2]
    return b"".join(row + b"\n" for row in rows)


def bent_file(name: str, content: bytes) -> st.SearchStrategy[bytes]:
    """Modified content of a file, by the type that its name has."""
    if name.endswith(".json"):
        return bent_json(content)
    if name.endswith((".jsonl", ".journal")):
        return bent_json(content, lines=True)
    if name.endswith(".yaml"):
        return bent_yaml(content)
    return bent_safetensors(content) if name.endswith(".safetensors") else bent_bytes(content)


@st.composite
def bent_yaml(draw: Draw, content: bytes) -> bytes:
    import yaml

    if rare(draw, 4):
        return draw(bent_bytes(content))
    bent = draw(bent_data(yaml.safe_load(content)))
    return json.dumps(bent).encode()  # JSON is YAML


@st.composite
def bent_safetensors(draw: Draw, content: bytes) -> bytes:
    """The same tensors with another header, or changed bytes."""
    if len(content) < 8 or rare(draw, 3):
        return draw(bent_bytes(content))
    (length,) = struct.unpack("<Q", content[:8])
    if rare(draw, 5):
        lie = draw(st.sampled_from([0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1]))
        return struct.pack("<Q", lie) + content[8:]
    header = json.loads(content[8 : 8 + length])
    name = draw(st.sampled_from(sorted(header)))
    way = draw(st.sampled_from(["bend", "bend", "shape", "dtype", "rename", "remove"]))
    if way == "bend" or name == "__metadata__":
        header = draw(bent_data(header))
    elif way == "shape":
        header[name]["shape"] = draw(
            st.sampled_from([header[name]["shape"][::-1], [*header[name]["shape"], 1], [10**12, 10**12], [-1]])
        )
    elif way == "dtype":
        header[name]["dtype"] = draw(st.sampled_from(["F16", "I32", "U8", "F8_E4M3", "X"]))
    elif way == "rename":
        header[draw(st.sampled_from(["x", "../x", "weights.x", ""]))] = header.pop(name)
    else:
        del header[name]
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + content[8 + length :]
