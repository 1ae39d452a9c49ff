"""Every model of the zoo, at its full size for this machine and small for 64-bit ARM, agrees with PyTorch."""

from pathlib import Path
from typing import Any

import pytest

from lwc.driver import CompileResult
from lwc.models.zoo import ZOO
from tests.compiled.support import compile_to, require_runner

pytestmark = pytest.mark.slow

# One of each family, as small as it goes.
FAMILIES: dict[str, dict[str, Any]] = {
    "mobilenet_v1": {"width": 0.25, "image_size": 96},
    "mobilenet_v2": {"width": 0.25, "image_size": 96},
    "levit_128s": {},
    "mobilevit_xx_small": {"image_size": 64},
}


def check(result: CompileResult, how: str) -> None:
    manifest = result.manifest
    assert manifest.weights == "random"
    assert manifest.verification.how == how
    for output in manifest.verification.outputs:
        assert output.rms_error is not None
        assert output.rms_error <= output.rms_limit == 2 * output.rms_float32 + 1e-6
        # Near 0, agreement would prove nothing.
        assert output.deviation > 0.05
    size = (result.package / manifest.library).stat().st_size
    assert size <= manifest.weights_bytes + 400_000
    # LeViT's tables of attention biases are stored as the maps that they stand for, and Winograd's filters of 3 x 3 are
    # 4 x 4.
    transformed = any(call.kernel.startswith("lwc_winograd") for call in manifest.calls)
    assert manifest.weights_bytes <= 4 * manifest.parameters * (16 / 9 if transformed else 1.1)


@pytest.mark.parametrize("name", ZOO)
def test_at_full_size_for_this_machine(name: str, tmp_path: Path) -> None:
    check(compile_to(tmp_path / "package", name), "native")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_for_arm64(name: str, tmp_path: Path) -> None:
    require_runner("arm64")
    check(compile_to(tmp_path / "package", name, "arm64", **FAMILIES[name]), "qemu")
