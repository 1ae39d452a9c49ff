"""Every model of the zoo for every GPU and precision, up to NVIDIA's assembler: registers, tensor cores, dot products.

LWC_TEST_ZOO=1 python -m pytest tests/compiled/test_cuda_zoo.py compiles all of them, each in some ten to twenty
seconds; without it, a few. The packages of test_cuda.py are run, too.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lwc.compile_request import CompileRequest
from lwc.lower.build import build_device_code
from lwc.lower.device import DeviceCode
from lwc.lower.lower import lower
from lwc.models.request import ModelRequest
from lwc.models.zoo import ZOO
from lwc.prepare import load, prepare
from lwc.reporter import Clock
from lwc.rewriting import PassOptions
from tests.compiled.support import Recorder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ptxas") is None, reason="ptxas is not installed"),
]

ARCHITECTURES, PRECISIONS = ("sm_75", "sm_80", "sm_90"), ("fp32", "fp16", "int8")
FEW = [
    ("mobilenet_v1", "sm_75", "fp16"),
    ("mobilenet_v2", "sm_90", "int8"),
    ("levit_128s", "sm_75", "fp32"),
    ("mobilevit_small", "sm_90", "fp16"),
]
ALL = [(name, gpu, precision) for name in ZOO for gpu in ARCHITECTURES for precision in PRECISIONS]


@pytest.mark.parametrize(("name", "gpu", "precision"), ALL if os.environ.get("LWC_TEST_ZOO") else FEW)
def test_kernels_find_registers_and_the_units_of_their_precision(
    name: str, gpu: str, precision: str, tmp_path: Path
) -> None:
    code = device_code(name, gpu, precision, tmp_path)
    ptx = code.ptx.decode()
    assert f".target {gpu}" in ptx
    assert spilled(code, gpu, tmp_path) == dict.fromkeys(
        sorted({launch.kernel for launch in code.launches.values()}), 0
    )
    assert ("wmma.mma.sync" in ptx) == (precision == "fp16")
    assert ("dp4a" in ptx) == (precision == "int8")


def device_code(name: str, gpu: str, precision: str, folder: Path) -> DeviceCode:
    """The kernels of a model with random weights; integers are calibrated on one random image."""
    size = 128 if name.startswith("deeplab") else 0
    data = None
    if precision == "int8":
        data = str(folder / "image.npy")
        extent = size or ZOO[name].image_size
        np.save(data, np.random.default_rng(5).standard_normal((1, 3, extent, extent), np.float32))
    model = ModelRequest(name, weights="random", **({"image_size": size} if size else {}))
    request = CompileRequest(
        model, f"cuda:{gpu}", passes=PassOptions(verify=False), precision=precision, calibrate=data
    )
    clock = Clock(Recorder())
    loaded = load(request, clock)
    lowered = lower(prepare(loaded, clock).program, loaded.target)
    return build_device_code(lowered.kernels, loaded.target)


def spilled(code: DeviceCode, gpu: str, folder: Path) -> dict[str, int]:
    """The bytes that each kernel stores because its numbers find no registers."""
    (folder / "kernels.ptx").write_bytes(code.ptx)
    command = ["ptxas", f"-arch={gpu}", "-v", "kernels.ptx", "-o", "kernels.cubin"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"entry function '(\w+)'(?:.*\n)*?.*?(\d+) bytes spill stores", done.stderr)
    return {kernel: int(size) for kernel, size in sorted(found)}
