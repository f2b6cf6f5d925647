"""A comparison's page from answers that are made up, through all that stands between answers and page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import built
import numpy as np

from stepladder.dataset.accounts import RowCounts
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import Accuracy
from stepladder.evaluation.metrics.confusion import confusion
from stepladder.evaluation.statistics.estimates import Measured
from stepladder.evaluation.tables import Curves, Table
from stepladder.reports.checklist import checklist
from stepladder.runs.costs import Costs
from stepladder.studies.break_even import Prices, Spending, break_evens
from stepladder.studies.compared_runs import ComparedRuns, Floor
from stepladder.studies.comparison import against_recommended, tuned_differences
from stepladder.studies.evidence import DataFacts, Evidence, SuiteFindings, bills
from stepladder.studies.examples import rows
from stepladder.studies.results import Comparison
from stepladder.studies.verdict import tuned_lines, verdict
from stepladder.types import Choice, Decoding, EvalRequest, Example, Prediction, Question, Task

PLANTED = "<script>window.planted=1</script><img src=x onerror='window.planted=1'>"
LADDER = ("majority", "linear", "zero_shot", "structured", "few_shot", "rag", "finetune", "finetune_rag")
WORDS = ("my", "card", "was", "charged", "twice", "and", "the", "transfer", "has", "not", "come", "through", "yet")


def answered(right: float, labels: Sequence[str], n: int, seed: int, cost: float, tokens: int) -> Answers:
    """`n` questions with labels drawn from `labels`, the share `right` of them answered as wanted."""
    drawn = np.random.default_rng(0)
    wanted = drawn.choice(len(labels), n)
    texts = [" ".join(drawn.choice(WORDS, 14)) + f" {i}" for i in range(n)]
    texts[0] = f"{PLANTED} is this row"
    questions = tuple(Question(f"r{i:05d}", text) for i, text in enumerate(texts))
    own = np.random.default_rng(seed)
    said = np.where(own.random(n) < right, wanted, own.choice(len(labels), n))
    predictions = tuple(
        Prediction(q.id, labels[at], prompt_tokens=tokens, new_tokens=2, seconds=cost * (0.8 + 0.4 * own.random()))
        for q, at in zip(questions, said, strict=True)
    )
    examples = tuple(Example(q, (labels[at],)) for q, at in zip(questions, wanted, strict=True))
    return Answers(
        EvalRequest("main", Task("Which?", Choice(tuple(labels))), questions, Decoding("choose")), predictions, examples
    )


def comparison(
    n: int = 60, seeds: int = 1, names: Sequence[str] = LADDER, labels: int = 8
) -> tuple[Comparison, Evidence]:
    """A comparison and the evidence of its report."""
    kinds = [f"topic_{i}" for i in range(labels - 1)] + [PLANTED]
    runs: dict[str, list[Answers]] = {}
    costs: dict[str, Costs] = {}
    for place, name in enumerate(names):
        tuned, model = name.startswith("finetune"), name not in ("majority", "linear")
        tokens = (40 + 60 * (place % 4)) if model else 0
        second = (0.05 if tuned else 0.2 + 0.02 * place) if model else 0.0001
        share = 0.1 + 0.75 * place / max(1, len(names) - 1)
        runs[name] = [answered(share, kinds, n, 100 * place + s, second, tokens) for s in range(seeds)]
        costs[name] = Costs(
            labels_used=500, trained_parameters=4_884_480 if tuned else 0, training_tokens=9_000 if tuned else 0,
            training_seconds=80.5 if tuned else 0.0, fit_seconds=95.0 if tuned else 0.1,
            prompt_tokens_per_question=float(tokens), new_tokens_per_question=2.0, seconds_per_question=second,
            seconds_p50=second, seconds_p95=second * 1.2, peak_memory=2**30,
        )  # fmt: skip
    baseline = names[min(2, len(names) - 1)]
    ladder = ComparedRuns({"accuracy": Accuracy()}, runs, "accuracy", seed=0)
    floor = Floor("majority", answered(0.02, kinds, n, 999, 0.0, 0))
    cells = [
        replace(cell, seeds=tuple(range(seeds)), seeded=cell.name.startswith("finetune"))
        for cell in ladder.cells(baseline, floor)
    ]
    spending = {name: Spending.of(each, [costs[name]]) for name, each in runs.items()}
    found = verdict(cells, list(runs), "accuracy", 0.02, floor=floor.name)
    cells = against_recommended(cells, ladder, found.recommended)
    tuned = tuned_differences(cells, ladder, spending, found.recommended)
    counts = RowCounts(read=n + 500, kept=n + 500, overlap=2)
    whole = built.comparison(
        cells,
        replace(found, tuned=tuple(tuned_lines(tuned, cells, "accuracy", found.recommended))),
        [built.run(name, costs[name], s, counts) for name in runs for s in range(seeds)],
        study=f"ladder-{PLANTED}",
        baseline=baseline,
        command=f"stepladder compare dataset=file '{PLANTED}'",
        tuned_differences=tuple(tuned),
        bills=bills(spending, Prices()),
        break_even=tuple(break_evens(spending, Prices(), None, seed=0)),
    )
    facts = DataFacts(500, 50, 8, counts, "choose", 1e6, {})
    return replace(whole, checklist=checklist(whole, facts)), _evidence(whole, runs, seeds, facts)


def _evidence(whole: Comparison, runs: dict[str, list[Answers]], seeds: int, facts: DataFacts) -> Evidence:
    named = {
        name if seeds == 1 else f"{name}, seed {s}": run for name, each in runs.items() for s, run in enumerate(each)
    }
    places, rungs = list(named), list(runs)
    below = [max(0, at - seeds) for at in range(len(places))]
    first = rungs.index(whole.verdict.recommended or whole.verdict.best) * seeds
    data = rows(named, Accuracy(), below, rungs.index(whole.baseline) * seeds, first)
    figure = {"ece": Measured(0.08, 0.05, 0.11, 60)}
    steps = {
        "before": [(0.1, 0.2), (0.5, 0.4), (0.9, 0.7)],
        f"after {PLANTED}": [(0.1, 0.12), (0.5, 0.52), (0.9, 0.88)],
    }
    tables = [
        Curves("Reliability", "confidence", "share right", steps, diagonal=True, note="Ten bins."),
        Table("Confident errors", ["question", "said"], [[PLANTED, "topic_1"], ["a \x00 question\x0c", None]]),
    ]
    return Evidence(
        facts,
        rows=data,
        suites=[
            SuiteFindings(rungs[-1], places[-1], "calibration", figure, tables),
            SuiteFindings(rungs[0], places[0], "calibration", figure, []),
        ],
        confusions={run: confusion(each) for run, each in [*named.items()][-2:]},
        texts={"Configuration": f"dataset:\n  name: {PLANTED}\n"},
        provenance={
            "stepladder": "0.1.0", "python": "CPython 3.11", "code": {"commit": "c" * 40},
            "data": {"train": {"rows": 60, "content": "a" * 64}},
            "devices": {"processor": "some", "cores": 2}, "distributions": {"torch": "2.13"},
        },
        origins=[("2026-01-01T00:00:00+00:00", "c" * 12)] * len(whole.rows),
    )  # fmt: skip
