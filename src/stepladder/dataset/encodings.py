"""Decodes text files: detects the encoding and records the lines that cannot be decoded."""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from stepladder.errors import DataError

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is a prefix of it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
OTHERS = (
    "cp1252", "iso8859-15", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp874", "mac_roman",
    "cp850", "cp932", "gb18030", "big5", "cp949",
)  # fmt: skip
"""Encodings suggested for a file that is neither UTF nor clearly Western European."""

LOOKED_AT = 200_000
"""Number of characters used to judge an encoding."""


@dataclass(frozen=True)
class Text:
    """A decoded file.

    Attributes:
        lines: The lines, including line ends.
        faults: Decoding errors by line number, from 1.
        encoding: The codec that was used.
        guessed: Whether the encoding was guessed: no byte order mark, and not valid UTF-8.
    """

    lines: list[str]
    faults: Mapping[int, str] = field(default_factory=dict)
    encoding: str = "utf-8"
    guessed: bool = False


def decode(data: bytes, name: str, encoding: str | None = None) -> Text:
    """Decode a file.

    Detection covers UTF-8, UTF-16 and UTF-32 with a byte order mark, UTF-8 and UTF-16 without one, and cp1252 (which
    includes the printable part of Latin-1).

    Args:
        data: The bytes of the file.
        name: The file as messages name it.
        encoding: A Python codec; None detects it.

    Raises:
        DataError: The encoding cannot be detected, or a UTF-16 or UTF-32 file is broken.
    """
    mark, marked = next(((m, codec) for m, codec in MARKS if data.startswith(m)), (b"", None))
    if encoding is not None:
        codec = codecs.lookup(encoding).name
        skipped = len(mark) if marked and _family(codec) == _family(marked) else 0
        if skipped and marked and codec in ("utf-16", "utf-32", "utf-8-sig"):
            codec = marked
        return _in(data, name, codec, skipped, False)
    if marked:
        return _in(data, name, marked, len(mark), False)
    wide = _detect_utf16(data)
    if wide:
        return _in(data, name, wide, 0, True)
    codec = _detect_single_byte(data, name)
    return _in(data, name, codec, 0, codec != "utf-8")


def _family(codec: str) -> str:
    return codec.replace("_", "-").removesuffix("-sig").removesuffix("-le").removesuffix("-be")


def _in(data: bytes, name: str, codec: str, skipped: int, guessed: bool) -> Text:
    """Decode with a codec: line by line, or as a whole for UTF-16 and UTF-32, whose line ends are not single bytes."""
    if not _is_wide(codec):
        lines, faults = _line_by_line(data, codec, skipped)
        return Text(lines, faults, codec, guessed)
    try:
        text = data[skipped:].decode(codec)
    except UnicodeError as error:
        at = f" at byte offset {skipped + error.start}" if isinstance(error, UnicodeDecodeError) else ""
        what = f"{name} is not {_display_name(codec)} text{at}: {getattr(error, 'reason', error)}"
        raise DataError(what, name, "set dataset.encoding=NAME, or save the file as UTF-8") from None
    return Text(list(io.StringIO(text, newline="")), {}, codec, guessed)


def _line_by_line(data: bytes, codec: str, skipped: int) -> tuple[list[str], dict[int, str]]:
    lines, faults, offset = [], {}, skipped
    for number, raw in enumerate(data[skipped:].splitlines(keepends=True), 1):
        try:
            lines.append(raw.decode(codec))
        except UnicodeDecodeError as error:
            lines.append(raw.decode(codec, errors="replace"))
            byte, at = raw[error.start], offset + error.start
            faults[number] = f"byte 0x{byte:02x} at byte offset {at} of the file is not {_display_name(codec)}"
        offset += len(raw)
    return lines, faults


def _is_wide(codec: str) -> bool:
    return _family(codec) in ("utf-16", "utf-32")


def _display_name(codec: str) -> str:
    return codec.upper() if codec.startswith("utf") else codec


