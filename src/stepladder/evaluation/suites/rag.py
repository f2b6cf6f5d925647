"""The suite `rag`: are wrong answers due to the retriever or to the reader?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from stepladder.errors import Fault, require
from stepladder.evaluation.answers import Answers, clusters_of
from stepladder.evaluation.metrics.choice import Floats
from stepladder.evaluation.metrics.ranking import ndcg, recall_at, reciprocal_rank
from stepladder.evaluation.metrics.text import normalised
from stepladder.evaluation.requests import EvalBatch, EvalInputs, chosen, rows_rule, unfit
from stepladder.evaluation.statistics.closed_form import holm
from stepladder.evaluation.statistics.estimates import Measured
from stepladder.evaluation.suite import Details, SuiteScores, TaskKind, question_scores
from stepladder.evaluation.suites.figures import change, mean, metric_for, row_values, with_interval
from stepladder.evaluation.suites.passages import Distractors, distractors, gold_of, mixed
from stepladder.evaluation.tables import Drawing, Table, TableCell
from stepladder.types import Example, PromptOverride

CONDITIONS = ("none", "retrieved", "gold", "gold_among_distractors")
COMPARED = (("gold", "none"), ("retrieved", "none"), ("gold", "retrieved"), ("gold", "gold_among_distractors"))
SHOWN = 20


@dataclass(frozen=True)
class Rag:
    """Questions with known gold passages, under five conditions: no passage, the retrieved ones, gold, gold among
    distractors, and distractors only.

    Args:
        passages: How many passages are shown, gold and distractors together.
        distractors: `near` (most words in common with the question) or `random`.
        cutoffs: The k of recall@k and nDCG@k.
        right: The value from which on an answer counts as right.
        abstentions: Answers that say that there is no answer.
        rows: At most so many questions, chosen by their ids; None takes all.
        seed: Of orders and draws.
    """

    version: ClassVar[int] = 1
    kind: ClassVar[TaskKind | None] = None

    passages: int = 5
    distractors: Distractors = "near"
    cutoffs: Sequence[int] = (1, 3, 5)
    right: float = 0.5
    abstentions: Sequence[str] = ("unanswerable", "not in the text", "i do not know", "i don't know")
    rows: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        few = f"{self.passages} are too few for a distractor"
        cutoffs = f"{list(self.cutoffs)} has a k below 1"
        right = Fault("right", f"{self.right} is not a value of an answer", "give more than 0 and at most 1")
        kinds = Fault("distractors", f"'{self.distractors}' is unknown", "set near or random")
        require(
            (self.passages >= 2, Fault("passages", few, "give at least 2")),
            (self.distractors in ("near", "random"), kinds),
            (all(k >= 1 for k in self.cutoffs), Fault("cutoffs", cutoffs, "give whole numbers from 1")),
            (0 < self.right <= 1, right),
            rows_rule(self.rows),
        )

    def requests(self, inputs: EvalInputs) -> tuple[EvalBatch, ...]:
        examples = self._known(inputs.examples)
        gold = gold_of(examples, inputs.corpus)
        examples = [e for e in examples if gold[e.question.id]]
        if not examples:
            raise unfit("no question's gold passages are known", "give dataset.gold=COLUMN, or a layout that has them")
        if not inputs.prompted:
            return (inputs.plain,)
        count, kind = self.passages, self.distractors
        others = distractors(examples, inputs.corpus, count, kind, self.seed)
        shown = {
            "none": dict.fromkeys(gold, ()),
            "gold": gold,
            "gold_among_distractors": mixed(gold, others, count, self.seed),
            "distractors": others,
        }
        batch = [
            inputs.ask(name, examples, PromptOverride(passages={e.question.id: each[e.question.id] for e in examples}))
            for name, each in shown.items()
        ]
        if inputs.retrieves:
            batch.append(inputs.ask("retrieved", examples))
        return (inputs.plain, *batch)

    def _known(self, examples: Sequence[Example]) -> list[Example]:
        return chosen([e for e in examples if e.gold], self.rows, self.seed)

    def score(self, answers: Mapping[str, Answers], seed: int) -> SuiteScores:
        if "gold" not in answers:
            return SuiteScores({}, details={"left_out": {"everything": "the method reads no prompt, so no passages"}})
        conditions = {name: answers[name] for name in CONDITIONS if name in answers}
        examples = answers["gold"].examples
        clusters = clusters_of(examples)
        values = {name: row_values(each) for name, each in conditions.items()}
        metrics = {name: mean(each, clusters, seed) for name, each in values.items()}
        tables: list[Drawing] = [_conditions(metrics, values, clusters, seed)]
        details: Details = {"metric": type(metric_for(answers["gold"].request.task)).__name__, "left_out": {}}
        scored = dict(values)
        if "retrieved" in answers:
            found = answers["retrieved"]
            ranked = self._ranked(found)
            metrics |= {name: mean(each, clusters, seed) for name, each in ranked.items()}
            blame = _blame(found, values["retrieved"] >= self.right)
            metrics |= {f"{who}_errors": mean(each, clusters, seed) for who, each in blame.items()}
            details["errors"] = {who: int(each.sum()) for who, each in blame.items()}
            tables += [_errors(blame, values, self.right), _wrong(found, blame)]
            scored |= ranked | {f"{who}_error": each for who, each in blame.items()}
        else:
            details["left_out"]["retrieved"] = "the method retrieves nothing"
        metrics |= self._abstained(answers, clusters, seed, details)
        ids = answers["gold"].ids
        lines = [line for name, each in scored.items() for line in question_scores(name, ids, each)]
        return SuiteScores(metrics, tuple(lines), details, tuple(tables))

    def _ranked(self, retrieved: Answers) -> dict[str, Floats]:
        """Figures of the rankings, a value a question."""
        both = zip(retrieved.predictions, retrieved.examples, strict=True)
        pairs = [(list(dict.fromkeys(p.shown)), e.gold) for p, e in both]
        longest = max(len(ranking) for ranking, _ in pairs)
        cutoffs = [k for k in self.cutoffs if k <= max(1, longest)]  # beyond what is shown nothing is known
        found = {f"recall@{k}": np.array([recall_at(r, gold, k) for r, gold in pairs]) for k in cutoffs}
        found["mrr"] = np.array([reciprocal_rank(ranking, gold) for ranking, gold in pairs])
        return found | {f"ndcg@{k}": np.array([ndcg(r, gold, k) for r, gold in pairs]) for k in cutoffs}

    def _abstained(
        self, answers: Mapping[str, Answers], clusters: Any, seed: int, details: Details
    ) -> dict[str, Measured]:
        """How often the method abstains: without and with a gold passage."""
        if answers["gold"].request.task.kind != "text" or not self.abstentions:
            details["left_out"]["abstentions"] = "they are looked for in text answers"
            return {}
        without, with_gold = (self._says_none(answers[name]) for name in ("distractors", "gold"))
        return {
            "abstained_without_gold": mean(without, clusters, seed),
            "abstained_with_gold": mean(with_gold, clusters, seed),
        }

    def _says_none(self, answers: Answers) -> Floats:
        phrases = [f" {normalised(phrase)} " for phrase in self.abstentions]
        texts = [f" {normalised(p.text)} " for p in answers.predictions]
        return np.array([float(any(phrase in text for phrase in phrases)) for text in texts])


def _blame(retrieved: Answers, right: Any) -> dict[str, Floats]:
    """Every wrong answer, attributed to the retriever where no gold passage was shown, else to the reader."""
    shown = [bool({*p.shown} & {*e.gold}) for p, e in zip(retrieved.predictions, retrieved.examples, strict=True)]
    found = np.array(shown)
    return {"retriever": (~right & ~found).astype(np.float64), "reader": (~right & found).astype(np.float64)}


def _conditions(metrics: Mapping[str, Measured], values: Mapping[str, Floats], clusters: Any, seed: int) -> Table:
    pairs = [(one, other) for one, other in COMPARED if one in values and other in values]
    moved = {pair: change(values[pair[0]], values[pair[1]], clusters, seed) for pair in pairs}
    adjusted = dict(zip(pairs, holm([found.p for found in moved.values()]), strict=True))
    rows: list[list[TableCell]] = [[name, with_interval(figure), None] for name, figure in metrics.items()]
    rows += [[f"{o} - {t}", with_interval(moved[o, t], "{:+.3f}"), adjusted[o, t]] for o, t in pairs]
    columns = ("passages", "score", "p (Holm)")
    return Table("Answers by passages shown", columns, rows, "the same questions in every line")


def _errors(blame: Mapping[str, Floats], values: Mapping[str, Floats], right: float) -> Table:
    wrong = int(sum(each.sum() for each in blame.values()))
    fixed_by_gold = {who: int((each.astype(bool) & (values["gold"] >= right)).sum()) for who, each in blame.items()}
    rows: list[list[TableCell]] = [
        [who, int(each.sum()), each.sum() / wrong if wrong else None, fixed_by_gold[who]] for who, each in blame.items()
    ]
    rows.append(["all", wrong, 1.0 if wrong else None, sum(fixed_by_gold.values())])
    columns = ("put down to", "wrong answers", "share", "of these right with gold alone")
    return Table("Retriever or reader", columns, rows, "retriever: no passage that holds the answer was shown")


def _wrong(retrieved: Answers, blame: Mapping[str, Floats]) -> Table:
    rows: list[list[TableCell]] = [
        [e.question.id, who, e.question.text, e.answers[0], retrieved.predictions[i].text]
        for who, each in blame.items()
        for i, e in [(i, e) for i, e in enumerate(retrieved.examples) if each[i]][: SHOWN // 2]
    ]
    columns = ("id", "put down to", "question", "answer", "predicted")
    return Table("Wrong answers", columns, rows, "some of each kind")
