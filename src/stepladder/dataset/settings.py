"""Validates the keys of a `dataset` node before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar, get_args

from stepladder.dataset.accounts import OnBadRow
from stepladder.dataset.labels import normalised
from stepladder.dataset.layouts import TURNS, LayoutName, columns_of
from stepladder.dataset.splits import OnOverlap, Split
from stepladder.dataset.task import TaskSpec
from stepladder.errors import ConfigError, Fault, did_you_mean
from stepladder.types import Plain

Node = TypeVar("Node", TaskSpec, Split)

CHOICES = {"layout": (None, *get_args(LayoutName)), "on_bad_row": get_args(OnBadRow), "on_overlap": get_args(OnOverlap)}
"""The allowed values of keys with a fixed set of values."""


def node_of(kind: type[Node], given: Node | Plain, key: str) -> Node:
    """Convert a node of plain keys into `kind`.

    Raises:
        ConfigError: One or more keys are wrong; all faults are reported below `key`.
    """
    if isinstance(given, kind):
        return given
    known = [f.name for f in fields(kind)]
    if not isinstance(given, Mapping):
        raise ConfigError(Fault(key, f"'{given}' has no keys", f"set {key}.{known[0]} or another key of it"))
    faults = [Fault(f"{key}.{n}", f"{key} has no '{n}'", did_you_mean(str(n), known)) for n in given if n not in known]
    if faults:
        raise ConfigError(faults)
    try:
        return kind(**given)
    except ConfigError as error:
        raise ConfigError([Fault(f"{key}.{f.key}".rstrip("."), f.what, f.to_do) for f in error.faults]) from None


def choice_faults(values: Plain) -> list[Fault]:
    """Faults of keys with a fixed set of values."""
    wrong = [(key, values[key], words) for key, words in CHOICES.items() if values[key] not in words]
    return [Fault(key, f"'{v}' is not known", did_you_mean(str(v), [w for w in words if w])) for key, v, words in wrong]


def column_faults(layout: str, source: str | None, target: str | None) -> list[Fault]:
    """Faults of the columns for question and answer."""
    named = [(key, value) for key, value in (("input", source), ("target", target)) if value is not None]
    if layout != "columns":
        to_do = "remove it, or set dataset.layout=null"
        return [Fault(key, f"the layout {layout} has its own columns", to_do) for key, _ in named]
    missing = [key for key in ("input", "target") if key not in dict(named)]
    faults = [Fault(key, "no column is named", f"give dataset.{key}=COLUMN, or name a layout") for key in missing]
    if source is not None:
        try:
            columns_of(source)
        except ValueError as error:
            faults.append(
                Fault("input", f"'{source}' is not a valid template: {error}", "write '{column} and {column}'")
            )
    return faults


def layout_faults(layout: str | None, messages: str | None, unanswerable: str | None) -> list[Fault]:
    """Faults of keys that only some layouts have."""
    faults = []
    if messages is not None and layout not in (None, *TURNS):
        to_do = "set dataset.layout=messages or sharegpt, or remove dataset.messages"
        faults.append(Fault("messages", f"the layout {layout} has no column of turns", to_do))
    if unanswerable is not None and layout != "squad":
        to_do = "set dataset.layout=squad, or remove dataset.unanswerable"
        faults.append(Fault("unanswerable", "only the layout squad has questions without an answer", to_do))
    elif unanswerable is not None and not unanswerable.strip():
        faults.append(Fault("unanswerable", "the answer is empty", "give a text, such as unanswerable"))
    return faults


WORDS: Mapping[str, str] = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
"""Delimiters by name, because some are hard to type on a command line."""


def delimiter_of(given: str | None) -> str | None:
    """A delimiter, given as a character or by name."""
    return given if given is None else WORDS.get(given, given)


def text_file_faults(delimiter: str | None, quote: str | None, encoding: str | None) -> list[Fault]:
    """Faults of delimiter and encoding."""
    faults, character = [], delimiter_of(delimiter)
    if character is not None and (len(character) != 1 or character in '\r\n\0"' or character == quote):
        to_do = f"give one character other than the quote, or one of {', '.join(w for w in WORDS if w.isalpha())}"
        faults.append(Fault("delimiter", f"{delimiter!r} cannot separate fields", to_do))
    if encoding is not None:
        try:
            "".encode(encoding)
            b"".decode(encoding)
        except (LookupError, UnicodeError, ValueError):
            known = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1", "cp1251", "shift_jis", "gb18030")
            to_do = did_you_mean(encoding, known)
            faults.append(Fault("encoding", f"'{encoding}' is not a text encoding that Python knows", to_do))
    return faults


def label_faults(kind: str, labels: Any, choices: str | None) -> list[Fault]:
    """Faults of labels and choices."""
    faults = []
    for key, value in (("labels", labels), ("choices", choices)):
        if value is not None and kind != "choice":
            faults.append(Fault(key, f"a {kind} task has none", "set dataset.task.kind=choice, or remove it"))
    if labels is not None and choices is not None:
        faults.append(Fault("choices", "labels are given too", "give one of the two"))
    if labels is not None:
        names = [] if isinstance(labels, str) else list(labels)
        if not all(isinstance(name, str) for name in names):
            faults.append(Fault("labels", "a label is not text", "quote labels that look like numbers or yes and no"))
        elif len({normalised(name) for name in names}) < max(2, len(names)):
            faults.append(Fault("labels", "these are not two or more different labels", "write [first,second]"))
    return faults


def name_faults(header: Sequence[str] | None, quote: str | None, tags: Sequence[str]) -> list[Fault]:
    """Faults of header, quote character and tags."""
    faults = []
    if isinstance(tags, str):
        faults.append(Fault("tags", f"'{tags}' is not a list of columns", f"write [{tags}]"))
    if header is not None and (isinstance(header, str) or len(set(header)) < len(header) or not header):
        faults.append(Fault("header", f"{header!r} is not a list of different names", "write [first,second]"))
    if quote not in (None, "none") and not _is_quote(quote):
        to_do = "give one character that is neither white space nor a comma, or none"
        faults.append(Fault("quote", f"{quote!r} is not a quote character", to_do))
    return faults


def _is_quote(quote: Any) -> bool:
    """Whether a character can quote fields of csv and tsv files: no white space and no comma."""
    return isinstance(quote, str) and len(quote) == 1 and not quote.isspace() and quote != ","
