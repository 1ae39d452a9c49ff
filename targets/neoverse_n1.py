"""Neoverse N1 (AWS Graviton2, Ampere Altra): ARMv8.2 with the integer dot product."""

from dataclasses import replace

from lwc.targets import arm64

TARGET = replace(
    arm64.TARGET,
    name="neoverse-n1",
    description="Neoverse N1 (AWS Graviton2, Ampere Altra) with dot product",
    cpu="neoverse-n1",
    features=("+neon", "+dotprod"),
    cpu_features=("asimd", "asimddp"),
    int8_dot=True,
    l1_bytes=64 * 1024,
    l2_bytes=1024 * 1024,
)
