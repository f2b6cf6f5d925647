"""Takes secrets out of what is shown or kept: configurations, command lines, diffs, tables, tracebacks.

Knows what secrets look like: names that say so, shapes that issuers give them, and values that were met under such a
name, in the environment or on the command line, in whatever form they come back. Knows nothing of who shows the result.
It cannot know a secret with an innocent name and shape.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
SHORTEST = 6  # a value shorter than this would mask ordinary words
DATA = frozenset({"labels", "definitions", "schema"})
"""What stands under these names is data: a label may be called `password_reset`, and that name says nothing."""

_SECRET = re.compile(r"secret|passw(or)?d|passphrase|(api|access|private)[_-]?key|credential|authorization")
_TOKEN = re.compile(r"(?<![a-z])tokens?(?![a-z])")  # hf_token, not tokenizer
_OF_ENVIRONMENT = re.compile(r".*(?:_|\b)(?:KEY|PAT|DSN|PASS)", re.IGNORECASE)  # there, these too are names of secrets
_NOTHING = ("", "none", "null", "true", "false", "auto", "???")
_HARMLESS = re.compile(r"[-+.\d]+(e[-+]?\d+)?|true|false|null|none|auto|", re.IGNORECASE)

_ISSUED = r"(?:hf_|sk-|[sr]k_live_|gh[opsur]_|github_pat_|glpat-|xox[abeprs]-|wandb_v\d_|pypi-|npm_|gsk_|xai-)"
_SHAPES = re.compile(
    rf"(?<![A-Za-z0-9]){_ISSUED}(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{{16,}}"
    # shorter, or in parts: then hf_rows_2024.csv is a file
    rf"|(?<![A-Za-z0-9/\\]){_ISSUED}(?:(?=[\w-]*\d)[\w-]{{8,}}|[A-Za-z0-9]{{16,}})(?![\w-]*[./\\][\w*])"
    r"|\bA[KS]IA[0-9A-Z]{16}\b"
    r"|\bAIza[\w-]{30,}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]*)?"
    r"|\b[Bb]earer\s+(?=\S*\d)[\w.~+/-]{8,}=*"
    r"|\b[Bb]asic\s+(?=[\w+/]*[A-Z])(?=[\w+/]*[\d=])[\w+/]{8,}=*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_SCHEME = r"\b[a-z][a-z0-9+.-]*://"
_USER_IN_URL = re.compile(
    rf"({_SCHEME})(?:[^\s/?#\"']+|[^\s/?#\"':@]*:(?!\d+/)[^\s\"'@]+)@", re.IGNORECASE
)  # a password may hold a slash that should have been encoded
_PASSWORD_IN_URL = re.compile(rf"{_SCHEME}[^\s/?#\"':@]*:(?!\d+/)([^\s\"']+)@", re.IGNORECASE)
_ASSIGNED = re.compile(r"([\w.+-]+)([\"']?\s?[=:]\s?)(\"[^\"\n]+\"|'[^'\n]+'|[^\s\"'&;,)}\]]+)")
_LITERAL = re.compile(r"[\"'].+|(?=.*\d)[\w+/=-]{6,}")

_met: set[str] = set()


def mask(value: Any) -> Any:
    """A copy of plain data (mappings, sequences, scalars) without the secrets in it."""
    return _Mask.of_now().value(value)


def mask_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line without its secrets: `name=value`, `--name=value` and `--name value` alike."""
    hide, masked, name = _Mask.of_now(), [], ""
    for argument in arguments:
        secret = bool(name) and not argument.startswith("-") and _is_secret(name, argument)
        masked.append(MASK if secret else hide.text(argument))
        name = argument.lstrip("-") if argument.startswith("-") and "=" not in argument else ""
    return masked


def mask_code(text: str) -> str:
    """Source or a diff without its secrets: only what is literally written down goes, code like `token=token` stays."""
    return _Mask.of_now().text(text, only_literals=True)


def meet(arguments: Sequence[str]) -> None:
    """Remember the secrets of a command line, so that they are known wherever they come back in this process."""
    name = ""
    for argument in arguments:
        _met.update(_PASSWORD_IN_URL.findall(argument))
        for assigned in _ASSIGNED.finditer(argument):
            if _names_one(assigned[1], bare := assigned[3].strip("\"'")):
                _met.add(bare)
        if name and not argument.startswith("-") and _is_secret(name, argument):
            _met.add(argument)
        name = argument.lstrip("-") if argument.startswith("-") and "=" not in argument else ""


