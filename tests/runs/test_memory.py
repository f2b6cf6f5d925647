"""The height of a piece of work, as the kernel accounts for it."""

import time

import pytest

from stepladder.runs import memory
from stepladder.runs.memory import peak

MIB = 2**20


def test_a_height_is_seen_after_it_has_gone_down_and_only_by_who_climbed_it():
    if memory._account("VmHWM") is None:
        pytest.skip("this kernel keeps no account of a process")
    with peak() as high:
        block = bytearray(b"x") * (300 * MIB)
        time.sleep(4 * memory.APART)
        del block
    for _ in range(3):  # the kernel may take other pages away meanwhile
        with peak() as low:
            pass
        with peak() as lower:  # below the mark of before: seen while it is held
            block = bytearray(b"x") * (150 * MIB)
            time.sleep(4 * memory.APART)
            del block
        if lower["peak_memory"] - low["peak_memory"] > 100 * MIB:
            break
    assert high["peak_memory"] - low["peak_memory"] > 200 * MIB
    assert 100 * MIB < lower["peak_memory"] - low["peak_memory"] < 200 * MIB


def test_where_the_kernel_does_not_tell_nothing_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    with peak() as found:
        pass
    assert found == {}


def test_a_block_that_fails_fails():
    with pytest.raises(ValueError, match="mine"), peak():
        raise ValueError("mine")
