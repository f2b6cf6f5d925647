"""Shell completion offers verbs, flags, groups, options, keys and values."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stepladder.cli.entry import VERBS, main

CALL = f'stepladder() {{ {sys.executable} -m stepladder "$@"; }}\n'


def words(capsys: pytest.CaptureFixture[str], line: str, *flags: str) -> list[str]:
    assert main(["completion", "words", line, *flags]) == 0
    return capsys.readouterr().out.split()


def test_verbs_flags_groups_options_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(words(capsys, "")) == set(VERBS)
    assert words(capsys, "re") == ["reproduce"]
    assert {"--outputs", "--json", "--fresh"} <= set(words(capsys, "run -"))
    assert "--fresh" not in words(capsys, "compare --")
    assert words(capsys, "run ad") == ["adapter="]
    assert {"finetune", "rag"} <= {word.partition("=")[2] for word in words(capsys, "run seed=1 method=")}
    assert words(capsys, "compare method=rag,fine") == ["method=rag,finetune", "method=rag,finetune_rag"]
    assert "adapter.lora_alpha=" in words(capsys, "run adapter.")
    assert words(capsys, "run adapter=prompt_tuning adapter.lora") == []
    assert words(capsys, "sweep sweep.sampler=qu") == ["sweep.sampler=quasi_random"]
    assert words(capsys, "predict ad") == []
    assert words(capsys, "completion f") == ["fish"]


def test_the_users_own_options_are_offered(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("_target_: [broken", encoding="utf-8")
    assert words(capsys, "run method=mi", "--config-dir", str(tmp_path)) == ["method=mine"]


@pytest.mark.parametrize("flag", ["--config-dir {}", "--config-dir={}", "--config-dir '{}'"])
def test_a_folder_named_on_the_line_is_read(capsys: pytest.CaptureFixture[str], tmp_path: Path, flag: str) -> None:
    for name, text in {"method/mine.yaml": "defaults: [linear]\nc: 2\n", "experiment/own.yaml": "seed: 1\n"}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text, encoding="utf-8")
    named = flag.format(tmp_path)
    assert words(capsys, f"run {named} method=mi") == ["method=mine"]
    assert "experiment=own" in words(capsys, f"compare {named} experiment=")
    assert words(capsys, f"run {named} method=mine method.") == ["method.c="]


@pytest.mark.parametrize(
    ("word", "offered"),
    [
        ("decoding.mode=", ["choose", "greedy", "sampled", "json"]),
        ("decoding.normalise=p", ["prior"]),
        ("training.precision=", ["bf16", "float32"]),
        ("preflight.template=", ["true", "false"]),
        ("comparison.mid_p=t", ["true"]),
        ("comparison.correction=", ["holm", "benjamini_hochberg"]),
        ("compute.strategy=", ["ddp", "fsdp", "null"]),
        ("dataset.on_overlap=", ["drop", "stop", "keep"]),
        ("training.epochs=", []),
    ],
)
def test_values_that_a_constructor_lists_are_offered(
    capsys: pytest.CaptureFixture[str], word: str, offered: list[str]
) -> None:
    assert words(capsys, f"run {word}") == [f"{word.partition('=')[0]}={each}" for each in offered]


def test_keys_within_keys_and_of_the_option_before_are_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert words(capsys, "run dataset=toy dataset.split.") == ["dataset.split.test=", "dataset.split.validation="]
    assert "dataset.on_bad_row=" in words(capsys, "run dataset=toy dataset.on")


LINES = [("stepladder rep", "reproduce"), ("stepladder run method=zero", "method=zero_shot")]
lines = pytest.mark.parametrize(("line", "offered"), LINES)


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    file = folder / f"completion.{shell}"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    return file


def printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@lines
def test_bash_completes(capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, offered: str) -> None:
    source = f'source "{script("bash", tmp_path, capsys)}"\nCOMP_LINE="{line}" COMP_POINT={len(line)}\n'
    asks = '_stepladder\nprintf "%s\\n" "${COMPREPLY[@]}"'
    # Bash breaks words at =, and takes what follows it.
    assert printed("bash", "-c", CALL + source + asks).split() == [offered.rpartition("=")[2]]


@lines
def test_fish_completes(capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, offered: str) -> None:
    call = f"function stepladder; {sys.executable} -m stepladder $argv; end\n"
    asks = f"source '{script('fish', tmp_path, capsys)}'; complete -C '{line}'"
    assert printed("fish", "--no-config", "-c", call + asks).split() == [offered]


TYPED = """
zmodload zsh/zpty
zpty terminal zsh -f -i
zpty -w terminal "$1; echo READY-\\$((1+1))"
zpty -r terminal heard '*READY-2*'
zpty -w -n terminal $2$'\\tx\\x01print -r -- "\\x05" > '$3$'; echo DONE-$((1+1))\\n'
zpty -r terminal heard '*DONE-2*'
"""


@pytest.mark.parametrize(("line", "offered"), [*LINES, ("stepladder run meth", "method=")])
def test_zsh_completes(capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, offered: str) -> None:
    """In a terminal: the line, a tab and a letter are typed, then what hands the line to print."""
    begin = f"{CALL.strip()}; autoload -Uz compinit; compinit -u -D; source '{script('zsh', tmp_path, capsys)}'"
    printed("zsh", "-f", "-c", TYPED, "zsh", begin, line, str(tmp_path / "asked"))
    gap = "" if offered.endswith("=") else " "  # after a word that is whole
    assert (tmp_path / "asked").read_text() == f"{line.rpartition(' ')[0]} {offered}{gap}x\n"


def test_an_unknown_shell_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "say bash, zsh or fish" in capsys.readouterr().err
