"""A command line, taken apart: the verb, its words, the flags.

Knows which flags there are; does nothing. Imports nothing heavy.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepladder.errors import UserError, did_you_mean


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


FLAGS: Mapping[str, Mapping[str, Any]] = {
    "--config-dir": {"type": Path},
    "--outputs": {"type": Path, "dest": "named_outputs"},
    "--json": {"action": "store_true", "dest": "as_json"},
    "--trust": {"action": "append", "default": []},
    "--keys": {"action": "store_true"},
    "--prompt": {"type": _count, "metavar": "N"},
    "--to": {"type": Path},
    "--status": {"action": "store_true"},
    "--fresh": {"action": "store_true"},
    "--verify": {"action": "store_true"},
    "--dry-run": {"action": "store_true"},
}
OF_VERB = {
    "--keys": ("show",),
    "--prompt": ("show",),
    "--to": ("predict",),
    "--status": ("sweep",),
    "--fresh": ("run",),
    "--verify": ("reproduce",),
    "--dry-run": ("clean",),
}
"""Flags that only some verbs take; every verb takes the others."""


@dataclass(frozen=True)
class Asked:
    """A command line, taken apart. `named_outputs` is None where no --outputs is given."""

    verb: str
    words: tuple[str, ...]
    config_dir: Path | None = None
    named_outputs: Path | None = None
    as_json: bool = False
    trust: tuple[str, ...] = ()
    keys: bool = False
    prompt: int | None = None
    to: Path | None = None
    status: bool = False
    fresh: bool = False
    verify: bool = False
    dry_run: bool = False

    @property
    def outputs(self) -> Path:
        return self.named_outputs or Path("outputs")

    def say(self, text: str) -> None:
        """A line for people: beside the JSON object, where there is one."""
        print(text, file=sys.stderr if self.as_json else sys.stdout)

    def without_model(self) -> tuple[Asked, dict[str, str]]:
        """Without the words `model.KEY=VALUE`, and their keys and values."""
        named = [word for word in self.words if re.match(r"model\.\w+=", word)]
        values = dict(word.removeprefix("model.").split("=", 1) for word in named)
        return replace(self, words=tuple(word for word in self.words if word not in named)), values

    def folders(self, *names: str) -> list[Path]:
        """The words, where the verb takes just so many paths. Raises UserError else."""
        if len(self.words) != len(names):
            wanted = " ".join(names)
            raise UserError(
                f"{self.verb} takes {wanted}, found {len(self.words)} words", "the command line", "see --help"
            )
        return [Path(word) for word in self.words]


def taken_apart(words: Sequence[str], verbs: Sequence[str]) -> Asked:
    """Raises UserError for a verb or a flag that there is not, or a flag of another verb."""
    verb, *rest = words
    strange = [word for word in words if not word.isprintable() and not _is_text(word)]
    if strange:
        what = f"{strange[0].encode(errors='backslashreplace').decode()!r} is no text in UTF-8"
        raise UserError(what, "the command line", "write it in UTF-8, and rename files whose names are not")
    if verb not in verbs:
        raise UserError(f"There is no verb '{verb}'", "the first word", did_you_mean(verb, list(verbs)))
    parser = _Parser(add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS)
    for flag, how in FLAGS.items():
        parser.add_argument(flag, **how)
    parser.add_argument("-m", "--multirun", action="store_true")
    found, others = parser.parse_known_args(_with_count(rest))
    unknown = [word for word in others if word.startswith("-")]
    if unknown:
        hint = did_you_mean(unknown[0].split("=")[0], list(FLAGS))
        raise UserError(f"There is no flag '{unknown[0]}'", "the command line", hint)
    given = vars(found)
    if given.pop("multirun"):
        raise UserError(
            "Hydra's multirun is not used", "-m", "use 'stepladder compare' or 'stepladder sweep' for many runs"
        )
    for flag, own in OF_VERB.items():
        if given[flag.strip("-").replace("-", "_")] and verb not in own:
            raise UserError(f"{verb} takes no {flag}", "the command line", f"it is for {', '.join(own)}")
    return Asked(verb, tuple(others), **{**given, "trust": tuple(given["trust"])})


def _with_count(words: Sequence[str]) -> list[str]:
    """The words with `--prompt 1` where --prompt stands without a number: the next word may be an override."""
    found = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        found += [word, "1"] if word == "--prompt" and not following.lstrip("-").isdecimal() else [word]
    return found


def _is_text(word: str) -> bool:
    """False for bytes of another encoding, which Python hands on as halves of surrogate pairs, and for a zero byte."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in word


class _Parser(argparse.ArgumentParser):
    """argparse, but what is wrong is told as every other error is."""

    def error(self, message: str) -> Any:
        raise UserError(message[:1].upper() + message[1:], "the command line", "see 'stepladder --help'")
