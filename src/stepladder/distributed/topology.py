"""The place of this process among those that torchrun or srun has started, and the messages between nodes.

One process leads: the first on the first node. It alone reads the store, writes and prints. The first on every other
node starts that node's part of a fit on request; all others have nothing to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from stepladder.errors import ConfigError, Fault, RankError

WAITING = timedelta(days=30)
LEAVING = timedelta(seconds=30)


@dataclass(frozen=True)
class Place:
    """Node `node` of `nodes`, process `local` of those that `starter` has started there."""

    node: int
    nodes: int
    local: int
    starter: str

    @property
    def leads(self) -> bool:
        return self.node == self.local == 0


def place(environment: Mapping[str, str] | None = None) -> Place:
    """The place of this process, by the variables of torchrun or Slurm; a single process without them."""
    given = os.environ if environment is None else environment

    def number(*names: str) -> int:
        return next((int(given[name]) for name in names if given.get(name, "").isdecimal()), 0)

    if "RANK" in given and "WORLD_SIZE" in given:
        on_each = number("LOCAL_WORLD_SIZE") or number("WORLD_SIZE")
        nodes = number("GROUP_WORLD_SIZE") or max(1, number("WORLD_SIZE") // max(1, on_each))
        local = number("LOCAL_RANK") if "LOCAL_RANK" in given else number("RANK") % max(1, on_each)
        return Place(number("GROUP_RANK", "NODE_RANK"), nodes, local, "torchrun")
    if "SLURM_STEP_NUM_TASKS" in given and "SLURM_PROCID" in given:
        return Place(number("SLURM_NODEID"), number("SLURM_STEP_NUM_NODES") or 1, number("SLURM_LOCALID"), "srun")
    return Place(0, 1, 0, "")


def order(folder: str) -> None:
    """Have the other nodes make their part of the fit in `folder`."""
    _Leading.orders += 1
    _store(True).set(f"order-{_Leading.orders}", folder)


def over() -> None:
    """Tell the other nodes, if there are any, that there is no more work."""
    here = place()
    if here.nodes == 1 or not here.leads or _missing():
        return
    order("")
    with suppress(RuntimeError):  # one that is gone already needs no leave
        _store(True).wait([f"left-{node}" for node in range(1, here.nodes)], LEAVING)


def orders() -> Iterator[str]:
    """The folders of the fits that this node has a part in, until there are no more.

    Raises RankError when the leading process is gone.
    """
    number, this = 0, place()
    while True:
        number += 1
        try:
            folder = _store(False).get(f"order-{number}").decode()
            if not folder:
                _store(False).set(f"left-{this.node}", "")
                return
        except RuntimeError as error:  # DistStoreError, DistNetworkError
            raise RankError(
                "The first node is gone", this.starter, "see its output; start the command again"
            ) from error
        yield folder


class _Leading:
    """How many orders this process has given."""

    orders = 0


def _missing() -> list[str]:
    return [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]


@cache
def _store(leads: bool) -> Any:
    """torch's key-value store at MASTER_ADDR and MASTER_PORT, run by torchrun or by the leading process."""
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    if missing := _missing():
        what = f"several nodes find each other by {' and '.join(missing)}, which the environment does not have"
        raise ConfigError(Fault("compute.nodes", what, "set them to the first node and to a free port of it"))
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(*address, None, leads and not kept, WAITING, wait_for_workers=False)
    return PrefixStore(f"stepladder-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
