"""Preflight checks of the data: rejected rows, and test rows among training rows, demonstrations or passages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from stepladder.context.context import comparable
from stepladder.dataset.rows import question_key
from stepladder.runs.stages import Prepared
from stepladder.types import CheckResult, Example, Passage, PreflightLimits

WORDS = 4
"""So many words a question and a passage must have in common, in a row, before more is compared."""


def check_data(prepared: Prepared, limits: PreflightLimits) -> list[CheckResult]:
    """Check an experiment's data. Overlap is checked for test rows only: validation rows serve to choose."""
    found = [_lost(prepared, limits)]
    if prepared.experiment.rows == "test":
        found += [_overlap(prepared, limits), _shown(prepared, limits)]
    return found


def _lost(prepared: Prepared, limits: PreflightLimits) -> CheckResult:
    accounts = prepared.data.accounts
    read = sum(accounts.read.values())
    why = Counter(r.reason.partition(":")[0] if r.overlaps else r.reason for r in accounts.rejections)
    share = accounts.rejected / read if read else 0.0
    message = f"{accounts.rejected:,} of {read:,} rows read are rejected"
    if why:
        message += f" ({'; '.join(f'{count:,}: {reason}' for reason, count in why.most_common(3))})"
    warns = any(not r.overlaps for r in accounts.rejections)
    stops = limits.lost is not None and share > limits.lost
    fix = "fix the files (dataset.on_bad_row=stop names the first bad row; dataset.on_overlap=keep keeps overlaps)"
    return CheckResult("lost", share, message, warns, stops, fix)


def _overlap(prepared: Prepared, limits: PreflightLimits) -> CheckResult:
    reads = prepared.method.object.reads
    seen = _among_training(prepared) if "train" in reads else []
    share = len(seen) / len(prepared.examples)
    message = f"{len(seen):,} of {len(prepared.examples):,} test rows are among the training rows{_named(seen)}"
    stops = limits.overlap is not None and share > limits.overlap
    return CheckResult("overlap", share, message, bool(seen), stops, "set dataset.on_overlap=drop")


def _shown(prepared: Prepared, limits: PreflightLimits) -> CheckResult:
    """Rows among the demonstrations, or in the retrieval index with their answer."""
    reads: frozenset[str] = getattr(getattr(prepared.method.object, "context", None), "reads", frozenset())
    trained = {example.question.id for example in prepared.data.train}
    beside = [p for p in prepared.data.corpus if p.id not in trained] if "corpus" in reads else []
    among = "train" in reads or ("corpus" in reads and len(beside) < len(prepared.data.corpus))
    ids = {e.question.id for e in _among_training(prepared)} if among else set()
    ids |= set(_answered_by(beside, prepared.examples))
    seen = [example for example in prepared.examples if example.question.id in ids]
    share = len(seen) / len(prepared.examples)
    message = f"{len(seen):,} of {len(prepared.examples):,} test rows are among the demonstrations or in the "
    message += f"retrieval index{_named(seen)}"
    stops = limits.shown is not None and share > limits.shown
    fix = "take them out of the training rows and of the corpus"
    return CheckResult("shown", share, message, bool(seen), stops, fix)


def _among_training(prepared: Prepared) -> list[Example]:
    trained = {question_key(example.question) for example in prepared.data.train}
    return [example for example in prepared.examples if question_key(example.question) in trained]


def _named(examples: Sequence[Example]) -> str:
    return f" (the first: {examples[0].question.id})" if examples else ""


def _answered_by(passages: Iterable[Passage], examples: Iterable[Example]) -> Iterator[str]:
    """The ids of examples whose question and answer are both in one passage."""
    begin: defaultdict[str, list[tuple[list[str], Example]]] = defaultdict(list)
    for example in examples:
        words = comparable(example.question.text).split()
        if words:
            begin[" ".join(words[:WORDS])].append((words, example))
    lengths = {key.count(" ") + 1 for key in begin}
    for passage in passages:
        words = comparable(passage.text).split()
        for place in range(len(words)):
            for length in lengths:
                for sought, example in begin.get(" ".join(words[place : place + length]), ()):
                    if words[place : place + len(sought)] == sought:
                        rest = " ".join(words[:place] + words[place + len(sought) :])
                        if any(comparable(answer) in rest for answer in example.answers):
                            yield example.question.id
