"""x86-64 with AVX-512 and its integer dot product (Cascade Lake, Zen 4 and later)."""

from dataclasses import replace

from lwc.targets import x86_64_v4

TARGET = replace(
    x86_64_v4.TARGET,
    name="x86-64-v4-vnni",
    description="x86-64 with AVX-512 and VNNI (integer dot product)",
    features=(*x86_64_v4.TARGET.features, "+avx512vnni"),
    cpu_features=(*x86_64_v4.TARGET.cpu_features, "avx512_vnni"),
    int8_dot=True,
)
