"""A tuner that is killed at random moments: what it kept is there, and nothing of it goes on running."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from lwc.tune.circumstances import ROUNDS, circumstances_of
from lwc.tune.records import Trial, canonical_json
from lwc.tune.store import open_store, replaces
from tests.tune.layers import TARGET
from tests.tune.made import no_warning
from tests.tune.marked import left_of
from tests.tune.searcher import THREADS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("LWC_TEST_KILLS") or 3)
# Seconds from a batch, or the beginning, to the kill.
LATEST = 5.0
# So many more choices of each layer in each run, which is more than it gets done before the kill.
MORE = 7
Trials = dict[tuple[str, str], Trial]


def by_choice(trials: list[Trial]) -> Trials:
    """By workload and choice."""
    return {(trial.workload, canonical_json(trial.choice)): trial for trial in trials}


def reports(lines: list[str]) -> Iterator[Trials]:
    """What a tuner printed, line by line, but for a line that it could not end."""
    for line in lines:
        if line.endswith("\n"):
            yield by_choice([Trial(**fields) for fields in json.loads(line)])


def check_that_all_are_there(kept: Trials, known: Trials) -> None:
    """Each of `kept` is known, as it was or replaced by what may replace it."""
    for place, trial in kept.items():
        assert known[place] == trial or replaces(known[place], trial)


def read_store(path: Path) -> Trials:
    """All that is in the store, which is sound."""
    with open_store(path, no_warning) as store:
        assert store.summary().damaged == 0
        records = store.records()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert {record.circumstances for record in records} <= {circumstances_of(TARGET, THREADS)}
    return by_choice([record.trial for record in records])


def search_until_killed(path: Path, folder: Path, trials: int, rng: torch.Generator) -> list[Trials]:
    """What a tuner reported before it was killed: after some batches and a random time, or while it begins."""
    seed, batches = torch.randint(4, (2,), generator=rng).tolist()
    words = [str(word) for word in (path, folder, seed, trials)]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.tune.searcher", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            lines = [process.stdout.readline() for _ in range(batches)]
            time.sleep(LATEST * torch.rand((), generator=rng).item())
            assert process.poll() is None, "the search ended by itself"
        finally:
            process.kill()
        # `communicate` would not see what was read ahead.
        return list(reports([*lines, *process.stdout.readlines()]))


def test_no_kill_loses_a_trial_or_leaves_a_process(
    path: Path, tmp_path: Path, mark: str, rng: torch.Generator
) -> None:
    kept: Trials = {}
    for kill in range(KILLS):
        folder = tmp_path / str(kill)
        folder.mkdir()
        for number, reported in enumerate(search_until_killed(path, folder, MORE * (kill + 1), rng)):
            check_that_all_are_there(kept, reported)
            kept = reported
            confirmed = sum(trial.rounds >= ROUNDS for trial in kept.values())
            print(f"kill {kill}, report {number}: {len(kept)} trials, {confirmed} confirmed")
        assert left_of(mark) == []
        # It may have kept more than it could report.
        check_that_all_are_there(kept, known := read_store(path))
        kept = known
