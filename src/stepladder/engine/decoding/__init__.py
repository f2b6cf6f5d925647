"""Label scoring and generation on a KV cache."""
