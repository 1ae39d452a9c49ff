"""The default pipeline on random networks: the same numbers, and nothing left to do after a few runs.

LWC_TEST_GRAPHS=20000 python -m pytest tests/passes/test_random_graphs.py tries more of them.
"""

import os
import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from lwc.pipeline import DEFAULT, Pipeline, run_pipeline
from lwc.targets import x86_64_v4
from lwc.trace import Program, trace
from tests.passes.random_graphs import Shape, Writer
from tests.passes.random_steps import STEPS
from tests.programs import assert_same_meaning, random_inputs, randomize

GRAPHS = int(os.environ.get("LWC_TEST_GRAPHS") or 1000)
SHARES = 4
# Traced as one program, for time: torch.export takes longer to start than to trace a small network.
TOGETHER = 20
PIPELINE = Pipeline.parse("default")


@dataclass(frozen=True)
class Network:
    """A random network: its source, and the shape of its input."""

    seed: int
    source: str
    shape: Shape

    @classmethod
    def of(cls, seed: int) -> "Network":
        """The network that this seed makes."""
        writer = Writer(seed)
        source = writer.source(STEPS, writer.random.randint(2, 5))
        return cls(seed, source, writer.input)

    def build(self) -> nn.Module:
        """The module that the source defines."""
        names: dict[str, Any] = {}
        exec(self.source, names)
        made = names["Network"]()
        assert isinstance(made, nn.Module)
        return made.eval()

    def reproduction(self) -> str:
        """How to repeat what fails with this network alone."""
        return f"""
# ---- reproduction ----
{self.source}

from dataclasses import replace
from lwc.targets import x86_64_v4
from tests.passes.test_random_graphs import assert_runs_end
from tests.programs import program_of, rewrite

rng = torch.Generator().manual_seed({self.seed})
program = replace(program_of(Network(), {self.shape}, rng=rng), target=x86_64_v4.TARGET)
after, _ = rewrite("default", program, rng)
assert_runs_end(after)
"""


class Abreast(nn.Module):
    """Networks side by side, each with an input and outputs of its own."""

    def __init__(self, networks: list[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(network.build() for network in networks)

    def forward(self, *inputs: torch.Tensor) -> tuple[Any, ...]:
        """All outputs."""
        return tuple(network(x) for network, x in zip(self.networks, inputs, strict=True))


def program_of(networks: list[Network], rng: torch.Generator) -> Program:
    """The networks, traced as one program."""
    module = Abreast(networks)
    randomize(module, rng)
    inputs = random_inputs(tuple(network.shape for network in networks), rng)
    program = trace(module.eval(), inputs, tuple(f"x{number}" for number in range(len(inputs))))
    return replace(program, target=x86_64_v4.TARGET)


def check(networks: list[Network], seed: int, ends: bool = True) -> Counter[str]:
    """Run the default pipeline on the networks, and again if it is to be seen that `ends`; each pass's rewrites."""
    rng = torch.Generator().manual_seed(seed)
    program = program_of(networks, rng)
    after, records = run_pipeline(PIPELINE, program)
    assert_same_meaning("default", program, after, rng, alive=False)
    if ends:
        assert_runs_end(after)
    return sum((Counter({record.name: record.count}) for record in records), Counter())


def assert_runs_end(program: Program) -> None:
    """Late passes bring together what early ones merge, so a second run may find something; that has to end."""
    for _ in range(3):
        program, records = run_pipeline(PIPELINE, program)
        left = {record.name for record in records if record.count}
        if not left:
            return
    raise AssertionError(f"passes that undo each other's work: {left}")


def check_all(graphs: int, seed: int) -> Counter[str]:
    """`check` on that many networks; prints how to repeat what fails with one of them alone."""
    choose = random.Random(seed)
    total = Counter[str]()
    for start in range(0, graphs, TOGETHER):
        networks = [Network.of(choose.randrange(2**32)) for _ in range(min(TOGETHER, graphs - start))]
        try:
            # For time, one in four.
            total += check(networks, seed, ends=start // TOGETHER % 4 == 0)
        except Exception:
            for network in networks:
                print_if_wrong(network)
            raise
    return total


def print_if_wrong(network: Network) -> None:
    """Print how to repeat it where the network alone fails."""
    try:
        check([network], network.seed)
    except Exception as error:
        print(f"seed {network.seed}: {type(error).__name__}: {error}", network.reproduction())


def test_a_few_random_graphs(seed: int) -> None:
    check_all(60, seed)


def check_share(share: int, seed: int) -> None:
    """A share of GRAPHS, in which every pass has rewritten something."""
    graphs = len(range(share, GRAPHS, SHARES))
    total = check_all(graphs, seed + share)
    if graphs >= 200:
        assert set(total) == set(DEFAULT)


# Tests of one class run in one process: four classes, that processes share the work evenly.
@pytest.mark.slow
class TestFirstShare:
    def test_random_graphs(self, seed: int) -> None:
        check_share(0, seed)


@pytest.mark.slow
class TestSecondShare:
    def test_random_graphs(self, seed: int) -> None:
        check_share(1, seed)


@pytest.mark.slow
class TestThirdShare:
    def test_random_graphs(self, seed: int) -> None:
        check_share(2, seed)


@pytest.mark.slow
class TestFourthShare:
    def test_random_graphs(self, seed: int) -> None:
        check_share(3, seed)
