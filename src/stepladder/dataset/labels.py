"""Normalises labels, finds labels that look alike, and matches a generated answer to a label."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

_HOMOGLYPHS = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухһԁԛԝ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧονρυ",
    "ABESIJKMHOPCTYXaesijopcyxhdqw" + "ABEZHIKMNOPTYXovpu",
)
"""Cyrillic and Greek letters that look like a Latin one."""
_DASHES_AND_QUOTES = str.maketrans("‐‑‒–—―−‘’‚‛`´“”„‟«»", "-------''''''\"\"\"\"\"\"")
_PUNCTUATION = ".,;:!?…。、，；：！？।؟،\"'()[]{}<>*"
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,4})?")
_SEPARATORS = re.compile(r"[\s_/-]+")


def normalised(label: str) -> str:
    """The label in Unicode NFC, stripped: the form in which labels are compared and stored."""
    return unicodedata.normalize("NFC", label.strip())


def folded(label: str) -> str:
    """The normalised label without its case."""
    return unicodedata.normalize("NFC", normalised(label).casefold())


def is_blank(label: str) -> bool:
    """Whether the label consists of white space and invisible format characters only."""
    return not _without_invisible(label).strip()


@dataclass(frozen=True)
class LookAlikes:
    """Labels that look alike: the number of rows per label, and how they differ."""

    counts: Mapping[str, int]
    difference: str

    def __str__(self) -> str:
        shown = ", ".join(f"{visible(label)} ({count})" for label, count in self.counts.items())
        return f"{shown} {self.difference}"


def look_alikes(counts: Mapping[str, int]) -> list[LookAlikes]:
    """Groups of labels that look alike.

    Two labels belong to one group if they are equal after ignoring case, Unicode compatibility forms (full-width
    letters and digits), invisible characters, spaces, hyphens and underscores, and surrounding punctuation; if their
    letters look the same in Latin, Cyrillic or Greek; or if both are the same number.

    Args:
        counts: The number of rows per label.
    """
    groups: list[set[str]] = []
    by_key: defaultdict[object, set[str]] = defaultdict(set)
    for label in counts:
        for key in _keys(label):
            by_key[key].add(label)
    for members in (each for each in by_key.values() if len(each) > 1):
        touched = [group for group in groups if group & members]
        merged = set(members).union(*touched)
        groups = [group for group in groups if not group & members] + [merged]
    order = {label: place for place, label in enumerate(counts)}
    alike = sorted(sorted(group, key=order.__getitem__) for group in groups)
    return [LookAlikes({label: counts[label] for label in labels}, _difference(labels)) for labels in alike]


def named_by(text: str, labels: Iterable[str]) -> tuple[str | None, str | None]:
    """Match a generated answer to a label.

    An exact match (after stripping and NFC) is tried first, then one that ignores case. Several labels that differ only
    in case are a failure.

    Returns:
        The label and None, or None and the reason.
    """
    own = {normalised(label): label for label in labels}
    if (exact := own.get(normalised(text))) is not None:
        return exact, None
    matching = [label for name, label in own.items() if folded(name) == folded(text)]
    if len(matching) == 1:
        return matching[0], None
    if matching:
        return None, f"the answer matches several labels that differ only in case: {', '.join(matching)}"
    return None, "the answer is none of the labels"


def nearest(label: str, labels: Sequence[str]) -> str | None:
    """The first of `labels` that looks like `label`, or None."""
    keys = set(_keys(label))
    return next((each for each in labels if each != label and keys & set(_keys(each))), None)


def visible(label: str) -> str:
    """The label in quotes, with invisible characters (no-break spaces, zero-width characters) as escapes."""
    shown = "".join(c if c == " " or not (c.isspace() or _is_invisible(c)) else f"\\u{ord(c):04x}" for c in label)
    return f"'{shown}'"


def _keys(label: str) -> tuple[object, ...]:
    plain = _reduced(label)
    latin = _reduced(label.translate(_HOMOGLYPHS))
    return (plain,) if plain == latin else (plain, latin)


def _reduced(label: str) -> object:
    text = _without_invisible(_compatible(label)).translate(_DASHES_AND_QUOTES).strip()
    number = _number(text) if (number := _number(text.strip(_PUNCTUATION))) is None else number
    if number is not None:
        return number
    return _SEPARATORS.sub(" ", _caseless(text).strip(_PUNCTUATION + " ")) or text


def _number(text: str) -> Decimal | None:
    """The exact value of a number. Digits of any script are accepted; `1,000` is a thousand."""
    text = "".join(str(unicodedata.decimal(c, c)) for c in text).casefold()
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    elif re.fullmatch(r"[+-]?\d+,\d+", text):
        text = text.replace(",", ".")
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond what Decimal holds
        return None


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _caseless(text: str) -> str:
    """Case-folded text; Turkish dotless and dotted i are treated as one letter."""
    return unicodedata.normalize("NFC", text.casefold()).replace("i̇", "i").replace("ı", "i")


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cf", "Cc") or "\ufe00" <= character <= "\ufe0f"


def _without_invisible(text: str) -> str:
    return "".join(c for c in text if not _is_invisible(c) or c.isspace())


def _spaced(text: str) -> str:
    return " ".join(text.split())


_DIFFERENCES: Sequence[tuple[str, Callable[[str], object]]] = (
    ("differ only in case", _caseless),
    ("differ only in white space", lambda label: _spaced(label)),
    ("differ only in invisible characters", lambda label: _without_invisible(label)),
    ("are the same number", lambda label: _reduced(label) if isinstance(_reduced(label), Decimal) else (label,)),
    ("differ only in full-width or other compatibility characters", _compatible),
    ("differ only in punctuation", lambda label: label.translate(_DASHES_AND_QUOTES).strip(_PUNCTUATION + " ")),
    ("differ only in spaces, hyphens and underscores", lambda label: _SEPARATORS.sub(" ", label)),
    ("have letters of different scripts that look the same", lambda label: label.translate(_HOMOGLYPHS)),
)
"""Possible differences in a group. The first one that makes all labels equal is reported."""


def _difference(labels: Sequence[str]) -> str:
    for name, alone in _DIFFERENCES:
        if len({alone(label) for label in labels}) == 1:
            return name
    return "differ only in how they are written"
