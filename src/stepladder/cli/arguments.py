"""Parses a command line: the verb, its words, its flags; and writes the help texts.

One argparse parser per verb. Imports nothing heavy, so that help and errors come at once.
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
    """What the help says of a verb: the `words` it takes, a one-line `summary`, more `text` and `examples`."""

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
        "Guesses columns, kind of task, ids and groups, and says why. Writes conf/experiment/NAME.yaml, or NAME.yaml "
        "in the directory of --config-dir. Never overwrites a file.",
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
        "",
        ("stepladder show method=finetune adapter.r=8 > conf/experiment/mine.yaml",),
    ),
    "check": Verb(
        _OVERRIDES,
        "validate, read the data and say what a run would do; trains nothing",
        "Prints row counts, labels, the minimum detectable difference, the preflight checks and the expected time on "
        "this machine, for which it answers a few questions and times a training step.",
        (f"stepladder check {_OWN}",),
    ),
    "run": Verb(
        _OVERRIDES,
        "one experiment: fit, predict, score",
        "Each stage is stored under its own key and never computed twice.",
        ("stepladder run experiment=first_look method=linear",),
    ),
    "compare": Verb(
        _OVERRIDES,
        "several methods on the same test questions: a table, differences, a verdict",
        "A comma list replaces the comparison's own values of that key; lists of other keys multiply.",
        ("stepladder compare experiment=first_look", "stepladder compare method=rag,finetune seed=0,1,2"),
    ),
    "sweep": Verb(
        _OVERRIDES,
        "search a space on the validation rows, then score the winner on the test rows",
        "",
        ("stepladder sweep method=finetune 'adapter.r=choice(4,8)' sweep.trials=2",),
    ),
    "predict": Verb(
        "FIT|STUDY FILE [KEY=VALUE ...]",
        "answer the questions of a file with a stored fit",
        "FIT is a directory of a run, STUDY the directory or the name of a study, whose recommended method answers. "
        "FILE has the input columns of the run's dataset, in any format that can be read; answers are not needed. "
        "model.path=DIR names the base model's directory on this machine. dataset.on_bad_row, dataset.delimiter, "
        "dataset.encoding, dataset.quote and dataset.header say how FILE is read where it differs from the run's data.",
        ("stepladder predict outputs/studies/ladder-0123 new.csv --to answers.csv",),
    ),
    "reproduce": Verb("RUN", "make a stored run again in a fresh store and compare the two"),
    "diff": Verb("RUN RUN", "what differs between two stored runs, and what can explain it"),
    "list": Verb(
        "[KEY=VALUE ...]",
        "the stored runs with these values",
        "A key is method, seed, date, study or any key of the configuration; a value may hold *.",
        ("stepladder list method=finetune seed=0",),
    ),
    "clean": Verb(
        "[KEY=VALUE ...]",
        "remove what is unfinished or belongs to no study",
        "study=NAME removes a study, with the runs that belong to no other one.",
        ("stepladder clean --dry-run", "stepladder clean study=ladder-0123"),
    ),
    "completion": Verb(
        "bash|zsh|fish",
        "a script that completes verbs, groups, options and flags",
        "",
        ("source <(stepladder completion bash)",),
    ),
}


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


FLAGS: Mapping[str, Mapping[str, Any]] = {
    "--keys": {"action": "store_true", "help": "print the key of each stage too, and whether it is in the store"},
    "--prompt": {"type": _count, "metavar": "N", "help": "print the rendered prompts of N test questions (default: 1)"},
    "--to": {"type": Path, "metavar": "FILE", "help": "write a .csv, .jsonl or .parquet file: the input columns and "
             "id, answer, confidence, failure; in jsonl and parquet probabilities too"},
    "--status": {"action": "store_true", "help": "print how far the study is, and start nothing"},
    "--fresh": {"action": "store_true", "help": "run again, and store the results beside the old ones"},
    "--verify": {"action": "store_true", "help": "exit with 3 unless the results are the same"},
    "--dry-run": {"action": "store_true", "help": "say what would be removed, and remove nothing"},
    "--limit": {"type": _count, "metavar": "N", "help": "ask at most N test questions: the same for every method, and "
                "a smaller N is a part of a larger one"},
    "--config-dir": {"type": Path, "metavar": "DIR", "help": "your own conf; its files win over packaged ones of the "
                     "same name"},
    "--outputs": {"type": Path, "dest": "named_outputs", "metavar": "DIR", "help": "where results are stored "
                  "(default: outputs)"},
    "--json": {"action": "store_true", "dest": "as_json", "help": "print one JSON object on stdout; text goes to "
               "stderr"},
    "--trust": {"action": "append", "default": [], "metavar": "PREFIX", "help": "a module prefix whose _target_s may "
                "be built; may be repeated"},
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
"""Flags that only some verbs take; every verb takes the others."""


@dataclass(frozen=True)
class Asked:
    """A parsed command line. `named_outputs` is None where no --outputs is given."""

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
        """Flags that are given and change nothing."""
        ignored = self.limit is not None and not VERBS[self.verb].takes_overrides
        return [f"--limit changes nothing: '{self.verb}' asks no test questions"] if ignored else []

    @property
    def overrides(self) -> tuple[str, ...]:
        """The words, and what flags stand for in the configuration."""
        return self.words if self.limit is None else (*self.words, f"++dataset.questions={self.limit}")

    def say(self, text: str) -> None:
        """Print a line of text: on stderr under --json."""
        print(text, file=sys.stderr if self.as_json else sys.stdout)

    def without_settings(self) -> tuple[Asked, dict[str, dict[str, str]]]:
        """Without the words `model.KEY=VALUE` and `dataset.KEY=VALUE`, and their keys and values by node."""
        found: dict[str, dict[str, str]] = {"model": {}, "dataset": {}}
        others = []
        for word in self.words:
            named = re.fullmatch(r"(model|dataset)\.(\w+)=(.*)", word, re.DOTALL)
            if named:
                found[named[1]][named[2]] = named[3]
            else:
                others.append(word)
        return replace(self, words=tuple(others)), found

    def paths(self) -> list[Path]:
        """The words as paths. Raises UserError where their number is not what the verb takes."""
        wanted = VERBS[self.verb].words.partition(" [")[0].split()
        if len(self.words) != len(wanted):
            what = f"'{self.verb}' takes {' '.join(wanted)}, and {len(self.words)} words are given"
            raise UserError(what, "the command line", f"see 'stepladder {self.verb} --help'")
        return [Path(word) for word in self.words]


def taken_apart(words: Sequence[str]) -> Asked:
    """Raises UserError for a verb or a flag that does not exist, or a flag of another verb."""
    verb, *rest = words
    strange = [word for word in words if not word.isprintable() and not _is_text(word)]
    if strange:
        what = f"{strange[0].encode(errors='backslashreplace').decode()!r} is not text in UTF-8"
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
        raise UserError(
            "Hydra's multirun is not used", "-m", "use 'stepladder compare' or 'stepladder sweep' for many runs"
        )
    return Asked(verb, (*others, *literal), **{**given, "trust": tuple(given["trust"])})


def _unknown_flag(verb: str, flag: str) -> UserError:
    if flag in FLAGS:
        return UserError(f"'{verb}' takes no {flag}", "the command line", f"it is a flag of {', '.join(OF_VERB[flag])}")
    hint = did_you_mean(flag, [*flags_of(verb), "--help", "--version"])
    return UserError(f"There is no flag '{flag}'", "the command line", hint)


def flags_of(verb: str) -> list[str]:
    return [flag for flag in FLAGS if verb in OF_VERB.get(flag, (verb,))]


def parser(verb: str) -> argparse.ArgumentParser:
    """The parser of a verb's flags; words are what it leaves over."""
    told = VERBS[verb]
    made = _Parser(
        prog=f"stepladder {verb}",
        usage=f"stepladder {verb} {told.words} [flags]",
        description=_filled(f"{told.summary[0].upper()}{told.summary[1:]}.", told.text),
        epilog=_epilog(told),
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=WIDTH, max_help_position=22),
        add_help=False,
        allow_abbrev=False,
    )
    group = made.add_argument_group("flags")
    for flag in flags_of(verb):
        hidden = {"help": argparse.SUPPRESS} if flag == "--limit" and not told.takes_overrides else {}
        group.add_argument(flag, **{**FLAGS[flag], **hidden})
    group.add_argument("-h", "--help", action="store_true", default=argparse.SUPPRESS, help="print this text")
    made.add_argument("-m", "--multirun", action="store_true", help=argparse.SUPPRESS)
    return made