def _detect_utf16(data: bytes) -> str | None:
    """Detect UTF-16 without a byte order mark.

    Such a file contains zero bytes, unlike other text, and only one byte order gives assigned characters (a line end in
    the wrong order is U+0A00, which is unassigned).
    """
    if b"\0" not in data or len(data) % 2:
        return None
    for codec in ("utf-16-le", "utf-16-be"):
        try:
            text = data.decode(codec)
        except UnicodeDecodeError:
            continue
        if re.search(r'[\n\r{\[",;\t]', text) and all(
            char in "\t\n\r" or unicodedata.category(char) not in ("Cc", "Cn", "Co") for char in text[:LOOKED_AT]
        ):
            return codec
    return None


def _detect_single_byte(data: bytes, name: str) -> str:
    """Detect UTF-8 or a single-byte encoding. Broken lines of a mostly valid UTF-8 file become bad rows."""
    try:
        data.decode()
        return "utf-8"
    except UnicodeDecodeError as error:
        first = error.start
    text = data.decode(errors="replace")
    broken = text.count("\ufffd")
    if sum(not char.isascii() for char in text) - broken >= broken:
        return "utf-8"
    if _is_western(data):
        return "cp1252"
    found = _readable(data)
    if not found:
        return "utf-8"
    begin = data.rfind(b"\n", 0, first) + 1
    line = data[begin:].split(b"\n", 1)[0].rstrip(b"\r")
    samples = "; ".join(f"{codec}: {line.decode(codec, errors='replace')[:40]}" for codec in found)
    raise DataError(
        f"The encoding of {name} is not UTF-8 and cannot be detected",
        f"{name}, line {data.count(10, 0, begin) + 1}",
        f"set the right one with dataset.encoding=NAME, or save the file as UTF-8. The line in {samples}",
    )


def _readable(data: bytes) -> list[str]:
    """Plausible codecs, those with a single script first, at most three per script."""
    ranked: list[tuple[int, float, int, str, str]] = []
    for codec in OTHERS:
        try:
            text = data.decode(codec)[:LOOKED_AT]
        except UnicodeDecodeError:
            continue
        beyond = [char for char in text if not char.isascii()]
        letters = [char for char in beyond if unicodedata.category(char)[0] in "LM"]
        usual = len(letters) + sum(unicodedata.category(char)[0] in "PZ" or char in "€°²³" for char in beyond)
        if not letters or usual < 0.8 * len(beyond) or re.search(r"[\x80-\x9f]", text):
            continue
        scripts = Counter(unicodedata.name(char, "?").split()[0] for char in letters)
        script, count = scripts.most_common(1)[0]
        unusual = len(_FOREIGN.findall(text)) if script == "LATIN" else len(re.findall(r"[а-яα-ω][А-ЯΑ-Ω]", text))
        ranked.append((unusual, -count / len(letters), len(ranked), codec, script))
    ranked.sort()
    return [c for i, (*_, c, s) in enumerate(ranked) if [row[-1] for row in ranked[:i]].count(s) < 3][:8]


_FOREIGN = re.compile(
    r"[^\W\d_a-zA-Z]{3,}"  # three accented letters in a row are rare in Western languages
    r"|(?<=[^\W\d_])[¡¢¦¨©ª«¬®¯±²³¶¸¹º»¼½¾¿‚„†‡ˆ‰‹›€£¥§](?=[^\W\d_])"  # so is a symbol between letters
    r"|(?<=[a-zß-ÿ])[À-ÖØ-ÞŠŽŒŸ]"  # so is a capital after a small letter
    r"|¤"  # the euro sign of ISO 8859-15
)
_NEVER_TOGETHER = (("ðþ", "çü"), ("ø", "ìùò"))  # Turkish and Czech read as cp1252


def _is_western(data: bytes) -> bool:
    """Whether the bytes are a Western European language in cp1252."""
    try:
        text = data.decode("cp1252")[:LOOKED_AT]
    except UnicodeDecodeError:
        return False
    beyond = sum(not char.isascii() for char in text)
    unusual = sum(len(found[0]) for found in _FOREIGN.finditer(text))
    small = set(text.lower())
    contradictory = any(small & set(one) and small & set(other) for one, other in _NEVER_TOGETHER)
    return unusual <= 0.1 * beyond and not contradictory
