"""x86-64 with AVX-512 (Skylake-SP, Zen 4 and later): the x86-64-v4 level of the System V psABI."""

from lwc.targets.target import Target

# LLVM halves 512-bit vectors at this level unless told not to.
FULL_WIDTH = "-prefer-256-bit"

TARGET = Target(
    name="x86-64-v4",
    description="x86-64 with AVX-512 (F, BW, CD, DQ, VL)",
    triple="x86_64-linux-gnu",
    cpu="x86-64-v4",
    features=(FULL_WIDTH,),
    cpu_features=("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "fma", "bmi2"),
    vector_bits=512,
    l2_bytes=1024 * 1024,
)
