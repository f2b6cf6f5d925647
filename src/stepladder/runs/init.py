"""Writes the first experiment file for a data file, with every guess explained in a comment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stepladder.config.options import conf_folder
from stepladder.dataset.dataset import Dataset, Loaded
from stepladder.dataset.formats import Dialect, read_table
from stepladder.dataset.guessing import Guess, guesses, header_of
from stepladder.errors import DataError, UserError
from stepladder.io.files import expand_home, write_text

OWN_CONF = ("conf", "own_conf")
"""Where experiment files of one's own go without --config-dir: the second, where the first is somebody else's conf."""


@dataclass(frozen=True)
class FirstExperiment:
    """What was written for a data file, why, and the commands that come next."""

    data: str
    experiment: Path
    guesses: tuple[Guess, ...]
    notes: tuple[str, ...]
    commands: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        guesses = [{"key": f"dataset.{g.key}", "value": g.value, "why": g.why} for g in self.guesses]
        plain = {"file": self.data, "experiment": str(self.experiment), "guesses": guesses}
        return plain | {"notes": list(self.notes), "next": list(self.commands)}


def first_experiment(data: str, config_dir: Path | None, outputs: Path | None) -> FirstExperiment:
    """Guess the keys of a `dataset` node for the file `data`, read the file with them, and write the experiment file.

    Raises UserError where the file can not be read, no columns can be guessed, or the experiment file exists.
    """
    table = read_table(expand_home(data), data, Dialect())
    conf = config_dir or _own_conf()
    name = _name(data)
    file = conf / "experiment" / f"{name}.yaml"
    if file.exists() or file.is_symlink():
        to_do = "rename or remove it, or name another directory with --config-dir DIR"
        raise UserError("The experiment file exists and is not overwritten", str(file), to_do)
    header = header_of(table) if re.search(r"\.[ct]sv(\.gz)?$", data, re.IGNORECASE) else None
    found = []
    if header is not None:
        table = read_table(expand_home(data), data, Dialect(header))
        found = [Guess("header", list(header), "the first line is a row: it has a label that other rows have")]
    found += guesses(table)
    loaded, found = _read(data, found)
    words = [f"experiment={name}", "--config-dir", str(conf)]
    words += ["--outputs", str(outputs)] if outputs is not None else []
    commands = [shlex.join(["stepladder", verb, *words]) for verb in ("check", "compare")]
    write_text(file, _text(data, found, loaded, commands))
    return FirstExperiment(data, file, tuple(found), tuple(loaded.accounts.notes), tuple(commands))


def _own_conf() -> Path:
    first = Path(OWN_CONF[0])
    packaged = first.is_dir() and first.resolve() == conf_folder().resolve()
    return Path(OWN_CONF[1]) if packaged or (first / "config.yaml").exists() else first


def _name(data: str) -> str:
    """The file's name as the name of an option, which Hydra reads as text."""
    stem = re.sub(r"(\.(csv|tsv|jsonl|ndjson|json|parquet|gz))+$", "", Path(data).name, flags=re.IGNORECASE)
    kept = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_").lower()
    is_word = kept[:1].isalpha() and kept not in ("null", "none", "true", "false", "inf", "nan", "first_look")
    return kept if is_word else f"data_{kept}".rstrip("_")


def _read(data: str, found: list[Guess]) -> tuple[Loaded, list[Guess]]:
    """The dataset as guessed; bad rows are skipped where the file has any."""
    try:
        return _dataset(data, found).read(), found
    except DataError as error:
        if any(guess.key == "id" for guess in found) and "id" in error.what:
            return _read(data, [guess for guess in found if guess.key != "id"])
        if not error.what.startswith("A bad row"):
            raise
        more = [*found, Guess("on_bad_row", "skip", f"{error.where}: {error.what.removeprefix('A bad row: ')}")]
        return _dataset(data, more).read(), more


def _dataset(data: str, found: Sequence[Guess]) -> Dataset:
    nodes: dict[str, Any] = {}
    for guess in found:
        *above, last = guess.key.split(".")
        node = nodes
        for name in above:
            node = node.setdefault(name, {})
        node[last] = guess.value
    return Dataset(train=data, **nodes)


def _text(data: str, found: Sequence[Guess], loaded: Loaded, commands: Sequence[str]) -> str:
    by_key = {guess.key: guess for guess in found}
    accounts = loaded.accounts
    kind = by_key["task.kind"].why if "task.kind" in by_key else "by the layout"
    lines = [
        "# @package _global_",
        f"# An experiment on {_plain(data)}, written by 'stepladder init'. Guesses are marked; correct what is wrong.",
        *(f"#   {command}" for command in commands),
        "defaults:",
        "  - override /dataset: file",
        "",
        "dataset:",
        f"  train: {_scalar(data)}  # {sum(accounts.read.values()):,} rows; {accounts.train:,} to train on, "
        f"{accounts.validation:,} to validate, {accounts.test:,} to test",
        "  # test: FILE  # else a share of the rows above is held out: dataset.split",
    ]
    for guess in found:
        if "." not in guess.key:
            lines.append(f"  {guess.key}: {_scalar(guess.value)}  # guessed: {_plain(guess.why)}")
    if "id" not in by_key:
        lines.append("  # id: COLUMN  # else rows are named by their content")
    if "group" not in by_key:
        lines.append("  # group: COLUMN  # rows of a group (a user, a document) stay on one side of a split")
    lines += [
        "  task:",
        f"    kind: {_scalar(loaded.task.kind)}  # guessed: {_plain(kind)}",
        "    # instruction: the sentence that the prompt opens with",
        "",
        "# What else an experiment decides ('stepladder options' lists all):",
        "# model, method, adapter.r, training.epochs, evaluation. Set it here or on the command line, which wins:",
        "#   stepladder run ... method=few_shot demonstrations.k=4",
    ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """A text as a part of one line of comment."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _scalar(value: Any) -> str:
    """A value as YAML in one line. A $ that would begin an interpolation is escaped."""
    shown: Any = value.replace("${", "\\${") if isinstance(value, str) else value
    text = yaml.safe_dump(shown, allow_unicode=True, width=10**6, default_flow_style=True)
    return text.removesuffix("\n...\n").removesuffix("\n")
