"""x86-64 with AVX2 and FMA (Haswell, Zen and later): the x86-64-v3 level of the System V psABI."""

from lwc.targets.target import Target

TARGET = Target(
    name="x86-64-v3",
    description="x86-64 with AVX2 and FMA (2013 and later)",
    triple="x86_64-linux-gnu",
    cpu="x86-64-v3",
    cpu_features=("avx2", "fma", "bmi2"),
    vector_bits=256,
    vector_registers=16,
    l2_bytes=256 * 1024,
)
