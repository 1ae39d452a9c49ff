"""From scheduled functions to CUDA C: one launch each, arguments by position, nothing that a compiler would lack."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lwc.lower.cuda_source import cuda_source
from lwc.lower.device import Launch
from lwc.targets.cuda import cuda_target
from lwc.tvm_api import Schedule, te, tirx, tvm

GPU = cuda_target("sm_80")


def difference(extent: int, threads: int, name: str = "x") -> tirx.PrimFunc:
    """y = max(a - b, -infinity), with operands of one `name`; on the processor where `threads` is 0."""
    a, b = (te.placeholder((extent,), name=name) for _ in "ab")
    lowest = tirx.const(float("-inf"), "float32")
    y = te.compute((extent,), lambda i: tirx.max(a[i] - b[i], lowest), name="x")
    sch = Schedule(tvm.IRModule({"main": te.create_prim_func([a, b, y])}))
    if threads:
        block, thread = sch.split(sch.get_loops(sch.get_sblock("x"))[0], [None, threads])
        sch.bind(block, "blockIdx.x")
        sch.bind(thread, "threadIdx.x")
    return sch.mod["main"]


def twice(extent: int) -> tirx.PrimFunc:
    """Two loops that follow each other, each in threads of its own."""
    x = te.placeholder((extent,), name="x")
    y = te.compute((extent,), lambda i: x[i] + tirx.const(1, "float32"), name="y")
    z = te.compute((extent,), lambda i: y[i] * y[extent - 1 - i], name="z")
    sch = Schedule(tvm.IRModule({"main": te.create_prim_func([x, z])}))
    for stage in ("y", "z"):
        sch.bind(sch.get_loops(sch.get_sblock(stage))[0], "threadIdx.x")
    return sch.mod["main"]


def test_launches() -> None:
    source, launches = cuda_source({"first": difference(300, 128), "first_kernel": difference(64, 32)}, GPU)
    assert set(launches) == {"__tvm_ffi_first", "__tvm_ffi_first_kernel"}
    first, second = launches["__tvm_ffi_first"], launches["__tvm_ffi_first_kernel"]
    assert first == Launch(first.kernel, (3, 1, 1), (128, 1, 1), (0, 1, 2))
    assert second == Launch(second.kernel, (2, 1, 1), (32, 1, 1), (0, 1, 2))
    assert first.kernel != second.kernel
    assert all(f" {launch.kernel}(" in source for launch in launches.values())


def test_source_needs_no_header() -> None:
    source, _ = cuda_source({"difference": difference(300, 128)}, GPU)
    assert "#include" not in source
    assert "CUDART_INF_F" in source


def test_no_function() -> None:
    assert cuda_source({}, GPU)[1] == {}


@pytest.mark.parametrize(("function", "launches"), [(difference(300, 0), 0), (twice(100), 2)])
def test_what_is_not_one_launch(function: tirx.PrimFunc, launches: int) -> None:
    with pytest.raises(ValueError, match=f"wrong: {launches} launches; schedule it as exactly one"):
        cuda_source({"right": difference(300, 128), "wrong": function}, GPU)


def test_too_many_threads() -> None:
    with pytest.raises(ValueError, match=r"wide: 2048 threads in a block; at most 1024"):
        cuda_source({"wide": difference(4096, 2048)}, GPU)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_nvcc_takes_the_source(tmp_path: Path) -> None:
    function = difference(300, 128, name="layers/0.conv/é_")
    (tmp_path / "kernels.cu").write_text(cuda_source({"difference": function}, GPU)[0])
    command = [
        "nvcc",
        "-cubin",
        "-arch=sm_80",
        "-Werror",
        "all-warnings",
        "-o",
        "kernels.cubin",
        "kernels.cu",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kernels.cubin").read_bytes()[:4] == b"\x7fELF"
