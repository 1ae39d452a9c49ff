"""A program that runs pytest again and again, each time in a fork that has PyTorch and TVM loaded, but nothing of lwc.

A line on stdin is a JSON list: a folder, which goes first where Python looks for modules, and pytest's arguments. Its
output goes to `pytest.log` in the folder, and its exit code to stdout, negative for a signal.
"""

import json
import os
import signal
import sys

import pytest
import torch
import tvm  # noqa: F401

# Seconds that a run may take.
LIMIT = 300


def run(folder: str, arguments: list[str]) -> None:
    """Run pytest in this process, and end it."""
    signal.alarm(LIMIT)
    os.chdir(folder)
    sys.path.insert(0, folder)
    log = os.open("pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    os._exit(int(pytest.main(arguments)))


# Loads what torch.export imports when it is first called.
torch.export.export(torch.nn.ReLU(), (torch.ones(1),)).run_decompositions({})
for line in sys.stdin:
    where, *words = json.loads(line)
    child = os.fork()
    if child == 0:
        run(where, words)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
