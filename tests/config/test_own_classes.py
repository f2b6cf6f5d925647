"""A user's class or function that does not follow its protocol gets a message instead of a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pytest

from stepladder.cli.entry import main
from stepladder.config.own_classes import mismatch
from stepladder.types import Shown

ROWS = "".join(f"row {n} {label},{label}\n" for n in range(40) for label in ("buy", "sell"))
WORDS = ["tracking=none", "dataset=file", "dataset.train=rows.csv", "dataset.input=text", "dataset.target=label"]
OWN = """
from stepladder.context.context import NoContext
from stepladder.context.prompt import PlainPrompt
from stepladder.dataset.formats import Table
from stepladder.dataset.sources import Files


class ListSource:
    def table(self, name, dialect): return [{"text": "a", "label": "b"}]
    def origin(self, name): return "here"

class RecordsOfDicts(ListSource):
    def table(self, name, dialect): return Table(name, ("text", "label"), ({"text": "a", "label": "b"},))

class ShortSource(ListSource):
    def table(self, name): return None

class NoOrigin:
    def table(self, name, dialect): return None

class NoHash(Files):
    def origin(self, name): return None

def none(prediction, example): return None

def text(prediction, example): return "good"

class OneNumber:
    def statistics(self, prediction, example, task): return 1.0
    def fold(self, sums): return sums[..., 0]

class NoFold:
    def statistics(self, prediction, example, task): return (1.0, 1.0)
    def fold(self, sums): return None

class OneRequest:
    kind = None
    def requests(self, inputs): return inputs.plain
    def score(self, answers, seed): return {}

class BareScores(OneRequest):
    def requests(self, inputs): return (inputs.plain,)

class TextPrompt(PlainPrompt):
    def messages(self, task, question, shown): return "ask this"

class DictPrompt(PlainPrompt):
    def messages(self, task, question, shown): return ({"role": "user", "content": "ask this"},)

class ShowsNothing(NoContext):
    def show(self, questions, training=False): return None

class ReadsText(NoContext):
    @property
    def reads(self): return "train"

class NoPrint:
    dtype = "float32"
    def fingerprint(self): return "x"
    def load(self, device=None): return None

class NoModel(NoPrint):
    def fingerprint(self): return {"content": "x"}

class Labels:
    reads = frozenset()
    def fit(self, data, resources, seed=0): pass
    def predict(self, request, resources): return ["buy" for _ in request.questions]
    def save(self, folder): (folder / "nothing").touch()
    def load(self, folder, resources): pass
"""
METRIC = "+evaluation.own={_target_: stepladder.evaluation.MetricSuite, metrics: {m: {_target_: OWN}}}"
FUNCTION = METRIC.replace("OWN}", "stepladder.evaluation.Mean, function: OWN}")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module in the current directory."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / "rows.csv").write_text("text,label\n" + ROWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != ""])
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dataset.source={_target_: OWN.ListSource}"], "ListSource.table returned a list, expected a Table"),
        (["dataset.source={_target_: OWN.RecordsOfDicts}"], "whose item 0 is a dict, expected a Record"),
        (
            ["dataset.source={_target_: OWN.ShortSource}"],
            "its 'table' takes (name) and is called with (name, dialect)",
        ),
        (["dataset.source={_target_: OWN.NoOrigin}"], "it has no 'origin'"),
        (["dataset.source={_target_: OWN.NoHash}"], "NoHash.origin returned None, expected a text"),
        ([FUNCTION.replace("OWN", "OWN.none")], "none returned None, expected a number"),
        ([FUNCTION.replace("OWN", "OWN.text")], "text returned 'good', expected a number"),
        ([METRIC.replace("OWN", "OWN.OneNumber")], "OneNumber.statistics returned 1.0, expected a sequence"),
        ([METRIC.replace("OWN", "OWN.NoFold")], "NoFold.fold returned None, expected an array"),
        (["+evaluation.own={_target_: OWN.OneRequest}"], "OneRequest.requests returned a EvalBatch, expected a tuple"),
        (["+evaluation.own={_target_: OWN.BareScores}"], "BareScores.score returned a dict, expected a SuiteScores"),
        (["method=zero_shot", "prompt._target_=OWN.TextPrompt"], "TextPrompt.messages returned the text 'ask this'"),
        (["method=zero_shot", "prompt._target_=OWN.DictPrompt"], "whose item 0 is a dict, expected a Message"),
        (["method=zero_shot", "method.context._target_=OWN.ShowsNothing"], "ShowsNothing.show returned None"),
        (["method=zero_shot", "method.context._target_=OWN.ReadsText"], "ReadsText.reads returned the text 'train'"),
        (["method=zero_shot", "method.model={_target_: OWN.NoPrint}"], "NoPrint.fingerprint returned the text 'x'"),
        (["method=zero_shot", "method.model={_target_: OWN.NoModel}"], "NoModel.load returned None, expected a Lang"),
        (["method._target_=OWN.Labels"], "an item of Labels.predict is the text 'buy', expected a Prediction"),
    ],
    ids=lambda value: value[-1][-30:] if isinstance(value, list) else "",
)
def test_a_value_of_the_wrong_type_is_reported(
    own: str, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    filled = [word.replace("OWN", own) for word in words]
    assert main(["run", *WORDS, "model=toy", "method=majority", *filled, "--trust", own]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "annotation", "problem"),
    [
        (1, float, ""),
        (None, float, "None, expected a number"),
        ([0.5, 1], Sequence[float], ""),
        ("text", Sequence[str], "the text 'text', expected a sequence with a text per item"),
        ([Shown(), 3], list[Shown], "a list whose item 1 is 3, expected a Shown"),
        ([1] * 30 + ["x"], list[int], "a list whose item 30 is the text 'x', expected a whole number"),
        ({"a": 1}, Mapping[str, int], ""),
        ("c", Literal["a", "b"], "the text 'c', expected a or b"),
        (None, str | None, ""),
        ({"a"}, frozenset[str], ""),
    ],
)
def test_returned_values_are_checked_against_annotations(value: object, annotation: object, problem: str) -> None:
    assert mismatch(value, annotation) == problem


def test_both_commands_find_modules_of_the_current_directory_under_trust_alone(tmp_path: Path) -> None:
    (tmp_path / "own_scores.py").write_text("def score(prediction, example):\n    return 1.0\n")
    (tmp_path / "omegaconf.py").write_text(
        "open('read', 'w')\nraise SystemExit('a file of the current directory was imported')\n"
    )
    words = ["show", "experiment=first_look", "method=linear", FUNCTION.replace("OWN", "own_scores.score")]
    script = Path(sys.executable).with_name("stepladder")
    for command in ([str(script)], [sys.executable, "-m", "stepladder"]):
        for flags, code in ((["--trust", "own_scores"], 0), ([], 2)):
            done = subprocess.run([*command, *words, *flags], cwd=tmp_path, capture_output=True, text=True, timeout=300)
            assert done.returncode == code, done.stderr
    assert not (tmp_path / "read").exists()
