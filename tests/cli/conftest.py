"""Running `lwc` in this process and in one of its own, and a package that needs no compiler."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lwc.cli.main import run
from lwc.models.preprocess import Preprocessing
from lwc.package.manifest import (
    MANIFEST_NAME,
    FileInfo,
    Manifest,
    OutputCheck,
    TensorInfo,
    Verification,
    dump_manifest,
)
from lwc.targets.resolve import resolve_target

FILES = ("libtiny.so", "lwc-run", "sample_input.npy", "expected_output.npy")
CLIP = """
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx

from lwc.ops import ConvView
from lwc.pipeline import Pass


@dataclass(frozen=True)
class Clip(Pass[fx.Node]):
    name: ClassVar[str] = "clip"
    bound: float = 0.3

    def match(self, program, node):
        fused = node.target is torch.ops.lwc.conv2d.default and ConvView.of(node).maximum == 6
        return node if fused else None

    def refuse(self, program, match):
        return None if match.name.endswith("7") else "its name does not end in 7"

    def rewrite(self, program, match):
        match.args = (*match.args[:9], self.bound, *match.args[10:])
"""

PROGRAM = "from lwc.cli.main import main; raise SystemExit(main())"


@dataclass(frozen=True)
class Outcome:
    """What a command line left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    def line(self) -> str:
        """The one line on stderr; that it is one, and no traceback, is checked."""
        assert self.err.startswith("lwc: ")
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        assert "Traceback" not in self.err
        return self.err


Lwc = Callable[..., Outcome]


@pytest.fixture
def lwc(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lwc:
    """Runs one command line inside this process."""
    monkeypatch.delenv("LWC_DEBUG", raising=False)

    def call(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        return Outcome(code, *capfd.readouterr())

    return call


@pytest.fixture
def shell(tmp_path: Path) -> Lwc:
    """Runs a line of bash in `tmp_path`, where `lwc` is the command in a process of its own."""

    def call(line: str, **variables: str) -> Outcome:
        script = f'set -o pipefail; lwc() {{ "{sys.executable}" -c "{PROGRAM}" "$@"; }}; {line}'
        environment = {name: value for name, value in os.environ.items() if name != "LWC_DEBUG"}
        done = subprocess.run(
            ["bash", "-c", script],
            capture_output=True,
            text=True,
            errors="backslashreplace",
            cwd=tmp_path,
            env=environment | variables,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


def make_manifest(
    layout: str = "N,classes", labels: tuple[str, ...] | None = ("cat", "dog", "owl")
) -> Manifest:
    """A manifest of a model with an image of 4 x 4 pixels and three classes."""
    return Manifest(
        name="tiny",
        source="tiny",
        weights="random",
        inputs=(TensorInfo(name="pixels", dtype="float32", shape=(1, 3, 4, 4), layout="NCHW"),),
        outputs=(TensorInfo(name="logits", dtype="float32", shape=(1, 3), layout=layout),),
        preprocessing=Preprocessing(
            resize=4, resample="bilinear", crop=(4, 4), rescale=1 / 255, mean=None, std=None, bgr=False
        ),
        labels=labels,
        target=resolve_target("arm64"),
        tools={},
        passes=(),
        calls=(),
        pruning=None,
        quantization=None,
        macs=1_500_000,
        parameters=4_231_976,
        weights_bytes=16_927_904,
        memory_bytes=2048,
        thread_bytes=260_352,
        threads=0,
        verification=Verification(
            how="qemu",
            seed=0,
            samples=1,
            outputs=(
                OutputCheck(
                    name="logits", rms_error=2e-7, rms_limit=1.5e-6, rms_float32=2.5e-7, deviation=1.0
                ),
            ),
        ),
        files={name: FileInfo(sha256="0" * 64, bytes=12345) for name in FILES},
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a manifest and nothing else."""
    folder = tmp_path / "tiny-arm64"
    folder.mkdir()
    (folder / MANIFEST_NAME).write_text(dump_manifest(make_manifest()))
    return folder


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """An input that the package takes."""
    path = tmp_path / "sample.npy"
    np.save(path, np.zeros((1, 3, 4, 4), np.float32))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> str:
    """A pass that clips some ReLU6 lower, as `--pass` takes it."""
    (tmp_path / "clip.py").write_text(CLIP)
    return f"{tmp_path / 'clip.py'}:Clip,after=fuse-activation"
