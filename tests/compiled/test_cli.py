"""`lwc verify` and `lwc run` on real packages, in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lwc.package.manifest import MANIFEST_NAME, hash_file, read_manifest
from tests.compiled.conftest import Copy
from tests.compiled.support import require_runner

pytestmark = pytest.mark.slow


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lwc", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def test_verify(package: Path) -> None:
    manifest = read_manifest(package)
    require_runner(manifest.target.name)
    done = command("verify", package, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["how"] == ("native" if manifest.target.name == "native" else "qemu")
    (output,) = found["outputs"]
    assert output["rms_error"] <= output["rms_limit"] == manifest.verification.outputs[0].rms_limit
    assert output["deviation"] > 0.05


def test_run_on_the_sample(package: Path, tmp_path: Path) -> None:
    require_runner(read_manifest(package).target.name)
    output = tmp_path / "out.npy"
    done = command("run", package, "--input", package / "sample_input.npy", "--output", output, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    logits = np.load(output)
    (found,) = json.loads(done.stdout)["outputs"]
    assert [guess["index"] for guess in found["top"]] == np.argsort(-logits[0])[:5].tolist()


def test_run_on_an_image(native: Path, tmp_path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    done = command("run", native, "--input", tmp_path / "image.png", "--threads", "2")
    assert done.returncode == 0, done.stderr
    # The classes are made up, and lwc says so.
    assert done.stderr == "warning: the package has random weights: what it says means nothing\n"
    assert len(done.stdout.splitlines()) == 6


@pytest.mark.parametrize("name", ["expected_output.npy", "sample_input.npy"])
def test_a_changed_sample_with_its_hash_made_anew_is_a_disagreement(
    native: Path, copy: Copy, name: str
) -> None:
    package = copy(native)
    np.save(package / name, -np.load(package / name))
    manifest = json.loads((package / MANIFEST_NAME).read_text())
    manifest["files"][name] = hash_file(package / name).model_dump()
    (package / MANIFEST_NAME).write_text(json.dumps(manifest))
    done = command("verify", package)
    assert (done.returncode, done.stdout) == (5, "")
    assert "output 'logits' differs from PyTorch by" in done.stderr
    assert done.stderr.count("\n") == 1
