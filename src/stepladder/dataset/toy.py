"""A toy dataset made in memory, for tests and first experiments: short requests of four kinds.

Each kind uses its own words, so that every working method can learn it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from stepladder.dataset.accounts import Place
from stepladder.dataset.formats import Dialect, Record, Table
from stepladder.errors import ConfigError, Fault

KINDS = {
    "heating": ["the radiator", "the boiler", "the thermostat", "the warm water", "the heat pump"],
    "keys": ["the front door key", "my key card", "the lock", "the door code", "the spare key"],
    "parking": ["my parking space", "the garage", "the car park permit", "the charging post", "the bicycle stand"],
    "rent": ["the rent invoice", "my deposit", "the rent payment", "the rent receipt", "the service charge"],
}
TEMPLATES = [
    "I have a question about {}.",
    "Who can help me with {}?",
    "Something is wrong with {}.",
    "Please call me back about {}.",
    "When will someone look at {}?",
    "I wrote to you about {} last week.",
    "Is there any news about {}?",
    "I need help with {} today.",
]


@dataclass(frozen=True)
class Toy:
    """Requests (columns text, label and street) with alternating labels. The same seed gives the same rows."""

    rows: int = 120
    seed: int = 0

    def __post_init__(self) -> None:
        most = len(KINDS) * len(TEMPLATES) * 5
        if not 2 * len(KINDS) <= self.rows <= most:
            raise ConfigError(Fault("rows", f"{self.rows} rows cannot be made", f"give {2 * len(KINDS)} to {most}"))

    def table(self, name: str, dialect: Dialect) -> Table:
        draw = random.Random(f"{self.seed}:{name}")
        texts = {
            label: [template.format(thing) for template in TEMPLATES for thing in things]
            for label, things in KINDS.items()
        }
        for label in KINDS:
            draw.shuffle(texts[label])
        labels = list(KINDS)
        records = []
        for number in range(self.rows):
            label = labels[number % len(labels)]
            street = draw.choice(["Mill Lane", "Station Road", "Quay Street"])
            values = {"text": texts[label][number // len(labels)], "label": label, "street": street}
            records.append(Record(Place(name, number + 1, "row"), values))
        return Table(name, ("text", "label", "street"), tuple(records))

    def origin(self, name: str) -> str:
        return f"toy rows={self.rows} seed={self.seed}"
