"""The store: made once, found again, never half there."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stepladder.errors import ModelError, StoreError
from stepladder.store.store import Form, Store


def form(key: str = "a" * 32, full: dict[str, object] | None = None) -> Form:
    return Form(key, "zero_shot-toy", {"seed": 0}, full or {"rate": 0.1})


def made(folder: Path) -> dict[str, int]:
    (folder / "result").write_text("42", encoding="utf-8")
    return {"answer": 42}


def test_made_once_then_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.take("fits", form(), made)
    again = store.take("fits", form(), lambda folder: pytest.fail("made again"))
    assert (first.reused, again.reused) == (False, True)
    assert again.facts == {"answer": 42}
    assert again.folder == first.folder
    assert first.folder.name.startswith("zero_shot-toy-")


def test_another_label_finds_the_same_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.take("fits", form(), made)
    other = Form("a" * 32, "another-name", {"seed": 0}, {"rate": 0.1})
    assert store.take("fits", other, lambda folder: pytest.fail("made again")).folder == first.folder


def test_an_unfinished_folder_is_made_anew_in_its_place(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def dies(folder: Path) -> dict[str, int]:
        (folder / "half").write_text("", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.take("fits", form(), dies)
    assert store.find("fits", form().key) is None
    entry = store.take("fits", form(), made)
    assert not entry.reused
    assert len(list((tmp_path / "fits").iterdir())) == 1


def test_what_the_user_can_mend_leaves_nothing_half_written(tmp_path: Path) -> None:
    def refuses(folder: Path) -> dict[str, int]:
        (folder / "half").write_text("", encoding="utf-8")
        raise ModelError("the window is too small", "question 1", "show less")

    with pytest.raises(ModelError):
        Store(tmp_path).take("fits", form(), refuses)
    assert list((tmp_path / "fits").iterdir()) == []


def test_a_changed_default_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.take("fits", form(full={"method": {"rate": 0.1, "k": 5}}), made)
    with pytest.raises(StoreError, match=r"method\.rate was 0\.1, is 0\.2"):
        store.take("fits", form(full={"method": {"rate": 0.2, "k": 5}}), made)


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, sys, time
        from pathlib import Path
        from stepladder.store.store import Form, Store
        def make(folder):
            while len(list(Path(sys.argv[1]).glob("started-*"))) < 3:
                time.sleep(0.01)
            with (Path(sys.argv[1]) / "made").open("a") as stream:
                stream.write("x")
            return {"answer": 42}
        (Path(sys.argv[1]) / f"started-{os.getpid()}").touch()
        entry = Store(Path(sys.argv[1])).take("fits", Form("a" * 32, "a", {}, {}), make)
        print(entry.facts["answer"])
        """
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [process.communicate()[0].strip() for process in processes]
    assert told == ["42"] * 3
    assert (tmp_path / "made").read_text(encoding="utf-8") == "x"


def test_what_a_kill_left_half_written_or_half_removed_goes(tmp_path: Path) -> None:
    def dies(folder: Path) -> dict[str, int]:
        (folder / "artefact").mkdir()
        (folder / "artefact" / ".unfinished-abc").write_text("ha", encoding="utf-8")
        (folder / ".unfinished-checkpoints").mkdir()
        (folder / ".unfinished-checkpoints" / "step").touch()
        raise KeyboardInterrupt

    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.take("fits", form(), dies)
    folder = store.take("fits", form(), made).folder
    assert {f.name for f in folder.rglob("*")} == {"config.yaml", "full.yaml", "done.json", "result"}


def test_done_is_written_last_and_holds_the_key(tmp_path: Path) -> None:
    entry = Store(tmp_path).take("scores", form(), made)
    done = json.loads((entry.folder / "done.json").read_text(encoding="utf-8"))
    assert done["key"] == form().key
    assert {f.name for f in entry.folder.iterdir()} == {"config.yaml", "full.yaml", "done.json", "result"}


def test_a_root_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="--outputs"):
        Store(tmp_path / "file").take("fits", form(), made)
