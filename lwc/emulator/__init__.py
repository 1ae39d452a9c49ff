"""Kernels for a GPU, executed by the processor: the same CUDA C, compiled for it."""
