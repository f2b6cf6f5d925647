"""The fast path: fused decoder, attention kernels, prepacked weights, variable-length batches, CUDA graphs."""
