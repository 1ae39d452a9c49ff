"""Where a product finds rows that were sliced and permuted before it: at their old places, without a copy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn

from lwc.lower.gather import gather_before
from lwc.lower.lower import lower
from lwc.pipeline import Pipeline, run_pipeline
from lwc.targets.cuda import cuda_target
from lwc.trace import Program
from tests.compiled.support import compile_module
from tests.programs import Compute, program_of, random_inputs, randomize

CHANNELS, IMAGE = 5, (2, 4, 6, 5)

Move = Callable[[torch.Tensor], torch.Tensor]


def patches(x: torch.Tensor) -> torch.Tensor:
    """The pixels of an NHWC image in the order of 2 x 2 patches, as MobileViT takes them."""
    return x.reshape(-1, 2, 3, 2, CHANNELS).permute(1, 3, 0, 2, 4).reshape(4, -1, CHANNELS)


MOVED: dict[str, Move] = {
    "patches": patches,
    "every second pixel": lambda x: x[:, ::2, ::2],
    "the middle": lambda x: x[:, 1:-1, 2:4],
    "from the end": lambda x: x[:, -3:, -100:5],
    "one image": lambda x: x[1:],
    "columns before rows": lambda x: x.permute(0, 2, 1, 3).contiguous(),
    "patches of every second row": lambda x: patches(x[:, ::2]).flatten(0, 1),
}
KEPT: dict[str, Move] = {
    "nothing moves": lambda x: x.relu(),
    "only the shape changes": lambda x: x.reshape(-1, CHANNELS),
    "channels are cut": lambda x: x[..., 1:],
    "channels become pixels": lambda x: x.permute(0, 3, 1, 2),
    "rows are cut elsewhere": lambda x: x.reshape(2, -1, 10),
}


def moved(move: Move, rng: torch.Generator) -> tuple[Program, fx.Node]:
    """A program, and what it gives, as a node."""
    program = program_of(lambda x: move(x.neg()), IMAGE, rng=rng)
    (output,) = (node for node in program.module.graph.nodes if node.op == "output")
    return program, output.all_input_nodes[0]


@pytest.mark.parametrize("name", MOVED)
def test_finds_each_row_at_its_old_place(name: str, rng: torch.Generator) -> None:
    program, node = moved(MOVED[name], rng)
    gather = gather_before(node)
    assert gather is not None
    assert str(gather.source.target) == "aten.neg.default"
    x = program.inputs[0]
    want = MOVED[name](x).reshape(-1, CHANNELS)
    places = [gather.place(row) for row in range(len(want))]
    torch.testing.assert_close(x.reshape(-1, CHANNELS)[places], want, rtol=0, atol=0)


@pytest.mark.parametrize("name", KEPT)
def test_leaves(name: str, rng: torch.Generator) -> None:
    _, node = moved(KEPT[name], rng)
    assert gather_before(node) is None


def test_leaves_what_others_read_too(rng: torch.Generator) -> None:
    program = program_of(lambda x: (y := patches(x), y.relu()), IMAGE, rng=rng)
    (relu,) = (node for node in program.module.graph.nodes if str(node.target) == "aten.relu.default")
    assert gather_before(relu.all_input_nodes[0]) is None


# Products of rows that were moved, some of them with a tensor that they add, or of few rows.
PRODUCTS: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "patches": lambda layer, x: layer(x.reshape(8, 2, 5, 2, 8).permute(1, 3, 0, 2, 4).reshape(4, -1, 8)),
    "every second pixel": lambda layer, x: layer(x[:, ::2, 1::2].reshape(1, -1, 8)),
    "a sum": lambda layer, x: layer(x[:, 1::2, 3:9]) + x[:, ::2, :6].exp(),
    "few rows": lambda layer, x: layer(x[:, 3:4, 4:7]),
}


@pytest.mark.parametrize("name", ["patches", "every second pixel", "few rows"])
def test_one_launch_reads_and_multiplies(name: str, rng: torch.Generator) -> None:
    parts = (nn.Linear(8, 8),)
    program, _ = run_pipeline(
        Pipeline.parse("default"), program_of(PRODUCTS[name], (1, 16, 10, 8), rng=rng, parts=parts)
    )
    assert len(lower(program, cuda_target("sm_80")).calls) == 1


@pytest.mark.slow
def test_a_package_gives_what_pytorch_gives(tmp_path: Path, rng: torch.Generator) -> None:
    def all_products(*parts: Any) -> tuple[torch.Tensor, ...]:
        *layers, x = parts
        return tuple(product(layer, x) for product, layer in zip(PRODUCTS.values(), layers, strict=True))

    module = Compute(all_products, *(nn.Linear(8, 8) for _ in PRODUCTS))
    randomize(module, rng)
    # Compiling compares the kernels, run by emulation, with PyTorch.
    inputs = random_inputs(((1, 16, 10, 8),), rng)
    compile_module(tmp_path / "gathered", module.eval(), inputs, target="cuda:sm_80")
