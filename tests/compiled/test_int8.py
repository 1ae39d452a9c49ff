"""`--precision int8`: verified, on integers, a quarter of the weights, and the same bits on every machine."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lwc.compile_request import CompileRequest
from lwc.driver import compile_package
from lwc.models.request import ModelRequest
from lwc.package.manifest import Manifest, read_manifest
from lwc.package.verify import verify_package
from lwc.rewriting import PassOptions
from tests.compiled.support import Recorder, require_runner, results

pytestmark = pytest.mark.slow

# What each model is compiled with.
MODELS: dict[str, dict[str, Any]] = {
    "mobilenet_v1": {"width": 0.25, "image_size": 64, "num_labels": 37},
    "mobilenet_v2": {"width": 0.35, "image_size": 64, "num_labels": 37},
    "mobilevit_xx_small": {"image_size": 64, "num_labels": 37},
    "levit_128s": {"num_labels": 37},
}
Native = Callable[[str], tuple[Path, Manifest]]
ON_INTEGERS = ("mobilenet_v1", "mobilenet_v2")
# Besides this machine: bytes without a sign and with one, vectors of 512, 256 and 128 bits.
TARGETS = ("x86-64-v4", "x86-64-v3", "cortex-a76")


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring ranges takes most of the time."""
    monkeypatch.setattr("lwc.quantize.data._MADE", 8)


def compiled(output: Path, model: str, target: str = "native", precision: str = "int8") -> Manifest:
    """The manifest of `model` with random weights, compiled into `output`."""
    calibrate = "synthetic" if precision == "int8" else None
    request = CompileRequest(
        ModelRequest(model, weights="random", **MODELS[model]),
        target,
        output,
        # That passes are right is tested elsewhere.
        PassOptions(verify=False),
        precision=precision,
        calibrate=calibrate,
    )
    reporter = Recorder()
    manifest = compile_package(request, reporter).manifest
    assert ("calibrate" in reporter.stages) == (precision == "int8")
    assert any("MADE" in warning for warning in reporter.warnings) == (precision == "int8")
    return manifest


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    """Compiles a model on integers for this machine, once. Not to be changed."""

    @cache
    def make(model: str) -> tuple[Path, Manifest]:
        package = tmp_path_factory.mktemp(model) / "int8"
        return package, compiled(package, model)

    return make


def weighted_layers(manifest: Manifest) -> int:
    """How many calls of kernels multiply."""
    return sum(call.macs > 0 for call in manifest.calls)


@pytest.mark.parametrize("model", MODELS)
def test_a_package_of_integers(model: str, native: Native) -> None:
    """Verified when it is made, and again."""
    package, integer = native(model)
    said = integer.quantization
    assert said is not None
    assert said.calibration == "synthetic"
    assert said.float_layers == 0
    assert said.integer_layers >= weighted_layers(integer)
    # Random weights make little of a signal.
    assert all(noise is not None and noise > 3 for noise in said.signal_to_noise_db)
    (check,) = integer.verification.outputs
    assert integer.verification.how == "native"
    assert check.rms_error is not None
    assert check.rms_error <= check.rms_limit
    if model in ON_INTEGERS:
        assert check.rms_error == 0
    verify_package(package)
    assert read_manifest(package) == integer
    assert "INT8, calibrated on synthetic, mse." in (package / f"{integer.name}.h").read_text()


def test_it_is_smaller_by_what_its_weights_are(native: Native, tmp_path: Path) -> None:
    _, integer = native("mobilenet_v1")
    real = compiled(tmp_path / "fp32", "mobilenet_v1", precision="fp32")
    assert real.quantization is None
    assert 0.24 * real.weights_bytes < integer.weights_bytes < 0.4 * real.weights_bytes
    assert (integer.macs, integer.parameters) == (real.macs, real.parameters)


@pytest.mark.parametrize("model", ON_INTEGERS)
def test_every_machine_gives_the_same_bits(
    model: str, native: Native, tmp_path: Path, rng: torch.Generator
) -> None:
    """Where all is integers nothing is left to rounding, whether bytes have a sign or not."""
    targets = TARGETS if model == "mobilenet_v1" else ("cortex-a76",)
    for target in targets:
        require_runner(target)
    size = MODELS[model]["image_size"]
    images = torch.randn((3, 1, 3, size, size), generator=rng).numpy()
    package, manifest = native(model)
    assert manifest.verification.outputs[0].rms_error == 0
    first = [results(package, image)[0] for image in images]
    for target in targets:
        manifest = compiled(tmp_path / target, model, target)
        assert manifest.verification.outputs[0].rms_error == 0
        logits = [results(tmp_path / target, image)[0] for image in images]
        assert all(map(np.array_equal, logits, first)), target
    assert np.std(first) > 0
    assert not np.array_equal(first[0], first[1])
