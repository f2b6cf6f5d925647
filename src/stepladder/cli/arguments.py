"""Parses a command line into a verb, its words and its flags, and writes the help texts.

There is one argparse parser per verb. This module imports nothing heavy, so that help and errors are fast.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from stepladder.errors import UserError, did_you_mean

WIDTH = 80
"""Columns of the help texts."""


@dataclass(frozen=True)
class Verb:
    """The help of a verb. `words` are its positional arguments, as in a usage line."""

    words: str
    summary: str
    text: str = ""
    examples: tuple[str, ...] = ()

    @property
    def takes_overrides(self) -> bool:
        return self.words == _OVERRIDES


_OVERRIDES = "[OVERRIDE ...]"
_OWN = "dataset=file dataset.train=rows.csv dataset.input=text dataset.target=label"
VERBS: Mapping[str, Verb] = {
    "init": Verb(
        "FILE",
        "write a commented experiment file for a data file and print the next command",
        "Guesses columns, kind of task, ids and groups, and explains each guess. Writes conf/experiment/NAME.yaml, or "
        "NAME.yaml in the directory of --config-dir. Never overwrites a file.",
        ("stepladder init rows.csv",),
    ),
    "options": Verb(
        "[GROUP]",
        "list the groups of the configuration, or a group's options with their keys",
        "A group inside another is written with a dot: sweep.sampler.",
        ("stepladder options", "stepladder options adapter"),
    ),
    "show": Verb(
        _OVERRIDES,
        "print the resolved configuration as an experiment file",
        examples=("stepladder show method=finetune adapter.r=8 > conf/experiment/mine.yaml",),
    ),
    "check": Verb(
        _OVERRIDES,
        "validate the configuration and the data, and estimate a run; trains nothing",
        "Prints row counts, labels, the minimum detectable difference, the preflight checks and the expected time on "
        "this machine. To measure the time, it answers a few questions and runs a few training steps.",
        (f"stepladder check {_OWN}",),
    ),
    "run": Verb(
        _OVERRIDES,
        "run one experiment: fit, predict, score",
        "Each stage is stored under its own key and never computed twice.",
        ("stepladder run experiment=first_look method=linear",),
    ),
    "compare": Verb(
        _OVERRIDES,
        "compare methods on the same test questions: a table, differences, a verdict",
        "A comma list replaces the comparison's own values of that key. All lists are combined.",
        ("stepladder compare experiment=first_look", "stepladder compare method=rag,finetune seed=0,1,2"),
    ),
    "sweep": Verb(
        _OVERRIDES,
        "search a space on the validation rows, then score the winner on the test rows",
        examples=("stepladder sweep method=finetune 'adapter.r=choice(4,8)' sweep.trials=2",),
    ),
    "predict": Verb(
        "FIT|STUDY FILE [KEY=VALUE ...]",
        "answer the questions of a file with a stored fit",
        "FIT is a directory of a run, STUDY the directory or the name of a study, whose recommended method answers. "
        "FILE has the input columns of the run's dataset, in any format that can be read; answers are not needed. "
        "model.path=DIR names the base model's directory on this machine. dataset.on_bad_row, dataset.delimiter, "
        "dataset.encoding, dataset.quote and dataset.header describe FILE if it differs from the run's data.",
        ("stepladder predict outputs/studies/ladder-0123 new.csv --to answers.csv",),
    ),
    "reproduce": Verb("RUN", "repeat a stored run in a fresh store and compare the two"),
    "diff": Verb("RUN RUN", "compare two stored runs and list possible causes of each difference"),
    "list": Verb(
        "[KEY=VALUE ...]",
        "list the stored runs with these values",
        "A key is method, seed, date, study or any key of the configuration; a value may contain *.",
        ("stepladder list method=finetune seed=0",),
    ),
    "clean": Verb(
        "[KEY=VALUE ...]",
        "remove unfinished directories and runs that belong to no study",
        "study=NAME removes a study and the runs that belong to no other study.",
        ("stepladder clean --dry-run", "stepladder clean study=ladder-0123"),
    ),
    "completion": Verb(
        "bash|zsh|fish",
        "print a script that completes verbs, groups, options and flags",
        examples=("source <(stepladder completion bash)",),
    ),
}


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


FLAGS: Mapping[str, Mapping[str, Any]] = {
    "--keys": {"action": "store_true", "help": "also print the key of each stage, and whether it is in the store"},
    "--prompt": {"type": _count, "metavar": "N", "help": "print the rendered prompts of N test questions (default: 1)"},
    "--to": {"type": Path, "metavar": "FILE", "help": "write a .csv, .jsonl or .parquet file: the input columns and "
             "id, answer, confidence, failure; in jsonl and parquet also probabilities"},
    "--status": {"action": "store_true", "help": "print the progress of the study, and start nothing"},
    "--fresh": {"action": "store_true", "help": "run again, and store the results next to the old ones"},
    "--verify": {"action": "store_true", "help": "exit with code 3 unless the results are the same"},
    "--dry-run": {"action": "store_true", "help": "list what would be removed, and remove nothing"},
    "--limit": {"type": _count, "metavar": "N", "help": "use at most N test questions, the same for every method; a "
                "smaller N is a subset of a larger one"},
    "--config-dir": {"type": Path, "metavar": "DIR", "help": "a directory of your own options; its files replace "
                     "packaged ones of the same name"},
    "--outputs": {"type": Path, "dest": "named_outputs", "metavar": "DIR", "help": "where results are stored "
                  "(default: outputs)"},
    "--json": {"action": "store_true", "dest": "as_json", "help": "print one JSON object on stdout; text goes to "
               "stderr"},
    "--trust": {"action": "append", "default": [], "metavar": "PREFIX", "help": "allow _target_s with this module "
                "prefix; may be repeated"},
}  # fmt: skip
OF_VERB = {
    "--keys": ("show",),
    "--prompt": ("show",),
    "--to": ("predict",),
    "--status": ("sweep",),
    "--fresh": ("run",),
    "--verify": ("reproduce",),
    "--dry-run": ("clean",),
}
"""Flags that only some verbs take. Every verb takes the other flags."""


@dataclass(frozen=True)
class Arguments:
    """A parsed command line. `named_outputs` is None without --outputs."""

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
    limit: int | None = None

    @property
    def outputs(self) -> Path:
        return self.named_outputs or Path("outputs")

    @property
    def notices(self) -> list[str]:
        """Notes on flags without effect."""
        ignored = self.limit is not None and not VERBS[self.verb].takes_overrides
        return [f"--limit changes nothing: '{self.verb}' uses no test questions"] if ignored else []

    @property
    def overrides(self) -> tuple[str, ...]:
        """The words, and the overrides that flags stand for."""
        return self.words if self.limit is None else (*self.words, f"++dataset.questions={self.limit}")

    def write_line(self, text: str) -> None:
        """Print a line of text: on stdout, or on stderr with --json."""
        print(text, file=sys.stderr if self.as_json else sys.stdout)

    def without_settings(self) -> tuple[Arguments, dict[str, dict[str, str]]]:
        """The arguments without the words `model.KEY=VALUE` and `dataset.KEY=VALUE`, and these by node and key."""
        found: dict[str, dict[str, str]] = {"model": {}, "dataset": {}}
        named = {word: re.fullmatch(r"(model|dataset)\.(\w+)=(.*)", word, re.DOTALL) for word in self.words}
        for match in filter(None, named.values()):
            found[match[1]][match[2]] = match[3]
        return replace(self, words=tuple(word for word in self.words if named[word] is None)), found

    def paths(self) -> list[Path]:
        """The words as paths.

        Raises:
            UserError: The verb takes another number of words.
        """
        wanted = VERBS[self.verb].words.partition(" [")[0].split()
        if len(self.words) != len(wanted):
            what = f"'{self.verb}' takes {' '.join(wanted)}, and {len(self.words)} words are given"
            raise UserError(what, "the command line", f"see 'stepladder {self.verb} --help'")
        return [Path(word) for word in self.words]


def parse(words: Sequence[str]) -> Arguments:
    """Parse a command line, of which the first word is the verb.

    Raises:
        UserError: The verb or a flag does not exist, or the verb does not take the flag.
    """
    verb, *rest = words
    # A zero byte, or bytes that are not UTF-8, which Python passes as lone surrogates.
    not_text = [word for word in words if re.search("[\0\ud800-\udfff]", word)]
    if not_text:
        what = f"{not_text[0].encode(errors='backslashreplace').decode()!r} is not text in UTF-8"
        raise UserError(what, "the command line", "write it in UTF-8, and rename files whose names are not")
    if verb not in VERBS:
        known = [each for each in VERBS if each in rest]
        to_do = did_you_mean(verb, list(VERBS))
        if verb.startswith("-") and known:
            to_do = f"the verb comes first: stepladder {known[0]} {verb}"
        raise UserError(f"There is no verb '{verb}'", "the first word", to_do)
    literal = rest[rest.index("--") + 1 :] if "--" in rest else []
    found, others = parser(verb).parse_known_args(_with_count(rest[: rest.index("--")] if "--" in rest else rest))
    unknown = [word for word in others if word.startswith("-")]
    if unknown:
        raise _unknown_flag(verb, unknown[0].split("=")[0])
    given = vars(found)
    if given.pop("multirun"):
        to_do = "use 'stepladder compare' or 'stepladder sweep' for many runs"
        raise UserError("Hydra's multirun is not used", "-m", to_do)
    return Arguments(verb, (*others, *literal), **{**given, "trust": tuple(given["trust"])})


def _unknown_flag(verb: str, flag: str) -> UserError:
    if flag in FLAGS:
        return UserError(f"'{verb}' takes no {flag}", "the command line", f"it is a flag of {', '.join(OF_VERB[flag])}")
    hint = did_you_mean(flag, [*flags_of(verb), "--help", "--version"])
    return UserError(f"There is no flag '{flag}'", "the command line", hint)


def flags_of(verb: str) -> list[str]:
    return [flag for flag in FLAGS if verb in OF_VERB.get(flag, (verb,))]


def parser(verb: str) -> argparse.ArgumentParser:
    """The parser of a verb's flags. Arguments that it does not parse are the words."""
    entry = VERBS[verb]
    made = _Parser(
        prog=f"stepladder {verb}",
        usage=f"stepladder {verb} {entry.words} [flags]",
        description=_filled(f"{entry.summary[0].upper()}{entry.summary[1:]}.", entry.text),
        epilog=_epilog(entry),
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=WIDTH, max_help_position=22),
        add_help=False,
        allow_abbrev=False,
    )
    group = made.add_argument_group("flags")
    for flag in flags_of(verb):
        hidden = {"help": argparse.SUPPRESS} if flag == "--limit" and not entry.takes_overrides else {}
        group.add_argument(flag, **{**FLAGS[flag], **hidden})
    group.add_argument("-h", "--help", action="store_true", default=argparse.SUPPRESS, help="print this text")
    made.add_argument("-m", "--multirun", action="store_true", help=argparse.SUPPRESS)
    return made


