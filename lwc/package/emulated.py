"""A package for a GPU on a machine that has none: its kernels compiled for the processor, under a stand-in driver."""

from dataclasses import replace

from lwc.emulator.driver import compile_driver
from lwc.emulator.kernels import emulated_kernels
from lwc.package.compile_parts import DEVICE_SOURCE
from lwc.package.execute import Runner, find_host_runner
from lwc.package.parts import Parts


def emulate(parts: Parts) -> Runner:
    """How to run the program of `parts` with its kernels, from the same CUDA C, on the processor.

    Raises ResourceError where programs for the target's host do not run here, or the kernels cannot be compiled.
    """
    runner = find_host_runner(parts.target)
    folder = parts.scratch / "emulated"
    folder.mkdir()
    source = (parts.scratch / DEVICE_SOURCE).read_text()
    kernels = emulated_kernels(source, parts.toolchain, folder, runner.how == "native")
    driver = compile_driver(parts.toolchain, folder)
    assert parts.target.gpu is not None
    major, minor = parts.target.gpu.capability
    environment = {
        "LWC_EMULATOR_CAPABILITY": f"{major}{minor}",
        "LD_LIBRARY_PATH": str(driver.parent),
        "LWC_EMULATED_KERNELS": str(kernels),
    }
    return replace(runner, how="emulated", environment=tuple(environment.items()))
