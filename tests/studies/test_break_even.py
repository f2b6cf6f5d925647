"""Bills and break-even against sums done by hand; docs/statistics.md works the same example."""

import numpy as np
import pytest

from stepladder.errors import ConfigError
from stepladder.evaluation.answers import Answers
from stepladder.runs.costs import Costs
from stepladder.studies.break_even import Prices, Spending, bill, break_even, break_evens
from stepladder.studies.results import Bill
from stepladder.types import Decoding, EvalRequest, Example, Prediction, Question, Task, Text


def spending(seconds, setup=0.0, labels=0, tokens=(100, 2), tuned=False):
    each = np.asarray(seconds, dtype=np.float64)
    return Spending(setup, labels, each, np.full(len(each), tokens[0]), np.full(len(each), tokens[1]), tuned)


def test_the_worked_example_of_the_documents():
    """Fine-tuning takes 1,800 s, its search 5,400 s, 500 labels; few-shot shows 20 labels in a prompt of 900 tokens."""
    prices = Prices("EUR", hour=0.9, training_hour=1.2, million_prompt_tokens=0.15, million_new_tokens=0.6, label=0.25)
    tuned = spending([0.1] * 40, setup=1800 + 5400, labels=500, tokens=(60, 4), tuned=True)
    prompted = spending([0.4] * 40, setup=0.0, labels=20, tokens=(900, 4))
    found = break_even("finetune", tuned, "few_shot", prompted, prices, None, seed=0)
    assert prices.setup(7200, 500) == pytest.approx(7200 / 3600 * 1.2 + 125) == pytest.approx(127.4)
    assert prices.setup(0, 20) == pytest.approx(5)
    assert found.setup == pytest.approx(122.4)
    # a request: 0.4 s and 904 tokens against 0.1 s and 64
    assert found.saved == pytest.approx((0.4 - 0.1) / 3600 * 0.9 + (900 - 60) * 0.15e-6) == pytest.approx(0.000201)
    assert found.requests == 608_956 == int(np.ceil(122.4 / 0.000201))
    assert found.tokens_saved == 840
    assert (found.measured, found.low, found.high) == (False, None, None)  # every question saves the same


def test_without_prices_seconds_count_and_labels_are_free():
    tuned, prompted = spending([0.1] * 10, 90, 500, tuned=True), spending([0.4] * 10)
    found = break_even("finetune", tuned, "zero_shot", prompted, Prices(), None, seed=0)
    assert Prices().unit == "s"
    assert found.requests == 300
    assert bill(tuned, Prices()) == Bill(setup=90, request=pytest.approx(0.1), setup_seconds=90, labels=500)


def test_the_interval_is_that_of_the_saving():
    generator = np.random.default_rng(0)
    saved = generator.normal(0.3, 0.2, 200)
    tuned, prompted = spending(np.full(200, 0.1), 90, tuned=True), spending(0.1 + saved)
    found = break_even("finetune", tuned, "zero_shot", prompted, Prices(), None, seed=0)
    reach = 1.96 * saved.std(ddof=1) / np.sqrt(200)
    assert found.saved_low == pytest.approx(saved.mean() - reach, abs=0.004)
    assert (found.low, found.high) == (int(np.ceil(90 / found.saved_high)), int(np.ceil(90 / found.saved_low)))
    assert found.low < found.requests < found.high
    grouped = break_even("finetune", tuned, "zero_shot", prompted, Prices(), np.arange(200) // 50, seed=0)
    assert grouped.saved_low != found.saved_low


@pytest.mark.parametrize(
    ("tuned", "prompted", "wanted"),
    [
        ((0.4, 90), (0.1, 0), (None, None)),  # more expensive to set up and to ask: never
        ((0.1, 90), (0.1, 0), (None, None)),  # saves nothing
        ((0.1, 0), (0.4, 90), (0, None)),  # cheaper in both from the first request
        ((0.4, 0), (0.1, 90), (None, 300)),  # cheaper to set up alone: until that is used up
        ((0.1, 0), (0.1, 0), (0, None)),
    ],
)
def test_never_at_once_and_until(tuned, prompted, wanted):
    one, two = spending([tuned[0]] * 5, tuned[1], tuned=True), spending([prompted[0]] * 5, prompted[1])
    found = break_even("t", one, "p", two, Prices(), None, seed=0)
    assert (found.requests, found.until) == wanted
    assert (found.measured, found.low, found.high) == (False, None, None)  # all questions cost the same


def test_a_saving_that_may_be_none_may_never_pay():
    each = np.random.default_rng(0).normal(0.01, 1.0, 30)
    each += 0.01 - each.mean()
    found = break_even("t", spending([0.0] * 30, 90, tuned=True), "p", spending(each), Prices(), None, seed=0)
    assert found.requests == 9000
    assert found.high is None
    assert found.low < 9000


def test_every_tuned_method_meets_every_prompted_one_and_no_floor():
    rungs = {
        "majority": spending([0.0] * 5, tokens=(0, 0)),
        "zero_shot": spending([0.4] * 5),
        "rag": spending([0.5] * 5),
        "finetune": spending([0.1] * 5, 90, tuned=True),
    }
    pairs = [(each.name, each.against) for each in break_evens(rungs, Prices(), None, seed=0)]
    assert pairs == [("finetune", "zero_shot"), ("finetune", "rag")]


def test_spending_is_the_mean_over_seeds_question_by_question():
    questions = tuple(Question(f"q{i}", "") for i in (2, 0, 1))
    examples = tuple(Example(q, ("x",)) for q in questions)
    request = EvalRequest("main", Task("", Text()), questions, Decoding("greedy"))

    def run(*seconds):
        predictions = (
            Prediction(q.id, "x", prompt_tokens=10, new_tokens=1, seconds=s)
            for q, s in zip(questions, seconds, strict=True)
        )
        return Answers(request, tuple(predictions), examples)

    costs = [Costs(fit_seconds=10.0, labels_used=7, training_tokens=5), Costs(fit_seconds=20.0, labels_used=7)]
    found = Spending.of([run(3, 1, 2), run(5, 3, 4)], costs, search_seconds=100, search_labels=3)
    assert found.seconds.tolist() == [2, 3, 4]
    assert (found.setup_seconds, found.labels, found.tuned, found.prompted) == (115, 10, True, False)


def test_a_price_below_nothing_is_refused():
    with pytest.raises(ConfigError, match="hour"):
        Prices(hour=-1)
    with pytest.raises(ConfigError, match="label"):
        Prices(label=float("nan"))


def test_there_is_no_break_even_against_what_is_significantly_better():
    rungs = {"zero_shot": spending([0.4] * 5), "rag": spending([0.5] * 5), "finetune": spending([0.1] * 5, tuned=True)}
    found = break_evens(rungs, Prices(), None, 0, worse=[("finetune", "rag")])
    assert [(each.name, each.against) for each in found] == [("finetune", "zero_shot")]
