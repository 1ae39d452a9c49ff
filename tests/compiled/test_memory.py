"""A context takes what the manifest says, before the first run, and a run takes nothing."""

import ctypes
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from lwc.package.manifest import read_manifest
from tests.compiled.support import compile_module

pytestmark = pytest.mark.slow

# Prints the bytes that the C library has handed out: before a context of one thread, with it, and after a run.
PROGRAM = """
import ctypes, sys
import numpy, lwc

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info

def used():
    info = mallinfo2()
    return info.uordblks + info.hblkhd

model, x = lwc.load(sys.argv[1], 1), numpy.load(sys.argv[1] + "/sample_input.npy")
model.context(1).run(x)
before = used()
context = model.context(1)
made = used()
outputs = context.run(x)
print(before, made, used() - sum(y.nbytes for y in outputs))
"""


def test_memory_is_what_the_manifest_says(tmp_path: Path, rng: torch.Generator) -> None:
    """Kernels that borrow several blocks, of sizes that rise and fall."""
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("this C library does not count what it hands out")
    channels = (16, 64, 256, 512, 128, 32)
    layers = [nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(channels)]
    sample = torch.randn((1, channels[0], 14, 14), generator=rng)
    package = compile_module(tmp_path / "net", nn.Sequential(*layers), [sample]).package
    manifest = read_manifest(package)
    command = [sys.executable, "-c", PROGRAM, str(package)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    before, made, after = map(int, done.stdout.split())
    # Tables of tensors, the thread's own state, and what Python takes for an array come on top.
    slack = 32_000
    assert 0 <= made - before - (manifest.memory_bytes + manifest.thread_bytes) <= slack
    assert abs(after - made) <= slack
    assert manifest.thread_bytes > 10 * slack
