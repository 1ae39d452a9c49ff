"""From a lowered program and its kernels to the shared library and `lwc-run`."""

import os
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from lwc.package.toolchain import Toolchain

_RUNTIME = ("api.c", "check.c", "clock.c", "context.c", "cpu.c", "error.c", "input.c", "memory.c", "pool.c")
_WARNINGS = ("-Wall", "-Wextra", "-Werror")
_COMPILE = (
    "-std=c11",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffunction-sections",
    "-fno-sanitize=all",
    *_WARNINGS,
)
_PROGRAM = "lwc_run.c"

# `.incbin` takes the weights as they are, at the alignment that kernels want.
_WEIGHTS = """\
.section .rodata.lwc_weights, "a"
.balign 64
.globl lwc_weights
.hidden lwc_weights
lwc_weights:
.incbin "weights.bin"
.byte 0
.section .note.GNU-stack, ""
"""


def compile_sources(
    toolchain: Toolchain, folder: Path, name: str, program: str, weights: bytes, kernels: bytes
) -> tuple[str, ...]:
    """Compile all parts of the library in `folder`, where NAME.h lies already; returns the object files' names."""
    own = compile_program(toolchain, folder, name, program, weights, kernels)
    return (*own, *compile_runtime(toolchain, folder, name))


def compile_program(
    toolchain: Toolchain, folder: Path, name: str, program: str, weights: bytes, kernels: bytes
) -> tuple[str, ...]:
    """Compile what one model has of its own."""
    (folder / "program.c").write_text(program)
    (folder / "weights.bin").write_bytes(weights)
    (folder / "weights.S").write_text(_WEIGHTS)
    (folder / "kernels.o").write_bytes(kernels)
    _compile(toolchain, folder, name, ("program.c", "weights.S"))
    return ("kernels.o", "program.o", "weights.o")


def compile_runtime(toolchain: Toolchain, folder: Path, name: str) -> tuple[str, ...]:
    """Compile what all models called `name` have, and the program `lwc-run`, which is linked by itself."""
    with as_file(files("lwc.runtime")) as runtime:
        _compile(toolchain, folder, name, [str(runtime / file) for file in (*_RUNTIME, _PROGRAM)])
    return runtime_objects()


def runtime_objects() -> tuple[str, ...]:
    """The names of the object files that `compile_runtime` makes for a library."""
    return tuple(file.replace(".c", ".o") for file in _RUNTIME)


def _compile(toolchain: Toolchain, folder: Path, name: str, sources: Sequence[str]) -> None:
    with as_file(files("lwc.runtime")) as runtime:
        options = [*_COMPILE, *_definitions(name, runtime)]
        for source in sources:
            # One at a time: zig takes the first source only.
            toolchain.run([*options, "-c", source], folder)


def link_library(toolchain: Toolchain, folder: Path, name: str, objects: Sequence[str]) -> None:
    """Link lib`name`.so, which exports the documented functions only, and `lwc-run`, which finds it beside itself."""
    (folder / "exports.map").write_text(f"{{ global: {name}_*; local: *; }};\n")
    library = f"lib{name}.so"
    options = ["-shared", f"-Wl,-soname,{library}", "-Wl,--version-script=exports.map", "-Wl,--gc-sections"]
    toolchain.run([*options, "-Wl,-z,defs", "-s", "-o", library, *objects, "-lpthread", "-lm"], folder)
    toolchain.run(["-s", "-o", "lwc-run", "lwc_run.o", library, "-lm", "-Wl,-rpath,$ORIGIN"], folder)


def compile_trial_runner(toolchain: Toolchain, folder: Path, path: Path) -> None:
    """Compile the program that runs trials on a device as `path`, with `folder` for what is between."""
    with as_file(files("lwc.runtime")) as runtime:
        options = [*_COMPILE, "-s", "-o", str(path.resolve())]
        toolchain.run([*options, str(runtime / "lwc_trials.c")], folder)


def compile_rpc_library(toolchain: Toolchain, folder: Path, path: Path) -> None:
    """Compile the library by which a server of TVM's RPC runs trials as `path`, with `folder` for what is between."""
    with as_file(files("lwc.runtime")) as runtime:
        options = [*_COMPILE, "-shared", "-s", "-o", str(path.resolve())]
        toolchain.run([*options, str(runtime / "lwc_rpc.c"), "-ldl"], folder)


def link_static_program(toolchain: Toolchain, folder: Path, name: str) -> Path:
    """`lwc-run` as one static program of the same kernels, in `folder`: it runs without the target's C library."""
    with as_file(files("lwc.runtime")) as runtime:
        sources = [str(runtime / source) for source in (*_RUNTIME, _PROGRAM)]
        own = ["kernels.o", "weights.o", "program.c"]
        command = [
            *_COMPILE,
            *_definitions(name, runtime),
            "-static",
            "-s",
            "-o",
            "lwc-run-static",
            *sources,
            *own,
        ]
        toolchain.run([*command, "-lpthread", "-lm"], folder)
    return folder / "lwc-run-static"


def _definitions(name: str, runtime: os.PathLike[str]) -> list[str]:
    return [f'-DLWC_HEADER="{name}.h"', f"-DLWC_PREFIX={name}_", "-I.", f"-I{os.fspath(runtime)}"]
