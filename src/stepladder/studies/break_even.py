"""What methods cost, and their break-even: the number of requests after which a more expensive setup has paid off.

Without prices the unit is a second of the machine, and labels are free.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np

from stepladder.errors import ConfigError, Fault
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.statistics.resampling import Floats, bootstrap_sums, units_of, widened
from stepladder.models.conversation import Tariff
from stepladder.runs.costs import Costs
from stepladder.studies.results import Bill, BreakEven


@dataclass(frozen=True)
class Prices:
    """Prices in one currency. Without any price, costs are in seconds of the machine.

    Args:
        currency: Its name, for reports.
        hour: Of the machine that predicts and trains.
        training_hour: Of the machine that trains, where that is another one; None is `hour`.
        million_prompt_tokens: Where requests are paid by the token; `million_new_tokens` likewise.
        label: Of one labelled row.
    """

    currency: str = "EUR"
    hour: float = 0.0
    training_hour: float | None = None
    million_prompt_tokens: float = 0.0
    million_new_tokens: float = 0.0
    label: float = 0.0

    def __post_init__(self) -> None:
        given = {name: value for name, value in asdict(self).items() if name != "currency" and value is not None}
        wrong = [name for name, value in given.items() if not 0 <= value < float("inf")]
        if wrong:
            raise ConfigError([Fault(name, f"{given[name]} is not a price", "give a number from 0") for name in wrong])

    @property
    def known(self) -> bool:
        return any(value for name, value in asdict(self).items() if name != "currency")

    @property
    def unit(self) -> str:
        return self.currency if self.known else "s"

    def setup(self, seconds: float, labels: float) -> float:
        """The cost before the first request, from seconds of fitting and searching and from labelled rows."""
        if not self.known:
            return seconds
        hour = self.hour if self.training_hour is None else self.training_hour
        return seconds / 3600 * hour + labels * self.label

    def request(self, seconds: Any, prompt_tokens: Any, new_tokens: Any) -> Any:
        """The cost of a request, from numbers or arrays."""
        if not self.known:
            return seconds
        tokens = prompt_tokens * self.million_prompt_tokens + new_tokens * self.million_new_tokens
        return seconds / 3600 * self.hour + tokens / 1e6


@dataclass(frozen=True)
class Spending:
    """What one method cost, means over its runs.

    Attributes:
        setup_seconds: Fitting and searching, before the first request.
        labels: Labelled rows.
        seconds: Of each question, shape (n,), in the order of the sorted ids; the tokens likewise.
        tuned: Whether a model was trained.
        tariff: Of a model behind an API, whose machine is not paid for by the hour; None for a local model.
    """

    setup_seconds: float
    labels: float
    seconds: Floats
    prompt_tokens: Floats
    new_tokens: Floats
    tuned: bool
    tariff: Tariff | None = None

    @classmethod
    def of(
        cls,
        runs: Sequence[Answers],
        costs: Sequence[Costs],
        search_seconds: float = 0.0,
        search_labels: int = 0,
        tariff: Tariff | None = None,
    ) -> Spending:
        """From a method's answers and the costs of its runs. A fit counts whole: loading and validation too. A search
        adds its seconds, and the labelled rows that it chose by where the fit did not read them."""
        fits = [float(cost.fit_seconds or cost.training_seconds or 0.0) for cost in costs]
        order = [np.argsort(run.ids) for run in runs]

        def mean(name: str) -> Floats:
            by_run = [np.array([getattr(p, name) for p in run.predictions], dtype=np.float64) for run in runs]
            return np.asarray(np.mean([each[o] for each, o in zip(by_run, order, strict=True)], axis=0))

        return cls(
            setup_seconds=float(np.mean(fits)) + search_seconds,
            labels=float(np.mean([cost.labels_used for cost in costs])) + search_labels,
            seconds=mean("seconds"),
            prompt_tokens=mean("prompt_tokens"),
            new_tokens=mean("new_tokens"),
            tuned=any(cost.training_tokens for cost in costs),
            tariff=tariff,
        )

    @property
    def prompted(self) -> bool:
        """Whether it prompts a language model that is not tuned."""
        return not self.tuned and bool(self.prompt_tokens.any())


def break_even(
    name: str, tuned: Spending, against: str, prompted: Spending, prices: Prices, clusters: Any, seed: int
) -> BreakEven:
    """The break-even: extra cost of the setup / saving per request, on the same questions."""
    setup = prices.setup(tuned.setup_seconds, tuned.labels) - prices.setup(prompted.setup_seconds, prompted.labels)
    each = _request(prompted, prices) - _request(tuned, prices)
    sums = bootstrap_sums(np.column_stack([each, np.ones(len(each))]), clusters, seed)
    units = units_of(len(each), clusters)
    low, high = (float(q) for q in np.quantile(widened(sums[:, 0] / sums[:, 1], units), [0.025, 0.975]))
    saved = float(each.mean())
    low, high = min(low, saved), max(high, saved)
    measured = high - low > 1e-9 * max(abs(low), abs(high))
    return BreakEven(
        name,
        against,
        setup,
        saved,
        low if measured else None,
        high if measured else None,
        requests=_requests(setup, saved),
        low=_requests(setup, high) if measured else None,
        high=_requests(setup, low) if measured else None,
        until=ceil(setup / saved) if setup < 0 and saved < 0 else None,
        tokens_saved=float(np.mean(prompted.prompt_tokens - tuned.prompt_tokens)),
        measured=measured,
    )


def break_evens(
    spent: Mapping[str, Spending], prices: Prices, clusters: Any, seed: int, worse: Collection[tuple[str, str]] = ()
) -> list[BreakEven]:
    """Every tuned method against every prompted one, without the pairs in `worse`, whose first method is
    significantly worse than the second: a saving does not make up for lower quality."""
    return [
        break_even(name, spent[name], against, spent[against], prices, clusters, seed)
        for name, against in tuned_and_prompted(spent)
        if (name, against) not in worse
    ]


def tuned_and_prompted(spent: Mapping[str, Spending]) -> list[tuple[str, str]]:
    """Every tuned method with every prompted one."""
    return [(t, p) for t, tuned in spent.items() if tuned.tuned for p, other in spent.items() if other.prompted]


def bill(spent: Spending, prices: Prices) -> Bill:
    """A method's setup and its mean request, in the unit of the prices."""
    return Bill(
        setup=prices.setup(spent.setup_seconds, spent.labels),
        request=float(np.mean(_request(spent, prices))),
        setup_seconds=spent.setup_seconds,
        labels=spent.labels,
    )


def _request(spent: Spending, prices: Prices) -> Floats:
    if spent.tariff is not None and spent.tariff.known and prices.known:
        return np.asarray(spent.tariff.cost(spent.prompt_tokens, spent.new_tokens), dtype=np.float64)
    return np.asarray(prices.request(spent.seconds, spent.prompt_tokens, spent.new_tokens), dtype=np.float64)


def _requests(setup: float, saved: float) -> int | None:
    if saved > 0:
        return max(0, ceil(setup / saved - 1e-9))
    return 0 if setup <= 0 and saved == 0 else None
