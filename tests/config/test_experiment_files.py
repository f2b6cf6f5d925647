"""Saved experiments: what `show` prints composes to the same configuration, and the command line wins over it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepladder.config.compose import Composed, compose
from stepladder.config.experiment_writer import as_experiment
from stepladder.config.merging import differing, merged

TOY = ["dataset=toy", "model=toy", "demonstrations=fixed", "tracking=none"]
FILE = ["dataset=file", "dataset.train=rows.csv", "dataset.input=text", "dataset.target=label"]

METHODS = ["majority", "linear", "zero_shot", "structured", "few_shot", "rag", "finetune", "finetune_rag"]
ADAPTERS = ["rslora", "dora", "qlora", "ia3", "prompt_tuning", "prefix_tuning", "bitfit", "full"]
DATASETS = ["faq_answer", "banking77", "xquad", "restaurant8k", "general", "hub"]

# Values, each of which YAML or Hydra could read as something else.
TEXTS = [
    *("'1'", "'1e-3'", "'1.5'", "'0x10'", "'1_000'", "'12:30:45'", "'2024-01-31'", "'null'", "'~'", "'true'", "'no'"),
    *("''", "' '", "'a: b'", "'# no comment'", "'- a'", "'{a: 1}'", "'[1]'", "'*a'", "'&a'", "'!x'", "'%a'", "'@a'"),
    *('"it\'s"', "'say \"hi\"'", "'Pay \\${amount}'", f"'two  spaces, {40 * 'word '}'", "'on'", "'`a`'"),
    *(
        "'naïve — 日本語 🙂'",
        "'.inf'",
        "'-.5'",
        "'+1'",
        "'???x'",
        "'<<'",
        "'='",
        "'a\\\\b'",
        "null",
        "'|'",
        "'> x'",
        "'?'",
    ),
]


def saved(texts: Sequence[str], folder: Path) -> Path:
    """Save what `show` prints for these overrides as experiment `saved` of the folder."""
    file = folder / "experiment" / "saved.yaml"
    text = as_experiment(texts, folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def same(texts: Sequence[str], folder: Path) -> Composed:
    """Check that the saved experiment composes to the very configuration of the overrides; returns it."""
    folder.mkdir(exist_ok=True)
    first = compose(texts, folder)
    saved(texts, folder)
    again = compose(["experiment=saved"], folder)
    assert repr(again.config) == repr(first.config)  # order and types, too
    assert again.choices == first.choices
    assert not again.dropped
    return again


@pytest.mark.parametrize("method", METHODS)
def test_every_method_comes_back(method: str, tmp_path: Path) -> None:
    same([*TOY, f"method={method}", "retrieval.k=7", "seed=3", "decoding.temperature=0.5"], tmp_path)


@pytest.mark.parametrize("option", [*(f"adapter={a}" for a in ADAPTERS), *(f"dataset={d}" for d in DATASETS)])
def test_every_adapter_and_dataset_comes_back(option: str, tmp_path: Path) -> None:
    same([option, "method=finetune", "training.learning_rate=1e-05", "dataset.rows=50"], tmp_path)


@pytest.mark.parametrize(
    "texts",
    [
        ["evaluation=[calibration,slices]", "evaluation.calibration.bins=5"],
        ["~evaluation.classification.metrics.macro_f1"],
        ["evaluation=[retention]", "dataset@evaluation.retention.dataset=faq_route"],
        ["evaluation=robustness", "evaluation.robustness.formats.q.question='Ask: {question}'"],
        ["sweep/sampler=gp", "+sweep.sampler.n_startup_trials=3", "sweep.pruner=median"],
        ["sweep=lora", "sweep.sampler=random", "sweep.trials=3", "+sweep.space.more='choice(1,2)'"],
        ["comparison=learning_curve", "comparison.prices.hour=2", "dataset.draw=${seed}"],
        ["comparison=tuned_ladder", "~comparison.tune", "comparison.baseline=null"],
        ["~comparison.vary", "+comparison.vary={seed: [0, 1], method: [linear]}"],
        ["method=few_shot", "demonstrations=nearest", "embedder@demonstrations.embedder=toy"],
        ["method=rag", "+embedder@retrieval.embedder=toy", "retrieval.retriever=dense"],
        ["method=rag", "retrieval=hybrid", "embedder@retrieval.embedder=toy", "retrieval.language=null"],
        ["method=rag", "method.context={_target_: stepladder.context.NoContext}"],
        ["method=finetune", "tuning@method.tuning=frozen"],
        ["method=finetune", "+adapter.use_dora=true", "~training.epochs", "++training.patience=4", "seed=7"],
        ["method=finetune", "+adapter.rank_pattern={a: 4, b_c: 8}", "adapter.target_modules=[q_proj,'v_proj']"],
        ["~adapter", "method=linear", "+method.c=3"],
        ["dataset.labels={b: first, a: second, 3: third, true: fourth}", "dataset.tags=[]"],
        ["dataset.labels=['1','2','1e3',x]", "dataset.split.test=0.25", "dataset.split={validation: 0.2}"],
        ["compute=slurm", "compute.slurm=null", "preflight=warn", "preflight.overlap=0.5"],
        ["compute=slurm", "+compute.slurm.slurm_partition=gpu", "compute.slurm.timeout_min=5"],
        ["dataset.task.instruction=${dataset.input}", "dataset.target=${dataset.input}"],
        ["prompt=structured", "prompt.output_format='one word'", "method=zero_shot"],
        ["method=structured", "prompt=plain"],
        ["experiment=first_look", "method=rag", "retrieval.k=1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_groups_lists_added_and_removed_keys_come_back(texts: list[str], tmp_path: Path) -> None:
    same([*(TOY if "experiment" not in texts[0] else []), *texts], tmp_path)


def test_values_that_yaml_could_misread_come_back(tmp_path: Path) -> None:
    labels = ", ".join(f"k{number}: {value}" for number, value in enumerate(TEXTS))
    found = same([*FILE, f"dataset.labels={{{labels}}}", f"dataset.task.instruction={TEXTS[0]}"], tmp_path)
    assert found.config["dataset"]["labels"]["k0"] == found.config["dataset"]["task"]["instruction"] == "1"


def test_kinds_of_values_come_back(tmp_path: Path) -> None:
    values = ["1", "1.0", "1e-5", "0.1", "true", "-3", "12345678901234567", "[1,'1',1.0,null,'null',true]", "[]", "{}"]
    labels = ", ".join(f"k{number}: {value}" for number, value in enumerate(values))
    same([*FILE, f"dataset.labels={{{labels}}}", "dataset.limit=7", "dataset.split.test=1e-2"], tmp_path)


def test_options_of_ones_own_come_back(tmp_path: Path) -> None:
    for name, text in {
        "method/mine.yaml": "defaults:\n- few_shot\n- override /prompt@_global_.prompt: structured\nversion: 3\n",
        "training/long.yaml": "defaults:\n- default\n- _self_\nepochs: 9\n",
        "house/rules.yaml": "limit: 4\n",
        "experiment/base.yaml": "# @package _global_\ndefaults:\n- first_look\n- override /training: long\nseed: 5\n",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    again = same(["experiment=base", "method=mine", "training.epochs=${house.limit}", "+house=rules"], tmp_path)
    assert again.choices["prompt"] == "structured"
    assert again.config["training"]["epochs"] == 4
    assert again.config["seed"] == 5


def test_a_saved_file_holds_choices_and_differing_values_only(tmp_path: Path) -> None:
    file = saved(
        [*TOY, "method=structured", "evaluation=[slices]", "decoding.temperature=0.5", "retrieval.k=5"], tmp_path
    )
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# @package _global_\n")
    found = yaml.safe_load(text)
    entries = {key: option for entry in found.pop("defaults") for key, option in entry.items()}
    assert entries["override /method"] == "structured"
    assert entries["override /evaluation"] == ["auto", "slices"]
    assert "override /prompt" not in entries  # method=structured implies it
    assert found == {"decoding": {"temperature": 0.5}}


# --- the command line wins ---


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """A folder with a saved fine-tuned experiment."""
    saved(
        [*TOY, "method=finetune", "+method.context.note=1", "adapter.r=4", "sweep/sampler=gp", "+sweep.sampler.seed=1",
         "evaluation=[calibration]", "evaluation.calibration.bins=5", "training.epochs=2"],
        tmp_path,
    )  # fmt: skip
    return tmp_path


def test_another_option_drops_the_values_below_its_node_and_no_others(tuned: Path) -> None:
    found = compose(["experiment=saved", "method=linear"], tuned)
    assert found.config["method"] == compose([*TOY, "method=linear"]).config["method"]
    assert found.config["adapter"]["r"] == 4
    (notice,) = found.dropped
    assert "method=linear replaces its method=finetune" in notice
    assert "method.context.note=1" in notice
    other = compose(["experiment=saved", "adapter=dora"], tuned)
    assert other.config["adapter"] == compose([*TOY, "adapter=dora"]).config["adapter"]
    assert "adapter.r=4" in other.dropped[0]
    assert other.config["training"]["epochs"] == 2


def test_the_same_option_drops_nothing(tuned: Path) -> None:
    found = compose(["experiment=saved", "method=finetune", "adapter=lora", "sweep/sampler=gp"], tuned)
    assert found.config == compose(["experiment=saved"], tuned).config
    assert not found.dropped


def test_what_the_command_line_sets_itself_is_not_listed(tuned: Path) -> None:
    found = compose(["experiment=saved", "adapter=dora", "adapter.r=4"], tuned)
    assert found.config["adapter"]["r"] == 4
    assert not found.dropped


def test_nested_groups_and_suites_are_replaced_one_by_one(tuned: Path) -> None:
    found = compose(["experiment=saved", "sweep.sampler=random"], tuned)
    assert "seed" not in found.config["sweep"]["sampler"]
    assert "sweep.sampler.seed=1" in found.dropped[0]
    kept = compose(["experiment=saved", "evaluation=[calibration,slices]"], tuned)
    assert kept.config["evaluation"]["calibration"]["bins"] == 5
    assert not kept.dropped
    gone = compose(["experiment=saved", "evaluation=[slices]"], tuned)
    assert "calibration" not in gone.config["evaluation"]
    assert "evaluation.calibration.bins=5" in gone.dropped[0]


def test_what_a_chosen_option_implies_wins_too(tuned: Path) -> None:
    found = compose(["experiment=saved", "method=structured"], tuned)
    assert found.choices["prompt"] == "structured"
    assert any("method=structured implies prompt=structured" in notice for notice in found.dropped)
    assert compose(["experiment=saved", "method=structured", "prompt=plain"], tuned).choices["prompt"] == "plain"
    assert compose(["experiment=saved", "sweep=retrieval"], tuned).choices["method"] == "rag"


def test_values_of_an_option_that_the_command_line_takes_away_with_another_are_dropped(tmp_path: Path) -> None:
    saved([*TOY, "method=structured", "prompt.output_format='one word'"], tmp_path)
    found = compose(["experiment=saved", "method=zero_shot"], tmp_path)
    assert found.choices["prompt"] == "plain"
    assert "output_format" not in found.config["prompt"]
    assert "prompt.output_format=one word" in found.dropped[0]


def test_a_removed_key_is_back_with_another_option_or_a_value(tmp_path: Path) -> None:
    saved([*TOY, "method=finetune", "~training.epochs"], tmp_path)
    assert "epochs" not in compose(["experiment=saved"], tmp_path).config["training"]
    assert compose(["experiment=saved", "training=smoke"], tmp_path).config["training"]["epochs"] == 1
    assert compose(["experiment=saved", "+training.epochs=5"], tmp_path).config["training"]["epochs"] == 5


def whole_nodes(texts: Sequence[str]) -> str:
    """An experiment file of the older form: every choice, then every node with all of its values."""
    composed = compose(texts)
    options = [{f"override /{group}": option} for group, option in composed.choices.items() if group != "evaluation"]
    return "# @package _global_\n" + yaml.safe_dump({"defaults": options, **composed.config}, sort_keys=False)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "finetune"])
def test_a_file_of_whole_nodes_does_not_win_over_the_command_line(method: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "old.yaml").write_text(whole_nodes([*TOY, "method=finetune", "adapter.r=2"]))
    found = compose(["experiment=old", f"method={method}"], tmp_path).config
    wanted = compose([*TOY, f"method={method}", "adapter.r=2"]).config
    assert found["method"] == wanted["method"]
    assert found["prompt"] == wanted["prompt"]
    assert found["adapter"] == wanted["adapter"]


# --- layers by themselves ---


@pytest.mark.parametrize(
    ("base", "whole"),
    [
        ({"a": 1}, {"a": 1.0}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": {}}),
        ({"a": {"b": 1}}, {"a": None}),
        ({"a": None}, {"a": {"b": {"c": []}}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}),
        ({"a": {1: "x", 2.5: "y"}}, {"a": {2.5: "y"}}),
        ({"p": {"x": 1, "y": 2}, "m": {"p": "${p}"}}, {"p": {"x": 3, "y": 2}, "m": {"p": {"x": 3, "z": 4}}}),
        ({"p": {"x": 1}, "m": {"p": "${p}"}}, {"p": {"x": 1}, "m": {"p": "${q}"}}),
        ({"p": {"x": 1}, "m": {"p": {"x": 1}}}, {"p": {"x": 1}, "m": {"p": "${p}"}}),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}),
    ],
)
def test_differing_values_merged_make_the_whole(base: dict[str, Any], whole: dict[str, Any]) -> None:
    assert repr(merged(base, differing(base, whole))) == repr(whole)
    assert not differing(whole, whole)


def test_several_trackers_come_back_and_are_replaced(tmp_path: Path) -> None:
    again = same(["dataset=toy", "tracking=[wandb,csv]", "tracking.project=mine"], tmp_path)
    assert again.choices["tracking"] == ["wandb", "csv"]
    found = compose(["experiment=saved", "tracking=csv"], tmp_path)
    assert found.choices["tracking"] == "csv"
    assert "tracking.project=mine" in found.dropped[0]
    assert not compose(["experiment=saved", "tracking=[wandb,csv]"], tmp_path).dropped
