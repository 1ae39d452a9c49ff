"""Packages for GPUs: made, verified and run without one, by emulation of their kernels."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lwc.cuda.find import find_compiler
from lwc.cuda.nvcc import find_nvcc
from lwc.errors import ResourceError, UsageError, VerificationError
from lwc.package.manifest import DEVICE_SOURCE, read_manifest
from lwc.package.run import run_package
from lwc.package.verify import verify_package
from lwc.targets.resolve import resolve_target
from tests.compiled.support import Recorder, compile_to, require_runner

pytestmark = pytest.mark.slow

TARGET = "cuda:sm_80"
SMALL: dict[str, Any] = {"width": 0.25, "image_size": 128}


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    try:
        find_compiler()
    except ResourceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cuda") / "small"
    compile_to(output, "mobilenet_v1", TARGET, **SMALL)
    return output


def test_it_is_verified_where_there_is_no_gpu(package: Path) -> None:
    manifest = read_manifest(package)
    (output,) = manifest.verification.outputs
    assert manifest.verification.how in ("cuda", "emulated")
    assert output.rms_error is not None
    assert 0 < output.rms_error <= output.rms_limit
    assert output.deviation > 0.1
    assert manifest.target.gpu is not None
    assert manifest.target.gpu.architecture == "sm_80"
    assert manifest.tools[find_compiler().name] == ".".join(map(str, find_compiler().toolkit))


def test_it_says_what_each_kernel_does(package: Path) -> None:
    """The stem, 13 depthwise and 13 pointwise convolutions, a mean and the classifier, less what is joined."""
    calls = read_manifest(package).calls
    assert 15 <= len(calls) <= 29
    source = (package / DEVICE_SOURCE).read_text()
    for call in calls:
        assert f"{call.kernel}_kernel(" in source
    assert sum(call.macs for call in calls) >= 13e6


def test_it_needs_the_c_library_and_no_cuda_library(package: Path) -> None:
    listed = subprocess.run(
        ["readelf", "-d", str(package / read_manifest(package).library)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    needed = {line.split("[")[1].split(".so")[0] for line in listed.splitlines() if "NEEDED" in line}
    assert {name for name in needed if not name.startswith("ld-linux")} <= {
        "libc",
        "libm",
        "libpthread",
        "libdl",
    }


def test_another_input_gives_what_a_package_for_the_processor_gives(package: Path, tmp_path: Path) -> None:
    compile_to(tmp_path / "processor", "mobilenet_v1", **SMALL)
    image = np.random.default_rng(7).standard_normal((1, 3, 128, 128), np.float32)
    (on_gpu,), (on_processor,) = (run_package(path, (image,)) for path in (package, tmp_path / "processor"))
    assert np.abs(on_processor).max() > 1
    np.testing.assert_allclose(on_gpu, on_processor, atol=1e-4)


def test_integers_have_the_bits_that_they_have_on_the_processor(tmp_path: Path) -> None:
    images = np.random.default_rng(8).standard_normal((4, 3, 96, 96), np.float32)
    np.save(tmp_path / "images.npy", images)
    options: dict[str, Any] = {
        "width": 0.35,
        "image_size": 96,
        "precision": "int8",
        "calibrate": tmp_path / "images.npy",
    }
    results = []
    for target in ("native", TARGET):
        output = tmp_path / target.replace(":", "_")
        compile_to(output, "mobilenet_v2", target, **options)
        results.append(run_package(output, (images[:1],))[0])
    assert np.abs(results[0]).max() > 0.5
    np.testing.assert_array_equal(results[1], results[0])


def test_half_precision_is_about_as_exact_as_pytorchs(tmp_path: Path) -> None:
    result = compile_to(tmp_path / "half", "mobilenet_v1", TARGET, precision="fp16", **SMALL)
    (output,) = result.manifest.verification.outputs
    assert result.manifest.target.gpu is not None
    assert result.manifest.target.gpu.numbers == "float16"
    assert output.rms_error is not None
    assert 1e-4 < output.rms_error <= output.rms_limit < 0.3
    assert result.manifest.weights_bytes < 2.2 * result.manifest.parameters


def test_the_processor_beside_the_gpu_can_be_arm64(tmp_path: Path) -> None:
    require_runner("cuda:sm_87")
    result = compile_to(tmp_path / "orin", "mobilenet_v2", "cuda:sm_87", width=0.35, image_size=96)
    assert result.manifest.verification.how == "emulated"


def test_a_changed_kernel_is_noticed(package: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(package, changed)
    with (changed / DEVICE_SOURCE).open("a") as file:
        file.write("\n")
    with pytest.raises(VerificationError, match=r"kernels\.cu: has \d+ bytes"):
        verify_package(changed)


def test_without_nvcc_nvrtc_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_nvcc() is None:
        pytest.skip("the other tests used NVRTC")
    monkeypatch.setattr("lwc.cuda.find.find_nvcc", lambda: None)
    if find_compiler().name != "nvrtc":
        pytest.skip("no NVRTC; `pip install lwc[cuda]`")
    recorder = Recorder()
    result = compile_to(tmp_path / "nvrtc", "mobilenet_v1", TARGET, reporter=recorder, **SMALL)
    assert result.manifest.tools["nvrtc"]
    assert result.manifest.verification.how in ("cuda", "emulated")


def test_half_precision_is_for_gpus(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"precision fp16: target 'arm64' has no GPU"):
        compile_to(tmp_path / "half", "mobilenet_v1", "arm64", precision="fp16", **SMALL)
    assert not (tmp_path / "half").exists()
    assert resolve_target("arm64").gpu is None
