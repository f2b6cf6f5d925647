"""A composition that is told again is the one that was made; when what it depends on changes, it is made anew."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from stepladder.config import compose as composing
from stepladder.config import hydra_options
from stepladder.config.compose import compose
from stepladder.errors import ConfigError

TOY = ["dataset=toy", "model=toy", "training.epochs=2"]


@pytest.fixture
def made(monkeypatch, tmp_path):
    """The lines that were really composed, in a cache of its own."""
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    lines = []
    own = composing._assembled

    def counted(overrides, *more):
        lines.append([override.input_line for override in overrides])
        return own(overrides, *more)

    monkeypatch.setattr(composing, "_assembled", counted)
    return lines


def test_the_second_time_nothing_is_composed_and_all_is_equal(made):
    first = compose(TOY)
    assert compose(TOY) == first
    assert len(made) == 1
    assert compose([*TOY[:2], "training.epochs=3"]).config["training"]["epochs"] == 3
    assert len(made) == 2


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
def test_two_steps_make_what_hydra_makes_in_one(made, lines):
    with hydra_options.hydra_in([composing.conf_folder()]):
        whole = hydra_options.hydra_compose("config", overrides=[*lines, "evaluation=[auto]"])
    raw, resolved = OmegaConf.to_container(whole), OmegaConf.to_container(whole, resolve=True)
    assert compose(lines).config == composing._with_references(raw, resolved)


def test_points_that_differ_in_values_share_the_reading_of_files(made):
    hydra_options.chosen.cache_clear()
    for rate in ("1e-3", "2e-3"):
        found = compose(["method=finetune", f"training.learning_rate={rate}"])
        assert found.config["training"]["learning_rate"] == float(rate)
    assert compose(["method=finetune"]).config["training"]["learning_rate"] is None
    assert hydra_options.chosen.cache_info().misses == 1


def test_a_changed_file_is_composed_anew(made, tmp_path):
    file = tmp_path / "conf" / "training" / "mine.yaml"
    file.parent.mkdir(parents=True)
    for epochs in (4, 5):
        file.write_text(f"defaults: [default]\nepochs: {epochs}\n")
        found = compose(["training=mine"], tmp_path / "conf")
        assert found.config["training"]["epochs"] == epochs
    assert len(made) == 2
    file.write_text("defaults: [default]\nepochs: 4\n")
    assert compose(["training=mine"], tmp_path / "conf").config["training"]["epochs"] == 4
    assert len(made) == 2


def test_what_names_a_variable_is_composed_each_time(made, tmp_path):
    for _ in range(2):
        assert compose(["sweep.storage=${oc.env:STUDIES}"]).config["sweep"]["storage"] == "${oc.env:STUDIES}"
    assert len(made) == 2


def test_an_address_is_not_kept(made, tmp_path):
    compose(["dataset=file", "dataset.train=https://somewhere/rows.csv"])
    compose(["sweep.storage=postgresql://somebody:secret@somewhere/studies"])
    assert not any("secret" in file.read_text() for file in tmp_path.rglob("*.json"))
    assert not list((tmp_path / "cache").glob("compositions/*"))


def test_a_broken_note_is_made_again(made, tmp_path):
    first = compose(TOY)
    (note,) = (tmp_path / "cache" / "compositions").iterdir()
    note.write_text(note.read_text()[:50])
    assert compose(TOY) == first
    assert len(made) == 2


def test_a_fault_is_a_fault_each_time(made):
    for _ in range(2):
        with pytest.raises(ConfigError, match="lerning_rate"):
            compose(["training.lerning_rate=1"])
