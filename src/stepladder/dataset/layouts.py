"""Layouts of records: columns or templates, alpaca, sharegpt, messages, prompt_completion, squad.

A layout extracts question, answer, history and system text from a record.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from string import Formatter
from typing import Any, Literal, cast

from stepladder.dataset.accounts import Place, RowError
from stepladder.dataset.formats import Record, Table
from stepladder.dataset.labels import is_blank
from stepladder.dataset.turns import Turn, turn_of
from stepladder.dataset.values import list_of, text_in, text_of
from stepladder.types import Message, Passage, Plain

LayoutName = Literal["columns", "alpaca", "sharegpt", "messages", "prompt_completion", "squad"]
TURNS: Mapping[str, tuple[str, str, str]] = {
    "sharegpt": ("conversations", "from", "value"),
    "messages": ("messages", "role", "content"),
}
"""Layouts of conversations: the column, and the keys of a turn for the role and the text."""

UNANSWERED = "the question has no answer; dataset.unanswerable=TEXT keeps such questions, with TEXT as the answer"


@dataclass(frozen=True)
class Draft:
    """The parts of a record as a layout extracts them.

    Attributes:
        text: The question.
        target: The answer as it is in the file; None if there is none.
        history: Earlier turns.
        system: System text.
        passage: The gold passage.
        group: The group.
        remarks: Parts of the record that are ignored or empty, although the row can be used.
    """

    text: str
    target: Any = None
    history: tuple[Message, ...] = ()
    system: str = ""
    passage: Passage | None = None
    group: str | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """How to read a record.

    Attributes:
        asks: Columns that the question needs.
        answers: Columns that the answer needs.
        read: Makes the draft of one record.
        instruction: The default instruction.
        lists_answers: Whether an answer may be a JSON list of accepted answers.
        no_answer: Why a row without an answer is a bad row.
        elsewhere: How to fix a file with other columns.
    """

    asks: tuple[str, ...]
    answers: tuple[str, ...]
    read: Callable[[Plain], Draft]
    instruction: str | None = None
    lists_answers: bool = False
    no_answer: str = "the target is empty"
    elsewhere: str = ""


def layout_of(
    name: LayoutName,
    source: str | None,
    target: str | None,
    turns: str | None = None,
    unanswerable: str | None = None,
) -> Layout:
    """The layout with this name.

    Args:
        name: Its name.
        source: For `columns`: a column or a template.
        target: For `columns`: the column of the answer.
        turns: For `sharegpt` and `messages`: the column of turns, if it has another name.
        unanswerable: For `squad`: the answer to a question without one; None makes its row a bad row.
    """
    if name == "columns":
        return _columns(source or "", target or "")
    if name in TURNS:
        column, role, content = TURNS[name]
        return _turns_in(turns or column, role, content)
    if name == "squad":
        read = partial(_squad, unanswerable=unanswerable)
        return Layout(("question",), ("answers", "context"), read, "Answer the question.", no_answer=UNANSWERED)
    return _LAYOUTS[name]


def columns_of(source: str) -> tuple[str, ...]:
    """The columns of an input: a column or those of a template.

    Raises:
        ValueError: The template is invalid.
    """
    if "{" not in source:
        return (source,)
    fields = [field for field in Formatter().parse(source) if field[1] is not None]
    if any(form or conversion for _, _, form, conversion in fields):
        raise ValueError("a template cannot contain conversions or formats, such as '!r' or ':>3'")
    parts = [part or "" for _, part, _, _ in fields]
    if not parts or not all(parts):
        raise ValueError("a template names its columns in braces, '{text} ({topic})'")
    return tuple(dict.fromkeys(parts))


def _columns(source: str, target: str) -> Layout:
    names = columns_of(source)
    pieces = [(lead, part) for lead, part, _, _ in Formatter().parse(source)] if "{" in source else [("", source)]

    def read(values: Plain) -> Draft:
        filled = {name: text_in(values, name) for name in names}
        empty = [name for name, text in filled.items() if is_blank(text)]
        if len(empty) == len(names):
            raise RowError(f"the input is empty ({', '.join(names)})")
        text = "".join(lead + (filled[part] if part is not None else "") for lead, part in pieces)
        remarks = (f"a part of the input is empty: {', '.join(empty)}",) if empty else ()
        return Draft(text, values.get(target), remarks=remarks)

    return Layout(names, (target,), read, lists_answers=True)


def _alpaca(values: Plain) -> Draft:
    parts = [text_in(values, "instruction"), text_in(values, "input")]
    turns = []
    for pair in list_of(values.get("history"), "history"):
        said = [text_of(turn) for turn in list_of(pair, "history")]
        if len(said) != 2:
            raise RowError(f"a turn of history has {len(said)} texts instead of a question and an answer")
        turns += [Message("user", said[0]), Message("assistant", said[1])]
    text = "\n\n".join(part for part in parts if part.strip())
    return Draft(text, values.get("output"), tuple(turns), text_of(values.get("system")))


def _turns_in(column: str, role: str, content: str) -> Layout:
    def read(values: Plain) -> Draft:
        turns = _turns(values.get(column), column, role, content)
        return _with_tools(_conversation(turns, text_in(values, "system") if role == "from" else ""), values)

    return Layout((column,), (), read, instruction="", elsewhere="set the column of turns with dataset.messages=COLUMN")


def _prompt_completion(values: Plain) -> Draft:
    """Prompt and completion are each a text, or a list of turns as in the layout `messages`."""
    prompt, completion = (_chat(values.get(column)) for column in ("prompt", "completion"))
    if prompt is None and completion is None:
        return Draft(text_in(values, "prompt"), values.get("completion"))
    turns = _turns(prompt, "prompt", "role", "content") if prompt is not None else [_turn_of_text(values, "prompt")]
    if completion is not None:
        turns += _turns(completion, "completion", "role", "content")
        if not completion or turns[-1].message.role != "assistant":
            raise RowError("the completion does not end with a turn of the assistant")
    draft = _conversation(turns, "")
    if completion is None:
        if draft.target is not None:
            raise RowError("the prompt ends with a turn of the assistant, and there is a completion too")
        draft = replace(draft, target=values.get("completion"))
    return _with_tools(draft, values)


def _chat(value: Any) -> list[Any] | None:
    """A list of turns, also as JSON text; None for any other value."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, list | tuple) and all(isinstance(turn, Mapping) and "role" in turn for turn in value):
        return list(value)
    return None


