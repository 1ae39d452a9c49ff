"""`lwc profile` on real packages."""

import json
from pathlib import Path

import numpy as np
import pytest

from lwc.package.load import load
from lwc.package.manifest import read_manifest
from tests.compiled.support import Array
from tests.compiled.test_cli import command

pytestmark = pytest.mark.slow


def test_every_call_has_its_layer_and_its_time(native: Path, tmp_path: Path) -> None:
    plot = tmp_path / "roof.svg"
    done = command("profile", native, "--threads", 1, "--repeat", 20, "--plot", plot, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    manifest = read_manifest(native)
    assert [call["layer"] for call in found["calls"]] == [call.layer for call in manifest.calls]
    assert sum(call["macs"] for call in found["calls"]) == manifest.macs
    assert all(call["us"] > 0 for call in found["calls"])
    # The calls are nearly all of a run, whatever the machine is busy with.
    assert 0.3 < found["calls_us"] / found["run_us"] < 3
    assert found["peak"]["int8_ops"] > found["peak"]["flops"] > 1e9
    assert found["limit_us"] == pytest.approx(2e6 * manifest.macs / found["peak"]["flops"])
    assert plot.read_text().startswith("<?xml")


def test_the_table_names_the_layers(native: Path) -> None:
    done = command("profile", native, "--threads", 1, "--repeat", 5)
    assert done.returncode == 0
    assert "mobilenet_v1.conv_stem.convolution" in done.stdout
    assert "MACs at the peak" in done.stdout


def test_a_package_for_another_machine_is_not_timed_under_emulation(arm64: Path) -> None:
    done = command("profile", arm64)
    assert done.returncode == 6
    assert "run `lwc profile` there" in done.stderr or "apt install" in done.stderr


def test_a_profiled_run_gives_the_same(native: Path, image: Array) -> None:
    with load(native, 2).context(2) as context:
        (before,) = context.run(image)
        times = context.profile(image)
        (after,) = context.run(image)
    assert np.array_equal(before, after)
    assert len(times) == len(read_manifest(native).calls)
    assert (times > 0).all()
