"""Cortex-A72 (Raspberry Pi 4, AWS Graviton1): ARMv8.0, no integer dot product."""

from dataclasses import replace

from lwc.targets import arm64

TARGET = replace(
    arm64.TARGET,
    name="cortex-a72",
    description="Cortex-A72 (Raspberry Pi 4)",
    cpu="cortex-a72",
    l2_bytes=1024 * 1024,
)