def _turn_of_text(values: Plain, column: str) -> Turn:
    return Turn(Message("user", text_in(values, column)))


def _with_tools(draft: Draft, values: Plain) -> Draft:
    """Add a remark for each column of tools, which the prompt does not contain."""
    offered = [key for key in ("tools", "functions") if values.get(key)]
    return replace(draft, remarks=(*draft.remarks, *(f"the column '{key}' is not used" for key in offered)))


def _turns(value: Any, column: str, role: str, content: str) -> list[Turn]:
    return [
        turn_of(turn, f"turn {number} of {column}", role, content)
        for number, turn in enumerate(list_of(value, column), 1)
    ]


def _conversation(turns: Sequence[Turn], system: str) -> Draft:
    """The draft of a conversation: the last assistant turn is the answer, the user turn before it the question, and the
    turns before that the history.

    Only the answer is trained on. So an earlier turn that is excluded from training changes nothing, and an answer that
    is excluded makes the row a bad row.
    """
    unused = dict.fromkeys(key for turn in turns for key in turn.unused)
    remarks = tuple(f"the key '{key}' of a turn is not used" for key in unused)
    if turns and turns[-1].message.role == "assistant" and turns[-1].excluded_by is not None:
        raise RowError(f"the answer is excluded from training ({turns[-1].excluded_by})")
    rest = [turn.message for turn in turns]
    while rest and rest[0].role == "system":
        system = "\n".join(part for part in (system, rest.pop(0).content) if part)
    if any(turn.role == "system" for turn in rest):
        raise RowError("a system turn is in the middle of the conversation")
    target = rest.pop().content if rest and rest[-1].role == "assistant" else None
    if not rest or rest[-1].role != "user":
        raise RowError("the conversation has no user turn to answer")
    return Draft(rest[-1].content, target, tuple(rest[:-1]), system, remarks=remarks)


