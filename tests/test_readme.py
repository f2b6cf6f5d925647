"""The commands of the README run, with the toy model instead of a real one."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from stepladder.cli.entry import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
TOY = ["model=toy", "training=smoke", "demonstrations=fixed", "tracking=none"]


def commands(text: str) -> list[str]:
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    return [
        line.split("  #")[0].strip()
        for block in blocks
        for line in block.splitlines()
        if line.startswith("stepladder ")
    ]


def test_the_two_scripts_are_there_and_can_be_run() -> None:
    for name in re.findall(r"^scripts/(\w+)", README, re.MULTILINE):
        assert os.access(ROOT / "scripts" / name, os.X_OK), name


def test_the_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"please {verb} thing {n},{verb}" for n in range(8) for verb in ("buy", "sell", "rent")]
    Path("rows.csv").write_text("\n".join(["text,label", *lines]), encoding="utf-8")
    Path("new.csv").write_text("text\nplease buy this\n", encoding="utf-8")
    ran = commands(README)
    assert len(ran) >= 6
    for line in ran:
        verb, *words = shlex.split(line)[1:]
        if verb == "init":
            pass
        elif verb in ("predict", "reproduce", "list", "clean"):
            for kind in ("fits", "scores"):
                folder = next(Path("outputs", kind).glob("few_shot-*"))
                words = [word.replace(f"outputs/{kind}/FOLDER", str(folder)) for word in words]
        else:
            words += TOY
        assert main([verb, *words]) == 0, line
    assert Path("answers.csv").read_text(encoding="utf-8").count("\n") == 2


@pytest.mark.parametrize("line", [line for line in commands(CONFIGURATION) if "..." not in line])
def test_the_configurations_examples_compose(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in shlex.split(line)[2:] if not word.startswith("[")]
    words = [re.sub(r"=([^=,]+),.*", r"=\1", word) for word in words]  # the first of a list: show takes one experiment
    if not any(word.startswith("--") for word in words) and "VERB" not in line:
        assert main(["show", *words]) == 0, capsys.readouterr().err


def test_every_option_in_the_configurations_table_is_there() -> None:
    for group, options in re.findall(r"^\| `(\w+)` \| `([^|]*)` \|", CONFIGURATION, re.MULTILINE):
        there = {f.stem for f in (ROOT / "conf" / group).glob("*.yaml")}
        assert set(options.replace("`", " ").split()) == there, group
