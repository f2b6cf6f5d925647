"""Composing in two steps makes what Hydra makes in one; options are composed once for trials that differ in values."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from stepladder.config import compose as composing
from stepladder.config import hydra_options
from stepladder.config.compose import compose


@pytest.mark.parametrize(
    "lines",
    [
        ["method=finetune", "adapter.r=4", "training.learning_rate=1e-3"],
        ["training.learning_rate=1e-3", "method=finetune", "adapter=dora", "+adapter.rank_pattern={a: 4}"],
        ["dataset=file", "dataset.train=a.csv", "~training.patience", "++training.more=[1, 2]"],
        [
            "sweep/sampler=gp",
            "+sweep.sampler.n_startup_trials=3",
            "prompt.question_template='a, {question}'",
            "training.epochs=null",
        ],
        ["comparison=ladder", "comparison.prices.hour=2", "~comparison.vary", "seed=7"],
    ],
)
def test_two_steps_make_what_hydra_makes_in_one(lines):
    with hydra_options.hydra_in([composing.conf_folder()]):
        whole = hydra_options.hydra_compose("config", overrides=[*lines, "evaluation=[auto]"])
    raw, resolved = OmegaConf.to_container(whole), OmegaConf.to_container(whole, resolve=True)
    assert compose(lines).config == composing._with_references(raw, resolved)


def test_points_that_differ_in_values_share_the_reading_of_files():
    hydra_options._composed.cache_clear()
    for rate in ("1e-3", "2e-3"):
        found = compose(["method=finetune", f"training.learning_rate={rate}"])
        assert found.config["training"]["learning_rate"] == float(rate)
    assert compose(["method=finetune"]).config["training"]["learning_rate"] is None
    assert hydra_options._composed.cache_info().misses == 1


def test_a_changed_file_is_composed_anew(tmp_path):
    file = tmp_path / "conf" / "training" / "mine.yaml"
    file.parent.mkdir(parents=True)
    for epochs in (4, 5):
        file.write_text(f"defaults: [default]\nepochs: {epochs}\n")
        found = compose(["training=mine"], tmp_path / "conf")
        assert found.config["training"]["epochs"] == epochs
    file.write_text("defaults: [default]\nepochs: 4\n")
    assert compose(["training=mine"], tmp_path / "conf").config["training"]["epochs"] == 4
