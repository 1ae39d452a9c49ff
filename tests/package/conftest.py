"""A package of made-up files, and ways to spoil its manifest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lwc.package.manifest import (
    MANIFEST_NAME,
    Manifest,
    OutputCheck,
    TensorInfo,
    Verification,
    dump_manifest,
    hash_file,
)
from lwc.targets.resolve import resolve_target

Edit = Callable[..., None]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A complete package, but for its library and lwc-run, which are text."""
    folder = tmp_path / "tiny-arm64"
    folder.mkdir()
    (folder / "libtiny.so").write_text("library")
    (folder / "lwc-run").write_text("program")
    np.save(folder / "sample_input.npy", np.zeros((1, 4), np.float32))
    np.save(folder / "expected_output.npy", np.ones((1, 3), np.float32))
    check = OutputCheck(name="logits", rms_error=1e-7, rms_limit=2e-6, rms_float32=5e-7, deviation=1.0)
    manifest = Manifest(
        name="tiny",
        source="tiny",
        weights="random",
        inputs=(TensorInfo(name="x", dtype="float32", shape=(1, 4), layout="dims"),),
        outputs=(TensorInfo(name="logits", dtype="float32", shape=(1, 3), layout="N,classes"),),
        preprocessing=None,
        labels=("cat", "dog", "owl"),
        target=resolve_target("arm64"),
        tools={"lwc": "0.1.0"},
        passes=(),
        calls=(),
        pruning=None,
        quantization=None,
        macs=12,
        parameters=15,
        weights_bytes=64,
        memory_bytes=128,
        thread_bytes=64,
        threads=0,
        verification=Verification(how="qemu", seed=0, samples=1, outputs=(check,)),
        files={path.name: hash_file(path) for path in sorted(folder.iterdir())},
    )
    (folder / MANIFEST_NAME).write_text(dump_manifest(manifest))
    return folder


@pytest.fixture
def document(package: Path) -> dict[str, Any]:
    """The package's manifest as JSON."""
    value = json.loads((package / MANIFEST_NAME).read_text())
    assert isinstance(value, dict)
    return value


@pytest.fixture
def edit(package: Path, document: dict[str, Any]) -> Edit:
    """Changes one entry of the manifest, found by its keys; `...` as the value removes it."""

    def change(*keys: str | int, to: object) -> None:
        place: Any = document
        for key in keys[:-1]:
            place = place[key]
        if to is ...:
            del place[keys[-1]]
        else:
            place[keys[-1]] = to
        (package / MANIFEST_NAME).write_text(json.dumps(document))

    return change
