"""The default pipeline on random networks: the same numbers, and a second run changes nothing.

LWC_TEST_GRAPHS=2000 python -m pytest tests/passes/test_random_graphs.py tries more of them.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from lwc.pipeline import Pipeline, run_pipeline
from lwc.targets import x86_64_v4
from tests.passes.random_graphs import Writer
from tests.programs import operators, program_of, rewrite

GRAPHS = int(os.environ.get("LWC_TEST_GRAPHS") or 60)


def test_random_graphs(seed: int) -> None:
    choose = random.Random(seed)
    rewritten = 0
    for _ in range(GRAPHS):
        graph_seed = choose.randrange(2**32)
        writer = Writer(graph_seed)
        source = writer.source(steps=choose.randint(2, 9))
        with reproduction(source, writer.input, graph_seed):
            rng = torch.Generator().manual_seed(graph_seed)
            program = replace(program_of(network(source), writer.input, rng=rng), target=x86_64_v4.TARGET)
            after, _ = rewrite("default", program, rng)
            _, again = run_pipeline(Pipeline.parse("default"), after)
            assert [record.name for record in again if record.count] == []
        rewritten += "lwc.conv2d.default" in operators(after)
    assert rewritten > GRAPHS // 2


def network(source: str) -> nn.Module:
    """The module that `source` defines."""
    names: dict[str, Any] = {}
    exec(source, names)
    made = names["Network"]()
    assert isinstance(made, nn.Module)
    return made


@contextmanager
def reproduction(source: str, shape: tuple[int, ...], seed: int) -> Iterator[None]:
    """Print how to repeat what fails inside."""
    try:
        yield
    except Exception:
        print(f"""
# ---- reproduction ----
{source}

from dataclasses import replace
from lwc.targets import x86_64_v4
from tests.programs import program_of, rewrite

rng = torch.Generator().manual_seed({seed})
program = replace(program_of(Network(), {shape}, rng=rng), target=x86_64_v4.TARGET)
rewrite("default", program, rng)
""")
        raise
