"""A sweep from its command line to its winner."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
import yaml
from asking import LINEAR, SPACE, TUNED, asked, refused, trials

from stepladder.cli.entry import main
from stepladder.config.compose import compose

HERE = "spaces"


def test_the_winner_alone_meets_the_test_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told = asked(capsys, tmp_path, [*LINEAR, SPACE, "sweep.trials=5"])
    assert told["trials"] == {"complete": 5, "pruned": 0, "failed": 0}
    assert told["folder"] == str(tmp_path / "studies" / told["study"])
    ran = [
        yaml.safe_load(file.read_text(encoding="utf-8")) for file in (tmp_path / "predictions").glob("*/config.yaml")
    ]
    on_test = [config for config in ran if config["rows"] == "test"]
    assert len(ran) == 7  # five trials, the default, the winner
    (winner,) = on_test
    assert f"+method.c={winner['method']['c']!r}" in told["best"]["overrides"]
    values = [trial["values"][0] for trial in trials(told)]
    assert told["best"]["value"] == max(values)
    assert told["beats_default"] is (max(values) > told["default"])
    assert told["test"]["folders"]["predict"].startswith(str(tmp_path))
    page = Path(told["report"]).read_text(encoding="utf-8")
    assert "5 trials were run on the validation rows" in page
    assert "scored on the test rows once" in page


def test_the_same_command_again_adds_nothing_and_a_higher_limit_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*LINEAR, SPACE, "sweep.trials=4"]
    first = asked(capsys, tmp_path, words)
    before = trials(first)
    assert asked(capsys, tmp_path, words) == first
    assert trials(first) == before
    more = asked(capsys, tmp_path, [*LINEAR, SPACE, "sweep.trials=6"])
    assert more["study"] == first["study"]
    after = trials(more)
    assert [t["overrides"] for t in after[:4]] == [t["overrides"] for t in before]
    assert len({t["overrides"][0] for t in after}) == 6  # the resumed study does not draw its first points again
    whole = asked(capsys, tmp_path / "undisturbed", [*LINEAR, SPACE, "sweep.trials=6"])
    assert [t["overrides"] for t in trials(whole)] == [t["overrides"] for t in after]


def test_a_trial_that_was_computed_before_is_answered_from_the_store(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*TUNED, "adapter.r=choice(2,4)", "sweep.sampler=grid"]
    assert main(["run", *TUNED, "adapter.r=4", "--outputs", str(tmp_path), "--json"]) == 0
    by_hand = json.loads(capsys.readouterr().out)
    told = asked(capsys, tmp_path, words)
    assert len(list((tmp_path / "fits").iterdir())) == 3  # by hand, its neighbour, the default
    again = asked(capsys, tmp_path, [*words, "sweep.name=another"])
    assert len(list((tmp_path / "fits").iterdir())) == 3
    assert [t["values"] for t in trials(again)] == [t["values"] for t in trials(told)]
    assert Path(by_hand["folders"]["fit"]).exists()


def test_the_best_file_is_an_experiment_that_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told = asked(capsys, tmp_path, [*TUNED, "adapter.r=choice(2,4)", "sweep.trials=2"])
    words = ["run", "--config-dir", told["folder"], "experiment=best", "--outputs", str(tmp_path), "--json"]
    assert main(words) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["reused"] == {"fit": True, "predict": True, "score": True}
    assert made["folders"]["score"] == told["test"]["folders"]["score"]


def test_a_grid_has_every_point_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*LINEAR, "+method.c=choice(1,10)", "+method.words=range(1,4)", "sweep.sampler=grid"]
    told = asked(capsys, tmp_path, words)
    points = {tuple(t["overrides"]) for t in trials(told)}
    assert points == {(f"+method.c={c}", f"+method.words={n}") for c in (1, 10) for n in (1, 2, 3)}
    assert told["trials"]["complete"] == 6


def test_a_space_of_few_points_ends_the_study_when_all_have_been_tried(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*LINEAR, "+method.c=choice(1,10,100)", "sweep.trials=20"]
    assert main(["sweep", *words, "--outputs", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "The study stopped after every point of the space was tried, 3 in total." in printed.out + printed.err
    told = asked(capsys, tmp_path, words)
    assert told["ended_by"] == "space"
    assert sorted(t["overrides"][0] for t in trials(told)) == [f"+method.c={c}" for c in (1, 10, 100)]
    assert "after every point of the space was tried" in Path(told["report"]).read_text(encoding="utf-8")


def test_a_study_of_an_earlier_version_is_refused_with_a_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*LINEAR, "+method.c=choice(1,10)", "sweep.trials=1", "sweep.name=old"]
    told = asked(capsys, tmp_path, words)
    journal = Path(told["folder"]) / "study.journal"
    text = journal.read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if '"reports"' in line]
    record = json.loads(line)
    del record["user_attr"]["terms"]["reports"]
    journal.write_text(text.replace(line, json.dumps(record)), encoding="utf-8")
    refused(capsys, tmp_path, words, "earlier version", "another sweep.name", "sweep.name=old")


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cma_es", "random", "quasi_random"])
def test_every_sampler_samples(sampler: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*LINEAR, SPACE, "+method.words=range(1,4)", "+method.characters=choice(2,4)", f"sweep.sampler={sampler}"]
    told = asked(capsys, tmp_path, [*words, "sweep.trials=4"])
    assert told["trials"]["complete"] == 4
    assert len({tuple(t["overrides"]) for t in trials(told)}) == 4


def test_several_objectives_end_in_a_front(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*TUNED, "adapter.r=choice(2,4,8)", "sweep.objective=[accuracy,trained_parameters]", "sweep.sampler=grid"]
    told = asked(capsys, tmp_path, words)
    values = [tuple(t["values"]) for t in trials(told)]
    wanted = {
        (a, cost)
        for a, cost in values
        if not any(b >= a and less <= cost and (b, less) != (a, cost) for b, less in values)
    }
    assert {tuple(b["value"]) for b in told["best"]} == wanted
    assert told["test"] is None
    assert ">Front</h2>" in Path(told["report"]).read_text(encoding="utf-8")
    assert all(
        yaml.safe_load(f.read_text())["rows"] != "test" for f in (tmp_path / "predictions").glob("*/config.yaml")
    )


def test_a_condition_opens_more_of_the_space(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*TUNED, "adapter=choice(lora,ia3)", f"sweep.conditions={HERE}.rank_of_lora", "--trust", "spaces"]
    told = asked(capsys, tmp_path, [*words, "sweep.trials=5", "sweep.sampler=random"])
    for trial in trials(told):
        ranks = [o for o in trial["overrides"] if o.startswith("adapter.r=")]
        assert len(ranks) == (trial["overrides"][0] == "adapter=lora")
    assert {t["overrides"][0] for t in trials(told)} == {"adapter=lora", "adapter=ia3"}


def test_a_failing_trial_is_recorded_and_too_many_stop_the_sweep(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*TUNED, "training.precision=float32", "training.max_grad_norm=null"]
    told = asked(capsys, tmp_path, [*words, "training.learning_rate=choice(1e-3,1e30,2e-3)", "sweep.sampler=grid"])
    assert told["trials"] == {"complete": 2, "pruned": 0, "failed": 1}
    (failed,) = [t for t in trials(told) if t["state"] == "failed"]
    assert "The loss is" in failed["reason"]
    diverging = [*words, "training.learning_rate=choice(1e30,2e30,3e30,4e30)", "sweep.sampler=grid"]
    refused(capsys, tmp_path, diverging, "3 of 3 trials failed", "The loss is", "sweep.max_failures")


@pytest.mark.parametrize(
    ("settings", "count"), [(["sweep.patience=2"], 3), (["sweep.seconds=0.0001"], 1), (["sweep.trials=2"], 2)]
)
def test_a_study_stops_early(
    settings: list[str], count: int, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    space = ["+method.c=range(10,1000,10)", "sweep.sampler=grid"]  # all of them find every label of the toy
    told = asked(capsys, tmp_path, [*LINEAR, *space, *settings])
    assert told["trials"]["complete"] == count
    assert told["ended_by"] == settings[0].split(".")[1].split("=")[0]


def test_another_space_under_the_same_name_is_refused_with_the_difference(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked(capsys, tmp_path, [*LINEAR, "+method.c=choice(1,2)", "sweep.name=mine", "sweep.trials=1"])
    told = refused(capsys, tmp_path, [*LINEAR, "+method.c=choice(1,3)", "sweep.name=mine"], "space method.c")
    assert "was choice(1,2), is choice(1,3)" in told
    refused(capsys, tmp_path, [*LINEAR, "+method.c=choice(1,2)", "sweep.name=mine", "seed=1"], "seed was 0, is 1")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["adapter.rr=choice(4,8)"], ["adapter has no key 'rr'", "did you mean"]),
        ([], ["the space is empty"]),
        (["sweep=lora", "adapter.r=8", "training.learning_rate=1e-3", "training.epochs=1"], ["the space is empty"]),
        (["adapter.r=choice(4,8)", "sweep.objective=acuracy"], ["no suite computes 'acuracy'", "accuracy"]),
        (["adapter.r=choice(4,8)", "sweep.objective=[accuracy,accuracy]"], ["named twice"]),
        (["adapter.r=choice(4,8)", "sweep.storage=redis://host"], ["'redis' is no storage"]),
        (["adapter.r=choice(4,8)", "sweep.storage=postgresql://user:geheim@localhost:1/x"], ["does not answer"]),
        (["adapter.r=choice(4,8)", "sweep.trials=0"], ["sweep.trials", "less than 1"]),
        (["adapter.r=choice(4,8)", "sweep.sampler=tpee"], ["sweep/sampler has no option 'tpee'", "tpe"]),
        (["adapter.r=choice(4,8)", "sweep.sampler._target_=os.system"], ["outside the trusted prefixes"]),
        (["adapter.r=choice(4,8)", "+sweep.sampler.speed=3"], ["takes no 'speed'"]),
        (["adapter.r=choice(4,8)", "training.warmup=interval(0,0.5)", "sweep.sampler=grid"], ["no end of points"]),
        (["adapter.r=choice(4,8)", "sweep.objective=[accuracy,training_tokens]", "sweep.pruner=median"], ["be pruned"]),
        (["training.epochs=choice(1,0)"], ["training.epochs", "at least 1"]),
        (["training.epochs=interval(1,3)"], ["training.epochs", "does not fit"]),
        (["adapter=choice(lora,lorra)"], ["adapter has no option 'lorra'"]),
        (["method=zero_shot", "adapter.r=choice(4,8)"], ["this changes nothing"]),
        (["dataset.split.validation=choice(0.1,0.2)"], ["which validation rows"]),
        (["compute.micro_batch=choice(1,2)"], ["no part of an experiment"]),
    ],
)  # fmt: skip
def test_bad_input_is_reported_before_any_trial(
    words: list[str], wanted: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = refused(capsys, tmp_path, [*TUNED, *words], *wanted)
    assert "geheim" not in told
    assert not (tmp_path / "fits").exists()
    assert not list((tmp_path).glob("studies/*/study.journal"))


def test_status_reports_and_runs_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*LINEAR, SPACE, "sweep.trials=3"]
    refused(capsys, tmp_path, [*words, "--status"], "There is no study")
    told = asked(capsys, tmp_path, words)
    found = asked(capsys, tmp_path, [*LINEAR, SPACE, "sweep.trials=5", "--status"])
    assert found["best"] == told["best"]
    assert found["trials"] == {"complete": 3, "pruned": 0, "failed": 0, "running": 0}
    assert found["seconds_left"] > 0
    assert found["ended_by"] is None
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(Path(told["folder"]) / "study.journal"))
    )
    assert len(optuna.load_study(study_name=told["study"], storage=storage).trials) == 3


def test_the_winner_composes_with_options_of_ones_own_and_loses_to_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    for name, text in {
        "method/own.yaml": "defaults: [linear]\nc: 3.0\n",
        "experiment/base.yaml": "# @package _global_\ndefaults: [first_look, override /method: rag]\nmethod: {x: 1}\n",
    }.items():
        (mine / name).parent.mkdir(parents=True)
        (mine / name).write_text(text, encoding="utf-8")
    words = [
        "experiment=base",
        "method=own",
        "method.c=choice(1.0,2.0)",
        "sweep.sampler=grid",
        "--config-dir",
        str(mine),
    ]
    assert main(["sweep", *words, "--outputs", str(tmp_path / "out"), "--json"]) == 0
    printed = capsys.readouterr()
    assert "so these values of it are not used: method.x=1" in printed.err
    told = json.loads(printed.out)
    c = float(told["best"]["overrides"][0].partition("=")[2])
    best = compose(["experiment=best"], Path(told["folder"]))
    assert best.choices["method"] == "own"
    assert best.config["method"]["c"] == c
    assert "sweep" not in yaml.safe_load(Path(told["experiment"]).read_text(encoding="utf-8"))
    assert "c" not in compose(["experiment=best", "method=linear"], Path(told["folder"])).config["method"]
