"""A package for a GPU on a machine that has none: its kernels compiled for the processor, under a stand-in driver."""

from dataclasses import replace
from pathlib import Path

from lwc.emulator.driver import compile_driver
from lwc.emulator.kernels import emulated_kernels
from lwc.package.execute import Runner, find_host_runner, without_c_library
from lwc.package.toolchain import Toolchain
from lwc.targets.target import Target


def emulate(source: str, target: Target, toolchain: Toolchain, folder: Path) -> Runner:
    """How to run a program for `target`, whose GPU's kernels are the CUDA C `source`, on the processor.

    `folder` holds what that takes. Raises ResourceError where programs for the target's host do not run here, or the
    kernels cannot be compiled.
    """
    assert target.gpu is not None
    runner = find_host_runner(target)
    if runner.how == "qemu-static":
        raise without_c_library(f"target {target.name}", target)
    kernels = emulated_kernels(source, toolchain, folder, runner.how == "native")
    driver = compile_driver(toolchain, folder)
    major, minor = target.gpu.capability
    environment = {
        "LD_LIBRARY_PATH": str(driver.parent),
        "LWC_EMULATED_KERNELS": str(kernels),
        "LWC_EMULATOR_CAPABILITY": f"{major}{minor}",
    }
    return replace(runner, how="emulated", environment=tuple(environment.items()))
