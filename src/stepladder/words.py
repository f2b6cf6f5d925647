"""Splits text of any script into words, for retrieval and for metrics of text.

The only module that imports `regex`, which supports Unicode scripts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import pairwise

import regex

_NO_SPACES = "".join(
    rf"\p{{Script={name}}}"
    for name in (
        "Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Thai", "Lao", "Khmer", "Myanmar", "Tai_Le", "New_Tai_Lue",
        "Tai_Tham", "Tai_Viet", "Javanese", "Balinese",
    )
)  # fmt: skip
_PROLONGED = "ーｰ"  # belongs to Hiragana and Katakana alike, so Unicode gives it the script Common
_JOINED = r"[\p{M}\u200c\u200d]*"  # combining marks and joiners belong to the letter before them
_CHARACTER = rf"[[{_NO_SPACES}{_PROLONGED}]&&[\p{{L}}\p{{N}}]]{_JOINED}"
_LETTER = rf"[[\p{{L}}\p{{N}}_]--[{_NO_SPACES}{_PROLONGED}]]{_JOINED}"
_PIECES = regex.compile(rf"(?V1)(?P<run>(?:{_CHARACTER})+)|(?P<word>(?:{_LETTER})+)")
_CHARACTERS = regex.compile(rf"(?V1){_CHARACTER}")
_HANGUL = regex.compile(r"(?V1)[\p{Script=Hangul}&&\p{L}]\p{M}*")
_ASCII_WORDS = regex.compile(r"[A-Za-z0-9_]+")
_INVISIBLE = regex.compile(r"(?V1)[\p{Cf}--[\u200c\u200d]]+")  # soft hyphens, direction marks, zero-width spaces
_PUNCTUATION = regex.compile(r"[\p{P}$+<=>^`|~]+")


def lowered(text: str, language: str | None = None) -> str:
    """The text in Unicode NFC and lower case, without invisible format characters.

    Args:
        text: Any text.
        language: With `tr`, I and İ are the capitals of ı and i.
    """
    if language == "tr":
        text = unicodedata.normalize("NFC", text).replace("I", "ı").replace("İ", "i")
    if text.isascii():
        return text.lower()
    small = unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).lower()
    return unicodedata.normalize("NFC", small.replace("i̇", "i"))  # Python's lower case of İ is i and a dot above


def without_punctuation(text: str) -> str:
    """The text without punctuation of any script and without the characters of Python's `string.punctuation`."""
    return str(_PUNCTUATION.sub("", text))


def words(text: str) -> list[str]:
    """The words of a text that `lowered` has normalised, in order.

    A word is a run of letters, digits and underscores with their combining marks. In scripts without spaces between
    words (Chinese, Japanese, Thai, Lao, Khmer, Burmese and others) every character is a word.
    """
    if text.isascii():
        return list(_ASCII_WORDS.findall(text))
    return [word for piece, spaced in _pieces(text) for word in ([piece] if spaced else _CHARACTERS.findall(piece))]


def search_terms(text: str, query: bool = False) -> Iterator[tuple[str, bool]]:
    """The search terms of a text.

    In scripts without spaces between words, and in Korean, where particles are attached to words, the terms of a run of
    characters are its overlapping bigrams. Single characters are also terms of indexed texts, and of a query only if
    the run has one character.

    Source: bigrams are what Lucene's CJKAnalyzer makes, after Nie and Ren 1999, Chinese information retrieval: using
    characters or words?

    Args:
        text: A text that `lowered` has normalised.
        query: Whether the text is a query.

    Yields:
        Each term, and whether it is a word that can be stemmed.
    """
    if text.isascii():
        yield from ((word, True) for word in _ASCII_WORDS.findall(text))
        return
    for piece, spaced in _pieces(text):
        characters = (_HANGUL if spaced else _CHARACTERS).findall(piece)
        if spaced and (not characters or "".join(characters) != piece):
            yield piece, True
            continue
        yield from ((first + second, False) for first, second in pairwise(characters))
        if not query or len(characters) == 1:
            yield from ((character, False) for character in characters)


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Words, each with True, and runs of characters in scripts without spaces, each with False."""
    for found in _PIECES.finditer(text):
        yield found[0], found["word"] is not None
