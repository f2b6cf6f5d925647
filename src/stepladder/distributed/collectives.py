"""Collectives of the processes that train one model together, over torch.distributed.

With one process each is the identity. Only tensors and JSON are sent, never a pickle.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from stepladder.io.files import read_json, write_text
from stepladder.resources import Devices

T = TypeVar("T")


class HasLength(Protocol):
    """A row with its number of tokens."""

    @property
    def length(self) -> int: ...


Row = TypeVar("Row", bound=HasLength)

WAITING = timedelta(days=1)
"""A process that died is noticed by the process that started it; one that lives may be slow."""

BUCKET = 2**24  # gradients in one all-reduce
SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Ranks:
    """`rank` of `count`, on `device`. sharded: each holds a shard of the weights, and all take part in every pass."""

    rank: int = 0
    count: int = 1
    sharded: bool = False
    device: torch.device | None = None

    @classmethod
    def of(cls, devices: Devices) -> Ranks:
        """This process among those that `join` has connected."""
        if devices.count == 1:
            return cls()
        place = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        sharded = devices.strategy == "fsdp"
        return cls(distributed.get_rank(), distributed.get_world_size(), sharded, torch.device(place))

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, rows: Sequence[Row]) -> list[Row]:
        """This rank's rows: sorted by length and dealt out in turn."""
        return sorted(rows, key=lambda row: -row.length)[self.rank :: self.count]

    def sum(self, number: float) -> float:
        """The sum over all ranks."""
        return float(self._reduced(torch.tensor(number, dtype=torch.float64), distributed.ReduceOp.SUM))

    def max(self, number: int) -> int:
        """The largest number of all ranks."""
        return int(self._reduced(torch.tensor(number), distributed.ReduceOp.MAX))

    def min(self, number: int) -> int:
        """The smallest number of all ranks."""
        return -self.max(-number)

    def broadcast(self, value: T) -> T:
        """The value of rank 0, which must be JSON, on every rank."""
        if self.count == 1:
            return value
        written = json.dumps(value).encode() if self.leads else b""
        held = torch.zeros(self.max(len(written)), dtype=torch.uint8)
        held[: len(written)] = torch.frombuffer(bytearray(written), dtype=torch.uint8) if written else held[:0]
        held = held.to(self.device)
        distributed.broadcast(held, 0)
        found: T = json.loads(held.cpu().numpy().tobytes())
        return found

    def gathered(self, content: Tensor) -> list[Tensor]:
        """The bytes (n,) of each, by rank, on the CPU."""
        if self.count == 1:
            return [content]
        length = self.max(len(content))
        held = torch.zeros(length + 8, dtype=torch.uint8)
        held[:8] = torch.tensor([len(content)]).view(torch.uint8)
        held[8 : 8 + len(content)] = content
        held = held.to(self.device)
        found = [torch.empty_like(held) for _ in range(self.count)]
        distributed.all_gather(found, held)
        return [each[8 : 8 + int(each[:8].view(torch.int64))].clone() for each in (part.cpu() for part in found)]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all ranks; one that no rank has stays None.

        Gradients of sharded weights are summed in the backward pass already.
        """
        if self.count == 1 or self.sharded:
            return
        parameters = list(parameters)
        there = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8)
        reached = self._reduced(there, distributed.ReduceOp.MAX).tolist()
        for some in _in_parts([p for p, is_reached in zip(parameters, reached, strict=True) if is_reached]):
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in some])
            distributed.all_reduce(flat)
            for parameter, part in zip(some, torch.split(flat, [p.numel() for p in some]), strict=True):
                parameter.grad = part.view_as(parameter)

    def check_alike(self, weights: Iterable[Tensor]) -> None:
        """Raises RuntimeError where replicas do not hold the same weights (float32)."""
        if self.count == 1 or self.sharded:
            return
        own = sum(int(w.detach().flatten().view(torch.int32).sum(dtype=torch.int64)) for w in weights)
        if self.max(own) != self.min(own):
            raise RuntimeError("the weights are not the same on all devices: something is drawn that is not seeded")

    def _reduced(self, numbers: Tensor, how: Any) -> Tensor:
        if self.count == 1:
            return numbers
        held = numbers.to(self.device)
        distributed.all_reduce(held, how)
        return held.cpu()


def _in_parts(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    part: list[nn.Parameter] = []
    for parameter in parameters:
        if part and sum(p.numel() for p in part) + parameter.numel() > BUCKET:
            yield part
            part = []
        part.append(parameter)
    if part:
        yield part


def join(rendezvous: Path, rank: int, devices: Devices, local: int) -> None:
    """Connect the ranks. The file `rendezvous`, which all of them see, holds the address of rank 0, on a free port."""
    on_gpu = devices.accelerator != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(local)
    host = "127.0.0.1" if devices.nodes == 1 else socket.gethostname()
    if rank == 0:
        store = TCPStore(host, 0, devices.count, True, WAITING, wait_for_workers=False)
        write_text(rendezvous, json.dumps({"host": host, "port": store.port}))
    else:
        while (address := read_json(rendezvous)) is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        store = TCPStore(address["host"], address["port"], devices.count, False, WAITING)
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=devices.count, timeout=WAITING
    )


def leave() -> None:
    distributed.destroy_process_group()
