"""Validates the statistics by simulation: type I error, coverage of intervals, power at the minimum detectable effect.

    scripts/bench statistics              the table of docs/statistics.md; a quarter of an hour on one core
    scripts/bench statistics rounds=50    the same with fewer rounds
    scripts/bench statistics only=seeds   the worlds with that word in their name
    scripts/bench statistics only=verdict how often the verdict recommends a method if none works
    scripts/bench statistics only=instructions   searched instructions if all are equally good

Every round draws a world anew: questions in groups, answers of two methods, runs that differ by their seed. Whether an
answer is correct depends on a normal score: the method's, plus random effects of the group, the question, the seed and
the answer. So the true values are known in closed form. The analysis is the code that `compare` uses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
from scipy.stats import norm

from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import Accuracy, Mean
from stepladder.evaluation.statistics.estimates import Measured, Side, difference, measured
from stepladder.studies.compared_runs import ComparedRuns, Floor
from stepladder.studies.results import Cell, Differences, DifferenceTo
from stepladder.studies.sweep.objectives import Objective
from stepladder.studies.sweep.results import Trial
from stepladder.studies.sweep.selection import against_plain, luck_of, scores_of
from stepladder.studies.sweep.trials import front
from stepladder.studies.verdict import verdict
from stepladder.types import Choice, Decoding, EvalRequest, Example, Prediction, Question, Task

TASK = Task("Answer.", Choice(("yes", "no")))
ROUNDS = 1000
SEARCHED = 200
"""A search takes so long that no more worlds than these are simulated."""
GRADED = Mean(lambda prediction, example: float(prediction.text))


@dataclass(frozen=True)
class World:
    """A data-generating process: `groups` of 1 to `widest` questions (`widest` 1: no groups), `seeds` runs per method.

    `worth` is the normal score of the first method. `group`, `question`, `seed` and `answer` are standard deviations of
    random effects; those of group and question are shared by all methods.
    """

    name: str
    groups: int
    widest: int = 1
    seeds: int = 1
    graded: bool = False
    mid_p: bool = False
    worth: float = 0.8
    group: float = 0.0
    question: float = 0.8
    seed: float = 0.0
    answer: float = 0.8

    @property
    def spread(self) -> float:
        return sqrt(self.group**2 + self.question**2 + self.seed**2 + self.answer**2)

    def truth(self, apart: float = 0.0) -> float:
        """The expected score of a method whose normal score is higher by `apart`, over all questions, groups and
        seeds."""
        return float(norm.cdf((self.worth + apart) / (sqrt(1 + self.spread**2) if self.graded else self.spread)))

    def apart(self, gap: float) -> float:
        """The difference of normal scores that makes the expected score higher by `gap`."""
        scale = sqrt(1 + self.spread**2) if self.graded else self.spread
        return float(norm.ppf(self.truth() + gap)) * scale - self.worth

    def drawn(self, generator: np.random.Generator, apart: float = 0.0) -> tuple[Side, Side]:
        """Two methods on newly drawn questions; the normal score of the second is higher by `apart`."""
        one, two = self.several(generator, [0.0, apart])
        return one, two

    def several(self, generator: np.random.Generator, apart: Sequence[float], floor: bool = False) -> list[Side]:
        """Methods with these differences of normal scores, on newly drawn questions; with `floor` the first has one
        run."""
        sizes = generator.integers(1, self.widest + 1, self.groups)
        place = np.repeat(np.arange(self.groups), sizes)
        shared = generator.normal(0, self.group, self.groups)[place] + generator.normal(0, self.question, len(place))
        groups = [f"g{p}" for p in place] if self.widest > 1 else [None] * len(place)
        questions = tuple(Question(f"q{i}", "", group=group) for i, group in enumerate(groups))
        examples = tuple(Example(question, ("yes",)) for question in questions)
        request = EvalRequest("main", TASK, questions, Decoding("greedy"))
        worlds = [replace(self, seeds=1, seed=0.0) if floor and at == 0 else self for at in range(len(apart))]
        return [
            world._side(generator, shared, each, request, examples) for world, each in zip(worlds, apart, strict=True)
        ]

    def _side(
        self,
        generator: np.random.Generator,
        shared: Any,
        apart: float,
        request: EvalRequest,
        examples: tuple[Example, ...],
    ) -> Side:
        runs = []
        for luck in generator.normal(0, self.seed, self.seeds):
            score = self.worth + apart + luck + shared + generator.normal(0, self.answer, len(shared))
            texts = [f"{x:.4f}" for x in norm.cdf(score)] if self.graded else ["yes" if s > 0 else "no" for s in score]
            predictions = tuple(Prediction(e.question.id, text) for e, text in zip(examples, texts, strict=True))
            runs.append(Answers(request, predictions, examples))
        return Side(GRADED if self.graded else Accuracy(), runs)


WORLDS = (
    World("binary, 1,000 rows, exact McNemar", 1000),
    World("binary, 1,000 rows, mid-p", 1000, mid_p=True),
    World("binary, 100 rows, exact McNemar", 100),
    World("binary, 100 rows, mid-p", 100, mid_p=True),
    World("graded, 150 rows", 150, graded=True),
    World("binary, 100 groups of 1 to 8", 100, 8, group=0.6),
    World("graded, 100 groups of 1 to 8", 100, 8, graded=True, group=0.6),
    World("binary, 20 groups of 1 to 20", 20, 20, group=0.6),
    World("binary, 200 rows, 3 seeds", 200, seeds=3, seed=0.15),
    World("binary, 200 rows, 3 seeds that agree", 200, seeds=3),
    World("binary, 200 rows, 5 seeds", 200, seeds=5, seed=0.15),
    World("graded, 150 rows, 3 seeds", 150, seeds=3, seed=0.15, graded=True),
    World("binary, 50 groups of 1 to 8, 3 seeds", 50, 8, seeds=3, group=0.6, seed=0.15),
)


@dataclass(frozen=True)
class Found:
    """Shares of the rounds: comparisons of equal methods that were significant (type I error), intervals of a score and
    of a difference that contain the true value (coverage), differences of the detectable size that were significant
    (power)."""

    rejected: float
    score_held: float
    difference_held: float
    detected: float


def simulate(world: World, rounds: int, seed: int = 0) -> Found:
    """Compare, in each round, two equal methods, and two methods that differ by the minimum detectable difference."""
    generator = np.random.default_rng(seed)
    rejected, score_held, difference_held, detected = [], [], [], []
    for _ in range(rounds):
        one, two = world.drawn(generator)
        estimate = difference(two, one, seed=int(generator.integers(2**31)), mid_p=world.mid_p)
        score = measured(one, seed=int(generator.integers(2**31)))
        rejected.append(estimate.p < 0.05)
        score_held.append(score.low <= world.truth() <= score.high)
        one, two = world.drawn(generator, world.apart(min(estimate.detectable, 0.95 - world.truth())))
        gap = world.truth(world.apart(min(estimate.detectable, 0.95 - world.truth()))) - world.truth()
        shown = difference(two, one, seed=int(generator.integers(2**31)), mid_p=world.mid_p)
        difference_held.append(shown.low <= gap <= shown.high)
        detected.append(shown.p < 0.05)
    return Found(*(float(np.mean(each)) for each in (rejected, score_held, difference_held, detected)))


VERDICTS = (
    World("binary, 20 rows", 20, worth=0.0),
    World("binary, 60 rows", 60, worth=0.0),
    World("binary, 300 rows", 300, worth=0.0),
    World("binary, 25 rows, 3 seeds", 25, seeds=3, worth=0.0),
    World("binary, 100 rows, 3 seeds", 100, seeds=3, seed=0.15, worth=0.0),
    World("binary, 25 groups of 1 to 8", 25, 8, group=0.6, worth=0.0),
    World("graded, 40 rows", 40, graded=True, worth=0.0),
)


def claims(world: World, rounds: int, methods: int = 3, ahead: float = 0.0, seed: int = 0) -> float:
    """The share of rounds whose verdict recommends a method. The normal score of the first of `methods` is higher than
    that of the floor by `ahead`, the others are equal to it: with `ahead` 0, the share of false recommendations."""
    generator = np.random.default_rng(seed)
    metric = GRADED if world.graded else Accuracy()
    claimed = 0
    for _ in range(rounds):
        sides = world.several(generator, [0.0, ahead, *[0.0] * (methods - 1)], floor=True)
        methods_by_name = {f"method_{at}": side.runs for at, side in enumerate(sides[1:])}
        order, number = list(methods_by_name), int(generator.integers(2**31))
        ladder = ComparedRuns({"score": metric}, methods_by_name, "score", number)
        found = ladder.to_floor(Floor("floor", sides[0].runs[0]))
        cells = [_cell(name, ladder.sides["score"][name], found[name]) for name in order]
        claimed += verdict(cells, order, "score", 0.02, floor="floor").recommended is not None
    return claimed / rounds


def _cell(name: str, side: Side, to_floor: Differences) -> Cell:
    """The part of a cell that decides whether a method works; intervals and other differences would take time."""
    score = Measured(side.value, 0.0, 1.0, side.n)
    return Cell(name, {"score": score}, {"score": 0.0}, side.units, to_floor=DifferenceTo("floor", to_floor))


@dataclass(frozen=True)
class Search:
    """Searches of the best of `trials` equally good prompts on the questions of `validation`, scored on `test`.

    Attributes:
        claimed: The share of searches that claim, on the test rows, to beat the plain prompt (prompt 0).
        optimism: By how much the winner's validation score exceeds its true score, on average.
        luck: The expected luck that is shown next to it, on average.
    """

    claimed: float
    optimism: float
    luck: float


SEARCHES = {
    "20 prompts, 100 rows": (20, World("", 100), World("", 300)),
    "20 prompts, 100 rows, answers nearly independent": (
        20,
        World("", 100, question=0.2),
        World("", 300, question=0.2),
    ),
    "8 prompts, 40 rows": (8, World("", 40), World("", 100)),
    "20 prompts, 40 groups of 1 to 4": (20, World("", 40, 4, group=0.6), World("", 100, 4, group=0.6)),
}
"""By name: the number of prompts, the validation rows, the test rows."""


def search(prompts: int, validation: World, test: World, rounds: int, seed: int = 0) -> Search:
    """Search as `sweep` does, in worlds in which all prompts are equally good."""
    generator = np.random.default_rng(seed)
    objective, equal = Objective("accuracy", "classification", main=True), [0.0] * prompts
    claimed, optimism, luck = [], [], []
    for number in range(rounds):
        answered = [side.runs[0] for side in validation.several(generator, equal)]
        scores = [tuple(scores_of(Accuracy(), answers) or ()) for answers in answered]
        trials = [
            Trial(at, "complete", (), values=(float(np.mean(own)),), question_scores=own)
            for at, own in enumerate(scores)
        ]
        best = front(trials, [objective])[0]
        found = luck_of(trials, answered[0].examples, f"study-{seed}-{number}")
        on_test = [side.runs[0] for side in test.several(generator, equal)]
        judged = against_plain(Accuracy(), on_test[best.number], on_test[0], "accuracy", seed=number)
        assert found is not None
        assert best.values is not None
        claimed.append(judged.beaten)
        optimism.append(best.values[0] - validation.truth())
        luck.append(found.value)
    return Search(*(float(np.mean(each)) for each in (claimed, optimism, luck)))


def row(world: World, found: Found, rounds: int) -> str:
    """A line of the table."""
    shares = (found.rejected, found.score_held, found.difference_held, found.detected)
    return f"| {world.name} | {rounds:,} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |"


def main(words: list[str]) -> None:
    """Print the tables line by line."""
    said = dict(word.split("=", 1) for word in words)
    rounds = int(said.get("rounds", ROUNDS))
    if said.get("only") != "instructions":
        print_tables(said.get("only", ""), rounds)
    if said.get("only", "") in ("", "instructions"):
        print("\n| all prompts equally good | rounds | searched beats plain on test, % | optimism | luck shown |")
        print("|---|---|---|---|---|", flush=True)
        for name, (prompts, validation, test) in SEARCHES.items():
            worlds = min(rounds, SEARCHED)
            of = search(prompts, validation, test, worlds)
            print(f"| {name} | {worlds:,} | {100 * of.claimed:.1f} | {of.optimism:+.3f} | {of.luck:+.3f} |", flush=True)


def print_tables(only: str, rounds: int) -> None:
    """The tables of intervals and tests, and of verdicts."""
    print("| scores | rounds | type I error, % | coverage of scores, % | coverage of differences, % | power, % |")
    print("|---|---|---|---|---|---|", flush=True)
    for world in WORLDS if only != "verdict" else ():
        if only in world.name:
            print(row(world, simulate(world, rounds), rounds), flush=True)
    print("\n| three methods, none better than the most frequent answer | rounds | one is recommended, % |")
    print("|---|---|---|", flush=True)
    for world in VERDICTS:
        if only in (*world.name.split(), world.name, "", "verdict"):
            print(f"| {world.name} | {rounds:,} | {100 * claims(world, rounds):.1f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
