"""`--io int8`: a package whose inputs and outputs are 8-bit integers, from Python, C and the command line."""

import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lwc
from lwc.cli.main import run as run_command
from lwc.compile_request import CompileRequest
from lwc.driver import compile_package
from lwc.errors import BadInputError
from lwc.models.request import ModelRequest
from lwc.package.manifest import read_manifest
from lwc.package.steps import dequantize, quantize
from lwc.package.verify import verify_package
from lwc.profile.profile import profile_package
from lwc.rewriting import PassOptions
from tests.compiled.support import Recorder, require_runner, require_tool, results

pytestmark = pytest.mark.slow

ARM = "cortex-a76"
SHAPE = (1, 3, 32, 32)


@pytest.fixture(scope="module", autouse=True)
def few_samples() -> Any:
    """Measuring ranges takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lwc.quantize.data._MADE", 8)
        yield


def compiled(output: Path, model: str, target: str = "native", io: str = "int8", **options: Any) -> Path:
    """The package of `model` in INT8, ranges measured on made inputs."""
    request = CompileRequest(
        ModelRequest(model, **options),
        target,
        output,
        PassOptions(verify=False),
        precision="int8",
        calibrate="synthetic",
        io=io,
    )
    return compile_package(request, Recorder()).package


def mobilenet(output: Path, target: str = "native", io: str = "int8") -> Path:
    return compiled(
        output, "mobilenet_v1", target, io, weights="random", width=0.25, image_size=32, num_labels=37
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV1, integers in and out."""
    return mobilenet(tmp_path_factory.mktemp("native") / "v1")


def pixels(rng: torch.Generator) -> np.ndarray:
    return torch.randint(0, 256, SHAPE, generator=rng).to(torch.uint8).numpy()


def test_what_the_package_says(package: Path) -> None:
    manifest, model = read_manifest(package), lwc.load(package)
    for infos, tensors in ((manifest.inputs, model.inputs), (manifest.outputs, model.outputs)):
        for info, tensor in zip(infos, tensors, strict=True):
            assert (info.dtype, tensor.dtype) == ("uint8", "uint8")
            assert (info.scale, info.zero_point) == (tensor.scale, tensor.zero_point)
            assert 0 < info.scale < 1
    assert np.load(package / "sample_input.npy").dtype == np.uint8
    expected = np.load(package / "expected_output.npy")
    assert expected.dtype == np.uint8
    assert np.array_equal(model(np.load(package / "sample_input.npy")), expected)
    # To the bit, when it was made and again.
    assert manifest.verification.outputs[0].rms_error == 0
    assert verify_package(package).outputs[0].rms_error == 0
    # The first kernel reads bytes, and the last one writes them: nothing of the image is ever float32.
    assert not any("quantize" in call.kernel.replace("quantized", "") for call in manifest.calls)
    # With their border, and a byte more for each pixel.
    assert manifest.calls[0].bytes < 4 * np.prod(SHAPE)
    assert len(profile_package(package, 1, 2).calls) == len(manifest.calls)


def test_it_is_the_package_of_float32_less_its_ends(
    package: Path, tmp_path: Path, rng: torch.Generator
) -> None:
    integer, real = lwc.load(package), lwc.load(mobilenet(tmp_path / "v1", io="float32"))
    image, logits = integer.inputs[0], integer.outputs[0]
    for _ in range(10):
        x = pixels(rng)
        want = real(image.dequantize(x))
        got = integer(x)
        assert np.array_equal(image.quantize(image.dequantize(x)), x)
        # What is outside of the range is its end.
        inside = (got > 0) & (got < 255)
        assert np.abs(logits.dequantize(got) - want)[inside].max() <= 0.501 * logits.scale
        assert inside.sum() > 30


def test_every_machine_takes_and_gives_the_same_bytes(
    package: Path, tmp_path: Path, rng: torch.Generator
) -> None:
    """Kernels for x86 multiply unsigned bytes, those for arm64 signed ones."""
    require_runner(ARM)
    arm = mobilenet(tmp_path / "v1", ARM)
    here, there = read_manifest(package), read_manifest(arm)
    assert (here.inputs, here.outputs) == (there.inputs, there.outputs)
    assert there.verification.outputs[0].rms_error == 0
    for _ in range(2):
        x = pixels(rng)
        assert np.array_equal(results(arm, x)[0], results(package, x)[0])


