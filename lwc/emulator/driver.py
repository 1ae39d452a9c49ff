"""A stand-in for NVIDIA's driver, with which a package for a GPU runs on a machine without one.

It is a library, libcuda.so.1, that a program finds where the variable LD_LIBRARY_PATH names its folder. It computes
with emulated kernels over the processor's memory, and returns an error for every call that the driver's documentation
does not allow. Variables of the environment set it up:

| variable | what it is | without it |
|---|---|---|
| `LWC_EMULATED_KERNELS` | the library of the emulated kernels | no module can be loaded |
| `LWC_EMULATOR_CAPABILITY` | compute capability of the devices, 80 for 8.0 | 80 |
| `LWC_EMULATOR_VERSION` | CUDA release of the driver, 1000 major + 10 minor | 13000 |
| `LWC_EMULATOR_DEVICES` | how many devices there are, at most 8 | 1 |
| `LWC_EMULATOR_MEMORY` | bytes of memory that there are | no limit |
| `LWC_EMULATOR_LOG` | a file for a line with the result of each call and of each kernel that ran | none is written |
| `LWC_EMULATOR_FAIL` | `cuMemAlloc_v2:2=2`: the second call of that function returns error 2 | nothing fails so |

The last line of the log says how much is left when the program ends: `live allocations 0 modules 0 ...`.

What is not as on a GPU: a launch's array of arguments is read when the kernel runs, so that it must stand until then;
all kernels of a process run one after another; and the image that is loaded is only asked which GPUs it is for.
"""

from importlib.resources import as_file, files
from pathlib import Path

from lwc.package.toolchain import Toolchain

NAME = "libcuda.so.1"
_OPTIONS = ("-std=c11", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
_PARTS = ("errors", "event", "graph", "kernels", "memory", "objects", "serve", "stream")


def compile_driver(toolchain: Toolchain, folder: Path) -> Path:
    """Compile the stand-in for this machine as libcuda.so.1 in `folder`; its path.

    Raises ResourceError where the compiler fails.
    """
    with as_file(files("lwc.emulator")) as emulator, as_file(files("lwc.runtime")) as runtime:
        sources = [
            str(emulator / f"{source}.c") for source in ("driver", *(f"driver_{part}" for part in _PARTS))
        ]
        options = [*_OPTIONS, f"-I{runtime}", "-shared", f"-Wl,-soname,{NAME}", "-o", NAME]
        toolchain.run([*options, *sources, "-lpthread", "-ldl"], folder)
    return folder / NAME
