"""Any 64-bit ARM machine with Linux and glibc 2.28: ARMv8.0 with NEON, and nothing else assumed."""

from lwc.targets.target import Target

TARGET = Target(
    name="arm64",
    description="generic ARMv8.0 with NEON, glibc 2.28 or later",
    triple="aarch64-linux-gnu",
    cpu="generic",
    features=("+neon",),
    cpu_features=("asimd",),
)
