"""From a lowered program and its kernels to the shared library and `lwc-run`."""

import os
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path

from lwc.lower.device import DeviceCode
from lwc.package.toolchain import Toolchain

_SHARED = ("api.c", "check.c", "error.c", "finite.c")
_RUNTIME = (*_SHARED, "clock.c", "context.c", "cpu.c", "input.c", "memory.c", "pool.c")
_DEVICE_RUNTIME = (
    *_SHARED,
    *(f"cuda/{file}" for file in ("context.c", "driver.c", "gpu.c", "launch.c", "resident.c", "run.c")),
)
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

# `.incbin` takes a file as it is, at the alignment that kernels want. What is empty, or a text, ends with 0.
_INCLUDE = """\
.section .rodata.lwc_{name}, "a"
.balign 64
.globl lwc_{name}
.hidden lwc_{name}
lwc_{name}:
.incbin "{name}.bin"
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
    (folder / "kernels.o").write_bytes(kernels)
    return ("kernels.o", *_compile_static(toolchain, folder, name, program, {"weights": weights}))


def compile_runtime(toolchain: Toolchain, folder: Path, name: str) -> tuple[str, ...]:
    """Compile what all models called `name` have, and the program `lwc-run`, which is linked by itself."""
    _compile_runtime(toolchain, folder, name, _RUNTIME)
    return runtime_objects()


def runtime_objects() -> tuple[str, ...]:
    """The names of the object files that `compile_runtime` makes for a library."""
    return _objects(_RUNTIME)


def compile_device_sources(
    toolchain: Toolchain, folder: Path, name: str, program: str, weights: bytes, code: DeviceCode
) -> tuple[str, ...]:
    """`compile_sources` for a GPU: the library carries machine code and PTX, and finds the driver when it is opened."""
    parts = {"weights": weights, "binary": code.binary, "ptx": code.ptx}
    own = _compile_static(toolchain, folder, name, program, parts)
    _compile_runtime(toolchain, folder, name, _DEVICE_RUNTIME)
    return (*own, *_objects(_DEVICE_RUNTIME))


def _compile_static(
    toolchain: Toolchain, folder: Path, name: str, program: str, parts: Mapping[str, bytes]
) -> tuple[str, ...]:
    """Compile program.c, and each of `parts` as the symbol lwc_PART; the names of the object files."""
    (folder / "program.c").write_text(program)
    for part, content in parts.items():
        (folder / f"{part}.bin").write_bytes(content)
        (folder / f"{part}.S").write_text(_INCLUDE.format(name=part))
    _compile(toolchain, folder, name, ("program.c", *(f"{part}.S" for part in parts)))
    return ("program.o", *(f"{part}.o" for part in parts))


def _compile_runtime(toolchain: Toolchain, folder: Path, name: str, sources: Sequence[str]) -> None:
    with as_file(files("lwc.runtime")) as runtime:
        _compile(toolchain, folder, name, [str(runtime / file) for file in (*sources, _PROGRAM)])


def _objects(sources: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{Path(source).stem}.o" for source in sources)


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
    # dlopen is the C library's own from glibc 2.34 on; a library for the processor needs neither.
    system = ("-lpthread", "-lm", "-Wl,--as-needed", "-ldl")
    toolchain.run([*options, "-Wl,-z,defs", "-s", "-o", library, *objects, *system], folder)
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
