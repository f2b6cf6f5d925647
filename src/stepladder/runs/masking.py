"""Takes secrets out of what is shown or kept beside a run: configs, command lines, diffs, tables.

Knows what secrets look like: names that say so, shapes that issuers give them, and the values of environment variables
with such names. Knows nothing of who shows the result. It can not know a secret with an innocent name and shape.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

MASK = "***"
SHORTEST = 6  # an environment value shorter than this would mask ordinary words

_SECRET = re.compile(r"secret|passw(or)?d|passphrase|(api|access|private)[_-]?key|credential|authorization")
_TOKEN = re.compile(r"(?<![a-z])tokens?(?![a-z])")  # hf_token, not tokenizer
_HARMLESS = re.compile(r"[-+.\d]+(e[-+]?\d+)?|true|false|null|none|", re.IGNORECASE)

_SHAPES = re.compile(
    r"\b(?:hf_|sk-|gh[opsu]_|github_pat_|glpat-|xox[abprs]-|wandb_v\d_)(?:(?=[\w-]*\d)[\w-]{8,}|[A-Za-z0-9]{16,})"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\b[Bb]earer\s+(?=\S*\d)[\w.~+/-]{8,}=*"
)
_USER_IN_URL = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s/?#\"']+@", re.IGNORECASE)
_ASSIGNED = re.compile(r"([\w.+-]+)([\"']?\s?[=:]\s?)(\"[^\"\n]+\"|'[^'\n]+'|[^\s\"'&;,)}\]]+)")
_LITERAL = re.compile(r"[\"'].+|(?=.*\d)[\w+/=-]{6,}")


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


def _is_secret(name: str, value: Any) -> bool:
    """`token` alone is also a word for a piece of text: then only what could be a key counts, never a number."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    if _SECRET.search(words):
        return not (isinstance(value, str) and value.lower() in ("", "null", "none"))
    return bool(_TOKEN.search(words)) and isinstance(value, str) and not _HARMLESS.fullmatch(value)


@dataclass(frozen=True)
class _Mask:
    known: tuple[str, ...]

    @classmethod
    def of_now(cls) -> _Mask:
        known = {v for k, v in os.environ.items() if len(v) >= SHORTEST and _is_secret(k, v)}
        return cls(tuple(sorted(known, key=len, reverse=True)))

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

    def text(self, text: str, only_literals: bool = False) -> str:
        for secret in self.known:
            text = text.replace(secret, MASK)
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
