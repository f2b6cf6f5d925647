"""Perturbations of a question's text that keep its meaning. Contractions, fillers and preambles are English."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from stepladder.types import Question

KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
FILLERS = ("Um, ", "Well, ", "So, ", "Okay, so ", "Hm, ", "Right, ")
PREAMBLES = (
    "Hello! I hope that this finds you well and that the week has been kind to you so far. I have meant to write for "
    "a few days, but one thing or another came first. Now I finally have a quiet minute. Here is what it is about: ",
    "Good day. Before I come to the point, thank you for taking the time to read this, I know that there is a lot to "
    "do. I will try to keep it short, though I do not always manage to. At last, this is what I have to say: ",
    "Hi there, it is me again. I was not sure where else to send this, so I thought that I would simply try it here. "
    "If this is the wrong place, please do not mind. I have read it over twice and hope it is clear. It goes so: ",
)
CONTRACTIONS = (
    ("i am", "i'm"), ("i have", "i've"), ("i will", "i'll"), ("i would", "i'd"), ("you are", "you're"),
    ("we are", "we're"), ("we have", "we've"), ("they are", "they're"), ("it is", "it's"), ("that is", "that's"),
    ("what is", "what's"), ("where is", "where's"), ("who is", "who's"), ("how is", "how's"), ("there is", "there's"),
    ("do not", "don't"), ("does not", "doesn't"), ("did not", "didn't"), ("is not", "isn't"), ("are not", "aren't"),
    ("was not", "wasn't"), ("were not", "weren't"), ("have not", "haven't"), ("has not", "hasn't"), ("cannot", "can't"),
    ("could not", "couldn't"), ("will not", "won't"), ("would not", "wouldn't"), ("should not", "shouldn't"),
)  # fmt: skip
SHORT = dict(CONTRACTIONS)
LONG = {short: long for long, short in CONTRACTIONS}
_CONTRACTED = re.compile(r"\b(" + "|".join(re.escape(words) for pair in CONTRACTIONS for words in pair) + r")\b", re.I)
_WORD = re.compile(r"[A-Za-z]{4,}")


@dataclass(frozen=True)
class Perturbation:
    """`change(text, chance)` writes the text anew. verbatim: every word stays letter for letter as it was."""

    change: Callable[[str, Random], str]
    verbatim: bool = False

    def of(self, question: Question, name: str, seed: int) -> Question:
        """The question in other letters, under its own id; the same seed writes the same."""
        text = self.change(question.text, Random(f"{seed}:{name}:{question.id}"))
        return replace(question, text=text) if text.strip() else question


def case(text: str, chance: Random) -> str:
    """All lower or all upper case."""
    forms = [form for form in (text.lower(), text.upper()) if form != text]
    return chance.choice(forms) if forms else text


def spaces(text: str, chance: Random) -> str:
    """Gaps between words made wider here and there, and some white space before or after."""
    wider = re.sub(r"(?<=\S) (?=\S)", lambda gap: " " * chance.choice([1, 1, 2, 3]), text)
    return chance.choice([f" {wider}", f"{wider} ", f"  {wider}\n"])


def punctuation(text: str, chance: Random) -> str:
    """The mark at the end left out, repeated, or put where there was none."""
    bare = text.rstrip()
    found = re.search(r"[.?!]+$", bare)
    if found is None:
        return bare + chance.choice([".", "...", "!"])
    body = bare[: found.start()]
    return chance.choice([body, body + found[0][-1] * (len(found[0]) + 2)]) if body.strip() else text


def typos(text: str, chance: Random) -> str:
    """About one word in eight mistyped: a neighbouring key, two letters swapped, one left out or struck twice. First
    letters, digits and words of less than four letters stay."""
    words = list(_WORD.finditer(text))
    hit = chance.sample(words, max(1, len(text.split()) // 8)) if len(words) > len(text.split()) // 8 else words
    for word in sorted(hit, key=lambda match: -match.start()):
        text = text[: word.start()] + _mistyped(word[0], chance) + text[word.end() :]
    return text


def contractions(text: str, chance: Random) -> str:
    """Long forms made short and short ones long."""

    def other(found: re.Match[str]) -> str:
        new = SHORT.get(found[0].lower()) or LONG[found[0].lower()]
        return new[0].upper() + new[1:] if found[0][0].isupper() else new

    return _CONTRACTED.sub(other, text.replace("’", "'"))


def filler(text: str, chance: Random) -> str:
    """A word of hesitation before the text."""
    return chance.choice(FILLERS) + text


def preamble(text: str, chance: Random) -> str:
    """Some sentences of courtesy before the text."""
    return chance.choice(PREAMBLES) + text


PERTURBATIONS = {
    "case": Perturbation(case),
    "spaces": Perturbation(spaces),
    "punctuation": Perturbation(punctuation, verbatim=True),
    "typos": Perturbation(typos),
    "contractions": Perturbation(contractions),
    "filler": Perturbation(filler, verbatim=True),
    "preamble": Perturbation(preamble, verbatim=True),
}


def _mistyped(word: str, chance: Random) -> str:
    place = chance.randrange(1, len(word) - 1)
    kind = chance.choice(["neighbour", "swap", "drop", "double"])
    if kind == "swap" and word[place] != word[place + 1]:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == "drop":
        return word[:place] + word[place + 1 :]
    if kind == "double":
        return word[:place] + word[place] + word[place:]
    return word[:place] + _neighbour(word[place], chance) + word[place + 1 :]


def _neighbour(letter: str, chance: Random) -> str:
    row = next(row for row in KEYBOARD if letter.lower() in row)
    place = row.index(letter.lower())
    found = chance.choice([row[i] for i in (place - 1, place + 1) if 0 <= i < len(row)])
    return found.upper() if letter.isupper() else found
