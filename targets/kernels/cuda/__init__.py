"""TensorIR templates for GPUs: each kernel is one launch of blocks of threads."""
