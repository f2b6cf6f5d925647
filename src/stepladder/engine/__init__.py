"""How a local causal model computes, on tensors and token ids."""
