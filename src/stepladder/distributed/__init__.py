"""Several processes: starts them, finds each one's rank, and moves tensors between them."""
