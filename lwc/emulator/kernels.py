"""A library that runs the kernels of CUDA C source on the processor that compiles it."""

import re
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from lwc.errors import BadInputError
from lwc.package.toolchain import Toolchain

_KERNEL = re.compile(
    r'extern "C" __global__ void __launch_bounds__\((?P<bound>\d+)(?:, *\d+)?\) '
    r"(?P<name>\w+)\((?P<parameters>[^)]*)\) *\{"
)
_WAITS = re.compile(r"\b__(?:sync|shfl|activemask)")
_OPTIONS = (
    *("-x", "c++", "-std=c++17", "-nostdinc++", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"),
    # Products and sums become one operation, as nvcc makes them.
    *("-O2", "-ffp-contract=fast", "-fno-math-errno", "-fno-strict-aliasing", "-fno-sanitize=all"),
    *("-fPIC", "-shared", "-fvisibility=hidden", "-w"),
)


@dataclass(frozen=True)
class _Kernel:
    """A kernel in the source: its definition's place, the types of its parameters, whether its threads wait."""

    name: str
    start: int
    bound: int
    types: tuple[str, ...]
    waits: bool
    shares: bool


def emulated_kernels(source: str, toolchain: Toolchain, folder: Path, native: bool = True) -> Path:
    """The kernels of `source`, as `lwc.lower.cuda_source` gives it, in a library `kernels.so` in `folder`.

    It exports `int lwc_emulate(const char *kernel, const unsigned grid[3], const unsigned block[3], void **arguments)`,
    where `arguments[i]` points to the i-th parameter: 0, or 1 for an unknown kernel, 2 for a block above the kernel's
    launch bounds, 3 where threads of a block wait for each other for ever; and `int lwc_emulates(const char *kernel)`.
    The environment variable LWC_EMULATOR_ORDER, `forward` or `backward`, is the order of the blocks and threads.

    `native`: it runs on the processor that compiles it, whose instructions it then uses; otherwise on any that
    `toolchain` compiles for. Raises ResourceError where compiling fails,
    BadInputError where there is no kernel.
    """
    kernels = _kernels(source)
    if not kernels:
        raise BadInputError("the package's CUDA C has no kernel; compile it again")
    folder = folder.resolve()
    (folder / "kernels.cpp").write_text(_with_sections(source, kernels) + _table(kernels))
    with as_file(files("lwc.emulator")) as headers:
        options = [*_OPTIONS, *(["-march=native"] if native else []), f"-I{headers}", "-o", "kernels.so"]
        toolchain.run([*options, "kernels.cpp", "-lm", "-lpthread"], folder)
    return folder / "kernels.so"


def _kernels(source: str) -> tuple[_Kernel, ...]:
    found = list(_KERNEL.finditer(source))
    ends = [*(kernel.start() for kernel in found[1:]), len(source)][: len(found)]
    return tuple(_kernel(kernel, source[kernel.end() : end]) for kernel, end in zip(found, ends, strict=True))


def _kernel(found: re.Match[str], body: str) -> _Kernel:
    types = tuple(
        parameter.replace("__restrict__", "").strip().rpartition(" ")[0]
        for parameter in found["parameters"].split(",")
    )
    waits, shares = _WAITS.search(body) is not None, "__shared__" in body
    return _Kernel(found["name"], found.start(), int(found["bound"]), types, waits, shares)


def _with_sections(source: str, kernels: tuple[_Kernel, ...]) -> str:
    """`source`, where the shared memory of each kernel lies in a section of its own."""
    parts = ['#include "launch.h"\n']
    start = 0
    for kernel in kernels:
        section = f'#undef __shared__\n#define __shared__ LWC_SHARED("{_section(kernel)}")\n'
        parts += [source[start : kernel.start], section if kernel.shares else ""]
        start = kernel.start
    return "".join([*parts, source[start:]])


def _section(kernel: _Kernel) -> str:
    return f"lwc_shared_{kernel.name}"


def _table(kernels: tuple[_Kernel, ...]) -> str:
    functions = "\n".join(map(_call, kernels))
    entries = "\n".join(map(_entry, kernels))
    return f"\n{functions}\nstatic const lwc::entry kernels[] = {{\n{entries}\n}};\nLWC_EXPORTS(kernels)\n"


def _call(kernel: _Kernel) -> str:
    """The kernel, or all its threads where none waits, with parameters from an array of pointers to them."""
    arguments = ", ".join(f"*({kind} *)arguments[{i}]" for i, kind in enumerate(kernel.types))
    threads = "" if kernel.waits else "LWC_ALL_THREADS "
    section = _section(kernel)
    shared = f"extern char __start_{section}[], __stop_{section}[];\n" if kernel.shares else ""
    return (
        f"{shared}static void run_{kernel.name}(void **arguments) {{ {threads}{kernel.name}({arguments}); }}"
    )


def _entry(kernel: _Kernel) -> str:
    runs = f"run_{kernel.name}, nullptr" if kernel.waits else f"nullptr, run_{kernel.name}"
    section = _section(kernel)
    shared = f"__start_{section}, __stop_{section}" if kernel.shares else "nullptr, nullptr"
    return f'    {{"{kernel.name}", {kernel.bound}, {runs}, {shared}}},'
