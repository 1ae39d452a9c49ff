"""What a Dask worker does, and what becomes of its answer; without a cluster."""

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lwc.tune import dask_worker
from lwc.tune.dask_worker import BuildPlugin, Packed, unpack
from lwc.tune.tasks import Task
from lwc.tune.trials import Refusal
from tests.tune.elsewhere import BUILDS, PROGRAM, trials_of
from tests.tune.layers import product_task
from tests.tune.marked import left_of, marked

pytestmark = pytest.mark.slow


@pytest.fixture
def task(rng: torch.Generator) -> Task:
    """A matrix product."""
    return product_task(rng)


@pytest.fixture
def plugin(tmp_path: Path, mark: str) -> Iterator[BuildPlugin]:
    """The plugin of a worker of two threads."""
    worker: Any = SimpleNamespace(
        local_directory=str(tmp_path),
        state=SimpleNamespace(nthreads=2),
        memory_manager=SimpleNamespace(memory_limit=None),
    )
    plugin: BuildPlugin = pickle.loads(pickle.dumps(BuildPlugin(None, 120)))
    plugin.setup(worker)
    yield plugin
    plugin.teardown(worker)
    assert list(tmp_path.iterdir()) == [], "files are left"
    assert marked(mark, BUILDS) == []


def test_several_threads_build_at_once(plugin: BuildPlugin, mark: str, task: Task, seed: int) -> None:
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(plugin.build, [trials_of(task, seed)] * 4))
        assert len(marked(mark, BUILDS)) == 2
    for answer in answers:
        assert isinstance(answer, Packed), answer
        assert answer.files.keys() == set(PROGRAM)


def test_processes_that_nobody_needs_end(
    plugin: BuildPlugin, mark: str, task: Task, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_worker, "_IDLE_SECONDS", 0.1)
    assert isinstance(plugin.build(trials_of(task, seed)), Packed)
    assert left_of(mark, BUILDS) == []


FILLED = dict.fromkeys(PROGRAM, b"#!/bin/sh\n")
FALSE: Sequence[dict[str, bytes]] = (
    {},
    FILLED | {"../outside": b""},
    FILLED | {"other": b""},
    {f"../{name}": content for name, content in FILLED.items()},
    {name: content for name, content in FILLED.items() if name != PROGRAM[0]},
)


@pytest.mark.parametrize("files", FALSE)
def test_only_the_programs_own_files_are_taken(files: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    built: Any = None
    assert unpack(Packed(built, files), folder) == Refusal(
        "came back without its program, or with more than that"
    )
    assert list(tmp_path.rglob("*")) == [folder]


def test_what_is_too_large_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_worker, "_MOST_BYTES", 1 << 20)
    built: Any = None
    large = Packed(built, FILLED | {PROGRAM[0]: bytes(1 << 20)})
    assert unpack(large, tmp_path) == Refusal("its program has more than 1 MB")
    assert list(tmp_path.iterdir()) == []
