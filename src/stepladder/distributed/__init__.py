"""Several processes: starts them, tells each its place, and moves tensors between them. Knows no experiment."""
