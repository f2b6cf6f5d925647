"""Names from data and configuration: whatever they are, files lie in the outputs folder and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepladder.cli.entry import main
from stepladder.errors import UserError
from stepladder.io.files import file_in, is_inside
from stepladder.store.store import Store, readable

NAMES = [
    "../../escaped",
    "/escaped",
    "..",
    ".",
    "-rf",
    "a/b",
    "a\\b",
    "nul\0byte",
    "line\nbreak",
    "x" * 300,
    "\U0001d518" * 80,
    "~",
    "*?[a]",
    "$(touch escaped)",
    "é\u202eçà\u0301",
    "CON",
    "",
]
HOSTILE = ["../../escaped", "/escaped", "..", "-rf", "a/b", "nul\0byte"]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in a folder, to see what lies beside it afterwards."""
    inner = tmp_path / "outer" / "box"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    return inner


def outside(box: Path) -> list[str]:
    """What lies in none of the places that were named."""
    top = box.parent.parent
    named = (box / "outputs", box / "rows.csv", box / "theirs", top / "cache")
    return sorted(str(p) for p in top.rglob("*") if p.is_file() and not any(p.is_relative_to(n) for n in named))


def ran(words: list[str]) -> int:
    return main([words[0], "tracking=wandb", *words[1:], "--outputs", "outputs"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["sweep.name", "comparison.name"])
def test_a_study_is_a_folder_of_the_outputs(key: str, name: str, box: Path) -> None:
    quoted = name.replace("\\", "\\\\").replace("'", "\\'")
    words = ["sweep", "+method.c=choice(1,2)", "sweep.trials=1"] if key == "sweep.name" else ["compare"]
    method = "method=linear" if key == "sweep.name" else "method=majority"
    words = [*words, "experiment=first_look", method, f"{key}='{quoted}'"]
    code = ran(words)
    assert code == (0 if name in ("CON",) else 2)
    assert outside(box) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_labels_columns_and_ids_name_no_file(name: str, box: Path) -> None:
    name = name.replace("\0", "\x01")  # which no line of csv may hold
    lines = [f'"{name}{n}","what {n}","{name}"\n"b{n}","which {n}","other"\n' for n in range(20)]
    (box / "rows.csv").write_text(f'"{name}","text","label"\n' + "".join(lines), encoding="utf-8")
    data = ["dataset=file", "dataset.train=rows.csv", "dataset.input=text", "dataset.target=label"]
    quoted = name.replace("\x01", " ")
    if quoted == name:
        data += [f"dataset.id='{name}'", f"dataset.tags=['{name}']"]
    assert ran(["compare", *data, "method=majority,linear", "model=toy"]) == 0
    assert outside(box) == []


@pytest.mark.parametrize(
    "name", ["..evil", "-rf", "a b", "$(touch escaped)", "x" * 200, "é\u202eçà", "\U0001d518" * 50]
)
def test_the_name_of_an_option_is_made_readable(name: str, box: Path) -> None:
    (box / "theirs" / "method").mkdir(parents=True)
    (box / "theirs" / "method" / f"{name}.yaml").write_text("_target_: stepladder.methods.Majority\n")
    quoted = name.replace("'", "\\'")
    ran(["run", "experiment=first_look", f"method='{quoted}'", "--config-dir", "theirs"])
    assert outside(box) == []


@pytest.mark.parametrize("label", NAMES)
def test_a_label_is_one_part_of_a_folder(label: str) -> None:
    found = readable(label)
    assert found == Path("x" + found).name[1:]
    assert len(found.encode()) <= 160
    assert "\0" not in found
    assert "." not in found


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\0", ".."])
def test_what_leads_out_of_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leads out of its directory"):
        file_in(tmp_path, name)
    with pytest.raises(UserError, match="leads out of its directory"):
        Store(tmp_path).study(name)


def test_a_folder_has_what_lies_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "snapshots" / "0123"
    folder.mkdir(parents=True)
    (tmp_path / "models" / "blob").write_text("")
    (tmp_path / "outside").write_text("")
    (folder / "of_the_hub").symlink_to(tmp_path / "models" / "blob")
    (folder / "out").symlink_to(tmp_path / "outside")
    assert is_inside(folder / "of_the_hub", folder)
    assert not is_inside(folder / "out", folder)
    plain = folder.rename(tmp_path / "models" / "plain")
    assert not is_inside(plain / "of_the_hub", plain)


def test_outputs_may_be_a_link_but_a_run_in_them_may_not(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (box / "outputs").mkdir()
    (box / "linked").symlink_to(box / "outputs")
    words = ["run", "experiment=first_look", "method=majority", "tracking=none", "--outputs", "linked", "--json"]
    assert main(words) == 0
    fit = Path(json.loads(capsys.readouterr().out)["folders"]["fit"])
    moved = fit.rename(box.parent / "elsewhere")
    (moved / "done.json").unlink()
    before = sorted(moved.rglob("*"))
    fit.symlink_to(moved)
    assert main(words) == 2
    assert "A link stands where a folder of the store is to be" in capsys.readouterr().err
    assert sorted(moved.rglob("*")) == before
