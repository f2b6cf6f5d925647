"""Composing reports all faults at once, finds options and follows references."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stepladder.config.compose import compose, expanded
from stepladder.config.options import conf_folder
from stepladder.config.resolution import resolve_auto, validate
from stepladder.errors import ConfigError

TOY = ["dataset=toy", "model=toy", "demonstrations=fixed", "tracking=none"]


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["method=finetun", "training.lerning_rate=1", "trainin.epochs=2", "adapter=lora"])
    message = str(caught.value)
    assert len(caught.value.faults) == 3
    for hint in ("did you mean 'finetune'?", "did you mean 'learning_rate'?", "did you mean 'training'?"):
        assert hint in message


def test_a_key_added_with_plus_must_be_known_to_the_constructor() -> None:
    composed = compose([*TOY, "method=finetune", "+training.lerning_rate=1"])
    with pytest.raises(ConfigError, match=r"Training takes no 'lerning_rate'[\s\S]*did you mean 'learning_rate'"):
        validate(resolve_auto(composed), heavy=False)


def test_a_value_of_the_wrong_type_is_reported_with_the_expected_one() -> None:
    composed = compose([*TOY, "method=finetune", "training.batch_size=many"])
    with pytest.raises(ConfigError, match=r"training\.batch_size[\s\S]*a valid integer"):
        validate(resolve_auto(composed), heavy=False)


def test_an_unknown_top_level_key_is_a_fault() -> None:
    with pytest.raises(ConfigError, match="did you mean 'seed'"):
        compose(["+sed=1"])


def test_hydras_own_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="--outputs"):
        compose(["hydra.run.dir=x"])


def test_a_value_that_the_grammar_rejects_is_shown_quoted() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.train='my rows \(1\)\.csv'"):
        compose(["dataset=file", "dataset.train=my rows (1).csv"])
    composed = compose(["dataset=file", "dataset.train='my rows (1).csv'"])
    assert composed.config["dataset"]["train"] == "my rows (1).csv"


def test_a_list_is_for_compare() -> None:
    with pytest.raises(ConfigError, match="stepladder compare"):
        compose(["method=rag,finetune"])


def test_an_override_that_changes_nothing_is_reported() -> None:
    assert any("retrieval.k=9" in n for n in compose([*TOY, "method=zero_shot", "retrieval.k=9"]).notices)
    assert not compose([*TOY, "method=rag", "retrieval.k=9"]).notices[0:0]
    assert not any("retrieval" in n for n in compose([*TOY, "method=rag", "retrieval.k=9"]).notices)


def test_suites_are_added_to_the_tasks_own() -> None:
    config = resolve_auto(compose([*TOY, "evaluation=[classification]"]))
    assert list(config["evaluation"]) == ["classification"]
    with pytest.raises(ConfigError, match="does not serve choice tasks"):
        resolve_auto(compose([*TOY, "evaluation=[extraction]"]))


@pytest.mark.parametrize(("kind", "mode", "suite"), [("text", "greedy", "answers"), ("json", "json", "extraction")])
def test_auto_is_resolved_by_the_tasks_kind(kind: str, mode: str, suite: str) -> None:
    config = resolve_auto(
        compose(
            ["dataset=file", "dataset.train=x.csv", "dataset.input=a", "dataset.target=b", f"dataset.task.kind={kind}"]
        )
    )
    assert config["decoding"]["mode"] == mode
    assert list(config["evaluation"]) == [suite]


def test_the_users_conf_wins_with_a_notice(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    text = (conf_folder() / "training" / "smoke.yaml").read_text(encoding="utf-8")
    (tmp_path / "training" / "smoke.yaml").write_text(text.replace("epochs:", "epochs: 7 #"), encoding="utf-8")
    (tmp_path / "training" / "mine.yaml").write_text(text, encoding="utf-8")
    composed = compose([*TOY, "method=finetune", "training=smoke"], tmp_path)
    assert composed.config["training"]["epochs"] == 7
    assert any("smoke.yaml" in notice for notice in composed.notices)
    assert compose([*TOY, "training=mine"], tmp_path).choices["training"] == "mine"


def test_references_are_followed() -> None:
    config = compose([*TOY, "method=finetune_rag"]).config
    assert config["method"]["context"] == "${retrieval}"
    assert expanded(config)["method"]["context"] == config["retrieval"]
    assert expanded(config)["method"]["tuning"]["training"] == config["training"]


def test_the_config_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, stepladder.config.compose, stepladder.config.resolution, stepladder.store.identity\n"
        "import stepladder.cli.entry\n"
        "from stepladder.config.compose import compose\n"
        "from stepladder.config.resolution import resolve_auto, validate\n"
        "validate(resolve_auto(compose(['method=finetune_rag', 'dataset=toy'])), heavy=False)\n"
        "heavy = {'torch', 'pytorch_lightning', 'lightning', 'transformers', 'peft', 'wandb', 'sklearn', 'optuna'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
