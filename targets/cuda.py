"""NVIDIA GPUs, `cuda:sm_80`: the library itself runs on the processor beside the GPU."""

from lwc.targets.gpu import Gpu
from lwc.targets.target import Target

# Architecture -> (what it is, multiprocessors of a common card, processor beside it).
_GPUS = {
    "sm_75": ("Turing: T4, RTX 20", 40, "x86_64"),
    "sm_80": ("Ampere: A100, A30", 108, "x86_64"),
    "sm_86": ("Ampere: A10, RTX 30", 72, "x86_64"),
    "sm_87": ("Ampere: Jetson Orin", 16, "aarch64"),
    "sm_89": ("Ada: L4, L40, RTX 40", 58, "x86_64"),
    "sm_90": ("Hopper: H100, H200", 132, "x86_64"),
}
PREFIX = "cuda:"
NAMES = tuple(f"{PREFIX}{architecture}" for architecture in _GPUS)


def cuda_target(architecture: str, host: str = "") -> Target:
    """The target for GPUs of `architecture`, one of `NAMES` without its prefix.

    `host` is the architecture of the processor beside the GPU, where it is not the usual one.
    """
    what, multiprocessors, usual = _GPUS[architecture]
    processor = host or usual
    return Target(
        name=f"{PREFIX}{architecture}" + (f",host={host}" if host not in ("", usual) else ""),
        description=f"NVIDIA {what}; host {processor}",
        triple=f"{processor}-linux-gnu",
        cpu="x86-64" if processor == "x86_64" else "generic",
        int8_dot=True,
        gpu=Gpu(architecture, multiprocessors),
    )
