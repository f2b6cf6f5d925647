"""The command line and experiment files: the command line wins, and every message says what to type, and where."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FILE = ["dataset=file", "dataset.train=rows.csv", "dataset.input=text", "dataset.target=label"]
CSV = ["tracking=none", *FILE, "method=linear"]
HEADER = "# @package _global_\n"
BEGIN = "defaults:\n- first_look\n- override /method: linear\n"

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("dataset.task.instruction=Is it spam, or not?", "\"dataset.task.instruction='Is it spam, or not?'\""),
        ("dataset.task.instruction=Don't do it", 'write "dataset.task.instruction=\\"Don\'t do it\\""'),
        ('dataset.task.instruction=say "x', 'write "dataset.task.instruction=\'say \\"x\'"'),
        ("dataset.task.instruction=Pay ${amount}", "write 'dataset.task.instruction=Pay \\${amount}'"),
        ("dataset.task.instruction=Pay ${amount", "'dataset.task.instruction=\"Pay \\${amount\"'"),
        ("dataset.task.instruction=${env:HOME}", "write \\${ for the characters themselves"),
        ("dataset.train=rows (1).csv", "write \"dataset.train='rows (1).csv'\""),
        ("dataset.train = rows.csv", "without spaces around the ="),
        ("dataset.tags=a,b", "for a list: dataset.tags=[a,b]"),
        ("dataset.tags=[a,b", "close it with ]"),
        ("evaluation=calibration,slices", "write evaluation=[calibration,slices]"),
        ("evaluation=[calibration,slicse]", "did you mean 'slices'?"),
        ("method=[linear,rag]", "stepladder compare method=linear,rag"),
        ("method=linear,rag", "stepladder compare method=linear,rag"),
        ("tracking=null", "known here: csv, none, tensorboard, wandb"),
        ("adapter=null", "write ~adapter"),
        ("dataset.input=0", "\"dataset.input='0'\""),
        ("dataset.target=true", "\"dataset.target='true'\""),
        ("dataset.labels=[1,2]", "\"dataset.labels=['1','2']\""),
        ("~dataset.id", "dataset.id is null already"),
        ("~dataset.idd", "did you mean 'id'?"),
        ("dataset.split={test: 0.2, validaton: 0.1}", "did you mean 'validation'?"),
        ("dataset.task={kind: choice, instrction: x}", "did you mean 'instruction'?"),
        ("dataset.rows=ten", "it takes a valid integer or null"),
        ("seed=[0,1]", "stepladder compare seed=0,1"),
        ("sweep.conditions=3", "it takes the dotted name of a function"),
        ("hydra.run.dir=x", "use --outputs DIR"),
        ("experiment=first_look.yaml", "write experiment=first_look"),
        ("experiment=[first_look]", "one experiment has one option of 'experiment'"),
    ],
)
def test_a_message_says_what_to_type(stepladder: Run, word: str, said: str) -> None:
    found = stepladder("show", *CSV, word)
    assert found.code == 2
    assert said in found.err
    assert "Hydra's grammar" not in found.err
    assert "faults in the configuration" not in found.err  # one mistake is one message


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("dataset.task.instruction=Is it spam, or not?", "Is it spam, or not?"),
        ("dataset.task.instruction=Don't do it", "Don't do it"),
        ('dataset.task.instruction=say "x', 'say "x'),
        ("dataset.task.instruction=Pay ${amount}", "Pay ${amount}"),
        ("dataset.task.instruction=Pay ${amount", "Pay ${amount"),
        ("dataset.task.instruction=a 'b' (c)!", "a 'b' (c)!"),
    ],
)
def test_what_a_message_says_to_type_is_right(stepladder: Run, word: str, value: str) -> None:
    message = stepladder("show", *CSV, word).err
    told = message[message.index("what to do:") :]
    quoted = min(place for place in (told.find('"dataset.'), told.find("'dataset.")) if place >= 0)
    found = stepladder("show", *CSV, *shlex.split(told[quoted:]), "--json")
    assert found.code == 0, found.err
    assert found.json["config"]["dataset"]["task"]["instruction"] == value


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (BEGIN, 1, "write # @package _global_ as its first line"),
        ("# @package method\n" + BEGIN, 1, "write # @package _global_"),
        (HEADER + "defaults:\n- override dataset: toy\n", 3, "write - override /dataset: toy"),
        (HEADER + "defaults:\n- /dataset: toy\n", 3, "write - override /dataset: toy"),
        (HEADER + "defaults:\n- dataset: toy\n", 3, "write - override /dataset: toy"),
        (HEADER + "defaults:\n- override /dataset=toy\n", 3, "write - override /dataset: toy"),
        (HEADER + "defaults:\n- override /dataset:toy\n", 3, "write - override /dataset: toy"),
        (HEADER + "defaults:\n- override /dataset: toi\n", 3, "did you mean 'toy'?"),
        (HEADER + "defaults:\n- override /datset: toy\n", 3, "did you mean 'dataset'?"),
        (HEADER + "defaults:\n- override /sweep/sampler: tpee\n", 3, "did you mean 'tpe'?"),
        (HEADER + "defaults:\n- override /tuning@method.x: frozen\n", 3, "no chosen option has the group"),
        (HEADER + "defaults:\n- first_lok\n", 3, "did you mean 'first_look'?"),
        (HEADER + "defaults:\n- linear\n", 3, "write - override /method: linear"),
        (HEADER + "defaults:\n- ../config\n", 3, "there is no experiment file '../config'"),
        (HEADER + "defaults:\n- override /method: [linear, rag]\n", 3, "stepladder compare method=linear,rag"),
        (HEADER + "defaults:\n- override /method:\n", 3, "no option of 'method' is named"),
        (HEADER + "defaults:\n  override /method: linear\n", 3, "with a dash before each entry"),
        (HEADER + "defaults:\n- override /method: linear\n  override /dataset: toy\n", 4, "put a dash before it"),
        (HEADER + "method: linear\n", 2, "write under defaults: - override /method: linear"),
        (HEADER + "evaluation: [slices]\n", 2, "write under defaults: - override /evaluation: [slices]"),
        (HEADER + BEGIN + "training:\n\tepochs: 1\n", 6, "indent with spaces"),
        (HEADER + BEGIN + "training:\n  epochs: 1\n  epochs: 2\n", 7, "the key 'epochs' is there twice"),
        (HEADER + BEGIN + "seed: 1\nseed: 2\n", 6, "the key 'seed' is there twice"),
        (HEADER + BEGIN + "training:\nepochs: 3\n", 6, "indent it below 'training:'"),
        (HEADER + BEGIN + "training:\n  epochs: 3\n   batch_size: 4\n", 7, "align the keys of one node"),
        (HEADER + BEGIN + "training:\n    epochs: 3\n  batch_size: 4\n", 7, "align the keys of one node"),
        (HEADER + BEGIN + "training:\n  lerning_rate: 0.1\n", 6, "did you mean 'learning_rate'?"),
        (HEADER + BEGIN + "trainin:\n  epochs: 1\n", 5, "did you mean 'training'?"),
        (HEADER + BEGIN + "training.epochs: 3\n", 5, "write training: and below it, indented, epochs:"),
        (HEADER + BEGIN + "training:\n  epochs: many\n", 6, "it takes a valid integer"),
        (HEADER + BEGIN + "hydra:\n  run: {dir: x}\n", 5, "use --outputs DIR"),
        (HEADER + "defaults:\n- override /hydra/launcher: basic\n", 3, "use --outputs DIR"),
        (HEADER + BEGIN + "dataset:\n  task:\n    instruction: Is it: spam\n", 7, "quote such a value"),
        (HEADER + BEGIN + "dataset:\n  task:\n    instruction: Pay ${amount}\n", 7, "\\${amount}"),
        (HEADER + BEGIN + "dataset:\n- task\n", 5, "holds a list, not keys"),
        (HEADER + "- a\n- b\n", 1, "an experiment file holds keys"),
    ],
)
def test_a_fault_of_an_experiment_file_names_file_and_line(
    stepladder: Run, here: Path, text: str, line: int, said: str
) -> None:
    file = here / "mine" / "experiment" / "own.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    found = stepladder("show", "experiment=own", "--config-dir", "mine")
    assert found.code == 2
    assert f"own.yaml, line {line}" in found.err
    assert said in found.err
    assert "conf\n" not in found.err


@pytest.mark.parametrize(
    ("name", "text", "where", "said"),
    [
        ("experiment/own.yml", HEADER + BEGIN, "own.yml is not read", "rename it to"),
        ("method/own.yml", "_target_: x\n", "own.yml is not read", "rename it to own.yaml"),
        ("method/own.yaml", "- a\n", "own.yaml", "the chosen option has no keys"),
        ("method/own.yaml", "_target_: x\n\tb: 1\n", "own.yaml, line 2", "indent with spaces"),
        ("method/own.yaml", "defaults:\n- /tuning@tuning: nope\n", "own.yaml", "tuning has no option 'nope'"),
        ("method/own.yaml", "defaults: few_shot\n", "own.yaml", "the defaults are a list"),
        ("method/own.yaml", "defaults:\n- linear\n- override /prompt: plain\n", "own.yaml, line 3", "@_global_.prompt"),
        ("method/own.yaml", "defaults:\n- linear\n- _self_\nwrds: 3\n", "own.yaml, line 4", "did you mean 'words'?"),
    ],
)
def test_a_fault_of_an_option_of_ones_own_names_the_file(
    stepladder: Run, here: Path, name: str, text: str, where: str, said: str
) -> None:
    file = here / "mine" / name
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    found = stepladder("show", "dataset=toy", f"{file.parent.name}=own", "--config-dir", "mine")
    assert found.code == 2
    assert where in found.err
    assert said in found.err


def test_methods_compared_over_a_saved_experiment_are_themselves(stepladder: Run, here: Path) -> None:
    saved = stepladder("show", "experiment=first_look", "method=finetune", "adapter.r=4")
    file = here / "mine" / "experiment" / "saved.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(saved.out, encoding="utf-8")
    found = stepladder("compare", "experiment=saved", "method=linear,majority", "--config-dir", "mine", "--json")
    assert found.code == 0, found.err
    keys = {row["name"]: row["keys"]["fit"] for row in found.json["rows"]}
    for name, key in keys.items():
        alone = stepladder("show", "experiment=first_look", f"method={name}", "--keys", "--json")
        assert alone.json["keys"]["fit"]["key"] == key


@pytest.mark.parametrize(
    ("adapter", "rate"),
    [
        ("lora", "0.0015"),
        ("dora", "0.0015"),
        ("rslora", "0.0015"),
        ("qlora", "0.0015"),
        ("ia3", "0.005"),
        ("prompt_tuning", "0.01"),
        ("prefix_tuning", "0.01"),
        ("bitfit", "0.001"),
        ("full", "5e-05"),
    ],
)
def test_suggested_values_are_comments(stepladder: Run, adapter: str, rate: str) -> None:
    shown = stepladder("show", "experiment=first_look", "method=finetune", f"adapter={adapter}").out
    assert f"\n  # learning_rate: {rate}, suggested for {adapter}\n" in shown
    assert "\n  # mode: choose, auto for this task\n" in shown
    assert not [line for line in shown.splitlines() if "learning_rate" in line and not line.startswith("  #")]
    linear = stepladder("show", "experiment=first_look", "method=linear").out
    assert "learning_rate" not in linear


def test_one_experiment_under_several_names_is_refused(stepladder: Run) -> None:
    words = ("compare", "experiment=first_look", "method=majority", "comparison.baseline=null")
    found = stepladder(*words, "experiment=first_look,null", "dataset=toy", "tracking=none")
    assert found.code == 2
    assert "majority experiment=first_look | majority experiment=null" in found.err
    values = stepladder(*words, "compute.micro_batch=1,2")
    assert values.code == 0
    assert "what differs between them has no effect" in values.err


def test_an_override_that_changes_nothing_is_reported(stepladder: Run) -> None:
    found = stepladder("show", "experiment=first_look", "method=zero_shot", "retrieval.k=9", "seed=0")
    assert "retrieval.k=9 changes nothing" in found.err
    assert "seed=0 changes nothing" in found.err
    assert "method=zero_shot changes nothing" not in found.err
