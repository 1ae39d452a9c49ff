"""Searches for faster kernels until it is killed: `python -m tests.tune.searcher STORE FOLDER SEED TRIALS`.

Whenever a batch is over, and first of all, it prints the trials that are kept, as one line of JSON.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from lwc.tune.bench import Bench
from lwc.tune.circumstances import circumstances_of
from lwc.tune.effort import Effort
from lwc.tune.progress import Search
from lwc.tune.store import open_store
from lwc.tune.tuner import Tuner
from lwc.tune.workers import Workers
from tests.tune.layers import LOCAL, TARGET, TOOLCHAIN, float_tasks
from tests.tune.made import no_warning

THREADS = 2


def print_kept(searches: Sequence[Search]) -> None:
    """All trials of all searches."""
    print(json.dumps([asdict(trial) for search in searches for trial in search.trials.values()]), flush=True)


def main(store_path: str, folder: str, seed: str, trials: str) -> None:
    """Tries several layers, two at a time, until so many choices of each were tried."""
    tasks = float_tasks(16, 20, torch.Generator().manual_seed(0))
    with Workers(2) as workers, open_store(Path(store_path), no_warning) as store:
        bench = Bench(TARGET, TOOLCHAIN, THREADS, workers, LOCAL, Path(folder), int(seed))
        Tuner(bench, store, circumstances_of(TARGET, THREADS), print_kept).tune(tasks, Effort(int(trials)))


if __name__ == "__main__":
    main(*sys.argv[1:])
