"""The height of a piece of work, as the kernel accounts for it."""

import mmap
import time
from contextlib import contextmanager

import pytest

from stepladder.runs import memory
from stepladder.runs.memory import peak

MIB = 2**20


@pytest.fixture
def held(monkeypatch):
    """Holds so many MiB until the memory in use was sampled while they were held."""
    samples, account = [], memory._account

    def counted(name):
        found = account(name)
        samples.append(name)
        return found

    monkeypatch.setattr(memory, "_account", counted)

    @contextmanager
    def hold(mib):
        # Pages of the kernel's own: what malloc gives may be memory that this process had already.
        with mmap.mmap(-1, mib * MIB) as block:
            for page in range(0, len(block), mmap.PAGESIZE):
                block[page] = 1
            before = samples.count("VmRSS")
            while samples.count("VmRSS") < before + 2:  # the first may have begun before the last page was written
                time.sleep(0.01)
            yield

    return hold


def test_a_height_is_seen_after_it_has_gone_down_and_only_by_who_climbed_it(held):
    if memory._account("VmHWM") is None:
        pytest.skip("this kernel keeps no account of a process")
    with peak() as high, held(300):
        pass
    for _ in range(3):  # the kernel may take other pages away meanwhile
        with peak() as low:
            pass
        with peak() as lower, held(150):  # below the mark of before: seen while it is held
            pass
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
