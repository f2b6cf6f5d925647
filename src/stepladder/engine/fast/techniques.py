"""Which techniques of the fast engine are on, for the whole process: benchmarks switch one off to see what it gains."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Techniques:
    """Each is on where it applies and pays.

    Attributes:
        kernels: Norms, rotation, gate and softmaxes as compiled C++, each one pass through memory.
        tiles: Products of bf16 by AMX tiles, in an order of our own.
        fused_step: A decoding step through all layers in one compiled call.
        fused_lora: LoRA over a frozen linear layer as one function with its own backward pass.
        fused_decoder: Joined matrices, and norms, rotation and gate in few operations.
        row_attention: Attention inside short rows as one function, in training on a CPU.
        shared_prefix: The shared prefix of a batch is read once, on a CPU.
        refill: A finished row makes room for a waiting one.
        varlen: One attention kernel for rows of different lengths, on a GPU.
        cuda_graphs: Captured passes of one shape are replayed, on a GPU.
        chunked_head: Large losses of a frozen head are computed in chunks.
    """

    kernels: bool = True
    tiles: bool = True
    fused_step: bool = True
    fused_lora: bool = True
    fused_decoder: bool = True
    row_attention: bool = True
    shared_prefix: bool = True
    refill: bool = True
    varlen: bool = True
    cuda_graphs: bool = True
    chunked_head: bool = True


ON = Techniques()
