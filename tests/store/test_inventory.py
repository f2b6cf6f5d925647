"""Order in the store: runs are found by any value, what nobody asked for is taken out, and a run is made anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from stepladder.cli.entry import main

FIRST = ["experiment=first_look", "method=majority"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a study of one run, two runs of no study, and a fit that was cut short."""
    root = tmp_path_factory.mktemp("store") / "outputs"
    assert main(["compare", *FIRST, "--outputs", str(root)]) == 0
    cut = root / "fits" / "finetune-lora-toy-toy-0123456789abcdef"
    shutil.copytree(next((root / "fits").iterdir()), cut)
    (cut / "done.json").unlink()
    for rows in (40, 60):
        assert main(["run", *FIRST, f"dataset.source.rows={rows}", "--outputs", str(root)]) == 0
    return root


@pytest.fixture
def store(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "outputs"))


def asked(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([], 4),
        (["method=majority"], 4),
        (["method=finetune"], 0),
        (["method=major*", "state=finished"], 3),
        (["dataset.source.rows=40"], 1),
        (["source.rows=40,60"], 2),
        (["seed=0", "state=unfinished"], 1),
        (["seed=1"], 0),
        (["study=ladder-*"], 1),
        (["split.test=0.3"], 4),
        (["gold=null"], 4),
        ([f"date={datetime.now(UTC):%Y}"], 4),
        (["date=1999-01"], 0),
    ],
)
def test_runs_are_found_by_any_value(
    kept: Path, capsys: pytest.CaptureFixture[str], words: list[str], count: int
) -> None:
    found = asked(capsys, ["list", *words, "--outputs", str(kept)])["runs"]
    assert len(found) == count
    assert all(Path(each["folder"]).is_dir() for each in found)


def test_a_key_that_no_run_has_is_told(kept: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, hint in ((["metod=majority"], "did you mean 'method'?"), (["majority"], "KEY=VALUE")):
        assert main(["list", *words, "--outputs", str(kept)]) == 2
        assert hint in capsys.readouterr().err
    assert main(["list", "--outputs", str(tmp_path / "nowhere")]) == 2
    assert "no store here" in capsys.readouterr().err


def test_the_listing_is_a_table(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--outputs", str(kept)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["finished", "state", "label"]
    assert sum("classification.accuracy=" in line for line in lines) == 3
    assert sum("unfinished" in line for line in lines) == 1


def folders(store: Path) -> set[str]:
    return {f"{f.parent.name}/{f.name}" for kind in ("fits", "predictions", "scores") for f in (store / kind).iterdir()}


def test_clean_takes_out_what_nobody_asked_for(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = folders(store)
    told = asked(capsys, ["clean", "--dry-run", "--outputs", str(store)])
    assert folders(store) == before
    reasons = {each["reason"] for each in told["removed"]}
    assert reasons == {"unfinished", "of no study", "of no run that is kept"}
    gone = asked(capsys, ["clean", "--outputs", str(store)])
    assert gone["removed"] == told["removed"]
    assert len(folders(store)) == 3
    again = asked(capsys, ["compare", *FIRST, "--outputs", str(store)])
    assert all(all(row["reused"].values()) for row in again["rows"])
    assert asked(capsys, ["clean", "--outputs", str(store)])["removed"] == []


def test_clean_keeps_to_the_values_it_is_given(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = folders(store)
    told = asked(capsys, ["clean", "state=unfinished", "--outputs", str(store)])
    assert [each["reason"] for each in told["removed"]] == ["unfinished"]
    assert len(folders(store)) == len(before) - 1
    told = asked(capsys, ["clean", "source.rows=40", "--outputs", str(store)])
    assert {each["reason"] for each in told["removed"]} == {"of no study", "of no run that is kept"}
    assert len(asked(capsys, ["list", "--outputs", str(store)])["runs"]) == 2


def test_clean_removes_a_study_with_the_runs_of_no_other(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (first,) = (store / "studies").iterdir()
    words = ["compare", *FIRST, "comparison.name=second", "--outputs", str(store)]
    asked(capsys, words)
    before = folders(store)
    told = asked(capsys, ["clean", f"study={first.name}", "--dry-run", "--outputs", str(store)])
    assert [each["reason"] for each in told["removed"]] == ["the study"]  # its run belongs to the second study, too
    assert first.is_dir()
    assert asked(capsys, ["clean", f"study={first.name}", "--outputs", str(store)])["removed"] == told["removed"]
    assert not first.exists()
    assert folders(store) == before
    told = asked(capsys, ["clean", "study=second-*", "--outputs", str(store)])
    assert [each["reason"] for each in told["removed"]][:2] == ["the study", "of no study"]
    assert len(told["removed"]) == 4
    assert len(folders(store)) == len(before) - 3  # and nothing that belongs to no study anyway
    assert not list((store / "studies").iterdir())


def test_clean_names_the_studies_there_are_and_leaves_one_at_work(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study,) = (store / "studies").iterdir()
    assert main(["clean", "study=ladder", "--outputs", str(store)]) == 2
    assert study.name in capsys.readouterr().err
    assert main(["clean", f"study={study.name}", "method=majority", "--outputs", str(store)]) == 2
    assert "A study is removed whole" in capsys.readouterr().err
    (study / "workers").mkdir()
    with FileLock(study / "workers" / "one.lock"):
        told = asked(capsys, ["clean", f"study={study.name}", "--outputs", str(store)])
    assert told["removed"] == []
    assert Path(told["in_the_making"][0]) == study


def test_what_is_in_the_making_stays(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FileLock(store / "locks" / "fits-0123456789abcdef.lock"):
        told = asked(capsys, ["clean", "state=unfinished", "--outputs", str(store)])
    assert told["removed"] == []
    (left,) = told["in_the_making"]
    assert Path(left).is_dir()


def test_a_folder_of_ones_own_and_a_link_are_left_alone(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, elsewhere = store / "fits" / "my notes", store.parent / "elsewhere-0123456789abcdef"
    own.mkdir()
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    (store / "fits" / "linked-0123456789abcdef").symlink_to(elsewhere)
    asked(capsys, ["clean", "--outputs", str(store)])
    assert own.is_dir()
    assert (elsewhere / "precious").exists()


def test_a_fresh_run_stands_beside_the_old_one(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", *FIRST, "--outputs", str(store)]
    first = asked(capsys, words)
    assert all(first["reused"].values())
    for attempt in (2, 3):
        fresh = asked(capsys, [*words, "--fresh"])
        assert not any(fresh["reused"].values())
        assert fresh["keys"] == first["keys"]
        assert fresh["scores"] == first["scores"]
        assert all(fresh["folders"][stage] == f"{first['folders'][stage]}-r{attempt}" for stage in fresh["keys"])
    assert asked(capsys, words)["folders"] == first["folders"]
    new = store / "new.csv"
    new.write_text("text\nwhere is my key\n", encoding="utf-8")
    assert asked(capsys, ["predict", fresh["folders"]["score"], str(new)])["predictions"][0]["text"]
    assert asked(capsys, ["diff", first["folders"]["score"], fresh["folders"]["fit"]])["same"]


def test_a_flag_of_another_verb_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["compare", "--fresh"], ["run", "--verify"], ["list", "--dry-run"]):
        assert main(words) == 2
        assert f"takes no {words[1]}" in capsys.readouterr().err
