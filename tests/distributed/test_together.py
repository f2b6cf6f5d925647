"""What a fit over several processes shares with the rest of the house: sweeps, memory, faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ranked import DDP, FSDP, Run, outcome

from stepladder.cli.entry import main
from stepladder.io.files import read_lines
from stepladder.studies.sweep import work

Capture = pytest.CaptureFixture[str]


def test_a_sweep_has_one_folder_a_trial(
    words: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[dict[str, Any]] = []
    told = work._Watching.report

    def hear(watching: Any, values: dict[str, Any]) -> bool:
        heard.append(values)
        return told(watching, values)

    monkeypatch.setattr(work._Watching, "report", hear)
    space = ["adapter.r=choice(8,16)", "sweep.sampler=grid", "sweep.trials=2", "sweep.pruner=none"]
    assert main(["sweep", *words[1:], *DDP, *space, "--outputs", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == {"complete": 2, "pruned": 0, "failed": 0}
    fits = {}
    for folder in (tmp_path / "fits").iterdir():  # 16 is what there is without a sweep: its fit is the trial's
        fits[json.loads((folder / "artefact" / "adapter_config.json").read_text())["r"]] = folder
        assert (folder / "done.json").exists()
    assert sorted(fits) == [8, 16]
    reported = [line for folder in fits.values() for line in read_lines(folder / "metrics.jsonl")]
    losses = [line["validation_loss"] for line in reported if "validation_loss" in line]
    assert sorted(values["validation_loss"] for values in heard) == sorted(losses)
    assert len(list((tmp_path / "studies").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize("several", [DDP, FSDP], ids=["ddp", "fsdp"])
def test_where_memory_runs_out_batch_and_loss_stay(
    words: list[str],
    run: Run,
    several: tuple[str, ...],
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = run()["lines"]
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}:{here.parents[2] / 'src'}")
    more = ["model._target_=cramped.Cramped", "--trust", "cramped", "--outputs", str(tmp_path)]
    assert main([*words, *several, *more]) == 0
    assert "out of memory: from here on at most" in capsys.readouterr().err
    found = outcome(tmp_path)
    assert found["facts"].get("rows_at_once") == (1 if several == FSDP else None)
    assert ("tokens_at_once" in found["facts"]) == (several == DDP)
    assert len(found["lines"]) == len(wanted)
    for ours, theirs in zip(found["lines"], wanted, strict=True):
        for name in ("step", "loss", "validation_loss"):
            assert ours.get(name, 0) == pytest.approx(theirs.get(name, 0), abs=1e-4)


def test_the_fault_of_a_process_is_told_as_if_there_were_one(words: list[str], tmp_path: Path, capsys: Capture) -> None:
    assert main([*words, *DDP, "adapter=bitfit", "--outputs", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "BitFit trains biases, and this model (LlamaForCausalLM) has none" in told
    assert "what to do: choose adapter=lora" in told
    assert "Traceback" not in told
    assert not list((tmp_path / "fits").iterdir())
