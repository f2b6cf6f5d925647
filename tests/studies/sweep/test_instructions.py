"""Searched instructions: their candidates, and what is claimed of the winner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from asking import asked, refused, trials

from stepladder.config.build import build
from stepladder.config.compose import compose
from stepladder.config.overrides import parse
from stepladder.config.schema import Comparison, Instructions
from stepladder.config.space import Choice, parameters
from stepladder.dataset.dataset import Dataset
from stepladder.dataset.loaded import Loaded
from stepladder.errors import ConfigError
from stepladder.methods.adapted_model import AdaptedModel
from stepladder.resources import Resources
from stepladder.studies.sweep.instructions import INSTRUCTION, instruction_parameter
from stepladder.types import EvalRequest, Prediction


def prepare_toy() -> Loaded:
    node = compose(["dataset=toy"]).config["dataset"]
    found: Loaded = build({"dataset": node}, {"dataset": Dataset})["dataset"].object.read()
    return found


WORDS = ["sweep=instructions", "model=toy", "dataset=toy", "sweep.trials=3"]


def test_a_search_compares_its_winner_with_the_plain_prompt(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = asked(capsys, tmp_path, WORDS)
    assert {name for trial in trials(found) for name in (text.split("=")[0] for text in trial["overrides"])} == {
        INSTRUCTION, "demonstrations", "demonstrations.k",
    }  # fmt: skip
    assert found["luck"]["trials"] == 3
    plain = found["plain"]
    assert plain["difference"]["value"] == pytest.approx(plain["winner"]["value"] - plain["plain"]["value"])
    assert plain["winner"]["value"] == found["test"]["scores"]["classification"]["accuracy"]["value"]
    assert plain["beaten"] is (plain["difference"]["value"] > 0 and plain["difference"]["p"] < 0.05)
    on_test = [
        config
        for file in (tmp_path / "predictions").glob("*/config.yaml")
        if (config := yaml.safe_load(file.read_text(encoding="utf-8")))["rows"] == "test"
    ]
    assert len(on_test) == 2
    page = Path(found["report"]).read_text(encoding="utf-8")
    assert "would be luck" in page
    assert "the plain prompt: accuracy" in page
    assert asked(capsys, tmp_path, WORDS) == found  # resumed: the same study, nothing new


def test_a_proposer_adds_candidates_that_are_stored_and_its_time_counts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[EvalRequest] = []

    def predict(self: AdaptedModel, request: EvalRequest, resources: Resources) -> Iterator[Prediction]:
        if request.name != "proposals":
            yield from answered(self, request, resources)
            return
        asked_for.append(request)
        for at, question in enumerate(request.questions):
            text = ("Name the topic of the message.", '"name the topic  of the message"', "Use ${this}.")[at]
            yield Prediction(question.id, text, prompt_tokens=5, new_tokens=2)

    answered = AdaptedModel.predict
    monkeypatch.setattr(AdaptedModel, "predict", predict)
    words = [*WORDS, "sweep.proposer=${model}", "sweep.instructions.proposals=3", "sweep.trials=1"]
    refused(capsys, tmp_path, [*words, "--status"], "run the same command without --status")
    assert not asked_for
    found = asked(capsys, tmp_path, words)
    assert found["proposed"]["instructions"] == [
        "Name the topic of the message."
    ]  # each once, and none that is no text
    assert (found["proposed"]["prompt_tokens"], found["proposed"]["new_tokens"]) == (45, 18)
    assert len(asked_for) == 3  # asked again for what was missing, with other seeds and other rows
    assert len({request.decoding.seed for request in asked_for}) == 3
    listed = json.loads((Path(found["folder"]) / "instructions.json").read_text(encoding="utf-8"))
    assert (listed[0], listed[-1]) == (None, "Name the topic of the message.")
    assert asked(capsys, tmp_path, words) == found
    assert len(asked_for) == 3
    data = prepare_toy()
    shown = " ".join(question.text for request in asked_for for question in request.questions)
    for example in (*data.validation, *data.test):
        assert f"Input: {example.question.text}\n" not in shown
    assert any(f"Input: {example.question.text}\n" in shown for example in data.train)

    over = asked(capsys, tmp_path, [*words, "sweep.trials=5", "sweep.seconds=0.000001", "sweep.name=over"])
    assert over["ended_by"] == "seconds"


def test_a_proposer_without_a_new_instruction_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(self: AdaptedModel, request: EvalRequest, resources: Resources) -> Iterator[Prediction]:
        yield from (Prediction(question.id, " ") for question in request.questions)

    monkeypatch.setattr(AdaptedModel, "predict", predict)
    proposer = "sweep.proposer=${model}"
    refused(capsys, tmp_path, [*WORDS, proposer], "sweep.proposer", "proposed no new instruction in 24 answers")
    other = ["sweep=prompt", "model=toy", "dataset=toy"]
    refused(capsys, tmp_path, [*other, proposer], "no instruction is searched", "sweep=instructions")


def test_other_candidates_are_another_study(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = asked(capsys, tmp_path, [*WORDS, "sweep.name=mine", "sweep.trials=1"])
    assert found["study"] == "mine"
    (tmp_path / "own.txt").write_text("Choose the topic.\n", encoding="utf-8")
    refused(
        capsys,
        tmp_path,
        [*WORDS, "sweep.name=mine", f"sweep.instructions.file={tmp_path}/own.txt"],
        "the study is another one: space prompt.instruction",
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.txt", None, "there is no file"),
        ("empty.txt", "\n \n", "contains no instruction"),
        ("bent.json", "[1", "is not JSON"),
        ("map.json", '{"a": 1}', "is not a list of texts"),
        ("code.txt", "Use ${x}.", "which the configuration would replace"),
    ],
)
def test_a_bad_file_is_refused(
    name: str, content: str | None, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    refused(capsys, tmp_path, [*WORDS, f"sweep.instructions.file={tmp_path / name}"], said)
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep.instructions.templates=[Be precise.]"], "must contain {instruction}"),
        (["sweep.instructions.templates=[]"], "the task's own instruction is the only candidate"),
        (["dataset.task.instruction=''"], "the task has no instruction"),
        (["sweep.instructions.proposals=0"], "0 is less than 1"),
    ],
)
def test_candidates_that_do_not_fit_are_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    refused(capsys, tmp_path, [*WORDS, *words], said)


def test_any_text_survives_as_an_override(tmp_path: Path) -> None:
    texts = ["a\nb", "it's {instruction}", 'c:\\x \\\' "q"', "null", "1", "a, b (c)", "{x: 1}", "é #", "end\\"]
    (tmp_path / "own.json").write_text(json.dumps([*texts, *texts]), encoding="utf-8")
    parameter = instruction_parameter(Instructions(file=str(tmp_path / "own.json")))
    assert parameter.values == (None, *texts)  # the task's own first, each once
    for text in texts:
        config = compose(["method=zero_shot", "dataset=toy", parameter.override(text)]).config
        assert config["prompt"]["instruction"] == text
    assert parse([parameter.override(None)])[0].value() is None


def test_templates_are_checked() -> None:
    with pytest.raises(ConfigError, match="must contain"):
        Instructions(templates=["Be precise."])


def test_the_ladder_searches_the_same_wordings() -> None:
    listed = compose(["sweep=instructions"]).config["sweep"]["instructions"]["templates"]
    config = compose(["comparison=tuned_ladder"]).config
    tune = build({"comparison": {"_target_": "stepladder.config.Comparison", **config["comparison"]}},
                 {"comparison": Comparison})["comparison"].object.tune  # fmt: skip
    for method in ("zero_shot", "structured", "few_shot", "rag", "workflow"):
        domain = parameters({INSTRUCTION: tune[method][INSTRUCTION]})[0].domain
        assert isinstance(domain, Choice)
        assert domain.values == ("{instruction}", *listed)