def _epilog(entry: Verb) -> str:
    about = "An OVERRIDE is GROUP=OPTION or KEY=VALUE; 'stepladder options' lists both."
    title = "examples:" if len(entry.examples) > 1 else "example:"
    examples = "\n".join([title, *map(_command, entry.examples)]) if entry.examples else ""
    return "\n\n".join(part for part in (about if entry.takes_overrides else "", examples) if part)


def _command(text: str) -> str:
    """An example, wrapped with a backslash at the end of each line but the last."""
    lines = textwrap.wrap(text, WIDTH - 8, break_long_words=False, break_on_hyphens=False)
    return " \\\n      ".join([f"  {lines[0]}", *lines[1:]])


def _filled(*paragraphs: str) -> str:
    return "\n".join(textwrap.fill(text, WIDTH) for text in paragraphs if text)


def help_text(verb: str | None = None) -> str:
    """The help of a verb, or of the whole command."""
    if verb is not None:
        return parser(verb).format_help().rstrip()
    lines = ["usage: stepladder VERB [words] [flags]", ""]
    for name, entry in VERBS.items():
        lines += textwrap.wrap(entry.summary, WIDTH, initial_indent=f"  {name:<11}", subsequent_indent=" " * 13)
    return "\n".join([*lines, "", _GENERAL])


_GENERAL = """\
  stepladder VERB --help    arguments and flags of a verb
  stepladder --version      the version

With your own data:
  stepladder init rows.csv
With a toy model, in seconds and without a download:
  stepladder compare experiment=first_look
All methods on public data, with a small model:
  stepladder compare comparison=ladder dataset=faq_route

Flags of every verb: --config-dir DIR, --outputs DIR, --json, --trust PREFIX,
--limit N (at most N test questions).
Exit codes: 0 done, 2 an error to fix, 3 a failed check, 1 a bug,
130 interrupted (run the same command again to resume)."""


def version_text() -> str:
    from importlib.metadata import version

    return f"stepladder {version('stepladder')}"


def _with_count(words: Sequence[str]) -> list[str]:
    """Replace `--prompt` without a number by `--prompt 1`, because the next word may be an override."""
    found = []
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
        found += [word, "1"] if word == "--prompt" and not following.lstrip("-").isdecimal() else [word]
    return found


class _Parser(argparse.ArgumentParser):
    """An argparse parser that raises UserError."""

    def error(self, message: str) -> Any:
        what = message[:1].upper() + message[1:]
        raise UserError(what, "the command line", f"see '{self.prog} --help'")
