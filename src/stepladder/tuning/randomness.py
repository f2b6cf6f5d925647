"""The random generators that a training may draw from: torch's, NumPy's and Python's."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


@contextmanager
def own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """All generators begin at `seed` and are afterwards as they were."""
    before = states(device)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        restore_generators(before, device)


def draw_apart(rank: int, seed: int) -> None:
    """Of processes that train together, each drops something else; the first draws as one alone does."""
    if rank:
        torch.manual_seed(int(np.random.SeedSequence([seed, rank]).generate_state(1)[0]))


def states(device: torch.device) -> dict[str, Tensor]:
    """The states of all generators, as tensors."""
    version, inner, gauss = random.getstate()
    drawn = np.random.get_state(legacy=False)
    found = {
        "cpu": torch.get_rng_state(),
        "numpy": _of_text(json.dumps(drawn, default=np.ndarray.tolist)),
        "python": _of_text(json.dumps([version, inner, gauss])),
    }
    return found | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_generators(found: Mapping[str, Tensor], device: torch.device) -> None:
    """All generators as `states` found them."""
    torch.set_rng_state(found["cpu"])
    drawn = json.loads(_to_text(found["numpy"]))
    drawn["state"]["key"] = np.array(drawn["state"]["key"], dtype=np.uint32)
    np.random.set_state(drawn)
    version, inner, gauss = json.loads(_to_text(found["python"]))
    random.setstate((version, tuple(inner), gauss))
    if device.type == "cuda" and "cuda" in found:
        torch.cuda.set_rng_state(found["cuda"], device)


def _of_text(text: str) -> Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def _to_text(tensor: Tensor) -> str:
    return tensor.numpy().tobytes().decode()
