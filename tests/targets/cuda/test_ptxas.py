"""NVIDIA's compiler takes the kernels for every architecture, and keeps all their values in registers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lwc.lower.cuda_source import cuda_source
from lwc.targets.cuda import cuda_target
from tests.targets.cuda.emulation import Layer
from tests.targets.cuda.layers import Convolution, Linear, Separable, random_layers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed"),
]

# Those that most of a network's time goes into, and those of most registers.
_CASES: dict[str, Linear | Convolution | Separable] = {
    "row": Linear(1, 1024, 1000),
    "small": Linear(49, 512, 512),
    "pixels": Linear(12544, 64, 128),
    "many_pixels": Linear(50176, 128, 64, residual=False),
    "stem": Convolution((1, 112, 112, 3), 32, stride=2, layout="NCHW"),
    "dense": Convolution((4, 56, 56, 64), 64),
    "depthwise": Convolution((4, 112, 112, 32), 32, groups=32),
    "strided": Convolution((2, 56, 56, 128), 128, groups=128, stride=2),
    "five": Convolution((4, 56, 56, 48), 48, groups=48, kernel=(5, 5), padding=(2, 2, 2, 2)),
    "separable": Separable((1, 112, 112, 32), 64),
    "separable_of_many_pixels": Separable((8, 56, 56, 144), 24),
    "separable_strided": Separable((4, 56, 56, 64), 128, stride=2),
    "separable_of_five": Separable((4, 56, 56, 64), 64, kernel=(5, 5), padding=(2, 2, 2, 2)),
}


@pytest.fixture(scope="module")
def layers() -> dict[str, Layer]:
    return random_layers(_CASES)


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90"])
def test_kernels_stay_in_registers(layers: dict[str, Layer], architecture: str, tmp_path: Path) -> None:
    functions = {name: layer.function for name, layer in layers.items()}
    source, launches = cuda_source(functions, cuda_target(architecture))
    (tmp_path / "kernels.cu").write_text(source)
    command = ["nvcc", "-cubin", f"-arch={architecture}", "-Xptxas", "-v", "-o", "kernels.cubin"]
    done = subprocess.run([*command, "kernels.cu"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = dict(re.findall(r"entry function '(\w+)'(?:.*\n)*?.*?(\d+) bytes spill stores", done.stderr))
    assert found == {launch.kernel: "0" for launch in launches.values()}
