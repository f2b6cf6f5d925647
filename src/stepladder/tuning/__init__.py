"""What the model learns: nothing, an adapter, or its own weights."""
