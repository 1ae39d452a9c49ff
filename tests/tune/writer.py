"""Adds trials to a store: `python -m tests.tune.writer STORE NAME FIRST LAST`.

It prints that it is ready, and waits for a line. Then it prints the number of each kernel whose trials it has added.
"""

import sys
from pathlib import Path

from lwc.tune.store import open_store
from tests.tune.made import HERE, kernel, measured, no_warning


def main(path: str, name: str, first: str, last: str) -> None:
    """Adds two trials of each kernel from `first` to `last`."""
    print("ready", flush=True)
    sys.stdin.readline()
    with open_store(Path(path), no_warning) as store:
        for number in range(int(first), int(last) + 1):
            description = kernel(number, name)
            trials = [measured(description, 0.9, tile=4), measured(description, 0.8, tile=8)]
            store.add(description, HERE, trials)
            print(number, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
