"""What NVIDIA's compiler makes of scheduled functions."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from lwc.lower.cuda_source import cuda_source
from lwc.targets.cuda import cuda_target
from lwc.tvm_api import tirx

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")

_REPORT = re.compile(
    r"entry function '(\w+)'(?:.*\n)*?.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
)


def memory_of_threads(
    functions: Mapping[str, tirx.PrimFunc], architecture: str, folder: Path
) -> dict[str, int]:
    """The bytes that a thread of each function's kernel keeps in memory, because they find no registers."""
    source, launches = cuda_source(dict(functions), cuda_target(architecture))
    (folder / "kernels.cu").write_text(source)
    command = ["nvcc", "-cubin", f"-arch={architecture}", "-Xptxas", "-v", "-o", "kernels.cubin"]
    done = subprocess.run([*command, "kernels.cu"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {name: sum(map(int, sizes)) for name, *sizes in _REPORT.findall(done.stderr)}
    return {name: found[launches[f"__tvm_ffi_{name}"].kernel] for name in functions}
