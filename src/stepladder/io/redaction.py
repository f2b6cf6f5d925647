"""Masks secrets in everything that is shown or stored: configurations, command lines, diffs, tables, tracebacks.

A secret is recognised by its name, by the format that its issuer uses, or by its value, if the environment or the
command line contains this value under such a name, in any encoding. A secret with an inconspicuous name and format is
not recognised.
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
"""Keys below these names are data: a label may be called `password_reset`."""

_SECRET = re.compile(r"secret|passw(or)?d|passphrase|(api|access|private)[_-]?key|credential|authorization")
_TOKEN = re.compile(r"(?<![a-z])tokens?(?![a-z])")  # hf_token, not tokenizer
_OF_ENVIRONMENT = re.compile(
    r".*(?:_|\b)(?:KEY|PAT|DSN|PASS)", re.IGNORECASE
)  # names of secrets in the environment only
_VARIABLE = re.compile(r"[A-Z](?:[A-Z_]|\d(?!\d\d)){0,63}")  # no long numbers, as issued keys have
_NOTHING = ("", "none", "null", "true", "false", "auto", "???")
_HARMLESS = re.compile(r"[-+.\d]+(e[-+]?\d+)?|true|false|null|none|auto|", re.IGNORECASE)

_ISSUED = r"(?:hf_|sk-|[sr]k_live_|gh[opsur]_|github_pat_|glpat-|xox[abeprs]-|wandb_v\d_|pypi-|npm_|gsk_|xai-)"
_SHAPES = re.compile(
    rf"(?<![A-Za-z0-9]){_ISSUED}(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{{16,}}"
    # shorter, or with separators: hf_rows_2024.csv is a file name
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
)  # a password may contain a slash that should have been encoded
_PASSWORD_IN_URL = re.compile(rf"{_SCHEME}[^\s/?#\"':@]*:(?!\d+/)([^\s\"']+)@", re.IGNORECASE)
_ASSIGNED = re.compile(r"([\w.+-]+)([\"']?\s?[=:]\s?)(\"[^\"\n]+\"|'[^'\n]+'|[^\s\"'&;,)}\]]+)")
_LITERAL = re.compile(r"[\"'].+|(?=.*\d)[\w+/=-]{6,}")

_remembered: set[str] = set()


def mask(value: Any) -> Any:
    """A copy of plain data (mappings, sequences, scalars) with secrets masked."""
    return _Mask.of_now().value(value)


def mask_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line with secrets masked, in `name=value`, `--name=value` and `--name value`."""
    hide, masked, name = _Mask.of_now(), [], ""
    for argument in arguments:
        secret = bool(name) and not argument.startswith("-") and _is_secret(name, argument)
        masked.append(MASK if secret else hide.text(argument))
        name = argument.lstrip("-") if argument.startswith("-") and "=" not in argument else ""
    return masked


def mask_code(text: str) -> str:
    """Source code or a diff with secrets masked. Only literals are masked, not code such as `token=token`."""
    return _Mask.of_now().text(text, only_literals=True)


def remember_secrets(arguments: Sequence[str]) -> None:
    """Remember the secrets of a command line, so that this process masks them wherever they occur."""
    name = ""
    for argument in arguments:
        _remembered.update(_PASSWORD_IN_URL.findall(argument))
        for assigned in _ASSIGNED.finditer(argument):
            if _names_one(assigned[1], bare := assigned[3].strip("\"'")):
                _remembered.add(bare)
        if name and not argument.startswith("-") and _is_secret(name, argument):
            _remembered.add(argument)
        name = argument.lstrip("-") if argument.startswith("-") and "=" not in argument else ""


