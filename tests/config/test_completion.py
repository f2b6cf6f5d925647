"""What a shell offers: verbs, flags, groups, options, keys."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stepladder.cli import VERBS, main

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


@pytest.mark.parametrize(
    ("line", "offered"), [("stepladder rep", "reproduce"), ("stepladder run method=zero", "zero_shot")]
)
def test_bash_completes(capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, offered: str) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    asks = (
        f'source "{script}"\nCOMP_LINE="{line}" COMP_POINT={len(line)}\n_stepladder\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", CALL + asks], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [offered]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(capsys: pytest.CaptureFixture[str], tmp_path: Path, shell: str) -> None:
    assert main(["completion", shell]) == 0
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "--no-execute", str(script)], check=True)


def test_another_shell_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "say bash, zsh or fish" in capsys.readouterr().err