def mask_tracebacks() -> None:
    """From now on what a bug prints of itself, in any thread, is without secrets; a log that cannot be written says
    nothing of what it was to hold."""

    def told(kind: Any, error: Any, trace: Any) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            print(mask("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)

    sys.excepthook = told
    logging.raiseExceptions = False
    threading.excepthook = lambda of: told(of.exc_type, of.exc_value, of.exc_traceback)


def secrets_in(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The secrets in a configuration: dotted key, and what gives each away.

    More careful than `mask`, since what has one is refused: a text that may be any word does not count, nor does a name
    where names are data.
    """
    known = {secret: where for secret, where in _known_now().items() if not _is_word(secret)}
    yield from dict.fromkeys(_secrets(config, "", known, named=True, inside=False))


def _secrets(value: Any, key: str, known: Mapping[str, str], named: bool, inside: bool) -> Iterator[tuple[str, str]]:
    name = key.rpartition(".")[2]
    if isinstance(value, Mapping):
        inside = named and "_target_" not in value and (inside or bool(_SECRET.search(_words(name))))
        for own, item in value.items():
            if _given_away(str(own), known):
                yield f"{key}.{mask(str(own))}".lstrip("."), "the key itself is one"
            else:
                yield from _secrets(item, f"{key}.{own}".lstrip("."), known, named and own not in DATA, inside)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _secrets(item, key, known, named, inside)
    elif isinstance(value, str) and (why := _given_away(value, known)):
        yield key, why
    elif named and (inside or _names_one(name, value)) and str(value).lower() not in _NOTHING:
        yield key, "its name says so"


def _names_one(name: str, value: Any) -> bool:
    """Whether a plain value is surely a secret because of its name."""
    if _SECRET.search(_words(name)):
        return True
    alike = isinstance(value, str) and " " not in value and not _HARMLESS.fullmatch(value)
    return alike and bool(_TOKEN.search(_words(name))) and (bool(_LITERAL.fullmatch(value)) or len(value) > 15)


def _given_away(text: str, known: Mapping[str, str]) -> str | None:
    """Why a text holds a secret, whatever its name is."""
    if _SHAPES.search(text):
        return "it has the shape of one"
    if _PASSWORD_IN_URL.search(text):
        return "an address with a password in it"
    return next((f"{where} has it as a secret" for secret, where in known.items() if secret in text), None)


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _is_secret(name: str, value: Any) -> bool:
    """`token` alone is also a word for a piece of text: then only what could be a key counts, never a number."""
    words = _words(name)
    if _SECRET.search(words):
        return not (isinstance(value, str) and value.lower() in ("", "null", "none"))
    return bool(_TOKEN.search(words)) and isinstance(value, str) and not _HARMLESS.fullmatch(value)


def _known_now() -> dict[str, str]:
    """The values of secrets that were met, by name or in an address, and where."""
    found = dict.fromkeys(_met, "the command line")
    for name, value in os.environ.items():
        if _is_secret(name, value) or _OF_ENVIRONMENT.fullmatch(name):
            found[value.strip()] = name
        found |= dict.fromkeys(_PASSWORD_IN_URL.findall(value), name)
    return {v: where for v, where in found.items() if len(v) >= SHORTEST and not _is_path(v)}


def _is_path(value: str) -> bool:
    return value.startswith(("~/", "./")) or (value.startswith("/") and Path(value).exists())


def _is_word(secret: str) -> bool:
    """Whether a secret is a word such as `postgres`, which also stands where no secret is meant."""
    return secret.isalpha() and len(secret) < 12 and secret[1:].islower()


@lru_cache(maxsize=8)
def _finding(known: frozenset[str]) -> re.Pattern[str] | None:
    """Finds every known secret, in whatever form it comes."""
    forms = {form for secret in known if not _is_word(secret) for form in _forms(secret)}
    found = [re.escape(form) for form in sorted(forms, key=len, reverse=True)]
    found += [rf"(?<!\w){secret}(?!\w)" for secret in sorted(known) if _is_word(secret)]
    return re.compile("|".join(found)) if found else None


def _forms(secret: str) -> Iterator[str]:
    """A secret as it is written down: as it is, in addresses, JSON, pages, source, and in base64, alone or not."""
    escaped = json.dumps(secret)[1:-1]
    in_page = "".join(f"\\u{ord(c):04x}" if c in "<>&'" else c for c in escaped)
    for form in (
        secret, unquote(secret), quote(secret, safe=""), quote_plus(secret), escaped, in_page, html.escape(secret),
        json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1],
    ):  # fmt: skip
        if len(form) >= SHORTEST:
            yield form
    yield from (line for line in secret.splitlines() if len(line) >= 16)
    for before in range(3):  # base64 of what follows other bytes: the digits that depend on these alone
        digits = base64.b64encode(bytes(before) + secret.encode()).decode()
        inside = digits[-(-before * 8 // 6) : (before + len(secret.encode())) * 8 // 6]
        if len(inside) >= 8:
            yield inside


@dataclass(frozen=True)
class _Mask:
    known: re.Pattern[str] | None

    @classmethod
    def of_now(cls) -> _Mask:
        return cls(_finding(frozenset(_known_now())))

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.value(key): self._entry(str(key), item) for key, item in value.items()}
        if isinstance(value, (Sequence, Set)) and not isinstance(value, bytes):
            return [self.value(item) for item in value]
        return value

    def _entry(self, name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            if name in DATA:
                return self._data(value)
            return self._hide(value) if _is_secret(name, None) else self.value(value)
        if isinstance(value, (list, tuple)):
            return [self._entry(name, item) for item in value]
        if value is None or isinstance(value, bool):
            return value
        return MASK if _is_secret(name, value) else self.value(value)

    def _hide(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._hide(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._hide(item) for item in value]
        return value if value is None or isinstance(value, bool) else MASK

    def _data(self, value: Any) -> Any:
        """What has names that say nothing."""
        if isinstance(value, Mapping):
            return {self.value(key): self._data(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._data(item) for item in value]
        return self.value(value)

    def text(self, text: str, only_literals: bool = False) -> str:
        if self.known is not None:
            text = self.known.sub(MASK, text)
        text = _USER_IN_URL.sub(rf"\1{MASK}@", text)
        text = _SHAPES.sub(MASK, text)

        def assigned(match: re.Match[str]) -> str:
            name, sign, value = match.groups()
            bare = value.strip("\"'")
            certain = sign == "=" and not only_literals
            if not _is_secret(name, bare) or not (certain or _LITERAL.fullmatch(value)):
                return match.group()
            return f"{name}{sign}{value.replace(bare, MASK)}"

        return _ASSIGNED.sub(assigned, text)
