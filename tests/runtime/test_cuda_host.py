"""The runtime of packages for GPUs, with a stand-in for NVIDIA's driver, under sanitizers."""

import ctypes.util
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from lwc.package import emit
from lwc.package.toolchain import Toolchain
from tests.runtime.cuda_affine import (
    HERE,
    compile_library,
    compile_stand_in,
    device_code,
    interface,
    lowered_program,
)

RUNTIME = HERE.parents[1] / "lwc" / "runtime"
ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREAD = ("-fsanitize=thread",)
DEVICE, MEMORY = 12, 9
NOTHING_LEFT = "live allocations 0 modules 0 streams 0 events 0 graphs 0"


class Program:
    """A C program of the tests, linked with the library's parts, and the stand-in beside it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it; `variables` of the environment are without their LWC_EMULATOR_."""
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.folder),
            "LWC_EMULATED_KERNELS": str(self.folder / "kernels.so"),
            **{f"LWC_EMULATOR_{key}": value for key, value in variables.items()},
        }
        command = [str(self.folder / self.name), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert "Sanitizer" not in done.stderr, done.stderr[-4000:]
        return done

    def log(self, *arguments: str, **variables: str) -> list[str]:
        """The stand-in's log of a run that must be right."""
        path = self.folder / "log"
        path.unlink(missing_ok=True)
        done = self.run(*arguments, LOG=str(path), **variables)
        assert done.returncode == 0, done.stderr[-4000:]
        return path.read_text().splitlines()


def build(folder: Path, *sanitizers: str) -> None:
    """Compile the programs of the tests with the system's compiler: zig's has no runtime of the sanitizers."""
    path = shutil.which("gcc") or shutil.which("clang")
    if path is None:
        pytest.skip("no gcc or clang on this machine")
    toolchain = Toolchain("cc", "", (path, *sanitizers, "-g"))
    objects = compile_library(Toolchain("cc", "", (path, "-g")), folder, device_code(80, (13, 1)))
    # link.py's own options switch sanitizers off: what is looked at here is compiled again.
    sources = [
        str(RUNTIME / "cuda" / f"{name}.c")
        for name in ("context", "driver", "gpu", "launch", "resident", "run")
    ]
    sources += [str(RUNTIME / f"{name}.c") for name in ("api", "check", "error", "finite")]
    parts = [name for name in objects if name in ("program.o", "weights.o", "binary.o", "ptx.o")]
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", f"-I{RUNTIME}", f"-I{folder}", f"-I{HERE}"]
    options += ['-DLWC_HEADER="affine.h"', "-DLWC_PREFIX=affine_"]
    parts += [str(HERE / "cuda_test_gpu.c"), "-lpthread", "-ldl", "-lm"]
    for name in ("cuda_api_test", "cuda_failure_test", "cuda_open_test"):
        toolchain.run([*options, "-o", name, str(HERE / f"{name}.c"), *sources, *parts], folder)
    compile_stand_in(toolchain, folder)
    own = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{RUNTIME}", str(HERE / "cuda_driver_test.c")]
    toolchain.run([*own, "-o", "cuda_driver_test", "-L.", "-l:libcuda.so.1"], folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cuda")
    build(folder, *ADDRESS)
    return folder


@pytest.fixture
def program(folder: Path) -> Program:
    return Program(folder, "cuda_api_test")


@pytest.fixture
def failing(folder: Path) -> Program:
    return Program(folder, "cuda_failure_test")


def calls(log: list[str]) -> Counter[str]:
    """How often each function was called, and each kernel ran."""
    return Counter(line.rsplit(" ", 1)[0] for line in log[:-1])


def assert_nothing_left(log: list[str]) -> None:
    """Everything was given back by itself, and nothing with the driver's context alone."""
    assert log[-1] == NOTHING_LEFT
    assert not [line for line in log if line.startswith("abandoned")]


def test_two_contexts_share_weights_and_module_and_launch_a_graph_that_was_captured_once(
    program: Program,
) -> None:
    log = program.log("host")
    counts = calls(log)
    # Twenty runs in each of two contexts, and one more.
    assert counts["cuGraphLaunch"] == counts["kernel affine"] == counts["kernel count_up"] == 41
    assert counts["cuStreamBeginCapture_v2"] == counts["cuGraphInstantiateWithFlags"] == 2
    assert counts["cuLaunchKernel"] == 3 * 2
    assert counts["cuModuleLoadData"] == 1
    # The weights, and the memory of each context.
    assert counts["cuMemAlloc_v2"] == counts["cuMemFree_v2"] == 1 + 2
    assert_nothing_left(log)
    # Nothing runs while it is captured.
    assert log.index("kernel affine 0") > log.index("cuGraphLaunch 0")


@pytest.mark.parametrize("part", ["device", "stream", "profile", "wrong", "threads", "fork"])
def test_runs_are_right_and_leave_nothing(program: Program, part: str) -> None:
    assert_nothing_left(program.log(part))


def test_a_profile_launches_each_call_by_itself(program: Program) -> None:
    counts = calls(program.log("profile"))
    assert counts["cuGraphLaunch"] == 0
    assert counts["cuLaunchKernel"] == 3 + 3
    assert counts["cuEventElapsedTime"] == 3


def test_whatever_call_of_the_driver_fails_is_named_and_the_next_run_is_right(
    failing: Program, tmp_path: Path
) -> None:
    path = failing.folder / "log"
    path.unlink(missing_ok=True)
    assert failing.run(LOG=str(path)).returncode == 0
    counts = calls([*path.read_text().splitlines(), ""])
    functions = {name: count for name, count in counts.items() if not name.startswith("kernel")}
    assert len(functions) >= 30
    left = tmp_path / "left"
    for function, count in functions.items():
        for call in range(1, count + 1):
            error = 2 if call % 2 else 719
            left.unlink(missing_ok=True)
            done = failing.run(str(left), FAIL=f"{function}:{call}={error}")
            assert done.returncode == 0, (function, call, done.stderr[-2000:])
            status, text = done.stdout.split(" ", 1)
            assert int(status) == (MEMORY if error == 2 else DEVICE), (function, call, text)
            assert function in text
            assert left.read_text().strip() == NOTHING_LEFT, (function, call)


@pytest.mark.parametrize(
    ("variables", "status", "text"),
    [
        ({}, 0, "^$"),
        ({"DEVICES": "0"}, DEVICE, "the NVIDIA driver finds no GPU"),
        ({"VERSION": "12080"}, DEVICE, r"driver is for CUDA 12\.8, the model needs 13\.0"),
        ({"CAPABILITY": "75"}, DEVICE, "the GPU is sm_75, the model is for sm_80; compile it for cuda:sm_75"),
        # Machine code for the same generation, PTX for later ones.
        ({"CAPABILITY": "86"}, 0, "^$"),
        ({"CAPABILITY": "90"}, DEVICE, r"driver is for CUDA 13\.0, the model needs 13\.1"),
        ({"CAPABILITY": "90", "VERSION": "13010"}, 0, "^$"),
        ({"MEMORY": "831"}, MEMORY, "the GPU does not have 832 bytes free"),
        # Multiples of 256: the arena 1024, each float32 768, each uint8 256.
        ({"MEMORY": "3903"}, MEMORY, "the GPU does not have 3072 bytes free"),
    ],
)
def test_what_the_machine_lacks_is_said(
    folder: Path, variables: dict[str, str], status: int, text: str
) -> None:
    done = Program(folder, "cuda_open_test").run(**variables)
    assert done.returncode == status, done.stdout + done.stderr
    assert re.search(text, done.stdout.strip()), done.stdout


def test_the_header_is_valid_cpp_and_says_what_a_gpu_takes(folder: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no g++ or clang++ on this machine")
    (folder / "use.cpp").write_text('#include "affine.h"\nauto *run = affine_run_on_stream;\n')
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "use.cpp"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    header = (folder / "affine.h").read_text()
    assert "It runs on an NVIDIA GPU, sm_80 or later" in header
    assert "3072 bytes of the GPU's memory, and the first one 832 more" in header


def test_a_machine_without_a_driver_is_told_what_to_install(folder: Path, tmp_path: Path) -> None:
    if ctypes.util.find_library("cuda"):
        pytest.skip("this machine has an NVIDIA driver")
    shutil.copy2(folder / "cuda_open_test", tmp_path)
    done = Program(tmp_path, "cuda_open_test").run()
    assert done.returncode == DEVICE
    assert done.stdout == "open: no NVIDIA driver (libcuda.so.1) on this machine; install it\n"


def test_a_gpu_that_refuses_the_machine_code_gets_the_ptx(program: Program) -> None:
    log = program.log("host", FAIL="cuModuleLoadData:1=209", VERSION="13010")
    assert calls(log)["cuModuleLoadData"] == 2


def test_the_memory_that_the_header_states_is_what_is_allocated(folder: Path) -> None:
    memory = emit.device_memory_of(lowered_program(), interface())
    assert memory == emit.Memory(context=3072, thread=0, shared=832)
    assert Program(folder, "cuda_open_test").run(MEMORY=str(memory.context + memory.shared)).returncode == 0


def test_the_stand_in_refuses_what_the_driver_refuses_and_counts_what_is_left(folder: Path) -> None:
    log = Program(folder, "cuda_driver_test").log()
    assert log[-1] == "live allocations 0 modules 0 streams 0 events 1 graphs 0"


def test_threads_do_not_race(tmp_path: Path) -> None:
    build(tmp_path, *THREAD)
    assert_nothing_left(Program(tmp_path, "cuda_api_test").log("threads"))
