"""Verification of a library that has just been linked."""

from collections.abc import Callable
from functools import partial

import numpy as np

from lwc.cuda.find import find_compiler
from lwc.errors import ResourceError
from lwc.package.emulated import emulate
from lwc.package.execute import Runner, find_runner, run_program
from lwc.package.link import link_static_program
from lwc.package.manifest import DEVICE_SOURCE, PROGRAM_NAME, Verification
from lwc.package.parts import Parts
from lwc.package.steps import Elements
from lwc.package.toolchain import find_static_toolchain
from lwc.package.verify import check_output, require_agreement


def verify_parts(parts: Parts, seed: int, warn: Callable[[str], None]) -> Verification:
    """Run the new `lwc-run` on the samples and compare; where it cannot run here, `warn` says why.

    Raises VerificationError where the outputs disagree with PyTorch's.
    """
    runner = _find_runner(parts, warn)
    names = [info.name for info in parts.interface.outputs]
    actual = [None] * len(names) if runner is None else _run(parts, runner)
    reference = parts.reference
    slack = [None] * len(names) if reference.slack is None else reference.slack
    check = partial(check_output, precision="float16" if parts.is_half else "float32")
    checks = tuple(map(check, names, actual, reference.float64, reference.float32, slack))
    require_agreement(checks, parts.model.name)
    how = "not run" if runner is None else runner.how
    return Verification(how=how, seed=seed, samples=len(parts.samples), outputs=checks)


def _find_runner(parts: Parts, warn: Callable[[str], None]) -> Runner | None:
    """A GPU that is not at hand is emulated."""
    try:
        return find_runner(parts.target, (0, 0) if parts.target.gpu is None else find_compiler().toolkit)
    except ResourceError as error:
        missing = error
    if parts.target.gpu is not None:
        try:
            return _emulated(parts)
        except ResourceError as error:
            missing = error
    warn(f"not verified: {missing}")
    return None


def _emulated(parts: Parts) -> Runner:
    folder = parts.scratch / "emulated"
    folder.mkdir()
    source = (parts.scratch / DEVICE_SOURCE).read_text()
    return emulate(source, parts.target, parts.toolchain, folder)


def _run(parts: Parts, runner: Runner) -> list[Elements]:
    """The library's outputs, the samples along the first axis."""
    program = parts.scratch / PROGRAM_NAME
    if runner.how == "qemu-static":
        static = find_static_toolchain(parts.target)
        if static is None:
            raise ResourceError(f"target {parts.target.name}: to verify under qemu, `pip install ziglang`")
        program = link_static_program(static, parts.scratch, parts.model.name)
    results = [run_program(runner, program, parts.interface, sample) for sample in parts.samples]
    return [np.stack(output) for output in zip(*results, strict=True)]
