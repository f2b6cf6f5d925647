"""A node of a heavy package that was built before is known without importing the package."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from stepladder.config.build import build
from stepladder.config.remembered import recalled, remember
from stepladder.store.identity import identity

TELL = """
import json, sys
from stepladder.config.build import build
from stepladder.store.identity import identity
component = build({"adapter": json.loads(sys.argv[1])})["adapter"]
told = {"short": identity(component), "full": identity(component, full=True), "imported": "peft" in sys.modules}
made = component.object() if callable(component.object) else component.object
print(json.dumps({**told, "r": made.r, "class": type(made).__name__}))
"""


def here(node):
    """What TELL prints of a node, in this process."""
    component = build({"adapter": node})["adapter"]
    made = component.object() if callable(component.object) else component.object
    short, full = identity(component), identity(component, full=True)
    return {"short": short, "full": full, "r": made.r, "class": type(made).__name__, "known": component.known}


def test_the_second_time_nothing_is_imported_and_all_is_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path))
    node = {"_target_": "peft.LoraConfig", "r": 4, "lora_alpha": 8}
    first, other = here(node), here({**node, "r": 5})
    assert (first.pop("known"), other["known"]) == (None, None)  # both were built
    done = subprocess.run([sys.executable, "-c", TELL, json.dumps(node)], capture_output=True, text=True, check=True)
    second = json.loads(done.stdout.splitlines()[-1])
    assert second.pop("imported") is False
    assert first == second
    assert first["r"] == 4
    assert first["short"]["r"] == 4
    assert "lora_dropout" in first["full"]
    assert "lora_dropout" not in first["short"]
    assert other["short"] != first["short"]


def test_a_fault_is_told_again_each_time(tmp_path):
    from stepladder.errors import ConfigError

    for _ in range(2):
        with pytest.raises(ConfigError, match="'rr'"):
            build({"adapter": {"_target_": "peft.LoraConfig", "rr": 4}})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("stepladder.tuning.Full", {}),
        ("somebodys.Adapter", {"r": 1}),
        ("peft.LoraConfig", {"r": "${training}"}),
        ("peft.LoraConfig", {"runtime_config": {"_target_": "peft.LoraRuntimeConfig"}}),
        ("peft.LoraConfig", {"r": object()}),
    ],
)
def test_what_may_change_under_its_name_is_never_remembered(monkeypatch, tmp_path, name, arguments):
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path))
    remember(name, arguments, (), {"is": name}, {"is": name})
    assert not list(tmp_path.rglob("*.json"))


def test_another_version_is_another_node(monkeypatch, tmp_path):
    from stepladder.config import remembered

    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path))
    monkeypatch.setattr(remembered, "is_light", lambda name: False)
    remember("peft.LoraConfig", {"r": 1}, (), "short", "full")
    assert recalled("peft.LoraConfig", {"r": 1}).short == "short"
    assert recalled("peft.LoraConfig", {"r": True}) is None
    monkeypatch.setattr(remembered, "version", lambda package: "99")
    assert recalled("peft.LoraConfig", {"r": 1}) is None


def test_identity_of_what_is_built_here_is_as_before():
    component = build({"adapter": {"_target_": "peft.LoraConfig", "r": 16}})["adapter"]
    assert identity(component)["is"].endswith("LoraConfig")
