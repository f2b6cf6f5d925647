"""The height of a piece of work, as the kernel accounts for it."""

import pytest

from stepladder.runs import memory
from stepladder.runs.memory import peak


def test_a_height_is_seen_after_it_has_gone_down_and_only_by_who_climbed_it():
    if not memory._reset():
        pytest.skip("this kernel sets no high-water mark back")
    with peak() as high:
        block = bytearray(b"x") * 200_000_000
        del block
    with peak() as low:
        pass
    assert high["peak_memory"] - low["peak_memory"] > 150_000_000


def test_where_the_kernel_does_not_tell_nothing_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "RESET", tmp_path / "none" / "clear_refs")
    with peak() as found:
        pass
    assert found == {}