def _epilog(told: Verb) -> str:
    parts = []
    if told.takes_overrides:
        parts.append(_filled("An OVERRIDE is GROUP=OPTION or KEY=VALUE; 'stepladder options' lists both."))
    if told.examples:
        parts.append("\n".join(["examples:" if len(told.examples) > 1 else "example:", *map(_command, told.examples)]))
    return "\n\n".join(parts)


def _command(text: str) -> str:
    """An example on as many lines as it needs, each but the last with the shell's sign that it goes on."""
    lines = textwrap.wrap(text, WIDTH - 8, break_long_words=False, break_on_hyphens=False)
    return " \\\n      ".join([f"  {lines[0]}", *lines[1:]])


def _filled(*paragraphs: str) -> str:
    return "\n".join(textwrap.fill(text, WIDTH) for text in paragraphs if text)


def help_text(verb: str | None = None) -> str:
    """The help of a verb, or of the whole command."""
    if verb is not None:
        return parser(verb).format_help().rstrip()
    lines = ["usage: stepladder VERB [words] [flags]", ""]
    for name, told in VERBS.items():
        lines += textwrap.wrap(told.summary, WIDTH, initial_indent=f"  {name:<11}", subsequent_indent=" " * 13)
    return "\n".join([*lines, "", _GENERAL])


_GENERAL = """\
  stepladder VERB --help    a verb's words and flags
  stepladder --version      the version

Your own data:
  stepladder init rows.csv
A first look, in seconds and without a download:
  stepladder compare experiment=first_look
The main comparison, on public data with a small model:
  stepladder compare comparison=ladder dataset=faq_route

Flags of every verb: --config-dir DIR, --outputs DIR, --json, --trust PREFIX,
--limit N (at most N test questions).
Exit codes: 0 done, 2 something to fix, 3 a check that failed, 1 a bug,
130 interrupted (run the same command again to resume)."""


def version_text() -> str:
    from importlib.metadata import version

    return f"stepladder {version('stepladder')}"


def _with_count(words: Sequence[str]) -> list[str]:
    """The words with `--prompt 1` where --prompt stands without a number: the next word may be an override."""
    found = []
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
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
    """argparse, with errors that are printed like all others."""

    def error(self, message: str) -> Any:
        what = message[:1].upper() + message[1:]
        raise UserError(what, "the command line", f"see '{self.prog} --help'")