def test_the_example_in_c(package: Path, tmp_path: Path) -> None:
    require_tool("cc")
    source = (package / "example.c").read_text()
    (line,) = re.findall(r"^ \* +(cc .*)$", source, re.MULTILINE)
    command = line.replace("-o example ", f"-Wall -Wextra -Werror -o {tmp_path}/example ")
    subprocess.run(command.replace("$ORIGIN", str(package)), shell=True, check=True, cwd=package, timeout=60)
    done = subprocess.run([tmp_path / "example"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    model = lwc.load(package)
    logits = model.outputs[0].dequantize(model(np.arange(np.prod(SHAPE)).astype(np.uint8).reshape(SHAPE)))[0]
    assert done.stdout == f"largest of logits: index {logits.argmax()}, value {logits.max():g}\n"


C_PROGRAM = r"""
#include "mobilenet_v1.h"
#include <stdio.h>

/* At an odd address, and beside it what must not be written. */
static _Alignas(64) uint8_t image[MOBILENET_V1_IMAGE_BYTES + 1], logits[MOBILENET_V1_LOGITS_BYTES + 2];

int main(void)
{
    const lwc_model *model;
    lwc_context *context;
    lwc_tensor_info info;
    if (fread(image + 1, 1, MOBILENET_V1_IMAGE_BYTES, stdin) != MOBILENET_V1_IMAGE_BYTES)
        return 2;
    if (mobilenet_v1_open(&model) || mobilenet_v1_output_info(model, 0, &info))
        return 3;
    if (info.dtype != LWC_UINT8 || info.scale != MOBILENET_V1_LOGITS_SCALE
        || info.zero_point != MOBILENET_V1_LOGITS_ZERO_POINT || info.bytes != MOBILENET_V1_LOGITS_BYTES)
        return 4;
    const lwc_tensor_data in = {image + 1, MOBILENET_V1_IMAGE_BYTES, LWC_HOST};
    const lwc_tensor_data out = {logits + 1, MOBILENET_V1_LOGITS_BYTES, LWC_HOST};
    logits[0] = logits[MOBILENET_V1_LOGITS_BYTES + 1] = 77;
    if (mobilenet_v1_create_context(model, 2, &context) || mobilenet_v1_run(context, &in, 1, &out, 1)) {
        fprintf(stderr, "%s\n", mobilenet_v1_last_error());
        return 1;
    }
    if (logits[0] != 77 || logits[MOBILENET_V1_LOGITS_BYTES + 1] != 77)
        return 5;
    fwrite(logits + 1, 1, MOBILENET_V1_LOGITS_BYTES, stdout);
    return mobilenet_v1_destroy_context(context);
}
"""


def test_a_program_in_c(package: Path, tmp_path: Path, rng: torch.Generator) -> None:
    compiler = require_tool("cc", "gcc", "clang")
    (tmp_path / "program.c").write_text(C_PROGRAM)
    flags = [f"-I{package}", f"-L{package}", "-l:libmobilenet_v1.so", f"-Wl,-rpath,{package}"]
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-o", "program", "program.c", *flags]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=60)
    # Every bit pattern is a number: nothing of an integer input is refused as NaN.
    for x in (pixels(rng), np.full(SHAPE, 255, np.uint8)):
        done = subprocess.run([tmp_path / "program"], input=x.tobytes(), capture_output=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == lwc.load(package)(x).tobytes()


def test_lwc_run_takes_and_gives_bytes(package: Path, tmp_path: Path, rng: torch.Generator) -> None:
    x = pixels(rng)
    (tmp_path / "in").write_bytes(x.tobytes())
    files = ("--input", tmp_path / "in", "--output", tmp_path / "out")
    done = subprocess.run(
        [package / "lwc-run", *files, "--repeat", "2"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out").read_bytes() == lwc.load(package)(x).tobytes()


def test_lwc_run_from_the_command_line(
    package: Path, tmp_path: Path, rng: torch.Generator, capfd: pytest.CaptureFixture[str]
) -> None:
    """Real numbers and their integers give the same."""
    model, x = lwc.load(package), pixels(rng)
    np.save(tmp_path / "integers.npy", x)
    np.save(tmp_path / "real.npy", model.inputs[0].dequantize(x))
    documents = []
    for name in ("integers", "real"):
        capfd.readouterr()
        assert run_command(["run", str(package), "--input", str(tmp_path / f"{name}.npy"), "--json"]) == 0
        documents.append(json.loads(capfd.readouterr().out))
    assert documents[0] == documents[1]
    logits = model.outputs[0].dequantize(model(x))
    assert documents[0]["outputs"][0]["top"][0]["logit"] == float(logits.max())


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_arrays_of_another_type(package: Path, dtype: type[np.generic]) -> None:
    name = np.dtype(dtype).name
    says = rf"^input 'image': is {name} \(1, 3, 32, 32\); give a uint8 array of \(1, 3, 32, 32\), which"
    with pytest.raises(BadInputError, match=says):
        lwc.load(package)(np.zeros(SHAPE, dtype))


class Several(nn.Module):
    """Inputs that layers and float steps read, and outputs of every kind: made by a layer, by a step, given through."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.own = nn.Linear(12, 7)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """x (1, 3, 9, 11), y (5, 12)."""
        logits = self.own(y)
        joined = self.first(x) + self.second(x)
        return joined, logits, logits.softmax(-1), x.sigmoid(), y.reshape(10, 6), joined.mean((2, 3)), y


@pytest.mark.parametrize("target", ["native", ARM])
def test_several_inputs_and_outputs(
    target: str, tmp_path: Path, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_runner(target)
    shapes = ((1, 3, 9, 11), (5, 12))
    module = Several()
    holder = types.ModuleType("models_of_the_test")
    holder.several = lambda: (module, tuple(torch.randn(shape, generator=rng) for shape in shapes))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, holder.__name__, holder)
    package = compiled(tmp_path / "several", f"{holder.__name__}:several", target)
    verify_package(package)
    manifest = read_manifest(package)
    assert {info.dtype for info in (*manifest.inputs, *manifest.outputs)} == {"uint8"}
    real = [torch.randn(shape, generator=rng) for shape in shapes]
    given = [quantize(x.numpy(), info) for x, info in zip(real, manifest.inputs, strict=True)]
    found = results(package, *given)
    assert np.array_equal(found[4], given[1].reshape(10, 6))
    assert np.array_equal(found[6], given[1])
    with torch.no_grad():
        wanted = module(*real)
    for info, got, want in zip(manifest.outputs, found, wanted, strict=True):
        assert got.dtype == np.uint8
        noise = np.abs(dequantize(got, info) - want.numpy()).mean()
        assert noise < 0.1 * float(want.std()), info.name
