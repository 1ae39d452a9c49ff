"""The whole way to a package: where it lands, and what is left when a stage fails."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lwc
from lwc.errors import BadInputError, ResourceError, UnsupportedError, VerificationError
from lwc.package.manifest import read_manifest
from tests.compiled.blocks import Blocks
from tests.compiled.conftest import Copy
from tests.compiled.support import MAP, Recorder, agrees, compile_module, compile_to, require_tool, results

pytestmark = pytest.mark.slow

STAGES = ["load", "trace", "passes", "lower", "build", "link", "verify"]


class Failing(Recorder):
    """Raises `error` on entering one stage, or on leaving it."""

    def __init__(self, stage: str, error: BaseException, at_end: bool) -> None:
        super().__init__()
        self._failing, self._error, self._at_end = stage, error, at_end

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if name == self._failing and not self._at_end:
            raise self._error
        yield
        if name == self._failing:
            raise self._error


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_a_failure_in_any_stage_leaves_all_as_it_was(
    native: Path, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, at_end: bool
) -> None:
    older, scratch = copy(native), tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    before, folders = contents(tmp_path), sorted(tmp_path.rglob("*"))
    error = KeyboardInterrupt() if at_end else MemoryError()
    layer = nn.Linear(4, 3)
    for output in (older, tmp_path / "some" / "new"):
        reporter = Failing(stage, error, at_end)
        with pytest.raises(type(error)):
            compile_module(output, layer, (torch.ones(2, 4),), reporter=reporter)
    assert contents(tmp_path) == before
    assert sorted(tmp_path.rglob("*")) == folders


def test_a_library_that_disagrees_is_never_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lwc.package.verify_parts.run_program", lambda *_: (np.zeros((2, 3), np.float32),))
    with pytest.raises(VerificationError, match="output 'output' differs from PyTorch by"):
        compile_module(tmp_path / "wrong", nn.Linear(4, 3), (torch.ones(2, 4),))
    assert not list(tmp_path.iterdir())


def test_stages_are_reported_and_timed(tmp_path: Path) -> None:
    reporter = Recorder()
    result = compile_module(tmp_path / "net", nn.Linear(4, 3), (torch.ones(2, 4),), reporter=reporter)
    assert reporter.stages == list(result.seconds) == STAGES
    assert all(seconds >= 0 for seconds in result.seconds.values())
    assert reporter.warnings == []
    assert result.manifest == read_manifest(result.package)


def test_the_default_place_and_the_replaced_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"width": 0.05, "image_size": 32, "num_labels": 5}
    target = "triple=x86_64-linux-gnu,features=avx2+fma"
    first = compile_to(None, "mobilenet_v1", target, **options)
    assert first.package == Path("mobilenet_v1-triple-x86_64-linux-gnu-features-avx2-fma")
    (first.package / "example.c").unlink()
    second = compile_to(None, "mobilenet_v1", target, seed=1, **options)
    assert [path.name for path in tmp_path.iterdir()] == [first.package.name]
    assert first.manifest.files["libmobilenet_v1.so"] != second.manifest.files["libmobilenet_v1.so"]
    assert (second.package / "example.c").is_file()


def test_the_same_request_gives_the_same_files(native: Path, tmp_path: Path) -> None:
    again = compile_to(tmp_path / "again", "mobilenet_v1", width=0.25, image_size=128)
    assert again.manifest.files == read_manifest(native).files


def test_the_manifest_says_what_passes_decided(native: Path) -> None:
    notes = {entry.name: entry.notes for entry in read_manifest(native).passes if entry.notes}
    assert list(notes) == ["select-depthwise-kernel"]
    assert len(notes["select-depthwise-kernel"]) == 13
    assert all(" thousand cycles " in note for note in notes["select-depthwise-kernel"])


def test_an_unverified_package_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_runner(target: object, toolkit: object) -> object:
        raise ResourceError("no emulator")

    monkeypatch.setattr("lwc.package.verify_parts.find_runner", find_runner)
    reporter = Recorder()
    result = compile_module(
        tmp_path / "net", nn.Linear(4, 3), (torch.ones(2, 4),), "arm64", reporter=reporter
    )
    assert reporter.warnings == ["not verified: no emulator"]
    assert result.manifest.verification.how == "not run"
    assert [output.rms_error for output in result.manifest.verification.outputs] == [None]


def test_without_the_targets_c_library_a_static_program_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_tool("qemu-aarch64")
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))
    result = compile_module(tmp_path / "net", nn.Linear(4, 3), (torch.ones(2, 4),), "arm64")
    assert result.manifest.verification.how == "qemu-static"
    assert "lwc-run-static" not in result.manifest.files


@pytest.mark.parametrize(
    "left_out", ["fuse-activation", "fold-batch-norm", "convert-layout", "merge-transposes"]
)
def test_without_an_optional_pass_the_numbers_are_as_right(
    tmp_path: Path, rng: torch.Generator, left_out: str
) -> None:
    agrees(tmp_path, "blocks", Blocks(), MAP, rng=rng, passes=f"default,-{left_out}")
    assert left_out not in [entry.name for entry in read_manifest(tmp_path / "blocks").passes]


def test_a_batch_of_two(tmp_path: Path) -> None:
    package = compile_to(tmp_path / "two", "mobilenet_v1", width=0.25, image_size=64, batch=2).package
    images = np.load(package / "sample_input.npy")
    assert images.shape == (2, 3, 64, 64)
    (both,) = results(package, images)
    (swapped,) = results(package, np.ascontiguousarray(images[::-1]))
    assert both.shape == (2, 1001)
    assert np.array_equal(both, swapped[::-1])
    assert not np.array_equal(both[0], both[1])


def test_threads_become_the_default_of_new_contexts(tmp_path: Path) -> None:
    result = compile_module(tmp_path / "net", nn.Linear(4, 3), (torch.ones(2, 4),), threads=3)
    assert result.manifest.threads == 3
    assert "0: 3, as compiled" in (result.package / "net.h").read_text()
    before = threads_of_this_process()
    model = lwc.load(result.package)
    # The calling thread is the first of the three.
    assert threads_of_this_process() == before + 2
    model.close()
    assert threads_of_this_process() == before


def threads_of_this_process() -> int:
    (count,) = re.findall(r"^Threads:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(count)


def test_wrong_places_and_targets_are_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    reporter = Recorder()
    with pytest.raises(BadInputError, match="not a folder"):
        compile_to(tmp_path / "file", "mobilenet_v1", reporter=reporter)
    with pytest.raises(UnsupportedError, match="not supported"):
        compile_to(tmp_path / "new", "mobilenet_v1", "triple=riscv64-linux-gnu", reporter=reporter)
    assert reporter.stages == []
