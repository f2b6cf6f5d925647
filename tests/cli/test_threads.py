"""OpenMP threads spin only briefly, unless the user has set something else."""

from __future__ import annotations

import os

import pytest

from stepladder.cli.threads import SPINS, wait_briefly


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    return monkeypatch


def test_the_waiting_loop_is_short_and_inherited(unset: pytest.MonkeyPatch) -> None:
    wait_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == SPINS


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "passive")])
def test_settings_of_the_user_are_kept(name: str, value: str, unset: pytest.MonkeyPatch) -> None:
    unset.setenv(name, value)
    wait_briefly()
    assert os.environ[name] == value
    assert os.environ.get("GOMP_SPINCOUNT") == ("7" if name == "GOMP_SPINCOUNT" else None)