def mask_tracebacks() -> None:
    """Mask secrets in tracebacks of uncaught exceptions, in all threads, and print none for failing log handlers."""

    def print_masked(kind: Any, error: Any, trace: Any) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            print(mask("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)

    sys.excepthook = print_masked
    logging.raiseExceptions = False
    threading.excepthook = lambda of: print_masked(of.exc_type, of.exc_value, of.exc_traceback)


def secrets_in(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The secrets in a configuration: the dotted key, and why its value is recognised.

    More conservative than `mask`, because a configuration with a secret is refused: ordinary words do not count, and
    names that are data do not either.
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


def _names_variable(name: str, value: Any) -> bool:
    """Whether a key such as `api_key_env` has the name of an environment variable, which is no secret."""
    return _words(name).endswith("_env") and isinstance(value, str) and bool(_VARIABLE.fullmatch(value))


def _names_one(name: str, value: Any) -> bool:
    """Whether a value is certainly a secret because of its name."""
    if _names_variable(name, value):
        return False
    if _SECRET.search(_words(name)):
        return True
    alike = isinstance(value, str) and " " not in value and not _HARMLESS.fullmatch(value)
    return alike and bool(_TOKEN.search(_words(name))) and (bool(_LITERAL.fullmatch(value)) or len(value) > 15)


def _given_away(text: str, known: Mapping[str, str]) -> str | None:
    """Why a text contains a secret, regardless of its name; None if it does not."""
    if _SHAPES.search(text):
        return "it has the format of one"
    if _PASSWORD_IN_URL.search(text):
        return "it is an address with a password"
    return next((f"{where} has it as a secret" for secret, where in known.items() if secret in text), None)


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _is_secret(name: str, value: Any) -> bool:
    """Whether a name marks a secret. `token` can also mean a piece of text, so it counts only for text values."""
    words = _words(name)
    if _names_variable(name, value):
        return False
    if _SECRET.search(words):
        return not (isinstance(value, str) and value.lower() in ("", "null", "none"))
    return bool(_TOKEN.search(words)) and isinstance(value, str) and not _HARMLESS.fullmatch(value)


def _known_now() -> dict[str, str]:
    """The values of known secrets, and where each was found."""
    found = dict.fromkeys(_remembered, "the command line")
    for name, value in os.environ.items():
        if _is_secret(name, value) or _OF_ENVIRONMENT.fullmatch(name):
            found[value.strip()] = name
        found |= dict.fromkeys(_PASSWORD_IN_URL.findall(value), name)
    return {v: where for v, where in found.items() if len(v) >= SHORTEST and not _is_path(v)}


def _is_path(value: str) -> bool:
    return value.startswith(("~/", "./")) or (value.startswith("/") and Path(value).exists())


def _is_word(secret: str) -> bool:
    """Whether a secret is an ordinary word such as `postgres`, which also occurs elsewhere."""
    return secret.isalpha() and len(secret) < 12 and secret[1:].islower()


@lru_cache(maxsize=8)
def _finding(known: frozenset[str]) -> re.Pattern[str] | None:
    """A pattern that matches every known secret in any encoding."""
    forms = {form for secret in known if not _is_word(secret) for form in _forms(secret)}
    found = [re.escape(form) for form in sorted(forms, key=len, reverse=True)]
    found += [rf"(?<!\w){secret}(?!\w)" for secret in sorted(known) if _is_word(secret)]
    return re.compile("|".join(found)) if found else None


def _forms(secret: str) -> Iterator[str]:
    """The encodings of a secret: plain, in URLs, JSON, HTML and source code, and in base64, also inside other data."""
    escaped = json.dumps(secret)[1:-1]
    in_page = "".join(f"\\u{ord(c):04x}" if c in "<>&'" else c for c in escaped)
    for form in (
        secret, unquote(secret), quote(secret, safe=""), quote_plus(secret), escaped, in_page, html.escape(secret),
        json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1],
    ):  # fmt: skip
        if len(form) >= SHORTEST:
            yield form
    yield from (line for line in secret.splitlines() if len(line) >= 16)
    for before in range(3):  # base64 after 0 to 2 other bytes: the digits that depend on the secret only
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
        """Mask values of a mapping whose keys are data."""
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