def _squad(values: Plain, unanswerable: str | None = None) -> Draft:
    """One question. The paragraph is a gold passage only if it answers the question."""
    found = values.get("answers")
    if isinstance(found, Mapping):
        text = found.get("text")
        texts = [text] if isinstance(text, str) else list_of(text, "text of answers")
    else:
        texts = [_answer(answer) for answer in list_of(found, "answers")]
    if not all(isinstance(text, str) for text in texts):
        raise RowError("an answer is not text")
    answers, impossible = [text for text in texts if text.strip()], values.get("is_impossible") is True
    if impossible and answers:
        raise RowError(f"is_impossible is true, and there is an answer, '{answers[0]}'")
    context = text_in(values, "context")
    passage = paragraph(context) if context.strip() and answers else None
    group = text_in(values, "title") or None
    target = answers or ([] if unanswerable is None else [unanswerable])
    return Draft(text_in(values, "question"), target, passage=passage, group=group)


def _answer(answer: Any) -> Any:
    if not isinstance(answer, Mapping) or "text" not in answer:
        raise RowError("an answer has no 'text'")
    return answer["text"]


def paragraph(text: str) -> Passage:
    """A passage with a hash of its content as id, so that the same paragraph in two files is one passage."""
    return Passage(hashlib.sha256(text.encode()).hexdigest()[:16], text)


def flattened(table: Table) -> tuple[Table, tuple[Passage, ...]]:
    """Convert a table of squad articles into one record per question.

    Returns:
        The table (unchanged if it already has one question per record), and the paragraphs of all articles.
    """
    records: list[Record] = []
    found: dict[str, Passage] = {}
    counts: Counter[str] = Counter()
    for record in table.records:
        articles = "paragraphs" in record.values
        for context, questions in _paragraphs(record) if articles else [(record.values.get("context"), None)]:
            if isinstance(context, str) and context.strip():
                found.setdefault(paragraph(context).id, paragraph(context))
            if questions is None:
                records.append(record)
                continue
            for question in questions:
                counts[record.place.file] += 1
                place = Place(record.place.file, counts[record.place.file], "question")
                if isinstance(question, Mapping):
                    title = record.values.get("title")
                    records.append(Record(place, {"title": title, **question, "context": context}))
                else:
                    records.append(Record(place, fault="a question is not an object"))
    columns = tuple(dict.fromkeys(key for record in records for key in record.values))
    return replace(table, columns=columns, records=tuple(records)), tuple(found.values())


def _paragraphs(record: Record) -> list[tuple[Any, Sequence[Any] | None]]:
    """Context and questions of each paragraph of an article. A malformed article is one record and fails as a row."""
    paragraphs = record.values["paragraphs"]
    if not isinstance(paragraphs, list) or any(
        not isinstance(p, Mapping) or not isinstance(p.get("qas", []), list) for p in paragraphs
    ):
        return [(None, None)]
    return [(p.get("context"), cast(Sequence[Any], p.get("qas", []))) for p in paragraphs]


_COLUMNS = "set other columns with dataset.input and dataset.target, without a layout"
_LAYOUTS: dict[str, Layout] = {
    "alpaca": Layout(("instruction",), ("output",), _alpaca, instruction="", elsewhere=_COLUMNS),
    "prompt_completion": Layout(("prompt",), ("completion",), _prompt_completion, instruction="", elsewhere=_COLUMNS),
}
