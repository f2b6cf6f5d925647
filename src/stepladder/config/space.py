"""The search space of a sweep: parameters in Hydra's grammar of `choice`, `range`, `interval` and `tag(log, …)`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Transformer,
)

from stepladder.config.overrides import parse
from stepladder.errors import ConfigError, Fault
from stepladder.types import Plain

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Choice:
    """One of `values`. `texts` are the same values as overrides have them."""

    values: tuple[Scalar, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Numbers:
    """Numbers from `low` to `high`, both included, in steps of `step` if it is given."""

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    @property
    def size(self) -> int | None:
        """The number of values; None for a continuous interval."""
        return None if self.step is None else round((self.high - self.low) / self.step) + 1


@dataclass(frozen=True)
class Parameter:
    """A key of the configuration and its values; `text` is how they were written."""

    key: str
    text: str
    domain: Choice | Numbers

    @property
    def name(self) -> str:
        """The key without the `+` of an added key."""
        return self.key.lstrip("+")

    @property
    def size(self) -> int | None:
        return len(self.domain.values) if isinstance(self.domain, Choice) else self.domain.size

    @property
    def values(self) -> tuple[Scalar, ...] | None:
        """Every value, in the order of the space; None for a continuous interval."""
        if isinstance(self.domain, Choice):
            return self.domain.values
        size, step, low = self.domain.size, self.domain.step, self.domain.low
        if size is None or step is None:
            return None
        if self.domain.whole:
            return tuple(int(low) + place * int(step) for place in range(size))
        return tuple(round(low + place * step, 12) for place in range(size))

    @property
    def samples(self) -> tuple[Scalar, ...]:
        """Every choice, or both ends of an interval: values to check the space with."""
        if isinstance(self.domain, Choice):
            return self.domain.values
        return tuple(dict.fromkeys((self.domain.low, self.domain.high)))

    def override(self, value: Scalar) -> str:
        """The override that sets `value`."""
        if isinstance(self.domain, Choice):
            return f"{self.key}={self.domain.texts[self.domain.values.index(value)]}"
        return f"{self.key}={value!r}"


def parameters(texts: Plain) -> tuple[Parameter, ...]:
    """The parameters of a search space that is written as texts by key.

    Raises:
        ConfigError: With all faults.
    """
    to_do = "write choice(A, B), range(1, 4) or interval(0, 1)"
    wrong = {key: text for key, text in texts.items() if not isinstance(text, str)}
    faults = [Fault(f"sweep.space.{key}", f"{text!r} says no values to try", to_do) for key, text in wrong.items()]
    if faults:
        raise ConfigError(faults)
    return parsed(parse([f"{key}={text}" for key, text in texts.items()]))


def parsed(overrides: Iterable[Override]) -> tuple[Parameter, ...]:
    """The parameters of overrides that list several values.

    Raises:
        ConfigError: With all faults.
    """
    found, faults = [], []
    for override in overrides:
        text = str(override.input_line)
        key = override.get_key_element()
        if not override.is_sweep_override():
            faults.append(Fault(text, "one value leaves nothing to search", "write choice(A, B), or fix it outside"))
            continue
        try:
            found.append(Parameter(key, text.partition("=")[2], _domain(override)))
        except ValueError as error:
            faults.append(Fault(text, str(error), "fix the space"))
    if faults:
        raise ConfigError(faults)
    return tuple(found)


def text_parameter(key: str, texts: Sequence[str]) -> Parameter:
    """The choice of null or one of `texts`, which may contain any characters. Hydra's `choice` takes no null."""
    quoted = [str(QuotedString(text, Quote.single).with_quotes()) for text in texts]
    written = json.dumps([None, *texts], ensure_ascii=False)
    return Parameter(key, written, Choice((None, *texts), ("null", *quoted)))


def _domain(override: Override) -> Choice | Numbers:
    sweep = override.value()
    if isinstance(sweep, ChoiceSweep):
        values = [_scalar(v) for v in sweep.list]
        texts = [_text(v, text) for v, text in zip(sweep.list, override.sweep_string_iterator(), strict=True)]
        alike = next(
            ((a, b) for a in values for b in values if isinstance(a, bool) and not isinstance(b, bool) and a == b), None
        )
        if alike:
            raise ValueError(f"{alike[1]} and {str(alike[0]).lower()} are one value to Optuna")
        kept = [i for i, v in enumerate(values) if v not in values[:i]]
        return Choice(tuple(values[i] for i in kept), tuple(texts[i] for i in kept))
    if isinstance(sweep, IntervalSweep):
        whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
        return _numbers(sweep.start, sweep.end, 1 if whole else None, "log" in sweep.tags, whole)
    if isinstance(sweep, RangeSweep):
        numbers: list[Any] = list(sweep.range())
        if not numbers:
            raise ValueError("the range is empty")
        whole = all(isinstance(number, int) for number in numbers)
        return _numbers(min(numbers), max(numbers), abs(sweep.step), "log" in sweep.tags, whole)
    raise ValueError("neither choice, range nor interval")


def _numbers(low: Any, high: Any, step: Any, log: bool, whole: bool) -> Numbers:
    if low > high:
        raise ValueError(f"the interval from {low} to {high} is empty")
    if log and low <= 0:
        raise ValueError(f"{low} has no logarithm")
    if log and step is not None and not (whole and step == 1):
        raise ValueError("a log scale has no steps")
    return Numbers(low, high, step, log, whole)


def _text(value: object, text: str) -> str:
    """`text`, quoted where an override would not read it as the string `value`: `1`, `null`, `it's`."""
    if not isinstance(value, str):
        return text
    try:
        plain = parse([f"key={text}"])[0].value() == value
    except ConfigError:
        plain = False
    return text if plain else str(QuotedString(value, Quote.single).with_quotes())


def _scalar(value: Any) -> Scalar:
    """The value of a choice; a list or mapping as its text."""
    if isinstance(value, QuotedString):
        return str(value.text)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(Transformer.str(value))
