"""Several tuners at one store, and tuners that are killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lwc.tune.records import workload_of
from lwc.tune.store import open_store
from tests.tune.made import HERE, kernel, measured, no_warning

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("LWC_TEST_KILLS") or 8)

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Starts processes that are ready to add trials, and ends them with the test."""
    started: list[subprocess.Popen[str]] = []

    def start_writer(name: str, first: int, last: int) -> subprocess.Popen[str]:
        words = [str(word) for word in (path, name, first, last)]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.tune.writer", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    yield start_writer
    for process in started:
        process.kill()
        process.communicate()


def begin(process: subprocess.Popen[str]) -> None:
    """Lets it add trials."""
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def read(process: subprocess.Popen[str], count: int) -> list[int]:
    """The next `count` numbers that the process prints."""
    assert process.stdout
    assert process.stderr
    lines = [process.stdout.readline() for _ in range(count)]
    assert all(lines), process.stderr.read()
    return [int(line) for line in lines]


def kill(process: subprocess.Popen[str]) -> list[int]:
    """Ends the process at once; the numbers that it had printed, but for one on a line that it could not end."""
    process.kill()
    # `communicate` would not see what was read ahead.
    assert process.stdout
    return numbers(process.stdout.read())


def numbers(text: str) -> list[int]:
    """What a process printed, line by line."""
    return [int(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def check_that_all_are_there(path: Path, added: dict[str, list[int]]) -> None:
    """Of every kernel that a process printed, both trials, under that kernel; nothing is damaged."""
    with open_store(path, no_warning) as store:
        for name, printed in added.items():
            for description in (kernel(number, name) for number in printed):
                trials = [measured(description, 0.9, tile=4), measured(description, 0.8, tile=8)]
                assert store.trials(workload_of(description), HERE) == trials
        assert store.summary().damaged == 0


@pytest.mark.parametrize("_again", range(3))
def test_eight_processes_begin_one_store_at_once(path: Path, start: Start, _again: int) -> None:
    writers = {f"writer {number}": start(f"writer {number}", 1, 25) for number in range(8)}
    for process in writers.values():
        begin(process)
    for process in writers.values():
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
        assert numbers(output) == list(range(1, 26))
    check_that_all_are_there(path, {name: list(range(1, 26)) for name in writers})
    with open_store(path, no_warning) as store:
        assert len(store.records()) == 8 * 25 * 2


def test_no_kill_loses_a_trial(path: Path, start: Start, rng: torch.Generator) -> None:
    """Two writers, one of which is killed at a random moment, again and again."""
    steady = start("steady", 1, 10**9)
    begin(steady)
    killed: list[int] = []
    others: list[int] = []
    for _ in range(KILLS):
        process = start("killed", len(killed) + 1, 10**9)
        begin(process)
        lines, delay = torch.rand(2, generator=rng).tolist()
        killed += read(process, int(30 * lines))
        # Not for a state, but to a random moment.
        time.sleep(0.02 * delay)
        killed += kill(process)
        assert killed == list(range(1, len(killed) + 1))
        check_that_all_are_there(path, {"killed": killed})
        # The other one goes on.
        others += read(steady, 100)
    others += kill(steady)
    check_that_all_are_there(path, {"killed": killed, "steady": others})


def test_no_kill_of_the_only_one_loses_a_trial(path: Path, start: Start, rng: torch.Generator) -> None:
    """The next one has to begin the store again, or to recover it from its log."""
    added: list[int] = []
    for _ in range(KILLS):
        process = start("alone", len(added) + 1, 10**9)
        begin(process)
        lines, delay = torch.rand(2, generator=rng).tolist()
        added += read(process, int(10 * lines) if added else 0)
        # Not for a state, but to a random moment: until something was added, while the store begins.
        time.sleep(0.02 * delay)
        added += kill(process)
        check_that_all_are_there(path, {"alone": added})
