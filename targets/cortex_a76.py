"""Cortex-A76 (Raspberry Pi 5, RK3588): ARMv8.2 with the integer dot product."""

from dataclasses import replace

from lwc.targets import arm64

TARGET = replace(
    arm64.TARGET,
    name="cortex-a76",
    description="Cortex-A76 (Raspberry Pi 5, RK3588) with dot product",
    cpu="cortex-a76",
    features=("+neon", "+dotprod"),
    cpu_features=("asimd", "asimddp"),
    int8_dot=True,
    l1_bytes=64 * 1024,
)
